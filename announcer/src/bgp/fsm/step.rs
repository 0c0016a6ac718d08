//! The transitions of the state machine: one function per state, and one function for every end of a connection.
//!
//! Pure. RFC 4271 §8.2.2, RFC 6608, RFC 9687 §3.

use std::time::{Duration, Instant};

use crate::bgp::fsm::{Action, Backlog, Event, Hold, OutgoingMessage, State, StepContext, Timers};
use crate::bgp::notification::{self, Notification};
use crate::bgp::open::NegotiatedSession;
use crate::bgp::reason::{DownReason, TcpFailure};

/// The type octets of RFC 4271 §4.1 and RFC 2918, as 5/x carries them.
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

/// Makes one step: returns the next state and the actions.
#[must_use]
pub fn step(timers: &Timers, state: State, event: Event, context: StepContext) -> (State, Vec<Action>) {
    match state {
        State::Idle { retry, tries } => idle(timers, retry, tries, event, context),
        State::Connect { give_up, tries } => connect(timers, give_up, tries, event, context),
        State::OpenSent { hold, tries } => open_sent(timers, hold, tries, event, context),
        State::OpenConfirm { negotiated, timers: hold, tries } => {
            open_confirm(timers, negotiated, hold, tries, event, context)
        }
        State::Established { since, timers: hold, send_hold, tries } => {
            established(timers, EstablishedState { since, hold, send_hold, tries }, event, context)
        }
    }
}

/// How a connection ends.
enum Farewell {
    /// With a NOTIFICATION.
    Say(Notification),
    /// Without a NOTIFICATION: the peer's NOTIFICATION is never answered, and a broken connection cannot carry one.
    Silent,
    /// At once by RST, because the waiting octets could never be sent.
    Abort(Notification),
}

/// Ends a connection or a try; this is the only way back to Idle. `since` is set if the session was up.
fn fall(
    timers: &Timers,
    tries: u32,
    since: Option<Instant>,
    reason: DownReason,
    farewell: Farewell,
    context: StepContext,
) -> (State, Vec<Action>) {
    let mut actions = Vec::new();
    match farewell {
        Farewell::Say(notification) => {
            actions.push(Action::Send(OutgoingMessage::Notification(notification)));
            actions.push(Action::Hangup);
        }
        Farewell::Silent => actions.push(Action::Hangup),
        Farewell::Abort(notification) => {
            actions.push(Action::Send(OutgoingMessage::Notification(notification)));
            actions.push(Action::Abort);
        }
    }
    let calm = since.is_some_and(|since| context.now.saturating_duration_since(since) >= timers.calm);
    let tries = if calm { 0 } else { tries };
    let wanted = !matches!(reason, DownReason::Stopped(_));
    let retry = wanted.then(|| context.now + timers.retry(tries, context.jitter));
    actions.push(if since.is_some() { Action::Down(reason) } else { Action::Failed(reason) });
    (State::Idle { retry, tries: tries.saturating_add(1) }, actions)
}

fn idle(
    timers: &Timers,
    retry: Option<Instant>,
    tries: u32,
    event: Event,
    context: StepContext,
) -> (State, Vec<Action>) {
    let connect = || (State::Connect { give_up: context.now + timers.connect, tries }, vec![Action::Connect]);
    match event {
        Event::Start if retry.is_none() => connect(),
        Event::TimerExpires if retry.is_some_and(|retry| context.now >= retry) => connect(),
        Event::Stop(_) => (State::Idle { retry: None, tries: 0 }, vec![]),
        // The router may have noticed it first, and have ended the session.
        Event::LivenessLost { wait } => {
            (State::Idle { retry: retry.map(|retry| retry.max(context.now + wait)), tries }, vec![])
        }
        // These events can arrive late, from a connection that has ended.
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
        | Event::Sent(_) => (State::Idle { retry, tries }, vec![]),
    }
}

fn connect(
    timers: &Timers,
    give_up: Instant,
    tries: u32,
    event: Event,
    context: StepContext,
) -> (State, Vec<Action>) {
    let failed = |reason| fall(timers, tries, None, reason, Farewell::Silent, context);
    match event {
        Event::TcpConnected => (
            State::OpenSent { hold: context.now + timers.open_wait, tries },
            vec![Action::Send(OutgoingMessage::Open)],
        ),
        Event::TcpFails(failure) => failed(failure.into()),
        Event::TimerExpires if context.now >= give_up => failed(TcpFailure::NoAnswer(timers.connect).into()),
        Event::Stop(notification) => failed(DownReason::Stopped(notification)),
        // These events need a TCP connection, and there is none yet. If BFD reports the peer as down, we still try to connect.
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
        | Event::LivenessLost { .. } => (State::Connect { give_up, tries }, vec![]),
    }
}

fn open_sent(
    timers: &Timers,
    hold: Instant,
    tries: u32,
    event: Event,
    context: StepContext,
) -> (State, Vec<Action>) {
    let failed = |reason, farewell| fall(timers, tries, None, reason, farewell, context);
    let answer = |reason: fn(Notification) -> DownReason, notification: Notification| {
        failed(reason(notification.clone()), Farewell::Say(notification))
    };
    let unexpected = |kind| {
        answer(DownReason::OutOfTurn, Notification::new(notification::UNEXPECTED_IN_OPEN_SENT, [kind]))
    };
    match event {
        Event::Open(negotiated) => {
            // A hold time of zero applies only in Established. Otherwise a router that dies before that would keep us in this state
            // for ever.
            let timers = Some(match negotiated.hold_time {
                Some(time) => Hold::start(time, context),
                None => Hold::silent(timers.open_wait, context.now),
            });
            let next = State::OpenConfirm { negotiated, timers, tries };
            (next, vec![Action::Send(OutgoingMessage::Keepalive)])
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
        Event::TimerExpires if context.now >= hold => failed(
            DownReason::NoOpen(timers.open_wait),
            Farewell::Say(Notification::bare(notification::HOLD_EXPIRED)),
        ),
        Event::Start
        | Event::TimerExpires
        | Event::TcpConnected
        | Event::Unsent
        | Event::Sent(_)
        | Event::LivenessLost { .. } => (State::OpenSent { hold, tries }, vec![]),
    }
}

fn open_confirm(
    timers: &Timers,
    negotiated: NegotiatedSession,
    hold: Option<Hold>,
    tries: u32,
    event: Event,
    context: StepContext,
) -> (State, Vec<Action>) {
    let failed = |reason, farewell| fall(timers, tries, None, reason, farewell, context);
    let answer = |reason: fn(Notification) -> DownReason, notification: Notification| {
        failed(reason(notification.clone()), Farewell::Say(notification))
    };
    let unexpected = |kind| {
        answer(DownReason::OutOfTurn, Notification::new(notification::UNEXPECTED_IN_OPEN_CONFIRM, [kind]))
    };
    match event {
        Event::Keepalive => {
            let timers = negotiated.hold_time.and(hold).map(|hold| hold.restarted(context.now));
            let next = State::Established { since: context.now, timers, send_hold: None, tries };
            (next, vec![Action::Up(negotiated)])
        }
        Event::TimerExpires => match tick(hold, context) {
            Tick::Silent(time) => failed(
                DownReason::NoKeepalive(time),
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
        Event::Start | Event::TcpConnected | Event::Unsent | Event::Sent(_) | Event::LivenessLost { .. } => {
            (State::OpenConfirm { negotiated, timers: hold, tries }, vec![])
        }
    }
}

/// Established's timers and history.
struct EstablishedState {
    since: Instant,
    hold: Option<Hold>,
    send_hold: Option<Instant>,
    tries: u32,
}

impl EstablishedState {
    fn stay(self, actions: Vec<Action>) -> (State, Vec<Action>) {
        let EstablishedState { since, hold: timers, send_hold, tries } = self;
        (State::Established { since, timers, send_hold, tries }, actions)
    }

    fn restarted(self, now: Instant) -> Self {
        EstablishedState { hold: self.hold.map(|hold| hold.restarted(now)), ..self }
    }
}

fn established(
    timers: &Timers,
    up: EstablishedState,
    event: Event,
    context: StepContext,
) -> (State, Vec<Action>) {
    let down = |reason, farewell| fall(timers, up.tries, Some(up.since), reason, farewell, context);
    let answer = |reason: fn(Notification) -> DownReason, notification: Notification| {
        down(reason(notification.clone()), Farewell::Say(notification))
    };
    match event {
        Event::Keepalive | Event::Update => up.restarted(context.now).stay(vec![]),
        Event::Refresh(family) => up.stay(family.map(Action::Refresh).into_iter().collect()),
        Event::TimerExpires => expire(timers, up, context),
        Event::Unsent => {
            let send_hold = up.send_hold.or(Some(context.now + timers.send_hold));
            EstablishedState { send_hold, ..up }.stay(vec![])
        }
        Event::Sent(Backlog::Nothing) => EstablishedState { send_hold: None, ..up }.stay(vec![]),
        Event::Sent(Backlog::Some) => {
            EstablishedState { send_hold: Some(context.now + timers.send_hold), ..up }.stay(vec![])
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
        Event::LivenessLost { wait } => {
            let farewell = Farewell::Say(Notification::bare(notification::BFD_DOWN));
            let (_, actions) = down(DownReason::LivenessLost, farewell);
            (State::Idle { retry: Some(context.now + wait), tries: 0 }, actions)
        }
        Event::Start | Event::TcpConnected => up.stay(vec![]),
    }
}

/// Handles the expired timers of Established. A timer that ends the session comes before the keepalive timer.
fn expire(timers: &Timers, up: EstablishedState, context: StepContext) -> (State, Vec<Action>) {
    let down = |reason, farewell| fall(timers, up.tries, Some(up.since), reason, farewell, context);
    if up.send_hold.is_some_and(|expires| context.now >= expires) {
        let farewell = Farewell::Abort(Notification::bare(notification::SEND_HOLD_EXPIRED));
        return down(DownReason::SendHoldExpired(timers.send_hold), farewell);
    }
    match tick(up.hold, context) {
        Tick::Silent(time) => {
            down(DownReason::HoldExpired(time), Farewell::Say(Notification::bare(notification::HOLD_EXPIRED)))
        }
        Tick::Speak(hold, actions) => EstablishedState { hold, ..up }.stay(actions),
    }
}

enum Tick {
    /// The hold timer expired.
    Silent(Duration),
    /// The new timers, and a KEEPALIVE if it was due.
    Speak(Option<Hold>, Vec<Action>),
}

fn tick(hold: Option<Hold>, context: StepContext) -> Tick {
    match hold {
        Some(hold) if context.now >= hold.expires => Tick::Silent(hold.time),
        Some(hold) if context.now >= hold.keepalive => {
            let keepalive = context.now + Hold::interval(hold.time, context);
            Tick::Speak(Some(Hold { keepalive, ..hold }), vec![Action::Send(OutgoingMessage::Keepalive)])
        }
        hold => Tick::Speak(hold, vec![]),
    }
}
