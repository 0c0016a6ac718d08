use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::keys::KeyPress::{self, *};
use super::state::{AskError, TopAction, TopEvent, TopState};
use super::view;
use crate::control::api::{
    ApiError, Change, ChangeKind, ChangeList, ErrorCode, PeerDetails, ReasonStatus, Request, Response,
    Status, VipDetails, WireTime,
};
use crate::control::status::tests::{a_vip, router, scene, status};

mod rows;

const HISTORY: Request = Request::History { limit: Some(100) };

fn change(second: u8, after: &str, wire_ms: Option<WireTime>) -> Change {
    Change {
        id: u64::from(second),
        time: format!("2026-01-31T12:00:{second:02}.123Z"),
        kind: ChangeKind::Standing,
        service: Some("api-public".into()),
        vip: Some("192.0.2.7".parse().unwrap()),
        peer: None,
        drain: None,
        before: "announced".into(),
        after: after.into(),
        reason: Some(ReasonStatus { code: "unhealthy".into(), text: "3 of 3 probes failed".into() }),
        wire_ms,
    }
}

fn changes() -> Vec<Change> {
    let session = Change {
        kind: ChangeKind::Session,
        service: None,
        vip: None,
        peer: Some("r2".into()),
        before: "Established".into(),
        ..change(7, "Connect", None)
    };
    vec![change(5, "not_announced", Some(WireTime { first: 1.5, last: 2.25 })), session]
}

fn at(seconds: u64) -> TopEvent {
    TopEvent::Tick(Duration::from_secs(seconds))
}

/// A view in a terminal of this size, after one poll.
fn view_of(status: Status, (columns, rows): (u16, u16)) -> TopState {
    let mut state = TopState::new(false);
    state.on(TopEvent::Resize { columns, rows });
    assert_eq!(state.on(at(0)), [TopAction::Ask(Request::Status)]);
    poll(&mut state, status);
    state
}

fn poll(state: &mut TopState, status: Status) {
    let status = Response::Status { status: Box::new(status) };
    assert_eq!(state.on(TopEvent::Answer(Request::Status, Ok(status))), [TopAction::Ask(HISTORY)]);
    state.on(TopEvent::Answer(HISTORY, Ok(Response::History(ChangeList { changes: changes() }))));
}

fn press(state: &mut TopState, keys: &[KeyPress]) -> Vec<TopAction> {
    keys.iter().flat_map(|key| state.on(TopEvent::Key(*key))).collect()
}

fn type_in(state: &mut TopState, text: &str) {
    text.chars().for_each(|char| assert_eq!(press(state, &[Char(char)]), []));
}

/// What a terminal of this size shows, without the blanks at the ends of its lines.
fn drawn(state: &TopState, (columns, rows): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view::paint(state, frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..rows).map(line).collect::<Vec<_>>().join("\n")
}

fn check(state: &TopState, size: (u16, u16), want: Expect) {
    let shown = drawn(state, size);
    assert!(shown.lines().all(|line| line.chars().count() <= usize::from(size.0)), "{shown}");
    want.assert_eq(&shown);
}

/// The names of the entries, in order.
fn names(state: &TopState) -> Vec<String> {
    state.rows.iter().filter_map(|row| Some(row.subject()?.name())).collect()
}

fn selected(state: &TopState) -> String {
    state.rows[state.selected.unwrap()].subject().unwrap().name()
}

#[test]
fn the_scene_at_80_columns() {
    check(
        &view_of(scene(), (80, 24)),
        (80, 24),
        expect![[r#"
            fe1: 6 of 32 VIPs not announced, 1 of 3 routers down, 1 VIP last choice, 2 VIPs…
            version 0.1.0, up 3d, AS 65001, router id 10.0.0.11
            ROUTER
            > FAIL   r2  10.0.1.1  down 3m  hold timer expired: no message from the peer fo…
              ok     r1  10.0.1.1  up 3d    26 prefixes acknowledged
              ok     r3  10.0.1.1  up 3d    26 prefixes acknowledged
            SERVICE
              FAIL   api-public            0/4  3m           █  HTTP 503
              FAIL   images-and-other-st…  3/5  3m           █  192.0.2.15: no answer withi…
              FAIL                              3m           █  192.0.2.16: connection refu…
              warn   mail                  2/2  3m           ▅  192.0.2.5: last choice, it …
              drain  shop                  0/2  3m           ▂  drained by ann: new kernel
              ok     www                   4/4  3m           ▁  sent to 2 of 3 routers
              ok     api-internal          2/2  3m           ▁  sent to 2 of 3 routers
              ok     search                2/2  3m           ▁  sent to 2 of 3 routers
              ok     login                 3/3  3m           ▁  sent to 2 of 3 routers
              ok     static                2/2  3m           ▁  sent to 2 of 3 routers
              ok     video                 2/2  3m           ▁  sent to 2 of 3 routers
            EVENT
              12:00:07.123Z  r2: Established -> Connect, 3 of 3 probes failed
              12:00:05.123Z  api-public 192.0.2.7: announced -> not_announced, 3 of 3 probe…


            q quit  ? help  / filter  p problems  Enter explain  a all  s worst first"#]],
    );
}

#[test]
fn the_scene_at_120_columns() {
    let mut state = view_of(scene(), (120, 40));
    for _ in 0..3 {
        poll(&mut state, scene());
    }
    check(
        &state,
        (120, 40),
        expect![[r#"
            fe1: 6 of 32 VIPs not announced, 1 of 3 routers down, 1 VIP last choice, 2 VIPs drained
            version 0.1.0, up 3d, AS 65001, router id 10.0.0.11
            ROUTER
            > FAIL   r2  10.0.1.1  down 3m  hold timer expired: no message from the peer for 9 s; last up 2026-01-31T12:00:00Z
              ok     r1  10.0.1.1  up 3d    26 prefixes acknowledged
              ok     r3  10.0.1.1  up 3d    26 prefixes acknowledged
            SERVICE
              FAIL   api-public                     0/4  3m             ████  HTTP 503
              FAIL   images-and-other-static-files  3/5  3m             ████  192.0.2.15: no answer within 1000 ms
              FAIL                                       3m             ████  192.0.2.16: connection refused
              warn   mail                           2/2  3m             ▅▅▅▅  192.0.2.5: last choice, it came back too often
              drain  shop                           0/2  3m             ▂▂▂▂  drained by ann: new kernel
              ok     www                            4/4  3m             ▁▁▁▁  sent to 2 of 3 routers
              ok     api-internal                   2/2  3m             ▁▁▁▁  sent to 2 of 3 routers
              ok     search                         2/2  3m             ▁▁▁▁  sent to 2 of 3 routers
              ok     login                          3/3  3m             ▁▁▁▁  sent to 2 of 3 routers
              ok     static                         2/2  3m             ▁▁▁▁  sent to 2 of 3 routers
              ok     video                          2/2  3m             ▁▁▁▁  sent to 2 of 3 routers
              ok     news                           2/2  3m             ▁▁▁▁  sent to 2 of 3 routers
              ok     feeds                          2/2  3m             ▁▁▁▁  sent to 2 of 3 routers
            warning: check `backend` of www at 192.0.2.1: the certificate ends on 2030-03-17 17:46 UTC
            warning: two
            warning: three
            and 2 more warnings: `announcer status --all`
            EVENT
              12:00:07.123Z  r2: Established -> Connect, 3 of 3 probes failed
              12:00:05.123Z  api-public 192.0.2.7: announced -> not_announced, 3 of 3 probes failed (2.25 ms to the wire)












            q quit  ? help  / filter  p problems  Enter explain  a all  s worst first"#]],
    );
}

#[test]
fn the_scene_in_a_small_terminal() {
    check(
        &view_of(scene(), (40, 10)),
        (40, 10),
        expect![[r#"
            fe1: 6 of 32 VIPs not announced, 1 of 3…
            version 0.1.0, up 3d, AS 65001, router …
            ROUTER
            > FAIL   r2  10.0.1.1  down 3m  hold ti…
              ok     r1  10.0.1.1  up 3d    26 pref…
              ok     r3  10.0.1.1  up 3d    26 pref…
            SERVICE
              FAIL   api-public  0/4  3m  HTTP 503
              FAIL   images-an…  3/5  3m  192.0.2.1…
            q quit  ? help  / filter  p problems  E…"#]],
    );
    check(&view_of(scene(), (1, 1)), (1, 1), expect!["…"]);
    check(
        &view_of(scene(), (12, 2)),
        (12, 2),
        expect![[r#"
        fe1: 6 of 3…
        ROUTER"#]],
    );
}

#[test]
fn enter_explains_and_escape_goes_back() {
    let mut state = view_of(scene(), (60, 8));
    assert_eq!(selected(&state), "router r2");
    let ask = Request::ExplainPeer { peer: "r2".into() };
    assert_eq!(press(&mut state, &[Enter]), [TopAction::Ask(ask.clone())]);
    assert!(drawn(&state, (60, 8)).contains("waiting for the answer"));
    let lines = vec![
        "Router r2 at 10.0.1.1, AS 65000: the session is Connect (for 3m).".into(),
        "Hint: \u{1b}[2J\u{202e}none.".into(),
    ];
    let details = PeerDetails { peer: router("r2", false), router_commands: vec![], lines };
    state.on(TopEvent::Answer(ask, Ok(Response::Peer(Box::new(details)))));
    check(
        &state,
        (60, 8),
        expect![[r#"
        EXPLAIN router r2
        Router r2 at 10.0.1.1, AS 65000: the session is Connect (for
        3m).
        Hint:  [2J none.



        Escape back  q quit"#]],
    );
    assert_eq!(press(&mut state, &[Escape]), []);
    assert!(drawn(&state, (60, 8)).contains("ROUTER"));
}

#[test]
fn an_explanation_scrolls_is_asked_for_at_each_poll_and_an_old_answer_is_not_shown() {
    let mut state = view_of(scene(), (60, 6));
    let vip = Request::Explain { vip: "192.0.2.7".parse().unwrap(), peer: None };
    assert_eq!(press(&mut state, &[Down, Down, Down, Enter]), [TopAction::Ask(vip.clone())]);
    let details = |count: usize| {
        let lines = (0..count).map(|line| format!("line {line}")).collect();
        Response::Vip(Box::new(VipDetails {
            service: "api-public".into(),
            vip: a_vip("192.0.2.7", "not_announced", "unhealthy", "HTTP 503"),
            lines,
        }))
    };
    let other = Request::ExplainPeer { peer: "r1".into() };
    state.on(TopEvent::Answer(other, Ok(details(1))));
    assert!(drawn(&state, (60, 6)).contains("waiting"), "the answer is for another question");
    state.on(TopEvent::Answer(vip.clone(), Ok(details(9))));
    for (keys, want) in [
        (&[][..], "line 0"),
        (&[Down, Char('j')], "line 2"),
        (&[Up], "line 1"),
        (&[PageDown], "line 5"),
        (&[PageDown], "line 5"),
        (&[Home], "line 0"),
        (&[End], "line 5"),
        (&[PageUp], "line 1"),
    ] {
        press(&mut state, keys);
        assert_eq!(drawn(&state, (60, 6)).lines().nth(1), Some(want), "{keys:?}");
    }
    state.on(at(1));
    state.on(TopEvent::Answer(Request::Status, Ok(Response::Status { status: Box::new(scene()) })));
    let list = Response::History(ChangeList { changes: vec![] });
    assert_eq!(state.on(TopEvent::Answer(HISTORY, Ok(list))), [TopAction::Ask(vip.clone())]);
    let gone = ApiError::new(ErrorCode::UnknownName, "error: there is no VIP");
    state.on(TopEvent::Answer(vip, Ok(Response::Error(gone))));
    assert!(drawn(&state, (60, 6)).contains("there is no VIP"));
}

#[test]
fn a_daemon_that_restarts_is_named_and_asked_again() {
    let mut state = view_of(scene(), (80, 24));
    assert_eq!(state.on(at(1)), [TopAction::Ask(Request::Status)]);
    assert_eq!(state.on(at(2)), [], "one request at a time");
    let notice = |state: &TopState| drawn(state, (80, 24)).lines().nth(1).unwrap().to_owned();
    assert!(notice(&state).starts_with("version 0.1.0, up 3d"));
    state.on(at(4));
    assert_eq!(notice(&state), "4s old: announcer has not answered for 3s; trying again");
    let why = AskError::NoAnswer("announcer is not running: nothing answers at `/s`".into());
    assert_eq!(state.on(TopEvent::Answer(Request::Status, Err(why))), []);
    assert_eq!(notice(&state), "4s old: announcer is not running: nothing answers at `/s`; trying again");
    assert!(drawn(&state, (80, 24)).contains("api-public"), "what was seen last stays");
    assert_eq!(drawn(&state, (80, 1)), notice(&state), "it matters the most");
    assert_eq!(state.on(at(5)), [TopAction::Ask(Request::Status)]);
    let busy = Response::error(ErrorCode::Busy, "too many requests wait");
    state.on(TopEvent::Answer(Request::Status, Ok(busy)));
    assert!(notice(&state).starts_with("5s old: too many requests wait; "));
    state.on(at(6));
    poll(&mut state, scene());
    assert!(notice(&state).starts_with("version 0.1.0, up 3d"));
}

#[test]
fn before_the_first_answer_the_view_says_so() {
    let mut state = TopState::new(false);
    assert!(drawn(&state, (80, 24)).starts_with("announcer top: waiting for the first answer\n"));
    state.on(at(0));
    let why = "announcer is not running: nothing answers at `/s`";
    state.on(TopEvent::Answer(Request::Status, Err(AskError::NoAnswer(why.into()))));
    assert!(drawn(&state, (80, 24)).starts_with(&format!("announcer top\n{why}; trying again\n")));
    let why = AskError::Forbidden("no permission".into());
    let end = state.on(TopEvent::Answer(Request::Status, Err(why)));
    assert_eq!(end, [TopAction::Fail("no permission".into())]);
}

#[test]
fn keys_that_end_the_view() {
    for (before, key, ends) in [
        (&[][..], Char('q'), true),
        (&[Enter], Char('q'), true),
        (&[Char('?')], Char('q'), true),
        (&[Char('/')], Char('q'), false),
        (&[], Interrupt, true),
        (&[Char('/')], Interrupt, true),
        (&[Char('?')], Interrupt, true),
        (&[], Escape, false),
    ] {
        let mut state = view_of(scene(), (80, 24));
        press(&mut state, before);
        let want = if ends { vec![TopAction::End] } else { vec![] };
        assert_eq!(press(&mut state, &[key]), want, "{before:?} {key:?}");
    }
}

#[test]
fn the_help_names_each_key_and_fits() {
    let mut state = view_of(scene(), (80, 24));
    press(&mut state, &[Char('?')]);
    check(
        &state,
        (80, 24),
        expect![[r#"
            HELP
              Up Down j k      select a row
              PageUp PageDown  a page up or down; Home End: the beginning or the end
              Enter            explain the selected VIP or router; Escape goes back
              /                show only names and addresses with a text in them
              p                show only problems: FAIL, warn and start
              a                a row for each VIP, also for VIPs with the same reason
              s                sort: worst first, by name, as configured
              Escape           go back, and end the filter
              q Ctrl-C         quit

            Of a VIP, FAIL is: not announced although nobody drained it, or sent to no
            router; warn: the last choice; start: no verdict yet; drain: drained. Of a
            router, FAIL is: no session; warn: some routes are not sent.

            The bars are the state of a row's VIPs at the last polls, one a second, the
            newest at the right: the worse, the higher.






            Escape back  q quit"#]],
    );
    press(&mut state, &[Escape]);
    assert!(drawn(&state, (80, 24)).contains("ROUTER"));
}

#[test]
fn colours_only_if_wanted_and_every_mark_is_a_word() {
    for colour in [true, false] {
        let mut state = TopState::new(colour);
        state.on(at(0));
        poll(&mut state, scene());
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| view::paint(&state, frame.buffer_mut())).unwrap();
        let cells = &terminal.backend().buffer().content;
        let has =
            |symbol: &str, colour| cells.iter().any(|cell| cell.symbol() == symbol && cell.fg == colour);
        let coloured = cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, colour);
        assert_eq!(has("F", Color::Red) && has("▁", Color::Green) && has("█", Color::Red), colour);
    }
}

fn any_event() -> impl Strategy<Value = TopEvent> {
    let key = prop_oneof![
        prop::sample::select(vec![Enter, Escape, Backspace, Up, Down, PageUp, PageDown, Home, End]),
        prop::sample::select("/pas?jkgGr漢".chars().collect::<Vec<_>>()).prop_map(Char),
    ];
    let vips = 0..12_usize;
    let answer = vips.prop_map(|count| {
        let mut status = scene();
        status.services.truncate(count);
        TopEvent::Answer(Request::Status, Ok(Response::Status { status: Box::new(status) }))
    });
    prop_oneof![
        6 => key.prop_map(TopEvent::Key),
        1 => (0..90_u16, 0..40_u16).prop_map(|(columns, rows)| TopEvent::Resize { columns, rows }),
        1 => (0..100_u64).prop_map(at),
        1 => answer,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_keys_in_any_terminal_are_drawn(events in prop::collection::vec(any_event(), 0..40), size in (0..90_u16, 0..40_u16)) {
        let mut state = view_of(scene(), size);
        for event in events {
            state.on(event);
            drawn(&state, state.size());
            // A terminal that has another size than was said last.
            drawn(&state, size);
            if let Some(at) = state.selected {
                prop_assert!(state.rows[at].subject().is_some());
            }
        }
    }
}
