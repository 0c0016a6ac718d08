//! Which listeners the probes of VIPs in a VRF can reach now.
//!
//! Touches the names of interfaces (netdevice(7)), and through the dsr-setup library a setting of the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::time::Instant;

use crate::health::watch::{ListenerScope, ListenerScopes};

/// How often the setting and the indexes of the devices are read.
const EVERY: Duration = Duration::from_secs(1);

/// The VRFs of the VIPs, and what was read of them.
#[derive(Debug, Default)]
pub(super) struct VrfScopes {
    vrfs: BTreeMap<IpAddr, String>,
    scopes: ListenerScopes,
    read: Option<Instant>,
}

impl VrfScopes {
    /// With the VRFs of the VIPs that are in one.
    pub(super) fn new(vrfs: BTreeMap<IpAddr, String>) -> Self {
        VrfScopes { vrfs, ..VrfScopes::default() }
    }

    /// Sets the VRFs.
    pub(super) fn set(&mut self, vrfs: &BTreeMap<IpAddr, String>) {
        if self.vrfs != *vrfs {
            *self = VrfScopes::new(vrfs.clone());
        }
    }

    /// The VRF of a VIP.
    pub(super) fn of(&self, vip: IpAddr) -> Option<&str> {
        self.vrfs.get(&vip).map(String::as_str)
    }

    /// The scopes, which are at most [`EVERY`] old.
    pub(super) fn now(&mut self) -> &ListenerScopes {
        let now = Instant::now();
        if !self.vrfs.is_empty() && self.read.is_none_or(|read| now >= read + EVERY) {
            self.read = Some(now);
            let unbound = dsr_setup::io::sysctl::serves_in_every_vrf();
            let scope = |vrf: &String| {
                let device = if_nametoindex(vrf.as_str()).ok()?;
                Some(ListenerScope { device, unbound })
            };
            self.scopes = ListenerScopes(self.vrfs.iter().map(|(vip, vrf)| (*vip, scope(vrf))).collect());
        }
        &self.scopes
    }
}
