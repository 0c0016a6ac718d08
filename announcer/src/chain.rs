//! The chain: the frontends pass packets of flows that they do not know on to each other, so that a flow survives a change of the
//! routers' ECMP group (docs/chain.md).
//!
//! [`contact`], [`guard`], [`heartbeat`], [`member`], [`ring`], [`rules`] and [`test_packets`] are pure.

pub mod contact;
pub mod guard;
pub mod heartbeat;
pub mod io;
pub mod member;
pub mod plan;
pub mod ring;
pub mod rules;
pub mod segment;
pub mod status;
pub mod test_packets;
