//! One announcer against other people's BGP: what each router says it got from us, in a table.
//!
//! ```text
//! bench    the lab: one frontend, one router, one implementation after the other
//! router   what a router has to be able to say, and a route as all of them say it
//! frr bird gobgp openbgpd exabgp   one file a router
//! cases    the rows of the table
//! matrix   the table, printed and kept in docs/interop.md
//! ```

pub mod bench;
pub mod bird;
pub mod cases;
pub mod exabgp;
pub mod frr;
pub mod gobgp;
pub mod matrix;
pub mod openbgpd;
pub mod router;
