//! Sessions and checks are bound to a device: to sockets, the device of a VRF is a device like any other. Not every kernel has VRFs, so
//! the sessions are bound to an `interface` here, and what is not a VRF is refused as one. `tests/vm/run.d/70-vrf.sh` shows the rest, with a
//! kernel that has VRFs.
//!
//! The tests run in network namespaces of their own. They need root and `ip`; that of the checks needs nginx, Unbound and chrony.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod real_server;

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
use real_server::{RealServer, nginx};
use until::until;

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

/// The checks: a name, and the keys.
const CHECKS: [(&str, &str); 10] = [
    ("tcp", "tcp = 80"),
    ("http", "http = \"http://www.example.com/\""),
    ("reuse", "http = \"http://www.example.com/\"\nreuse = true"),
    ("https", "http = \"https://www.example.com/\"\nverify = \"off\""),
    ("tls", "tls = \"www.example.com\"\nverify = \"off\""),
    ("grpc", "grpc = \"http://www.example.com:81\""),
    ("udp", "udp = 54\nexpect = \"pong\""),
    ("dns", "dns = \"www.example.com\""),
    ("ntp", "ntp = 123"),
    ("icmp", "icmp = 56"),
];

/// What the checks of a service say, whose VIP 192.0.2.80 is on lo: the name, the outcome, and whether it passed.
fn outcomes(vrf: &str) -> Vec<(String, String, bool)> {
    let check =
        |(name, keys): &(_, _)| format!("[[service.check]]\nname = \"{name}\"\n{keys}\ntimeout = \"1s\"\n");
    let checks: String = CHECKS.iter().map(check).collect();
    let text = format!(
        "[bgp]\nasn = 65001\n[[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nasn = 65000\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\npeers = [\"r1\"]\n{vrf}\n{checks}"
    );
    let config = parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let results = one_shot::run(&config.services[0]).unwrap();
    let passed = |outcome: &Outcome| matches!(outcome, Outcome::Pass { .. });
    results.iter().map(|one| (one.check.clone(), one.outcome.to_string(), passed(&one.outcome))).collect()
}

/// `/healthz` is what a gRPC server says that serves (the message of grpc.health.v1, 8 1), with its status behind it.
const NGINX: &str = "  server {
    listen 192.0.2.80:80;
    listen 192.0.2.80:443 ssl;
    ssl_certificate FOLDER/cert.pem;
    ssl_certificate_key FOLDER/key.pem;
    location = / { return 200; }
  }
  server {
    listen 192.0.2.80:81 http2;
    root FOLDER;
    default_type application/grpc;
    add_trailer grpc-status 0;
    location = /grpc.health.v1.Health/Check { error_page 404 =200 /healthz; }
  }
";

const UNBOUND: &str = "server:
    directory: \"\"
    chroot: \"\"
    username: \"\"
    pidfile: \"\"
    do-daemonize: no
    use-syslog: no
    interface: 192.0.2.80@53
    access-control: 0.0.0.0/0 allow
    module-config: \"iterator\"
    local-zone: \"example.com.\" static
    local-data: \"www.example.com. A 192.0.2.80\"
";

const CHRONY: &str = "bindaddress 192.0.2.80
allow
cmdport 0
bindcmdaddress /
pidfile FOLDER/chrony.pid
local stratum 4
";

/// A server for each of [`CHECKS`], at 192.0.2.80; `None`, with a message, if one of them is not installed.
fn servers(folder: &Path) -> Option<[RealServer; 3]> {
    let key = rcgen::generate_simple_self_signed(["www.example.com".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), key.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("healthz"), [0, 0, 0, 0, 2, 8, 1]).unwrap();
    let start = |program: &str, text: &str, words: &[&str]| {
        let file = folder.join(program);
        std::fs::write(&file, text.replace("FOLDER", folder.to_str().unwrap())).unwrap();
        RealServer::start(program, &[words, &[file.to_str().unwrap()]].concat())
    };
    let udp = UdpSocket::bind("192.0.2.80:54").unwrap();
    std::thread::spawn(move || {
        loop {
            let Ok((_, from)) = udp.recv_from(&mut [0; 1500]) else { return };
            let _ = udp.send_to(b"pong", from);
        }
    });
    let nginx = start("nginx", &nginx(NGINX), &["-e", "stderr", "-c"])?;
    let unbound = start("unbound", UNBOUND, &["-d", "-c"])?;
    // -x: it does not set the clock of this host.
    let chrony = start("chronyd", CHRONY, &["-d", "-x", "-u", "root", "-f"])?;
    Some([nginx, unbound, chrony])
}

#[test]
fn each_kind_of_check_is_bound_to_the_vrf() {
    in_new_netns(|folder| {
        ip("link add edge type veth peer name far");
        ip("address add 192.0.2.80/32 dev lo");
        ip("link set edge up");
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let Some(_servers) = servers(folder) else { return };
        let pass_outside = || {
            let passed = until(PATIENCE, || {
                let all = outcomes("");
                if all.iter().all(|(_, _, passed)| *passed) { Ok(all.len()) } else { Err(all) }
            });
            assert_eq!(passed, Ok(CHECKS.len()));
        };
        pass_outside();
        // The VIP and the servers are outside of `edge`.
        let inside = outcomes("vrf = \"edge\"");
        assert_eq!(inside.len(), CHECKS.len());
        let passed: Vec<_> = inside.iter().filter(|(_, _, passed)| *passed).collect();
        assert!(passed.is_empty(), "{inside:#?}");
        pass_outside();
        for (check, outcome, _) in outcomes("vrf = \"nosuch\"") {
            assert_eq!(outcome, "the VRF `nosuch` does not exist", "{check}");
        }
    });
}
