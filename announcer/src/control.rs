//! The control socket: what operators ask of a running daemon, and what it answers.

pub mod admission;
pub mod api;
pub mod explain;
pub mod io;
pub mod names;
pub mod request;
