//! The daemon is killed, and the next one takes its sessions over: the router sees one connection, and no route changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod store;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use daemon::{in_new_netns, link_to_router, message, write_config};
use nix::sys::signal::Signal;
use store::Store;
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a router has seen.
#[derive(Debug, Default, Clone)]
struct Seen {
    /// The connections.
    connections: usize,
    /// The addresses that are announced on the last one.
    table: BTreeSet<Ipv4Addr>,
    /// How often an address came or went, since the last [`Router::reset`].
    changes: Vec<String>,
    keepalives: usize,
    /// The NOTIFICATIONs that were received: code and subcode.
    notifications: Vec<(u8, u8)>,
}

/// A router that holds its sessions, and may stop to read.
#[derive(Clone)]
struct Router {
    seen: Arc<Mutex<Seen>>,
    reads: Arc<AtomicBool>,
}

impl Router {
    fn start(hold_time: u8) -> Router {
        let listener = TcpListener::bind("10.9.9.1:179").unwrap();
        let router = Router { seen: Arc::default(), reads: Arc::new(AtomicBool::new(true)) };
        let threads = router.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let router = threads.clone();
                std::thread::spawn(move || {
                    let _ = router.speak(stream.unwrap(), hold_time); // the connection has ended
                });
            }
        });
        router
    }

    fn speak(&self, mut stream: TcpStream, hold_time: u8) -> std::io::Result<()> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.connections += 1;
            seen.table.clear();
        }
        let capabilities = [1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe8];
        let open = [&[4, 0xfd, 0xe8, 0, hold_time, 10, 9, 9, 9, 14, 2, 12][..], &capabilities].concat();
        stream.write_all(&[message(1, &open), message(4, &[])].concat())?;
        let mut keepalives = stream.try_clone()?;
        std::thread::spawn(move || {
            while keepalives.write_all(&message(4, &[])).is_ok() {
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        loop {
            while !self.reads.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut header = [0; 19];
            stream.read_exact(&mut header)?;
            assert_eq!(header[..16], [0xff; 16], "the stream of octets is broken");
            let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - 19];
            stream.read_exact(&mut body)?;
            let mut seen = self.seen.lock().unwrap();
            match header[18] {
                2 => seen.update(&body),
                3 => seen.notifications.push((body[0], body[1])),
                4 => seen.keepalives += 1,
                _ => {}
            }
        }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets the changes so far.
    fn reset(&self) {
        self.seen.lock().unwrap().changes.clear();
    }

    fn until(&self, what: &str, matches: impl Fn(&Seen) -> bool) -> Seen {
        let matched = until(PATIENCE, || {
            let seen = self.seen();
            if matches(&seen) { Ok(seen) } else { Err(seen) }
        });
        matched.unwrap_or_else(|seen| {
            panic!("{what}: {} addresses, {:?}", seen.table.len(), Seen { table: BTreeSet::new(), ..seen })
        })
    }
}

impl Seen {
    fn update(&mut self, body: &[u8]) {
        let length = |octets: &[u8]| usize::from(u16::from_be_bytes([octets[0], octets[1]]));
        let (withdrawn, rest) = body[2..].split_at(length(body));
        let announced = &rest[2 + length(rest)..];
        for prefix in withdrawn.chunks(5) {
            let address = address(prefix);
            if self.table.remove(&address) {
                self.changes.push(format!("-{address}"));
            }
        }
        for prefix in announced.chunks(5) {
            let address = address(prefix);
            if self.table.insert(address) {
                self.changes.push(format!("+{address}"));
            }
        }
    }
}

fn address(prefix: &[u8]) -> Ipv4Addr {
    let [32, a, b, c, d] = *prefix else { panic!("{prefix:?}") };
    Ipv4Addr::new(a, b, c, d)
}

/// A configuration with one service; the VIPs are `count` addresses from 198.18.0.0 on.
fn config(count: u32, check: &str) -> String {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    let vips: Vec<String> = (first..first + count).map(|ip| format!("\"{}\"", Ipv4Addr::from(ip))).collect();
    format!(
        "[bgp]\nasn = 65001\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nasn = 65000\nfamilies = [\"ipv4\"]\n\
         [[service]]\nname = \"www\"\nflap_damping = false\nvips = [{}]\n[[service.check]]\n{check}\n",
        vips.join(", ")
    )
}

const TCP: &str = "tcp = 80\ninterval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\nfall = 3";

/// A router, a web server and a store, and the daemon's folder.
fn scene(folder: &Path, count: u32, check: &str) -> (Store, Router, TcpListener) {
    link_to_router();
    write_config(folder, &config(count, check));
    let server = TcpListener::bind("0.0.0.0:80").unwrap();
    let accepting = server.try_clone().unwrap();
    std::thread::spawn(move || accepting.incoming().for_each(drop));
    (Store::new(folder), Router::start(9), server)
}

#[test]
fn a_session_outlives_the_daemon() {
    in_new_netns(|folder| {
        let (mut store, router, _server) = scene(folder, 3, TCP);
        let mut daemon = store.start();
        router.until("announced", |seen| seen.table.len() == 3);
        for round in 0..8 {
            router.reset();
            let keepalives = router.seen().keepalives;
            store.kill(daemon);
            if round % 2 == 0 {
                // Otherwise the third crash within a minute would start cold.
                store.damage(4096, &[0; 76]);
            }
            daemon = store.start();
            router.until("the next KEEPALIVE", |seen| seen.keepalives > keepalives);
            let status = daemon.until_status(PATIENCE, "established", |status| {
                status.peers[0].state == "Established" && status.services[0].vips[0].standing == "announced"
            });
            assert_eq!(status.start.how, "crash", "{}", store.log());
            let seen = router.seen();
            assert_eq!((seen.connections, seen.table.len()), (1, 3), "{seen:?}\n{}", store.log());
            assert_eq!(seen.changes, [""; 0]);
        }
        // A stop is a stop: nothing is left for the next one.
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.until_ended(PATIENCE));
        store.receive();
        assert!(store.stored.is_empty(), "{:?}", store.stored.keys());
        assert_eq!(router.until("the Cease", |seen| !seen.notifications.is_empty()).notifications, [(6, 2)]);
    });
}

/// Its file says a number that a new daemon would announce as another one; the routers see no change by a takeover.
#[test]
fn a_weight_of_a_file_outlives_the_daemon() {
    in_new_netns(|folder| {
        let (mut store, router, _server) = scene(folder, 1, TCP);
        let file = folder.join("weight");
        std::fs::write(&file, "50\n").unwrap();
        let keys = format!("flap_damping = false\nweight_file = \"{}\"\n", file.display());
        write_config(folder, &config(1, TCP).replace("flap_damping = false\n", &keys));
        let daemon = store.start();
        daemon.until_status(PATIENCE, "the weight", |status| status.services[0].weight == Some(50));
        router.until("announced", |seen| seen.table.len() == 1);
        // Nearer to 70, and less than a step away from 50.
        std::fs::write(&file, "60\n").unwrap();
        store.kill(daemon);
        let keepalives = router.seen().keepalives;
        let daemon = store.start();
        router.until("the next KEEPALIVE", |seen| seen.keepalives > keepalives + 1);
        let status = daemon.status().unwrap();
        assert_eq!((status.start.how.as_str(), status.services[0].weight), ("crash", Some(50)));
        std::fs::write(&file, "100\n").unwrap();
        daemon
            .until_status(PATIENCE, "the file is followed", |status| status.services[0].weight == Some(100));
    });
}

#[test]
fn what_is_gone_while_nobody_watches_is_withdrawn_first() {
    // The probes alone would need ten minutes.
    let check = "tcp = 80\ninterval = \"1m\"\nfast_interval = \"1m\"\ntimeout = \"1s\"\nrise = 1\nfall = 10";
    in_new_netns(move |folder| {
        let (mut store, router, server) = scene(folder, 2, check);
        let daemon = store.start();
        router.until("announced", |seen| seen.table.len() == 2);
        store.kill(daemon);
        // Both the listener and its clone, in which a thread accepts.
        nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&server),
            nix::sys::socket::Shutdown::Both,
        )
        .unwrap();
        drop(server);
        router.reset();
        let _daemon = store.start();
        let seen = router.until("withdrawn", |seen| seen.table.is_empty());
        assert_eq!(seen.connections, 1);
    });
}

#[test]
fn a_third_crash_within_a_minute_ends_the_sessions() {
    in_new_netns(|folder| {
        let (mut store, router, _server) = scene(folder, 1, TCP);
        let mut daemon = store.start();
        router.until("announced", |seen| seen.table.len() == 1);
        for _ in 0..2 {
            store.kill(daemon);
            daemon = store.start();
            assert_eq!(router.seen().connections, 1);
        }
        store.kill(daemon);
        daemon = store.start();
        let seen = router.until("a cold start", |seen| seen.connections == 2 && seen.table.len() == 1);
        assert_eq!(seen.notifications, [(6, 4)]);
        assert!(store.log().contains("crashed too often"), "{}", store.log());
        // The next one within the minute starts cold too.
        store.kill(daemon);
        let _daemon = store.start();
        router.until("another cold start", |seen| seen.connections == 3 && seen.table.len() == 1);
    });
}

#[test]
fn a_state_that_cannot_be_read_ends_the_sessions() {
    for (at, octets) in [(0, &b"x"[..]), (8, &[99]), (1 << 16, &[1; 8]), ((1 << 16) + 40, b"?")] {
        in_new_netns(move |folder| {
            let (mut store, router, _server) = scene(folder, 1, TCP);
            let daemon = store.start();
            router.until("announced", |seen| seen.table.len() == 1);
            store.kill(daemon);
            store.damage(at, octets);
            let _daemon = store.start();
            let seen = router.until("a cold start", |seen| seen.connections == 2 && seen.table.len() == 1);
            assert_eq!(seen.notifications, [(6, 4)], "damage at {at}");
        });
    }
}

#[test]
fn a_removed_router_and_a_changed_session_get_their_cease() {
    for (from, to, want, connections) in [
        ("name = \"r1\"", "name = \"r2\"", (6, 3), 2),
        ("asn = 65000\n", "asn = 65000\nhold_time = \"30s\"\n", (6, 6), 2),
        ("asn = 65000\n", "asn = 65000\nmed = 7\n", (0, 0), 1),
    ] {
        in_new_netns(move |folder| {
            let (mut store, router, _server) = scene(folder, 1, TCP);
            let daemon = store.start();
            router.until("announced", |seen| seen.table.len() == 1);
            store.kill(daemon);
            write_config(folder, &config(1, TCP).replacen(from, to, 1));
            let _daemon = store.start();
            let seen =
                router.until("announced", |seen| seen.connections == connections && seen.table.len() == 1);
            let notifications: Vec<(u8, u8)> = if connections == 1 { vec![] } else { vec![want] };
            assert_eq!(seen.notifications, notifications, "{to}");
        });
    }
}

/// The daemon is killed again and again, at any moment, while it sends a table to a router that reads now and then.
#[test]
fn a_long_table_arrives_whole_over_crashes() {
    const VIPS: u32 = 600;
    in_new_netns(|folder| {
        let check = "tcp = 80\ninterval = \"1s\"\ntimeout = \"1s\"\nrise = 1\nfall = 3";
        let (mut store, router, _server) = scene(folder, VIPS, check);
        let mut daemon = store.spawn();
        router.until("the first routes", |seen| !seen.table.is_empty());
        let mut random = 7_u64;
        for round in 0..20_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            router.reads.store(round % 3 != 0, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(random >> 32 & 0x1ff));
            store.kill(daemon);
            store.damage(4096, &[0; 76]); // otherwise the third crash within a minute would start cold
            daemon = store.spawn();
        }
        router.reads.store(true, Ordering::Relaxed);
        let seen = router.until("all", |seen| seen.table.len() == VIPS as usize);
        assert_eq!((seen.connections, seen.notifications), (1, vec![]), "{}", store.log());
        drop(daemon);
    });
}
