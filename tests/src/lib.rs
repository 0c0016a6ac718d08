//! The harness of the end-to-end tests.
//!
//! ```text
//! scene  the lab: bring it up, break it, mend it
//! log    what was seen, and waiting for it
//! wire   BGP as the routers' ends of the links saw it
//! compare  announcer and the others in turns
//! interop  the same daemon against other routers than the lab's
//! fib    the routers' FIBs
//! ```

#![allow(clippy::wildcard_enum_match_arm)] // netlink's and the parser's own enums grow

pub mod compare;
pub mod fib;
pub mod interop;
pub mod log;
pub mod scene;
pub mod wire;
