//! A BGP speaker that announces and imports nothing (RFC 4271).
//!
//! The pure parts: [`fsm`] decides, [`open`] negotiates, [`wire`] is the codec and the only file that names zettabgp,
//! [`notification`], [`reason`] and [`hint`] put errors into words, [`outage`] keeps what was learnt of them, [`outbox`] counts octets. [`io`] is the world's side: one task
//! a peer.

pub mod fsm;
pub mod hint;
pub mod io;
pub mod notification;
pub mod open;
pub mod outage;
pub mod outbox;
pub mod path;
pub mod plan;
pub mod reason;
pub mod router_id;
pub mod stall;
pub mod wire;
