//! The daemon is replaced in place and killed beside FRR and BIRD: for them, one session goes on, and no route changes.
//!
//! They need root, iproute2, FRR and BIRD, and run in `make interop`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod real_router;
mod store;

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use daemon::{Daemon, in_new_netns, write_config};
use nix::sys::signal::Signal;
use real_router::{FRONTEND, Router, Software, Way};
use store::Store;

const PATIENCE: Duration = Duration::from_secs(30);
const VIP: &str = "192.0.2.80";
const BFD: &str = "bfd = true\n";

fn config(way: Way, keys: &str) -> String {
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"{FRONTEND}\"\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"{}\"\nasn = 65000\nfamilies = [\"ipv4\"]\n{keys}\
         [[service]]\nname = \"www\"\nflap_damping = false\nvips = [\"{VIP}\"]\n\
         [[service.check]]\ntcp = 80\ninterval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\n",
        Router::address(way)
    )
}

/// A web server, a router and the daemon with a store, when the route is there and BFD is up if the peer has it.
fn with(
    software: Software,
    way: Way,
    keys: &'static str,
    test: impl FnOnce(&Path, &Router, &mut Store, Daemon) + Send + 'static,
) {
    if !Router::is_installed(software) {
        until::skipped(format_args!("{software:?} is not installed"));
        return;
    }
    in_new_netns(move |folder| {
        write_config(folder, &config(way, keys));
        let server = TcpListener::bind("0.0.0.0:80").unwrap();
        std::thread::spawn(move || server.incoming().for_each(drop));
        let router = Router::start(software, way, folder);
        let mut store = Store::new(folder);
        let daemon = store.start();
        router.until("the route", || router.has_route(VIP));
        if keys.contains("bfd") {
            router.until("BFD", || router.bfd());
            daemon.until_status(PATIENCE, "BFD is up", |status| {
                status.peers[0].bfd.as_ref().is_some_and(|bfd| bfd.state == "Up")
            });
            // FRR may begin its BFD anew when the session is established.
            std::thread::sleep(Duration::from_secs(3));
        }
        router.until("the route", || router.has_route(VIP));
        test(folder, &router, &mut store, daemon);
    });
}

/// What a router sees of a session; it must not change.
fn seen(router: &Router, keys: &str) -> (String, Option<String>, Vec<String>) {
    let session = router.until("the session", || router.session());
    let bfd = keys.contains("bfd").then(|| router.until("BFD", || router.bfd()));
    (session, bfd, router.changes(VIP))
}

fn upgrades(software: Software, way: Way, keys: &'static str) {
    with(software, way, keys, move |_, router, store, daemon| {
        let before = seen(router, keys);
        let mut gap = None;
        for round in 0..10 {
            daemon.signal(Signal::SIGUSR2);
            let status = daemon.until_status(PATIENCE, "the upgrade", |status| {
                let start = &status.start;
                start.how == "upgrade" && start.gap_ms.is_some() && start.gap_ms != gap
            });
            gap = status.start.gap_ms;
            std::thread::sleep(Duration::from_millis(1200)); // longer than BFD's detection time
            router.until("the route", || router.has_route(VIP));
            assert_eq!(seen(router, keys), before, "round {round}\n{}", store.log());
        }
    });
}

fn crashes(software: Software, way: Way, keys: &'static str) {
    with(software, way, keys, move |_, router, store, mut daemon| {
        let before = seen(router, keys);
        for round in 0..5 {
            store.kill(daemon);
            store.damage(4096, &[0; 76]); // otherwise the third crash within a minute would start cold
            daemon = store.start();
            let status = daemon.until_status(PATIENCE, "established", |status| {
                status.peers[0].state == "Established" && status.services[0].vips[0].standing == "announced"
            });
            assert_eq!(status.start.how, "crash", "{}", store.log());
            std::thread::sleep(Duration::from_millis(1200));
            router.until("the route", || router.has_route(VIP));
            assert_eq!(seen(router, keys), before, "round {round}\n{}", store.log());
        }
    });
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_sees_no_upgrade() {
    upgrades(Software::Frr, Way::Link, "");
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_sees_no_upgrade() {
    upgrades(Software::Bird, Way::Link, "");
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_sees_no_crash() {
    crashes(Software::Frr, Way::Link, "");
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_sees_no_crash() {
    crashes(Software::Bird, Way::Link, "");
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_sees_no_upgrade_by_bfd() {
    upgrades(Software::Frr, Way::Link, BFD);
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_sees_no_upgrade_by_bfd() {
    upgrades(Software::Bird, Way::Link, BFD);
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_sees_no_crash_by_bfd() {
    crashes(Software::Frr, Way::Link, BFD);
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_sees_no_crash_by_bfd() {
    crashes(Software::Bird, Way::Link, BFD);
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_sees_no_upgrade_of_an_unnumbered_session() {
    upgrades(Software::Frr, Way::Unnumbered, BFD);
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_sees_no_crash_of_an_unnumbered_session() {
    crashes(Software::Bird, Way::Unnumbered, BFD);
}

/// BFD of RFC 5883 through a router in the middle: it comes up, and a way without packets removes the route before the hold time.
fn far(software: Software) {
    with(software, Way::Middle, "bfd = true\nmultihop = 2\nhold_time = \"90s\"\n", |_, router, _, daemon| {
        let status = daemon.status().unwrap();
        assert!(status.peers[0].bfd.as_ref().unwrap().multihop);
        daemon::ip("route replace blackhole 10.9.7.0/24");
        router.until("the route is gone", || match router.has_route(VIP) {
            Ok(()) => Err("it is there".into()),
            Err(_) => Ok(()),
        });
        daemon.until_status(PATIENCE, "BFD is down", |status| {
            status.peers[0].bfd.as_ref().unwrap().state == "Down"
        });
        daemon::ip("route replace 10.9.7.0/24 via 10.9.8.1");
        router.until("the route is back", || router.has_route(VIP));
        router.until("BFD", || router.bfd());
    });
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_has_bfd_over_several_hops() {
    far(Software::Frr);
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_has_bfd_over_several_hops() {
    far(Software::Bird);
}
