//! announcer: announces a frontend's VIPs by BGP while its own HTTP server is healthy.
//!
//! Facts flow up as events (`mpsc`), decisions flow down as state (`watch`). Only files named `io.rs`, or below a folder named
//! `io/`, use sockets, files, clocks or processes.
//!
//! ```text
//! 4  main, cli, control/io/client    top/io -> top
//! 3  daemon, daemon/io, control/io, metrics/io, page/io
//! 2  history/io -> bgp/io    bgp/io  bfd/io  chain/io  health/io  drain/io  vip/io  hook/io -> bgp/io  weight/io  config/io  fallback/io -> program/io    bfd/io, chain/io -> realtime/io    all of them -> files/io    memory/io  log/io  time_limit/io  chain/io, takeover/io -> capabilities/io    takeover/io -> systemd/io -> monotonic/io
//! 1  director -> {health::check, damping, drain, rib, vip, config}    bgp::{fsm, open, wire, path, plan, outage, hint}    bfd::{fsm, packet}
//!    chain::{heartbeat, member, ring, rules}
//!    delivery -> director    metrics -> director, delivery    hook -> director    history -> control::api
//!    control::{api, http, admission, names, orders, request, explain, changes, status, chain}    page -> control, health    takeover -> systemd    fallback -> config
//!    router_side -> config
//! 0  model, config    time_limit    watchdog    monotonic    realtime    own_process (of tests alone)
//! ```
//!
//! A module imports only from its own layer or a lower one; `tests/layers.rs` checks this. The map of tasks and channels is at the
//! top of [`daemon`].

#![warn(clippy::allow_attributes_without_reason)]
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))] // the crate `output` prints
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")
)]

pub mod bfd;
pub mod bgp;
pub mod capabilities;
pub mod chain;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod damping;
pub mod delivery;
pub mod director;
pub mod drain;
pub mod fallback;
pub mod files;
pub mod health;
pub mod history;
pub mod hook;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod monotonic;
#[cfg(test)]
mod own_process;
pub mod page;
pub mod program;
pub mod realtime;
pub mod rib;
pub mod router_side;
pub mod systemd;
pub mod takeover;
pub mod time_limit;
pub mod top;
pub mod vip;
pub mod watchdog;
pub mod weight;
