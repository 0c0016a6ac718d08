//! What is done with a VIP, and why: the words that routes, `status`, the log and metrics share.
//!
//! Pure.

use std::fmt;
use std::net::IpAddr;

use crate::damping::{Flapping, Wait};
use crate::drain::Drain;
use crate::health::check::Evidence;

/// What is done with a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is announced.
    Announced,
    /// It is announced as the last choice of the routers.
    Depreferred(Depreference),
    /// An operator holds it back.
    Draining(Drain),
    /// It is held back by what we see.
    Withheld(Reason),
}

/// Why a VIP is the last choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Depreference {
    /// Its service is a backup.
    Backup,
    /// A check has failed whose `on_failure` is `deprefer`; what it saw.
    Unhealthy(Evidence),
    /// It is healthy, and came back too often in short order.
    Flapping(Flapping),
    /// It shares its prefix with this VIP, which is.
    Sibling(IpAddr),
}

/// Why a VIP is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The daemon is ending.
    Stopping,
    /// Whether the VIP is on the host is not known yet.
    NotLookedFor,
    /// The VIP is not on the host, and could not be put there.
    VipMissing(String),
    /// lo is down and could not be set up.
    LoDown(String),
    /// A check has no verdict yet, or none any more; what it saw so far.
    NoVerdict(Evidence),
    /// A check has failed; what it saw.
    Unhealthy(Evidence),
    /// It could be announced, and waits.
    Waiting(Wait),
    /// It shares its prefix with this VIP, which is not announced.
    Sibling(IpAddr),
}

impl Standing {
    /// Every [`word`](Self::word) there is.
    pub const WORDS: [&'static str; 4] = ["announced", "depreferred", "draining", "withheld"];

    /// One word, as `status`, JSON, metrics and the hook have it.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Announced => "announced",
            Standing::Depreferred(_) => "depreferred",
            Standing::Draining(_) => "draining",
            Standing::Withheld(_) => "withheld",
        }
    }

    /// Whether routers are told of it.
    pub fn is_told(&self) -> bool {
        match self {
            Standing::Announced | Standing::Depreferred(_) => true,
            Standing::Draining(_) | Standing::Withheld(_) => false,
        }
    }

    /// Why, in one word, for metrics: a standing and its word are the same to the log as long as they stay.
    pub fn label(&self) -> &'static str {
        match self {
            Standing::Announced => "healthy",
            Standing::Depreferred(Depreference::Backup) => "backup",
            Standing::Depreferred(Depreference::Unhealthy(_)) | Standing::Withheld(Reason::Unhealthy(_)) => {
                "unhealthy"
            }
            Standing::Depreferred(Depreference::Sibling(_)) | Standing::Withheld(Reason::Sibling(_)) => {
                "sibling"
            }
            Standing::Draining(_) => "drained",
            Standing::Withheld(Reason::Stopping) => "stopping",
            Standing::Withheld(Reason::NotLookedFor) => "not_looked_for",
            Standing::Withheld(Reason::VipMissing(_)) => "vip_missing",
            Standing::Withheld(Reason::LoDown(_)) => "lo_down",
            Standing::Withheld(Reason::NoVerdict(_)) => "no_verdict",
            Standing::Withheld(Reason::Waiting(Wait::Delay(_))) => "waiting",
            Standing::Depreferred(Depreference::Flapping(_))
            | Standing::Withheld(Reason::Waiting(Wait::Flapping(_))) => "flapping",
        }
    }

    /// Whether a change from `self` is news: a reason's numbers may move without being any.
    pub(super) fn is_news_after(&self, before: &Standing) -> bool {
        match (before, self) {
            (Standing::Draining(before), Standing::Draining(now)) => before != now,
            (before, now) => (before.word(), before.label()) != (now.word(), now.label()),
        }
    }
}

impl fmt::Display for Standing {
    /// A sentence without its subject, as in "withheld, 3 of 3 probes failed".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Announced => f.write_str("announced"),
            Standing::Depreferred(why) => write!(f, "depreferred, {why}"),
            Standing::Draining(drain) => write!(f, "drained{drain}"),
            Standing::Withheld(reason) => write!(f, "withheld, {reason}"),
        }
    }
}

impl fmt::Display for Depreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Depreference::Backup => f.write_str("healthy, a backup for when others have withdrawn"),
            Depreference::Unhealthy(seen) => seen.fmt(f),
            Depreference::Flapping(Flapping { returns, penalty }) => write!(
                f,
                "healthy, but it came back {returns} times in short order: the last choice of the routers until it has \
                 been healthy for {}, or until `announcer undrain`",
                humantime::format_duration(*penalty)
            ),
            Depreference::Sibling(vip) => write!(f, "as {vip} is, which is in the same prefix"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Stopping => f.write_str("announcer is stopping"),
            Reason::NotLookedFor => f.write_str("starting, lo was not looked at yet"),
            Reason::VipMissing(why) => write!(f, "the VIP is not on lo: {why}"),
            Reason::LoDown(why) => write!(f, "lo is down, and could not be set up: {why}"),
            Reason::NoVerdict(seen) | Reason::Unhealthy(seen) => seen.fmt(f),
            Reason::Waiting(Wait::Delay(delay)) => {
                write!(f, "healthy, announced once it has been for {}", humantime::format_duration(*delay))
            }
            Reason::Waiting(Wait::Flapping(Flapping { returns, penalty })) => write!(
                f,
                "healthy, but it came back {returns} times in short order: announced once it has been for {}, or by \
                 `announcer undrain`",
                humantime::format_duration(*penalty)
            ),
            Reason::Sibling(vip) => write!(f, "for {vip} is not announced, which is in the same prefix"),
        }
    }
}
