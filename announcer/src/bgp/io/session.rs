//! A session with one peer: one task, one `select!`.
//!
//! Touches sockets, rtnetlink and the clock, through [`connection`](super::connection) and [`dial`](super::dial). The
//! machine ([`fsm`]) decides; this file makes events of what happens and does what the actions say. It takes three
//! decisions from above (`rib`, `liveness`, `order`) and tells one state (`status`); nothing is queued, and no peer can
//! hold up another.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::bgp::fsm::{self, Action, Event, Moment, Outgoing, State, StateName, Waiting};
use crate::bgp::io::connection::{Connection, Progress, Read};
use crate::bgp::io::dial::{Dialed, dial};
use crate::bgp::io::path::{self, Address};
use crate::bgp::notification::{self, Notification};
use crate::bgp::open::{Negotiated, Offer, RefreshKind, negotiate};
use crate::bgp::outbox::News;
use crate::bgp::reason::{DownReason, TcpFailure};
use crate::bgp::wire::{self, Bound, Message, Voice};
use crate::config::Peer;
use crate::model::{Asn, Family, Generation, Liveness, RouterId};
use crate::rib::{AdjRibOut, Export, LocRib, Withheld};

/// What a session needs to know for its whole life.
#[derive(Debug, Clone)]
pub struct Local {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// Never a source, never a next hop.
    pub vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
}

/// Whether a session is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// It is.
    Run,
    /// The daemon stops: Cease/Administrative Shutdown with a text for the router's log (RFC 9003).
    Shutdown {
        /// The text; cut at 255 octets.
        text: String,
    },
    /// The configuration names the peer no more: Cease/Peer De-configured.
    Deconfigured,
    /// The configuration says something else of the peer: Cease/Other Configuration Change, and a new session follows.
    Reconfigured,
}

impl Order {
    /// What a session ends with; `None`: it is wanted.
    fn farewell(&self) -> Option<Notification> {
        match self {
            Order::Run => None,
            Order::Shutdown { text } => Some(Notification::shutdown(text)),
            Order::Deconfigured => Some(Notification::bare(notification::PEER_DECONFIGURED)),
            Order::Reconfigured => Some(Notification::bare(notification::OTHER_CONFIGURATION_CHANGE)),
        }
    }
}

/// What there is to know of a session; told on every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The machine's state.
    pub state: StateName,
    /// Since when.
    pub since: Instant,
    /// Up to which generation of the Loc-RIB the peer's kernel has acknowledged our octets; 0 unless Established.
    pub told: Generation,
    /// How many prefixes the peer was told and knows.
    pub announced: usize,
    /// Families with routes that this peer is not told.
    pub withheld: BTreeMap<Family, Withheld>,
    /// Why the last session ended, or the last try failed.
    pub last_down: Option<Down>,
    /// Our end of the connection.
    pub local_address: Option<SocketAddr>,
    /// What both OPENs agreed, while Established.
    pub negotiated: Option<Negotiated>,
    /// Messages received since the task began.
    pub received: Counters,
    /// Messages sent since the task began.
    pub sent: Counters,
}

/// Why and when a session was down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Why.
    pub why: DownReason,
    /// When.
    pub at: Instant,
}

/// Messages by type. All UPDATEs received are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub refresh: u64,
}

impl Status {
    /// Before the first try.
    pub fn new() -> Self {
        Status {
            state: StateName::Idle,
            since: now(),
            told: 0,
            announced: 0,
            withheld: BTreeMap::new(),
            last_down: None,
            local_address: None,
            negotiated: None,
            received: Counters::default(),
            sent: Counters::default(),
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Status::new()
    }
}

/// Holds a session with `peer`, dialling again whenever it fails, until `order` ends it and the peer has heard why. A
/// dropped `order` ends it too.
pub async fn run(
    local: Local,
    peer: Peer,
    rib: watch::Receiver<Arc<LocRib>>,
    liveness: watch::Receiver<Liveness>,
    mut order: watch::Receiver<Order>,
    status: watch::Sender<Status>,
) {
    let span = info_span!("peer", name = %peer.name);
    let offer = Offer {
        asn: local.asn,
        router_id: local.router_id,
        hold_time: u16::try_from(peer.hold_time.as_secs()).unwrap_or(u16::MAX),
        families: [Family::V4, Family::V6].into(),
        peer_asn: peer.asn,
    };
    let wanted = order.borrow_and_update().clone();
    let session = Session {
        timers: fsm::Timers::new(peer.hold_time),
        offer,
        peer,
        vips: local.vips,
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
        status: Status::new(),
    };
    session.run().instrument(span).await;
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Session {
    timers: fsm::Timers,
    offer: Offer,
    peer: Peer,
    vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    rib: watch::Receiver<Arc<LocRib>>,
    liveness: watch::Receiver<Liveness>,
    order: watch::Receiver<Order>,
    /// The last order; after one to end there is no other.
    wanted: Order,
    publish: watch::Sender<Status>,
    state: State,
    /// In Connect.
    dialing: Option<Later<Result<Dialed, TcpFailure>>>,
    /// From OpenSent on.
    connection: Option<Connection>,
    /// In Established.
    routes: Option<Routes>,
    /// The last connection's goodbye.
    farewell: Option<Later<()>>,
    /// A look at the interface's addresses under way.
    lookup: Option<Later<std::io::Result<Vec<Address>>>>,
    status: Status,
}

/// What the peer was told, and what it is still owed.
struct Routes {
    negotiated: Negotiated,
    voice: Voice,
    export: Export,
    told: AdjRibOut,
    /// Families that the peer asked for again.
    refresh: BTreeSet<Family>,
    /// Whether there may be something to say.
    stale: bool,
    /// When the interface's addresses are looked at again.
    look: Instant,
}

/// What ended a wait.
enum Wake {
    Dialed(Result<Dialed, TcpFailure>),
    Readable,
    Writable,
    Deadline,
    Ask,
    Look,
    Addresses(std::io::Result<Vec<Address>>),
    Rib,
    Liveness,
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
            () = at(ask) => Wake::Ask,
            () = at(look) => Wake::Look,
            addresses = done(&mut self.lookup) => Wake::Addresses(addresses),
            () = changed(&mut self.rib) => Wake::Rib,
            () = changed(&mut self.liveness) => Wake::Liveness,
            order = next_order(&mut self.order), if self.wanted == Order::Run => Wake::Order(order),
            () = done(&mut self.farewell) => Wake::FarewellSaid,
        }
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Dialed(Ok(dialed)) => {
                self.dialing = None;
                self.status.local_address = Some(dialed.local);
                self.connection = Some(Connection::new(dialed));
                self.handle(Event::TcpConnected);
            }
            Wake::Dialed(Err(failure)) => {
                self.dialing = None;
                self.handle(Event::TcpFails(failure));
            }
            Wake::Readable => {
                self.read();
            }
            // The loop flushes.
            Wake::Writable => {}
            Wake::Deadline => {
                // What has arrived counts, however late we are to read it.
                self.read();
                self.handle(Event::TimerExpires);
            }
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
            Wake::Liveness => {
                if *self.liveness.borrow_and_update() == Liveness::Down {
                    self.handle(Event::LivenessLost);
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
                let vips = Arc::clone(&self.vips.borrow());
                self.dialing = Some(Box::pin(dial(self.peer.clone(), vips)));
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
                info!(reason = %why, hint = why.hint(), "session ended");
                self.down(why);
            }
            Action::Failed(why) => {
                // A peer that is off for a night is one line, not thousands.
                let known =
                    self.status.last_down.as_ref().is_some_and(|down| down.why.label() == why.label());
                if known {
                    debug!(reason = %why, "try failed");
                } else {
                    info!(reason = %why, hint = why.hint(), "try failed");
                }
                self.down(why);
            }
            Action::Refresh(family) => {
                if let Some(routes) = &mut self.routes {
                    routes.refresh.insert(family);
                    routes.stale = true;
                }
            }
        }
    }

    fn up(&mut self, negotiated: Negotiated) {
        let Some(connection) = &self.connection else { return };
        let voice = Voice { asn: self.offer.asn, kind: negotiated.kind, as_width: negotiated.as_width };
        if let Err(error) = connection.set_user_timeout(negotiated.hold_time) {
            debug!(%error, "TCP_USER_TIMEOUT was not set");
        }
        info!(
            peer_id = %negotiated.peer_id,
            hold_time = negotiated.hold_time.map_or(0, |time| time.as_secs()),
            local = %connection.local,
            "session established"
        );
        self.routes = Some(Routes {
            voice,
            export: self.export(connection, &negotiated),
            negotiated: negotiated.clone(),
            told: AdjRibOut::default(),
            refresh: BTreeSet::new(),
            stale: true,
            look: now(),
        });
        self.status.negotiated = Some(negotiated);
    }

    fn down(&mut self, why: DownReason) {
        self.routes = None;
        self.status.last_down = Some(Down { why, at: now() });
        self.status.local_address = None;
        self.status.negotiated = None;
        self.status.announced = 0;
        self.status.withheld.clear();
    }

    /// Our next hops on this connection.
    fn export(&self, connection: &Connection, negotiated: &Negotiated) -> Export {
        let session = connection.local.ip();
        Export {
            families: negotiated.families.clone(),
            next_hop_v4: match session {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            },
            next_hop_v6: path::next_hop_v6(
                session,
                &connection.addresses,
                &self.vips.borrow(),
                self.peer.next_hop_v6,
            ),
        }
    }

    /// The interface's addresses may have changed, and our next hops with them.
    fn looked(&mut self, addresses: std::io::Result<Vec<Address>>) {
        match (addresses, &mut self.connection) {
            (Ok(addresses), Some(connection)) => connection.addresses = addresses,
            (Err(error), _) => debug!(%error, "addresses were not read"),
            (Ok(_), None) => {}
        }
        let Some(connection) = &self.connection else { return };
        let Some(negotiated) = self.routes.as_ref().map(|routes| &routes.negotiated) else { return };
        let export = self.export(connection, negotiated);
        if let Some(routes) = &mut self.routes {
            // An address may be tentative when the session comes up: look again soon.
            let pause = if export.next_hop_v6.is_none() { 1 } else { 10 };
            routes.look = now() + Duration::from_secs(pause);
            routes.stale |= export != routes.export;
            routes.export = export;
        }
    }

    fn stale(&mut self) {
        if let Some(routes) = &mut self.routes {
            routes.stale = true;
        }
    }

    /// Reads once and handles the messages that this completes.
    fn read(&mut self) -> Option<Read> {
        let read = self.connection.as_mut()?.read();
        match read {
            Ok(Read::Octets) => self.messages(),
            Ok(Read::Nothing) => {}
            Err(failure) => {
                self.handle(Event::TcpFails(failure));
                return None;
            }
        }
        read.ok()
    }

    fn messages(&mut self) {
        while let Some(connection) = &mut self.connection {
            let event = match connection.framer.next() {
                Ok(Some(message)) => self.event(message),
                Ok(None) => return,
                Err(notification) => Event::HeaderError(notification),
            };
            let broken = matches!(event, Event::HeaderError(_));
            self.handle(event);
            if broken {
                return;
            }
        }
    }

    fn event(&mut self, message: Message) -> Event {
        let received = &mut self.status.received;
        match message {
            Message::Open(open) => {
                received.open += 1;
                debug!(kind = "OPEN", "message received");
                match open.and_then(|open| negotiate(&self.offer, &open)) {
                    Ok(negotiated) => Event::Open(negotiated),
                    Err(error) => Event::OpenError(error),
                }
            }
            Message::Update(envelope) => {
                received.update += 1;
                debug!(kind = "UPDATE", "message received");
                envelope.map_or_else(Event::UpdateError, |()| Event::Update)
            }
            Message::Notification(notification) => {
                received.notification += 1;
                debug!(kind = "NOTIFICATION", %notification, "message received");
                Event::Notification(notification)
            }
            Message::Keepalive => {
                received.keepalive += 1;
                debug!(kind = "KEEPALIVE", "message received");
                Event::Keepalive
            }
            Message::Refresh(refresh) => {
                received.refresh += 1;
                debug!(kind = "ROUTE-REFRESH", "message received");
                let asked =
                    self.routes.as_ref().map_or(Ok(None), |routes| routes.negotiated.refresh(&refresh));
                asked.map_or_else(Event::RefreshError, Event::Refresh)
            }
        }
    }

    fn send(&mut self, message: &Outgoing) {
        let Some(connection) = &mut self.connection else { return };
        let tail = connection.outbox.tail();
        let sent = &mut self.status.sent;
        match message {
            Outgoing::Open => {
                sent.open += 1;
                debug!(kind = "OPEN", "message sent");
                if let Err(error) = wire::open(tail, &self.offer) {
                    warn!(%error, "OPEN was not sent");
                }
            }
            Outgoing::Keepalive => {
                sent.keepalive += 1;
                debug!(kind = "KEEPALIVE", "message sent");
                wire::keepalive(tail);
            }
            Outgoing::Notification(notification) => {
                sent.notification += 1;
                debug!(kind = "NOTIFICATION", %notification, "message sent");
                wire::notification(tail, notification);
            }
        }
    }

    /// Brings the peer up to date, if it has read what it was told before.
    fn fill(&mut self) {
        let (Some(connection), Some(routes)) = (&mut self.connection, &mut self.routes) else { return };
        if !routes.stale || !connection.outbox.has_room() {
            return;
        }
        routes.stale = false;
        let want = Arc::clone(&self.rib.borrow_and_update());
        let tail = connection.outbox.tail();
        let sent = &mut self.status.sent;
        let mut news = News::Nothing;

        let asked = std::mem::take(&mut routes.refresh);
        let bounded = |family: &&Family| {
            routes.negotiated.refresh == RefreshKind::Enhanced && routes.told.ended(**family)
        };
        let bounded: Vec<Family> = asked.iter().filter(bounded).copied().collect();
        let bound = |tail: &mut Vec<u8>, bound| {
            for family in &bounded {
                if let Err(error) = wire::refresh_bound(tail, *family, bound) {
                    warn!(%error, "ROUTE-REFRESH was not sent");
                }
            }
            bounded.len() as u64
        };
        for family in &asked {
            routes.told.refresh(*family);
        }
        sent.refresh += bound(tail, Bound::Begin);
        for update in routes.told.advance(&want, &routes.export) {
            news = News::Said;
            match wire::update(tail, &routes.voice, &update) {
                Ok(messages) => sent.update += messages,
                Err(error) => warn!(%error, "routes were not announced"),
            }
        }
        sent.refresh += bound(tail, Bound::End);
        connection.outbox.mark(want.generation, news);

        self.status.announced = routes.told.len();
        self.status.withheld = withheld(&want, &routes.export);
        debug!(generation = want.generation, announced = routes.told.len(), "peer was brought up to date");
    }

    fn flush(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match connection.write() {
            Ok(true) => self.handle(Event::Unsent),
            Ok(false) => {}
            Err(failure) => {
                // The peer's last words may wait to be read.
                while self.read() == Some(Read::Octets) {}
                if self.connection.is_some() {
                    self.handle(Event::TcpFails(failure));
                }
            }
        }
    }

    fn ask(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match connection.ask() {
            Ok(Progress::All) => self.handle(Event::Sent(Waiting::Nothing)),
            Ok(Progress::Some) => self.handle(Event::Sent(Waiting::Some)),
            Ok(Progress::None) => {}
            Err(error) => self.handle(Event::TcpFails(TcpFailure::Other(error.to_string()))),
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

/// Families that have routes and are not told on a session.
fn withheld(want: &LocRib, export: &Export) -> BTreeMap<Family, Withheld> {
    let present: BTreeSet<Family> = want.routes.keys().map(|prefix| Family::of(prefix.addr())).collect();
    present.into_iter().filter_map(|family| Some((family, export.next_hop(family).err()?))).collect()
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
