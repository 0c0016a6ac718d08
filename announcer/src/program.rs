//! The operator's programs, as probes and the hook run them.

pub mod io;
