//! Whether an upgrade is short enough for the routers.
//!
//! Pure. Between the former program's last turn and the new one's first, nothing is sent. BFD (RFC 5880) detects that after its
//! detection time; BGP's hold time is at least 3 s, which no upgrade takes.

use std::time::Duration;

/// How many gaps the shortest detection time must be long.
const MARGIN: u32 = 3;

/// Why an upgrade is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a router may take the pause of the upgrade for a failure: the shortest BFD detection time is {}, and the pause is about {}; it \
     has to be three times as long",
    humantime::format_duration(*detection),
    humantime::format_duration(Duration::from_millis(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX).max(1)))
)]
pub struct GapTooLong {
    /// The shortest detection time.
    pub detection: Duration,
    /// The gap.
    pub gap: Duration,
}

/// Whether an upgrade ends no session: `detection` is the shortest detection time of BFD, `None` if there is no BFD session; `gap` is
/// the measured time without a turn, `None` if it was not measured.
///
/// # Errors
/// Both times, if the detection time is below three gaps.
pub fn allows(detection: Option<Duration>, gap: Option<Duration>) -> Result<(), GapTooLong> {
    match (detection, gap) {
        (Some(detection), Some(gap)) if detection < gap * MARGIN => Err(GapTooLong { detection, gap }),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detection_time_is_at_least_three_gaps() {
        let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
        for (detection, gap, want) in [
            (None, None, true),
            (None, Some(5000), true),
            (Some(150), None, true),
            (Some(150), Some(50), true),
            (Some(150), Some(51), false),
            (Some(900), Some(51), true),
        ] {
            assert_eq!(allows(ms(detection), ms(gap)).is_ok(), want, "{detection:?} {gap:?}");
        }
        let error = allows(ms(Some(150)), ms(Some(51))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a router may take the pause of the upgrade for a failure: the shortest BFD detection time is 150ms, and the pause is \
             about 51ms; it has to be three times as long"
        );
    }
}
