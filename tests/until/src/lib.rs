//! Waits for a state: what every test uses instead of a fixed sleep or a loop of its own.
//!
//! Touches the clock alone.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pause after the first look.
const SHORTEST: Duration = Duration::from_millis(2);
/// The longest pause between two looks.
const LONGEST: Duration = Duration::from_millis(50);

/// Calls `look` until it returns `Ok`, for at most `limit`, and returns that value. After `limit` it returns the error of
/// the last look, which so says what is there instead. `look` is called at least once.
///
/// The pauses grow from 2 to 50 ms: what comes at once is seen at once, and a long wait takes no processor time.
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
