//! Time limits of a process that may stand still: SIGSTOP, a paused virtual machine, no processor time.
//!
//! Pure, except for [`io`].

pub mod io;

use std::time::Duration;

/// A deadline that is noticed later than this shows that the process stood still.
pub const STOOD_STILL: Duration = Duration::from_millis(500);
