//! Tests the daemon's signals, with a router that sees whether a route stays or is withdrawn. The test runs in its own network
//! namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../../dsr-setup/tests/common/mod.rs"]
mod common;
mod daemon;
mod scripted;

use std::time::Duration;

use daemon::{Daemon, link_to_router};
use nix::sys::signal::Signal;
use scripted::{KEEPALIVE, NOTIFICATION, OPEN, Router, UPDATE, good_open, keepalive};
use tokio::net::TcpListener;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const VIP: &[u8] = &[32, 192, 0, 2, 80];
/// An exec check that passes unless SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE or SIGALRM is ignored. A program inherits ignored signals.
const NOTHING_IS_IGNORED: &str =
    r#"ignored=$(sed -n "s/^SigIgn:[[:space:]]*//p" /proc/self/status); [ $((0x$ignored & 0x3a04)) = 0 ]"#;

fn config() -> String {
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"300ms\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\nhold_time = \"90s\"\nfamilies = [\"ipv4\"]\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\nexec = [\"/bin/sh\", \"-c\", '''{NOTHING_IS_IGNORED}''']\ninterval = \"100ms\"\nrise = 1\n"
    )
}

/// The next message that is no KEEPALIVE.
async fn next(router: &mut Router) -> Option<(u8, Vec<u8>)> {
    loop {
        match timeout(PATIENCE, router.next()).await.expect("a message or the end") {
            Some((KEEPALIVE, _)) => {}
            other => return other,
        }
    }
}

/// Sends all signals that must not end the daemon, and then `stop`. The router sees one withdraw, and a Cease after it.
async fn stopped_by(stop: Signal) {
    let listener = TcpListener::bind("10.9.9.1:1179").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut daemon = Daemon::start(folder, &config());
    let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("a connection").unwrap();
    let mut router = Router { stream };
    router.send(&[good_open(), keepalive()].concat()).await;
    router.expect(OPEN).await;
    let (kind, body) = next(&mut router).await.unwrap();
    assert!(kind == UPDATE && body.ends_with(VIP), "{body:02x?}");
    assert_eq!(next(&mut router).await, Some((UPDATE, vec![0, 0, 0, 0])), "End-of-RIB");

    for signal in [Signal::SIGUSR1, Signal::SIGALRM, Signal::SIGPIPE] {
        daemon.signal(signal);
        assert_eq!(daemon.child.try_wait().unwrap(), None, "{signal} ended it");
        let status = daemon.until_status(PATIENCE, signal.as_str(), |_| true);
        assert_eq!(status.services[0].vips[0].standing, "announced", "{signal}");
        assert_eq!(status.peers[0].state, "Established", "{signal}");
    }
    daemon.signal(stop);
    let withdrawn = [&[0, 5], VIP, &[0, 0]].concat();
    assert_eq!(next(&mut router).await, Some((UPDATE, withdrawn)), "{stop}");
    let (kind, body) = next(&mut router).await.expect("a NOTIFICATION");
    assert_eq!((kind, &body[..2]), (NOTIFICATION, &[6, 2][..]), "{stop}: Cease, Administrative Shutdown");
    let said = String::from_utf8_lossy(&body[3..]).into_owned();
    assert_eq!(said, format!("announcer was stopped by {stop}"));
    drop(router);
    assert!(daemon.until_ended(PATIENCE), "{stop}");
}

/// Case W7: each signal that ends a process by default.
#[test]
fn a_signal_withdraws_before_it_ends_the_daemon_or_changes_no_route() {
    if !common::is_root() {
        return;
    }
    for stop in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        common::inside_new_netns(async move || {
            link_to_router();
            stopped_by(stop).await;
        });
    }
}
