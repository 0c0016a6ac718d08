//! Keeps the sessions that the configuration wants. Level-triggered: each step looks at what is wanted now, and at what
//! runs.
//!
//! A peer whose configuration is equal keeps its session. Sessions that have to begin anew do so one after the other, so
//! that a reload never takes every path away at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::tasks::Kept;
use crate::bgp::fsm::StateName;
use crate::bgp::io::links::Cut;
use crate::bgp::io::peers::Peers;
use crate::bgp::io::session::{self, Local, Order, Status};
use crate::config::{self, Config};
use crate::files::io::Files;
use crate::model::{Liveness, PeerName, RouterId};
use crate::rib::LocRib;

/// How long a session may take to say good-bye.
const HANG_UP: Duration = Duration::from_secs(2);
/// How long a session that was begun anew may take until the next one is.
const RETURN: Duration = Duration::from_secs(30);

/// What every session is given.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) configs: watch::Receiver<Arc<Config>>,
    pub(super) router_ids: watch::Receiver<Option<RouterId>>,
    pub(super) vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    pub(super) cut: watch::Receiver<Cut>,
    pub(super) files: Files,
    pub(super) ribs: watch::Receiver<Arc<LocRib>>,
    /// Whether the daemon before this one ended without a goodbye.
    pub(super) restarted: bool,
    /// Once it has a text the daemon ends: every session is shut down with it.
    pub(super) stop: watch::Receiver<Option<String>>,
}

struct Running {
    bgp: config::Bgp,
    peer: watch::Sender<Arc<config::Peer>>,
    order: watch::Sender<Order>,
    status: watch::Receiver<Status>,
    task: Kept,
}

impl Running {
    fn name(&self) -> PeerName {
        self.peer.borrow().name.clone()
    }

    /// Whether the session can go on under another configuration.
    fn goes_on(&self, bgp: &config::Bgp, peer: &config::Peer) -> bool {
        (self.bgp.asn, self.bgp.graceful_restart) == (bgp.asn, bgp.graceful_restart)
            && self.peer.borrow().same_session(peer)
    }
}

/// What is to be done next.
enum Step {
    End(usize),
    Reset(usize),
    Start(Box<config::Peer>),
}

/// Holds the sessions until `stop`; publishes them in the order of the configuration.
pub(super) async fn keep(shared: Shared, peers: watch::Sender<Peers>) {
    let mut running: Vec<Running> = Vec::new();
    let (mut configs, mut stop) = (shared.configs.clone(), shared.stop.clone());
    while stop.borrow_and_update().is_none() {
        let config = configs.borrow_and_update().clone();
        let working = work(&mut running, &config, &shared, &peers);
        tokio::select! {
            () = working => {}
            _ = stop.changed() => break,
        }
        tokio::select! {
            changed = configs.changed() => if changed.is_err() { break },
            _ = stop.changed() => {}
        }
    }
    let text = stop.borrow().clone().unwrap_or_default();
    for one in &running {
        one.order.send_replace(Order::Shutdown { text: text.clone() });
    }
    let ended = async {
        for one in &mut running {
            one.task.ended().await;
        }
    };
    if timeout(HANG_UP, ended).await.is_err() {
        warn!("a peer did not close its session in time");
    }
}

/// Does all that `config` wants, one step after the other; a newer configuration is seen between two of them.
async fn work(
    running: &mut Vec<Running>,
    config: &Arc<Config>,
    shared: &Shared,
    peers: &watch::Sender<Peers>,
) {
    let mut configs = shared.configs.clone();
    configs.mark_unchanged();
    let mut config = config.clone();
    loop {
        if configs.has_changed().unwrap_or(false) {
            config = configs.borrow_and_update().clone();
        }
        tell(running, &config);
        let step = next(running, &config);
        match step {
            None => return,
            Some(Step::End(index)) => {
                let one = running.remove(index);
                info!(peer = %one.name(), "peer was removed by the configuration");
                publish(running, &config, peers);
                end(one, Order::Deconfigured).await;
            }
            Some(Step::Start(peer)) => {
                running.push(start(config.bgp.clone(), *peer, shared));
                publish(running, &config, peers);
            }
            Some(Step::Reset(index)) => {
                let one = running.remove(index);
                let name = one.name();
                info!(peer = %name, "peer was changed by the configuration, its session begins anew");
                end(one, Order::Reconfigured).await;
                let Some(peer) = config.peers.iter().find(|peer| peer.name == name) else { continue };
                running.push(start(config.bgp.clone(), peer.clone(), shared));
                publish(running, &config, peers);
                let Some(mut status) = running.last().map(|one| one.status.clone()) else { continue };
                let generation = shared.ribs.borrow().generation;
                let back = status.wait_for(|s| s.state == StateName::Established && s.told >= generation);
                tokio::select! {
                    returned = timeout(RETURN, back) => if returned.is_err() {
                        warn!(peer = %name, "peer's session did not come back within 30 s, going on with the next");
                    },
                    // Wrong as it was, it may never come back: what mends it is not kept waiting, and it is the first again.
                    () = changed_again(&configs, running, &name) => running.rotate_right(1),
                }
            }
        }
    }
}

/// Ends when a newer configuration wants the session with this peer to begin anew once more, or not at all.
async fn changed_again(configs: &watch::Receiver<Arc<Config>>, running: &[Running], name: &PeerName) {
    let one = running.iter().find(|one| one.name() == *name);
    let goes_on = |config: &Config| {
        let peer = config.peers.iter().find(|peer| peer.name == *name);
        one.zip(peer).is_some_and(|(one, peer)| one.goes_on(&config.bgp, peer))
    };
    let mut configs = configs.clone(); // whose change is seen by the next step
    if configs.wait_for(|config| !goes_on(config)).await.is_err() {
        std::future::pending().await // announcer is ending
    }
}

/// Lets the sessions that go on know what they have to say from now on, and read their keys again.
fn tell(running: &[Running], config: &Config) {
    for one in running {
        if let Some(peer) = config.peers.iter().find(|peer| peer.name == one.name())
            && one.goes_on(&config.bgp, peer)
        {
            one.peer.send_replace(Arc::new(peer.clone()));
        }
    }
}

/// Removed peers first, then new ones, then those that have to begin anew.
fn next(running: &[Running], config: &Config) -> Option<Step> {
    let wanted = |one: &Running| config.peers.iter().find(|peer| peer.name == one.name());
    if let Some(index) = running.iter().position(|one| wanted(one).is_none()) {
        return Some(Step::End(index));
    }
    let runs = |peer: &&config::Peer| running.iter().any(|one| one.name() == peer.name);
    if let Some(peer) = config.peers.iter().find(|peer| !runs(peer)) {
        return Some(Step::Start(Box::new(peer.clone())));
    }
    running
        .iter()
        .position(|one| wanted(one).is_none_or(|peer| !one.goes_on(&config.bgp, peer)))
        .map(Step::Reset)
}

fn start(bgp: config::Bgp, peer: config::Peer, shared: &Shared) -> Running {
    let (status, seen) = watch::channel(Status::new());
    let (order, orders) = watch::channel(Order::Run);
    let name = format!("session with {}", peer.name);
    let (peer, given) = watch::channel(Arc::new(peer));
    let (asn, graceful_restart, shared) = (bgp.asn, bgp.graceful_restart, shared.clone());
    let task = Kept::new(name, move || {
        let (peer, shared, orders, status) = (given.clone(), shared.clone(), orders.clone(), status.clone());
        async move {
            let mut router_ids = shared.router_ids;
            let mut ordered = orders.clone();
            let router_id = tokio::select! {
                id = router_ids.wait_for(Option::is_some) => id.map(|id| *id),
                _ = ordered.wait_for(|order| *order != Order::Run) => return,
            };
            let Ok(Some(router_id)) = router_id else { return };
            let (_alive, liveness) = watch::channel(Liveness::Up); // until something detects failures
            let (restarted, vips, cut, files) = (shared.restarted, shared.vips, shared.cut, shared.files);
            let local = Local { asn, router_id, graceful_restart, restarted, vips, cut, files };
            session::run(local, peer, shared.ribs, liveness, orders, status).await;
        }
    });
    Running { bgp, peer, order, status: seen, task }
}

async fn end(mut one: Running, order: Order) {
    one.order.send_replace(order);
    let _ = timeout(HANG_UP, one.task.ended()).await; // dropped then, which closes it
}

fn publish(running: &[Running], config: &Config, peers: &watch::Sender<Peers>) {
    let place = |one: &&Running| config.peers.iter().position(|peer| peer.name == one.name());
    let mut ordered: Vec<&Running> = running.iter().collect();
    ordered.sort_by_key(place);
    peers.send_replace(Peers::new(
        ordered.into_iter().map(|one| (one.peer.borrow().as_ref().clone(), one.status.clone())).collect(),
    ));
}
