//! A BGP speaker that announces and imports nothing (RFC 4271).
//!
//! The pure parts: [`fsm`] is the state machine. [`open`] negotiates. [`wire`] is the codec, and only it uses zettabgp.
//! [`notification`], [`reason`] and [`hint`] have the texts of errors. [`outage`] keeps the causes of an outage. [`outbox`] counts
//! octets, [`resume`] has what the next process needs. [`ack_times`] remembers when they were acknowledged. [`discovery`] learns the routers of unnumbered sessions. [`io`] has the sockets: one task per peer.

pub mod ack_times;
pub mod discovery;
pub mod fsm;
pub mod hint;
pub mod io;
pub mod losses;
pub mod notification;
pub mod open;
pub mod outage;
pub mod outbox;
pub mod path;
pub mod plan;
pub mod reason;
pub mod resume;
pub mod router_id;
pub mod stall;
pub mod wire;
