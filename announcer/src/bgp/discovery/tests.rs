use super::*;
use crate::bgp::path::{Address, Fitness, Link};

const OURS: &str = "fe80::11";
/// More turns than any of the tests needs.
const MOST_TURNS: usize = 10_000;

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn network(state: LinkState) -> Network {
    let link_local = Address {
        ip: ip(OURS).into(),
        prefix: 64,
        fitness: Fitness::Unfit,
        temporary: false,
        expires: false,
    };
    let mut network = Network::default();
    network.links.insert(7, Link { name: "swp1".into(), state });
    network.addresses.insert(7, vec![link_local]);
    network
}

fn wanted() -> BTreeSet<String> {
    ["swp1".to_owned()].into()
}

/// Plays what happens at a number of seconds, and notes what is sent and which routers are known whenever that changes. `1/1800`: router
/// `fe80::1` advertises itself with that lifetime; `?`: somebody asks for advertisements; `down`, `up`: the link.
fn play(events: &[(f64, &str)], until: f64) -> Vec<String> {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let (mut discovery, mut seen, mut known) = (RouterDiscovery::default(), Vec::new(), String::new());
    let mut events = events.iter().peekable();
    discovery.follow(&wanted(), &network(LinkState::Up), start);
    let mut now = start;
    for _ in 0..MOST_TURNS {
        while let Some((_, what)) = events.next_if(|(seconds, _)| at(*seconds) <= now) {
            match *what {
                "?" => discovery.heard(7, ip("fe80::9"), DiscoveryMessage::Solicitation, 0.5, now),
                "down" => discovery.follow(&wanted(), &network(LinkState::Down), now),
                "up" => discovery.follow(&wanted(), &network(LinkState::Up), now),
                advertised => {
                    let (router, seconds) = advertised.split_once('/').unwrap();
                    let lifetime = Duration::from_secs(seconds.parse().unwrap());
                    let source = ip(&format!("fe80::{router}"));
                    discovery.heard(7, source, DiscoveryMessage::Advertisement { lifetime }, 0.5, now);
                }
            }
        }
        let sent: Vec<&str> = (discovery.due(now).iter())
            .map(|send| match (send.interface, send.source == ip(OURS), send.kind) {
                (7, true, DiscoverySendKind::Advertisement) => "RA",
                (7, true, DiscoverySendKind::Solicitation) => "RS",
                other => panic!("{other:?}"),
            })
            .collect();
        let routers = discovery.routers();
        let shown = routers.get("swp1").map_or("-".to_owned(), |link| {
            let others = link.others.iter().map(|(other, silence)| {
                format!(" {}{other}", if *silence == Silence::Silent { "silent " } else { "" })
            });
            format!("{}{}", link.router, others.collect::<String>())
        });
        if !sent.is_empty() || shown != known {
            let seconds = (now - start).as_secs_f64();
            seen.push(format!("{seconds} {} [{shown}]", sent.join(" ")));
            known = shown;
        }
        let next =
            discovery.deadline().into_iter().chain(events.peek().map(|(seconds, _)| at(*seconds))).min();
        match next {
            Some(next) if next <= at(until) => now = next.max(now + Duration::from_millis(1)),
            Some(_) | None => return seen,
        }
    }
    panic!("it never rests: {seen:#?}")
}

/// What [`play`] has noted, without the advertisements of every ten seconds.
fn without_advertisements(seen: Vec<String>) -> Vec<String> {
    let mut known = String::new();
    seen.into_iter()
        .filter_map(|line| {
            let (head, routers) = line.split_once(" [").unwrap();
            let is_news = routers != known || head.contains("RS");
            known = routers.to_owned();
            is_news.then(|| format!("{} [{routers}", head.replace("RA RS", "RS").replace(" RA", " ")))
        })
        .collect()
}

#[test]
fn a_link_that_comes_up_is_advertised_to_and_asked_until_a_router_answers() {
    assert_eq!(
        play(&[], 30.0),
        [
            "0 RA RS [-]",
            "3 RA [-]",
            "4 RS [-]",
            "6 RA [-]",
            "8 RS [-]",
            "16 RA [-]",
            "18 RS [-]",
            "26 RA [-]",
            "28 RS [-]"
        ]
    );
    assert_eq!(
        play(&[(0.5, "1/1800")], 30.0),
        [
            "0 RA RS [-]",
            "0.5  [fe80::1]",
            "3 RA [fe80::1]",
            "6 RA [fe80::1]",
            "16 RA [fe80::1]",
            "26 RA [fe80::1]"
        ]
    );
}

#[test]
fn rfc_4861_6_2_6_a_solicitation_is_answered_soon_and_not_more_often_than_each_three_seconds() {
    let answers = play(&[(0.5, "1/1800"), (8.0, "?"), (8.1, "?"), (13.0, "?")], 20.0);
    let late: Vec<&str> = answers.iter().map(String::as_str).filter(|line| line.contains("RA")).collect();
    assert_eq!(
        late,
        ["0 RA RS [-]", "3 RA [fe80::1]", "6 RA [fe80::1]", "9 RA [fe80::1]", "13.25 RA [fe80::1]"]
    );
}

#[test]
fn a_router_is_asked_again_before_its_advertisement_runs_out_and_forgotten_after_it() {
    let seen = play(&[(0.0, "1/100")], 130.0);
    assert_eq!(
        without_advertisements(seen),
        [
            "0  [fe80::1]",
            "75 RS [fe80::1]",
            "79 RS [fe80::1]",
            "83 RS [fe80::1]",
            "93 RS [fe80::1]",
            "100 RS [-]",
            "104 RS [-]",
            "108 RS [-]",
            "118 RS [-]",
            "128 RS [-]"
        ]
    );
    let renewed = play(&[(0.0, "1/100"), (76.0, "1/100")], 150.0);
    assert_eq!(without_advertisements(renewed), ["0  [fe80::1]", "75 RS [fe80::1]"]);
    // A lifetime of 0 says that it is no default router, and not that it is gone.
    assert_eq!(without_advertisements(play(&[(0.0, "1/0")], 1300.0)), ["0  [fe80::1]"]);
    assert!(without_advertisements(play(&[(0.0, "1/0")], 1801.0)).contains(&"1800 RS [-]".to_owned()));
}

#[test]
fn of_two_routers_the_first_is_kept_while_it_answers() {
    let answered =
        play(&[(0.0, "1/1800"), (5.0, "2/1800"), (5.4, "1/1800"), (16.0, "2/1800"), (17.0, "1/1800")], 60.0);
    assert_eq!(
        without_advertisements(answered),
        ["0  [fe80::1]", "5 RS [fe80::1 fe80::2]", "16 RS [fe80::1 fe80::2]"]
    );
}

#[test]
fn a_router_that_is_silent_is_replaced_by_the_one_that_is_heard() {
    let replaced = play(&[(0.0, "1/1800"), (5.0, "2/1800"), (15.5, "2/1800")], 20.0);
    let seen = without_advertisements(replaced);
    assert_eq!(seen[..2], ["0  [fe80::1]", "5 RS [fe80::1 fe80::2]"]);
    assert!(seen.contains(&"15 RS [fe80::2 silent fe80::1]".to_owned()), "{seen:?}");
    // The one that runs out is replaced at once.
    let ran_out = without_advertisements(play(&[(0.0, "1/30"), (29.0, "2/1800"), (29.1, "1/1")], 31.0));
    assert!(ran_out.last().unwrap().ends_with("[fe80::2]"), "{ran_out:?}");
}

#[test]
fn a_link_that_goes_down_loses_its_router_and_begins_anew() {
    let seen = play(&[(0.0, "1/1800"), (7.0, "down"), (30.0, "up"), (30.5, "2/1800")], 31.0);
    assert_eq!(without_advertisements(seen), ["0  [fe80::1]", "7  [-]", "30 RS [-]", "30.5  [fe80::2]"]);
}

#[test]
fn our_own_messages_and_those_of_other_links_do_not_count() {
    let now = Instant::now();
    let mut discovery = RouterDiscovery::default();
    discovery.follow(&wanted(), &network(LinkState::Up), now);
    let advertisement = DiscoveryMessage::Advertisement { lifetime: Duration::ZERO };
    discovery.heard(7, ip(OURS), advertisement, 0.0, now);
    discovery.heard(8, ip("fe80::1"), advertisement, 0.0, now);
    assert_eq!(discovery.routers(), BTreeMap::new());
    (0..100).for_each(|last| discovery.heard(7, ip(&format!("fe80::1:{last}")), advertisement, 0.0, now));
    assert_eq!(discovery.routers()["swp1"].others.len(), MOST_OTHERS, "memory has a limit");
    discovery.follow(&[].into(), &network(LinkState::Up), now);
    assert_eq!((discovery.routers().len(), discovery.deadline()), (0, None));
}

#[test]
fn a_task_that_is_started_again_keeps_the_routers() {
    let now = Instant::now();
    let link = LearntLink { router: ip("fe80::1"), others: BTreeMap::new() };
    let known = LearntRouters { links: [("swp1".to_owned(), link)].into(), failure: None };
    let mut discovery = RouterDiscovery::resumed(&known, now);
    discovery.follow(&wanted(), &Network::default(), now); // not read yet
    assert_eq!(discovery.routers(), known.links);
    discovery.follow(&wanted(), &network(LinkState::Up), now);
    assert_eq!(discovery.routers(), known.links);
    assert_eq!(discovery.due(now).len(), 2, "and asks at once");
}

#[test]
fn a_message_that_was_not_sent_is_sent_again() {
    let now = Instant::now();
    let mut discovery = RouterDiscovery::default();
    discovery.follow(&wanted(), &network(LinkState::Up), now);
    let second = Duration::from_secs(1);
    let due = discovery.due(now);
    assert_eq!(due.len(), 2);
    due.into_iter().for_each(|send| discovery.not_sent(send, second, now));
    assert_eq!(discovery.deadline(), Some(now + second));
    assert_eq!(discovery.due(now + second).len(), 2);
}

#[test]
fn warnings_name_routers_that_were_heard() {
    let with = |others: &[(&str, Silence)]| {
        let others = others.iter().map(|(other, silence)| (ip(other), *silence)).collect();
        let link = LearntLink { router: ip("fe80::1"), others };
        LearntRouters { links: [("swp1".to_owned(), link)].into(), failure: None }
    };
    assert_eq!(with(&[("fe80::2", Silence::Silent)]).warnings(), Vec::<String>::new());
    let two = with(&[("fe80::2", Silence::Heard), ("fe80::3", Silence::Silent)]);
    assert_eq!(
        two.warnings(),
        [
            "several routers advertise themselves on `swp1`: fe80::1 gets the session, fe80::2 does not; an unnumbered session needs a link \
             to one router: write a `[[peer]]` with the `address` and the `interface` for each router"
        ]
    );
    assert!(two.has("swp1", ip("fe80::3").into()) && two.has("swp1", ip("fe80::1").into()));
    assert!(!two.has("swp1", ip("fe80::4").into()) && !two.has("swp2", ip("fe80::1").into()));
    assert_eq!((two.of("swp1"), two.of("swp2")), (Some(ip("fe80::1")), None));
}
