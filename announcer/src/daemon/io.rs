//! The daemon's tasks.

pub(super) mod bfd;
pub(super) mod chain;
pub(super) mod delivery;
pub(super) mod direct;
pub(super) mod findings;
pub(super) mod limits;
pub(super) mod main_loop;
pub(super) mod program_file;
pub(super) mod reload;
pub(super) mod sessions;
pub(super) mod signals;
pub(super) mod start;
pub(super) mod stop;
pub(super) mod supervise;
pub(super) mod takeover;
pub(super) mod tasks;
pub(super) mod upgrade;
pub(super) mod wiring;
