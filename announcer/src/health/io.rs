//! The probes: one loop a check and VIP, one file a kind.
//!
//! Touches the network: connects to the VIPs of this host, and to nothing else.

pub mod http;
pub mod listener;
pub mod probe;
