//! Digests of what should be the same on every member.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::octets;

/// The first 8 octets of SHA-256 over a list in its canonical form. Equal digests mean equal lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ListDigest(pub [u8; 8]);

impl ListDigest {
    /// Of the list of members, whatever its order is: the ring follows the addresses.
    pub fn of_members(members: &[IpAddr]) -> ListDigest {
        let mut context = Context::new(&SHA256);
        for member in members.iter().collect::<BTreeSet<_>>() {
            context.update(&octets::mapped(*member));
        }
        ListDigest::first(context)
    }

    /// Of the VIPs with their ports.
    pub fn of_services(services: &BTreeMap<IpAddr, BTreeSet<u16>>) -> ListDigest {
        let mut context = Context::new(&SHA256);
        for (vip, ports) in services {
            context.update(&octets::mapped(*vip));
            context.update(&u32::try_from(ports.len()).unwrap_or(u32::MAX).to_be_bytes());
            for port in ports {
                context.update(&port.to_be_bytes());
            }
        }
        ListDigest::first(context)
    }

    fn first(context: Context) -> ListDigest {
        let whole = context.finish();
        ListDigest(whole.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for ListDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ListDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListDigest({self})")
    }
}
