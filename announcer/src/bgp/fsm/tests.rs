#![allow(clippy::wildcard_enum_match_arm, reason = "what a test does not name, it does not mean")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use std::time::{Duration, Instant};

use super::*;
use crate::bgp::notification::{self, Notification};
use crate::bgp::open::{AsWidth, PeerKind, RefreshKind};
use crate::bgp::open::{NegotiatedSession, OpenError};
use crate::bgp::reason::TcpFailure;
use crate::model::Family;
use crate::model::RouterId;

fn agreed(hold: u64) -> NegotiatedSession {
    NegotiatedSession {
        kind: PeerKind::External,
        peer_asn: crate::model::Asn::try_from(65000).unwrap(),
        peer_id: RouterId::try_from(Ipv4Addr::new(10, 0, 0, 2)).unwrap(),
        hold_time: (hold > 0).then(|| Duration::from_secs(hold)),
        as_width: AsWidth::Four,
        families: BTreeSet::new(),
        extended_next_hop: false,
        refresh: RefreshKind::Plain,
    }
}

fn timers() -> Timers {
    Timers::new(Duration::from_secs(480))
}

/// The event of a step, in the words of a network operator.
fn event_word(event: &Event) -> String {
    match event {
        Event::Open(_) => "BGPOpen".into(),
        Event::Stop(why) => format!("ManualStop({why})"),
        Event::Notification(why) => format!("NotifMsg({why})"),
        Event::OpenError(why) => format!("OpenMsgErr({why})"),
        other => format!("{other:?}"),
    }
}

fn action_word(action: &Action) -> String {
    match action {
        Action::Send(OutgoingMessage::Notification(n)) if n.data.is_empty() => format!("Send({n})"),
        Action::Send(OutgoingMessage::Notification(n)) => format!("Send({n} {:02x?})", n.data),
        Action::Send(message) => format!("Send({message:?})"),
        Action::Up(_) => "Up".into(),
        Action::Down(why) => format!("Down: {why}"),
        Action::Failed(why) => format!("Failed: {why}"),
        other => format!("{other:?}"),
    }
}

/// Runs events at the given seconds, with the mean random number, and compares the resulting transcript.
fn transcript(events: &[(f64, Event)], want: &Expect) {
    let zero = Instant::now();
    let mut state = State::new();
    let mut text = String::new();
    for (at, event) in events {
        let now = zero + Duration::from_secs_f64(*at);
        let word = event_word(event);
        let (next, actions) = step(&timers(), state, event.clone(), StepContext { now, jitter: 1.0 });
        state = next;
        let due =
            state.deadline().map_or(String::new(), |due| format!(" due {}s", (due - zero).as_secs_f64()));
        let actions: Vec<String> = actions.iter().map(action_word).collect();
        writeln!(text, "{at}s {word} -> {}{due} [{}]", state.name(), actions.join(", ")).unwrap();
    }
    want.assert_eq(&text);
}

fn up() -> Vec<(f64, Event)> {
    vec![
        (0.0, Event::Start),
        (0.0, Event::TcpConnected),
        (0.0, Event::Open(agreed(9))),
        (0.0, Event::Keepalive),
    ]
}

fn after(mut begin: Vec<(f64, Event)>, then: impl IntoIterator<Item = (f64, Event)>) -> Vec<(f64, Event)> {
    begin.extend(then);
    begin
}

#[test]
fn a_session_comes_up_lives_on_keepalives_and_dies_of_silence() {
    transcript(
        &after(
            up(),
            [
                (3.0, Event::TimerExpires),
                (4.0, Event::Keepalive),
                (5.0, Event::Update),
                (5.5, Event::Refresh(Some(Family::V6))),
                (6.0, Event::TimerExpires),
                (9.0, Event::TimerExpires),
                (12.0, Event::TimerExpires),
                (14.0, Event::TimerExpires),
                (14.1, Event::TimerExpires),
                (14.5, Event::TimerExpires),
            ],
        ),
        &expect![[r#"
            0s Start -> Connect due 5s [Connect]
            0s TcpConnected -> OpenSent due 15s [Send(Open)]
            0s BGPOpen -> OpenConfirm due 3s [Send(Keepalive)]
            0s Keepalive -> Established due 3s [Up]
            3s TimerExpires -> Established due 6s [Send(Keepalive)]
            4s Keepalive -> Established due 6s []
            5s Update -> Established due 6s []
            5.5s Refresh(Some(V6)) -> Established due 6s [Refresh(V6)]
            6s TimerExpires -> Established due 9s [Send(Keepalive)]
            9s TimerExpires -> Established due 12s [Send(Keepalive)]
            12s TimerExpires -> Established due 14s [Send(Keepalive)]
            14s TimerExpires -> Idle due 14.25s [Send(Hold Timer Expired), Hangup, Down: hold timer expired: no message from the peer for 9 s]
            14.1s TimerExpires -> Idle due 14.25s []
            14.5s TimerExpires -> Connect due 19.5s [Connect]
        "#]],
    );
}

#[test]
fn a_router_that_is_off_is_tried_again_ever_slower_up_to_five_seconds() {
    let refused = || Event::TcpFails(TcpFailure::Refused);
    transcript(
        &[
            (0.0, Event::Start),
            (0.0, refused()),
            (0.25, Event::TimerExpires),
            (0.25, refused()),
            (0.75, Event::TimerExpires),
            (0.75, refused()),
            (1.75, Event::TimerExpires),
            (6.75, Event::TimerExpires),
            (8.75, Event::TimerExpires),
            (8.75, refused()),
            (12.75, Event::TimerExpires),
            (12.75, refused()),
            (17.75, Event::TimerExpires),
            (18.0, Event::Stop(Notification::shutdown(""))),
            (30.0, Event::TimerExpires),
        ],
        &expect![[r#"
            0s Start -> Connect due 5s [Connect]
            0s TcpFails(Refused) -> Idle due 0.25s [Hangup, Failed: connection refused]
            0.25s TimerExpires -> Connect due 5.25s [Connect]
            0.25s TcpFails(Refused) -> Idle due 0.75s [Hangup, Failed: connection refused]
            0.75s TimerExpires -> Connect due 5.75s [Connect]
            0.75s TcpFails(Refused) -> Idle due 1.75s [Hangup, Failed: connection refused]
            1.75s TimerExpires -> Connect due 6.75s [Connect]
            6.75s TimerExpires -> Idle due 8.75s [Hangup, Failed: no answer to our SYN for 5 s]
            8.75s TimerExpires -> Connect due 13.75s [Connect]
            8.75s TcpFails(Refused) -> Idle due 12.75s [Hangup, Failed: connection refused]
            12.75s TimerExpires -> Connect due 17.75s [Connect]
            12.75s TcpFails(Refused) -> Idle due 17.75s [Hangup, Failed: connection refused]
            17.75s TimerExpires -> Connect due 22.75s [Connect]
            18s ManualStop(Cease/Administrative Shutdown) -> Idle [Hangup, Failed: this host ended the session: Cease/Administrative Shutdown]
            30s TimerExpires -> Idle []
        "#]],
    );
}

#[test]
fn out_of_turn_is_answered_with_the_state_and_the_type_octet() {
    let open_sent = || up()[..2].to_vec();
    let open_confirm = || up()[..3].to_vec();
    let last = |begin, event| {
        let mut state = State::new();
        let mut actions = vec![];
        for (_, event) in after(begin, [(0.0, event)]) {
            (state, actions) =
                step(&timers(), state, event, StepContext { now: Instant::now(), jitter: 0.5 });
        }
        assert_eq!(state.name(), StateName::Idle);
        let Some(Action::Send(OutgoingMessage::Notification(answer))) = actions.first() else {
            panic!("{actions:?}")
        };
        (answer.code, answer.subcode, answer.data.clone())
    };
    let malformed = || Event::UpdateError(Notification::bare(notification::BAD_ATTRIBUTE_LIST));
    for (begin, event, want) in [
        (open_sent(), Event::Keepalive, (5, 1, vec![4])),
        (open_sent(), Event::Update, (5, 1, vec![2])),
        (open_sent(), malformed(), (5, 1, vec![2])),
        (open_sent(), Event::Refresh(None), (5, 1, vec![5])),
        (open_confirm(), Event::Update, (5, 2, vec![2])),
        (open_confirm(), malformed(), (5, 2, vec![2])),
        (open_confirm(), Event::Refresh(None), (5, 2, vec![5])),
        (open_confirm(), Event::Open(agreed(9)), (5, 2, vec![1])),
        (open_confirm(), Event::OpenError(OpenError::Malformed), (5, 2, vec![1])),
        (up(), Event::Open(agreed(9)), (5, 3, vec![1])),
        (up(), Event::OpenError(OpenError::Malformed), (5, 3, vec![1])),
        (up(), malformed(), (3, 1, vec![])),
        (up(), Event::LivenessLost { wait: Duration::ZERO }, (6, 10, vec![])),
        (up(), Event::OpenCollision, (6, 7, vec![])),
        (open_sent(), Event::OpenCollision, (6, 7, vec![])),
    ] {
        assert_eq!(last(begin, event.clone()), want, "{event:?}");
    }
}

#[test]
fn a_peer_that_bfd_has_lost_is_dialled_at_once_or_after_the_wait() {
    let now = Instant::now();
    let context = StepContext { now, jitter: 1.0 };
    let since = now - Duration::from_secs(1);
    for seconds in [0, 5] {
        let wait = Duration::from_secs(seconds);
        let up = State::Established { since, timers: None, send_hold: None, tries: 7 };
        let (state, _) = step(&timers(), up, Event::LivenessLost { wait }, context);
        assert_eq!(state.deadline(), Some(now + wait));
        // The router had ended the session before.
        let soon = now + Duration::from_millis(100);
        let idle = State::Idle { retry: Some(soon), tries: 1 };
        let (state, _) = step(&timers(), idle, Event::LivenessLost { wait }, context);
        assert_eq!(state.deadline(), Some(soon.max(now + wait)));
    }
}

#[test]
fn a_peer_that_takes_no_octet_is_dropped_without_waiting_for_it() {
    let zero_hold = vec![
        (0.0, Event::Start),
        (0.0, Event::TcpConnected),
        (0.0, Event::Open(agreed(0))),
        (0.0, Event::Keepalive),
    ];
    transcript(
        &after(
            zero_hold,
            [
                (1.0, Event::Unsent),
                (2.0, Event::Unsent),
                (100.0, Event::Sent(Backlog::Some)),
                (101.0, Event::Sent(Backlog::Nothing)),
                (200.0, Event::Unsent),
                (680.0, Event::TimerExpires),
            ],
        ),
        &expect![[r#"
            0s Start -> Connect due 5s [Connect]
            0s TcpConnected -> OpenSent due 15s [Send(Open)]
            0s BGPOpen -> OpenConfirm due 15s [Send(Keepalive)]
            0s Keepalive -> Established [Up]
            1s Unsent -> Established due 481s []
            2s Unsent -> Established due 481s []
            100s Sent(Some) -> Established due 580s []
            101s Sent(Nothing) -> Established []
            200s Unsent -> Established due 680s []
            680s TimerExpires -> Idle due 680.25s [Send(Send Hold Timer Expired), Abort, Down: send hold timer expired: the peer accepted no data for 480 s]
        "#]],
    );
}

#[test]
fn no_open_and_a_notification_each_end_a_try() {
    transcript(
        &[
            (0.0, Event::Start),
            (0.1, Event::TcpConnected),
            (15.1, Event::TimerExpires),
            (15.35, Event::TimerExpires),
            (15.4, Event::TcpConnected),
            (15.5, Event::Notification(Notification::bare(notification::BAD_PEER_AS))),
            (241.0, Event::TimerExpires),
            (241.1, Event::TcpConnected),
            (241.2, Event::OpenError(OpenError::Version(3))),
            (243.0, Event::TimerExpires),
            (243.0, Event::TcpConnected),
            (243.0, Event::Open(agreed(9))),
            (243.1, Event::Stop(Notification::shutdown("bye"))),
        ],
        &expect![[r#"
            0s Start -> Connect due 5s [Connect]
            0.1s TcpConnected -> OpenSent due 15.1s [Send(Open)]
            15.1s TimerExpires -> Idle due 15.35s [Send(Hold Timer Expired), Hangup, Failed: the peer accepted the connection, but sent no OPEN for 15 s]
            15.35s TimerExpires -> Connect due 20.35s [Connect]
            15.4s TcpConnected -> OpenSent due 30.4s [Send(Open)]
            15.5s NotifMsg(OPEN Message Error/Bad Peer AS) -> Idle due 16s [Hangup, Failed: the peer sent NOTIFICATION: OPEN Message Error/Bad Peer AS]
            241s TimerExpires -> Connect due 246s [Connect]
            241.1s TcpConnected -> OpenSent due 256.1s [Send(Open)]
            241.2s OpenMsgErr(its OPEN has BGP version 3, not 4) -> Idle due 242.2s [Send(OPEN Message Error/Unsupported Version Number (version 4 at most) [00, 04]), Hangup, Failed: its OPEN has BGP version 3, not 4]
            243s TimerExpires -> Connect due 248s [Connect]
            243s TcpConnected -> OpenSent due 258s [Send(Open)]
            243s BGPOpen -> OpenConfirm due 246s [Send(Keepalive)]
            243.1s ManualStop(Cease/Administrative Shutdown ("bye")) -> Idle [Send(Cease/Administrative Shutdown ("bye") [03, 62, 79, 65]), Hangup, Failed: this host ended the session: Cease/Administrative Shutdown ("bye")]
        "#]],
    );
}

#[test]
fn a_router_that_dies_in_mid_handshake_holds_up_nobody_even_with_a_hold_time_of_zero() {
    transcript(
        &[
            (0.0, Event::Start),
            (0.0, Event::TcpConnected),
            (1.0, Event::Open(agreed(0))),
            (241.0, Event::TimerExpires),
            (242.0, Event::TimerExpires),
            (242.0, Event::TcpConnected),
            (242.0, Event::Open(agreed(0))),
            (243.0, Event::Keepalive),
        ],
        &expect![[r#"
            0s Start -> Connect due 5s [Connect]
            0s TcpConnected -> OpenSent due 15s [Send(Open)]
            1s BGPOpen -> OpenConfirm due 16s [Send(Keepalive)]
            241s TimerExpires -> Idle due 241.25s [Send(Hold Timer Expired), Hangup, Failed: the peer sent its OPEN, but no KEEPALIVE that accepts ours for 15 s]
            242s TimerExpires -> Connect due 247s [Connect]
            242s TcpConnected -> OpenSent due 257s [Send(Open)]
            242s BGPOpen -> OpenConfirm due 257s [Send(Keepalive)]
            243s Keepalive -> Established [Up]
        "#]],
    );
}

#[test]
fn a_session_that_lasted_forgives_and_one_that_did_not_does_not() {
    let mut begin = up();
    begin.push((1.0, Event::TcpFails(TcpFailure::Closed)));
    begin.extend([
        (1.5, Event::TimerExpires),
        (1.5, Event::TcpConnected),
        (1.5, Event::Open(agreed(0))),
        (1.5, Event::Keepalive),
        (2.0, Event::TcpFails(TcpFailure::Closed)),
        (3.0, Event::TimerExpires),
        (3.0, Event::TcpConnected),
        (3.0, Event::Open(agreed(0))),
        (3.0, Event::Keepalive),
        (33.0, Event::TcpFails(TcpFailure::Closed)),
    ]);
    transcript(
        &begin,
        &expect![[r#"
            0s Start -> Connect due 5s [Connect]
            0s TcpConnected -> OpenSent due 15s [Send(Open)]
            0s BGPOpen -> OpenConfirm due 3s [Send(Keepalive)]
            0s Keepalive -> Established due 3s [Up]
            1s TcpFails(Closed) -> Idle due 1.25s [Hangup, Down: the peer closed the connection]
            1.5s TimerExpires -> Connect due 6.5s [Connect]
            1.5s TcpConnected -> OpenSent due 16.5s [Send(Open)]
            1.5s BGPOpen -> OpenConfirm due 16.5s [Send(Keepalive)]
            1.5s Keepalive -> Established [Up]
            2s TcpFails(Closed) -> Idle due 2.5s [Hangup, Down: the peer closed the connection]
            3s TimerExpires -> Connect due 8s [Connect]
            3s TcpConnected -> OpenSent due 18s [Send(Open)]
            3s BGPOpen -> OpenConfirm due 18s [Send(Keepalive)]
            3s Keepalive -> Established [Up]
            33s TcpFails(Closed) -> Idle due 33.25s [Hangup, Down: the peer closed the connection]
        "#]],
    );
}

fn event() -> impl Strategy<Value = Event> {
    let note = || Notification::bare(notification::HOLD_EXPIRED);
    prop_oneof![
        6 => Just(Event::TimerExpires),
        4 => Just(Event::TcpConnected),
        4 => prop_oneof![Just(0_u64), Just(3), Just(9)].prop_map(|hold| Event::Open(agreed(hold))),
        6 => Just(Event::Keepalive),
        1 => Just(Event::Start),
        1 => Just(Event::Stop(note())),
        1 => Just(Event::TcpFails(TcpFailure::Closed)),
        1 => Just(Event::HeaderError(note())),
        1 => Just(Event::OpenError(OpenError::Malformed)),
        1 => Just(Event::OpenCollision),
        1 => Just(Event::Notification(note())),
        2 => Just(Event::Update),
        1 => Just(Event::UpdateError(note())),
        1 => Just(Event::Refresh(Some(Family::V4))),
        1 => Just(Event::RefreshError(note())),
        1 => Just(Event::Unsent),
        1 => Just(Event::Sent(Backlog::Nothing)),
        1 => Just(Event::Sent(Backlog::Some)),
        1 => (0_u64..70).prop_map(|wait| Event::LivenessLost { wait: Duration::from_secs(wait) }),
    ]
}

#[derive(Debug, PartialEq)]
enum TcpState {
    None,
    Trying,
    Up,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn up_and_down_alternate_and_nothing_is_sent_without_tcp(
        events in proptest::collection::vec((event(), 0_u64..4000, any::<bool>(), 0.0..=1.0_f64), 1..120)
    ) {
        let timers = timers();
        let mut now = Instant::now();
        let (mut state, mut tcp, mut is_up, mut wanted) = (State::new(), TcpState::None, false, false);
        let mut held = now; // by the failure detector
        for (event, wait, until_due, jitter) in events {
            now = match state.deadline() {
                Some(due) if until_due => due.max(now),
                _ => now + Duration::from_millis(wait),
            };
            // TCP reports a result only while it connects.
            if event == Event::TcpConnected && tcp != TcpState::Trying { continue }
            match &event {
                Event::Start => wanted = true,
                Event::Stop(_) => wanted = false,
                Event::LivenessLost { wait } => held = held.max(now + *wait),
                _ => {}
            }
            if event == Event::TcpConnected { tcp = TcpState::Up }
            let (next, actions) = step(&timers, state, event, StepContext { now, jitter });
            for action in actions {
                match action {
                    Action::Connect => { prop_assert_eq!(&tcp, &TcpState::None); tcp = TcpState::Trying }
                    Action::Send(_) => prop_assert_eq!(&tcp, &TcpState::Up),
                    Action::Hangup | Action::Abort => { prop_assert_ne!(&tcp, &TcpState::None); tcp = TcpState::None }
                    Action::Up(_) => { prop_assert!(!is_up); is_up = true }
                    Action::Down(_) => { prop_assert!(is_up); is_up = false }
                    Action::Failed(_) => prop_assert!(!is_up),
                    Action::Refresh(_) => prop_assert!(is_up),
                }
            }
            state = next;
            prop_assert_eq!(is_up, state.name() == StateName::Established);
            let has_tcp = match state.name() {
                StateName::Idle => TcpState::None,
                StateName::Connect => TcpState::Trying,
                StateName::OpenSent | StateName::OpenConfirm | StateName::Established => TcpState::Up,
            };
            prop_assert_eq!(&tcp, &has_tcp);
            match state.name() {
                StateName::Idle if wanted => prop_assert!(state.deadline().unwrap() <= held.max(now + timers.retry_max)),
                StateName::Idle => prop_assert_eq!(state.deadline(), None),
                StateName::Connect => prop_assert!(state.deadline().unwrap() <= now + timers.connect),
                StateName::OpenSent | StateName::OpenConfirm | StateName::Established => {}
            }
        }
    }
}
