//! Sets up a frontend's loopback for VIPs that a router sends to it directly (DSR): the VIPs on `lo`, and ARP settings so that the
//! host never answers ARP for them and never announces them. `remove` also undoes what a daemon with `[chain]` has left.
//!
//! The program `dsr-setup` does this once, by hand or from configuration management. The `announcer` daemon keeps the same VIPs
//! through [`Vips`] while it runs, and gets changes by [`watch()`]. Both mark their addresses in the same way, so each may remove the
//! addresses of the other. Neither changes addresses of other programs.
//!
//! ```text
//! main, cli          the program: plan, apply, check, watch, remove, order, doctor, persist
//! io                 observe the host, carry out one step       io/{vips,device,events,sysctl,chain,store,announcer,http,units,regular}
//!                    io/watch runs until it is stopped, and io/lock says who keeps the VIPs
//! plan               pure: observed, desired -> steps       warning   pure: what harms a host beside that
//! watch              pure: what is repaired, and when
//! report             pure: what `plan` and `check` say
//! doctor             pure: a snapshot of the host -> findings              io/doctor   takes it, with probes
//! record             pure: the state file's text                config, answer   pure: texts that name VIPs
//! units              pure: the order of systemd's units         encoding   pure: octets as text     range   pure: ranges of VIPs
//! persist            pure: the files that keep the VIPs over a reboot          io/persist
//! tunnel             pure: the tunnels of a director that tunnels             io/tunnel, io/watch/tunnels
//! folder             pure: which files are the configuration    substitution   pure: `${NAME}` in values
//! ```
#![warn(clippy::allow_attributes_without_reason)]
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))] // the crate `output` prints
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")
)]

pub mod answer;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod encoding;
pub mod folder;
pub mod io;
pub mod persist;
pub mod plan;
pub mod range;
pub mod record;
pub mod report;
pub mod substitution;
pub mod tunnel;
pub mod units;
pub mod warning;
pub mod watch;

pub use io::Error;
pub use io::events::{Events, VipEvent, watch, watch_device};
pub use io::store::Store;
pub use io::sysctl::read_all as read_sysctls;
pub use io::vips::{AddResult, RemoveResult, Vips, connect};
pub use plan::{Difference, Link, LoAddress, Loopback, MarkSupport, OtherAddress, Owner, Sysctl};
pub use record::Record;

/// The loopback of each network namespace, which has the VIPs that are in no VRF.
pub const LOOPBACK: &str = "lo";
/// Where the state file is kept by default.
pub const STATE_DIR: &str = "/var/lib/announcer";
