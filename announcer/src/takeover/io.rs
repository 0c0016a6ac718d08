//! Descriptors that outlive the process.
//!
//! Touches descriptors, the environment and systemd's socket.

mod adopt;
pub mod children;
pub mod descriptors;
pub mod exec;
pub mod state_log;
