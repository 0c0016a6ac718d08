//! Files. The daemon reads and writes them only through [`io`].

pub mod io;
