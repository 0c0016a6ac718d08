//! The comparison: announcer and the other ways to announce a VIP while its server is healthy, on the same frontend in turns.
//!
//! ```text
//! candidate  who is compared: a folder of tests/peers each
//! stage      the lab, and the frontend on which a candidate plays
//! turn       one candidate through every event once: to the wire, to the FIB, requests lost
//! resources  memory and CPU with many services
//! results    pure: what was measured, and its medians
//! page       pure: docs/benchmarks.md
//! ```

pub mod candidate;
pub mod page;
pub mod resources;
pub mod results;
pub mod stage;
pub mod turn;
