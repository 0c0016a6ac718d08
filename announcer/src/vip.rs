//! The VIPs on this host's loopback.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Generation;

pub mod findings;
pub mod io;
pub mod keeper;
pub mod removals;

/// Whether a VIP is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// lo was not read yet.
    Unknown,
    /// It is on lo.
    Present,
    /// It is not on lo, and could not be put there.
    Missing(String),
    /// lo is down, so no address on it answers; with the reason why lo stays down.
    LoDown(String),
}

/// The VIPs that have to be on lo. A VIP that is no longer in the list is withdrawn in `generation` or earlier, and leaves lo
/// `settle` after the routers have acknowledged that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVips {
    /// The VIPs of the configuration.
    pub vips: Arc<BTreeSet<IpAddr>>,
    /// The generation of the Loc-RIB from which on no other VIP is announced.
    pub generation: Generation,
    /// The time that routers may need to follow an acknowledged withdraw.
    pub settle: Duration,
}
