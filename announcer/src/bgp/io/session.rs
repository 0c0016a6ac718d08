//! A session with one peer: one task, one `select!`.
//!
//! Touches sockets, rtnetlink and the clock, through [`connection`](super::connection) and [`dial`](super::dial). The machine ([`fsm`])
//! decides; this file turns what happens into events, and `actions` executes the actions. It receives three states (`rib`, `liveness`,
//! `order`) and publishes one (`status`). There are no queues, and no peer can delay another.

mod actions;
mod clues;
mod liveness;
mod network;
mod routes;
mod status;
mod talk;
mod wait;

use std::collections::BTreeSet;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{Instrument, error_span};

use crate::bgp::discovery::LearntRouters;
use crate::bgp::fsm::{self, Event, State};
use crate::bgp::hint::Clues;
use crate::bgp::io::connection::Connection;
use crate::bgp::io::dial::{DialFailure, DialSuccess};
use crate::bgp::io::password::{Md5Key, PasswordError};
use crate::bgp::io::resume::{Continuation, SessionStore};
use crate::bgp::losses::Losses;
use crate::bgp::open::{Offer, Restart};
use crate::bgp::outbox::AckPosition;
use crate::bgp::path::{Network, Path};
use crate::bgp::reason::TcpFailure;
use crate::config::PeerConfig;
use crate::files::io::Files;
use crate::model::{Asn, Family, Liveness, RouterId};
use crate::rib::LocRib;
use crate::watchdog::{TURN, Turns};

use network::PathWatch;
use routes::SessionRoutes;
pub use status::{
    GenerationProgress, MessageCounters, SessionDown, SessionOrder, SessionReport, WireLatency, WrittenCause,
};
pub(super) use wait::at;
use wait::{changed, done, may_send, next_order};

/// The values that a session needs from its start to its end.
#[derive(Debug, Clone)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// How long the peer may keep our routes without a session (RFC 4724); `None`: not at all.
    pub graceful_restart: Option<Duration>,
    /// Whether the previous process ended without a withdraw.
    pub restarted: bool,
    /// The VIPs. They are never a source and never a next hop.
    pub vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// The host's links and addresses. The session ends when its own are lost.
    pub network: watch::Receiver<Arc<Network>>,
    /// The routers that are learnt from their advertisements.
    pub routers: watch::Receiver<Arc<LearntRouters>>,
    /// The access to the file of the key, and to the kernel counters.
    pub files: Files,
    /// The turns of the session's loop.
    pub turns: Turns,
    /// What connects it with the sessions of the processes before and after this one.
    pub continuation: Continuation,
}

/// Runs a session with `peer` and connects again whenever it fails, until `order` ends it and the NOTIFICATION is sent. A dropped
/// `order` ends it too.
///
/// A new value of `peer` changes the routes and the key at once; the file of the key is read again, even if nothing else has
/// changed. [`PeerConfig::same_session`] has to allow the new value.
pub async fn run(
    local: Local,
    mut peer: watch::Receiver<Arc<PeerConfig>>,
    rib: watch::Receiver<Arc<LocRib>>,
    liveness: watch::Receiver<Liveness>,
    mut order: watch::Receiver<SessionOrder>,
    status: watch::Sender<SessionReport>,
) {
    let config = Arc::clone(&peer.borrow_and_update());
    let span = error_span!("peer", name = %config.name); // so that `--log error` has it too
    let offer = Offer {
        asn: local.asn,
        router_id: local.router_id,
        hold_time: u16::try_from(config.hold_time.as_secs()).unwrap_or(u16::MAX),
        min_hold_time: config
            .min_hold_time
            .map_or(0, |least| u16::try_from(least.as_secs()).unwrap_or(u16::MAX)),
        families: config.families.clone(),
        peer_asn: config.asn,
        capabilities: config.capabilities,
        extended_next_hop: false,
        restart: local.graceful_restart.filter(|_| config.capabilities).map(|time| Restart {
            seconds: u16::try_from(time.as_secs()).unwrap_or(u16::MAX),
            restarted: local.restarted,
            kept: BTreeSet::new(),
        }),
    };
    let wanted = order.borrow_and_update().clone();
    let losses_seen = liveness.borrow().losses;
    let mut session = Session {
        timers: fsm::Timers::new(config.send_hold_time),
        offer,
        peer: config,
        peers: peer,
        vips: local.vips,
        network: local.network,
        routers: local.routers,
        files: local.files,
        turns: local.turns,
        graceful_restart: local.graceful_restart,
        store: local.continuation.store,
        silent: None,
        rib,
        liveness,
        losses_seen,
        losses: Losses::default(),
        loss_counted: None,
        wanted,
        order,
        publish: status,
        state: State::new(),
        dialing: None,
        connection: None,
        routes: None,
        farewell: None,
        path_watch: PathWatch::default(),
        key: None,
        clues: Clues::default(),
        odd_key: None,
        hang: None,
        excused: None,
        outage_logged: false,
        status: SessionReport::new(),
    };
    match local.continuation.resume.take() {
        Some(resumed) => span.in_scope(|| session.resume(resumed, local.continuation.may_send)),
        None => session.store.ended(), // what a task that panicked has left
    }
    session.run().instrument(span).await;
}

type BoxedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The peer's address, and the way to it.
type PathLookup = Result<(IpAddr, Path), TcpFailure>;

struct Session {
    timers: fsm::Timers,
    offer: Offer,
    peer: Arc<PeerConfig>,
    peers: watch::Receiver<Arc<PeerConfig>>,
    vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    network: watch::Receiver<Arc<Network>>,
    routers: watch::Receiver<Arc<LearntRouters>>,
    files: Files,
    turns: Turns,
    graceful_restart: Option<Duration>,
    store: Arc<dyn SessionStore>,
    /// A session that continues sends nothing until this is true.
    silent: Option<watch::Receiver<bool>>,
    rib: watch::Receiver<Arc<LocRib>>,
    liveness: watch::Receiver<Liveness>,
    /// How many losses of the detector were handled.
    losses_seen: u64,
    losses: Losses,
    /// The end of the session for which the last loss counted.
    loss_counted: Option<Instant>,
    order: watch::Receiver<SessionOrder>,
    /// The last order. After an order to end, no other order follows.
    wanted: SessionOrder,
    publish: watch::Sender<SessionReport>,
    state: State,
    /// In Connect.
    dialing: Option<BoxedFuture<Result<DialSuccess, DialFailure>>>,
    /// From OpenSent on.
    connection: Option<Connection>,
    /// In Established.
    routes: Option<SessionRoutes>,
    /// The orderly end of the last connection.
    farewell: Option<BoxedFuture<()>>,
    /// Whether the way to the peer is still the same.
    path_watch: PathWatch,
    /// A running read of the key's file.
    key: Option<BoxedFuture<Result<Md5Key, PasswordError>>>,
    /// The clues of the current try, or of the last one.
    clues: Clues,
    /// The last warning about the key that was logged.
    odd_key: Option<&'static str>,
    /// When to report that the router has sent no OPEN or no KEEPALIVE. This is long before the try ends.
    hang: Option<Instant>,
    /// Until when deadlines are delayed, because this process was stopped.
    excused: Option<Instant>,
    /// Whether the log has a warning about the current outage.
    outage_logged: bool,
    status: SessionReport,
}

/// How long an OPEN, and the KEEPALIVE after it, may take before `status` and the log say so.
const HANG: Duration = Duration::from_secs(4);

/// If a deadline is handled later than this, the process was stopped. The deadline is then delayed by this time.
const LATE: Duration = Duration::from_millis(200);

/// What ended a wait.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Wake {
    Dialed(Result<DialSuccess, DialFailure>),
    Readable,
    Writable,
    Deadline,
    Hang,
    Ask,
    Network,
    Routers,
    Way(PathLookup),
    WaySettled,
    Key(Result<Md5Key, PasswordError>),
    Rib,
    Peer,
    Liveness,
    Order(SessionOrder),
    FarewellSaid,
    MaySend,
    /// Nothing happened.
    Turn,
}

impl Session {
    async fn run(mut self) {
        loop {
            self.turns.turned(now());
            if self.wanted == SessionOrder::Run && self.is_new() && !self.waits_for_liveness() {
                self.handle(Event::Start);
            }
            self.fill();
            self.flush();
            self.tell();
            if self.wanted != SessionOrder::Run && self.connection.is_none() && self.farewell.is_none() {
                return;
            }
            let wake = self.wait().await;
            if self.is_late(&wake) {
                continue;
            }
            self.woken(wake);
        }
    }

    async fn wait(&mut self) -> Wake {
        let connection = self.connection.as_ref();
        let unsent =
            connection.filter(|connection| !self.is_silent() && !connection.outbox.unsent().is_empty());
        let deadline = self.state.deadline().filter(|_| !self.is_held());
        let (deadline, hang) = (self.due(deadline), self.due(self.hang));
        let ask = connection.and_then(Connection::ask_at).map(tokio::time::Instant::into_std);
        tokio::select! {
            dialed = done(&mut self.dialing) => Wake::Dialed(dialed),
            () = async { match connection { Some(c) => c.readable().await, None => pending().await } } => Wake::Readable,
            () = async { match unsent { Some(c) => c.writable().await, None => pending().await } } => Wake::Writable,
            () = at(deadline) => Wake::Deadline,
            () = at(hang) => Wake::Hang,
            () = at(ask) => Wake::Ask,
            () = at(self.path_watch.settles) => Wake::WaySettled,
            way = done(&mut self.path_watch.question) => Wake::Way(way),
            key = done(&mut self.key) => Wake::Key(key),
            () = changed(&mut self.rib) => Wake::Rib,
            () = changed(&mut self.peers) => Wake::Peer,
            () = changed(&mut self.liveness) => Wake::Liveness,
            () = changed(&mut self.network) => Wake::Network,
            () = changed(&mut self.routers) => Wake::Routers,
            order = next_order(&mut self.order), if self.wanted == SessionOrder::Run => Wake::Order(order),
            () = done(&mut self.farewell) => Wake::FarewellSaid,
            () = may_send(&mut self.silent) => Wake::MaySend,
            () = sleep(TURN) => Wake::Turn,
        }
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Dialed(Ok(dialed)) => {
                self.dialing = None;
                self.status.local_address = Some(dialed.local);
                self.status.peer_address = Some(dialed.peer.ip());
                // RFC 8950 §4: for IPv4 routes on a session over IPv6.
                self.offer.extended_next_hop =
                    dialed.peer.is_ipv6() && self.offer.families.contains(&Family::V4);
                if let Some(restart) = &mut self.offer.restart {
                    restart.kept.clone_from(&dialed.kept);
                }
                self.record_clues(dialed.clues.clone());
                self.connection = Some(Connection::new(dialed));
                self.hang = Some(now() + HANG);
                // The link may have gone down before the connection was made.
                self.routers_changed();
                if self.connection.is_some() {
                    self.handle(Event::TcpConnected);
                }
            }
            Wake::Dialed(Err(DialFailure { failure, clues })) => {
                self.dialing = None;
                self.record_clues(clues);
                self.handle(Event::TcpFails(failure));
            }
            Wake::Readable => self.read(),
            // The loop flushes.
            Wake::Writable | Wake::Turn => {}
            Wake::Deadline => {
                self.read_all();
                self.ask();
                self.handle(Event::TimerExpires);
            }
            Wake::Hang => {
                self.read_all();
                self.hangs();
            }
            Wake::Ask => self.ask(),
            Wake::Network => self.network_changed(),
            Wake::Routers => self.routers_changed(),
            Wake::Way(way) => self.found_the_way(way),
            Wake::WaySettled => self.way_settled(),
            Wake::Key(key) => {
                self.key = None;
                self.keyed(key);
            }
            Wake::Rib => self.stale(),
            Wake::Peer => {
                let peer = Arc::clone(&self.peers.borrow_and_update());
                self.reconfigured(peer);
            }
            Wake::Liveness => self.liveness_changed(),
            Wake::Order(order) => {
                if let Some(farewell) = order.farewell() {
                    self.handle(Event::Stop(farewell));
                }
                self.wanted = order;
            }
            Wake::FarewellSaid => self.farewell = None,
            Wake::MaySend => self.silent = None,
        }
    }

    /// When a deadline is handled: later, if this process was stopped.
    fn due(&self, deadline: Option<Instant>) -> Option<Instant> {
        deadline.map(|deadline| self.excused.map_or(deadline, |until| deadline.max(until)))
    }

    /// Whether this process was stopped until long after a deadline. When a process continues, its timers are handled first, so the
    /// deadline is delayed until the sockets were read.
    fn is_late(&mut self, wake: &Wake) -> bool {
        let deadline = match wake {
            Wake::Deadline => self.state.deadline(),
            Wake::Hang => self.hang,
            Wake::Dialed(_)
            | Wake::Readable
            | Wake::Writable
            | Wake::Ask
            | Wake::Network
            | Wake::Routers
            | Wake::Way(_)
            | Wake::WaySettled
            | Wake::Key(_)
            | Wake::Rib
            | Wake::Peer
            | Wake::Liveness
            | Wake::Order(_)
            | Wake::FarewellSaid
            | Wake::MaySend
            | Wake::Turn => None,
        };
        // A deadline is delayed only once: at the second time the sockets were read, even if it is late again.
        let again = deadline.zip(self.excused).is_some_and(|(deadline, until)| deadline < until);
        let late =
            !again && self.due(deadline).is_some_and(|due| now().saturating_duration_since(due) > LATE);
        if late {
            self.excused = Some(now() + LATE);
        }
        late
    }

    /// Publishes the status if it has changed.
    fn tell(&mut self) {
        let established = self.connection.as_ref().filter(|_| self.routes.is_some());
        let position =
            established.map_or_else(AckPosition::default, |connection| connection.outbox.position());
        (self.status.acknowledged, self.status.announced) = (position.generation, position.prefixes);
        self.status.ack_times.note(position.generation, now());
        self.publish.send_if_modified(|known| {
            let changed = *known != self.status;
            if changed {
                known.clone_from(&self.status);
            }
            changed
        });
    }
}

/// Tokio's clock, so that tests can move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
