//! Unnumbered sessions: the router is learnt from its router advertisements. The router is part of the test, in a network namespace of its
//! own; FRR and BIRD take the configuration that `announcer router-config` prints.
//!
//! They need root and iproute2. The tests with FRR and BIRD run in `make interop`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod real_router;

use std::io::IoSliceMut;
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use announcer::control::api::{PeerStatus, Request};
use daemon::{Daemon, in_new_netns, ip, router, run, write_config};
use nix::errno::Errno;
use nix::sys::socket::sockopt::Ipv6RecvHopLimit;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt};
use real_router::{Router, Software, Way};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use until::{assert_until, until};

const PATIENCE: Duration = Duration::from_secs(30);
const VIP: &str = "192.0.2.80";
const VIP6: &str = "2001:db8::80";

fn config(peer: &str) -> String {
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.9.8.2\"\nsettle = \"0s\"\n\
         [[peer]]\nname = \"r1\"\ninterface = \"fe\"\nasn = 65000\n{peer}\
         [[service]]\nname = \"www\"\nflap_damping = false\nvips = [\"{VIP}\", \"{VIP6}\"]\n\
         [[service.check]]\ntcp = 80\ninterval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\n"
    )
}

/// A router with the addresses fe80::1 and fe80::2 on its end of the link `fe`, which takes sessions at both and advertises what a test
/// says. A thread keeps its namespace as long as the test lasts.
struct Link {
    /// Of each address, the socket that advertises.
    icmp: Vec<Socket>,
    /// What the daemon sends to groups.
    ear: Socket,
    /// The index of the router's interface.
    index: u32,
}

/// A router advertisement with this lifetime in seconds.
fn advertisement(lifetime: u16) -> [u8; 16] {
    let [high, low] = lifetime.to_be_bytes();
    [134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0]
}

impl Link {
    fn new() -> Link {
        let (thread_tx, thread) = std_mpsc::channel();
        let (linked_tx, linked) = std_mpsc::channel::<()>();
        let (link_tx, link) = std_mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            thread_tx.send(nix::unistd::gettid().as_raw()).unwrap();
            linked.recv().unwrap();
            ip("link set lo up");
            // A router's neighbour advertisements say that it is one; without that, the frontend's kernel removes the default route.
            let forward = ["-qw", "net.ipv6.conf.all.forwarding=1"];
            assert!(Command::new("sysctl").args(forward).status().unwrap().success());
            ip("address add fe80::1/64 dev router nodad");
            ip("address add fe80::2/64 dev router nodad");
            ip("link set router up");
            let index = nix::net::if_::if_nametoindex("router").unwrap();
            let open = |last: u16| {
                let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
                let listener = TcpListener::bind(SocketAddrV6::new(address, 179, 0, index)).unwrap();
                std::thread::spawn(|| router(listener));
                let icmp = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
                icmp.bind(&SockAddr::from(SocketAddrV6::new(address, 0, 0, index))).unwrap();
                icmp.set_multicast_hops_v6(255).unwrap();
                icmp.set_multicast_if_v6(index).unwrap();
                icmp
            };
            let ear = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
            ear.join_multicast_v6(&"ff02::2".parse().unwrap(), index).unwrap();
            ear.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            setsockopt(&ear, Ipv6RecvHopLimit, &true).unwrap();
            link_tx.send(Link { icmp: [1, 2].map(open).into(), ear, index }).unwrap();
            let _ = linked.recv(); // the namespace lives as long as the test
        });
        ip(&format!("link add fe type veth peer name router netns {}", thread.recv().unwrap()));
        ip("address add fe80::11/64 dev fe nodad");
        ip("link set fe up");
        linked_tx.send(()).unwrap();
        let link = link.recv().unwrap();
        std::mem::forget(linked_tx);
        link
    }

    /// The router at fe80::1 or fe80::2 advertises itself.
    fn advertise(&self, last: usize, lifetime: u16, hop_limit: u32) {
        let socket = &self.icmp[last - 1];
        socket.set_multicast_hops_v6(hop_limit).unwrap();
        let all_nodes = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, self.index);
        socket.send_to(&advertisement(lifetime), &all_nodes.into()).unwrap();
    }

    /// The router at fe80::1 asks for advertisements.
    fn solicit(&self) {
        let all_routers = SocketAddrV6::new("ff02::2".parse().unwrap(), 0, 0, self.index);
        self.icmp[0].set_multicast_hops_v6(255).unwrap();
        self.icmp[0].send_to(&[133, 0, 0, 0, 0, 0, 0, 0], &all_routers.into()).unwrap();
    }

    /// The first solicitation and the first advertisement of the daemon, from the type of ICMPv6 on.
    fn heard(&self) -> [Vec<u8>; 2] {
        let mut seen: [Vec<u8>; 2] = Default::default();
        while seen.iter().any(Vec::is_empty) {
            let octets = self.hear();
            let kind = usize::from(octets[0] - 133);
            seen[kind] = octets;
        }
        seen
    }

    /// The next solicitation or advertisement. Its hop limit is 255: a router ignores any other (RFC 4861 section 6.1).
    fn hear(&self) -> Vec<u8> {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "nothing was heard");
            let (mut octets, mut control) = ([0; 2048], [0; 256]);
            let mut into = [IoSliceMut::new(&mut octets)];
            let ear = self.ear.as_raw_fd();
            let (length, hop_limit) =
                match recvmsg::<SockaddrIn6>(ear, &mut into, Some(&mut control), MsgFlags::empty()) {
                    Ok(message) => {
                        let hop_limit = message.cmsgs().unwrap().find_map(|detail| {
                            let ControlMessageOwned::Ipv6HopLimit(limit) = detail else { return None };
                            Some(limit)
                        });
                        (message.bytes, hop_limit)
                    }
                    Err(Errno::EAGAIN) => continue,
                    Err(error) => panic!("{error}"),
                };
            if [133, 134].contains(&octets[0]) {
                assert_eq!(hop_limit, Some(255), "{:?}", &octets[..length]);
                return octets[..length].to_vec();
            }
        }
    }
}

/// A link, and the daemon with these keys of the peer. The web server answers at every address.
fn with(keys: &'static str, test: impl FnOnce(&Path, &Link, Daemon) + Send + 'static) {
    in_new_netns(move |folder| {
        serve();
        let link = Link::new();
        let daemon = Daemon::start(folder, &config(keys));
        test(folder, &link, daemon);
    });
}

fn serve() {
    let server = TcpListener::bind("[::]:80").unwrap();
    std::thread::spawn(move || server.incoming().for_each(drop));
}

fn until_peer(daemon: &Daemon, what: &str, matches: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
    daemon.until_status(PATIENCE, what, |status| matches(&status.peers[0])).peers.remove(0)
}

fn is_up(peer: &PeerStatus, address: &str) -> bool {
    peer.state == "Established" && peer.address == address
}

#[test]
fn a_router_is_learnt_from_its_advertisement_and_gets_the_session() {
    with("", |_, link, daemon| {
        let [solicitation, advertisement] = link.heard();
        assert_eq!((solicitation[0], solicitation.len()), (133, 8));
        assert_eq!((advertisement[0], advertisement.len(), &advertisement[6..8]), (134, 16, &[0, 0][..]));
        let peer = until_peer(&daemon, "no router", |peer| {
            peer.reason.as_ref().is_some_and(|reason| reason.code == "no_router")
        });
        assert_eq!(peer.address, "fe");
        let reason = peer.reason.unwrap().text;
        assert!(reason.contains("no router advertisement has arrived on `fe`"), "{reason}");
        // RFC 4861 section 6.1.2: this one was forwarded, so that it is from anywhere.
        link.advertise(2, 1800, 64);
        std::thread::sleep(Duration::from_millis(300));
        link.advertise(1, 0, 255);
        let peer = until_peer(&daemon, "the session", |peer| is_up(peer, "fe80::1"));
        let ours = peer.session.unwrap().local_address.unwrap();
        assert!(ours.starts_with("[fe80::"), "{ours}");
    });
}

/// Its solicitation goes to the group of all routers, which a host does not hear by itself.
#[test]
fn a_router_that_asks_is_answered_soon() {
    with("", |_, link, _daemon| {
        // Three advertisements follow each other; the next one is due after ten seconds.
        let mut advertisements = 0;
        while advertisements < 3 {
            advertisements += usize::from(link.hear()[0] == 134);
        }
        let last = Instant::now();
        std::thread::sleep(Duration::from_secs(4));
        link.solicit();
        while link.hear()[0] != 134 {}
        assert!(last.elapsed() < Duration::from_secs(8), "{:?}", last.elapsed());
    });
}

#[test]
fn a_session_ends_with_the_lifetime_of_its_router_and_the_next_one_gets_it() {
    with("hold_time = \"90s\"\n", |_, link, daemon| {
        link.heard();
        link.advertise(1, 6, 255);
        until_peer(&daemon, "the session", |peer| is_up(peer, "fe80::1"));
        let learnt = Instant::now();
        link.advertise(2, 1800, 255);
        let status = daemon.until_status(PATIENCE, "the warning", |status| {
            status
                .warnings
                .iter()
                .any(|warning| warning.contains("several routers advertise themselves on `fe`: fe80::1 gets"))
        });
        assert!(is_up(&status.peers[0], "fe80::1"), "the first router keeps it: {:?}", status.peers);
        let peer = until_peer(&daemon, "the next router", |peer| is_up(peer, "fe80::2"));
        assert_eq!(peer.last_end.unwrap().code, "router_gone");
        assert!(learnt.elapsed() > Duration::from_secs(3), "before its advertisement has run out");
        daemon.until_status(PATIENCE, "no warning", |status| {
            !status.warnings.iter().any(|warning| warning.contains("several routers"))
        });
    });
}

/// A router that does not answer in ten seconds while another one advertises itself is replaced as the router of the link. It may be there
/// all the same, so its session goes on, also when the network changes.
#[test]
fn a_session_stays_with_its_router_when_another_one_is_learnt() {
    in_new_netns(|folder| {
        serve();
        let (link, log) = (Link::new(), folder.join("log"));
        write_config(folder, &config("hold_time = \"90s\"\n"));
        let to_log = std::fs::File::create(&log).unwrap();
        let daemon = Daemon::spawn(folder, run(folder, &["--log", "info"]).stderr(to_log));
        link.heard();
        link.advertise(1, 1800, 255);
        until_peer(&daemon, "the session", |peer| is_up(peer, "fe80::1"));
        std::thread::sleep(Duration::from_secs(4)); // a router that has advertised itself just now is not asked
        link.advertise(2, 1800, 255);
        let is_named =
            |warnings: &[String]| warnings.iter().any(|warning| warning.contains("several routers"));
        daemon.until_status(PATIENCE, "the warning", |status| is_named(&status.warnings));
        daemon.until_status(PATIENCE, "the other router is learnt", |status| !is_named(&status.warnings));
        ip("link add other type veth peer name another");
        ip("link set another up");
        ip("link set other up");
        assert_until(PATIENCE, "the daemon has heard of the link", || {
            std::fs::read_to_string(&log).unwrap().contains("link went up interface=other")
        });
        // A session that moves waits for three seconds before.
        std::thread::sleep(Duration::from_secs(5));
        let peer = daemon.status().unwrap().peers.remove(0);
        assert!(is_up(&peer, "fe80::1") && peer.last_end.is_none(), "{peer:?}");
    });
}

#[test]
fn a_link_that_was_down_has_another_router() {
    with("", |_, link, daemon| {
        link.heard();
        link.advertise(1, 1800, 255);
        until_peer(&daemon, "the session", |peer| is_up(peer, "fe80::1"));
        ip("link set fe down");
        until_peer(&daemon, "down", |peer| peer.last_end.as_ref().is_some_and(|end| end.code == "link_down"));
        ip("link set fe up");
        ip("address replace fe80::11/64 dev fe nodad");
        until(PATIENCE, || {
            link.advertise(2, 1800, 255);
            let peer = daemon.status().unwrap().peers.remove(0);
            if is_up(&peer, "fe80::2") { Ok(()) } else { Err(Box::new(peer)) }
        })
        .unwrap();
    });
}

#[test]
fn a_default_route_from_advertisements_is_reported_unless_it_is_wanted() {
    with("", |folder, link, daemon| {
        link.heard();
        link.advertise(1, 1800, 255);
        until_peer(&daemon, "the session", |peer| is_up(peer, "fe80::1"));
        let is_warned = |warnings: &[String]| {
            warnings.iter().any(|warning| {
                warning.contains("default route over fe80::1 on `fe`")
                    && warning.contains("accept_ra_defrtr = 0")
            })
        };
        // The kernel of a host takes the route.
        daemon.until_status(PATIENCE, "the warning", |status| is_warned(&status.warnings));
        write_config(folder, &config("default_route = true\n"));
        let established = daemon.status().unwrap().peers[0].established;
        daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap();
        daemon.until_status(PATIENCE, "no warning", |status| !is_warned(&status.warnings));
        assert_eq!(daemon.status().unwrap().peers[0].established, established, "the session goes on");
    });
}

#[test]
fn without_the_capability_the_reason_names_the_drop_in() {
    in_new_netns(|folder| {
        serve();
        let _link = Link::new();
        write_config(folder, &config(""));
        let whole = run(folder, &[]);
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw"]).arg(whole.get_program());
        command.args(whole.get_args()).stderr(Stdio::null());
        let daemon = Daemon::spawn(folder, &mut command);
        let status = daemon.until_status(PATIENCE, "the reason", |status| {
            status.peers[0].reason.as_ref().is_some_and(|reason| reason.code == "not_learnt")
        });
        assert!(
            status.warnings.iter().any(|warning| warning.contains("`/usr/share/announcer/unnumbered.conf`"))
        );
    });
}

/// The session, the routes of both families, and BFD, with the configuration that `announcer router-config` prints.
fn with_real_router(software: Software) {
    if !Router::is_installed(software) {
        until::skipped(format_args!("{software:?} is not installed"));
        return;
    }
    in_new_netns(move |folder| {
        serve();
        write_config(folder, &config("bfd = true\n"));
        let router = Router::start(software, Way::Unnumbered, folder);
        let daemon = Daemon::start(folder, &config("bfd = true\n"));
        router.until("the IPv4 route", || router.has_route(VIP));
        router.until("the IPv6 route", || {
            let said = router.run(&format!("ip -6 route show {VIP6}"))?;
            if said.contains("via fe80::") { Ok(()) } else { Err(said) }
        });
        router.until("BFD", || router.bfd());
        let status = daemon.until_status(PATIENCE, "BFD is up", |status| {
            status.peers[0].bfd.as_ref().is_some_and(|bfd| bfd.state == "Up")
        });
        assert!(status.peers[0].address.starts_with("fe80::"), "{:?}", status.peers);
        let about = |warning: &&String| {
            warning.contains("router advertisement") || warning.contains("advertise themselves")
        };
        assert_eq!(status.warnings.iter().find(about), None);
        router.until("the session", || router.session());
        let routes = Command::new("ip").args(["-6", "route", "show", "default"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&routes.stdout), "", "the printed lifetime is 0");
    });
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn frr_has_an_unnumbered_session() {
    with_real_router(Software::Frr);
}

#[test]
#[ignore = "needs routers; `make interop` runs it"]
fn bird_has_an_unnumbered_session() {
    with_real_router(Software::Bird);
}
