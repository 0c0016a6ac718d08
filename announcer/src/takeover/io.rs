//! The descriptors and the memory file that the next process gets.

pub mod state_file;
