//! Returns unused memory to the system; see [`io`].

pub mod io;
