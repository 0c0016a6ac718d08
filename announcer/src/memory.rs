//! Memory that nothing uses any more. All of it is in [`io`].

pub mod io;
