//! The input and output of BGP: one task per peer ([`session`]), the way to the peer ([`path`]), and sockets.
//!
//! Touches sockets, rtnetlink and the clock. No task listens for connections or waits for another task, and every queue has a
//! limit.

mod connection;
pub mod dial;
pub mod discovery;
mod netstat;
pub mod network;
pub mod password;
mod path;
pub mod peers;
pub mod resume;
pub mod router_id;
pub mod session;
mod sockopt;
