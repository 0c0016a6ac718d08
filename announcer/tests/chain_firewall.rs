//! A packet filter, or a switch, that drops or changes what the chain needs is found: four frontends on a bridge, with tables of others
//! beside those of the chain; and two daemons. Each test makes its own network namespaces. Needs root, `ip` and `nft`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "daemon/mod.rs"]
mod daemon;
mod segment;

use std::io::Write;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use announcer::chain::contact::ContactReport;
use announcer::chain::heartbeat::{
    Facts, Families, HeartbeatDropReason, Keys, ListDigest, MemberPresence, NextHops,
};
use announcer::chain::io::neighbours::AskedNeighbour;
use announcer::chain::io::{self as heartbeats, HeartbeatContent, HeartbeatSettings, test_packets};
use announcer::chain::member::MemberState;
use announcer::chain::rules::counters::{self, ChainCounters, TestPacketCounters};
use announcer::chain::rules::others::dropping_chains;
use announcer::chain::rules::{ListenOn, TEST_SOURCE_V4, TEST_SOURCE_V6};
use announcer::chain::test_packets::{TestPacketReport, TestPacketState, TestPacketWatch, WINDOW};
use announcer::model::Family;
use announcer::realtime::io::RealtimeThread;
use daemon::pair::chain_of;
use daemon::{Daemon, in_new_netns, pair};
use segment::{Namespace, PORT, Site, VIPS, member};
use until::until;

const PATIENCE: Duration = Duration::from_secs(20);
/// How many test packets are sent.
const SENT: u32 = 5;

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        until::skipped("needs root to make a network namespace; run the tests with sudo");
    }
    is_root
}

/// The test packets that a frontend has counted, for IPv4 and IPv6.
fn counted(frontend: &Namespace) -> [TestPacketCounters; 2] {
    let printed = frontend.feed("nft", &["-j", "list", "counters"], "").unwrap();
    counters::test_packets(&printed).unwrap().map(Option::unwrap)
}

fn report(readings: u32, [v4, v6]: [TestPacketCounters; 2]) -> TestPacketReport {
    TestPacketReport { readings, v4: v4.into(), v6: v6.into() }
}

/// Sends a test packet. The kernel may refuse the port for a moment, while it ends the socket of the one before.
fn send(vip: IpAddr) {
    let sent = until(PATIENCE, || test_packets::send(vip, PORT));
    assert!(sent.is_ok(), "{sent:?}");
}

/// Sends test packets from frontend 0 to frontend 1, and returns what both say of them: for each family, the way to frontend 1, and the
/// way into it.
fn judged(site: &Site) -> [(TestPacketState, TestPacketState); 2] {
    let counts = || (counted(&site.frontends[0]), counted(&site.frontends[1]));
    let before = counts();
    site.frontends[0].run(|| {
        for vip in VIPS {
            (0..SENT).for_each(|_| send(vip));
        }
    });
    std::thread::sleep(segment::QUIET);
    let after = counts();
    let now = Instant::now();
    [Family::V4, Family::V6].map(|family| {
        let index = usize::from(family == Family::V6);
        let (mut to_next, mut into_this_host) = (TestPacketWatch::default(), TestPacketWatch::default());
        for (readings, (own, theirs), at) in [(1, before, now), (3, after, now + WINDOW)] {
            let next = member(1).0.into();
            to_next.to_member(next, own[index].sent, &report(readings, theirs), family, at);
            into_this_host.into_this_host(next, &report(readings, theirs), family, at);
        }
        (to_next.state(), into_this_host.state())
    })
}

/// Frontend 0 forwards to frontend 1 and so on; a table on the host that `of` returns.
fn with_table(
    listens: ListenOn,
    of: impl Fn(&Site) -> &Namespace,
    table: &str,
) -> [(TestPacketState, TestPacketState); 2] {
    let site = Site::new(listens);
    site.ring(&[0, 1, 2, 3]);
    of(&site).nft(table);
    judged(&site)
}

#[test]
fn test_packets_arrive_where_nothing_drops_them_and_disturb_nothing() {
    if !is_root() {
        return;
    }
    for listens in [ListenOn::Wildcard, ListenOn::Address] {
        let site = Site::new(listens);
        site.ring(&[0, 1, 2, 3]);
        // Packet filters that let clients in, and look at connections.
        for frontend in &site.frontends {
            frontend.nft(&format!(
                "table inet fw {{ chain in {{ type filter hook input priority 0; policy drop
                 ct state established,related accept
                 ct state invalid drop
                 iif lo accept
                 meta l4proto {{ icmp, ipv6-icmp }} accept
                 tcp dport {PORT} accept; }}\n}}"
            ));
        }
        let both = (TestPacketState::Good, TestPacketState::Good);
        assert_eq!(judged(&site), [both; 2], "{listens:?}");
        let sent = TestPacketCounters { sent: SENT.into(), ..TestPacketCounters::default() };
        let count = u64::from(SENT);
        let taken = TestPacketCounters { sent: 0, arrived: count, changed: 0, delivered: count };
        let all = [sent, taken, TestPacketCounters::default(), TestPacketCounters::default()];
        for (frontend, want) in site.frontends.iter().zip(all) {
            assert_eq!(counted(frontend), [want; 2], "{listens:?}");
        }
        assert_eq!(site.total(), [ChainCounters::default(); 2], "no other packet was forwarded");
        for frontend in &site.frontends {
            let sockets = frontend.feed("ss", &["-tanH"], "").unwrap();
            let ended =
                [TEST_SOURCE_V4, TEST_SOURCE_V6, ":9181"].iter().all(|words| !sockets.contains(words));
            assert!(ended, "no server got one, and no socket is left: {sockets}");
        }
        // Flows go on, and clients with the port of test packets are no test packets.
        let mut flows = VIPS.map(|vip| site.flows(vip, 20));
        judged(&site);
        assert_eq!(flows.each_mut().map(segment::Flows::broken), [0, 0]);
    }
}

#[test]
fn a_packet_filter_that_drops_packets_of_the_chain_is_found() {
    if !is_root() {
        return;
    }
    let chain = |hook: &str, rule: &str| {
        format!("table inet fw {{ chain c {{ type filter hook {hook}; {rule} }}\n}}")
    };
    let marked = "ip dscp >= 32 drop; ip6 dscp >= 32 drop;";
    let v4_marked = "ip dscp >= 32 drop;";
    let foreign = "oif eth0 ip saddr != 10.0.0.0/24 drop; oif eth0 ip6 saddr != { fe80::/10, 2001:db8:10::/64 } tcp dport 80 drop;";
    let foreign_mac = "ether saddr != 02:00:00:00:00:01 ip daddr 192.0.2.1 drop; ether saddr != 02:00:00:00:00:01 ip6 daddr 2001:db8:2::1 drop;";
    let [lost, stopped, good] = [
        (TestPacketState::Lost, TestPacketState::Unknown),
        (TestPacketState::Stopped, TestPacketState::Stopped),
        (TestPacketState::Good, TestPacketState::Good),
    ];
    for (what, frontend, table, want) in [
        ("the member drops marks early", 1, chain("prerouting priority -350", marked), [lost; 2]),
        ("the member drops marks of IPv4", 1, chain("prerouting priority -350", v4_marked), [lost, good]),
        ("the member drops at its input", 1, chain("input priority 0", foreign_mac), [stopped; 2]),
        ("the member drops behind raw", 1, chain("prerouting priority mangle", foreign_mac), [stopped; 2]),
        ("this host drops foreign sources", 0, chain("output priority 0", foreign), [lost; 2]),
        ("this host drops behind routing", 0, chain("postrouting priority 0", marked), [lost; 2]),
        ("another member drops", 2, chain("input priority 0", foreign_mac), [good; 2]),
    ] {
        let found = with_table(ListenOn::Wildcard, |site| &site.frontends[frontend], &table);
        assert_eq!(found, want, "{what}");
    }
}

#[test]
fn a_switch_that_writes_its_own_dscp_is_found() {
    if !is_root() {
        return;
    }
    let rewrites = |value: &str| {
        format!(
            "table bridge qos {{ chain c {{ type filter hook forward priority 0
             meta protocol ip ip dscp set {value}
             meta protocol ip6 ip6 dscp set {value}; }}\n}}"
        )
    };
    let changed = (TestPacketState::Changed, TestPacketState::Changed);
    for value in ["0", "56"] {
        let found = with_table(ListenOn::Wildcard, |site| &site.bridge, &rewrites(value));
        assert_eq!(found, [changed; 2], "DSCP {value}");
    }
}

#[test]
fn strict_rp_filter_is_found() {
    if !is_root() {
        return;
    }
    let site = Site::new(ListenOn::Wildcard);
    site.ring(&[0, 1, 2, 3]);
    site.frontends[1].sysctl(&[("ipv4/conf/all/rp_filter", "1")]);
    let good = (TestPacketState::Good, TestPacketState::Good);
    assert_eq!(judged(&site), [good; 2], "the route to clients is over the segment");
    site.frontends[1].ip(&[
        "link add other type veth peer name unused",
        "link set other up",
        "route replace default dev other",
    ]);
    assert_eq!(judged(&site), [(TestPacketState::Stopped, TestPacketState::Stopped), good]);
}

#[test]
fn without_a_next_member_a_test_packet_ends_on_lo() {
    if !is_root() {
        return;
    }
    let site = Site::new(ListenOn::Wildcard);
    site.ring_with(&[0, 1, 2, 3], |rules| (rules.v4.next, rules.v6.next) = (None, None));
    let unknown = (TestPacketState::Unknown, TestPacketState::Unknown);
    assert_eq!(judged(&site), [unknown; 2]);
    assert_eq!(counted(&site.frontends[0]), [TestPacketCounters::default(); 2]);
    let sockets = site.frontends[0].feed("ss", &["-tanH"], "").unwrap();
    assert!(!sockets.contains(":9181"), "{sockets}");
}

#[test]
fn the_tables_of_nft_are_read() {
    if !is_root() {
        return;
    }
    let site = Site::new(ListenOn::Wildcard);
    site.ring(&[0, 1, 2, 3]);
    let found = || {
        let printed = site.frontends[0].feed("nft", &["-j", "list", "ruleset"], "").unwrap();
        dropping_chains(&printed).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found(), Vec::<String>::new(), "our own tables drop what was forwarded");
    site.frontends[0].nft(
        "table inet fw {
            chain marks { ip dscp >= 32 drop; }
            chain in { type filter hook input priority 0; policy drop; tcp dport vmap { 80 : accept }; }
            chain out { type filter hook output priority 0; oif vmap { lo : accept, eth0 : jump marks }; }
            chain fw { type filter hook forward priority 0; policy drop; }
            chain nothing { type filter hook prerouting priority 0; counter accept; }
        }
        table netdev early { chain in { type filter hook ingress device eth0 priority 0; udp dport 4789 drop; }\n}",
    );
    let want = [
        "chain `in` of table `inet fw` (hook input, its policy drops)",
        "chain `out` of table `inet fw` (hook output, a rule of it drops)",
        "chain `in` of table `netdev early` (hook ingress, a rule of it drops)",
    ];
    assert_eq!(found(), want);
}

/// What a frontend knows of the other one by heartbeats.
struct Heard {
    running: heartbeats::HeartbeatLoop,
    other: IpAddr,
}

impl Heard {
    /// Starts the exchange of heartbeats on a frontend.
    fn start(site: &Site, frontend: usize, key: &'static str) -> Heard {
        let [own, other] = [frontend, 1 - frontend].map(|index| IpAddr::from(member(index).0));
        let running = site.frontends[frontend].run(move || {
            let interface = nix::net::if_::if_nametoindex("eth0").unwrap();
            let settings = HeartbeatSettings {
                own,
                members: vec![other],
                port: 9181,
                interval: Duration::from_millis(50),
                keys: Keys::parse(key).unwrap(),
                neighbours: [(other, AskedNeighbour { interface, address: other, fixed: None })].into(),
            };
            let facts = Facts {
                interval: Duration::from_millis(50),
                rules: Families::NONE,
                presence: MemberPresence::Here,
                switched_off: false,
                next_hops: NextHops::default(),
                members: ListDigest::default(),
                services: ListDigest::default(),
            };
            let content = HeartbeatContent {
                facts,
                test_packets: TestPacketReport::default(),
                about: [].into(),
                vips: Vec::new(),
                intent: None,
                answers: [].into(),
                left: [].into(),
            };
            heartbeats::start(&RealtimeThread::default(), settings, content, [].into()).unwrap()
        });
        Heard { running, other }
    }

    /// Waits until the other frontend is in this state, and this is known of it.
    fn until(&mut self, what: &str, state: MemberState, contact: ContactReport) {
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < end {
            let Some(report) = self.running.reports.blocking_recv() else { panic!("the loop has ended") };
            let Some(known) = report.members.get(&self.other) else { continue };
            let now = (known.observation.state, known.contact);
            if now == (state, contact) {
                return;
            }
            last = Some(now);
        }
        panic!("{what}: {last:?}");
    }
}

const KEY: &str = "a key of the test, long enough";

#[test]
fn why_a_member_is_not_heard() {
    if !is_root() {
        return;
    }
    let drops = |hook: &str| {
        format!(
            "table inet fw {{ chain {hook} {{ type filter hook {hook} priority 0; udp dport 9181 drop; }}\n}}\n"
        )
    };
    let known = |kernel_answers, dropped| ContactReport { kernel_answers, dropped };
    let answers = Some(true);
    for (what, table, other_key, mine, theirs) in [
        (
            "the other one drops what arrives",
            drops("input"),
            KEY,
            known(answers, Some(HeartbeatDropReason::NotReturned)),
            known(answers, None),
        ),
        (
            "the other one drops what it sends",
            drops("output"),
            KEY,
            known(answers, None),
            known(answers, Some(HeartbeatDropReason::NotReturned)),
        ),
        (
            "the other one drops both",
            drops("input") + &drops("output"),
            KEY,
            known(answers, None),
            known(answers, None),
        ),
        (
            "another key",
            String::new(),
            "another key of the test",
            known(answers, Some(HeartbeatDropReason::Hmac)),
            known(answers, Some(HeartbeatDropReason::Hmac)),
        ),
        (
            "the other one has no ARP",
            "table arp fw { chain in { type filter hook input priority 0; policy drop; }\n}\n".to_owned()
                + &drops("output"),
            KEY,
            known(Some(false), None),
            // The question of its kernel has told ours its address.
            known(Some(false), Some(HeartbeatDropReason::NotReturned)),
        ),
    ] {
        let site = Site::new(ListenOn::Wildcard);
        if !table.is_empty() {
            site.frontends[1].nft(&table);
        }
        if what.contains("ARP") {
            site.frontends[0].ip(&["neigh flush dev eth0"]);
            site.frontends[1].ip(&["neigh flush dev eth0"]);
        }
        let [mut first, mut second] = [Heard::start(&site, 0, KEY), Heard::start(&site, 1, other_key)];
        first.until(what, MemberState::Unknown, mine);
        second.until(what, MemberState::Unknown, theirs);
    }
    let site = Site::new(ListenOn::Wildcard);
    let [mut first, mut second] = [Heard::start(&site, 0, KEY), Heard::start(&site, 1, KEY)];
    // An answer of the kernel may come behind the first heartbeat.
    for (heard, name) in [(&mut first, "first"), (&mut second, "second")] {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = heard.running.reports.blocking_recv().unwrap();
            if report
                .members
                .get(&heard.other)
                .is_some_and(|known| known.observation.state == MemberState::Alive)
            {
                break;
            }
            assert!(Instant::now() < end, "{name}");
        }
    }
}

/// A daemon with a server, in the namespace of the calling thread.
fn start_daemon(folder: &Path) -> Daemon {
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    std::thread::spawn(move || for _ in listener.incoming() {});
    let config = format!(
        "{}[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 8080\n",
        pair::head(folder)
    );
    Daemon::start(folder, &config)
}

/// Waits until the daemon says this of its test packets, and its warnings about the packet filter are these.
fn until_says(daemon: &Daemon, limit: Duration, state: &str, warnings: &[&str]) {
    let seen = until(limit, || {
        let report = chain_of(daemon)?;
        let is = report.rings.get("ipv4").map_or_else(String::new, |ring| ring.test_packets.code.clone());
        let found =
            warnings.iter().all(|words| report.warnings.iter().any(|warning| warning.contains(words)));
        let none =
            warnings.is_empty() && report.warnings.iter().any(|warning| warning.contains("test packets"));
        if is == state && found && !none { Ok(()) } else { Err(format!("{is} {:?}", report.warnings)) }
    });
    assert_eq!(seen, Ok(()), "{state} {warnings:?}");
}

/// Runs `nft -f -` in the namespace of the calling thread.
fn nft(text: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "three windows of 20 s; `make chain` runs it"]
fn two_daemons_find_a_packet_filter_between_them() {
    in_new_netns(|folder| {
        let (a, b) = pair::start_two(folder, start_daemon);
        let limit = WINDOW * 3;
        until_says(&a, limit, "good", &[]);
        until_says(&b, limit, "good", &[]);
        // On the first host, both directions are stopped: what it takes, and what it sends.
        nft("table ip fw {
            chain in { type filter hook input priority 0; iif segment ip daddr 192.0.2.80 drop; }
            chain out { type filter hook output priority 0; oif segment ip daddr 192.0.2.80 drop; }\n}");
        let own = "this host's own packet filter can drop packets, and may be the cause: chain `in` of table `ip fw`";
        let into = "IPv4 test packets of other members that arrive at this host do not reach its stack";
        until_says(
            &a,
            limit,
            "lost",
            &["IPv4 test packets to member 10.9.9.12 do not arrive there", own, into],
        );
        until_says(
            &b,
            limit,
            "stopped",
            &["IPv4 test packets to member 10.9.9.11 arrive there and do not reach its stack"],
        );
        assert!(!chain_of(&b).unwrap().warnings.iter().any(|warning| warning.contains("own packet filter")));
        nft("delete table ip fw");
        until_says(&a, limit, "good", &[]);
        until_says(&b, limit, "good", &[]);
    });
}
