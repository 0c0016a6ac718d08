//! Runs the sessions of the configuration: it starts and ends their tasks as [`plan`] says, one step after the other.
//!
//! Level-triggered: each step compares the wanted sessions with the running ones.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::tasks::OwnedTask;
use crate::bfd::status::BfdReport;
use crate::bgp::discovery::LearntRouters;
use crate::bgp::fsm::StateName;
use crate::bgp::io::peers::Peers;
use crate::bgp::io::resume::Continuation;
use crate::bgp::io::session::{self, Local, SessionOrder, SessionReport};
use crate::bgp::path::Network;
use crate::bgp::plan::{
    self, DesiredSessions, PathComparison, PlanStep, RestartCause, SessionPhase, Settings,
};
use crate::bgp::router_id::Identity;
use crate::config::{self, Config};
use crate::files::io::Files;
use crate::model::{Liveness, PeerName, RouterId};
use crate::rib::LocRib;
use crate::watchdog::{LastTurn, Turns};

/// How long a session may take to end.
pub(super) const HANG_UP: Duration = Duration::from_secs(2);
/// How long a restarted session may take before the next one is restarted.
const RETURN: Duration = Duration::from_secs(30);

/// The values that every session gets.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct SessionResources {
    pub(in crate::daemon) configs: watch::Receiver<Arc<Config>>,
    pub(in crate::daemon) router_ids: watch::Receiver<Identity>,
    pub(in crate::daemon) vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    pub(in crate::daemon) network: watch::Receiver<Arc<Network>>,
    pub(in crate::daemon) routers: watch::Receiver<Arc<LearntRouters>>,
    pub(in crate::daemon) files: Files,
    pub(in crate::daemon) ribs: watch::Receiver<Arc<LocRib>>,
    /// Whether the previous daemon ended without a withdraw.
    pub(in crate::daemon) restarted: bool,
    pub(in crate::daemon) bfd: watch::Receiver<Arc<BfdReport>>,
    /// Sessions begin when it is `true`.
    pub(in crate::daemon) joined: watch::Receiver<bool>,
    /// When it has a text, the daemon ends, and every session is shut down with this text.
    pub(in crate::daemon) stop: watch::Receiver<Option<String>>,
    /// What connects each session with the processes before and after this one.
    pub(in crate::daemon) continuations: Continuations,
}

/// Makes the continuation of the session with a peer.
#[derive(Clone)]
pub(in crate::daemon) struct Continuations(
    pub(in crate::daemon) Arc<dyn Fn(&PeerName) -> Continuation + Send + Sync>,
);

impl std::fmt::Debug for Continuations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Continuations")
    }
}

/// The last turn of the loop of each session that runs.
pub(in crate::daemon) type SessionTurns = Vec<(PeerName, LastTurn)>;

struct SessionTask {
    settings: Settings,
    peer: watch::Sender<Arc<config::PeerConfig>>,
    order: watch::Sender<SessionOrder>,
    status: watch::Receiver<SessionReport>,
    /// `None` while the router id is not known.
    task: Option<OwnedTask>,
    turns: Turns,
}

impl SessionTask {
    fn name(&self) -> &PeerName {
        &self.settings.peer.name
    }

    /// The session in the form that the plan uses.
    fn session(&self) -> plan::RunningSession {
        let status = self.status.borrow();
        let state = if status.state == StateName::Established {
            SessionPhase::Established
        } else {
            SessionPhase::Down
        };
        plan::RunningSession { settings: self.settings.clone(), state, path: status.path }
    }
}

/// Runs the sessions until `stop`, and publishes them in the order of the configuration.
pub(in crate::daemon) async fn keep(
    shared: SessionResources,
    peers: watch::Sender<Peers>,
    turns: watch::Sender<SessionTurns>,
) {
    let mut keeper = SessionManager {
        running: Vec::new(),
        peers,
        turns,
        inputs: SessionInputs::of(&shared),
        shared,
        applied: None,
    };
    let mut stop = keeper.shared.stop.clone();
    let mut joined = keeper.shared.joined.clone();
    tokio::select! {
        _ = joined.wait_for(|joined| *joined) => {} // if its owner has ended, nobody is waited for
        _ = stop.wait_for(Option::is_some) => {}
    }
    while stop.borrow_and_update().is_none() {
        tokio::select! {
            news = keeper.work() => if !news { break },
            _ = stop.changed() => {}
        }
    }
    let text = stop.borrow().clone().unwrap_or_default();
    keeper.shut_down(&text).await;
}

/// The inputs that decide about sessions.
struct SessionInputs {
    configs: watch::Receiver<Arc<Config>>,
    router_ids: watch::Receiver<Identity>,
}

impl SessionInputs {
    fn of(shared: &SessionResources) -> Self {
        SessionInputs { configs: shared.configs.clone(), router_ids: shared.router_ids.clone() }
    }

    /// The wanted configuration and router id.
    fn now(&mut self) -> (Arc<Config>, Option<RouterId>) {
        (self.configs.borrow_and_update().clone(), self.router_ids.borrow_and_update().id)
    }

    /// Waits until an input has changed; `false`: the daemon ends.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.configs.changed() => changed.is_ok(),
            changed = self.router_ids.changed() => changed.is_ok(),
        }
    }
}

struct SessionManager {
    running: Vec<SessionTask>,
    peers: watch::Sender<Peers>,
    turns: watch::Sender<SessionTurns>,
    inputs: SessionInputs,
    shared: SessionResources,
    /// The configuration that was last passed to the sessions.
    applied: Option<Arc<Config>>,
}

impl SessionManager {
    /// Makes all steps of the plan, then waits for a change; `false`: the daemon ends.
    async fn work(&mut self) -> bool {
        loop {
            let (config, router_id) = self.inputs.now();
            let wanted = DesiredSessions { config: &config, router_id };
            self.update(&wanted, &config);
            match plan::next(&self.sessions(), &wanted) {
                None => break,
                Some(PlanStep::End(name)) => {
                    info!(peer = %name, "peer was removed by the configuration");
                    self.end(&name, SessionOrder::Deconfigured, &config).await;
                }
                Some(PlanStep::Start(name)) => self.start(&name, &wanted),
                Some(PlanStep::Restart(name, cause)) => {
                    info!(peer = %name, reason = reason(cause), "session restarts");
                    self.end(&name, SessionOrder::Reconfigured, &config).await;
                    self.start(&name, &wanted);
                    if plan::takes_routes(&self.sessions(), &wanted) {
                        self.wait_for_return(&name).await;
                    }
                }
            }
        }
        let moved = self.running.iter().map(|one| {
            let mut status = one.status.clone();
            Box::pin(async move {
                if status.wait_for(|status| status.path == PathComparison::Other).await.is_err() {
                    std::future::pending().await // the session's task has ended, and the plan knows why
                }
            })
        });
        let moved: Vec<_> = moved.collect();
        tokio::select! {
            more = self.inputs.changed() => more,
            () = async { if moved.is_empty() { std::future::pending().await } else { select_all(moved).await; } } => true,
        }
    }

    fn sessions(&self) -> Vec<plan::RunningSession> {
        self.running.iter().map(SessionTask::session).collect()
    }

    /// Passes the new configuration to the sessions that continue, so that they send it and read their keys again. This happens
    /// only at a reload.
    fn update(&mut self, wanted: &DesiredSessions<'_>, config: &Arc<Config>) {
        let before = self.applied.replace(config.clone());
        let is_reload = before.is_none_or(|before| !Arc::ptr_eq(&before, config));
        for one in &mut self.running {
            if let Some(peer) = wanted.peer(&one.settings.peer.name)
                && plan::cause(&one.settings, peer, wanted).is_none()
            {
                one.settings.peer = peer.clone();
                if is_reload {
                    one.peer.send_replace(Arc::new(peer.clone()));
                }
            }
        }
        self.publish(wanted.config);
    }

    fn start(&mut self, name: &PeerName, wanted: &DesiredSessions<'_>) {
        let Some(peer) = wanted.peer(name) else { return };
        self.running.retain(|one| one.name() != name); // a session that waited for the router id
        self.running.push(start(wanted.settings(peer), &self.shared));
        self.publish(wanted.config);
    }

    async fn end(&mut self, name: &PeerName, order: SessionOrder, config: &Config) {
        let Some(place) = self.running.iter().position(|one| one.name() == name) else { return };
        let mut one = self.running.remove(place);
        self.publish(config);
        one.order.send_replace(order);
        if let Some(task) = &mut one.task {
            let _ = timeout(HANG_UP, task.ended()).await; // if it takes longer, it is dropped, which closes the connection
        }
    }

    /// Waits until a restarted session is established and its router has all routes, or until its wanted settings change.
    async fn wait_for_return(&mut self, name: &PeerName) {
        let Some(one) = self.running.iter().find(|one| one.name() == name) else { return };
        let (mut status, settings) = (one.status.clone(), one.settings.clone());
        let generation = self.shared.ribs.borrow().generation;
        let back = status.wait_for(|s| s.state == StateName::Established && s.acknowledged >= generation);
        let mut inputs = SessionInputs::of(&self.shared);
        // With wrong settings the session may never be established. A corrected configuration must not wait for it.
        let changed = async {
            loop {
                let (config, router_id) = inputs.now();
                let wanted = DesiredSessions { config: &config, router_id };
                let continues =
                    wanted.peer(name).is_some_and(|peer| plan::cause(&settings, peer, &wanted).is_none());
                if !continues || !inputs.changed().await {
                    return;
                }
            }
        };
        tokio::select! {
            returned = timeout(RETURN, back) => if returned.is_err() {
                warn!(peer = %name, "peer's session did not come back within 30 s, going on with the next");
            },
            () = changed => {}
        }
    }

    async fn shut_down(&mut self, text: &str) {
        for one in &self.running {
            one.order.send_replace(SessionOrder::Shutdown { text: text.to_owned() });
        }
        let ended = async {
            for task in self.running.iter_mut().filter_map(|one| one.task.as_mut()) {
                task.ended().await;
            }
        };
        if timeout(HANG_UP, ended).await.is_err() {
            warn!("a peer did not close its session in time");
        }
    }

    fn publish(&self, config: &Config) {
        let running = self.running.iter().filter(|one| one.task.is_some());
        self.turns.send_replace(running.map(|one| (one.name().clone(), one.turns.last())).collect());
        let place = |one: &&SessionTask| config.peers.iter().position(|peer| peer.name == *one.name());
        let mut ordered: Vec<&SessionTask> = self.running.iter().collect();
        ordered.sort_by_key(place);
        self.peers.send_replace(Peers::new(
            ordered.into_iter().map(|one| (one.settings.peer.clone(), one.status.clone())).collect(),
        ));
    }
}

fn reason(cause: RestartCause) -> &'static str {
    match cause {
        RestartCause::Configuration => "its configuration has changed",
        RestartCause::RouterId => "the router id has changed",
        RestartCause::Way => "the way to the router has changed",
    }
}

fn start(settings: Settings, shared: &SessionResources) -> SessionTask {
    let (status, status_rx) = watch::channel(SessionReport::new());
    let (order, orders) = watch::channel(SessionOrder::Run);
    let name = format!("session with {}", settings.peer.name);
    let (peer, peer_rx) = watch::channel(Arc::new(settings.peer.clone()));
    let turns = Turns::new(tokio::time::Instant::now().into_std());
    let task = settings.router_id.map(|router_id| {
        let continuation = shared.continuations.0(&settings.peer.name);
        let (asn, graceful_restart, shared) = (settings.asn, settings.graceful_restart, shared.clone());
        let turns = turns.clone();
        OwnedTask::new(name, move || {
            let SessionResources { vips, network, routers, files, ribs, restarted, bfd, .. } = shared.clone();
            let turns = turns.clone();
            let continuation = continuation.clone();
            let local = Local {
                asn,
                router_id,
                graceful_restart,
                restarted,
                vips,
                network,
                routers,
                files,
                turns,
                continuation,
            };
            let (peer, orders, status) = (peer_rx.clone(), orders.clone(), status.clone());
            async move {
                let name = peer.borrow().name.clone();
                let (liveness, liveness_seen) = watch::channel(bfd.borrow().liveness(&name));
                tokio::select! {
                    () = session::run(local, peer, ribs, liveness_seen, orders, status) => {}
                    () = pass_on(name, bfd, liveness) => {} // never happens
                }
            }
        })
    });
    SessionTask { settings, peer, order, status: status_rx, task, turns }
}

/// Passes on what BFD says of a peer, for ever.
async fn pass_on(
    name: PeerName,
    mut bfd: watch::Receiver<Arc<BfdReport>>,
    liveness: watch::Sender<Liveness>,
) {
    loop {
        let new = bfd.borrow_and_update().liveness(&name);
        liveness.send_if_modified(|known| std::mem::replace(known, new) != new);
        if bfd.changed().await.is_err() {
            return std::future::pending().await; // the daemon ends
        }
    }
}

#[cfg(test)]
mod tests;
