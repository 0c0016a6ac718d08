//! Tests how a session reacts to changes of the network, in its own network namespace with a real kernel: changed addresses,
//! another way to the router, lost segments. Needs root, `ip` and `nft`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod scripted;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use announcer::bgp::fsm::StateName;
use announcer::bgp::io::network;
use announcer::bgp::io::peers::Peers;
use announcer::bgp::io::router_id;
use announcer::bgp::path::Network;
use announcer::bgp::plan::PathComparison;
use announcer::bgp::router_id::Identity;
use announcer::config::{self, Config, PeerAddress, PeerConfig};
use announcer::model::Family;
use announcer::rib::NextHop;
use scripted::{
    CAPABILITIES, KEEPALIVE, OPEN, Router, Session, UPDATE, good_open, keepalive, message, open_body,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}

fn nft(line: &str) {
    assert!(Command::new("nft").arg(line).status().unwrap().success(), "nft {line}");
}

type Job = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// The router's side: a thread in its own network namespace, which ends with the thread.
struct RouterNamespace {
    jobs: mpsc::Sender<(Job, mpsc::Sender<Box<dyn Any + Send>>)>,
    thread: i32,
}

impl RouterNamespace {
    fn new() -> RouterNamespace {
        let (jobs, todo) = mpsc::channel::<(Job, mpsc::Sender<Box<dyn Any + Send>>)>();
        let (thread_tx, thread) = mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            thread_tx.send(nix::unistd::gettid().as_raw()).unwrap();
            for (job, reply) in todo {
                reply.send(job()).unwrap();
            }
        });
        RouterNamespace { jobs, thread: thread.recv().unwrap() }
    }

    /// Runs a function on the router.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, answer) = mpsc::channel();
        self.jobs.send((Box::new(move || Box::new(job()) as Box<dyn Any + Send>), reply)).unwrap();
        *answer.recv().unwrap().downcast().unwrap()
    }

    /// A cable between an interface of ours and one of the router's, both up.
    fn cable(&self, ours: &str, theirs: &'static str) {
        ip(&format!("link add name {ours} type veth peer name {theirs} netns {}", self.thread));
        ip(&format!("link set {ours} up"));
        self.run(move || ip(&format!("link set {theirs} up")));
    }

    fn ip(&self, line: &'static str) {
        self.run(move || ip(line));
    }

    fn nft(&self, line: &'static str) {
        self.run(move || nft(line));
    }

    /// Drops arriving packets that match `what`, like a filter on the way.
    fn drops(&self, what: &'static str) {
        self.nft("add table inet lost");
        self.nft("add chain inet lost in { type filter hook input priority 0; }");
        self.run(move || nft(&format!("add rule inet lost in {what} drop")));
    }

    fn listener(&self, address: &'static str) -> TcpListener {
        let listener = self.run(move || {
            let listener = std::net::TcpListener::bind((address, 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        });
        TcpListener::from_std(listener).unwrap()
    }
}

/// Runs the test in its own network namespace, with a router in another one.
fn play<F: Future<Output = ()>>(play: impl FnOnce(RouterNamespace) -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        return until::skipped("needs root to make a network namespace; run the tests with sudo");
    }
    let played = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(RouterNamespace::new()));
    });
    if let Err(panic) = played.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The host's network, watched as in the daemon.
fn followed() -> watch::Receiver<Arc<Network>> {
    let (publish, seen) = watch::channel(Arc::new(Network::default()));
    tokio::spawn(network::watch(publish));
    seen
}

fn dialing(listener: TcpListener, change: impl FnOnce(&mut PeerConfig)) -> Session {
    let address = PeerAddress::Ip(listener.local_addr().unwrap().ip());
    let change = |peer: &mut PeerConfig| {
        *peer = PeerConfig { address, ..peer.clone() };
        peer.overrides.next_hop_v6 = None;
        change(peer);
    };
    Session::dialing(listener, change, |local| local.network = followed())
}

/// Lets a router run by itself: it answers and sends KEEPALIVEs.
fn live(mut router: Router) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                _ = tick.tick() => router.send(&keepalive()).await,
                message = router.stream.readable() => {
                    message.unwrap();
                    let mut octets = [0; 65536];
                    if matches!(router.stream.try_read(&mut octets), Ok(0)) {
                        return;
                    }
                }
            }
        }
    })
}

/// The IPv4 kind of B7: the source address is replaced by another one.
#[test]
fn a_session_ends_at_once_when_its_own_address_is_replaced_and_comes_back_from_the_new_one() {
    play(|far| async move {
        far.cable("us", "them");
        ip("address add 10.0.1.11/24 dev us");
        far.ip("address add 10.0.1.1/24 dev them");
        let mut session = dialing(far.listener("10.0.1.1"), |_| {});
        let _router = session.established().await;
        sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        ip("address add 10.0.1.12/24 dev us");
        ip("address del 10.0.1.11/24 dev us");
        // When the first address of a subnet is removed, the kernel removes the others too, unless it is configured to promote
        // them.
        let _ = Command::new("ip").args("address add 10.0.1.12/24 dev us".split(' ')).status();
        let down = session.until(|status| status.last_down.is_some()).await.last_down.unwrap();
        assert_eq!(down.why.label(), "address_gone", "{}", down.why);
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let router = session.established().await;
        assert_eq!(router.stream.peer_addr().unwrap().ip(), "10.0.1.12".parse::<IpAddr>().unwrap());
    });
}

/// B7.
#[test]
fn the_next_hop_of_ipv6_follows_the_addresses_of_the_interface() {
    play(|far| async move {
        far.cable("us", "them");
        ip("address add 10.0.1.11/24 dev us");
        ip("address add 2001:db8:1::7/64 dev us nodad");
        far.ip("address add 10.0.1.1/24 dev them");
        let mut session = dialing(far.listener("10.0.1.1"), |_| {});
        session.announce(1, &["2001:db8::80/128"]);
        let mut router = session.established().await;
        let next_hop = |last: u8| [[0x20, 1, 0xd, 0xb8, 0, 1].as_slice(), &[0; 9], &[last]].concat();
        let has = |body: &[u8], wanted: &[u8]| body.windows(wanted.len()).any(|window| window == wanted);
        let body = router.update().await;
        assert!(has(&body, &next_hop(7)), "{body:02x?}");
        session.until(|status| status.acknowledged == 1).await;

        for (lines, last) in [
            (
                ["address add 2001:db8:1::8/64 dev us nodad", "address del 2001:db8:1::7/64 dev us"]
                    .as_slice(),
                Some(8),
            ),
            (&["address del 2001:db8:1::8/64 dev us"], None),
        ] {
            let began = Instant::now();
            lines.iter().for_each(|line| ip(line));
            let body = loop {
                let body = router.update().await;
                if body.len() > 11 {
                    break body; // no End-of-RIB
                }
            };
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            match last {
                Some(last) => assert!(has(&body, &next_hop(last)), "{body:02x?}"),
                None => assert!(has(&body, &[0x90, 15]), "withdrawn: {body:02x?}"),
            }
            assert_eq!(session.status.borrow().next_hops.contains_key(&Family::V6), last.is_some());
        }
    });
}

/// B6.
#[test]
fn a_temporary_address_is_neither_the_source_nor_the_next_hop() {
    play(|far| async move {
        far.cable("us", "them");
        std::fs::write("/proc/sys/net/ipv6/conf/us/use_tempaddr", "2").unwrap();
        ip("address add 2001:db8:1::7/64 dev us nodad mngtmpaddr");
        far.ip("address add 2001:db8:1::1/64 dev them nodad");
        let temporary = || {
            let shown = Command::new("ip").args(["-6", "address", "show", "temporary"]).output().unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            shown.contains("inet6 2001:db8:1:") && !shown.contains("tentative")
        };
        timeout(Duration::from_secs(10), async {
            while !temporary() {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .expect("the kernel makes a temporary address");
        let mut session = dialing(far.listener("2001:db8:1::1"), |_| {});
        let router = session.established().await;
        let stable: std::net::Ipv6Addr = "2001:db8:1::7".parse().unwrap();
        assert_eq!(router.stream.peer_addr().unwrap().ip(), IpAddr::V6(stable));
        assert_eq!(session.status.borrow().next_hops[&Family::V6], NextHop::V6(stable));
    });
}

/// FRR begins to send router advertisements when a neighbour is configured for RFC 8950, and other routers send them always.
#[test]
fn an_address_of_a_router_advertisement_does_not_replace_the_configured_source() {
    play(|far| async move {
        far.cable("us", "them");
        ip("address add 2001:db8:1::7/64 dev us nodad");
        // As a router advertisement: the newer address has a limited lifetime, and the kernel prefers it.
        ip("address add 2001:db8:1::aa:1/64 dev us nodad valid_lft 3600 preferred_lft 1800");
        far.ip("address add 2001:db8:1::1/64 dev them nodad");
        let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
        socket.connect("[2001:db8:1::1]:9").unwrap();
        let chosen = socket.local_addr().unwrap().ip();
        assert_eq!(chosen, "2001:db8:1::aa:1".parse::<IpAddr>().unwrap(), "the kernel's own choice");
        let mut session = dialing(far.listener("2001:db8:1::1"), |_| {});
        let router = session.established().await;
        let configured: std::net::Ipv6Addr = "2001:db8:1::7".parse().unwrap();
        assert_eq!(router.stream.peer_addr().unwrap().ip(), IpAddr::V6(configured));
    });
}

/// B13: at boot the management network is up first, the uplink later.
#[test]
fn a_session_that_took_another_way_sees_that_there_is_a_better_one() {
    play(|far| async move {
        far.cable("mgmt", "themm");
        far.cable("uplink", "themu");
        ip("address add 10.9.0.11/24 dev mgmt");
        ip("route add default via 10.9.0.1");
        far.ip("address add 10.9.0.1/24 dev themm");
        far.ip("address add 10.0.1.1/24 dev themu");
        let mut session = dialing(far.listener("10.0.1.1"), |_| {});
        let router = session.established().await;
        assert_eq!(router.stream.peer_addr().unwrap().ip(), "10.9.0.11".parse::<IpAddr>().unwrap());
        assert_eq!(session.status.borrow().path, PathComparison::Same);
        let living = live(router);
        ip("address add 10.0.1.11/24 dev uplink");
        session.until_late(|status| status.path == PathComparison::Other).await;
        assert_eq!(session.status.borrow().state, StateName::Established, "its keeper ends it, in its turn");
        living.abort();
    });
}

/// B5: every segment of ours is lost, and the router's segments arrive.
#[test]
fn what_no_router_acknowledges_does_not_count_and_ends_the_session() {
    play(|far| async move {
        far.cable("us", "them");
        ip("address add 10.0.1.11/24 dev us");
        far.ip("address add 10.0.1.1/24 dev them");
        let mut session = dialing(far.listener("10.0.1.1"), |peer| peer.hold_time = Duration::from_secs(3));
        let router = session.established().await;
        session.announce(1, &[]);
        session.until(|status| status.acknowledged == 1).await;
        let living = live(router);
        far.drops("tcp dport != 0");
        session.announce(2, &["192.0.2.80/32"]);
        let status = session.until(|status| status.advertised == 1).await;
        assert_eq!((status.announced, status.acknowledged), (0, 1));
        let down = session.until_late(|status| status.last_down.is_some()).await.last_down.unwrap();
        assert_eq!(down.why.label(), "timed_out", "{}", down.why);
        living.abort();
    });
}

/// B4: a path MTU that no ICMP message reports.
#[test]
fn large_segments_that_are_lost_hint_at_the_path_mtu_and_tcp_mss_mends_it() {
    play(|far| async move {
        far.cable("us", "them");
        ip("address add 10.0.1.11/24 dev us");
        far.ip("address add 10.0.1.1/24 dev them");
        far.drops("ip length > 1000");
        let vips: Vec<String> = (0..400).map(|n| format!("192.0.{}.{}/32", n / 250, n % 250)).collect();
        let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
        let mut session = dialing(far.listener("10.0.1.1"), |peer| peer.hold_time = Duration::from_secs(6));
        session.announce(1, &vips);
        let living = live(session.established().await);
        let down = session.until_late(|status| status.last_down.is_some()).await.last_down.unwrap();
        assert_eq!(down.why.label(), "timed_out", "{}", down.why);
        assert!(down.hint.as_deref().is_some_and(|hint| hint.contains("`tcp_mss`")), "{down:?}");
        living.abort();

        let change = |peer: &mut PeerConfig| {
            peer.hold_time = Duration::from_secs(6);
            peer.tcp_mss = Some(900);
        };
        let mut session = dialing(far.listener("10.0.1.1"), change);
        session.announce(1, &vips);
        let living = live(session.established().await);
        session.until_late(|status| status.acknowledged == 1 && status.announced == 400).await;
        living.abort();
    });
}

/// B2: the router loses power while we wait for its OPEN, and does not know the connection after its restart.
#[test]
fn a_router_that_was_restarted_while_we_waited_for_its_open_is_dialled_again_within_seconds() {
    play(|far| async move {
        far.cable("us", "them");
        ip("address add 10.0.1.11/24 dev us");
        far.ip("address add 10.0.1.1/24 dev them");
        let mut session = dialing(far.listener("10.0.1.1"), |peer| peer.hold_time = Duration::from_secs(3));
        let router = session.open_sent().await;
        sleep(Duration::from_millis(100)).await; // until our kernel knows that the OPEN arrived
        far.nft("add table inet off");
        far.nft("add chain inet off out { type filter hook output priority 0; policy drop; }");
        far.nft("add chain inet off in { type filter hook input priority 0; policy drop; }");
        socket2::SockRef::from(&router.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(router);
        far.nft("delete table inet off");
        let began = Instant::now();
        session.established().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
}

/// B3: the router has `timers 0 0`, so no hold timer runs, and it loses power while nothing is on its way to it.
#[test]
fn without_a_hold_timer_tcp_keepalive_ends_the_session_of_a_router_that_lost_power() {
    play(|far| async move {
        far.cable("us", "them");
        ip("address add 10.0.1.11/24 dev us");
        far.ip("address add 10.0.1.1/24 dev them");
        // Our hold time is also the time of TCP keepalive: three probes, one second apart.
        let mut session = dialing(far.listener("10.0.1.1"), |peer| peer.hold_time = Duration::from_secs(3));
        session.announce(1, &["192.0.2.80/32"]);
        let _router =
            session.established_with(&message(OPEN, &open_body(65000, 0, [10, 9, 9, 9], CAPABILITIES))).await;
        let status = session.until(|status| status.acknowledged == 1).await;
        assert_eq!(status.negotiated.unwrap().hold_time, None, "the router switched the hold timer off");
        // A router that lives and has nothing to send keeps its session: its kernel answers the probes.
        sleep(Duration::from_secs(6)).await;
        assert_eq!(session.status.borrow().state, StateName::Established);

        far.nft("add table inet off");
        far.nft("add chain inet off out { type filter hook output priority 0; policy drop; }");
        far.nft("add chain inet off in { type filter hook input priority 0; policy drop; }");
        let down = session.until_late(|status| status.last_down.is_some()).await.last_down.unwrap();
        assert_eq!(down.why.label(), "timed_out", "{}", down.why);
        // It is started again, with the address and without the connection.
        far.nft("delete table inet off");
        session.established().await;
    });
}

/// W11.
#[test]
fn interfaces_that_are_gone_are_forgotten() {
    play(|_far| async move {
        let mut seen = followed();
        for _ in 0..20 {
            ip("link add name for type veth peer name now");
            sleep(Duration::from_millis(5)).await;
            ip("link del dev for");
        }
        let forgotten = seen.wait_for(|network| network.links.len() == 1);
        timeout(Duration::from_secs(3), forgotten).await.expect("lo alone is left").unwrap();
    });
}

fn config(peers: &[&str], keys: &str) -> Arc<Config> {
    let mut text = format!("[bgp]\nasn = 65001\n{keys}\n");
    for (index, peer) in peers.iter().enumerate() {
        text += &format!("[[peer]]\nname = \"r{index}\"\naddress = \"{peer}\"\nasn = 65000\n");
    }
    text += "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\n";
    Arc::new(config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")))
}

/// W5 and W14.
#[test]
fn the_router_id_follows_the_configuration_and_the_addresses() {
    play(|far| async move {
        far.cable("us", "them");
        let (configs, followed_configs) = watch::channel(config(&["10.0.9.1"], ""));
        let (publish, mut ids) = watch::channel(Identity::default());
        let (_peers, peers) = watch::channel(Peers::default());
        tokio::spawn(router_id::follow(followed_configs, followed(), peers, publish));
        let waits = |ids: &watch::Receiver<Identity>| ids.borrow().waits.clone().unwrap_or_default();
        let soon = Duration::from_secs(3);
        timeout(soon, ids.wait_for(|id| id.waits.is_some())).await.expect("no route is said").unwrap();
        assert!(waits(&ids).contains("towards r0"), "{}", waits(&ids));

        // The only address is a VIP.
        ip("address add 192.0.2.80/32 dev us");
        ip("route add 10.0.9.0/24 dev us");
        let vip = ids.wait_for(|id| id.waits.as_ref().is_some_and(|why| why.contains("VIP 192.0.2.80")));
        timeout(soon, vip).await.expect("the VIP is said").unwrap();

        // The address is added, and the wrong configuration is corrected.
        ip("address add 10.0.1.11/24 dev us");
        configs.send_replace(config(&["10.0.1.1"], ""));
        let known = ids.wait_for(|id| id.id.is_some_and(|id| id.to_string() == "10.0.1.11"));
        timeout(soon, known).await.expect("the source towards the router").unwrap();
        configs.send_replace(config(&["10.0.1.1"], "router_id = \"10.0.0.9\""));
        let written = ids.wait_for(|id| id.id.is_some_and(|id| id.to_string() == "10.0.0.9"));
        timeout(soon, written).await.expect("what was written").unwrap();
    });
}

/// A session in a separate process, which the test below stops and continues.
#[tokio::test]
async fn session_in_a_process_of_its_own() {
    let Ok(port) = std::env::var("ANNOUNCER_TEST_PORT") else { return };
    let port: SocketAddr = port.parse().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let change = |peer: &mut PeerConfig| {
        peer.port = port.port();
        peer.hold_time = Duration::from_secs(3);
    };
    let mut session = Session::dialing(nobody, change, |_| {});
    session.until_late(|status| status.state == StateName::Established).await;
    let _ = session.status.wait_for(|status| status.last_down.is_some()).await;
    println!("{:?}", session.status.borrow().last_down);
}

/// The process was stopped, and then compares the peer with its own clock: messages that arrived in between count.
#[tokio::test]
async fn a_process_that_stood_still_reads_what_arrived_before_it_judges_the_peer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this)
        .args(["--exact", "session_in_a_process_of_its_own", "--nocapture"])
        .env("ANNOUNCER_TEST_PORT", listener.local_addr().unwrap().to_string())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut child = KilledOnDrop(child);
    let (stream, _) = timeout(Duration::from_secs(20), listener.accept()).await.unwrap().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut router = Router { stream };
    router.expect(OPEN).await;
    router.send(&good_open()).await;
    router.expect(KEEPALIVE).await;
    router.send(&keepalive()).await;
    for _ in 0..4 {
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        for _ in 0..8 {
            router.send(&keepalive()).await;
            sleep(Duration::from_millis(500)).await;
        }
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        // The session is alive: it continues with KEEPALIVEs, and does not end.
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            router.send(&keepalive()).await;
            while let Ok(Some((kind, body))) = timeout(Duration::from_millis(200), router.next()).await {
                assert!(kind == KEEPALIVE || kind == UPDATE, "{kind} {body:?}");
            }
        }
    }
    assert!(child.0.try_wait().unwrap().is_none(), "the session is still there");
}

/// A process that ends with the test.
struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
