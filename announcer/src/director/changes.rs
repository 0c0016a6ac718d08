//! The lines of the log about VIPs: how much each change matters, and how few lines tell it.
//!
//! Pure. The level says what a person has to do: nothing (info), look at it (warning), or act at once (error).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::Level;

use super::standing::{LastChoiceReason, NotAnnouncedReason, Standing};
use super::{Director, StandingChange};

#[cfg(test)]
mod tests;

/// The longest time after a start until the summary is logged, although some VIPs have no verdict yet.
const START: Duration = Duration::from_secs(10);
/// How many services the summary gives a reason for.
const REASONS: usize = 5;

/// A line of the log about one or more VIPs of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeLine {
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub message: &'static str,
    /// The service.
    pub service: String,
    /// Its VIPs to which this happened.
    pub vips: Vec<IpAddr>,
    /// Why, as a sentence without its subject; none for a VIP that is announced.
    pub reason: Option<String>,
}

/// What is logged once after a start: how many VIPs have which standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartSummary {
    /// How much it matters.
    pub level: Level,
    /// How many VIPs are announced, without those that are the last choice.
    pub announced: usize,
    /// How many are the last choice.
    pub last_choice: usize,
    /// How many are drained.
    pub drained: usize,
    /// How many are not announced, or have no verdict yet.
    pub not_announced: usize,
    /// Why some are not announced, in short; none if there are none.
    pub why: Option<String>,
}

/// What a change of a standing means for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The VIP is announced, or an operator wants it as it is, or there is no result yet.
    Wanted,
    /// Something has failed.
    Failure,
}

impl Standing {
    fn cause(&self) -> Cause {
        match self {
            Standing::Announced
            | Standing::LastChoice(LastChoiceReason::Backup | LastChoiceReason::Leaving)
            | Standing::Drained(_)
            | Standing::NotAnnounced(NotAnnouncedReason::Stopping | NotAnnouncedReason::NotLookedFor(_)) => {
                Cause::Wanted
            }
            Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(seen)) if !seen.has_lapsed() => {
                Cause::Wanted
            }
            Standing::LastChoice(
                LastChoiceReason::Unhealthy(_)
                | LastChoiceReason::Slow(_)
                | LastChoiceReason::TooFewOthers(_)
                | LastChoiceReason::Flapping(_)
                | LastChoiceReason::Sibling(_),
            )
            | Standing::NotAnnounced(
                NotAnnouncedReason::VipMissing(_)
                | NotAnnouncedReason::DeviceDown(_)
                | NotAnnouncedReason::NoVerdict(_)
                | NotAnnouncedReason::Unhealthy(_)
                | NotAnnouncedReason::Waiting(_)
                | NotAnnouncedReason::Sibling(_),
            ) => Cause::Failure,
        }
    }

    /// Whether a person expects this VIP to be announced next: it is announced, or it starts, or its drain ends.
    fn is_expected_to_work(&self) -> bool {
        match self {
            Standing::Announced | Standing::LastChoice(_) | Standing::Drained(_) => true,
            Standing::NotAnnounced(_) => self.word() == "starting",
        }
    }
}

impl StandingChange {
    /// Whether a failure has withdrawn the VIP.
    fn is_failed_withdrawal(&self) -> bool {
        self.before.is_advertised()
            && !self.standing.is_advertised()
            && self.standing.cause() == Cause::Failure
    }

    /// How much the change matters. `last`: after it, this host announces no VIP any more.
    ///
    /// A VIP that a failure withdraws, or makes the last choice, is a warning; so is one that does not come up at a start or after a
    /// drain. If it was the last VIP, it is an error. A VIP that has failed already is not reported as a warning again.
    pub fn level(&self, last: bool) -> Level {
        let is_wait = matches!(self.standing, Standing::NotAnnounced(NotAnnouncedReason::Waiting(_)));
        match self.standing.cause() {
            Cause::Failure if self.is_failed_withdrawal() && last => Level::ERROR,
            // It may have failed while it was the last choice already: then the host keeps it for the same reason.
            Cause::Failure if self.before.is_advertised() && self.standing.is_advertised() => {
                if self.before.cause() == Cause::Wanted { Level::WARN } else { Level::INFO }
            }
            Cause::Failure
                if self.before.is_expected_to_work() && (self.before.is_advertised() || !is_wait) =>
            {
                Level::WARN
            }
            Cause::Failure | Cause::Wanted => Level::INFO,
        }
    }

    /// What happened, as the text of a line of the log.
    pub fn message(&self, last: bool) -> &'static str {
        match &self.standing {
            Standing::Announced => "VIP was announced",
            Standing::LastChoice(_) => "VIP was made the last choice",
            Standing::Drained(_) => "VIP was drained",
            Standing::NotAnnounced(_) if last && self.is_failed_withdrawal() => "last VIP was withdrawn",
            Standing::NotAnnounced(_) if self.before.is_advertised() => "VIP was withdrawn",
            Standing::NotAnnounced(_) => "VIP is not announced",
        }
    }
}

/// The lines for changes that were made together. VIPs of the same service with the same change share a line. `advertised`: how many
/// VIPs this host announces after the changes.
pub fn lines(changes: &[StandingChange], advertised: usize) -> Vec<ChangeLine> {
    let last_withdrawal = changes.iter().rposition(StandingChange::is_failed_withdrawal);
    let mut lines: Vec<ChangeLine> = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let last = advertised == 0 && last_withdrawal == Some(index);
        let reason = (change.standing != Standing::Announced).then(|| change.standing.to_string());
        let line = ChangeLine {
            level: change.level(last),
            message: change.message(last),
            service: change.service.to_string(),
            vips: Vec::new(),
            reason,
        };
        let same = |other: &&mut ChangeLine| {
            (&other.level, other.message, &other.service, &other.reason)
                == (&line.level, line.message, &line.service, &line.reason)
        };
        match lines.iter_mut().find(same) {
            Some(other) => other.vips.push(change.vip),
            None => lines.push(ChangeLine { vips: vec![change.vip], ..line }),
        }
    }
    lines
}

/// The lines of a start: until each VIP has its first verdict, or for [`START`], changes that only lead to the first verdict are not
/// logged. Then one summary is.
#[derive(Debug)]
pub struct StartLog {
    /// When the summary is logged at the latest; `None`: it was logged.
    until: Option<Instant>,
}

impl StartLog {
    /// A start at `now`.
    pub fn new(now: Instant) -> Self {
        StartLog { until: Some(now + START) }
    }

    /// When [`summary`](Self::summary) has something to say, without a change.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Keeps the changes that have to be logged now.
    pub fn filter(&self, changes: &mut Vec<StandingChange>) {
        if self.until.is_some() {
            changes.retain(|change| change.before.is_advertised());
        }
    }

    /// The summary, once.
    pub fn summary(&mut self, director: &Director, now: Instant) -> Option<StartSummary> {
        let until = self.until?;
        let over = director.stopping || director.undecided.is_empty() || until <= now;
        if !over {
            return None;
        }
        self.until = None;
        (!director.stopping).then(|| director.start_summary())
    }
}

impl Director {
    /// How many VIPs are announced, those that are the last choice included.
    pub fn advertised(&self) -> usize {
        self.vips.values().filter(|vip| vip.standing.is_advertised()).count()
    }

    fn start_summary(&self) -> StartSummary {
        let mut summary = StartSummary {
            level: Level::INFO,
            announced: 0,
            last_choice: 0,
            drained: 0,
            not_announced: 0,
            why: None,
        };
        let mut reasons: BTreeMap<&str, (usize, String)> = BTreeMap::new();
        for vip in self.vips.values() {
            match &vip.standing {
                Standing::Announced => summary.announced += 1,
                Standing::LastChoice(_) => summary.last_choice += 1,
                Standing::Drained(_) => summary.drained += 1,
                Standing::NotAnnounced(_) => summary.not_announced += 1,
            }
            if vip.standing.cause() == Cause::Failure || !vip.standing.is_advertised() {
                let service = self.config.services[vip.service].name.as_str();
                let first = || (0, vip.standing.to_string());
                reasons.entry(service).or_insert_with(first).0 += 1;
            }
            if vip.standing.cause() == Cause::Failure {
                summary.level = summary.level.min(Level::WARN); // a more severe level is less
            }
        }
        if summary.level == Level::WARN && summary.announced + summary.last_choice == 0 {
            summary.level = Level::ERROR;
        }
        let more = reasons.len().saturating_sub(REASONS);
        let mut why: Vec<String> = (reasons.into_iter().take(REASONS))
            .map(|(service, (count, reason))| match count {
                1 => format!("{service}: {reason}"),
                count => format!("{service}, {count} VIPs: {reason}"),
            })
            .collect();
        if more > 0 {
            why.push(format!("{more} more services"));
        }
        summary.why = (!why.is_empty()).then(|| why.join("; "));
        summary
    }
}
