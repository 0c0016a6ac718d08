//! The state machine of a session: its input is one event, its output is the next state and a list of actions.
//!
//! Pure. RFC 4271 §8 for a speaker that opens connections and never listens: events 1, 2, 9 to 11, 16 to 19, 21 to 28, with RFC
//! 6608's subcodes and RFC 9687's send hold timer. The timers are fields of the states, so that they end with the state. There is
//! no Active state; Idle with a retry time is used instead.
//!
//! ```text
//!        Start          TCP up, send OPEN      their OPEN, send KEEPALIVE     their KEEPALIVE
//!  Idle ───────► Connect ───────► OpenSent ─────────────► OpenConfirm ─────────────► Established [Up]
//!   ▲              │                 │                         │                          │
//!   └──── retry ◄──┴─────────────────┴────── fall: one arm ◄───┴──────────────────────────┘ [Down]
//! ```
//!
//! [`state`] has the types: states with their timers, events, actions. [`step`](mod@step) has the transitions.

pub mod state;
pub mod step;

pub use state::{Action, Backlog, Event, Hold, OutgoingMessage, State, StateName, StepContext, Timers};
pub use step::step;

#[cfg(test)]
mod tests;
