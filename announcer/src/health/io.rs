//! The probes: one loop a check and VIP, one file a kind.
//!
//! Touches the network, processes and files: asks the VIPs of this host, and what the configuration names.

#[cfg(test)]
mod alone;
mod aside;
mod connect;
pub mod exec;
pub mod file;
pub mod http;
pub mod listener;
pub mod once;
pub mod probe;
pub mod prober;
pub mod tcp;
pub mod tls;
mod trouble;
pub mod trust;
