use std::collections::BTreeMap;

use expect_test::expect;

use super::*;
use crate::control::api::{
    ChainSummary, DeliveryStatus, PeerStatus, ReasonStatus, ServiceStatus, SessionStatus, StartStatus,
    VipStatus,
};

pub(crate) fn router(name: &str, up: bool) -> PeerStatus {
    let session = SessionStatus {
        local_address: None,
        router_id: "10.0.0.1".into(),
        hold_time: 9,
        families: vec!["IPv4".into()],
        asn_octets: 4,
        route_refresh: "plain".into(),
        extended_next_hop: false,
        next_hops: BTreeMap::new(),
    };
    PeerStatus {
        vrf: None,
        name: name.into(),
        address: "10.0.1.1".into(),
        asn: Some(65000),
        state: if up { "Established" } else { "Connect" }.into(),
        lasts: if up { 259_200.0 } else { 2.0 },
        since: "2026-01-31T12:00:00Z".into(),
        down: (!up).then_some(185.0),
        last_up: (!up).then(|| "2026-01-31T12:00:00Z".into()),
        announced: 26,
        advertised: 26,
        reason: (!up).then(|| ReasonStatus {
            code: "hold_timer".into(),
            text: "hold timer expired: no message from the peer for 9 s".into(),
        }),
        hint: None,
        not_sent: vec![],
        families: vec!["IPv4".into()],
        session: up.then_some(session),
        bfd: None,
        established: 1,
        last_end: None,
        same_router: None,
        received: BTreeMap::new(),
        sent: BTreeMap::new(),
    }
}

pub(crate) fn a_vip(address: &str, standing: &str, code: &str, brief: &str) -> VipStatus {
    let acknowledged = if ["announced", "last_choice"].contains(&standing) { 2 } else { 0 };
    VipStatus {
        address: address.parse().unwrap(),
        standing: standing.into(),
        brief: brief.into(),
        reason: ReasonStatus { code: code.into(), text: format!("{standing}, {brief}") },
        lasts: 185.0,
        since: "2026-01-31T12:00:00Z".into(),
        routers: DeliveryStatus { wanted: 2, acknowledged, ..DeliveryStatus::default() },
    }
}

pub(crate) fn status() -> Status {
    let vips = vec![
        a_vip("192.0.2.1", "announced", "healthy", "announced"),
        a_vip("192.0.2.2", "announced", "healthy", "announced"),
    ];
    Status {
        host: "fe1".into(),
        version: "0.1.0".into(),
        pid: 7,
        uptime: 259_200.0,
        started: "2026-01-28T12:00:00Z".into(),
        start: StartStatus {
            how: "cold".into(),
            gap_ms: None,
            bfd_pause_ms: None,
            installed: Some("/usr/bin/announcer".into()),
            rolled_back: false,
            not_continued: None,
            crash: String::new(),
        },
        asn: 65001,
        router_id: Some("10.0.0.11".into()),
        peers: vec![router("r1", true), router("r2", true)],
        services: vec![ServiceStatus { name: "www".into(), vips, vrf: None, weight: None }],
        drains: BTreeMap::new(),
        listener_watch: None,
        warnings: vec![],
        chain: None,
        differs: vec![],
    }
}

pub(crate) fn with_vip(standing: &str, code: &str, acknowledged: usize) -> Status {
    let mut status = status();
    let mut one = a_vip("192.0.2.2", standing, code, "HTTP 503");
    one.routers.acknowledged = acknowledged;
    status.services[0].vips[1] = one;
    status
}

/// Three routers, of which one is down, and 12 services with 32 VIPs, of which 8 are sick or drained, and one is the last choice.
pub(crate) fn scene() -> Status {
    let mut number = 0;
    let mut service = |name: &str, vips: usize, what: &[(usize, &str, &str, &str)]| {
        let vips = (0..vips).map(|index| {
            number += 1;
            let (_, standing, code, brief) = what
                .iter()
                .find(|(first, ..)| index < *first)
                .copied()
                .unwrap_or((0, "announced", "healthy", "announced"));
            let mut vip = a_vip(&format!("192.0.2.{number}"), standing, code, brief);
            vip.routers.wanted = 3;
            vip
        });
        ServiceStatus { name: name.into(), vips: vips.collect(), vrf: None, weight: None }
    };
    let sick = "not_announced";
    let services = vec![
        service("www", 4, &[]),
        service("mail", 2, &[(1, "last_choice", "flapping", "it came back too often")]),
        service("api-public", 4, &[(4, sick, "unhealthy", "HTTP 503")]),
        service("api-internal", 2, &[]),
        service("shop", 2, &[(2, "drained", "drained", "drained by ann: new kernel")]),
        service(
            "images-and-other-static-files",
            5,
            &[
                (1, sick, "unhealthy", "no answer within 1000 ms"),
                (2, sick, "unhealthy", "connection refused"),
            ],
        ),
        service("search", 2, &[]),
        service("login", 3, &[]),
        service("static", 2, &[]),
        service("video", 2, &[]),
        service("news", 2, &[]),
        service("feeds", 2, &[]),
    ];
    let mut peers = vec![router("r1", true), router("r2", false), router("r3", true)];
    peers[1].hint = Some("the router answers ARP, and nothing more is known of its BGP daemon".into());
    let warnings = [
        "check `backend` of www at 192.0.2.1: the certificate ends on 2030-03-17 17:46 UTC",
        "two",
        "three",
        "four",
        "five",
    ];
    Status { peers, services, warnings: warnings.map(Into::into).to_vec(), ..status() }
}

fn shown(width: Option<usize>, all: bool, only: Option<&str>) -> String {
    let layout = StatusLayout { width, colour: false };
    text(&scene(), &View { all, only: only.map(Into::into), layout }).unwrap()
}

#[test]
fn what_is_sick_is_seen_at_60_columns() {
    expect![[r#"
        fe1: 6 of 32 VIPs not announced, 1 of 3 routers down, 1 VIP…
        version 0.1.0, up 3d, AS 65001, router id 10.0.0.11
        ROUTER
          FAIL   r2  10.0.1.1  down 3m  hold timer expired: no mess…
                 hint: the router answers ARP, and nothing more is …
          ok     r1  10.0.1.1  up 3d    26 prefixes acknowledged
          ok     r3  10.0.1.1  up 3d    26 prefixes acknowledged
        SERVICE
          FAIL   api-public       0/4    3m  HTTP 503
          FAIL   images-and-oth…  3/5    3m  192.0.2.15: no answer …
          FAIL                           3m  192.0.2.16: connection…
          warn   mail             2/2    3m  192.0.2.5: last choice…
          drain  shop             0/2    3m  drained by ann: new ke…
          ok     8 services       19/19      announced, sent to 2 o…
        warning: check `backend` of www at 192.0.2.1: the certifica…
        warning: two
        warning: three
          and 2 more warnings: `announcer status --all`"#]]
    .assert_eq(&shown(Some(60), false, None));
}

#[test]
fn what_is_sick_is_seen_at_80_columns() {
    expect![[r#"
        fe1: 6 of 32 VIPs not announced, 1 of 3 routers down, 1 VIP last choice, 2 VIPs…
        version 0.1.0, up 3d, AS 65001, router id 10.0.0.11
        ROUTER
          FAIL   r2  10.0.1.1  down 3m  hold timer expired: no message from the peer fo…
                 hint: the router answers ARP, and nothing more is known of its BGP dae…
          ok     r1  10.0.1.1  up 3d    26 prefixes acknowledged
          ok     r3  10.0.1.1  up 3d    26 prefixes acknowledged
        SERVICE
          FAIL   api-public            0/4    3m  HTTP 503
          FAIL   images-and-other-st…  3/5    3m  192.0.2.15: no answer within 1000 ms
          FAIL                                3m  192.0.2.16: connection refused
          warn   mail                  2/2    3m  192.0.2.5: last choice, it came back …
          drain  shop                  0/2    3m  drained by ann: new kernel
          ok     8 services            19/19      announced, sent to 2 of 3 routers
        warning: check `backend` of www at 192.0.2.1: the certificate ends on 2030-03-1…
        warning: two
        warning: three
          and 2 more warnings: `announcer status --all`"#]]
    .assert_eq(&shown(Some(80), false, None));
}

#[test]
fn what_is_sick_is_seen_at_120_columns() {
    expect![[r#"
        fe1: 6 of 32 VIPs not announced, 1 of 3 routers down, 1 VIP last choice, 2 VIPs drained
        version 0.1.0, up 3d, AS 65001, router id 10.0.0.11
        ROUTER
          FAIL   r2  10.0.1.1  down 3m  hold timer expired: no message from the peer for 9 s; last up 2026-01-31T12:00:00Z
                 hint: the router answers ARP, and nothing more is known of its BGP daemon
          ok     r1  10.0.1.1  up 3d    26 prefixes acknowledged
          ok     r3  10.0.1.1  up 3d    26 prefixes acknowledged
        SERVICE
          FAIL   api-public                     0/4    3m  HTTP 503
          FAIL   images-and-other-static-files  3/5    3m  192.0.2.15: no answer within 1000 ms
          FAIL                                         3m  192.0.2.16: connection refused
          warn   mail                           2/2    3m  192.0.2.5: last choice, it came back too often
          drain  shop                           0/2    3m  drained by ann: new kernel
          ok     8 services                     19/19      announced, sent to 2 of 3 routers
        warning: check `backend` of www at 192.0.2.1: the certificate ends on 2030-03-17 17:46 UTC
        warning: two
        warning: three
          and 2 more warnings: `announcer status --all`"#]].assert_eq(&shown(Some(120), false, None));
}

#[test]
fn no_view_is_wider_than_the_terminal_or_longer_than_24_lines() {
    for width in [20, 60, 80, 120] {
        let text = shown(Some(width), false, None);
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
    }
}

#[test]
fn all_folds_nothing_and_a_pipe_cuts_nothing() {
    let all = shown(None, true, None);
    for vip in 1..=32 {
        assert!(all.contains(&format!("192.0.2.{vip}:")), "{vip}: {all}");
    }
    assert!(all.contains("warning: five"), "{all}");
    assert!(!all.contains('…'), "{all}");
}

#[test]
fn the_chain_has_a_line_if_it_is_wrong_or_if_all_is_shown() {
    let line = "\nchain: 3 of 4 members in the ring, next 10.0.1.12\n";
    for (all, ok, want) in [(false, false, true), (false, true, false), (true, true, true)] {
        let text = "3 of 4 members in the ring, next 10.0.1.12".into();
        let chain = Some(ChainSummary { ok, listed: 4, living: 3, text });
        let view = View { all, only: None, layout: StatusLayout { width: None, colour: false } };
        let text = super::text(&Status { chain, ..scene() }, &view).unwrap();
        assert_eq!(text.contains(line), want, "{text}");
    }
}

#[test]
fn one_service_vip_or_router_is_shown_alone() {
    expect![[r#"
        SERVICE
          FAIL   images-and-other-static-files  3/5  3m  192.0.2.15: no answer within 1000 ms
          FAIL                                       3m  192.0.2.16: connection refused
          ok                                         3m  192.0.2.17: sent to 2 of 3 routers
          ok                                         3m  192.0.2.18: sent to 2 of 3 routers
          ok                                         3m  192.0.2.19: sent to 2 of 3 routers"#]]
    .assert_eq(&shown(None, false, Some("images-and-other-static-files")));
    expect![[r#"
        SERVICE
          FAIL   api-public  0/1  3m  192.0.2.9: HTTP 503"#]]
    .assert_eq(&shown(None, false, Some("192.0.2.9")));
    expect![[r#"
        ROUTER
          FAIL   r2  10.0.1.1  down 3m  hold timer expired: no message from the peer for 9 s; last up 2026-01-31T12:00:00Z
                 hint: the router answers ARP, and nothing more is known of its BGP daemon"#]].assert_eq(&shown(None, false, Some("r2")));
    let view =
        View { all: false, only: Some("mial".into()), layout: StatusLayout { width: None, colour: false } };
    let error = text(&scene(), &view).unwrap_err();
    assert_eq!(error, "error: there is no service, VIP or router `mial`; did you mean `mail`?");
}

#[test]
fn eight_healthy_services_are_not_folded_and_nine_are() {
    let mut few = scene();
    few.services.retain(|service| severity::service(service) == Severity::Fine);
    assert_eq!(few.services.len(), 8);
    let view = View { all: false, only: None, layout: StatusLayout { width: None, colour: false } };
    assert!(text(&few, &view).unwrap().contains("login"));
    // A status that does not fit into a small terminal is folded too.
    few.services.push(ServiceStatus {
        vrf: None,
        name: "sick".into(),
        vips: scene().services[2].vips.clone(),
        weight: None,
    });
    few.warnings = (0..3).map(|number| number.to_string()).collect();
    few.peers = (0..9).map(|number| router(&format!("r{number}"), true)).collect();
    let folded = text(&few, &view).unwrap();
    assert!(folded.contains("8 services") && !folded.contains("login"), "{folded}");
    few.peers.truncate(1);
    few.services.push(ServiceStatus { name: "ninth".into(), ..few.services[0].clone() });
    let folded = text(&few, &view).unwrap();
    assert!(folded.contains("9 services") && !folded.contains("login"), "{folded}");
}

#[test]
fn with_every_session_down_no_vip_is_called_healthy() {
    let mut dark = status();
    dark.peers = vec![router("r1", false), router("r2", false)];
    for vip in &mut dark.services[0].vips {
        vip.routers.acknowledged = 0;
    }
    let view = View { all: false, only: None, layout: StatusLayout { width: None, colour: false } };
    expect![[r#"
        fe1: 2 of 2 VIPs ready, but sent to no router, 2 of 2 routers down
        version 0.1.0, up 3d, AS 65001, router id 10.0.0.11
        ROUTER
          FAIL   r1  10.0.1.1  down 3m  hold timer expired: no message from the peer for 9 s; last up 2026-01-31T12:00:00Z
          FAIL   r2  10.0.1.1  down 3m  hold timer expired: no message from the peer for 9 s; last up 2026-01-31T12:00:00Z
        SERVICE
          FAIL   www  2/2  3m  ready, but sent to no router"#]].assert_eq(&text(&dark, &view).unwrap());
}

#[test]
fn the_warnings_that_are_not_shown_are_counted() {
    for (count, want) in [
        (3, None),
        (4, Some("  and 1 more warning: `announcer status --all`")),
        (5, Some("  and 2 more warnings: `announcer status --all`")),
    ] {
        let status = Status { warnings: vec!["one".into(); count], ..status() };
        let layout = StatusLayout { width: None, colour: false };
        let text = text(&status, &View { all: false, only: None, layout }).unwrap();
        assert_eq!(text.lines().find(|line| line.starts_with("  and ")), want, "{text}");
    }
}
