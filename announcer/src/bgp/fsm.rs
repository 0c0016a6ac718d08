//! The session's machine: one event in, the next state and what to do out.
//!
//! Pure. RFC 4271 §8 for a speaker that dials and never listens: events 1, 2, 9 to 11, 16 to 19, 21 to 28, with RFC
//! 6608's subcodes and RFC 9687's send hold timer. Timers live inside the states, so that leaving a state drops them.
//! There is no Active state: it is Idle with a retry.
//!
//! ```text
//!        Start          TCP up, send OPEN      their OPEN, send KEEPALIVE     their KEEPALIVE
//!  Idle ───────► Connect ───────► OpenSent ─────────────► OpenConfirm ─────────────► Established [Up]
//!   ▲              │                 │                         │                          │
//!   └──── retry ◄──┴─────────────────┴────── fall: one arm ◄───┴──────────────────────────┘ [Down]
//! ```
//!
//! [`state`] has the words: states with their timers, events, actions. [`step`](mod@step) has the machine.

pub mod state;
pub mod step;

pub use state::{Action, Backlog, Event, Hold, OutgoingMessage, State, StateName, StepContext, Timers};
pub use step::step;

#[cfg(test)]
mod tests;
