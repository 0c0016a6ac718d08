use dsr_setup::doctor::observations::{
    ConntrackState, HostAddress, LinkKind, LinkState, ListeningSocket, PathState, Unseen,
};

use super::*;
use crate::config;

const VIP: &str = "192.0.2.80";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn vip_question() -> Question {
    Question { vips: [ip(VIP)].into(), ports: [(ip(VIP), [80].into())].into(), ..Question::default() }
}

/// A host with the VIP on lo, and a server at port 80.
fn healthy() -> Observations {
    let lo = LinkState {
        index: 1,
        name: "lo".into(),
        is_up: true,
        kind: LinkKind::Inner,
        mtu: 65_536,
        mac: None,
        vrf: None,
    };
    let vip = HostAddress {
        net: "192.0.2.80/32".parse().unwrap(),
        interface: "lo".into(),
        protocol: Some(0xb6),
        is_tentative: false,
        is_dadfailed: false,
        has_no_prefix_route: false,
    };
    let server = ListeningSocket {
        address: ip("0.0.0.0"),
        port: 80,
        is_v6_only: false,
        device: None,
        queue: 2,
        backlog: 128,
    };
    Observations {
        links: vec![lo],
        addresses: vec![vip],
        listeners: Ok(vec![server]),
        counters: Ok((Counters::default(), Counters::default())),
        ..Observations::nothing(1_800_000_000)
    }
}

fn without_way_back() -> Observations {
    let error = Some("Network is unreachable".into());
    Observations { paths: vec![PathState { from: ip(VIP), to: ip("203.0.113.1"), error }], ..healthy() }
}

fn overflows(before: Option<Counters>, now: u64) -> Observations {
    let now = Counters { listen_overflows: now, ..Counters::default() };
    Observations { counters: Ok((before.unwrap_or(now), now)), ..healthy() }
}

fn published(step: LookStep) -> HostFindings {
    match step {
        LookStep::Publish(findings) => findings,
        LookStep::Confirm | LookStep::Keep => panic!("{step:?}"),
    }
}

/// The codes that have a finding.
fn found(findings: &HostFindings) -> Vec<&'static str> {
    findings.codes.iter().filter(|(_, is_found)| **is_found).map(|(code, _)| *code).collect()
}

#[test]
fn the_question_has_the_ports_of_checks_and_the_routers() {
    let config = |peer: &str| {
        let text = format!(
            "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n[[peer]]\nname = \"r1\"\naddress = \"{peer}\"\nasn = 65000\n\
             [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"192.0.2.81\"]\n[[service.check]]\ntcp = 80\n\
             [[service.check]]\nname = \"b\"\ntcp = 81\ntarget = \"127.0.0.1\"\n"
        );
        question(&config::parse("a.toml", &text).unwrap())
    };
    let question = config("10.0.1.1");
    assert_eq!(question.ports, [(ip("192.0.2.80"), [80].into()), (ip("192.0.2.81"), [80].into())].into());
    assert_eq!(question.vips, [ip("192.0.2.80"), ip("192.0.2.81")].into());
    assert_eq!(question.routers, [ip("10.0.1.1")].into());
    assert_eq!(config("default-gateway").routers, [].into());
}

#[test]
fn a_healthy_host_has_each_watched_code_without_a_finding_and_no_warning() {
    let findings = published(HostWatch::default().looked(&healthy(), &vip_question()));
    let watched = Code::ALL.iter().filter(|code| code.watcher() == Watcher::Daemon);
    let none: BTreeMap<&str, bool> = watched.map(|code| (code.name(), false)).collect();
    assert!(none.contains_key("conntrack-full") && !none.contains_key("no-packet"), "{none:?}");
    let queues = [(ip(VIP), AcceptQueue { waiting: 2, limit: 128 })].into();
    assert_eq!(findings, HostFindings { codes: none, queues, warnings: vec![] });
}

/// `.` is a healthy look, `x` one without a way back, `!` one that fails. `-` nothing is published, `?` the look is repeated, `0` and `1` say
/// whether the finding is published, `w` is the warning that nothing is watched.
#[test]
fn a_new_finding_is_confirmed_and_its_end_is_not() {
    for (looks, want) in [
        ("...", "000"),
        ("xx", "?1"),
        (".xxx.", "0?110"),
        (".x.", "0?0"),
        ("x.x.xx", "?0?0?1"),
        ("xxxxx..", "?111100"),
        (".!.", "0-0"),
        ("xx!x.", "?1-10"),
        ("!!.", "-w0"),
        ("xx!!xx", "?1-w?1"),
        ("x!x!xx", "?-?-?1"),
        ("!!!!.!", "-www0-"),
    ] {
        let mut watch = HostWatch::default();
        let step = |look: char| match look {
            '.' => watch.looked(&healthy(), &vip_question()),
            'x' => watch.looked(&without_way_back(), &vip_question()),
            _ => watch.failed("the kernel did not answer within 10s"),
        };
        let letter = |step: LookStep| match step {
            LookStep::Confirm => '?',
            LookStep::Keep => '-',
            LookStep::Publish(findings) if findings.codes.is_empty() => {
                assert_eq!(findings.queues, BTreeMap::new());
                assert_eq!(
                    findings.warnings,
                    [
                        "findings about this host are not watched: the kernel did not answer within 10s; `dsr-setup doctor` looks for them"
                    ]
                );
                'w'
            }
            LookStep::Publish(findings) => match findings.codes["no-return-route"] {
                true => '1',
                false => '0',
            },
        };
        let seen: String = looks.chars().map(step).map(letter).collect();
        assert_eq!(seen, want, "{looks}");
    }
}

#[test]
fn another_vip_with_a_known_fault_is_new() {
    let mut watch = HostWatch::default();
    let (mut seen, mut question) = (without_way_back(), vip_question());
    assert_eq!(watch.looked(&seen, &question), LookStep::Confirm);
    published(watch.looked(&seen, &question));
    question.vips.insert(ip("192.0.2.81"));
    seen.paths.push(PathState { from: ip("192.0.2.81"), ..seen.paths[0].clone() });
    seen.addresses.push(HostAddress { net: "192.0.2.81/32".parse().unwrap(), ..seen.addresses[0].clone() });
    assert_eq!(watch.looked(&seen, &question), LookStep::Confirm);
    let findings = published(watch.looked(&seen, &question));
    assert_eq!(
        findings.warnings,
        [
            "no-return-route: there is no way from 192.0.2.80 to 203.0.113.1, which stands for clients everywhere \
          (`dsr-setup doctor --client` names another one): Network is unreachable; `dsr-setup doctor` prints 1 more like this; \
          `ip route add default via ROUTER`, with the address of your router"
        ]
    );
}

/// The kernel dropped connections once: this stays a finding for a minute, and what was dropped before the daemon looked is none.
#[test]
fn an_overflow_is_a_finding_for_a_minute() {
    let mut watch = HostWatch::default();
    assert_eq!(found(&published(watch.looked(&overflows(None, 40), &vip_question()))), [""; 0]);
    let look = |watch: &mut HostWatch, now| {
        let seen = overflows(watch.counters_before(), now);
        watch.looked(&seen, &vip_question())
    };
    assert_eq!(look(&mut watch, 43), LookStep::Confirm);
    let findings = published(look(&mut watch, 43));
    assert_eq!(found(&findings), ["backlog-overflow"]);
    let begin = "backlog-overflow: 3 connections were dropped just now because an accept queue was full";
    assert!(findings.warnings[0].starts_with(begin), "{:?}", findings.warnings);
    let mut lasted = 0;
    while !found(&published(look(&mut watch, 43))).is_empty() {
        lasted += 1;
        assert!(lasted < 20, "it stays");
    }
    assert_eq!(lasted, LASTING - 1, "looks after the one that has found it");
}

#[test]
fn faults_of_which_the_keeper_warns_have_no_second_warning() {
    let mut seen = healthy();
    seen.addresses[0].net = "192.0.2.80/24".parse().unwrap();
    let mut watch = HostWatch::default();
    watch.looked(&seen, &vip_question());
    let findings = published(watch.looked(&seen, &vip_question()));
    assert_eq!((found(&findings), findings.warnings), (vec!["vip-prefix-length"], vec![]));
}

/// Every watched code of which the keeper does not warn is a warning here, whatever it is.
#[test]
fn each_watched_code_has_a_warning() {
    for code in Code::ALL.iter().filter(|code| code.watcher() == Watcher::Daemon) {
        let finding = Finding::new(*code, "it is so", "`mend it`").of(ip(VIP));
        let report = DoctorReport { findings: vec![finding], ..DoctorReport::default() };
        let want = match SAID_BY_KEEPER.contains(code) {
            true => vec![],
            false => vec![format!("{code}: it is so; `mend it`")],
        };
        assert_eq!(warnings(&report), want);
        assert!(codes(&report, &vip_question())[code.name()]);
    }
}

#[test]
fn what_cannot_be_looked_for_is_no_figure_and_has_a_warning() {
    let mut seen = healthy();
    seen.listeners = Err(Unseen("the kernel's module `tcp_diag` is not loaded".into()));
    let findings = published(HostWatch::default().looked(&seen, &vip_question()));
    assert_eq!(findings.codes.get("backlog-overflow"), None);
    assert_eq!(findings.codes.get("vip-missing"), Some(&false));
    assert_eq!(findings.queues, BTreeMap::new());
    assert_eq!(
        findings.warnings,
        ["backlog-overflow cannot be watched: the kernel's module `tcp_diag` is not loaded"]
    );
}

#[test]
fn two_faults_are_two_warnings() {
    let mut seen = without_way_back();
    seen.conntrack = Some(ConntrackState { count: 100, max: 100 });
    let mut watch = HostWatch::default();
    watch.looked(&seen, &vip_question());
    let findings = published(watch.looked(&seen, &vip_question()));
    assert_eq!(found(&findings), ["conntrack-full", "no-return-route"]);
    assert_eq!(findings.warnings.len(), 2, "{:?}", findings.warnings);
}

/// What is in a VRF is not looked at, so the metric must not say that it has no fault.
#[test]
fn without_a_vip_outside_of_vrfs_no_code_is_published_as_looked_for() {
    let config = |vrf: &str| {
        let text =
            config::tests::GOOD.replacen("[[service]]", &format!("[[service]]\npeers = [\"r1\"]\n{vrf}"), 1);
        config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"))
    };
    for (vrf, is_looked_at) in [("", true), ("vrf = \"edge\"", false)] {
        let question = question(&config(vrf));
        let codes =
            published(HostWatch { confirms: true, ..HostWatch::default() }.looked(&healthy(), &question))
                .codes;
        assert_eq!(codes.is_empty(), !is_looked_at, "{vrf}: {codes:?}");
    }
    let before = Some(Counters::default());
    let question = question(&config("vrf = \"edge\""));
    let found_here = published(
        HostWatch { confirms: true, ..HostWatch::default() }.looked(&overflows(before, 1), &question),
    );
    assert_eq!(found(&found_here), ["backlog-overflow"], "a fault of the whole host");
}
