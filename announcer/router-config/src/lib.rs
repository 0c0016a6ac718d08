//! Writes the router's side of announcer's sessions: a configuration for each of eleven router systems, and the commands that show
//! whether it works.
//!
//! Pure: facts in, text out. It knows neither announcer's configuration nor a router; `announcer router-config` and `announcer
//! explain` make the [`Facts`] from the configuration.
//!
//! ```text
//! facts      what a router has to know about its frontends     system   the systems, and what is in common
//! text       lines, comments, and parts that systems share      linux    commands for a router that is a Linux host
//! verify     the commands that show a session and its routes    bfd      what a system can say of BFD
//! frr bird openbgpd gobgp junos eos ios_xe nx_os ios_xr srlinux routeros     a system each: its configuration and its commands
//! ```
//!
//! In all configurations:
//!
//! - Only the announced prefixes are accepted, and nothing is advertised to a frontend.
//! - A route with GRACEFUL_SHUTDOWN (RFC 8326) gets the lowest preference.
//! - A route of last resort discards packets for a VIP that no frontend announces. Without it they follow the default route, and
//!   loop. It is never preferred to a route of a frontend.
//! - A frontend opens the session; the router waits for it.
//! - BFD (RFC 5880) has the intervals of the frontends, if they have it; a system without BFD gets a comment that says so.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic"))]

mod bfd;
mod bird;
mod cisco;
mod eos;
mod facts;
mod frr;
mod gobgp;
mod ios_xe;
mod ios_xr;
mod junos;
mod linux;
mod nx_os;
mod openbgpd;
mod routeros;
mod srlinux;
mod system;
mod text;
mod verify;

pub use bfd::Bfd;
pub use facts::{Facts, Family, Frontends};
pub use system::{System, Tried, UnknownSystem, configuration};
pub use verify::{Command, Question, commands};
