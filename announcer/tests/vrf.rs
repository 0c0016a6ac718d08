//! Sessions and checks are bound to a device: to sockets, the device of a VRF is a device like any other. Not every kernel has VRFs, so
//! the sessions are bound to an `interface` here, and what is not a VRF is refused as one. `tests/vm/run.d/70-vrf.sh` shows the rest, with a
//! kernel that has VRFs.
//!
//! The tests run in network namespaces of their own. They need root and `ip`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use announcer::config::parse;
use announcer::health::io::one_shot;
use announcer::health::outcome::Outcome;
use daemon::{Daemon, in_new_netns, ip, router, write_config};

const PATIENCE: Duration = Duration::from_secs(30);

/// A router with the address 10.9.9.1 in a network namespace of its own, behind the device of this name.
struct FarRouter {
    connections: Arc<AtomicUsize>,
    _ends: mpsc::Sender<()>,
}

impl FarRouter {
    fn behind(device: &str, host: &str) -> FarRouter {
        let ((thread_tx, thread), (ends, ended)) = (mpsc::channel(), mpsc::channel::<()>());
        let (linked_tx, linked) = mpsc::channel::<()>();
        let (up_tx, up) = mpsc::channel::<()>();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            thread_tx.send(nix::unistd::gettid().as_raw()).unwrap();
            linked.recv().unwrap();
            ip("link set lo up");
            ip("address add 10.9.9.1/24 dev far");
            ip("link set far up");
            let listener = TcpListener::bind("10.9.9.1:179").unwrap();
            let counted = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = counted.local_addr().unwrap();
            std::thread::spawn(move || router(counted));
            up_tx.send(()).unwrap();
            std::thread::spawn(move || forward(&listener, to, &count));
            let _ = ended.recv(); // the namespace lives as long as the test
        });
        let id = thread.recv().unwrap();
        ip(&format!("link add {device} type veth peer name far netns {id}"));
        ip(&format!("address add {host}/24 dev {device}"));
        ip(&format!("link set {device} up"));
        linked_tx.send(()).unwrap();
        up.recv().unwrap();
        FarRouter { connections, _ends: ends }
    }
}

/// Counts the connections, and passes their octets on.
fn forward(listener: &TcpListener, to: SocketAddr, count: &AtomicUsize) {
    for stream in listener.incoming() {
        count.fetch_add(1, Ordering::Relaxed);
        let (near, far) = (stream.unwrap(), std::net::TcpStream::connect(to).unwrap());
        for (mut from, mut into) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
            std::thread::spawn(move || std::io::copy(&mut from, &mut into));
        }
    }
}

fn peer(name: &str, keys: &str) -> String {
    format!("[[peer]]\nname = \"{name}\"\naddress = \"10.9.9.1\"\nasn = 65000\n{keys}\nhold_time = \"0s\"\n")
}

fn service(name: &str, vip: &str, vrf: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nvips = [\"{vip}\"]\nvrf = \"{vrf}\"\n[[service.check]]\ntcp = 80\ninterval = \"100ms\"\n"
    )
}

#[test]
fn sessions_on_two_devices_and_in_what_is_no_vrf() {
    in_new_netns(|folder: &Path| {
        let (edge, red) = (FarRouter::behind("edge", "10.9.9.11"), FarRouter::behind("red", "10.9.9.12"));
        let head = "[bgp]\nasn = 65001\nrouter_id = \"10.9.9.11\"\nsettle = \"0s\"\n";
        let peers = [
            ("r1", "interface = \"edge\""),
            ("r2", "interface = \"red\""),
            ("r3", "vrf = \"nosuch\""),
            ("r4", "vrf = \"edge\""),
        ]
        .map(|(name, keys)| peer(name, keys));
        let services = [("www", "192.0.2.80", "edge"), ("mail", "192.0.2.25", "nosuch")]
            .map(|(name, vip, vrf)| service(name, vip, vrf));
        write_config(folder, &format!("{head}{}{}", peers.concat(), services.concat()));
        let daemon = Daemon::spawn(folder, &mut daemon::run(folder, &[]));
        let status = daemon.until_status(PATIENCE, "two sessions, and a VRF that is missing", |status| {
            let state = |index: usize| status.peers[index].state.as_str();
            let reason = |index: usize| status.peers[index].reason.as_ref().map(|reason| reason.text.clone());
            state(0) == "Established"
                && state(1) == "Established"
                && reason(2).is_some_and(|text| text.starts_with("the VRF `nosuch` does not exist"))
                && reason(3).is_some_and(|text| text.starts_with("`edge` is not a VRF"))
        });
        let local = |index: usize| {
            let session = status.peers[index].session.as_ref().unwrap();
            session.local_address.clone().unwrap()
        };
        // Unbound, both sessions would use the first of the two routes.
        assert!(local(0).starts_with("10.9.9.11:") && local(1).starts_with("10.9.9.12:"));
        assert_eq!([&edge, &red].map(|router| router.connections.load(Ordering::Relaxed)), [1, 1]);
        let vrfs: Vec<_> = status.peers.iter().map(|peer| peer.vrf.as_deref()).collect();
        assert_eq!(vrfs, [None, None, Some("nosuch"), Some("edge")]);
        assert_eq!(status.services[0].vrf.as_deref(), Some("edge"));
        // What is not a VRF has no VIPs, and lo has none of them either.
        let status = daemon.until_status(PATIENCE, "the VIPs are missed", |status| {
            let reason = |index: usize| status.services[index].vips[0].reason.text.clone();
            reason(0).contains("the VIP is not on edge: `edge` is not a VRF")
                && reason(1).contains("the VIP is not on nosuch: the VRF `nosuch` does not exist")
        });
        assert!(status.services.iter().all(|service| service.vips[0].standing == "not_announced"));
    });
}

/// What the checks of a service say, whose VIP 192.0.2.80 is on lo.
fn outcomes(vrf: &str) -> Vec<(String, String, bool)> {
    let checks = [
        "tcp = 80",
        "http = \"http://www.example.com/\"",
        "http = \"http://www.example.com/\"\nreuse = true",
        "http = \"https://www.example.com/\"",
        "tls = \"www.example.com\"",
        "grpc = \"http://www.example.com:80\"",
        "udp = 53\nexpect = \"pong\"",
        "dns = \"www.example.com\"",
        "ntp = 53",
        "icmp = 56",
    ];
    let checks: String =
        checks.iter().map(|check| format!("[[service.check]]\n{check}\ntimeout = \"300ms\"\n")).collect();
    let text = format!(
        "[bgp]\nasn = 65001\n[[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nasn = 65000\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\npeers = [\"r1\"]\n{vrf}\n{checks}"
    );
    let config = parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let results = one_shot::run(&config.services[0]).unwrap();
    let passed = |outcome: &Outcome| matches!(outcome, Outcome::Pass { .. });
    results.iter().map(|one| (one.check.clone(), one.outcome.to_string(), passed(&one.outcome))).collect()
}

#[test]
fn each_kind_of_check_is_bound_to_the_vrf() {
    in_new_netns(|_| {
        ip("link add edge type veth peer name far");
        ip("address add 192.0.2.80/32 dev lo");
        ip("link set edge up");
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let server = TcpListener::bind("192.0.2.80:80").unwrap();
        std::thread::spawn(move || {
            for mut stream in server.incoming().flatten() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = std::io::Write::write_all(&mut stream, answer);
            }
        });
        let udp = UdpSocket::bind("192.0.2.80:53").unwrap();
        std::thread::spawn(move || {
            loop {
                let Ok((_, from)) = udp.recv_from(&mut [0; 1500]) else { return };
                let _ = udp.send_to(b"pong", from);
            }
        });
        let outside = outcomes("");
        let passing = |all: &[(String, String, bool)]| -> Vec<String> {
            all.iter().filter(|(_, _, passed)| *passed).map(|(check, ..)| check.clone()).collect()
        };
        assert_eq!(passing(&outside), ["tcp", "http", "http-2", "udp", "icmp"], "{outside:#?}");
        // The VIP and the servers are outside of `edge`.
        let inside = outcomes("vrf = \"edge\"");
        assert_eq!(passing(&inside), [""; 0], "{inside:#?}");
        for (check, outcome, _) in outcomes("vrf = \"nosuch\"") {
            assert_eq!(outcome, "the VRF `nosuch` does not exist", "{check}");
        }
    });
}
