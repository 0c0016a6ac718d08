//! The VIPs on this host's loopback.

pub mod io;
pub mod stay;
