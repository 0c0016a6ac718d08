//! A session with one peer: one task, one `select!`.
//!
//! Touches sockets, rtnetlink and the clock, through [`connection`](super::connection) and [`dial`](super::dial). The
//! machine ([`fsm`]) decides; this file makes events of what happens and does what the actions say. It takes three
//! decisions from above (`rib`, `liveness`, `order`) and tells one state (`status`); nothing is queued, and no peer can
//! hold up another.

mod routes;
mod status;
mod talk;

use std::collections::BTreeSet;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, info, info_span};

use crate::bgp::fsm::{self, Action, Event, Moment, State, StateName};
use crate::bgp::io::connection::Connection;
use crate::bgp::io::dial::{Dialed, Missed, dial};
use crate::bgp::io::links::Cut;
use crate::bgp::io::netstat;
use crate::bgp::io::path::{self, Address};
use crate::bgp::open::{Offer, Restart};
use crate::bgp::reason::{Clues, DownReason, Neighbour, TcpFailure};
use crate::config::Peer;
use crate::model::{Asn, Family, Liveness, RouterId};
use crate::rib::LocRib;

use routes::Routes;
pub use status::{Counters, Down, Order, Status, Wire};

/// What a session needs to know for its whole life.
#[derive(Debug, Clone)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// How long the peer may keep our routes without a session (RFC 4724); `None`: not at all.
    pub graceful_restart: Option<Duration>,
    /// Whether the process before this one ended without a goodbye.
    pub restarted: bool,
    /// Never a source, never a next hop.
    pub vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// A session over one of these is over.
    pub cut: watch::Receiver<Cut>,
}

/// Holds a session with `peer`, dialling again whenever it fails, until `order` ends it and the peer has heard why. A
/// dropped `order` ends it too.
///
/// Another `peer` takes effect at once in what is said and in its key, whose file is read again even when nothing else
/// changed; it has to be one that [`Peer::same_session`] allows.
pub async fn run(
    local: Local,
    mut peer: watch::Receiver<Arc<Peer>>,
    rib: watch::Receiver<Arc<LocRib>>,
    liveness: watch::Receiver<Liveness>,
    mut order: watch::Receiver<Order>,
    status: watch::Sender<Status>,
) {
    let config = Arc::clone(&peer.borrow_and_update());
    let span = info_span!("peer", name = %config.name);
    let offer = Offer {
        asn: local.asn,
        router_id: local.router_id,
        hold_time: u16::try_from(config.hold_time.as_secs()).unwrap_or(u16::MAX),
        families: config.families.clone(),
        peer_asn: config.asn,
        extended_next_hop: false,
        restart: local.graceful_restart.map(|time| Restart {
            seconds: u16::try_from(time.as_secs()).unwrap_or(u16::MAX),
            restarted: local.restarted,
            kept: BTreeSet::new(),
        }),
    };
    let wanted = order.borrow_and_update().clone();
    let session = Session {
        timers: fsm::Timers::new(config.send_hold_time),
        offer,
        peer: config,
        peers: peer,
        vips: local.vips,
        cut: local.cut,
        rib,
        liveness,
        wanted,
        order,
        publish: status,
        state: State::new(),
        dialing: None,
        connection: None,
        routes: None,
        farewell: None,
        lookup: None,
        neighbour: Neighbour::Unknown,
        ttl_drops: None,
        hang: None,
        status: Status::new(),
    };
    session.run().instrument(span).await;
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Session {
    timers: fsm::Timers,
    offer: Offer,
    peer: Arc<Peer>,
    peers: watch::Receiver<Arc<Peer>>,
    vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    cut: watch::Receiver<Cut>,
    rib: watch::Receiver<Arc<LocRib>>,
    liveness: watch::Receiver<Liveness>,
    order: watch::Receiver<Order>,
    /// The last order; after one to end there is no other.
    wanted: Order,
    publish: watch::Sender<Status>,
    state: State,
    /// In Connect.
    dialing: Option<Later<Result<Dialed, Missed>>>,
    /// From OpenSent on.
    connection: Option<Connection>,
    /// In Established.
    routes: Option<Routes>,
    /// The last connection's goodbye.
    farewell: Option<Later<()>>,
    /// A look at the interface's addresses under way.
    lookup: Option<Later<std::io::Result<Vec<Address>>>>,
    /// What the last try saw of the next host on the way.
    neighbour: Neighbour,
    /// What the kernel had dropped for its TTL when the try began.
    ttl_drops: Option<u64>,
    /// When a router that has sent no OPEN is told of, long before it is given up.
    hang: Option<Instant>,
    status: Status,
}

/// How long an OPEN may take before people are told that it does.
const HANG: Duration = Duration::from_secs(4);

/// What ended a wait.
enum Wake {
    Dialed(Result<Dialed, Missed>),
    Readable,
    Writable,
    Deadline,
    Hang,
    Ask,
    Look,
    Addresses(std::io::Result<Vec<Address>>),
    Rib,
    Peer,
    Liveness,
    Links,
    Order(Order),
    FarewellSaid,
}

impl Session {
    async fn run(mut self) {
        if self.wanted == Order::Run {
            self.handle(Event::Start);
        }
        loop {
            self.fill();
            self.flush();
            self.tell();
            if self.wanted != Order::Run && self.connection.is_none() && self.farewell.is_none() {
                return;
            }
            let wake = self.wait().await;
            self.woken(wake);
        }
    }

    async fn wait(&mut self) -> Wake {
        let connection = self.connection.as_ref();
        let unsent = connection.filter(|connection| !connection.outbox.unsent().is_empty());
        let ask = connection.and_then(Connection::ask_at).map(tokio::time::Instant::into_std);
        let look = self.routes.as_ref().filter(|_| self.lookup.is_none()).map(|routes| routes.look);
        tokio::select! {
            dialed = done(&mut self.dialing) => Wake::Dialed(dialed),
            () = async { match connection { Some(c) => c.readable().await, None => pending().await } } => Wake::Readable,
            () = async { match unsent { Some(c) => c.writable().await, None => pending().await } } => Wake::Writable,
            () = at(self.state.deadline()) => Wake::Deadline,
            () = at(self.hang) => Wake::Hang,
            () = at(ask) => Wake::Ask,
            () = at(look) => Wake::Look,
            addresses = done(&mut self.lookup) => Wake::Addresses(addresses),
            () = changed(&mut self.rib) => Wake::Rib,
            () = changed(&mut self.peers) => Wake::Peer,
            () = changed(&mut self.liveness) => Wake::Liveness,
            () = changed(&mut self.cut) => Wake::Links,
            order = next_order(&mut self.order), if self.wanted == Order::Run => Wake::Order(order),
            () = done(&mut self.farewell) => Wake::FarewellSaid,
        }
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Dialed(Ok(dialed)) => {
                self.dialing = None;
                self.status.local_address = Some(dialed.local);
                self.status.peer_address = Some(dialed.peer.ip());
                // RFC 8950 §4: where IPv4 has to get on without an IPv4 session.
                self.offer.extended_next_hop =
                    dialed.peer.is_ipv6() && self.offer.families.contains(&Family::V4);
                if let Some(restart) = &mut self.offer.restart {
                    restart.kept.clone_from(&dialed.kept);
                }
                self.connection = Some(Connection::new(dialed));
                self.hang = Some(now() + HANG);
                self.handle(Event::TcpConnected);
            }
            Wake::Dialed(Err(Missed { failure, neighbour })) => {
                self.dialing = None;
                self.neighbour = neighbour;
                self.handle(Event::TcpFails(failure));
            }
            Wake::Readable => self.read(),
            // The loop flushes.
            Wake::Writable => {}
            Wake::Deadline => {
                // What has arrived counts, however late we are to read it.
                self.read();
                self.handle(Event::TimerExpires);
            }
            Wake::Hang => self.hangs(),
            Wake::Ask => self.ask(),
            Wake::Look => {
                if let Some(connection) = &self.connection {
                    self.lookup = Some(Box::pin(path::addresses(connection.interface)));
                }
            }
            Wake::Addresses(addresses) => {
                self.lookup = None;
                self.looked(addresses);
            }
            Wake::Rib => self.stale(),
            Wake::Peer => {
                let peer = Arc::clone(&self.peers.borrow_and_update());
                self.reconfigured(peer);
            }
            Wake::Liveness => {
                if *self.liveness.borrow_and_update() == Liveness::Down {
                    self.handle(Event::LivenessLost);
                }
            }
            Wake::Links => {
                let cut = Arc::clone(&self.cut.borrow_and_update());
                if let Some(link) = self.connection.as_ref().and_then(|connection| connection.cut(&cut)) {
                    self.handle(Event::TcpFails(TcpFailure::LinkDown(link.clone())));
                }
            }
            Wake::Order(order) => {
                if let Some(farewell) = order.farewell() {
                    self.handle(Event::Stop(farewell));
                }
                self.wanted = order;
            }
            Wake::FarewellSaid => self.farewell = None,
        }
    }

    /// One event through the machine, and what comes of it.
    fn handle(&mut self, event: Event) {
        let moment = Moment { now: now(), jitter: fastrand::f64() };
        let (state, actions) = fsm::step(&self.timers, std::mem::take(&mut self.state), event, moment);
        if state.name() != self.status.state {
            self.status.state = state.name();
            self.status.since = moment.now;
        }
        self.state = state;
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => {
                (self.neighbour, self.ttl_drops) = (Neighbour::Unknown, netstat::ttl_drops());
                self.dialing =
                    Some(Box::pin(dial(Arc::clone(&self.peer), self.vips.clone(), self.timers.connect)));
            }
            Action::Send(message) => self.send(&message),
            Action::Hangup => {
                self.dialing = None;
                self.lookup = None;
                self.farewell =
                    self.connection.take().map(|connection| -> Later<()> { Box::pin(connection.farewell()) });
            }
            Action::Abort => {
                self.dialing = None;
                self.lookup = None;
                if let Some(connection) = self.connection.take() {
                    connection.abort();
                }
            }
            Action::Up(negotiated) => self.up(negotiated),
            Action::Down(why) => {
                let hint = why.hint(&self.clues());
                info!(reason = %why, hint, "session ended");
                self.down(why, hint);
            }
            Action::Failed(why) => {
                let hint = why.hint(&self.clues());
                // A peer that is off for a night is one line, not thousands.
                let known = self.status.last_down.as_ref();
                if known.is_some_and(|down| (down.why.label(), down.hint) == (why.label(), hint)) {
                    debug!(reason = %why, "try failed");
                } else {
                    info!(reason = %why, hint, "try failed");
                }
                self.down(why, hint);
            }
            Action::Refresh(family) => {
                if let Some(routes) = &mut self.routes {
                    routes.refresh.insert(family);
                    routes.stale = true;
                }
            }
        }
    }

    fn down(&mut self, why: DownReason, hint: Option<&'static str>) {
        self.routes = None;
        *self.status.downs.entry(why.label()).or_default() += 1;
        let down = Down { why, hint, at: now() };
        if matches!(down.why, DownReason::Notified(_)) {
            self.status.notified = Some(down.clone());
        }
        self.status.last_down = Some(down);
        self.status.local_address = None;
        self.status.negotiated = None;
        self.status.announced = 0;
        self.status.withheld.clear();
    }

    /// Tells why there is no session while the machine still waits for one.
    fn hangs(&mut self) {
        self.hang = None;
        if self.state.name() != StateName::OpenSent {
            return;
        }
        if self.peer.ttl_security {
            // What does not pass the minimum TTL is dropped, RST and FIN too: this connection will never hear of its end.
            if self.connection.as_ref().is_some_and(Connection::drops) {
                return self.handle(Event::TcpFails(TcpFailure::Unheard(HANG)));
            }
            self.hang = Some(now() + HANG);
        }
        let why = DownReason::NoOpen(HANG);
        let hint = why.hint(&self.clues());
        let known = self.status.last_down.as_ref();
        if known.is_none_or(|down| (down.why.label(), down.hint) != (why.label(), hint)) {
            info!(reason = %why, hint, "peer is silent");
            self.status.last_down = Some(Down { why, hint, at: now() });
        }
    }

    fn clues(&self) -> Clues {
        let rose = |before| netstat::ttl_drops().is_some_and(|now| now > before);
        Clues {
            neighbour: self.neighbour,
            password: self.peer.password_file.is_some(),
            ttl_security: self.peer.ttl_security,
            ttl_drops: self.peer.ttl_security && self.ttl_drops.is_some_and(rose),
        }
    }

    /// Publishes what changed.
    fn tell(&mut self) {
        let established = self.connection.as_ref().filter(|_| self.routes.is_some());
        self.status.told = established.map_or(0, |connection| connection.outbox.told());
        self.publish.send_if_modified(|known| {
            let news = *known != self.status;
            if news {
                known.clone_from(&self.status);
            }
            news
        });
    }
}

/// Tokio's clock, so that tests can move it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// Waits for what is under way; for ever, if nothing is.
async fn done<T>(under_way: &mut Option<Later<T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Waits for a change; for ever, if nobody is left to make one.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        pending().await
    }
}

/// Waits for another order; whoever gave them is gone when there can be none.
async fn next_order(order: &mut watch::Receiver<Order>) -> Order {
    match order.changed().await {
        Ok(()) => order.borrow_and_update().clone(),
        Err(_) => Order::Shutdown { text: String::new() },
    }
}

#[cfg(test)]
mod tests;
