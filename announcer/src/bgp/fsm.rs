//! The session's machine: one event in, the next state and what to do out.
//!
//! Pure. RFC 4271 §8 for a speaker that dials and never listens: events 1, 2, 9 to 11, 16 to 19, 21 to 28, with RFC
//! 6608's subcodes and RFC 9687's send hold timer. Timers live inside the states, so that leaving a state drops them.
//! There is no Active state: it is Idle with a retry.
//!
//! ```text
//!        Start          TCP up, send OPEN      their OPEN, send KEEPALIVE     their KEEPALIVE
//!  Idle ───────► Connect ───────► OpenSent ─────────────► OpenConfirm ─────────────► Established [Up]
//!   ▲              │                 │                         │                          │
//!   └──── retry ◄──┴─────────────────┴────── fall: one arm ◄───┴──────────────────────────┘ [Down]
//! ```

use std::time::{Duration, Instant};

use crate::bgp::notification::{self, Notification};
use crate::bgp::open::{Negotiated, OpenError};
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
    /// How long the peer's OPEN may take (RFC 4271 §8.2.2: "a large value").
    pub large_hold: Duration,
    /// How long the peer may take no octet (RFC 9687 §3).
    pub send_hold: Duration,
    /// How long a session has to last for its failures to be forgotten.
    pub calm: Duration,
}

impl Timers {
    /// The timers for a peer with this hold time: at most 10 s from one try to the next.
    pub fn new(hold_time: Duration) -> Self {
        Timers {
            retry_first: Duration::from_millis(250),
            retry_max: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            large_hold: Duration::from_secs(240),
            send_hold: Duration::from_secs(480).max(hold_time * 2),
            calm: Duration::from_secs(30),
        }
    }

    /// How long to wait after `tries` failures in a row.
    fn retry(&self, tries: u32, jitter: f64) -> Duration {
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
pub struct Moment {
    /// The time, monotonic.
    pub now: Instant,
    /// 0 to 1, drawn anew for each step.
    pub jitter: f64,
}

/// Hold and keepalive timers of a session whose hold time is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    time: Duration,
    expires: Instant,
    keepalive: Instant,
}

impl Hold {
    fn start(time: Duration, moment: Moment) -> Self {
        let keepalive = moment.now + Hold::interval(time, moment);
        Hold { time, expires: moment.now + time, keepalive }
    }

    /// Listens and says nothing.
    fn silent(time: Duration, now: Instant) -> Self {
        Hold { time, expires: now + time, keepalive: now + time }
    }

    fn interval(time: Duration, moment: Moment) -> Duration {
        jittered(time / 3, moment.jitter)
    }

    fn heard(self, now: Instant) -> Self {
        Hold { expires: now + self.time, ..self }
    }

    fn due(&self) -> Instant {
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
        negotiated: Negotiated,
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
    Open(Negotiated),
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
    /// The peer took octets, and `Waiting` tells whether others still wait.
    Sent(Waiting),
    /// The failure detector lost the peer (RFC 9384).
    LivenessLost,
}

/// Whether octets of ours wait for the peer to take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
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
    Send(Outgoing),
    /// End the connection, or the try: half-close, drain.
    Hangup,
    /// End the connection at once, without sending what waits (RST).
    Abort,
    /// The session is up: the peer knows nothing yet.
    Up(Negotiated),
    /// The session that was up is down: the peer has forgotten all.
    Down(DownReason),
    /// A try came to nothing.
    Failed(DownReason),
    /// Send a family's routes again.
    Refresh(Family),
}

/// A message that the machine sends; UPDATEs are not its business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// OPEN.
    Open,
    /// KEEPALIVE.
    Keepalive,
    /// NOTIFICATION.
    Notification(Notification),
}

/// The type octets of RFC 4271 §4.1 and RFC 2918, as 5/x carries them.
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

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

/// The machine.
#[must_use]
pub fn step(timers: &Timers, state: State, event: Event, moment: Moment) -> (State, Vec<Action>) {
    match state {
        State::Idle { retry, tries } => idle(timers, retry, tries, event, moment),
        State::Connect { give_up, tries } => connect(timers, give_up, tries, event, moment),
        State::OpenSent { hold, tries } => open_sent(timers, hold, tries, event, moment),
        State::OpenConfirm { negotiated, timers: hold, tries } => {
            open_confirm(timers, negotiated, hold, tries, event, moment)
        }
        State::Established { since, timers: hold, send_hold, tries } => {
            established(timers, Up { since, hold, send_hold, tries }, event, moment)
        }
    }
}

/// How a connection ends.
enum Farewell {
    /// With a NOTIFICATION.
    Say(Notification),
    /// Without a word: the peer's NOTIFICATION is never answered, and a broken connection carries none.
    Silent,
    /// At once: what waits would never leave.
    Abort(Notification),
}

/// Teardown: the one way from a connection, or a try, back to Idle. `since`: the session was up.
fn fall(
    timers: &Timers,
    tries: u32,
    since: Option<Instant>,
    reason: DownReason,
    farewell: Farewell,
    moment: Moment,
) -> (State, Vec<Action>) {
    let mut actions = Vec::new();
    match farewell {
        Farewell::Say(notification) => {
            actions.push(Action::Send(Outgoing::Notification(notification)));
            actions.push(Action::Hangup);
        }
        Farewell::Silent => actions.push(Action::Hangup),
        Farewell::Abort(notification) => {
            actions.push(Action::Send(Outgoing::Notification(notification)));
            actions.push(Action::Abort);
        }
    }
    let calm = since.is_some_and(|since| moment.now.saturating_duration_since(since) >= timers.calm);
    let tries = if calm { 0 } else { tries };
    let wanted = !matches!(reason, DownReason::Stopped(_));
    let retry = wanted.then(|| moment.now + timers.retry(tries, moment.jitter));
    actions.push(if since.is_some() { Action::Down(reason) } else { Action::Failed(reason) });
    (State::Idle { retry, tries: tries.saturating_add(1) }, actions)
}

fn idle(
    timers: &Timers,
    retry: Option<Instant>,
    tries: u32,
    event: Event,
    moment: Moment,
) -> (State, Vec<Action>) {
    let connect = || (State::Connect { give_up: moment.now + timers.connect, tries }, vec![Action::Connect]);
    match event {
        Event::Start if retry.is_none() => connect(),
        Event::TimerExpires if retry.is_some_and(|retry| moment.now >= retry) => connect(),
        Event::Stop(_) => (State::Idle { retry: None, tries: 0 }, vec![]),
        // Echoes of a connection that is gone.
        Event::Start
        | Event::TimerExpires
        | Event::TcpConnected
        | Event::TcpFails(_)
        | Event::Open(_)
        | Event::HeaderError(_)
        | Event::OpenError(_)
        | Event::OpenCollision
        | Event::Notification(_)
        | Event::Keepalive
        | Event::Update
        | Event::UpdateError(_)
        | Event::Refresh(_)
        | Event::RefreshError(_)
        | Event::Unsent
        | Event::Sent(_)
        | Event::LivenessLost => (State::Idle { retry, tries }, vec![]),
    }
}

fn connect(
    timers: &Timers,
    give_up: Instant,
    tries: u32,
    event: Event,
    moment: Moment,
) -> (State, Vec<Action>) {
    let failed = |reason| fall(timers, tries, None, reason, Farewell::Silent, moment);
    match event {
        Event::TcpConnected => (
            State::OpenSent { hold: moment.now + timers.large_hold, tries },
            vec![Action::Send(Outgoing::Open)],
        ),
        Event::TcpFails(failure) => failed(failure.into()),
        Event::TimerExpires if moment.now >= give_up => failed(TcpFailure::NoAnswer(timers.connect).into()),
        Event::Stop(notification) => failed(DownReason::Stopped(notification)),
        // There is no TCP yet that they could come from; a peer that BFD lost is dialled all the same.
        Event::Start
        | Event::TimerExpires
        | Event::Open(_)
        | Event::HeaderError(_)
        | Event::OpenError(_)
        | Event::OpenCollision
        | Event::Notification(_)
        | Event::Keepalive
        | Event::Update
        | Event::UpdateError(_)
        | Event::Refresh(_)
        | Event::RefreshError(_)
        | Event::Unsent
        | Event::Sent(_)
        | Event::LivenessLost => (State::Connect { give_up, tries }, vec![]),
    }
}

fn open_sent(
    timers: &Timers,
    hold: Instant,
    tries: u32,
    event: Event,
    moment: Moment,
) -> (State, Vec<Action>) {
    let failed = |reason, farewell| fall(timers, tries, None, reason, farewell, moment);
    let answer = |reason: fn(Notification) -> DownReason, notification: Notification| {
        failed(reason(notification.clone()), Farewell::Say(notification))
    };
    let unexpected = |kind| {
        answer(DownReason::OutOfTurn, Notification::new(notification::UNEXPECTED_IN_OPEN_SENT, [kind]))
    };
    match event {
        Event::Open(negotiated) => {
            // Zero begins with the session: a router that dies without a word before must not hold us here for ever.
            let timers = Some(match negotiated.hold_time {
                Some(time) => Hold::start(time, moment),
                None => Hold::silent(timers.large_hold, moment.now),
            });
            let next = State::OpenConfirm { negotiated, timers, tries };
            (next, vec![Action::Send(Outgoing::Keepalive)])
        }
        Event::OpenError(error) => {
            let notification = error.notification();
            failed(error.into(), Farewell::Say(notification))
        }
        Event::HeaderError(notification) => answer(DownReason::Malformed, notification),
        Event::Keepalive => unexpected(KEEPALIVE),
        Event::Update | Event::UpdateError(_) => unexpected(UPDATE),
        Event::Refresh(_) | Event::RefreshError(_) => unexpected(ROUTE_REFRESH),
        Event::Notification(notification) => failed(DownReason::Notified(notification), Farewell::Silent),
        Event::TcpFails(failure) => failed(failure.into(), Farewell::Silent),
        Event::Stop(notification) => answer(DownReason::Stopped, notification),
        Event::OpenCollision => {
            failed(DownReason::Collision, Farewell::Say(Notification::bare(notification::COLLISION)))
        }
        Event::TimerExpires if moment.now >= hold => failed(
            DownReason::NoOpen(timers.large_hold),
            Farewell::Say(Notification::bare(notification::HOLD_EXPIRED)),
        ),
        Event::Start
        | Event::TimerExpires
        | Event::TcpConnected
        | Event::Unsent
        | Event::Sent(_)
        | Event::LivenessLost => (State::OpenSent { hold, tries }, vec![]),
    }
}

fn open_confirm(
    timers: &Timers,
    negotiated: Negotiated,
    hold: Option<Hold>,
    tries: u32,
    event: Event,
    moment: Moment,
) -> (State, Vec<Action>) {
    let failed = |reason, farewell| fall(timers, tries, None, reason, farewell, moment);
    let answer = |reason: fn(Notification) -> DownReason, notification: Notification| {
        failed(reason(notification.clone()), Farewell::Say(notification))
    };
    let unexpected = |kind| {
        answer(DownReason::OutOfTurn, Notification::new(notification::UNEXPECTED_IN_OPEN_CONFIRM, [kind]))
    };
    match event {
        Event::Keepalive => {
            let timers = negotiated.hold_time.and(hold).map(|hold| hold.heard(moment.now));
            let next = State::Established { since: moment.now, timers, send_hold: None, tries };
            (next, vec![Action::Up(negotiated)])
        }
        Event::TimerExpires => match tick(hold, moment) {
            Tick::Silent(time) => failed(
                DownReason::HoldExpired(time),
                Farewell::Say(Notification::bare(notification::HOLD_EXPIRED)),
            ),
            Tick::Speak(timers, actions) => (State::OpenConfirm { negotiated, timers, tries }, actions),
        },
        Event::Open(_) | Event::OpenError(_) => unexpected(OPEN),
        Event::Update | Event::UpdateError(_) => unexpected(UPDATE),
        Event::Refresh(_) | Event::RefreshError(_) => unexpected(ROUTE_REFRESH),
        Event::HeaderError(notification) => answer(DownReason::Malformed, notification),
        Event::Notification(notification) => failed(DownReason::Notified(notification), Farewell::Silent),
        Event::TcpFails(failure) => failed(failure.into(), Farewell::Silent),
        Event::Stop(notification) => answer(DownReason::Stopped, notification),
        Event::OpenCollision => {
            failed(DownReason::Collision, Farewell::Say(Notification::bare(notification::COLLISION)))
        }
        Event::Start | Event::TcpConnected | Event::Unsent | Event::Sent(_) | Event::LivenessLost => {
            (State::OpenConfirm { negotiated, timers: hold, tries }, vec![])
        }
    }
}

/// Established's timers and history.
struct Up {
    since: Instant,
    hold: Option<Hold>,
    send_hold: Option<Instant>,
    tries: u32,
}

impl Up {
    fn stay(self, actions: Vec<Action>) -> (State, Vec<Action>) {
        let Up { since, hold: timers, send_hold, tries } = self;
        (State::Established { since, timers, send_hold, tries }, actions)
    }

    fn heard(self, now: Instant) -> Self {
        Up { hold: self.hold.map(|hold| hold.heard(now)), ..self }
    }
}

fn established(timers: &Timers, up: Up, event: Event, moment: Moment) -> (State, Vec<Action>) {
    let down = |reason, farewell| fall(timers, up.tries, Some(up.since), reason, farewell, moment);
    let answer = |reason: fn(Notification) -> DownReason, notification: Notification| {
        down(reason(notification.clone()), Farewell::Say(notification))
    };
    match event {
        Event::Keepalive | Event::Update => up.heard(moment.now).stay(vec![]),
        Event::Refresh(family) => up.stay(family.map(Action::Refresh).into_iter().collect()),
        Event::TimerExpires => expire(timers, up, moment),
        Event::Unsent => {
            let send_hold = up.send_hold.or(Some(moment.now + timers.send_hold));
            Up { send_hold, ..up }.stay(vec![])
        }
        Event::Sent(Waiting::Nothing) => Up { send_hold: None, ..up }.stay(vec![]),
        Event::Sent(Waiting::Some) => {
            Up { send_hold: Some(moment.now + timers.send_hold), ..up }.stay(vec![])
        }
        Event::Open(_) | Event::OpenError(_) => {
            answer(DownReason::OutOfTurn, Notification::new(notification::UNEXPECTED_IN_ESTABLISHED, [OPEN]))
        }
        Event::HeaderError(notification)
        | Event::UpdateError(notification)
        | Event::RefreshError(notification) => answer(DownReason::Malformed, notification),
        Event::Notification(notification) => down(DownReason::Notified(notification), Farewell::Silent),
        Event::TcpFails(failure) => down(failure.into(), Farewell::Silent),
        Event::Stop(notification) => answer(DownReason::Stopped, notification),
        Event::OpenCollision => {
            down(DownReason::Collision, Farewell::Say(Notification::bare(notification::COLLISION)))
        }
        Event::LivenessLost => {
            down(DownReason::LivenessLost, Farewell::Say(Notification::bare(notification::BFD_DOWN)))
        }
        Event::Start | Event::TcpConnected => up.stay(vec![]),
    }
}

/// One of Established's timers has come: the one that ends the session goes before the one that speaks.
fn expire(timers: &Timers, up: Up, moment: Moment) -> (State, Vec<Action>) {
    let down = |reason, farewell| fall(timers, up.tries, Some(up.since), reason, farewell, moment);
    if up.send_hold.is_some_and(|expires| moment.now >= expires) {
        let farewell = Farewell::Abort(Notification::bare(notification::SEND_HOLD_EXPIRED));
        return down(DownReason::SendHoldExpired(timers.send_hold), farewell);
    }
    match tick(up.hold, moment) {
        Tick::Silent(time) => {
            down(DownReason::HoldExpired(time), Farewell::Say(Notification::bare(notification::HOLD_EXPIRED)))
        }
        Tick::Speak(hold, actions) => Up { hold, ..up }.stay(actions),
    }
}

enum Tick {
    /// The hold timer expired.
    Silent(Duration),
    /// The timers as they run on, and a KEEPALIVE if it was due.
    Speak(Option<Hold>, Vec<Action>),
}

fn tick(hold: Option<Hold>, moment: Moment) -> Tick {
    match hold {
        Some(hold) if moment.now >= hold.expires => Tick::Silent(hold.time),
        Some(hold) if moment.now >= hold.keepalive => {
            let keepalive = moment.now + Hold::interval(hold.time, moment);
            Tick::Speak(Some(Hold { keepalive, ..hold }), vec![Action::Send(Outgoing::Keepalive)])
        }
        hold => Tick::Speak(hold, vec![]),
    }
}

#[cfg(test)]
mod tests;
