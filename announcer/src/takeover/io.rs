//! Descriptors that outlive the process.
//!
//! Touches descriptors, the environment and systemd's socket.

mod adopt;
pub mod descriptors;
pub mod state_file;
