//! Measures 5,000 VIPs with 8 peers: the cost to announce, withdraw and announce them again, all at once and one by one, and the
//! effect on the other peers when one peer stops reading. Before that, it starts a daemon with 3,000 VIPs that are not on lo. It
//! prints numbers and does not judge them.
//!
//! The speaker is this process, with the same tasks as in the daemon: one thread, the director, one session per peer. The routers
//! are another process, so that CPU and memory are only those of the speaker. They report by pipe how many prefixes they have read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../tests/daemon/mod.rs"]
mod daemon;
#[path = "scale/lo.rs"]
mod lo;
#[path = "scale/routers.rs"]
mod routers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use announcer::bgp::fsm::StateName;
use announcer::bgp::io::peers::Peers;
use announcer::bgp::io::session::{self, Local, SessionOrder, SessionReport};
use announcer::config::kind::http;
use announcer::config::{self, Config, PeerAddress};
use announcer::director::{Director, Fact};
use announcer::drain::Drains;
use announcer::health::ProbeFact;
use announcer::health::outcome::{Outcome, Reason};
use announcer::model::Liveness;
use announcer::rib::LocRib;
use announcer::vip::Presence;
use routers::Routers;
use tokio::sync::watch;

const VIPS: u32 = 5000;
const SERVICES: u32 = 50;
const PEERS: usize = 8;
/// How many VIPs fail one after the other.
const SINGLES: usize = 500;

fn main() {
    if std::env::args().any(|argument| argument == "routers") {
        return routers::serve();
    }
    lo::measure();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(bench());
}

/// Half of the VIPs are IPv4. Each service has its own community, and therefore its own UPDATEs.
fn text(ports: &[u16]) -> String {
    let mut text = "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n".to_owned();
    for (peer, port) in ports.iter().enumerate() {
        write!(
            text,
            "[[peer]]\nname = \"r{peer}\"\naddress = \"10.0.1.{}\"\nport = {port}\nasn = 65000\nhold_time = \"90s\"\n\
             next_hop_v6 = \"2001:db8:1::11\"\n",
            peer + 1
        )
        .unwrap();
    }
    let each = VIPS / SERVICES;
    for service in 0..SERVICES {
        let vips = (service * each..(service + 1) * each).map(|n| match n % 2 {
            0 => IpAddr::from(Ipv4Addr::from(0x0a14_0000 + n)),
            _ => IpAddr::from(Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0014_0000 + u128::from(n))),
        });
        let vips: Vec<String> = vips.map(|vip| format!("\"{vip}\"")).collect();
        write!(
            text,
            "[[service]]\nname = \"s{service}\"\nvips = [{}]\nflap_damping = false\ncommunities = [\"65001:{service}\"]\n\
             [[service.check]]\nhttp = \"http://www.example.com/\"\ninterval = \"1h\"\nrise = 1\nfall = 1\n",
            vips.join(", ")
        )
        .unwrap();
    }
    text
}

/// The speaker, with a stopwatch.
struct BenchSpeaker {
    config: Arc<Config>,
    director: Director,
    rib: watch::Sender<Arc<LocRib>>,
    peers: Peers,
    routers: Routers,
    sequence: u64,
}

async fn bench() {
    let routers = Routers::spawn();
    let began = Stopwatch::start();
    let mut config = config::parse("scale", &text(&routers.ports)).unwrap_or_else(|e| panic!("{e}"));
    began.say("configuration parsed", 0, "");
    // A configuration cannot name a router on the host itself, but these routers are there.
    for (number, peer) in config.peers.iter_mut().enumerate() {
        peer.address = PeerAddress::Ip(Ipv4Addr::new(127, 0, 0, u8::try_from(number + 1).unwrap()).into());
    }
    let config = Arc::new(config);
    let director = Director::new(Arc::clone(&config), Drains::default(), Instant::now());
    let (rib, ribs) = watch::channel(Arc::new(LocRib::default()));
    let (_order, orders) = watch::channel(SessionOrder::Run);
    let (_liveness, alive) = watch::channel(Liveness::default());
    let (_vips, vips) = watch::channel(Arc::new(config.vips().map(|(vip, _)| vip).collect()));
    let mut peers = Vec::new();
    for peer in &config.peers {
        let (status_tx, status) = watch::channel(SessionReport::new());
        peers.push((peer.clone(), status));
        let local = Local {
            asn: config.bgp.asn,
            router_id: config.bgp.router_id.unwrap(),
            graceful_restart: None,
            restarted: false,
            vips: vips.clone(),
            network: watch::channel(Arc::default()).1,
            routers: watch::channel(Arc::default()).1,
            files: announcer::files::io::Files::new(),
            turns: announcer::watchdog::Turns::new(std::time::Instant::now()),
            continuation: announcer::bgp::io::resume::Continuation::none(),
        };
        let (_, peer) = watch::channel(Arc::new(peer.clone()));
        tokio::spawn(session::run(local, peer, ribs.clone(), alive.clone(), orders.clone(), status_tx));
    }
    for (_, status) in &peers {
        status.clone().wait_for(|status| status.state == StateName::Established).await.unwrap();
    }
    let mut speaker = BenchSpeaker { config, director, rib, peers: Peers::new(peers), routers, sequence: 0 };
    println!("{PEERS} sessions up, nothing announced: {}", memory());
    speaker.run().await;
}

impl BenchSpeaker {
    async fn run(&mut self) {
        let vips: Vec<IpAddr> = self.config.vips().map(|(vip, _)| vip).collect();
        let whole = vips.len();
        // As in the daemon, there is one decision for each VIP that is found.
        let watch = Stopwatch::start();
        for vip in &vips {
            let _ = self.director.handle(Fact::Vip(*vip, Presence::Present), Instant::now());
            self.director.rib();
        }
        watch.say("VIPs found, one by one", 0, "");
        let watch = Stopwatch::start();
        for chunk in vips.chunks(1024) {
            chunk.iter().for_each(|vip| self.probe(*vip, true));
            self.director.rib();
        }
        watch.say("first verdicts, 1,024 at a time", 0, "");

        self.phase("announced", whole).await;
        for _ in 0..2 {
            self.drain(true);
            self.phase("withdrawn (drain of all)", 0).await;
            self.drain(false);
            self.phase("announced again", whole).await;
        }
        println!("all announced: {}", memory());

        let measured = self.wire();
        let (before, watch) = (self.messages(), Stopwatch::start());
        for (count, vip) in vips[..SINGLES].iter().enumerate() {
            self.probe(*vip, false);
            self.publish();
            self.acknowledged().await;
            self.routers.until(whole - count - 1, 0).await;
        }
        let each = watch.began.elapsed() / u32::try_from(SINGLES).unwrap();
        watch.say(
            &format!("{SINGLES} VIPs withdrawn one after the other"),
            self.messages() - before,
            &format!(", {each:.1?} each until the last router has read it"),
        );
        self.say_wire(&measured);
        vips[..SINGLES].iter().for_each(|vip| self.probe(*vip, true));
        self.phase("and announced again", whole).await;

        // All VIPs flap together: once while every router reads, and once while one does not read.
        for (name, stuck) in [("8 of 8 routers read", 0), ("7 of 8 routers read", 1)] {
            if stuck > 0 {
                self.routers.order("stop");
            }
            let (before, watch, mut worst) = (self.messages(), Stopwatch::start(), Duration::ZERO);
            for _ in 0..100 {
                for (on, want) in [(true, 0), (false, whole)] {
                    let began = Instant::now();
                    self.drain(on);
                    self.publish();
                    self.routers.until(want, stuck).await;
                    worst = worst.max(began.elapsed());
                }
            }
            let detail = format!(", worst of 200 times until those have read all: {worst:.1?}");
            watch.say(&format!("100 drains and undrains of all, {name}"), self.messages() - before, &detail);
            println!("  {}", memory());
        }
        // The sessions ask the kernel for acknowledgements at least every 50 ms.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let states: Vec<StateName> = self.peers.iter().map(|(_, status)| status.state).collect();
        assert!(states.iter().all(|state| *state == StateName::Established), "{states:?}");
        println!(
            "  all sessions are up; behind: {:?}",
            self.peers.unacknowledged(self.rib.borrow().generation)
        );
        self.routers.order("go");
        let watch = Stopwatch::start();
        self.acknowledged().await;
        self.routers.until(whole, 0).await;
        watch.say("the router that had stopped has it all", 0, "");
    }

    /// Publishes the decisions, and waits until the last router has read them.
    async fn phase(&mut self, name: &str, want: usize) {
        let (before, watch) = (self.messages(), Stopwatch::start());
        self.publish();
        self.acknowledged().await;
        let took = watch.began.elapsed();
        self.routers.until(want, 0).await;
        watch.say(name, self.messages() - before, &format!(", acknowledged by all kernels after {took:.1?}"));
    }

    fn publish(&mut self) {
        let rib = self.director.rib();
        self.rib.send_replace(rib);
    }

    async fn acknowledged(&self) {
        let generation = self.rib.borrow().generation;
        self.peers.acknowledged(generation).await;
    }

    fn messages(&self) -> u64 {
        self.peers.iter().map(|(_, status)| status.sent.update).sum()
    }

    /// The sessions' own histogram of the delay from a verdict to the wire: the count for each bound, and the count above the last
    /// bound.
    fn wire(&self) -> BTreeMap<Option<Duration>, u64> {
        let mut all = BTreeMap::new();
        for (_, status) in self.peers.iter() {
            status.wire.buckets().for_each(|(bound, count)| *all.entry(bound).or_default() += count);
        }
        all
    }

    /// Prints the delays since `before`, as the bounds for 50 %, 99 % and 100 % of them.
    fn say_wire(&self, before: &BTreeMap<Option<Duration>, u64>) {
        let new: Vec<(Option<Duration>, u64)> =
            self.wire().into_iter().map(|(bound, count)| (bound, count - before[&bound])).collect();
        // `None` is the count above the last bound. It sorts first.
        let (beyond, within) = new.split_first().unwrap();
        let whole: u64 = new.iter().map(|(_, count)| count).sum();
        let bound = |percent: u64| {
            let mut left = (whole * percent).div_ceil(100);
            let found = within.iter().find(|(_, count)| {
                left = left.saturating_sub(*count);
                left == 0
            });
            found.and_then(|(bound, _)| *bound).map_or("beyond".to_owned(), |bound| format!("{bound:.1?}"))
        };
        let (half, most, all) = (bound(50), bound(99), bound(100));
        println!(
            "verdict to wire, {whole} times: p50 {half}, p99 {most}, all {all} at most; {} beyond",
            beyond.1
        );
    }

    fn drain(&mut self, all: bool) {
        let files = all.then(|| ("_all".to_owned(), Ok(String::new())));
        let _ = self.director.handle(Fact::Drains(Drains::from_files(files)), Instant::now());
    }

    fn probe(&mut self, vip: IpAddr, pass: bool) {
        self.sequence += 1;
        let took = Duration::from_millis(1);
        let outcome = match pass {
            true => Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took },
            false => Outcome::Fail { reason: Reason::Refused, took },
        };
        let service = self.config.vips().find(|(address, _)| *address == vip).unwrap().1.name.clone();
        let now = Instant::now();
        let probed = ProbeFact { service, vip, check: 0, sequence: self.sequence, outcome, at: now };
        let _ = self.director.handle(Fact::Probed(probed), now);
    }
}

/// Wall clock and CPU time of this thread. The whole speaker runs on it.
struct Stopwatch {
    began: Instant,
    cpu: Duration,
}

impl Stopwatch {
    fn start() -> Self {
        Stopwatch { began: Instant::now(), cpu: cpu() }
    }

    fn say(&self, name: &str, messages: u64, detail: &str) {
        let (took, cpu) = (self.began.elapsed(), cpu() - self.cpu);
        println!("{name}: {took:.1?}, CPU {cpu:.1?}, {messages} UPDATEs{detail}");
    }
}

fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    format!("PSS {}", lines["Pss"].trim())
}
