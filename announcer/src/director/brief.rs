//! The reason of a standing in a few words, for tables.
//!
//! Pure. The words have no numbers that change from probe to probe, so that VIPs with the same trouble have the same text. The whole
//! sentence is the `Display` of [`Standing`].

use super::standing::{LastChoiceReason, NotAnnouncedReason, Standing};

impl Standing {
    /// The reason in a few words, such as "HTTP 503" or "drained by ann: new kernel".
    pub fn brief(&self) -> String {
        match self {
            Standing::Announced => "announced".to_owned(),
            Standing::Drained(by) => format!("drained{}", by.brief()),
            Standing::LastChoice(LastChoiceReason::Backup) => "a healthy backup".to_owned(),
            Standing::LastChoice(
                LastChoiceReason::Unhealthy(seen)
                | LastChoiceReason::Slow(seen)
                | LastChoiceReason::TooFewOthers(seen),
            )
            | Standing::NotAnnounced(
                NotAnnouncedReason::NoVerdict(seen) | NotAnnouncedReason::Unhealthy(seen),
            ) => seen.brief(),
            Standing::LastChoice(LastChoiceReason::Flapping(_)) => "it came back too often".to_owned(),
            Standing::LastChoice(LastChoiceReason::Leaving) => "it will be withdrawn soon".to_owned(),
            Standing::LastChoice(why @ LastChoiceReason::Sibling(_)) => why.to_string(),
            Standing::NotAnnounced(why) => why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::drain::Drain;
    use crate::health::check::{Evidence, Streak};
    use crate::health::outcome::{Outcome, Reason};

    #[test]
    fn a_few_words_say_why() {
        let failed = |took: u64, check: Option<&str>| {
            let last = Outcome::Fail { reason: Reason::Refused, took: Duration::from_millis(took) };
            Evidence {
                check: check.map(str::to_owned),
                streak: Streak::Failed { run: 3, fall: 3 },
                last: Some(last),
            }
        };
        let unhealthy = |seen| Standing::NotAnnounced(NotAnnouncedReason::Unhealthy(seen));
        let rising = Evidence { streak: Streak::Passed { run: 1, rise: 2 }, ..failed(1, None) };
        let gone = Evidence { streak: Streak::Gone, ..failed(1, None) };
        let by = Drain {
            by: Some("ann".into()),
            reason: Some("new kernel".into()),
            at: Some("now".into()),
            ..Drain::default()
        };
        for (standing, want) in [
            (Standing::Announced, "announced"),
            (unhealthy(failed(12, None)), "connection refused"),
            (unhealthy(failed(7, None)), "connection refused"),
            (unhealthy(failed(7, Some("backend"))), "check `backend`: connection refused"),
            (unhealthy(rising), "1 of 2 probes passed"),
            (unhealthy(gone), "nothing listens any more"),
            (Standing::LastChoice(LastChoiceReason::Unhealthy(failed(7, None))), "connection refused"),
            (Standing::Drained(by.into()), "drained by ann: new kernel"),
            (Standing::NotAnnounced(NotAnnouncedReason::Stopping), "announcer is stopping"),
        ] {
            assert_eq!(standing.brief(), want, "{standing}");
        }
    }
}
