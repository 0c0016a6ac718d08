//! Tests of the state machine, of the search for listeners, and of the period.

use super::*;

const PAIR: VipPort = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 80)), 80);

fn up(grace: u64) -> WatchSpec {
    WatchSpec { grace: Duration::from_millis(grace), up: true }
}

/// Queries 5 ms apart: `+` a listener, `-` none, `?` the query failed; `u` and `d`: the checks are up, are down; `r`, `a`, `n`: the
/// connection is refused, accepted, not answered. The result of each: `C` connect, `D` reported gone, `U` reported back, `.`
/// nothing.
fn play(events: &str, grace: u64) -> String {
    let mut watch = Watch::default();
    let mut watched = WatchSpec { up: false, ..up(grace) };
    watch.set(&[(PAIR, watched)].into());
    let mut now = Instant::now();
    let mut said = String::new();
    for event in events.chars() {
        let sight = match event {
            '+' => Some(LookResult::Listens),
            '-' => Some(LookResult::Nothing),
            '?' => Some(LookResult::Unknown),
            _ => None,
        };
        let actions: Vec<WatchAction> = match event {
            'u' | 'd' => {
                watched.up = event == 'u';
                watch.set(&[(PAIR, watched)].into());
                vec![]
            }
            'r' => watch.answered(PAIR, ConnectAnswer::Refused).into_iter().collect(),
            'a' => watch.answered(PAIR, ConnectAnswer::Accepted).into_iter().collect(),
            'n' => watch.answered(PAIR, ConnectAnswer::Unanswered).into_iter().collect(),
            _ => {
                now += Duration::from_millis(5);
                watch.look(&[sight.unwrap()], now)
            }
        };
        said.push(match actions.as_slice() {
            [] => '.',
            [WatchAction::Connect(pair)] if *pair == PAIR => 'C',
            [WatchAction::Report { pair, listening: false }] if *pair == PAIR => 'D',
            [WatchAction::Report { pair, listening: true }] if *pair == PAIR => 'U',
            other => panic!("{other:?}"),
        });
    }
    said
}

#[test]
fn it_arms_fires_and_disarms() {
    for (what, grace, events, want) in [
        ("a crash, and the return", 0, "u++-r--+d+", "...CD..U.."),
        ("the second crash", 0, "u+-rd-+u+-r", "..CD..U..CD"),
        ("never armed while its checks are down", 0, "++-+-", "....."),
        ("nor by checks that pass without a listener", 0, "u---+-", ".....C"),
        ("it stays armed while its checks fail for another reason", 0, "u+d+-r", "....CD"),
        ("socket activation: one connect, then left alone", 0, "u+-a------", "..C......."),
        ("and watched again once a listener was seen", 0, "u+-a--+-r", "..C....CD"),
        ("a black hole is no crash", 0, "u+-n-----", "..C......"),
        ("one connect at a time", 0, "u+----r", "..C...D"),
        ("a listener that is back before the refusal is reported gone, then back", 0, "u+-+r+", "..C.DU"),
        ("a look that fails says nothing", 0, "u+????-r??+", "......CD..U"),
        ("a gap within the grace", 10, "u+--+--+", "........"),
        ("a gap as long as the grace", 10, "u+---r", "....CD"),
        ("a look that fails within the grace", 10, "u+-??+-", "......."),
    ] {
        assert_eq!(play(events, grace), want, "{what}: {events}");
    }
}

#[test]
fn the_end_of_a_grace_is_its_deadline() {
    let mut watch = Watch::default();
    watch.set(&[(PAIR, up(7))].into());
    let now = Instant::now();
    assert_eq!(watch.look(&[LookResult::Listens], now), []);
    assert_eq!(watch.deadline(), None);
    assert_eq!(watch.look(&[LookResult::Nothing], now), []);
    assert_eq!(watch.deadline(), Some(now + Duration::from_millis(7)));
    assert_eq!(
        watch.look(&[LookResult::Nothing], now + Duration::from_millis(7)),
        [WatchAction::Connect(PAIR)]
    );
    assert_eq!(watch.deadline(), None);
}

#[test]
fn what_is_left_to_the_probes_is_reported_with_its_reason() {
    let mut watch = Watch::default();
    watch.set(&[(PAIR, up(0))].into());
    assert_eq!(watch.disarmed(), [(PAIR, DisarmReason::Unseen)]);
    let now = Instant::now();
    let _ = watch.look(&[LookResult::Listens], now);
    assert_eq!(watch.disarmed(), []);
    let _ = watch.look(&[LookResult::Nothing], now);
    assert_eq!(watch.answered(PAIR, ConnectAnswer::Accepted), None);
    assert_eq!(watch.disarmed(), [(PAIR, DisarmReason::Answers)]);
}

#[test]
fn a_pair_that_is_not_watched_any_more_is_forgotten() {
    let mut watch = Watch::default();
    watch.set(&[(PAIR, up(0))].into());
    let now = Instant::now();
    let _ = watch.look(&[LookResult::Listens], now);
    assert_eq!(watch.look(&[LookResult::Nothing], now), [WatchAction::Connect(PAIR)]);
    watch.set(&BTreeMap::new());
    assert_eq!(watch.answered(PAIR, ConnectAnswer::Refused), None);
    watch.set(&[(PAIR, up(0))].into());
    assert_eq!(watch.answered(PAIR, ConnectAnswer::Refused), None, "the answer is of a connect of before");
    assert_eq!(watch.look(&[LookResult::Nothing], now), []);
}

#[test]
fn only_what_would_fire_is_worth_a_second_look() {
    let pairs: BTreeMap<VipPort, WatchSpec> = (1..=3).map(|port| ((PAIR.0, port), up(0))).collect();
    let mut watch = Watch::default();
    watch.set(&pairs);
    let _ = watch.look(&[LookResult::Listens, LookResult::Nothing, LookResult::Listens], Instant::now());
    assert_eq!(watch.doubtful(&[LookResult::Nothing; 3]), [0, 2]);
    assert_eq!(watch.doubtful(&[LookResult::Nothing, LookResult::Nothing, LookResult::Listens]), [0]);
}

#[test]
fn a_listener_serves_what_the_kernel_lets_it_serve() {
    let v6: VipPort = ("2001:db8::80".parse().unwrap(), 80);
    let pairs = [PAIR, v6];
    let serves = |address: &str, port, v6only| {
        let mut served = ServedPorts::new(pairs.into_iter(), &ListenerScopes::default());
        served.add(Listener { address: address.parse().unwrap(), port, v6only, bound_to: 0 });
        served.take().into_iter().map(|sight| sight == LookResult::Listens).collect::<Vec<_>>()
    };
    for (address, port, v6only, want) in [
        ("192.0.2.80", 80, false, [true, false]),
        ("192.0.2.80", 81, false, [false, false]),
        ("192.0.2.81", 80, false, [false, false]),
        ("0.0.0.0", 80, false, [true, false]),
        ("::", 80, false, [true, true]),
        ("::", 80, true, [false, true]),
        ("::", 8080, false, [false, false]),
        ("::ffff:192.0.2.80", 80, false, [true, false]),
        ("2001:db8::80", 80, true, [false, true]),
    ] {
        assert_eq!(serves(address, port, v6only), want, "[{address}]:{port} v6only {v6only}");
    }
    let mut served = ServedPorts::new(pairs.into_iter(), &ListenerScopes::default());
    served.add(Listener { address: "::".parse().unwrap(), port: 80, v6only: false, bound_to: 0 });
    let _ = served.take();
    assert_eq!(served.take(), [LookResult::Nothing; 2], "a listener of an earlier dump does not count");
}

#[test]
fn a_listener_in_a_vrf_serves_the_vrf_alone() {
    let [main, edge, gone]: [IpAddr; 3] =
        ["192.0.2.80", "192.0.2.81", "192.0.2.82"].map(|ip| ip.parse().unwrap());
    let pairs = [main, edge, gone].map(|vip| (vip, 80));
    // Where the listener is, to what it is bound (7: the VRF, 8: one of its ports), `tcp_l3mdev_accept`, and whether it serves the VIP
    // outside of a VRF and that in the VRF.
    for (address, bound_to, unbound, want) in [
        ("0.0.0.0", 0, false, [true, false]),
        ("0.0.0.0", 0, true, [true, true]),
        ("::", 0, true, [true, true]),
        ("0.0.0.0", 7, false, [false, true]),
        ("0.0.0.0", 8, true, [false, false]),
        ("0.0.0.0", 1, true, [true, false]),
        ("192.0.2.81", 0, false, [false, false]),
        ("192.0.2.81", 0, true, [false, true]),
        ("192.0.2.81", 7, false, [false, true]),
        ("192.0.2.80", 7, true, [false, false]),
    ] {
        let scopes =
            ListenerScopes([(edge, Some(ListenerScope { device: 7, unbound })), (gone, None)].into());
        let mut served = ServedPorts::new(pairs.into_iter(), &scopes);
        for _ in 0..2 {
            served.add(Listener { address: address.parse().unwrap(), port: 80, v6only: false, bound_to });
            let [of_main, of_edge, of_gone] = served.take()[..] else { panic!() };
            let seen = [of_main, of_edge].map(|sight| sight == LookResult::Listens);
            assert_eq!((seen, of_gone), (want, LookResult::Unknown), "{address} {bound_to} {unbound}");
        }
    }
}

#[test]
fn the_period_keeps_the_watch_within_a_twentieth_of_a_core() {
    let settled = |configured: u64, cost: u64| {
        let mut period = Period::new(Duration::from_millis(configured));
        for _ in 0..200 {
            period.measured(Duration::from_micros(cost));
        }
        period.get()
    };
    let close =
        |got: Duration, want: u64| got.abs_diff(Duration::from_micros(want)) < Duration::from_micros(50);
    assert!(close(settled(5, 100), 5_000), "{:?}", settled(5, 100));
    assert!(close(settled(5, 400), 8_000), "{:?}", settled(5, 400));
    assert!(close(settled(5, 5_000), 20_000), "{:?}", settled(5, 5_000));
    assert!(close(settled(50, 5_000), 50_000), "what is asked for is never shortened");
    let mut period = Period::new(Duration::from_millis(5));
    period.measured(Duration::from_millis(2));
    assert!(period.get() < LONGEST, "one slow look alone does not make it the longest: {:?}", period.get());
}

#[test]
fn few_pairs_are_looked_up_and_many_are_dumped() {
    assert_eq!(
        (LookMethod::of(1), LookMethod::of(29), LookMethod::of(30)),
        (LookMethod::Lookups, LookMethod::Lookups, LookMethod::Dump)
    );
}
