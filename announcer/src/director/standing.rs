//! The standing of a VIP and its reason: the words that routes, `status`, the log and metrics share.
//!
//! Pure.

use std::fmt;
use std::net::IpAddr;

use crate::damping::{DampingWait, Flapping};
use crate::drain::DrainedBy;
use crate::health::check::Evidence;
use crate::vip::DeviceProblem;

/// The standing of a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is announced.
    Announced,
    /// It is announced with the attributes of `[service.deprefer]`: routers use it while no other host announces it.
    LastChoice(LastChoiceReason),
    /// Operators have withdrawn it, with these orders.
    Drained(DrainedBy),
    /// It is withdrawn because of a fact, or it is not announced yet.
    NotAnnounced(NotAnnouncedReason),
}

/// Why a VIP is the last choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastChoiceReason {
    /// Its service is a backup.
    Backup,
    /// A check has failed whose effect is `deprefer`; with its evidence.
    Unhealthy(Evidence),
    /// The right answers to a check with `on_slow = "deprefer"` come late; with its evidence.
    Slow(Evidence),
    /// A check has failed while a server listens, and it is not known that enough other members of the chain announce it; with its
    /// evidence.
    TooFewOthers(Evidence),
    /// It is healthy, but came back too often in a short time.
    Flapping(Flapping),
    /// It is in the same prefix as this VIP, which is the last choice.
    Sibling(IpAddr),
    /// It is healthy, and will be withdrawn soon: a drain is prepared, or the daemon will stop.
    Leaving,
}

/// Why a VIP is not announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAnnouncedReason {
    /// The daemon is ending.
    Stopping,
    /// The addresses of its device were not read yet; with the name of the device.
    NotLookedFor(String),
    /// The VIP is not on the host, and could not be put there.
    VipMissing(DeviceProblem),
    /// Its device is down and could not be set up.
    DeviceDown(DeviceProblem),
    /// A check has no verdict yet, or no longer has one; with its evidence.
    NoVerdict(Evidence),
    /// A check has failed; with its evidence.
    Unhealthy(Evidence),
    /// It could be announced, but it waits.
    Waiting(DampingWait),
    /// It is in the same prefix as this VIP, which is not announced.
    Sibling(IpAddr),
}

impl Standing {
    /// Every [`word`](Self::word).
    pub const WORDS: [&'static str; 5] = ["announced", "last_choice", "drained", "not_announced", "starting"];

    /// The word for JSON, metrics and the hook. A VIP is starting while it has no verdict and has not lost one.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Announced => "announced",
            Standing::LastChoice(_) => "last_choice",
            Standing::Drained(_) => "drained",
            Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor(_)) => "starting",
            Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(seen)) if !seen.has_lapsed() => "starting",
            Standing::NotAnnounced(_) => "not_announced",
        }
    }

    /// Whether it is advertised to the routers.
    pub fn is_advertised(&self) -> bool {
        match self {
            Standing::Announced | Standing::LastChoice(_) => true,
            Standing::Drained(_) | Standing::NotAnnounced(_) => false,
        }
    }

    /// The reason as one word, for metrics. As long as the standing and this word stay the same, nothing is logged.
    pub fn label(&self) -> &'static str {
        match self {
            Standing::Announced => "healthy",
            Standing::LastChoice(LastChoiceReason::Backup) => "backup",
            Standing::LastChoice(LastChoiceReason::Leaving) => "leaving",
            Standing::LastChoice(LastChoiceReason::TooFewOthers(_)) => "too_few_others",
            Standing::LastChoice(LastChoiceReason::Slow(_)) => "slow",
            Standing::LastChoice(LastChoiceReason::Unhealthy(_))
            | Standing::NotAnnounced(NotAnnouncedReason::Unhealthy(_)) => "unhealthy",
            Standing::LastChoice(LastChoiceReason::Sibling(_))
            | Standing::NotAnnounced(NotAnnouncedReason::Sibling(_)) => "sibling",
            Standing::Drained(_) => "drained",
            Standing::NotAnnounced(NotAnnouncedReason::Stopping) => "stopping",
            Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor(_)) => "addresses_not_read",
            Standing::NotAnnounced(NotAnnouncedReason::VipMissing(_)) => "vip_missing",
            Standing::NotAnnounced(NotAnnouncedReason::DeviceDown(_)) => "device_down",
            Standing::NotAnnounced(NotAnnouncedReason::NoVerdict(_)) => "checks_undecided",
            Standing::NotAnnounced(NotAnnouncedReason::Waiting(DampingWait::Delay(_))) => "waiting",
            Standing::LastChoice(LastChoiceReason::Flapping(_))
            | Standing::NotAnnounced(NotAnnouncedReason::Waiting(DampingWait::Flapping(_))) => "flapping",
        }
    }

    /// Whether the change is worth a report: changed numbers in a reason are not.
    pub(super) fn is_news_after(&self, before: &Standing) -> bool {
        match (before, self) {
            (Standing::Drained(before), Standing::Drained(now)) => before != now,
            (before, now) => (before.word(), before.label()) != (now.word(), now.label()),
        }
    }
}

impl fmt::Display for Standing {
    /// A sentence without its subject, as in "not announced, 3 of 3 probes failed".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word().replace('_', " ");
        match self {
            Standing::Announced => f.write_str(&word),
            Standing::LastChoice(why) => write!(f, "{word}, {why}"),
            Standing::Drained(by) => write!(f, "{word}{by}"),
            Standing::NotAnnounced(reason) => write!(f, "{word}, {reason}"),
        }
    }
}

impl fmt::Display for LastChoiceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastChoiceReason::Backup => {
                f.write_str("healthy, a backup: routers use it when other hosts have withdrawn")
            }
            LastChoiceReason::Unhealthy(seen) | LastChoiceReason::Slow(seen) => seen.fmt(f),
            LastChoiceReason::TooFewOthers(seen) => write!(
                f,
                "{seen}; not withdrawn, because too few other frontends are known to announce it (`min_announcers`)"
            ),
            LastChoiceReason::Flapping(Flapping { returns, penalty }) => write!(
                f,
                "healthy, but it came back {returns} times in a short time: the last choice until it has \
                 been healthy for {}, or until `announcer undrain`",
                humantime::format_duration(*penalty)
            ),
            LastChoiceReason::Sibling(vip) => {
                write!(f, "because {vip} in the same prefix is the last choice")
            }
            LastChoiceReason::Leaving => {
                f.write_str("healthy, it will be withdrawn soon by a drain or a stop that is prepared")
            }
        }
    }
}

impl fmt::Display for NotAnnouncedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAnnouncedReason::Stopping => f.write_str("announcer is stopping"),
            NotAnnouncedReason::NotLookedFor(device) => {
                write!(f, "the addresses of {device} were not read yet")
            }
            NotAnnouncedReason::VipMissing(problem) => f.write_str(&problem.missing_sentence()),
            NotAnnouncedReason::DeviceDown(problem) => f.write_str(&problem.down_sentence()),
            NotAnnouncedReason::NoVerdict(seen) | NotAnnouncedReason::Unhealthy(seen) => seen.fmt(f),
            NotAnnouncedReason::Waiting(DampingWait::Delay(delay)) => {
                write!(
                    f,
                    "healthy, it will be announced after it has been healthy for {}",
                    humantime::format_duration(*delay)
                )
            }
            NotAnnouncedReason::Waiting(DampingWait::Flapping(Flapping { returns, penalty })) => write!(
                f,
                "healthy, but it came back {returns} times in a short time: it will be announced after it has been healthy for \
                 {}, or by `announcer undrain`",
                humantime::format_duration(*penalty)
            ),
            NotAnnouncedReason::Sibling(vip) => {
                write!(f, "because {vip} in the same prefix is not announced")
            }
        }
    }
}
