//! Waits for a state. Every test uses this instead of a fixed sleep or its own loop. A test that cannot run here says so by
//! [`skipped`].
//!
//! Touches only the clock and standard error.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by a panic"))]

use std::fmt::Display;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pause after the first call of `look`.
const SHORTEST: Duration = Duration::from_millis(2);
/// The longest pause between two calls of `look`.
const LONGEST: Duration = Duration::from_millis(50);

/// Calls `look` until it returns `Ok`, for at most `limit`, and returns that value. After `limit` it returns the error of the last
/// call, which says what the state is instead. `look` is called at least once.
///
/// The pauses grow from 2 to 50 ms: a state that is reached at once is noticed at once, and a long wait needs little processor
/// time.
///
/// # Errors
/// That of the last call of `look`.
pub fn until<T, E>(limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let end = Instant::now() + limit;
    let mut pause = SHORTEST;
    loop {
        match look() {
            Err(_) if Instant::now() < end => sleep(pause),
            result => return result,
        }
        pause = (pause * 2).min(LONGEST);
    }
}

/// As [`until`], for a test that can only fail: waits until `holds`, and panics after `limit`.
///
/// # Panics
/// When it does not hold in time; the message is `what`.
#[track_caller]
pub fn assert_until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let held = until(limit, || if holds() { Ok(()) } else { Err(()) });
    assert!(held.is_ok(), "not within {limit:?}: {what}");
}

/// Says on standard error that a test, or a part of it, does not run here, and why. The test harness captures what `println!` and
/// `eprintln!` print, and shows it only when a test fails; it does not capture this.
pub fn skipped(why: impl Display) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The test of [`a_skipped_test_says_so_although_it_passes`].
    #[test]
    #[ignore = "another test runs it"]
    fn skips() {
        skipped("no such server");
    }

    #[test]
    fn a_skipped_test_says_so_although_it_passes() {
        let arguments = ["--ignored", "--exact", "tests::skips"];
        let output = Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "SKIPPED: no such server\n");
    }

    #[test]
    fn it_looks_until_there_is_something_and_says_at_last_what_there_was_instead() {
        let mut looks = 0;
        let found: Result<u32, u32> = until(Duration::from_secs(60), || {
            looks += 1;
            if looks == 4 { Ok(looks) } else { Err(looks) }
        });
        assert_eq!(found, Ok(4));

        let mut looks = 0;
        let found: Result<(), u32> = until(Duration::ZERO, || {
            looks += 1;
            Err(looks)
        });
        assert_eq!(found, Err(1));
    }
}
