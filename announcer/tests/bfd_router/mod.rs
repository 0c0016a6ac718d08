//! A scripted router on a link of its own, and the thread of BFD beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(unreachable_pub, reason = "a module of a test")]

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use announcer::bfd::fsm::BfdSettings;
use announcer::bfd::io::{BfdOrder, BfdThread, InheritedBfd, MainTurns, ThreadReport, Wanted, start};
use announcer::bfd::packet::{BfdState, Diagnostic, DropReason, Packet, decode, encode};
use announcer::bfd::status::{BfdSessionReport, Ends};
use announcer::realtime::io::RealtimeThread;
use socket2::SockRef;

use crate::daemon::ip;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const MS: Duration = Duration::from_millis(1);

/// The sockets of the router, in its own network namespace. Its addresses are 10.9.9.1 and fe80::1, ours 10.9.9.11 and fe80::11.
pub struct Router {
    pub receiver: UdpSocket,
    pub sender: UdpSocket,
    pub listener: Option<TcpListener>,
    /// The index of our interface.
    interface: u32,
}

/// Which addresses and which port a test uses.
#[derive(Clone, Copy, PartialEq)]
pub enum Over {
    V4,
    LinkLocal,
    Multihop,
}

impl Over {
    pub fn ours(self) -> IpAddr {
        match self {
            Over::V4 | Over::Multihop => "10.9.9.11".parse().unwrap(),
            Over::LinkLocal => "fe80::11".parse().unwrap(),
        }
    }

    pub fn theirs(self) -> IpAddr {
        match self {
            Over::V4 | Over::Multihop => "10.9.9.1".parse().unwrap(),
            Over::LinkLocal => "fe80::1".parse().unwrap(),
        }
    }

    pub fn port(self) -> u16 {
        if self == Over::Multihop { 4784 } else { 3784 }
    }
}

/// Makes the link and the router. It is called in our namespace.
pub fn link(over: Over) -> Router {
    let (thread_tx, thread) = std_mpsc::channel();
    let (linked_tx, linked) = std_mpsc::channel::<()>();
    let (router_tx, router) = std_mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        thread_tx.send(nix::unistd::gettid().as_raw()).unwrap();
        linked.recv().unwrap();
        ip("link set lo up");
        ip("address add 10.9.9.1/24 dev router");
        ip("address add fe80::1/64 dev router nodad");
        ip("link set router up");
        let index = nix::net::if_::if_nametoindex("router").unwrap();
        let at = |port| match over.theirs() {
            IpAddr::V6(v6) => SocketAddr::V6(std::net::SocketAddrV6::new(v6, port, 0, index)),
            v4 => SocketAddr::new(v4, port),
        };
        let receiver = UdpSocket::bind(at(over.port())).unwrap();
        let sender = UdpSocket::bind(at(50_000)).unwrap();
        let listener = (over != Over::LinkLocal).then(|| TcpListener::bind(at(1179)).unwrap());
        router_tx.send((receiver, sender, listener)).unwrap();
        let _ = linked.recv(); // the namespace lives as long as the test
    });
    ip(&format!(
        "link add fe address 02:00:00:00:00:11 type veth peer name router netns {}",
        thread.recv().unwrap()
    ));
    ip("address add 10.9.9.11/24 dev fe");
    ip("address add fe80::11/64 dev fe nodad");
    ip("link set fe up");
    linked_tx.send(()).unwrap();
    let (receiver, sender, listener) = router.recv().unwrap();
    std::mem::forget(linked_tx);
    let router =
        Router { receiver, sender, listener, interface: nix::net::if_::if_nametoindex("fe").unwrap() };
    router.ttl(255);
    router.receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    router
}

impl Router {
    pub fn ttl(&self, ttl: u32) {
        if self.sender.local_addr().unwrap().is_ipv4() {
            self.sender.set_ttl(ttl).unwrap();
        } else {
            SockRef::from(&self.sender).set_unicast_hops_v6(ttl).unwrap();
        }
    }

    /// The next packet from us, and the port that it came from.
    pub fn packet(&self) -> (Packet, u16) {
        let mut octets = [0; 64];
        let (length, from) = self.receiver.recv_from(&mut octets).expect("a packet");
        (decode(&octets[..length]).unwrap(), from.port())
    }

    /// Reads until a packet is as wanted.
    pub fn until(&self, matches: impl Fn(&Packet) -> bool) -> Packet {
        let end = Instant::now() + PATIENCE;
        loop {
            let (packet, _) = self.packet();
            if matches(&packet) {
                return packet;
            }
            assert!(Instant::now() < end, "{packet:?}");
        }
    }

    pub fn send_octets(&self, octets: &[u8]) {
        let receiver = self.receiver.local_addr().unwrap();
        let to = match receiver {
            SocketAddr::V4(v4) => SocketAddr::new("10.9.9.11".parse().unwrap(), v4.port()),
            SocketAddr::V6(v6) => {
                std::net::SocketAddrV6::new("fe80::11".parse().unwrap(), v6.port(), 0, v6.scope_id()).into()
            }
        };
        self.sender.send_to(octets, to).unwrap();
    }

    /// Sends to another address of our host.
    pub fn send_to(&self, address: &str, packet: &Packet) {
        let port = self.receiver.local_addr().unwrap().port();
        self.sender.send_to(&encode(packet), SocketAddr::new(address.parse().unwrap(), port)).unwrap();
    }

    pub fn send(&self, packet: &Packet) {
        self.send_octets(&encode(packet));
    }

    /// Brings a session up, as a router would; returns the last packet from us.
    pub fn come_up(&self) -> Packet {
        let first = self.until(|packet| packet.state == BfdState::Down);
        self.send(&says(BfdState::Down, 0));
        self.until(|packet| packet.state == BfdState::Init && packet.your_discriminator == 77);
        self.send(&says(BfdState::Up, first.my_discriminator));
        let up = self.until(|packet| packet.state == BfdState::Up && packet.poll);
        self.send(&Packet { is_final: true, ..says(BfdState::Up, first.my_discriminator) });
        up
    }

    /// Answers each packet for some time, so that the session stays up.
    pub fn answer_for(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let (packet, _) = self.packet();
            self.send(&Packet { is_final: packet.poll, ..says(BfdState::Up, packet.my_discriminator) });
        }
    }
}

/// A packet of the router, whose discriminator is 77, with 3 times 100 ms.
pub fn says(state: BfdState, yours: u32) -> Packet {
    Packet {
        diag: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        demand: false,
        multiplier: 3,
        my_discriminator: 77,
        your_discriminator: yours,
        desired_min_tx: MS * 100,
        required_min_rx: MS * 100,
    }
}

/// A running thread whose main thread turns.
pub struct Bfd {
    pub thread: BfdThread,
    pub turns: MainTurns,
    pub last: Option<ThreadReport>,
}

impl Bfd {
    pub fn start(inherited: InheritedBfd) -> Bfd {
        let turns = MainTurns::new();
        let beats = turns.clone();
        std::thread::spawn(move || {
            loop {
                beats.turned();
                std::thread::sleep(MS * 50);
            }
        });
        Bfd {
            thread: start(&RealtimeThread::default(), turns.clone(), inherited).unwrap(),
            turns,
            last: None,
        }
    }

    pub fn with(router: &Router, over: Over, hops: u8) -> Bfd {
        let bfd = Bfd::start(InheritedBfd::default());
        bfd.want(router, over, hops, 100);
        bfd
    }

    pub fn want(&self, router: &Router, over: Over, hops: u8, interval: u32) {
        let least_ttl = u8::MAX - (hops - 1);
        let ends = Ends {
            vrf: None,
            local: over.ours(),
            peer: over.theirs(),
            interface: router.interface,
            device: None,
            hops,
            least_ttl,
        };
        let settings = BfdSettings { interval: MS * interval, multiplier: 3 };
        let wanted = Wanted { name: "r1".parse().unwrap(), ends, settings };
        self.thread.orders.send(BfdOrder::Sessions(vec![wanted])).unwrap();
    }

    /// Waits for a report.
    pub fn until(&mut self, what: &str, matches: impl Fn(&ThreadReport) -> bool) -> ThreadReport {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Ok(report) = self.thread.reports.try_recv() {
                self.last = Some(report);
            }
            if let Some(report) = self.last.as_ref().filter(|report| matches(report)) {
                return report.clone();
            }
            assert!(Instant::now() < end, "{what}: {:?}", self.last);
            std::thread::sleep(MS * 5);
        }
    }

    pub fn until_session(
        &mut self,
        what: &str,
        matches: impl Fn(&BfdSessionReport) -> bool,
    ) -> BfdSessionReport {
        let report = self.until(what, |report| report.sessions.values().any(&matches));
        report.sessions.into_values().next().unwrap()
    }

    pub fn until_dropped(&mut self, reason: DropReason) {
        self.until("a drop", |report| report.drops.get(&reason).is_some_and(|count| *count > 0));
    }
}
