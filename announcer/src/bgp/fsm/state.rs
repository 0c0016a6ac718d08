//! The machine's words: its states with their timers, what happens to them, and what is to be done.
//!
//! Pure. RFC 4271 §8.1 and §8.2.2.

use std::time::{Duration, Instant};

use crate::bgp::notification::Notification;
use crate::bgp::open::{NegotiatedSession, OpenError};
use crate::bgp::reason::{DownReason, TcpFailure};
use crate::model::Family;

/// How long the machine waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// The first retry after a failure; each further one waits twice as long.
    pub retry_first: Duration,
    /// The longest wait before a retry. Together with `connect` it bounds the time between two tries.
    pub retry_max: Duration,
    /// How long one try to connect may take.
    pub connect: Duration,
    /// How long the peer's OPEN may take, and its KEEPALIVE where the hold time is zero. RFC 4271 §8.2.2 suggests 4 minutes;
    /// but a router whose OPEN is lost on the way cannot reach us meanwhile, since we do not listen.
    pub open_wait: Duration,
    /// How long the peer may take no octet (RFC 9687 §3).
    pub send_hold: Duration,
    /// How long a session has to last for its failures to be forgotten.
    pub calm: Duration,
}

impl Timers {
    /// The timers for a peer that may take no octet for so long: at most 10 s from one try to the next.
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

    /// How long to wait after `tries` failures in a row.
    pub(super) fn retry(&self, tries: u32, jitter: f64) -> Duration {
        let doubled = self.retry_first.saturating_mul(1 << tries.min(16));
        jittered(doubled.min(self.retry_max), jitter)
    }
}

/// RFC 4271 §10: 0.75 to 1 of it.
fn jittered(whole: Duration, jitter: f64) -> Duration {
    whole.mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0))
}

/// When a step happens, and its luck.
#[derive(Debug, Clone, Copy)]
pub struct StepContext {
    /// The time, monotonic.
    pub now: Instant,
    /// 0 to 1, drawn anew for each step.
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

    /// Listens and says nothing.
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
    /// No connection; `None`: and none is wanted.
    Idle {
        /// When the next try begins.
        retry: Option<Instant>,
        /// Failures in a row.
        tries: u32,
    },
    /// TCP is being connected.
    Connect {
        /// When this try is given up.
        give_up: Instant,
        /// Failures in a row.
        tries: u32,
    },
    /// Our OPEN is out.
    OpenSent {
        /// When we stop waiting for theirs.
        hold: Instant,
        /// Failures in a row.
        tries: u32,
    },
    /// Both OPENs are known, and our KEEPALIVE is out.
    OpenConfirm {
        /// What the OPENs agreed.
        negotiated: NegotiatedSession,
        /// With an agreed hold time of zero: how long the peer's KEEPALIVE may take.
        timers: Option<Hold>,
        /// Failures in a row.
        tries: u32,
    },
    /// Routes flow.
    Established {
        /// Since when.
        since: Instant,
        /// `None`: the agreed hold time is zero.
        timers: Option<Hold>,
        /// When the peer's not taking octets ends the session; `None`: no octet waits.
        send_hold: Option<Instant>,
        /// Failures in a row before it.
        tries: u32,
    },
}

/// A state's name, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum StateName {
    /// No connection.
    Idle,
    /// TCP is being connected.
    Connect,
    /// Our OPEN is out.
    OpenSent,
    /// Both OPENs are known.
    OpenConfirm,
    /// Routes flow.
    Established,
}

impl StateName {
    /// All of them, in the order in which a session passes through.
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

/// What happens to a session; RFC 4271 §8.1's numbers beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// 1: a session is wanted.
    Start,
    /// 2: it is wanted no more, or has to begin anew; the NOTIFICATION says why.
    Stop(Notification),
    /// 9, 10, 11 and SendHoldTimer_Expires: [`State::deadline`] has come.
    TimerExpires,
    /// 16, 17: TCP is up.
    TcpConnected,
    /// 18: TCP did not come up, or is gone.
    TcpFails(TcpFailure),
    /// 19: an OPEN that suits us.
    Open(NegotiatedSession),
    /// 21: a header that no message has.
    HeaderError(Notification),
    /// 22: an OPEN that does not suit us.
    OpenError(OpenError),
    /// 23: another connection to the peer won.
    OpenCollision,
    /// 24, 25: the peer ends the session.
    Notification(Notification),
    /// 26.
    Keepalive,
    /// 27.
    Update,
    /// 28: an UPDATE whose lengths overrun.
    UpdateError(Notification),
    /// ROUTE-REFRESH (RFC 2918); `None`: for nothing that we have.
    Refresh(Option<Family>),
    /// A ROUTE-REFRESH that is malformed (RFC 7313 §5).
    RefreshError(Notification),
    /// Octets of ours wait for the peer to take them.
    Unsent,
    /// The peer took octets, and `Backlog` tells whether others still wait.
    Sent(Backlog),
    /// The failure detector lost the peer (RFC 9384).
    LivenessLost,
}

/// Whether octets of ours wait for the peer to take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// The peer has all of them.
    Nothing,
    /// Some.
    Some,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Begin a TCP connection.
    Connect,
    /// Send a message.
    Send(OutgoingMessage),
    /// End the connection, or the try: half-close, drain.
    Hangup,
    /// End the connection at once, without sending what waits (RST).
    Abort,
    /// The session is up: the peer knows nothing yet.
    Up(NegotiatedSession),
    /// The session that was up is down: the peer has forgotten all.
    Down(DownReason),
    /// A try came to nothing.
    Failed(DownReason),
    /// Send a family's routes again.
    Refresh(Family),
}

/// A message that the machine sends; UPDATEs are not its business.
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
    /// Before the first [`Event::Start`].
    pub fn new() -> Self {
        State::Idle { retry: None, tries: 0 }
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
