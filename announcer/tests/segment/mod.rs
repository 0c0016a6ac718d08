//! Four frontends on a bridge, a router with plain ECMP, and a client, each in a network namespace of its own.
//!
//! ```text
//!   client ──── router ──┬── frontend 0 ── frontend 1 ── frontend 2 ── frontend 3      (one bridge)
//! ```

#![allow(dead_code, unreachable_pub, reason = "a module of a test")]

use std::any::Any;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use announcer::chain::rules::counters::{self, ChainCounters};
use announcer::chain::rules::{
    BelievedSources, FamilyRules, ForwardingSwitch, ListenOn, NextMember, RingLength, RuleSet, install,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use until::until;

pub mod packets;

/// How many frontends there are.
pub const FRONTENDS: usize = 4;
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
pub const VIPS: [IpAddr; 2] = [IpAddr::V4(VIP_V4), IpAddr::V6(VIP_V6)];
pub const PORT: u16 = 80;
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 2);
/// The budget of the tests that are not about it.
pub const LARGE_BUDGET: u32 = 1_000_000;
/// After this time without a packet, no more will come.
pub const QUIET: Duration = Duration::from_millis(100);
/// The longest time until a server answers.
const PATIENCE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// A thread in a network namespace of its own, which ends with the thread.
pub struct Namespace {
    jobs: mpsc::Sender<(Job, mpsc::Sender<Box<dyn Any + Send>>)>,
    /// Its thread, which names the namespace for `ip link … netns`.
    pub thread: i32,
}

impl Namespace {
    pub fn new() -> Namespace {
        let (jobs, todo) = mpsc::channel::<(Job, mpsc::Sender<Box<dyn Any + Send>>)>();
        let (thread_tx, thread) = mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            thread_tx.send(nix::unistd::gettid().as_raw()).unwrap();
            for (job, reply) in todo {
                // Who asked has panicked if nobody waits for the reply.
                let _ = reply.send(job());
            }
        });
        let namespace = Namespace { jobs, thread: thread.recv().unwrap() };
        // Duplicate address detection delays the link-local addresses.
        namespace.sysctl(&[("ipv6/conf/all/accept_dad", "0"), ("ipv6/conf/default/accept_dad", "0")]);
        namespace.ip(&["link set lo up"]);
        namespace
    }

    /// Runs a function in it.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, answer) = mpsc::channel();
        self.jobs.send((Box::new(move || Box::new(job()) as Box<dyn Any + Send>), reply)).unwrap();
        *answer.recv().expect("the job does not panic").downcast().unwrap()
    }

    /// Runs these lines of `ip` by one process.
    pub fn ip<L: AsRef<str>>(&self, lines: &[L]) {
        let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
        let text = lines.join("\n") + "\n";
        self.feed("ip", &["-batch", "-"], &text).unwrap_or_else(|error| panic!("{text}{error}"));
    }

    /// Sets keys below `/proc/sys/net`.
    pub fn sysctl(&self, keys: &'static [(&'static str, &'static str)]) {
        self.run(move || {
            for (key, value) in keys {
                fs::write(format!("/proc/sys/net/{key}"), value)
                    .unwrap_or_else(|error| panic!("{key}: {error}"));
            }
        });
    }

    /// Runs `nft -f -`, which has to accept the text.
    pub fn nft(&self, text: &str) {
        self.feed("nft", &["-f", "-"], text).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Runs a program with this standard input; returns what it prints, or its errors if it fails.
    pub fn feed(&self, program: &'static str, words: &[&str], input: &str) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let input = input.to_owned();
        self.run(move || {
            let mut command = Command::new(program);
            command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
            if output.status.success() { Ok(out) } else { Err(error) }
        })
    }

    /// What `nft list ruleset` prints.
    pub fn ruleset(&self) -> String {
        self.feed("nft", &["list", "ruleset"], "").unwrap()
    }

    /// The counters of the rules, for IPv4 and IPv6.
    pub fn counters(&self) -> [Option<ChainCounters>; 2] {
        counters::parse(&self.feed("nft", &["-j", "list", "counters"], "").unwrap()).unwrap()
    }
}

/// Everything; it ends when this is dropped.
pub struct Site {
    pub client: Namespace,
    pub router: Namespace,
    pub frontends: Vec<Namespace>,
    pub bridge: Namespace,
    servers: Vec<Option<Server>>,
    listens: ListenOn,
}

/// The MAC address of a frontend on the bridge.
pub fn mac(frontend: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, 0x10 + u8::try_from(frontend).unwrap()]
}

/// The addresses of a frontend on the bridge.
pub fn member(frontend: usize) -> (Ipv4Addr, Ipv6Addr) {
    let last = 0x10 + u8::try_from(frontend).unwrap();
    (Ipv4Addr::new(10, 0, 0, last), Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, last.into()))
}

impl Site {
    /// All servers run, all frontends have the router's routes, and none has rules.
    pub fn new(listens: ListenOn) -> Site {
        let [client, router, bridge] = [(); 3].map(|()| Namespace::new());
        let frontends: Vec<Namespace> = (0..FRONTENDS).map(|_| Namespace::new()).collect();
        bridge.ip(&["link add br0 type bridge mcast_snooping 0", "link set br0 up"]);
        let port = |name: &str, mac: &str, thread: i32| {
            bridge.ip(&[
                &format!("link add {name} type veth peer name eth0 address {mac} netns {thread}"),
                &format!("link set {name} master br0 up"),
            ]);
        };
        port("r", "02:00:00:00:00:01", router.thread);
        for (number, frontend) in frontends.iter().enumerate() {
            let (v4, v6) = member(number);
            port(&format!("f{number}"), &format!("02:00:00:00:00:1{number}"), frontend.thread);
            frontend.ip(&[
                "link set eth0 up",
                &format!("address add {v4}/24 dev eth0"),
                &format!("address add {v6}/64 dev eth0 nodad"),
                &format!("address add {VIP_V4}/32 dev lo"),
                &format!("address add {VIP_V6}/128 dev lo nodad"),
                "route add default via 10.0.0.1",
                "route add ::/0 via 2001:db8:10::1",
            ]);
            if listens == ListenOn::Address {
                frontend.sysctl(&[("ipv4/tcp_fwmark_accept", "1")]);
            }
        }
        router.sysctl(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/fib_multipath_hash_policy", "1"),
            ("ipv6/fib_multipath_hash_policy", "1"),
        ]);
        router.ip(&[
            "link set eth0 up",
            "address add 10.0.0.1/24 dev eth0",
            "address add 2001:db8:10::1/64 dev eth0 nodad",
            &format!("link add eth1 type veth peer name eth0 netns {}", client.thread),
            "link set eth1 up",
            "address add 198.51.100.1/24 dev eth1",
            "address add 2001:db8:51::1/64 dev eth1 nodad",
        ]);
        client.ip(&[
            "link set eth0 up",
            &format!("address add {CLIENT_V4}/24 dev eth0"),
            &format!("address add {CLIENT_V6}/64 dev eth0 nodad"),
            // Without delayed ACKs, an exchange is over when the answer is there.
            "route add default via 198.51.100.1 quickack 1",
            "route add ::/0 via 2001:db8:51::1 quickack 1",
        ]);
        let mut site = Site {
            client,
            router,
            frontends,
            bridge,
            servers: (0..FRONTENDS).map(|_| None).collect(),
            listens,
        };
        (0..FRONTENDS).for_each(|frontend| site.serve(frontend));
        site.until_connected();
        site
    }

    /// Waits until everybody reaches everybody: the bridge sends to a port at most a second after it came up.
    fn until_connected(&self) {
        for (number, frontend) in self.frontends.iter().enumerate() {
            let others = (0..FRONTENDS).filter(|other| *other != number).map(member);
            let others: Vec<IpAddr> = others.flat_map(|(v4, v6)| [v4.into(), v6.into()]).collect();
            frontend.run(move || others.into_iter().for_each(until_reachable));
        }
        for frontend in 0..FRONTENDS {
            self.routes(&[frontend]);
            self.client.run(|| VIPS.into_iter().for_each(until_reachable));
        }
        self.routes(&[0, 1, 2, 3]);
    }

    /// Starts the server of a frontend, for IPv4 and IPv6.
    pub fn serve(&mut self, frontend: usize) {
        let addresses = match self.listens {
            ListenOn::Wildcard => [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            ListenOn::Address => VIPS,
        };
        self.servers[frontend] = Some(self.frontends[frontend].run(move || Server::start(addresses)));
    }

    /// Ends the server of a frontend with all of its connections.
    pub fn kill(&mut self, frontend: usize) {
        self.servers[frontend] = None;
    }

    /// Makes the router send to these frontends.
    pub fn routes(&self, to: &[usize]) {
        let [v4, v6]: [String; 2] = [
            to.iter().map(|frontend| format!(" nexthop via {}", member(*frontend).0)).collect(),
            to.iter().map(|frontend| format!(" nexthop via {}", member(*frontend).1)).collect(),
        ];
        self.router
            .ip(&[format!("route replace {VIP_V4}/32{v4}"), format!("route replace {VIP_V6}/128{v6}")]);
    }

    /// The rules of one frontend which forwards to another one, in a ring of this length.
    pub fn rules(&self, frontend: usize, next: usize, length: usize) -> RuleSet {
        let ring = RingLength::new(length).unwrap();
        RuleSet {
            device: "eth0".parse().unwrap(),
            believed: BelievedSources::Macs(
                (0..FRONTENDS).filter(|other| *other != frontend).map(mac).collect(),
            ),
            budget: NonZeroU32::new(LARGE_BUDGET).unwrap(),
            forwarding: ForwardingSwitch::On,
            v4: FamilyRules {
                services: [((VIP_V4, PORT), self.listens)].into(),
                next: Some(NextMember { address: member(next).0, ring }),
            },
            v6: FamilyRules {
                services: [((VIP_V6, PORT), self.listens)].into(),
                next: Some(NextMember { address: member(next).1, ring }),
            },
        }
    }

    /// Installs the rules of a ring of these frontends, in this order.
    pub fn ring(&self, of: &[usize]) {
        self.ring_with(of, |_| {});
    }

    /// As [`Site::ring`], with a change of each host's rules.
    pub fn ring_with(&self, of: &[usize], change: impl Fn(&mut RuleSet)) {
        for (place, frontend) in of.iter().enumerate() {
            let mut rules = self.rules(*frontend, of[(place + 1) % of.len()], of.len());
            change(&mut rules);
            self.install(*frontend, &rules);
        }
    }

    /// Installs the rules of one frontend.
    pub fn install(&self, frontend: usize, rules: &RuleSet) {
        self.frontends[frontend].nft(&install(rules));
    }

    /// The counters of all frontends together; their index is 0 for IPv4 and 1 for IPv6.
    pub fn total(&self) -> [ChainCounters; 2] {
        let mut totals = [ChainCounters::default(); 2];
        for frontend in &self.frontends {
            for (total, own) in totals.iter_mut().zip(frontend.counters()) {
                let own = own.expect("the rules are installed");
                *total = ChainCounters::of(|counter| total.get(counter) + own.get(counter));
            }
        }
        totals
    }

    /// As [`Site::total`], when no packet has been counted for [`QUIET`].
    fn settled(&self) -> [ChainCounters; 2] {
        let mut last = self.total();
        let settled = until(PATIENCE, || {
            std::thread::sleep(QUIET);
            let total = self.total();
            if std::mem::replace(&mut last, total) == total { Ok(total) } else { Err(Box::new(total)) }
        });
        settled.unwrap_or_else(|total| panic!("packets without an end: {total:?}"))
    }

    /// What all frontends together count for a VIP's family because of this.
    pub fn counted<T>(&self, vip: IpAddr, cause: impl FnOnce() -> T) -> (T, ChainCounters) {
        let family = usize::from(vip.is_ipv6());
        let before = self.settled()[family];
        let result = cause();
        let after = self.settled()[family];
        (result, ChainCounters::of(|counter| after.get(counter) - before.get(counter)))
    }

    /// Opens connections to the VIP, and exchanges one octet on each; also returns how many were refused.
    pub fn connect(&self, vip: IpAddr, count: usize) -> (Flows, usize) {
        self.client.run(move || {
            let open = || TcpStream::connect_timeout(&SocketAddr::new(vip, PORT), PATIENCE);
            let mut flows = Flows((0..count).filter_map(|_| open().ok()).collect());
            flows.broken();
            let refused = count - flows.0.len();
            (flows, refused)
        })
    }

    /// As [`Site::connect`], when no connection may fail.
    pub fn flows(&self, vip: IpAddr, count: usize) -> Flows {
        let (flows, refused) = self.connect(vip, count);
        assert_eq!(refused, 0, "connections to {vip} that were refused");
        flows
    }
}

/// Connections of the client.
pub struct Flows(pub Vec<TcpStream>);

impl Flows {
    /// Exchanges one octet on each; drops those that are broken, and returns their number.
    pub fn broken(&mut self) -> usize {
        let before = self.0.len();
        self.0.retain_mut(|flow| exchange(flow).is_ok());
        before - self.0.len()
    }

    /// Sets the DSCP of what the client sends from now on.
    pub fn set_dscp(&self, dscp: u32) {
        for flow in &self.0 {
            let socket = socket2::SockRef::from(flow);
            match flow.peer_addr().unwrap() {
                SocketAddr::V4(_) => socket.set_tos_v4(dscp << 2).unwrap(),
                SocketAddr::V6(_) => socket.set_tclass_v6(dscp << 2).unwrap(),
            }
        }
    }

    /// Ends them, and waits until the server has ended them, too. Without a mark, their last packets would be counted.
    pub fn close(self) {
        for mut flow in self.0 {
            flow.set_read_timeout(Some(PATIENCE)).unwrap();
            flow.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(flow.read(&mut [0]).unwrap(), 0);
        }
    }
}

/// Connects until there is an answer, also a refusal. The connection is over afterwards.
fn until_reachable(address: IpAddr) {
    let connected = until(PATIENCE, || {
        match TcpStream::connect_timeout(&SocketAddr::new(address, PORT), PATIENCE / 20) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => Err(error),
            other => Ok(other.ok()),
        }
    });
    Flows(connected.unwrap_or_else(|error| panic!("{address}: {error}")).into_iter().collect()).close();
}

/// Sends an octet, and waits for it to come back.
fn exchange(flow: &mut TcpStream) -> std::io::Result<()> {
    flow.set_nodelay(true)?;
    flow.set_read_timeout(Some(PATIENCE))?;
    flow.write_all(b"x")?;
    flow.read_exact(&mut [0])
}

/// A server that sends back what it gets. It and its connections end when this is dropped.
struct Server {
    listeners: [std::net::TcpListener; 2],
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(addresses: [IpAddr; 2]) -> Server {
        let listeners = addresses.map(listener);
        let accepting = listeners.each_ref().map(|listener| listener.try_clone().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for listener in accepting {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    tokio::spawn(async move {
                        while let Ok((stream, _)) = listener.accept().await {
                            tokio::spawn(echo(stream));
                        }
                    });
                }
                let _ = stopped.await;
            });
        });
        Server { listeners, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process that another test starts has copies of our sockets until it runs its program: a close alone would leave these
        // listening.
        for listener in &self.listeners {
            socket2::SockRef::from(listener).shutdown(std::net::Shutdown::Both).unwrap();
        }
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn listener(address: IpAddr) -> std::net::TcpListener {
    let address = SocketAddr::new(address, PORT);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}

async fn echo(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    let mut octets = [0; 64];
    loop {
        let length = stream.read(&mut octets).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&octets[..length]).await?;
    }
}
