//! The world's side of BGP: one task a peer ([`session`]), the way to the peer ([`path`]), and sockets.
//!
//! Touches sockets, rtnetlink and the clock. No task listens, none waits for another, and no queue is without a bound.

mod connection;
mod dial;
mod netstat;
pub mod network;
pub mod password;
mod path;
pub mod peers;
pub mod router_id;
pub mod session;
mod sockopt;
