//! The VIPs on this host's loopback.

pub mod io;
pub mod stay;

/// Whether a VIP is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has looked yet.
    Unknown,
    /// It is on lo.
    Present,
    /// It is not, and could not be put there.
    Missing(String),
}
