//! Tests with a socket of their own in the place of systemd, and with time that the tests move.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{advance, sleep};

use super::*;
use crate::bfd::io::MainTurns;
use crate::bgp::fsm::StateName;
use crate::bgp::io::session::{self, Local, SessionOrder, SessionReport};
use crate::config::{self, Config};
use crate::daemon::io::direct::{ChangeObservers, DirectorInputs, ProbeLoops, direct};
use crate::director::Director;
use crate::drain::Drains;
use crate::files::io::Files;
use crate::health::io::prober::Prober;
use crate::metrics::Tally;
use crate::model::{Liveness, RouterId};
use crate::rib::LocRib;
use crate::vip::Presence;
use crate::watchdog::{STUCK, Turns};

const SECOND: Duration = Duration::from_secs(1);

const CONFIG: &str = r#"
[bgp]
asn = 65001
[[peer]]
name = "r1"
address = "192.0.2.1"
asn = 65000
[[peer]]
name = "r2"
address = "192.0.2.2"
asn = 65000
[[service]]
name = "www"
vips = ["192.0.2.80", "192.0.2.81"]
[[service.check]]
tcp = 80
"#;

fn config() -> Arc<Config> {
    Arc::new(config::parse("test.toml", CONFIG).unwrap_or_else(|errors| panic!("{errors}")))
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// systemd's side of the socket.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> (Manager, Notifier) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let notifier = Notifier::new(path.to_str().unwrap(), Some(SECOND * 30)).unwrap();
        (Manager { socket, _folder: folder }, notifier)
    }

    fn received(&self) -> Vec<String> {
        let mut octets = [0; 512];
        std::iter::from_fn(|| {
            let length = self.socket.recv(&mut octets).ok()?;
            Some(String::from_utf8(octets[..length].to_vec()).unwrap())
        })
        .collect()
    }

    /// In how many of the next `seconds` it gets a sign of life.
    async fn fed(&self, seconds: u32) -> u32 {
        let mut fed = 0;
        for _ in 0..seconds {
            sleep(SECOND).await;
            fed += u32::from(self.received().iter().any(|message| message == "WATCHDOG=1"));
        }
        fed
    }
}

/// What a supervisor sees, for the tests to change.
struct Stage {
    answering: watch::Sender<bool>,
    numbers: watch::Sender<VipNumbers>,
    peers: watch::Sender<Peers>,
    fallback: watch::Sender<Option<Fallback>>,
    director: Turns,
    sessions: watch::Sender<SessionTurns>,
}

impl Stage {
    fn new(notifier: Notifier) -> (Stage, Supervisor) {
        let stage = Stage {
            answering: watch::Sender::new(false),
            numbers: watch::Sender::new(VipNumbers { vips: 2, advertised: 0, not_looked_for: 2 }),
            peers: watch::Sender::default(),
            fallback: watch::Sender::default(),
            director: Turns::new(now()),
            sessions: watch::Sender::default(),
        };
        let supervised = Supervised {
            answering: stage.answering.subscribe(),
            numbers: stage.numbers.subscribe(),
            peers: stage.peers.subscribe(),
            fallback: stage.fallback.subscribe(),
            directed: stage.director.last(),
            sessions: stage.sessions.subscribe(),
        };
        (stage, Supervisor::new(notifier, supervised))
    }
}

/// The main loop.
fn serve(mut supervisor: Supervisor) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let late = supervisor.wait().await;
            supervisor.turn(late);
        }
    })
}

#[tokio::test(start_paused = true)]
async fn ready_when_the_socket_answers_and_every_vip_was_looked_for_and_the_status_only_on_change() {
    let (manager, notifier) = Manager::new();
    let (stage, supervisor) = Stage::new(notifier);
    let _main = serve(supervisor);
    sleep(SECOND / 2).await;
    assert_eq!(manager.received(), ["STATUS=0 of 2 VIPs, no router is configured", "WATCHDOG=1"]);
    let ready = |messages: &[String]| messages.iter().any(|message| message == "READY=1");
    stage.answering.send_replace(true);
    sleep(SECOND / 10).await;
    assert!(!ready(&manager.received()), "VIPs were not looked for");
    stage.numbers.send_modify(|numbers| numbers.not_looked_for = 1);
    sleep(SECOND / 10).await;
    assert!(!ready(&manager.received()), "a VIP was not looked for");
    stage.numbers.send_modify(|numbers| numbers.not_looked_for = 0);
    sleep(SECOND / 10).await;
    assert!(ready(&manager.received()), "it does not wait for the next second");

    let config = config();
    let peers = config.peers.iter().map(|peer| {
        let mut report = SessionReport::new();
        if peer.name.as_str() == "r1" {
            report.state = StateName::Established;
        }
        (peer.clone(), watch::channel(report).1)
    });
    stage.peers.send_replace(Peers::new(peers.collect()));
    stage.numbers.send_modify(|numbers| numbers.advertised = 1);
    // A reload has added VIPs, which were not looked for.
    stage.numbers.send_modify(|numbers| (numbers.vips, numbers.not_looked_for) = (4, 2));
    let mut all = Vec::new();
    for _ in 0..20 {
        stage.director.turned(now());
        sleep(SECOND).await;
        all.extend(manager.received());
    }
    all.retain(|message| message != "WATCHDOG=1");
    assert_eq!(all, ["STATUS=1 of 4 VIPs, 1 of 2 routers"]);

    let (wrong, copy, none) = (vec!["a.toml".to_owned()], "b".to_owned(), Vec::new());
    let fallback = Fallback { wrong, unreadable: none, errors: 1, copy, unmentioned: Vec::new() };
    stage.fallback.send_replace(Some(fallback));
    sleep(SECOND).await;
    let with = "STATUS=1 of 4 VIPs, 1 of 2 routers; fallback configuration: `a.toml` had 1 error";
    assert!(manager.received().contains(&with.to_owned()));
}

/// The director's loop, with a hook's channel that the test reads or does not read.
fn director(
    turns: Turns,
) -> (mpsc::Sender<(std::net::IpAddr, Presence)>, mpsc::Receiver<Vec<crate::director::StandingChange>>) {
    let config = config();
    let director = Director::new(config.clone(), Drains::default(), now());
    let (hooks, changes) = mpsc::channel(1);
    let (vips_tx, vips) = mpsc::channel(16);
    // The other inputs stay open and empty.
    let (asks, asked) = mpsc::channel(1);
    let (facts, probed) = mpsc::channel(16);
    let (listeners, listening) = mpsc::channel(1);
    let (drains_tx, drains) = mpsc::channel(1);
    let (history, mut batches) = mpsc::channel(16);
    tokio::spawn(async move { while batches.recv().await.is_some() {} });
    let observers = ChangeObservers {
        tally: watch::Sender::new(Tally::new(&config)),
        samples: watch::Sender::new(crate::page::samples::Samples::default()),
        hooks,
        drains: watch::Sender::default(),
        history,
        states: watch::Sender::default(),
        numbers: watch::Sender::default(),
        turns,
        main_turns: MainTurns::new(),
    };
    let enough_others = watch::Sender::default().subscribe();
    let weights = watch::Sender::default().subscribe();
    let inputs = DirectorInputs { asked, probed, listening, vips, drains, enough_others, weights };
    let probes = ProbeLoops::new(Prober::new(Files::new()), facts);
    let rib = watch::Sender::new(Arc::new(LocRib::default()));
    tokio::spawn(async move {
        let _open = (asks, listeners, drains_tx);
        direct(director, probes, inputs, rib, watch::Sender::default(), observers, Box::new(|_| ())).await;
    });
    (vips_tx, changes)
}

#[tokio::test(start_paused = true)]
async fn a_director_that_is_blocked_starves_the_watchdog_and_an_idle_one_feeds_it() {
    let (manager, notifier) = Manager::new();
    let (stage, supervisor) = Stage::new(notifier);
    let (vips, mut changes) = director(stage.director.clone());
    let _main = serve(supervisor);
    assert_eq!(manager.fed(60).await, 60, "nothing happens, and all loops turn");
    // Three changes, and a reader that takes none: the director waits at the second.
    for presence in
        [Presence::Missing("as a test".into()), Presence::Present, Presence::DeviceDown("as a test".into())]
    {
        vips.send(("192.0.2.80".parse().unwrap(), presence)).await.unwrap();
        sleep(SECOND / 10).await;
    }
    let fed = manager.fed(60).await;
    assert!(fed <= u32::try_from(STUCK.as_secs()).unwrap() + 1, "fed for {fed} s");
    assert_eq!(manager.fed(30).await, 0);
    tokio::spawn(async move { while changes.recv().await.is_some() {} });
    assert!(manager.fed(30).await >= 28, "it goes on");
}

/// A future that is not polled while `frozen` is set, as if its loop did not turn.
async fn freezable(frozen: Arc<AtomicBool>, future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match frozen.load(Ordering::Relaxed) {
        true => std::task::Poll::Pending,
        false => future.as_mut().poll(context),
    })
    .await;
}

/// A session with a router that does not exist.
fn session(
    frozen: Arc<AtomicBool>,
    turns: Turns,
) -> (watch::Sender<SessionOrder>, watch::Sender<Arc<LocRib>>) {
    let config = config();
    let local = Local {
        asn: config.bgp.asn,
        router_id: RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 1, 11)).unwrap(),
        graceful_restart: None,
        restarted: false,
        vips: watch::channel(Arc::default()).1,
        network: watch::channel(Arc::default()).1,
        routers: watch::channel(Arc::default()).1,
        files: Files::new(),
        turns,
        continuation: crate::bgp::io::resume::Continuation::none(),
    };
    let mut peer = config.peers[0].clone();
    peer.address = config::PeerAddress::Ip("127.0.0.1".parse().unwrap());
    peer.port = 1; // nobody listens there
    let (order, orders) = watch::channel(SessionOrder::Run);
    let rib = watch::Sender::new(Arc::new(LocRib::default()));
    let ribs = rib.subscribe();
    tokio::spawn(async move {
        let (_alive, liveness) = watch::channel(Liveness::default());
        let (_peer, peers) = watch::channel(Arc::new(peer));
        let reports = watch::Sender::new(SessionReport::new());
        freezable(frozen, session::run(local, peers, ribs, liveness, orders, reports)).await;
    });
    (order, rib)
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_blocked_starves_the_watchdog_and_one_that_was_removed_does_not() {
    let (manager, notifier) = Manager::new();
    let (stage, supervisor) = Stage::new(notifier);
    let (_vips, _changes) = director(stage.director.clone());
    let (frozen, blocked) = (Arc::new(AtomicBool::new(false)), Turns::new(now()));
    let _blocked = session(frozen.clone(), blocked.clone());
    let good = Turns::new(now());
    let _good = session(Arc::default(), good.clone());
    let both = [("r1", &blocked), ("r2", &good)];
    stage
        .sessions
        .send_replace(both.into_iter().map(|(name, turns)| (name.parse().unwrap(), turns.last())).collect());
    let _main = serve(supervisor);
    assert_eq!(manager.fed(60).await, 60);
    frozen.store(true, Ordering::Relaxed);
    let fed = manager.fed(60).await;
    assert!(fed <= u32::try_from(STUCK.as_secs()).unwrap() + 2, "fed for {fed} s");
    stage.sessions.send_modify(|sessions| sessions.retain(|(name, _)| name.as_str() != "r1"));
    assert!(manager.fed(30).await >= 29, "the session was removed from the configuration");
}

#[tokio::test(start_paused = true)]
async fn after_a_freeze_of_the_host_the_sign_of_life_comes_at_once() {
    let (manager, notifier) = Manager::new();
    let (stage, mut supervisor) = Stage::new(notifier);
    for _ in 0..2 {
        let late = supervisor.wait().await;
        supervisor.turn(late);
    }
    manager.received();
    advance(SECOND * 20).await;
    let late = supervisor.wait().await;
    assert!(late >= SECOND * 19, "{late:?}");
    supervisor.turn(late);
    assert_eq!(manager.received(), ["WATCHDOG=1"], "although no other loop has turned yet");
    // A director that does not go on after the freeze is noticed all the same.
    let mut fed = 0;
    for _ in 0..30 {
        let late = supervisor.wait().await;
        supervisor.turn(late);
        fed += manager.received().len();
    }
    assert_eq!(fed, 0, "{:?}", stage.director.last().age(now()));
}

#[tokio::test(start_paused = true)]
async fn a_long_stop_feeds_the_watchdog_and_says_nothing_else() {
    let (manager, notifier) = Manager::new();
    let (stage, mut supervisor) = Stage::new(notifier);
    let (_vips, _changes) = director(stage.director.clone());
    stage.answering.send_replace(true);
    tokio::spawn(async move { supervisor.feed_while_stopping().await });
    let mut all = Vec::new();
    for _ in 0..60 {
        sleep(SECOND).await;
        all.extend(manager.received());
    }
    assert!(all.len() >= 60 && all.iter().all(|message| message == "WATCHDOG=1"), "{all:?}");
}
