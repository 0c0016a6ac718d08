//! The chain: the frontends pass packets of flows that they do not know on to each other, so that a flow survives a change of the
//! routers' ECMP group (docs/chain.md).
//!
//! [`guard`], [`heartbeat`], [`member`], [`ring`] and [`rules`] are pure.

pub mod guard;
pub mod heartbeat;
pub mod io;
pub mod member;
pub mod plan;
pub mod ring;
pub mod rules;
pub mod segment;
pub mod status;
