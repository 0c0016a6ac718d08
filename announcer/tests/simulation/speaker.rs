//! One end of the session: the state machine, its outbox and its Adj-RIB-Out, used as in the session's task.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use announcer::bgp::fsm::{
    self, Action, Backlog, Event, OutgoingMessage, State, StateName, StepContext, Timers,
};
use announcer::bgp::notification::{self, Notification};
use announcer::bgp::open::{NegotiatedSession, Offer, RefreshKind, negotiate};
use announcer::bgp::outbox::{AckPosition, Outbox, OutboxChange};
use announcer::bgp::reason::{DownReason, TcpFailure};
use announcer::bgp::resume::StoredOctets;
use announcer::bgp::wire::{self, Encoding, Framer, Message, RefreshMarker};
use announcer::model::{Family, Overrides};
use announcer::rib::{AdjRibOut, Export, LocRib, NextHop, Update};
use ipnet::IpNet;

use super::link::{Link, Segment, Side, WINDOW};
use super::table::Table;

/// The parts of the simulation that a speaker uses.
pub struct World<'a> {
    pub link: &'a mut Link,
    pub luck: &'a mut fastrand::Rng,
    pub now: Instant,
    /// The last connection's number.
    pub connections: &'a mut u64,
    pub trace: bool,
}

/// A connection as one end sees it.
pub struct Tcp {
    pub id: u64,
    framer: Framer,
    pub outbox: Outbox,
    sent: u64,
    pub acknowledged: u64,
    pub read_by_peer: u64,
    arrived: u64,
    read: u64,
    unread: VecDeque<u8>,
    fin: bool,
    /// Since when the peer's kernel has not acknowledged our octets.
    waiting: Option<Instant>,
}

/// The routes of an established session.
pub struct Routes {
    negotiated: NegotiatedSession,
    encoding: Encoding,
    export: Export,
    adj_rib_out: AdjRibOut,
    refresh: BTreeSet<Family>,
    pub stale: bool,
}

pub struct Speaker {
    who: Side,
    offer: Offer,
    pub timers: Timers,
    pub state: State,
    /// Whether a session is wanted.
    pub wanted: bool,
    dialing: Option<u64>,
    pub tcp: Option<Tcp>,
    pub routes: Option<Routes>,
    pub rib: Arc<LocRib>,
    /// The routes that were received.
    pub table: Table,
    /// Whether it reads nothing.
    pub stuck: bool,
    /// Whether the kernel ends the connection if the peer acknowledges nothing for the hold time.
    user_timeout: bool,
    pub ups: u64,
    pub downs: u64,
    pub updates: u64,
    /// What the next process would find.
    stored: Stored,
}

/// What a session stores for the next process.
#[derive(Default)]
struct Stored {
    octets: StoredOctets,
    prefixes: BTreeSet<IpNet>,
    /// When the peer was heard last: the kernel knows it.
    heard: Option<Instant>,
}

impl Speaker {
    pub fn new(who: Side, offer: Offer, timers: Timers, user_timeout: bool) -> Self {
        Speaker {
            who,
            offer,
            timers,
            state: State::new(),
            wanted: false,
            dialing: None,
            tcp: None,
            routes: None,
            rib: Arc::default(),
            table: Table::default(),
            stuck: false,
            user_timeout,
            ups: 0,
            downs: 0,
            updates: 0,
            stored: Stored::default(),
        }
    }

    pub fn start(&mut self, world: &mut World) {
        self.wanted = true;
        self.handle(Event::Start, world);
    }

    pub fn stop(&mut self, why: Notification, world: &mut World) {
        self.wanted = false;
        self.handle(Event::Stop(why), world);
    }

    /// The host loses power, without a message to the peer.
    pub fn lose_power(&mut self) {
        (self.state, self.tcp, self.dialing, self.routes) = (State::new(), None, None, None);
        (self.wanted, self.stuck, self.table) = (false, false, Table::default());
        self.downs = self.ups;
    }

    /// The process is killed, and the next one takes its session over. A connection without a session ends.
    pub fn crash(&mut self, world: &mut World) {
        let up = match self.state {
            State::Established { since, .. } => Some(since),
            State::Idle { .. }
            | State::Connect { .. }
            | State::OpenSent { .. }
            | State::OpenConfirm { .. } => None,
        };
        let (Some(since), Some(tcp), Some(routes)) = (up, &mut self.tcp, &mut self.routes) else {
            if let Some(tcp) = self.tcp.take() {
                self.transmit(tcp.id, Segment::Rst, world);
            }
            let wanted = self.wanted;
            self.lose_power();
            if wanted {
                self.start(world);
            }
            return;
        };
        let unsent = self.stored.octets.unsent(tcp.sent).expect("what the kernel has was stored before");
        tcp.outbox = Outbox::resumed(tcp.sent, tcp.sent - tcp.acknowledged, unsent.to_vec());
        tcp.waiting = None;
        routes.adj_rib_out = AdjRibOut::resumed(self.stored.prefixes.clone());
        routes.refresh.clear();
        routes.stale = true;
        let heard = self.stored.heard.unwrap_or(world.now);
        self.state = State::resumed(since, routes.negotiated.hold_time, heard, world.now);
    }

    /// The next time at which something is due without a segment.
    pub fn deadline(&self) -> Option<Instant> {
        self.state.deadline().into_iter().chain(self.gives_up()).min()
    }

    /// When the kernel ends the connection (TCP_USER_TIMEOUT).
    fn gives_up(&self) -> Option<Instant> {
        let hold = self.routes.as_ref().filter(|_| self.user_timeout)?.negotiated.hold_time?;
        Some(self.tcp.as_ref()?.waiting? + hold)
    }

    /// Executes what is due now.
    pub fn expire(&mut self, world: &mut World) {
        self.read(world);
        if self.state.deadline().is_some_and(|deadline| deadline <= world.now) {
            let before = self.state.name();
            self.handle(Event::TimerExpires, world);
            let next = self.state.deadline();
            assert!(
                self.state.name() != before || next.is_none_or(|next| next > world.now),
                "{:?}: the deadline of {before} stands still",
                self.who
            );
        }
        if self.gives_up().is_some_and(|at| at <= world.now) {
            self.handle(Event::TcpFails(TcpFailure::TimedOut), world);
        }
    }

    /// Passes one event to the state machine, and executes the actions.
    pub fn handle(&mut self, event: Event, world: &mut World) {
        if world.trace {
            eprintln!("{:?} {:?} {event:?}", self.who, self.state.name());
        }
        let moment = StepContext { now: world.now, jitter: world.luck.f64() };
        let (state, actions) = fsm::step(&self.timers, std::mem::take(&mut self.state), event, moment);
        self.state = state;
        for action in actions {
            self.act(action, world);
        }
        let up = self.state.name() == StateName::Established;
        assert!(up == (self.ups == self.downs + 1), "{:?}: Up and Down follow the state", self.who);
        assert!(
            self.state.deadline().is_some() || up || !self.wanted,
            "{:?}: {} waits for nothing",
            self.who,
            self.state.name()
        );
    }

    fn act(&mut self, action: Action, world: &mut World) {
        match action {
            Action::Connect => {
                assert!(self.tcp.is_none() && self.dialing.is_none(), "one connection at a time");
                if self.who == Side::Us {
                    *world.connections += 1;
                    self.dialing = Some(*world.connections);
                    self.transmit(*world.connections, Segment::Syn, world);
                }
            }
            Action::Send(message) => self.send(&message),
            Action::Hangup => {
                self.dialing = None;
                if let Some(tcp) = self.tcp.take() {
                    // The kernel still sends the waiting octets, then FIN.
                    self.transmit(tcp.id, Segment::Data(tcp.outbox.unsent().to_vec()), world);
                    self.transmit(tcp.id, Segment::Fin, world);
                }
            }
            Action::Abort => {
                if let Some(tcp) = self.tcp.take() {
                    self.transmit(tcp.id, Segment::Rst, world);
                }
            }
            Action::Up(negotiated) => {
                assert_eq!(self.ups, self.downs, "{:?}: Up and Down alternate", self.who);
                self.ups += 1;
                self.up(negotiated);
            }
            Action::Down(why) => {
                assert_eq!(self.ups, self.downs + 1, "{:?}: Up and Down alternate: {why}", self.who);
                self.downs += 1;
                (self.routes, self.table) = (None, Table::default());
            }
            Action::Failed(why) => {
                assert_eq!(self.ups, self.downs, "{:?}: a session that was up is down, not failed", self.who);
                assert!(!matches!(why, DownReason::LivenessLost));
            }
            Action::Refresh(family) => {
                let routes = self.routes.as_mut().expect("a refresh is for a session that is up");
                routes.refresh.insert(family);
                routes.stale = true;
            }
        }
    }

    fn up(&mut self, negotiated: NegotiatedSession) {
        self.stored.prefixes.clear();
        self.routes = Some(Routes {
            encoding: Encoding { asn: self.offer.asn, kind: negotiated.kind, as_width: negotiated.as_width },
            export: Export {
                peer: None,
                families: negotiated.families.clone(),
                left_out: BTreeSet::new(),
                next_hop_v4: Some(NextHop::V4("10.0.1.11".parse().unwrap())),
                next_hop_v6: Some(NextHop::V6("2001:db8:1::11".parse().unwrap())),
                overrides: Overrides::default(),
            },
            negotiated,
            adj_rib_out: AdjRibOut::default(),
            refresh: BTreeSet::new(),
            stale: true,
        });
    }

    fn transmit(&self, connection: u64, segment: Segment, world: &mut World) {
        world.link.send(self.who.other(), connection, segment, world.now, world.luck);
    }

    fn send(&mut self, message: &OutgoingMessage) {
        let tcp = self.tcp.as_mut().expect("nothing is sent without TCP");
        let tail = tcp.outbox.tail();
        match message {
            OutgoingMessage::Open => wire::open(tail, &self.offer),
            OutgoingMessage::Keepalive => wire::keepalive(tail),
            OutgoingMessage::Notification(notification) => wire::notification(tail, notification),
        }
    }

    /// Sends octets that the test chooses, after the earlier ones.
    pub fn say(&mut self, octets: &[u8]) {
        if let Some(tcp) = &mut self.tcp {
            tcp.outbox.tail().extend(octets);
        }
    }

    /// Sends the changes to the peer, unless too many earlier octets are unread.
    pub fn fill(&mut self, healthy: &BTreeSet<IpNet>) {
        let (Some(tcp), Some(routes)) = (&mut self.tcp, &mut self.routes) else { return };
        if !routes.stale || !tcp.outbox.has_room() {
            return;
        }
        routes.stale = false;
        let asked = std::mem::take(&mut routes.refresh);
        let enhanced = routes.negotiated.refresh == RefreshKind::Enhanced;
        let bounded: Vec<Family> =
            asked.iter().filter(|family| enhanced && routes.adj_rib_out.ended(**family)).copied().collect();
        asked.iter().for_each(|family| routes.adj_rib_out.refresh(*family));
        let tail = tcp.outbox.tail();
        bounded.iter().for_each(|family| wire::refresh_bound(tail, *family, RefreshMarker::Begin).unwrap());
        let updates = routes.adj_rib_out.advance(&self.rib, &routes.export);
        let mut announced = false;
        for update in &updates {
            match update {
                Update::Withdraw(..) => assert!(!announced, "withdrawals come first"),
                Update::Announce { prefixes, .. } => {
                    announced = true;
                    self.stored.prefixes.extend(prefixes);
                    let good = prefixes.iter().all(|prefix| healthy.contains(prefix));
                    assert!(good || self.who == Side::Router, "{prefixes:?} may not be announced");
                }
                Update::EndOfRib(_) => assert!(self.rib.complete, "End-of-RIB waits for the first verdicts"),
            }
            self.updates += wire::update(tail, &routes.encoding, update).unwrap();
        }
        bounded.iter().for_each(|family| wire::refresh_bound(tail, *family, RefreshMarker::End).unwrap());
        let news = if updates.is_empty() { OutboxChange::Nothing } else { OutboxChange::Updates };
        tcp.outbox
            .mark(AckPosition { generation: self.rib.generation, prefixes: routes.adj_rib_out.len() }, news);
    }

    /// Writes as many octets as the kernel accepts.
    pub fn flush(&mut self, world: &mut World) {
        let Some(tcp) = &mut self.tcp else { return };
        if !tcp.outbox.unsent().is_empty() {
            let octets = tcp.outbox.unsent().to_vec();
            self.stored.octets = StoredOctets { offset: tcp.outbox.written(), octets };
        }
        let room = (WINDOW + tcp.read_by_peer).saturating_sub(tcp.sent);
        let count = tcp.outbox.unsent().len().min(usize::try_from(room).unwrap());
        if count > 0 {
            let octets = tcp.outbox.unsent()[..count].to_vec();
            tcp.outbox.took(count);
            tcp.sent += count as u64;
            let id = tcp.id;
            let cut = world.luck.usize(..count);
            let (front, back) = octets.split_at(cut);
            self.transmit(id, Segment::Data(front.to_vec()), world);
            self.transmit(id, Segment::Data(back.to_vec()), world);
        }
        let Some(tcp) = &mut self.tcp else { return };
        if tcp.outbox.outstanding() > 0 {
            tcp.waiting.get_or_insert(world.now);
            self.handle(Event::Unsent, world);
        }
    }

    /// A segment has arrived.
    pub fn arrived(&mut self, connection: u64, segment: Segment, world: &mut World) {
        if self.tcp.as_ref().is_some_and(|tcp| tcp.id == connection) {
            return self.arrived_here(segment, world);
        }
        match segment {
            Segment::Syn if self.state.name() == StateName::Connect => {
                self.transmit(connection, Segment::SynAck, world);
                self.connect(connection, world);
            }
            Segment::SynAck if self.dialing == Some(connection) => self.connect(connection, world),
            Segment::Rst if self.dialing == Some(connection) => {
                self.handle(Event::TcpFails(TcpFailure::Refused), world);
            }
            Segment::Syn | Segment::SynAck | Segment::Data(_) => {
                self.transmit(connection, Segment::Rst, world);
            }
            Segment::Ack { .. } | Segment::Fin | Segment::Rst => {}
        }
    }

    fn connect(&mut self, id: u64, world: &mut World) {
        self.dialing = None;
        self.tcp = Some(Tcp {
            id,
            framer: Framer::default(),
            outbox: Outbox::default(),
            sent: 0,
            acknowledged: 0,
            read_by_peer: 0,
            arrived: 0,
            read: 0,
            unread: VecDeque::new(),
            fin: false,
            waiting: None,
        });
        self.table = Table::default();
        self.handle(Event::TcpConnected, world);
    }

    fn arrived_here(&mut self, segment: Segment, world: &mut World) {
        let Some(tcp) = &mut self.tcp else { return };
        match segment {
            Segment::Syn | Segment::SynAck => {}
            Segment::Rst => self.handle(Event::TcpFails(TcpFailure::Reset), world),
            Segment::Data(octets) => {
                tcp.arrived += octets.len() as u64;
                self.stored.heard = Some(world.now);
                tcp.unread.extend(octets);
                self.read(world);
                self.acknowledge(world);
            }
            Segment::Fin => {
                tcp.fin = true;
                self.read(world);
            }
            Segment::Ack { arrived, read } => {
                tcp.acknowledged = tcp.acknowledged.max(arrived);
                tcp.read_by_peer = tcp.read_by_peer.max(read);
                let moved = tcp.outbox.acknowledge(tcp.sent - tcp.acknowledged) > 0;
                let all = tcp.outbox.outstanding() == 0;
                if moved || all {
                    tcp.waiting = (!all).then_some(world.now);
                    let left = if all { Backlog::Nothing } else { Backlog::Some };
                    self.handle(Event::Sent(left), world);
                }
            }
        }
    }

    fn acknowledge(&self, world: &mut World) {
        if let Some(tcp) = &self.tcp {
            let ack = Segment::Ack { arrived: tcp.arrived, read: tcp.read };
            self.transmit(tcp.id, ack, world);
        }
    }

    /// Lets a stopped reader continue.
    pub fn wake(&mut self, world: &mut World) {
        self.stuck = false;
        self.read(world);
        self.acknowledge(world);
    }

    /// Reads and handles everything that has arrived, in pieces of any size.
    fn read(&mut self, world: &mut World) {
        while let Some(tcp) = self.tcp.as_mut().filter(|_| !self.stuck) {
            if tcp.unread.is_empty() {
                if tcp.fin {
                    self.handle(Event::TcpFails(TcpFailure::Closed), world);
                }
                return;
            }
            let count = world.luck.usize(1..=tcp.unread.len());
            let piece: Vec<u8> = tcp.unread.drain(..count).collect();
            tcp.read += piece.len() as u64;
            tcp.framer.feed(&piece);
            self.table.feed(&piece);
            self.messages(world);
        }
    }

    fn messages(&mut self, world: &mut World) {
        while let Some(tcp) = &mut self.tcp {
            let message = match tcp.framer.next() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(notification) => return self.handle(Event::HeaderError(notification), world),
            };
            let (kind, body) = self.table.message();
            let event = self.event(message);
            let learn = self.who == Side::Router && self.state.name() == StateName::Established && kind == 2;
            if learn {
                self.table.apply(&body);
            }
            self.handle(event, world);
        }
    }

    fn event(&mut self, message: Message) -> Event {
        match message {
            Message::Open(open) => match open.and_then(|open| negotiate(&self.offer, &open)) {
                Ok(negotiated) => Event::Open(negotiated),
                Err(error) => Event::OpenError(error),
            },
            Message::Update(envelope) => envelope.map_or_else(Event::UpdateError, |()| Event::Update),
            Message::Notification(notification) => Event::Notification(notification),
            Message::Keepalive => Event::Keepalive,
            Message::Refresh(refresh) => {
                let asked =
                    self.routes.as_ref().map_or(Ok(None), |routes| routes.negotiated.refresh(&refresh));
                asked.map_or_else(Event::RefreshError, Event::Refresh)
            }
        }
    }

    /// Whether everything was sent, and the peer has read all of it.
    pub fn heard_out(&self) -> bool {
        let (Some(tcp), Some(routes)) = (&self.tcp, &self.routes) else { return false };
        !routes.stale && tcp.outbox.unsent().is_empty() && tcp.read_by_peer == tcp.sent
    }

    /// Whether the session is up with a hold time of zero.
    pub fn holds_for_ever(&self) -> bool {
        self.routes.as_ref().is_some_and(|routes| routes.negotiated.hold_time.is_none())
    }

    /// Whether the session carries a family.
    pub fn speaks(&self, family: Family) -> bool {
        self.routes.as_ref().is_some_and(|routes| routes.export.families.contains(&family))
    }

    /// Whether the peer's kernel has all of the Loc-RIB.
    pub fn acknowledged(&self) -> bool {
        self.tcp.as_ref().is_some_and(|tcp| tcp.outbox.acknowledged() == self.rib.generation)
    }
}

/// The NOTIFICATION of an administrator's stop.
pub fn shutdown() -> Notification {
    Notification::new(notification::ADMINISTRATIVE_SHUTDOWN, [0])
}

/// How long a session may take to be established again when no more faults happen.
pub const HEALED: Duration = Duration::from_secs(600);
