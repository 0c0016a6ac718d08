//! The control socket: the requests of operators to a running daemon, and its answers.

pub mod admission;
pub mod api;
pub mod chain;
pub mod changes;
pub mod explain;
pub mod http;
pub mod io;
pub mod names;
pub mod orders;
pub mod request;
pub mod status;
