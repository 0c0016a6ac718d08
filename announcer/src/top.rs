//! `announcer top`: a full-screen view of the routers, the services and the last changes, which is brought up to date every second.
//!
//! [`state`] is the view as a machine: keys, answers of the daemon and the time go in, requests come out. [`list`] makes the rows
//! of it, [`view`] draws it, [`fit`] fits it into the terminal, [`keys`] reads keys from the octets of a terminal, and [`samples`] keeps what
//! the sparklines show. All of them are pure. [`io`] has the terminal, the signals and the thread that asks the daemon.
//!
//! ```text
//! terminal -octets-> keys ─┐
//! daemon ──answers─────────┼─> state ──requests──> a thread with the client of the control API
//! clock ───ticks───────────┘     └───> list, view ──> terminal
//! ```

pub mod fit;
pub mod io;
pub mod keys;
pub mod list;
pub mod samples;
pub mod state;
pub mod view;

#[cfg(test)]
mod tests;
