//! What outlives the process: the sessions with the routers and the facts behind the routes, over an upgrade and over a crash.
//!
//! Pure, except for [`io`].

pub mod io;
pub mod repeats;
pub mod state;
