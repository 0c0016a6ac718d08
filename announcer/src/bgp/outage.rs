//! The causes for which there is no session with a peer, from the end of the last session, or the start, until the next session.
//!
//! Pure. The last learnt cause is kept until an event contradicts it. One cause is one line in the log, even if later tries end in
//! other ways.
//!
//! | class of a reason | how it is shown | what contradicts it |
//! |---|---|---|
//! | learnt: a NOTIFICATION, a refused OPEN, packets dropped for their TTL | until it is contradicted | a session; another learnt cause; for OPEN and TTL: an accepted OPEN |
//! | hung up: the connection was refused, closed or reset | alone, or after the learnt cause: many routers refuse connections for some time after an error | any other end |
//! | plain: all others | before the learnt cause | any other end |

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::bgp::hint::Clues;
use crate::bgp::notification;
use crate::bgp::reason::{DownReason, TcpFailure};

/// For how long tries have to end in one way before a cause is logged again, and before a refused connection replaces the learnt
/// cause. No router waits longer after an error (BIRD: 300 s).
const SETTLED: Duration = Duration::from_secs(330);
/// How many causes of one outage are remembered as logged.
const REMEMBERED: usize = 16;

/// Why and when a session went down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDown {
    /// Why.
    pub why: DownReason,
    /// The hint, if there is one.
    pub hint: Option<String>,
    /// When.
    pub at: Instant,
}

/// The causes of a peer's outage so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outage {
    /// The last cause that says more than that a connection failed.
    learnt: Option<SessionDown>,
    /// How the last try ended, or why the current one waits.
    last: Option<FailureStreak>,
    /// The causes that were logged.
    logged: Vec<CauseKey>,
    /// Tries that ended since the last line of the log.
    unlogged: u64,
    /// Tries that ended since the outage began.
    tries: u64,
}

/// Tries in a row that ended in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FailureStreak {
    down: SessionDown,
    class: FailureClass,
    since: Instant,
    tries: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailureClass {
    Learnt,
    HungUp,
    Plain,
}

/// Two causes with the same label and hint are the same. All ways in which a peer closes the connection are the same.
type CauseKey = (&'static str, Option<String>);

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// What to look at.
    pub hint: Option<String>,
    /// How many tries ended since the last line.
    pub tries: u64,
}

impl Outage {
    /// A session ended. This is always logged, and a new outage begins. Returns the hint.
    pub fn session_ended(&mut self, why: DownReason, clues: &Clues, at: Instant) -> Option<String> {
        *self = Outage::default();
        self.note(why, clues, at).and_then(|line| line.hint)
    }

    /// A try ended. Returns the line to log, if any.
    pub fn try_ended(&mut self, why: DownReason, clues: &Clues, at: Instant) -> Option<LogLine> {
        self.tries += 1;
        self.unlogged += 1;
        self.note(why, clues, at)
    }

    /// A try has waited for a long time. Returns the line to log, if any.
    pub fn try_waits(&mut self, why: DownReason, clues: &Clues, at: Instant) -> Option<LogLine> {
        self.note(why, clues, at)
    }

    /// The peer's OPEN was accepted: errors in an earlier OPEN no longer hold, and the peer's packets arrive.
    pub fn open_accepted(&mut self) {
        let contradicted =
            |down: &SessionDown| matches!(down.why, DownReason::Open(_)) || self_evident(&down.why).is_none();
        if self.learnt.as_ref().is_some_and(contradicted) {
            self.learnt = None;
        }
    }

    /// The session is established. Returns how many tries were needed.
    pub fn established(&mut self) -> u64 {
        std::mem::take(self).tries.saturating_add(1)
    }

    /// The last end of a session or a try.
    pub fn last(&self) -> Option<&SessionDown> {
        self.last.as_ref().map(|run| &run.down)
    }

    /// Why there is no session, as a sentence, with the hint; `None` before a try has failed.
    pub fn reason(&self, now: Instant) -> Option<(String, Option<String>)> {
        let last = self.last.as_ref()?;
        let mut text = String::new();
        let Some(learnt) = self.learnt.as_ref().filter(|learnt| **learnt != last.down) else {
            let _ = write!(text, "{}", last.down.text(now));
            return Some((text, last.down.hint.clone()));
        };
        if last.hangs_up(now) {
            let times = if last.tries == 1 { "once".to_owned() } else { format!("{} times", last.tries) };
            let _ = write!(text, "{}; since then {} ({times})", learnt.text(now), last.down.why);
            // A refusal says that nothing accepts connections, which is newer than the learnt cause. A connection that is closed
            // says less.
            let refused = matches!(last.down.why, DownReason::Tcp(TcpFailure::Refused));
            return Some((
                text,
                if refused { newest_first(&last.down, learnt) } else { learnt.hint.clone() },
            ));
        }
        let _ = write!(text, "{}; before that {}", last.down.text(now), learnt.text(now));
        let hint = match last.class {
            FailureClass::HungUp => newest_first(&last.down, learnt),
            FailureClass::Plain | FailureClass::Learnt => last.down.hint.clone(),
        };
        Some((text, hint))
    }

    fn note(&mut self, why: DownReason, clues: &Clues, at: Instant) -> Option<LogLine> {
        let class = class(&why, clues);
        let down = SessionDown { hint: why.hint(clues), why, at };
        let key = key(&down, class);
        let same = self.last.as_ref().filter(|run| self::key(&run.down, run.class) == key);
        let (since, tries) = same.map_or((at, 1), |run| (run.since, run.tries + 1));
        let run = FailureStreak { down, class, since, tries };
        let muted = self.learnt.is_some() && run.hangs_up(at);
        let settled = run.held(at);
        if class == FailureClass::Learnt {
            self.learnt = Some(run.down.clone());
        }
        let hint = run.down.hint.clone();
        self.last = Some(run);
        // The current cause is moved to the end of the list.
        let line = match self.logged.iter().position(|logged| *logged == key) {
            _ if muted => false,
            None => true,
            Some(place) => place + 1 < self.logged.len() && settled,
        };
        if !line {
            return None;
        }
        self.logged.retain(|logged| *logged != key);
        self.logged.push(key);
        if self.logged.len() > REMEMBERED {
            self.logged.remove(0);
        }
        Some(LogLine { hint, tries: std::mem::take(&mut self.unlogged) })
    }
}

impl FailureStreak {
    /// Whether it has lasted so long that it is not a temporary state of the router.
    fn held(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= SETTLED
    }

    /// Whether it says less than the learnt cause. A router that is shut for this neighbour closes every connection without a
    /// message. A router that refuses connections for a long time has no BGP daemon that listens.
    fn hangs_up(&self, now: Instant) -> bool {
        let refused = matches!(self.down.why, DownReason::Tcp(TcpFailure::Refused));
        self.class == FailureClass::HungUp && !(refused && self.held(now))
    }
}

impl SessionDown {
    /// "why, 3s ago".
    pub fn text(&self, now: Instant) -> String {
        let ago = Duration::from_secs(now.saturating_duration_since(self.at).as_secs());
        format!("{}, {} ago", self.why, humantime::format_duration(ago))
    }
}

/// The hints of two causes, that of the newest first.
fn newest_first(newest: &SessionDown, before: &SessionDown) -> Option<String> {
    let both: Vec<&str> = [&newest.hint, &before.hint].into_iter().filter_map(Option::as_deref).collect();
    (!both.is_empty()).then(|| both.join("; before that: "))
}

fn key(down: &SessionDown, class: FailureClass) -> CauseKey {
    match (&down.why, class) {
        (DownReason::Tcp(TcpFailure::Closed | TcpFailure::Reset), _) => ("closed", None),
        (DownReason::Notified(notification), _) => (down.why.label(), Some(notification.to_string())),
        (DownReason::Open(error), _) => (down.why.label(), Some(error.to_string())),
        (_, FailureClass::Learnt | FailureClass::HungUp | FailureClass::Plain) => {
            (down.why.label(), down.hint.clone())
        }
    }
}

fn class(why: &DownReason, clues: &Clues) -> FailureClass {
    self_evident(why).unwrap_or(if clues.too_far() { FailureClass::Learnt } else { FailureClass::Plain })
}

/// The class of a reason, if it does not depend on the clues; `None`: it is learnt if packets were dropped for their TTL, otherwise
/// plain.
fn self_evident(why: &DownReason) -> Option<FailureClass> {
    match why {
        // These say less than the earlier cause.
        DownReason::Notified(said)
            if said.kind() == notification::COLLISION || said.kind() == notification::CONNECTION_REJECTED =>
        {
            Some(FailureClass::HungUp)
        }
        DownReason::Tcp(TcpFailure::Refused | TcpFailure::Closed | TcpFailure::Reset) => {
            Some(FailureClass::HungUp)
        }
        DownReason::Notified(_)
        | DownReason::Open(_)
        | DownReason::Malformed(_)
        | DownReason::OutOfTurn(_) => Some(FailureClass::Learnt),
        DownReason::NoOpen(_)
        | DownReason::NoKeepalive(_)
        | DownReason::HoldExpired(_)
        | DownReason::Tcp(TcpFailure::NoAnswer(_) | TcpFailure::TimedOut | TcpFailure::Unheard(_)) => None,
        DownReason::Stopped(_)
        | DownReason::SendHoldExpired(_)
        | DownReason::Collision
        | DownReason::LivenessLost
        | DownReason::Tcp(
            TcpFailure::NoRoute
            | TcpFailure::Unreachable
            | TcpFailure::NoSource(_)
            | TcpFailure::NoAddress
            | TcpFailure::SourceMissing(_)
            | TcpFailure::Forbidden
            | TcpFailure::NoGateway
            | TcpFailure::NoInterface(_)
            | TcpFailure::NoVrf(_)
            | TcpFailure::NotAVrf(_)
            | TcpFailure::NotInVrf { .. }
            | TcpFailure::NoRouter(_)
            | TcpFailure::NotLearnt(_)
            | TcpFailure::RouterGone
            | TcpFailure::LinkDown(_)
            | TcpFailure::InterfaceGone
            | TcpFailure::AddressGone(_)
            | TcpFailure::Password(_)
            | TcpFailure::Other(_),
        ) => Some(FailureClass::Plain),
    }
}

#[cfg(test)]
mod tests;
