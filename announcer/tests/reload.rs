//! Tests that a daemon refuses a reload by the sessions that are established, and not by those in its file. The test runs in its own
//! network namespace, with a router that is part of the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use announcer::config::ConfigDigest;
use announcer::control::api::{ErrorCode, Request, Response};
use daemon::{Daemon, in_new_netns, link_to_router, router, write_config};

const PATIENCE: Duration = Duration::from_secs(20);

/// The value of a series.
fn scraped(series: &str) -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9179").unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(series));
    value.unwrap_or_else(|| panic!("no {series} in\n{text}")).trim().to_owned()
}

// The sessions of the file that are down counted as if they had the VIP, so the reload was made, and no router had it.
#[test]
fn a_reload_that_takes_the_only_session_that_is_up_needs_force() {
    in_new_netns(only_one_session_is_up);
}

fn only_one_session_is_up(folder: &Path) {
    link_to_router();
    let listener = TcpListener::bind("10.9.9.1:1179").unwrap();
    std::thread::spawn(move || router(listener));
    std::fs::write(folder.join("up"), "").unwrap();
    let config = |peers: &str| {
        format!(
            "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n{peers}\
             [metrics]\nlisten = \"127.0.0.1:9179\"\n\
             [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
             [[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\n",
            folder.join("up").display()
        )
    };
    let write = |peers: &str| write_config(folder, &config(peers));
    let r1 = "[[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\n";
    let r2 = "[[peer]]\nname = \"r2\"\naddress = \"10.9.9.2\"\nasn = 65000\n"; // there is no such host
    let daemon = Daemon::start(folder, &config(&format!("{r1}{r2}")));
    daemon.until_status(PATIENCE, "r1 has the VIP", |status| {
        status.peers.first().is_some_and(|r1| r1.advertised == 1)
    });

    // Beside the decision stands what was seen.
    daemon.until_status(PATIENCE, "r1 has acknowledged the route", |status| {
        let routers = &status.services[0].vips[0].routers;
        (routers.wanted, routers.acknowledged, &routers.missing[..]) == (2, 1, &["r2".to_owned()])
            && routers.text == "announced, sent to 1 of 2 routers"
    });
    assert_eq!(scraped("announcer_vip_routers{service=\"www\",vip=\"192.0.2.80\"}"), "1");
    assert_eq!(scraped("announcer_vip_routers_wanted{service=\"www\",vip=\"192.0.2.80\"}"), "2");
    let digest = |peers: &str| {
        let digest = ConfigDigest::of(config(peers).as_bytes());
        scraped(&format!("announcer_config_info{{sha256=\"{digest}\"}}"))
    };
    assert_eq!(digest(&format!("{r1}{r2}")), "1", "it is the file of the start");

    let reload = |force| daemon.ask(&Request::Reload { force, dry_run: false }).unwrap();
    for (peers, want) in [
        (r2.to_owned(), "r1 would be removed"),
        (format!("{r1}families = [\"ipv6\"]\n{r2}"), "`families` of r1 would lack IPv4"),
        (format!("{r1}hold_time = \"30s\"\n{r2}"), "the session with r1 would restart"),
    ] {
        write(&peers);
        let Response::Error(error) = reload(false) else { panic!("{want}: it was made") };
        assert_eq!(error.code, ErrorCode::Refused);
        let want =
            format!("this would end every established session that carries a route to 192.0.2.80: {want};");
        assert!(error.text.starts_with(&want), "{}", error.text);
    }
    // A dry run says what would change, also when it would be refused, and changes nothing.
    write(&format!("{r1}hold_time = \"30s\"\n"));
    let dry_run = Request::Reload { force: false, dry_run: true };
    for _ in 0..2 {
        let Response::Done { notes } = daemon.ask(&dry_run).unwrap() else { panic!("refused") };
        let text = notes.join("\n");
        assert!(text.starts_with("r1: hold_time 9s -> 30s (the session restarts)\n- peer r2\n"), "{text}");
        let refusal = "the reload would be refused: this would end every established session";
        assert!(text.contains(refusal), "{text}");
    }
    assert_eq!(daemon.status().unwrap().peers.len(), 2, "a dry run was made");
    // What is down carries nothing.
    write(r1);
    assert!(matches!(reload(false), Response::Done { .. }));
    assert_eq!(digest(r1), "1", "it is the file of the reload");
    let remark = format!("# a remark\n{r1}");
    write(&remark);
    assert!(matches!(reload(false), Response::Done { .. }));
    assert_eq!(digest(&remark), "1", "also if it says the same in other words");
    write(r2);
    assert!(matches!(reload(true), Response::Done { .. }));
    daemon.until_status(PATIENCE, "r1 is gone", |status| {
        status.peers.len() == 1 && status.peers[0].name == "r2"
    });
    daemon.until_status(PATIENCE, "the route is with nobody", |status| {
        let vip = &status.services[0].vips[0];
        vip.standing == "announced"
            && vip.routers.text == "ready, but sent to no router"
            && status.warnings.contains(&"www 192.0.2.80 is ready, but was sent to no router".to_owned())
    });
    // None is established.
    write("[[peer]]\nname = \"r3\"\naddress = \"10.9.9.3\"\nasn = 65000\n");
    assert!(matches!(reload(false), Response::Done { .. }));
}
