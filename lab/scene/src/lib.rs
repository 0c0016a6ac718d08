//! The lab `ecmp` as the demo, the benchmark, the interop programs and the end-to-end tests use it: it starts the lab, causes and
//! repairs faults, and records what the routers receive.
//!
//! ```text
//! scene    the lab: start it, cause faults, repair them; its items are those of this crate
//! log      the list of entries that one thread writes and others wait on
//! capture  a tcpdump in a node
//! wire     the BGP messages that tcpdump captured on the routers
//! fib      the changes of the routers' FIBs
//! doctor   `dsr-setup doctor` on the frontends
//! ```

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))] // the crate `output` prints
#![allow(clippy::wildcard_enum_match_arm)] // netlink's own enums grow

pub mod capture;
mod doctor;
pub mod fib;
pub mod log;
mod scene;
pub mod wire;

pub use doctor::doctor_finds_nothing;
pub use scene::*;
