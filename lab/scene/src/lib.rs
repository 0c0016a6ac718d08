//! The lab `ecmp` as the demo, the benchmark, the interop programs and the end-to-end tests use it: it starts the lab, causes and
//! repairs faults, and records what the routers receive.
//!
//! ```text
//! scene  the lab: bring it up, break it, mend it
//! log    what was seen, and waiting for it
//! wire   BGP as it arrived at the routers' ends of the links
//! fib    the routers' FIBs
//! ```

#![allow(clippy::wildcard_enum_match_arm)] // netlink's own enums grow

pub mod fib;
pub mod log;
mod scene;
pub mod wire;

pub use scene::*;
