//! The VIPs on this host's loopback.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Generation;

pub mod io;
pub mod keeper;
pub mod removals;

/// Whether a VIP is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has looked yet.
    Unknown,
    /// It is on lo.
    Present,
    /// It is not, and could not be put there.
    Missing(String),
    /// lo is down, so that nothing answers for it, and why lo stays down.
    LoDown(String),
}

/// Which VIPs have to be on lo. One that no longer is among them was withdrawn by `generation` at the latest, and leaves lo
/// `settle` after the routers have acknowledged that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVips {
    /// The VIPs of the configuration.
    pub vips: Arc<BTreeSet<IpAddr>>,
    /// The generation of the Loc-RIB from which on no other VIP is announced.
    pub generation: Generation,
    /// How long routers may need to follow an acknowledged withdraw.
    pub settle: Duration,
}
