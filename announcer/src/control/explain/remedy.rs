//! What brings a VIP back, as sentences.
//!
//! Pure.

use crate::config::ServiceConfig;
use crate::damping::{DampingWait, Flapping};
use crate::director::{CheckReport, LastChoiceReason, NotAnnouncedReason, Standing, VipReport};
use crate::health::check::Verdict;

/// The sentences; none for a VIP that is announced, or that is drained, because the line about the drain has the command.
pub(super) fn remedy(vip: &VipReport, service: &ServiceConfig) -> Vec<String> {
    let name = &service.name;
    match &vip.standing {
        Standing::Announced
        | Standing::Drained(_)
        | Standing::LastChoice(LastChoiceReason::Backup | LastChoiceReason::Leaving)
        | Standing::NotAnnounced(NotAnnouncedReason::Stopping) => Vec::new(),
        Standing::LastChoice(LastChoiceReason::Unhealthy(_) | LastChoiceReason::TooFewOthers(_))
        | Standing::NotAnnounced(NotAnnouncedReason::Unhealthy(_) | NotAnnouncedReason::NoVerdict(_)) => {
            passes(vip, service)
        }
        Standing::LastChoice(LastChoiceReason::Slow(_)) => {
            let slow = vip.checks.iter().zip(&service.checks).filter(|(check, _)| check.slow.is_some());
            let sentence = |(check, config): (&CheckReport, &crate::config::CheckConfig)| {
                let limit =
                    humantime::format_duration(config.slow.map(|slow| slow.after).unwrap_or_default());
                let often = match config.rise {
                    1 => "once".to_owned(),
                    more => format!("{more} times in a row"),
                };
                let name = &check.name;
                format!(
                    "It is announced in the usual way again when check `{name}` passes {often} within {limit} (`slow`)."
                )
            };
            slow.map(sentence).collect()
        }
        Standing::LastChoice(LastChoiceReason::Flapping(flapping))
        | Standing::NotAnnounced(NotAnnouncedReason::Waiting(DampingWait::Flapping(flapping))) => {
            let Flapping { penalty, .. } = flapping;
            let wait = humantime::format_duration(*penalty);
            vec![format!(
                "It comes back by itself when it has been healthy for {wait}; `announcer undrain {name}` announces it at once."
            )]
        }
        Standing::NotAnnounced(NotAnnouncedReason::Waiting(DampingWait::Delay(delay))) => {
            let wait = humantime::format_duration(*delay);
            vec![format!("It comes back when it has been healthy for {wait} (`announce_delay`).")]
        }
        Standing::NotAnnounced(NotAnnouncedReason::VipMissing(_)) => {
            let device = service.device();
            vec![format!(
                "It comes back when the VIP is on {device}; announcer tries every second to put it there."
            )]
        }
        Standing::NotAnnounced(NotAnnouncedReason::DeviceDown(_)) => {
            let device = service.device();
            vec![format!("It comes back when {device} is up; announcer tries every second to set it up.")]
        }
        Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor(device)) => {
            vec![format!("It is decided when the addresses of {device} were read.")]
        }
        Standing::LastChoice(LastChoiceReason::Sibling(sibling))
        | Standing::NotAnnounced(NotAnnouncedReason::Sibling(sibling)) => {
            vec![format!("It comes back together with {sibling}: `announcer explain {sibling}`.")]
        }
    }
}

/// How many passes each check that is not up still needs.
fn passes(vip: &VipReport, service: &ServiceConfig) -> Vec<String> {
    let down = vip.checks.iter().zip(&service.checks).filter(|(check, _)| check.verdict != Verdict::Up);
    let sentence = |(check, config): (&CheckReport, &crate::config::CheckConfig)| {
        let rise = config.rise;
        let passed = check.evidence.streak.passes().min(rise);
        let every = humantime::format_duration(config.fast_interval);
        match rise - passed {
            1 => format!("It comes back when check `{}` passes once more.", check.name),
            more if passed == 0 => {
                format!(
                    "It comes back when check `{}` has passed {more} times in a row, one probe each {every}.",
                    check.name
                )
            }
            more => format!(
                "It comes back when check `{}` passes {more} times more in a row, one probe each {every}.",
                check.name
            ),
        }
    };
    down.map(sentence).collect()
}
