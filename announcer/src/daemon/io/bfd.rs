//! BFD with the peers that are configured for it: which sessions the thread runs, and what the daemon hears of them.
//!
//! Touches rtnetlink, through [`dial::ends`], and the thread. A session keeps its ends while BGP or BFD is up over them, so that a
//! route that moves does not end it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::error;

use super::takeover::StartedBfd;
use super::tasks::OwnedTask;
use crate::bfd::fsm::BfdSettings;
use crate::bfd::io::{
    self as thread, BfdOrder, BfdThread, InheritedBfd, LONGEST_STOP, MainTurns, ThreadReport, Wanted,
};
use crate::bfd::packet::BfdState;
use crate::bfd::status::{BfdPeerReport, BfdReport, Ends, VrfDevice};
use crate::bgp::discovery::LearntRouters;
use crate::bgp::fsm::StateName;
use crate::bgp::hint::PeerLocation;
use crate::bgp::io::dial::{self, PeerEnds};
use crate::bgp::io::peers::Peers;
use crate::config::{BfdConfig, Config, PeerAddress, PeerConfig};
use crate::model::PeerName;
use crate::realtime::io::RealtimeThread;
use crate::takeover::io::exec::without_signals;

/// How often the ends of sessions are compared with those of BGP.
const TURN: Duration = Duration::from_secs(1);
/// How often the ends of a session that is not up are looked up again.
const LOOK: Duration = Duration::from_secs(5);
/// The wait before a thread that has ended by itself is started again.
const RESTART: Duration = Duration::from_secs(1);

/// The channels of the task.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct BfdChannels {
    pub(in crate::daemon) configs: watch::Receiver<Arc<Config>>,
    pub(in crate::daemon) vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// The routers that are learnt from their advertisements.
    pub(in crate::daemon) routers: watch::Receiver<Arc<LearntRouters>>,
    pub(in crate::daemon) peers: watch::Receiver<Peers>,
    /// When it is `true`, the sessions go to AdminDown and the task ends.
    pub(in crate::daemon) stop: watch::Receiver<bool>,
    pub(in crate::daemon) status: watch::Sender<Arc<BfdReport>>,
    /// The thread that has been started with the sessions of the former process.
    pub(in crate::daemon) started: Arc<Mutex<Option<StartedBfd>>>,
    /// The thread on which BFD runs.
    pub(in crate::daemon) realtime: RealtimeThread,
    /// The turns of the main thread. The director's loop writes them too, also in the middle of a reload.
    pub(in crate::daemon) turns: MainTurns,
    /// The last report of the thread, with the sockets and sessions that another process can continue.
    pub(in crate::daemon) report: watch::Sender<Option<Arc<ThreadReport>>>,
}

/// Runs the sessions until `stop`. Sessions of the former process that the configuration does not want any more go to AdminDown.
pub(in crate::daemon) async fn keep(mut channels: BfdChannels) {
    let started = channels.started.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut keeper = started.map_or_else(BfdKeeper::default, BfdKeeper::with);
    loop {
        if *channels.stop.borrow_and_update() {
            return keeper.stop().await;
        }
        let config = Arc::clone(&channels.configs.borrow_and_update());
        keeper.follow(&config, &channels).await;
        keeper.order(&channels);
        keeper.publish(&channels);
        tokio::select! {
            report = next_report(&mut keeper.running) => match report {
                Some(report) => keeper.last = Some(Arc::new(report)),
                None => {
                    error!("BFD thread ended, starts again in a second");
                    keeper.running = None;
                    keeper.last = None;
                    keeper.ordered = None;
                    sleep(RESTART).await;
                }
            },
            changed = channels.configs.changed() => if changed.is_err() { return },
            () = sleep(TURN) => {}
            changed = channels.stop.changed() => if changed.is_err() { return },
        }
    }
}

/// The next report; `None`: the thread has ended. Without a thread it waits for ever.
async fn next_report(running: &mut Option<RunningThread>) -> Option<ThreadReport> {
    match running {
        Some(running) => running.thread.reports.recv().await,
        None => std::future::pending().await,
    }
}

/// The thread, and the task that says that the main thread turns.
struct RunningThread {
    thread: BfdThread,
    since: Instant,
    _beat: OwnedTask,
}

/// What is known of one peer.
struct PeerEntry {
    config: PeerConfig,
    bfd: BfdConfig,
    /// The last look, and when it was.
    ends: Result<PeerEnds, String>,
    looked: Instant,
}

impl RunningThread {
    fn new(thread: BfdThread, turns: MainTurns) -> Self {
        turns.turned();
        let beat = OwnedTask::new("BFD lease".into(), move || beat(turns.clone()));
        RunningThread { thread, since: Instant::now(), _beat: beat }
    }
}

#[derive(Default)]
struct BfdKeeper {
    peers: BTreeMap<PeerName, PeerEntry>,
    running: Option<RunningThread>,
    /// The sessions of the last order; `None`: the thread runs with what it has inherited.
    ordered: Option<Vec<Wanted>>,
    last: Option<Arc<ThreadReport>>,
    /// The ends of the sessions of the former process, until their peers are known.
    found: BTreeMap<PeerName, Ends>,
}

impl BfdKeeper {
    /// With the sessions of the former process.
    fn with(started: StartedBfd) -> Self {
        let StartedBfd { thread, turns, sessions, .. } = started;
        BfdKeeper {
            running: Some(RunningThread::new(thread, turns)),
            found: sessions.into_iter().map(|session| (session.name, session.ends)).collect(),
            ..BfdKeeper::default()
        }
    }

    /// Takes the configuration, and looks up the ends of sessions where that is due.
    async fn follow(&mut self, config: &Config, channels: &BfdChannels) {
        self.peers.retain(|name, entry| {
            let still = config.peers.iter().find(|peer| peer.name == *name);
            // With another address or interface, everything is looked up anew.
            still.is_some_and(|peer| peer.bfd.is_some() && way(peer) == way(&entry.config))
        });
        let vips = Arc::clone(&channels.vips.borrow());
        let routers = Arc::clone(&channels.routers.borrow());
        let established: BTreeMap<PeerName, (IpAddr, IpAddr)> = {
            let peers = channels.peers.borrow();
            let ends = peers.iter().filter(|(_, status)| status.state == StateName::Established);
            let ends = ends.filter_map(|(peer, status)| {
                Some((peer.name.clone(), (status.peer_address?, status.local_address?.ip())))
            });
            ends.collect()
        };
        for peer in &config.peers {
            let Some(bfd) = peer.bfd.clone() else { continue };
            let is_up = self.session_is_up(&peer.name);
            let of_bgp = established.get(&peer.name);
            let now = Instant::now();
            match self.peers.get_mut(&peer.name) {
                None => {
                    let former = self.found.remove(&peer.name);
                    let ends = match former.and_then(|ends| former_ends(&ends, peer)) {
                        Some(ends) => Ok(ends),
                        None => look(peer, &vips, &routers, of_bgp).await,
                    };
                    let entry = PeerEntry { config: peer.clone(), bfd, ends, looked: now };
                    self.peers.insert(peer.name.clone(), entry);
                }
                Some(entry) => {
                    (entry.config, entry.bfd) = (peer.clone(), bfd);
                    if is_due(entry, of_bgp, is_up, now) {
                        (entry.ends, entry.looked) = (look(peer, &vips, &routers, of_bgp).await, now);
                    }
                }
            }
        }
    }

    fn session_is_up(&self, name: &PeerName) -> bool {
        let session = self.last.as_ref().and_then(|report| report.sessions.get(name));
        session.is_some_and(|session| session.state == BfdState::Up)
    }

    /// Tells the thread which sessions are wanted, if that has changed. Starts it with the first one.
    fn order(&mut self, channels: &BfdChannels) {
        let BfdChannels { turns, realtime, .. } = channels;
        let wanted: Vec<Wanted> = self.peers.values().filter_map(PeerEntry::wanted).collect();
        if self.running.is_none() && !wanted.is_empty() {
            turns.turned();
            match without_signals(|| thread::start(realtime, turns.clone(), InheritedBfd::default())) {
                Ok(thread) => {
                    self.running = Some(RunningThread::new(thread, turns.clone()));
                    self.ordered = Some(Vec::new());
                }
                Err(error) => return error!(%error, "BFD thread was not started"),
            }
        }
        let Some(running) = &self.running else { return };
        // An inherited session is not ended at once because its route is not known yet.
        let all_known = self.peers.values().all(|entry| entry.ends.is_ok()) || running.since.elapsed() > LOOK;
        if self.ordered.as_ref().map_or(all_known, |ordered| *ordered != wanted) {
            // If the thread has ended, the next report says so.
            let _ = running.thread.orders.send(BfdOrder::Sessions(wanted.clone()));
            self.ordered = Some(wanted);
        }
    }

    fn publish(&self, channels: &BfdChannels) {
        let peers = self.peers.iter().map(|(name, entry)| (name.clone(), self.status(name, entry))).collect();
        let status = match &self.last {
            None => BfdReport { peers, ..BfdReport::default() },
            Some(report) => BfdReport {
                scheduling: Some(report.scheduling.clone()),
                withheld: report.withheld,
                closed_ports: report.closed_ports.clone(),
                drops: report.drops.clone(),
                peers,
            },
        };
        channels.status.send_if_modified(|known| {
            let changed = **known != status;
            if changed {
                *known = Arc::new(status);
            }
            changed
        });
        channels.report.send_replace(self.last.clone());
    }

    fn status(&self, name: &PeerName, entry: &PeerEntry) -> BfdPeerReport {
        let routed = matches!(&entry.ends, Ok(ends) if ends.location == PeerLocation::Routed);
        let session = match &entry.ends {
            Err(why) => Err(why.clone()),
            Ok(_) => {
                let session = self.last.as_ref().and_then(|report| report.sessions.get(name));
                session.cloned().ok_or_else(|| "it starts".to_owned())
            }
        };
        BfdPeerReport { strict: entry.bfd.strict, too_far: routed && entry.config.multihop == 1, session }
    }

    /// Says AdminDown to all routers, and waits for the end of the thread.
    async fn stop(mut self) {
        let Some(RunningThread { mut thread, _beat, .. }) = self.running.take() else { return };
        let _ = thread.orders.send(BfdOrder::Stop);
        let ended = async { while thread.reports.recv().await.is_some() {} };
        let _ = timeout(LONGEST_STOP * 2, ended).await; // it ends by itself; a thread that hangs ends with the process
    }
}

impl PeerEntry {
    fn wanted(&self) -> Option<Wanted> {
        let ends = self.ends.as_ref().ok()?;
        let vrf = match (&self.config.vrf, ends.vrf) {
            (None, _) => None,
            (Some(name), Some(index)) => Some(VrfDevice { name: name.clone(), index }),
            (Some(_), None) => return None,
        };
        Some(Wanted {
            name: self.config.name.clone(),
            ends: Ends {
                local: ends.local,
                peer: ends.peer,
                interface: ends.interface,
                device: self.config.device().map(str::to_owned),
                vrf,
                hops: self.config.multihop,
                least_ttl: least_ttl(&self.config),
            },
            settings: BfdSettings { interval: self.bfd.interval, multiplier: self.bfd.multiplier },
        })
    }
}

/// The ends of a session of the former process; `None` if the peer is in another VRF now.
fn former_ends(ends: &Ends, peer: &PeerConfig) -> Option<PeerEnds> {
    if ends.vrf_name() != peer.vrf.as_deref() {
        return None;
    }
    let location = if ends.hops > 1 { PeerLocation::Routed } else { PeerLocation::OnLink };
    let vrf = ends.vrf.as_ref().map(|vrf| vrf.index);
    Some(PeerEnds { peer: ends.peer, local: ends.local, interface: ends.interface, vrf, location })
}

/// The lowest TTL of the router's packets. A packet of 255 loses one at each router on the way (RFC 5082 §3).
fn least_ttl(peer: &PeerConfig) -> u8 {
    if peer.multihop == 1 || peer.ttl_security { u8::MAX - (peer.multihop - 1) } else { 1 }
}

/// The keys that decide about the ends of a session.
fn way(peer: &PeerConfig) -> impl PartialEq {
    (peer.address, peer.interface.clone(), peer.vrf.clone(), peer.source_address)
}

/// Whether the ends of a session are looked up again: if BGP uses others, or if neither BGP nor BFD works over them. The sockets of BGP
/// prove nothing of those of BFD when both are bound to a device that was created again in between.
fn is_due(entry: &PeerEntry, of_bgp: Option<&(IpAddr, IpAddr)>, is_up: bool, now: Instant) -> bool {
    let age = now.saturating_duration_since(entry.looked);
    match (&entry.ends, of_bgp) {
        (Ok(ends), Some((peer, local))) => {
            let is_bound = entry.config.device().is_some();
            (ends.peer, ends.local) != (*peer, *local) || (is_bound && !is_up && age >= LOOK)
        }
        (Ok(_), None) => !is_up && age >= LOOK,
        (Err(_), _) => age >= TURN,
    }
}

/// Looks up the ends. Those of an established BGP session come first.
async fn look(
    peer: &PeerConfig,
    vips: &BTreeSet<IpAddr>,
    routers: &LearntRouters,
    of_bgp: Option<&(IpAddr, IpAddr)>,
) -> Result<PeerEnds, String> {
    let found = dial::ends(peer, vips, routers).await.map_err(|failure| failure.to_string());
    let found = match (found, peer.address, of_bgp) {
        // The session goes on with its router, which may not have advertised itself to this process yet.
        (Err(_), PeerAddress::RouterAdvertisement, Some((router, _))) => {
            let with_address = PeerConfig { address: PeerAddress::Ip(*router), ..peer.clone() };
            dial::ends(&with_address, vips, routers).await.map_err(|failure| failure.to_string())?
        }
        (found, _, _) => found?,
    };
    Ok(match of_bgp {
        Some((peer, local)) => PeerEnds { peer: *peer, local: *local, ..found },
        None => found,
    })
}

/// Says for ever that the main thread turns.
async fn beat(turns: MainTurns) {
    loop {
        turns.turned();
        sleep(MainTurns::INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with_services;

    fn peer(keys: &str) -> PeerConfig {
        let text = with_services!("").replace("asn = 65000", &format!("asn = 65000\nbfd = true\n{keys}"));
        crate::config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")).peers.remove(0)
    }

    #[test]
    fn the_least_ttl_follows_from_the_hops_and_from_ttl_security() {
        for (keys, want) in [
            ("", 255),
            ("ttl_security = true", 255),
            ("multihop = 3", 1),
            ("multihop = 3\nttl_security = true", 253),
            ("multihop = 255\nttl_security = true", 1),
        ] {
            assert_eq!(least_ttl(&peer(keys)), want, "{keys}");
        }
    }

    #[test]
    fn ends_are_looked_up_again_only_where_nothing_works_over_them() {
        let [ours, theirs, other]: [IpAddr; 3] =
            ["10.0.1.11", "10.0.1.1", "10.0.1.12"].map(|ip| ip.parse().unwrap());
        let ends =
            PeerEnds { peer: theirs, local: ours, interface: 2, vrf: None, location: PeerLocation::OnLink };
        let (plain, inside, bound) = (peer(""), peer("vrf = \"edge\""), peer("interface = \"eth1\""));
        // Whether the last look found something, the ends of BGP, whether BFD is up, the age of the look in seconds.
        for (config, found, of_bgp, is_up, age, want) in [
            (&plain, true, None, false, 4, false),
            (&plain, true, None, false, 5, true),
            (&plain, true, None, true, 60, false),
            (&plain, true, Some((theirs, ours)), false, 60, false),
            (&plain, true, Some((theirs, other)), true, 0, true),
            (&plain, false, None, false, 0, false),
            (&plain, false, None, false, 1, true),
            // The device may be created again; the session of BGP is then back before that of BFD.
            (&inside, true, Some((theirs, ours)), false, 4, false),
            (&inside, true, Some((theirs, ours)), false, 5, true),
            (&inside, true, Some((theirs, ours)), true, 60, false),
            (&bound, true, Some((theirs, ours)), false, 5, true),
        ] {
            let looked = Instant::now();
            let ends = if found { Ok(ends) } else { Err("no route".to_owned()) };
            let bfd = config.bfd.clone().unwrap();
            let entry = PeerEntry { config: config.clone(), bfd, ends, looked };
            let now = looked + Duration::from_secs(age);
            assert_eq!(is_due(&entry, of_bgp.as_ref(), is_up, now), want, "{found} {of_bgp:?} {is_up} {age}");
        }
    }

    #[test]
    fn a_vrf_that_was_made_again_has_other_ends() {
        let [local, router]: [IpAddr; 2] = ["10.0.1.11", "10.0.1.1"].map(|ip| ip.parse().unwrap());
        let config = peer("vrf = \"edge\"");
        let wanted = |vrf: u32| {
            let ends = PeerEnds {
                peer: router,
                local,
                interface: 2,
                vrf: Some(vrf),
                location: PeerLocation::OnLink,
            };
            let bfd = config.bfd.clone().unwrap();
            let entry = PeerEntry { config: config.clone(), bfd, ends: Ok(ends), looked: Instant::now() };
            entry.wanted().unwrap().ends
        };
        assert_eq!(wanted(7), wanted(7));
        assert_ne!(wanted(7), wanted(8), "the session goes on with the sockets of the former VRF");
        let former = |keys: &str| former_ends(&wanted(7), &peer(keys)).map(|ends| ends.vrf);
        assert_eq!(
            former("vrf = \"edge\""),
            Some(Some(7)),
            "a process that continues takes it for another VRF"
        );
        assert_eq!(
            former("vrf = \"core\""),
            None,
            "the configuration has another VRF than the former process"
        );
        assert_eq!(former(""), None, "the configuration has no VRF any more");
    }
}
