//! The wall clock with its state, and the boot id of the host.
//!
//! Touches the kernel's clock, adjtimex(2) and `/proc`. adjtimex(2) has no safe interface, so this file has `unsafe` code.

#![allow(unsafe_code, reason = "adjtimex(2) has no safe interface")]

use std::mem::zeroed;
use std::path::Path;
use std::time::SystemTime;

use crate::drain::ends::{ClockState, WallClock};
use crate::drain::order::BootId;
use crate::files::io as files;

/// The file with the boot id.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The wall clock now.
pub fn clock() -> WallClock {
    WallClock { now: SystemTime::now(), state: state() }
}

/// The state of the clock. If the kernel does not answer, for example because of a filter of system calls, it is unsynchronised.
fn state() -> ClockState {
    // SAFETY: `timex` has only integers, and a `timex` of zeros asks the kernel to change nothing (adjtimex(2)).
    let answer = unsafe {
        let mut timex: libc::timex = zeroed();
        libc::adjtimex(&raw mut timex)
    };
    match answer {
        -1 | libc::TIME_ERROR => ClockState::Unsynchronised,
        _ => ClockState::Synchronised,
    }
}

/// The boot id of the host; `None`: it cannot be read. Blocks.
pub fn boot_id() -> Option<BootId> {
    BootId::parse(&files::read_text(Path::new(BOOT_ID), 64).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_a_boot_id_that_stays_and_a_clock() {
        let boot = boot_id().expect("Linux has a boot id");
        assert_eq!(boot_id(), Some(boot));
        assert!(clock().now > SystemTime::UNIX_EPOCH);
    }
}
