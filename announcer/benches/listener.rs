//! Measures the cost of the listener watch, and how soon it notices a crash: `cargo bench -p announcer --bench listener`.
//!
//! It uses real sockets on loopback. Only the watch runs on its thread.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use announcer::health::io::listener::{self, ListenerReport};
use announcer::health::watch::{VipPort, WatchPlan};
use announcer::health::{ListenerFact, WatchSpec};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

const EVERY: Duration = Duration::from_millis(5);
const MEASURED: Duration = Duration::from_secs(4);
const CRASHES: usize = 21;

/// The listening sockets of the VIPs.
#[derive(Clone, Copy)]
enum ListenerKind {
    /// One socket on the wildcard address.
    Wildcard,
    /// Each VIP has its own sockets, this many.
    Apart(usize),
}

fn main() {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, limit, limit).unwrap();
    println!("{:<38} {:>8} {:>8} {:>9} {:>16}", "", "how", "period", "core", "crash known");
    for (what, vips, served) in [
        ("1 VIP, its own listener", 1, ListenerKind::Apart(1)),
        ("29 VIPs, one wildcard listener", 29, ListenerKind::Wildcard),
        ("30 VIPs, one wildcard listener", 30, ListenerKind::Wildcard),
        ("100 VIPs, one wildcard listener", 100, ListenerKind::Wildcard),
        ("100 VIPs, 100 listeners", 100, ListenerKind::Apart(1)),
        ("1,000 VIPs, one wildcard listener", 1000, ListenerKind::Wildcard),
        ("1,000 VIPs, 1,000 listeners", 1000, ListenerKind::Apart(1)),
        ("1,000 VIPs, 4,000 with SO_REUSEPORT", 1000, ListenerKind::Apart(4)),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(measure(what, vips, served));
    }
}

fn listen(ip: IpAddr, port: u16) -> TcpListener {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

fn vip(index: usize) -> IpAddr {
    Ipv4Addr::new(127, 7, u8::try_from(index / 250).unwrap(), u8::try_from(index % 250 + 1).unwrap()).into()
}

async fn measure(what: &str, vips: usize, served: ListenerKind) {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let first = listen(if let ListenerKind::Wildcard = served { any } else { vip(0) }, 0);
    let port = first.local_addr().unwrap().port();
    let serve = || -> Vec<Vec<TcpListener>> {
        match served {
            ListenerKind::Wildcard => vec![vec![listen(any, port)]],
            ListenerKind::Apart(each) => {
                (0..vips).map(|index| (0..each).map(|_| listen(vip(index), port)).collect()).collect()
            }
        }
    };
    let mut servers = serve();
    drop(first);
    let pairs: BTreeMap<VipPort, WatchSpec> =
        (0..vips).map(|index| ((vip(index), port), WatchSpec { grace: Duration::ZERO, up: true })).collect();
    let (_wanted, wants) = watch::channel(Arc::new(WatchPlan { every: EVERY, pairs, vrfs: BTreeMap::new() }));
    let (facts_tx, mut facts) = mpsc::channel::<ListenerFact>(4096);
    let (say, mut report) = watch::channel(ListenerReport::default());
    let task = tokio::spawn(listener::run(wants, facts_tx, say));
    report.wait_for(|report| report.pairs == vips && report.disarmed.is_empty()).await.unwrap();
    sleep(Duration::from_secs(1)).await;

    let (began, used) = (Instant::now(), busy());
    sleep(MEASURED).await;
    let core = (busy() - used).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let ListenerReport { period, how, .. } = report.borrow().clone();

    // The time counts until the last VIP of the crash was reported.
    let concerned = if let ListenerKind::Wildcard = served { vips } else { 1 };
    let mut known = Vec::new();
    for crash in 0..CRASHES {
        sleep(Duration::from_micros(20_000 + 777 * crash as u64)).await;
        let lost = servers.pop().unwrap();
        let at = lost[0].local_addr().unwrap();
        let again = lost.len();
        let crashed = Instant::now();
        drop(lost);
        for _ in 0..concerned {
            let fact = timeout(Duration::from_secs(5), facts.recv()).await.unwrap().unwrap();
            assert!(!fact.listening);
        }
        known.push(crashed.elapsed());
        servers.push((0..again).map(|_| listen(at.ip(), port)).collect());
        for _ in 0..concerned {
            assert!(timeout(Duration::from_secs(5), facts.recv()).await.unwrap().unwrap().listening);
        }
        report.wait_for(|report| report.disarmed.is_empty()).await.unwrap();
    }
    known.sort();
    println!(
        "{what:<38} {:>8} {:>8} {core:>7.1} % {:>16}",
        how.unwrap().word(),
        format!("{period:?}"),
        format!("{:.1} ms", known[CRASHES / 2].as_secs_f64() * 1000.0),
    );
    task.abort();
}

fn busy() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}
