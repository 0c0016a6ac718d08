//! The types of the state machine: its states with their timers, its events, and its actions.
//!
//! Pure. RFC 4271 §8.1 and §8.2.2.

use std::time::{Duration, Instant};

use crate::bgp::notification::Notification;
use crate::bgp::open::{NegotiatedSession, OpenError};
use crate::bgp::reason::{DownReason, TcpFailure};
use crate::model::Family;

/// The time limits of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// The wait before the first retry after a failure. Each further wait is twice as long.
    pub retry_first: Duration,
    /// The longest wait before a retry. The time between two tries is at most this plus `connect`.
    pub retry_max: Duration,
    /// How long one try to connect may take.
    pub connect: Duration,
    /// How long the peer may take to send its OPEN, and its KEEPALIVE if the hold time is zero. RFC 4271 §8.2.2 suggests 4 minutes.
    /// But we do not listen, so a router that has lost our connection could not reach us during that time.
    pub open_wait: Duration,
    /// How long the peer may accept no octet (RFC 9687 §3).
    pub send_hold: Duration,
    /// How long a session has to last before earlier failures are forgotten.
    pub calm: Duration,
}

impl Timers {
    /// The timers with this `send_hold`: at most 10 s from one try to the next.
    pub fn new(send_hold: Duration) -> Self {
        Timers {
            retry_first: Duration::from_millis(250),
            retry_max: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            open_wait: Duration::from_secs(15),
            send_hold,
            calm: Duration::from_secs(30),
        }
    }

    /// The wait before the next try, after `tries` failures in a row.
    pub(super) fn retry(&self, tries: u32, jitter: f64) -> Duration {
        let doubled = self.retry_first.saturating_mul(1 << tries.min(16));
        jittered(doubled.min(self.retry_max), jitter)
    }
}

/// Multiplies a time by 0.75 to 1 (RFC 4271 §10).
fn jittered(whole: Duration, jitter: f64) -> Duration {
    whole.mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0))
}

/// The time of a step, and its random number.
#[derive(Debug, Clone, Copy)]
pub struct StepContext {
    /// The time, monotonic.
    pub now: Instant,
    /// A random number from 0 to 1, new for each step.
    pub jitter: f64,
}

/// Hold and keepalive timers of a session whose hold time is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    pub(super) time: Duration,
    pub(super) expires: Instant,
    pub(super) keepalive: Instant,
}

impl Hold {
    pub(super) fn start(time: Duration, context: StepContext) -> Self {
        let keepalive = context.now + Hold::interval(time, context);
        Hold { time, expires: context.now + time, keepalive }
    }

    /// A hold timer without a keepalive timer.
    pub(super) fn silent(time: Duration, now: Instant) -> Self {
        Hold { time, expires: now + time, keepalive: now + time }
    }

    pub(super) fn interval(time: Duration, context: StepContext) -> Duration {
        jittered(time / 3, context.jitter)
    }

    pub(super) fn restarted(self, now: Instant) -> Self {
        Hold { expires: now + self.time, ..self }
    }

    pub(super) fn due(&self) -> Instant {
        self.expires.min(self.keepalive)
    }
}

/// RFC 4271 §8.2.2. `tries` counts the failures in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No connection.
    Idle {
        /// When the next try begins; `None`: no session is wanted.
        retry: Option<Instant>,
        /// Failures in a row.
        tries: u32,
    },
    /// TCP is being connected.
    Connect {
        /// When this try ends without success.
        give_up: Instant,
        /// Failures in a row.
        tries: u32,
    },
    /// Our OPEN is sent.
    OpenSent {
        /// When the wait for the peer's OPEN ends.
        hold: Instant,
        /// Failures in a row.
        tries: u32,
    },
    /// Both OPENs were accepted, and our KEEPALIVE is sent.
    OpenConfirm {
        /// The negotiated values of both OPENs.
        negotiated: NegotiatedSession,
        /// The hold timer. With a negotiated hold time of zero, it limits the wait for the peer's KEEPALIVE.
        timers: Option<Hold>,
        /// Failures in a row.
        tries: u32,
    },
    /// The session is up.
    Established {
        /// Since when the session is up.
        since: Instant,
        /// `None`: the negotiated hold time is zero.
        timers: Option<Hold>,
        /// When the session ends because the peer accepts no octets; `None`: no octets wait.
        send_hold: Option<Instant>,
        /// Failures in a row before it.
        tries: u32,
    },
}

/// The name of a state, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum StateName {
    /// No connection.
    Idle,
    /// TCP is being connected.
    Connect,
    /// Our OPEN is sent.
    OpenSent,
    /// Both OPENs were accepted.
    OpenConfirm,
    /// The session is up.
    Established,
}

impl StateName {
    /// All states, in the order in which a session passes through them.
    pub const ALL: [StateName; 5] = [
        StateName::Idle,
        StateName::Connect,
        StateName::OpenSent,
        StateName::OpenConfirm,
        StateName::Established,
    ];
}

impl std::fmt::Display for StateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            StateName::Idle => "Idle",
            StateName::Connect => "Connect",
            StateName::OpenSent => "OpenSent",
            StateName::OpenConfirm => "OpenConfirm",
            StateName::Established => "Established",
        })
    }
}

/// An event of a session, with its number in RFC 4271 §8.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// 1: a session is wanted.
    Start,
    /// 2: the session is no longer wanted, or has to restart; the NOTIFICATION says why.
    Stop(Notification),
    /// 9, 10, 11 and SendHoldTimer_Expires: the time of [`State::deadline`] is reached.
    TimerExpires,
    /// 16, 17: TCP is up.
    TcpConnected,
    /// 18: TCP could not connect, or the connection has ended.
    TcpFails(TcpFailure),
    /// 19: an OPEN that we accept.
    Open(NegotiatedSession),
    /// 21: a malformed message header.
    HeaderError(Notification),
    /// 22: an OPEN that we refuse.
    OpenError(OpenError),
    /// 23: another connection to the peer is used instead.
    OpenCollision,
    /// 24, 25: the peer ends the session.
    Notification(Notification),
    /// 26.
    Keepalive,
    /// 27.
    Update,
    /// 28: an UPDATE whose lengths overrun.
    UpdateError(Notification),
    /// ROUTE-REFRESH (RFC 2918); `None`: for a family that we do not have.
    Refresh(Option<Family>),
    /// A ROUTE-REFRESH that is malformed (RFC 7313 §5).
    RefreshError(Notification),
    /// Our octets wait until the peer accepts them.
    Unsent,
    /// The peer has accepted octets; `Waiting` says whether others still wait.
    Sent(Backlog),
    /// The failure detector (BFD) reports that the peer is down (RFC 9384).
    LivenessLost {
        /// How long to wait before the next try; zero: it begins at once.
        wait: Duration,
    },
}

/// Whether our octets wait until the peer accepts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// No octets wait.
    Nothing,
    /// Some.
    Some,
}

/// An action for the driver. Actions are executed in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Begin a TCP connection.
    Connect,
    /// Send a message.
    Send(OutgoingMessage),
    /// End the connection or the try: half-close, then read the rest.
    Hangup,
    /// End the connection at once by RST, without sending the waiting octets.
    Abort,
    /// The session is up. The peer has no routes of ours yet.
    Up(NegotiatedSession),
    /// The session is down. The peer has removed our routes.
    Down(DownReason),
    /// A try to connect failed.
    Failed(DownReason),
    /// Send a family's routes again.
    Refresh(Family),
}

/// A message that the state machine sends. It does not send UPDATEs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutgoingMessage {
    /// OPEN.
    Open,
    /// KEEPALIVE.
    Keepalive,
    /// NOTIFICATION.
    Notification(Notification),
}

impl State {
    /// The state before the first [`Event::Start`].
    pub fn new() -> Self {
        State::Idle { retry: None, tries: 0 }
    }

    /// The state of a session that another process began: `established` is when it came up, `heard` when the peer was heard last.
    /// A KEEPALIVE is due at once.
    pub fn resumed(established: Instant, hold_time: Option<Duration>, heard: Instant, now: Instant) -> Self {
        let longest = Duration::from_secs(u16::MAX.into()); // RFC 4271 §4.2: two octets
        let hold_time = hold_time.map(|time| time.min(longest));
        let timers = hold_time.map(|time| Hold { time, expires: heard + time, keepalive: now });
        State::Established { since: established, timers, send_hold: None, tries: 0 }
    }

    /// When [`Event::TimerExpires`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            State::Idle { retry, .. } => *retry,
            State::Connect { give_up, .. } => Some(*give_up),
            State::OpenSent { hold, .. } => Some(*hold),
            State::OpenConfirm { timers, .. } => timers.map(|hold| hold.due()),
            State::Established { timers, send_hold, .. } => {
                timers.map(|hold| hold.due()).into_iter().chain(*send_hold).min()
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> StateName {
        match self {
            State::Idle { .. } => StateName::Idle,
            State::Connect { .. } => StateName::Connect,
            State::OpenSent { .. } => StateName::OpenSent,
            State::OpenConfirm { .. } => StateName::OpenConfirm,
            State::Established { .. } => StateName::Established,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        State::new()
    }
}
