//! Waits for a state. Every test uses this instead of a fixed sleep or its own loop.
//!
//! Touches only the clock.

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

#[cfg(test)]
mod tests {
    use super::*;

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
