//! What this host knows of one other member: whether it lives, and what it said last.
//!
//! Pure. `now` comes in, the next deadline goes out.
//!
//! ```text
//! heartbeat -> Member::receive         ──┐
//! ARP or ND -> Member::kernel_answered ──┼─> MemberChange?   then: while let Some(header) = Member::transmit(now) { send }
//! time      -> Member::expire          ──┘                   if Member::ask(now) { probe the neighbour entry }
//!                                                            wait until Member::deadline()
//! ```
//!
//! A daemon that begins knows what the members that lived said to the former one ([`Member::former`]): they are asked through their kernels
//! until they are heard, and stay as long as one whose heartbeats have stopped.
//!
//! The caller reads its socket before it calls [`Member::expire`], so that heartbeats that arrived while our own thread was paused
//! count first.
//!
//! A heartbeat counts if it returns one of the last [`RETURN_WINDOW`] heartbeats of our present start, and its counter has grown within
//! its start. The first one of another start counts if it returns a heartbeat that we sent after we had accepted the former start last:
//! only a living sender can, so an old start never comes back. No wall clock and no file is needed.
//!
//! ```text
//! intervals since the last heartbeat   0 ──── 1.5 ──────── 3 ─────────────────── 30 s
//! the kernel does not answer           alive   asked        dead
//! the kernel answers                   alive   asked silent silent, asked again and again dead
//! ```

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::chain::heartbeat::{
    AboutReceiver, Facts, Header, Heartbeat, HeartbeatDropReason, HeartbeatStart, MemberPresence, Returned,
    Returns,
};

/// A heartbeat counts only if it returns one of our last heartbeats, of which there are this many. A recorded one is of no use after
/// that. If one of three arrives, one of a million lacks so many in a row.
pub const RETURN_WINDOW: u64 = 32;
/// How long a member stays in the ring without a heartbeat while its kernel answers.
pub const MAX_SILENCE: Duration = Duration::from_secs(30);
/// After how many half intervals without a heartbeat the kernel of a member is asked, and after how many more the member is dead if its
/// kernel has not answered.
const ASK_AFTER: u32 = 3;
/// How often the kernel of a silent member is asked. In the first [`EARLY`] intervals of a silence it is asked every 1.5 intervals, so that
/// a host whose heartbeats were lost before it died is found dead as soon as another one.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How many intervals of a silence are early.
const EARLY: u32 = 10;
/// For how many of our intervals after our start a member may be not heard yet. If of three heartbeats in each direction one arrives, this
/// is enough for ours, its answer, and a delay.
const AWAITED: u32 = 8;

/// The two ends, and how often we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberSettings {
    /// Our address in the list of members.
    pub own: IpAddr,
    /// The member's address in the list of members.
    pub member: IpAddr,
    /// The interval of our heartbeats.
    pub interval: Duration,
}

/// Whether a member lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It has not been heard since our daemon began.
    Unknown,
    /// Its heartbeats count.
    Alive,
    /// Its heartbeats have stopped, and its kernel is being asked.
    Asked,
    /// Its heartbeats have stopped, and its kernel answers: its daemon is dead or hangs, and its rules go on.
    Silent,
    /// Neither its heartbeats nor answers of its kernel arrive.
    Dead,
    /// It has said that it has left.
    Left,
}

impl MemberState {
    /// All of them.
    pub const ALL: [MemberState; 6] = [
        MemberState::Unknown,
        MemberState::Alive,
        MemberState::Asked,
        MemberState::Silent,
        MemberState::Dead,
        MemberState::Left,
    ];

    /// Whether packets can be forwarded to it, as far as is known.
    pub fn lives(self) -> bool {
        match self {
            MemberState::Alive | MemberState::Asked | MemberState::Silent => true,
            MemberState::Unknown | MemberState::Dead | MemberState::Left => false,
        }
    }

    /// The value of the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            MemberState::Unknown => "unknown",
            MemberState::Alive => "alive",
            MemberState::Asked => "asked",
            MemberState::Silent => "silent",
            MemberState::Dead => "dead",
            MemberState::Left => "left",
        }
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// A change of a member's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberChange {
    /// Before.
    pub from: MemberState,
    /// After; differs from `from`.
    pub to: MemberState,
}

/// What a member said last in a heartbeat that counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// About itself.
    pub facts: Facts,
    /// About us.
    pub about_us: AboutReceiver,
}

/// The last heartbeat that counted.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    start: HeartbeatStart,
    counter: u64,
    /// When.
    at: Instant,
    /// When the first one of this start counted.
    first: Instant,
    /// Our own counter then. Another start counts only if it returns a higher one.
    own_counter: u64,
    said: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Unknown,
    Hearing,
    /// Its kernel is asked.
    Asking {
        /// When it was asked first; `None`: the first question is due.
        first: Option<Instant>,
        /// When it is asked next.
        next: Instant,
        /// Whether its kernel has answered an earlier question of this silence.
        answered: bool,
    },
    /// Its kernel has answered.
    Answered {
        /// When it is asked again.
        next: Instant,
    },
    Dead,
    Left,
}

/// One other member.
#[derive(Debug, Clone)]
pub struct Member {
    settings: MemberSettings,
    start: HeartbeatStart,
    /// The counter of the last heartbeat that we sent; 0: none.
    counter: u64,
    accepted: Option<Accepted>,
    /// What it said to the former process of this host.
    former: Option<Said>,
    heard: Option<Returned>,
    life: Life,
    since: Instant,
    /// When our daemon began to send to this member.
    began: Instant,
    /// When the next periodic heartbeat is due.
    next: Instant,
    /// Whether a heartbeat is due before that.
    urgent: bool,
    /// When the last one was sent before its time.
    hurried: Option<Instant>,
}

impl Member {
    /// A member that was not heard yet. `start` is random and new for each call: counters begin anew, and a member that was removed from the
    /// list and added again would drop them within the former start.
    pub fn new(settings: MemberSettings, start: HeartbeatStart, now: Instant) -> Self {
        Member {
            settings,
            start,
            counter: 0,
            accepted: None,
            former: None,
            heard: None,
            life: Life::Unknown,
            since: now,
            began: now,
            next: now,
            urgent: false,
            hurried: None,
        }
    }

    /// A member that lived when a former process ended, and what it said last to that process. If its daemon is dead, its rules may go on:
    /// its kernel is asked at once, and its silence begins now.
    pub fn former(settings: MemberSettings, start: HeartbeatStart, said: Said, now: Instant) -> Self {
        let life = Life::Asking { first: None, next: now, answered: false };
        Member { former: Some(said), life, ..Member::new(settings, start, now) }
    }

    /// Its address in the list of members.
    pub fn address(&self) -> IpAddr {
        self.settings.member
    }

    /// Whether it lives.
    pub fn state(&self) -> MemberState {
        match self.life {
            Life::Unknown => MemberState::Unknown,
            Life::Hearing => MemberState::Alive,
            Life::Asking { answered: false, .. } => MemberState::Asked,
            Life::Asking { answered: true, .. } | Life::Answered { .. } => MemberState::Silent,
            Life::Dead => MemberState::Dead,
            Life::Left => MemberState::Left,
        }
    }

    /// Since when it is in this state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// What it said last, to this process or to the former one; `None`: no heartbeat has counted yet. It stays after the member's death.
    pub fn said(&self) -> Option<&Said> {
        self.accepted.as_ref().map(|accepted| &accepted.said).or(self.former.as_ref())
    }

    /// Since when no heartbeat has counted: since the last one, or since our daemon knows the member from the former process.
    fn silent_from(&self) -> Option<Instant> {
        self.last_heartbeat().or(self.former.map(|_| self.began))
    }

    /// When its last heartbeat counted.
    pub fn last_heartbeat(&self) -> Option<Instant> {
        self.accepted.as_ref().map(|accepted| accepted.at)
    }

    /// Since when its present daemon is heard.
    pub fn heard_since(&self) -> Option<Instant> {
        self.accepted.as_ref().map(|accepted| accepted.first)
    }

    /// Whether our daemon has begun to send to it too recently to know that it does not live.
    pub fn awaited(&self, now: Instant) -> bool {
        let may_live = match self.life {
            Life::Unknown | Life::Asking { .. } | Life::Answered { .. } => true,
            Life::Hearing | Life::Dead | Life::Left => false,
        };
        may_live && self.accepted.is_none() && now < self.began + self.settings.interval * AWAITED
    }

    /// Changes the interval of our heartbeats.
    pub fn configure(&mut self, interval: Duration, now: Instant) {
        self.settings.interval = interval;
        self.next = self.next.min(now + interval);
        self.urgent = true;
    }

    /// Handles an authenticated heartbeat of this member: [`Heartbeat::decode`] has checked it.
    ///
    /// # Errors
    /// Why it does not count. It is then answered soon, so that the next one counts.
    pub fn receive(
        &mut self,
        heartbeat: &Heartbeat,
        now: Instant,
    ) -> Result<Option<MemberChange>, HeartbeatDropReason> {
        match self.judge(&heartbeat.header) {
            Ok(()) => Ok(self.accept(heartbeat, now)),
            Err(reason) => {
                if reason != HeartbeatDropReason::Counter {
                    self.hear(&heartbeat.header);
                }
                Err(reason)
            }
        }
    }

    fn judge(&self, header: &Header) -> Result<(), HeartbeatDropReason> {
        let same_start = self.accepted.as_ref().filter(|accepted| accepted.start == header.start);
        if same_start.is_some_and(|accepted| header.counter <= accepted.counter) {
            return Err(HeartbeatDropReason::Counter);
        }
        // The first one that we send has the counter 1.
        let recent = |counter: &u64| {
            *counter > 0 && self.counter.checked_sub(*counter).is_some_and(|age| age < RETURN_WINDOW)
        };
        let returned =
            header.returns.counter_of(self.start).filter(recent).ok_or(HeartbeatDropReason::NotReturned)?;
        match &self.accepted {
            Some(accepted) if accepted.start != header.start && returned <= accepted.own_counter => {
                Err(HeartbeatDropReason::EarlierStart)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers a heartbeat that does not count, and answers it: the next one will return our answer.
    fn hear(&mut self, header: &Header) {
        let counter = match self.heard {
            Some(heard) if heard.start == header.start => heard.counter.max(header.counter),
            Some(_) | None => header.counter,
        };
        self.heard = Some(Returned { start: header.start, counter });
        self.urgent = true;
    }

    fn accept(&mut self, heartbeat: &Heartbeat, now: Instant) -> Option<MemberChange> {
        let Header { start, counter, .. } = heartbeat.header;
        let first =
            self.accepted.as_ref().filter(|accepted| accepted.start == start).map(|known| known.first);
        self.urgent |= first.is_none();
        self.heard = self.heard.filter(|heard| heard.start != start);
        let said = Said { facts: heartbeat.facts, about_us: heartbeat.about_receiver };
        let first = first.unwrap_or(now);
        self.accepted = Some(Accepted { start, counter, at: now, first, own_counter: self.counter, said });
        let life = match heartbeat.facts.presence {
            MemberPresence::Here | MemberPresence::Leaving => Life::Hearing,
            MemberPresence::Left => Life::Left,
        };
        self.enter(life, now)
    }

    /// Handles an answer of the member's kernel: its neighbour entry was confirmed.
    pub fn kernel_answered(&mut self, now: Instant) -> Option<MemberChange> {
        match self.life {
            Life::Asking { first: Some(_), .. } => {
                self.enter(Life::Answered { next: self.ask_again(now) }, now)
            }
            Life::Asking { first: None, .. }
            | Life::Unknown
            | Life::Hearing
            | Life::Answered { .. }
            | Life::Dead
            | Life::Left => None,
        }
    }

    /// When its kernel is asked next after an answer.
    fn ask_again(&self, now: Instant) -> Instant {
        let half = self.half_interval();
        let early = self.silent_from().is_some_and(|at| now < at + half * (2 * EARLY));
        now + if early { ASK_AGAIN.min(half * ASK_AFTER) } else { ASK_AGAIN }
    }

    /// Handles the passage of time.
    pub fn expire(&mut self, now: Instant) -> Option<MemberChange> {
        if self.expires().is_none_or(|expires| now < expires) {
            return None;
        }
        let ask = |answered| Life::Asking { first: None, next: now, answered };
        let silence = self.silent_from().map(|from| from + MAX_SILENCE);
        let life = match self.life {
            Life::Hearing => ask(false),
            Life::Answered { .. } if silence.is_none_or(|end| now < end) => ask(true),
            Life::Answered { .. } | Life::Asking { .. } => Life::Dead,
            Life::Unknown | Life::Dead | Life::Left => return None,
        };
        self.enter(life, now)
    }

    /// When silence has its next effect.
    fn expires(&self) -> Option<Instant> {
        let from = self.silent_from()?;
        let (half, silence) = (self.half_interval(), from + MAX_SILENCE);
        match self.life {
            Life::Hearing => Some(from + half * ASK_AFTER),
            // The kernel gets its time to answer, even if our own thread was paused.
            Life::Asking { first: Some(first), .. } => {
                let dead = (from + half * (2 * ASK_AFTER)).max(first + half * ASK_AFTER);
                Some(if first < silence { dead.min(silence) } else { dead })
            }
            Life::Answered { next } => Some(next.min(silence)),
            Life::Asking { first: None, .. } | Life::Unknown | Life::Dead | Life::Left => None,
        }
    }

    /// Half of the interval of its heartbeats.
    fn half_interval(&self) -> Duration {
        self.said().map_or(self.settings.interval, |said| said.facts.interval) / 2
    }

    /// Whether the member's kernel is to be asked now: its neighbour entry is to be probed.
    pub fn ask(&mut self, now: Instant) -> bool {
        let again = now + self.half_interval();
        match &mut self.life {
            Life::Asking { first, next, .. } if now >= *next => {
                first.get_or_insert(now);
                *next = again;
                true
            }
            Life::Asking { .. }
            | Life::Unknown
            | Life::Hearing
            | Life::Answered { .. }
            | Life::Dead
            | Life::Left => false,
        }
    }

    /// What we say has changed: a heartbeat is sent before its time.
    pub fn hurry(&mut self) {
        self.urgent = true;
    }

    /// The header of the heartbeat that is due now; it is called until it returns `None`. Dead members get heartbeats too. Those before
    /// their time are at least a quarter of the interval apart, so that replays cannot make us flood the network.
    pub fn transmit(&mut self, now: Instant) -> Option<Header> {
        if now >= self.next {
            let next = self.next + self.settings.interval;
            self.next = if next > now { next } else { now + self.settings.interval };
        } else if self.urgent && self.hurry_from().is_none_or(|from| now >= from) {
            self.hurried = Some(now);
        } else {
            return None;
        }
        self.urgent = false;
        self.counter = self.counter.saturating_add(1);
        let accepted = self.accepted.as_ref();
        Some(Header {
            sender: self.settings.own,
            receiver: self.settings.member,
            start: self.start,
            counter: self.counter,
            returns: Returns {
                accepted: accepted
                    .map(|Accepted { start, counter, .. }| Returned { start: *start, counter: *counter }),
                heard: self.heard,
            },
        })
    }

    /// From when on a heartbeat may be sent before its time; `None`: at once.
    fn hurry_from(&self) -> Option<Instant> {
        self.hurried.map(|at| at + self.settings.interval / 4)
    }

    /// When [`expire`](Member::expire), [`ask`](Member::ask) or [`transmit`](Member::transmit) has to be called next, and
    /// [`awaited`](Member::awaited) asked again.
    pub fn deadline(&self) -> Instant {
        let urgent = self.urgent.then(|| self.hurry_from().unwrap_or(self.began));
        let ask = match self.life {
            Life::Asking { next, .. } => Some(next),
            Life::Unknown | Life::Hearing | Life::Answered { .. } | Life::Dead | Life::Left => None,
        };
        [urgent, ask, self.expires()].into_iter().flatten().fold(self.next, Instant::min)
    }

    fn enter(&mut self, life: Life, now: Instant) -> Option<MemberChange> {
        let from = self.state();
        self.life = life;
        let to = self.state();
        if from == to {
            return None;
        }
        self.since = now;
        Some(MemberChange { from, to })
    }
}

#[cfg(test)]
mod tests;
