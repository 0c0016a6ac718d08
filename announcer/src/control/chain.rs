//! The chain for operators: what `announcer chain`, `status`, `status --members` and `explain` say of it.
//!
//! Pure. `report` makes the answers of the control API from [`ChainStatus`], `text` and `table` lay them out.

mod order;
mod report;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use order::{NOT_CONFIGURED, off_order};
pub use report::{ChainClock, OwnVip, report, site, summary};
pub use table::table;
pub use text::text;

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::chain::status::ChainStatus;
use crate::model::Family;

/// The families in which this host takes part.
fn families(status: &ChainStatus) -> impl Iterator<Item = Family> {
    [Family::V4, Family::V6].into_iter().filter(|family| status.takes_part(*family))
}

/// A family as a key.
fn key(family: Family) -> String {
    match family {
        Family::V4 => "ipv4".to_owned(),
        Family::V6 => "ipv6".to_owned(),
    }
}

/// The sentences of `explain` on the chain: which flows to a VIP it keeps, and to whom their packets go. None without a chain.
pub fn explain(status: &ChainStatus, vip: IpAddr, ports: &BTreeSet<u16>) -> Option<String> {
    if !status.configured {
        return None;
    }
    if !status.forward {
        return Some("The chain forwards no packets: `forward = false`.".into());
    }
    if ports.is_empty() {
        let why = "no check probes the VIP at a TCP port, and its service has no `ports`";
        return Some(format!("The chain keeps no flows to it: {why}."));
    }
    let listed = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let flows = format!("The chain keeps flows to it on TCP port{} {listed}", plural(ports.len()));
    let family = Family::of(vip);
    let installed = status.facts.is_some_and(|facts| facts.rules.has(family));
    let whom = match (installed, &status.off, status.ring.forwarding(family)) {
        (false, _, _) => "but its rules are not installed here, so this is plain ECMP".to_owned(),
        (true, Some(_), _) => "but forwarding is switched off on this host".to_owned(),
        (true, None, None) => "but nobody else is in the ring".to_owned(),
        (true, None, Some(forwarding)) => {
            format!("packets of flows that this host does not know go to member {}", forwarding.next)
        }
    };
    Some(format!("{flows}; {whom}."))
}

/// The ending of a plural.
fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
