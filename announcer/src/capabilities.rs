//! The capabilities of this process that another program gets.

pub mod io;
