//! Files, which the daemon reads and writes through [`io`] alone.

pub mod io;
