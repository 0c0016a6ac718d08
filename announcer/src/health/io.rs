//! The probes: one loop a check and VIP, one file a kind.
//!
//! Touches the network: connects to the VIPs of this host, or to the targets of the configuration, and to nothing else.
//!
//! ```text
//! probe   the loop, on time     connect  TCP from the VIP to itself     tls, trust  handshake, certificate
//! http    the kind `http`       tls      the kind `tls`
//! ```

pub mod connect;
pub mod http;
pub mod probe;
pub mod tls;
pub mod trust;
