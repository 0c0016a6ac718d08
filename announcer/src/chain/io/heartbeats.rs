//! The loop: reads heartbeats, lets silence have its effects, sends what is due, and reports.
//!
//! Touches the clock, a UDP socket and rtnetlink. In each turn, heartbeats are read before a member is declared dead: if this process
//! was stopped, those that have arrived meanwhile count.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TryRecvError, error::TrySendError};
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::neighbours::Neighbours;
use super::{HeartbeatContent, HeartbeatOrder, HeartbeatReport, HeartbeatSettings, MemberReport};
use crate::chain::contact::Contact;
use crate::chain::guard::SaidVips;
use crate::chain::heartbeat::{
    AboutReceiver, Facts, Header, Heartbeat, HeartbeatDropReason, HeartbeatStart, IntentAnswer, MAX_LENGTH,
    MemberPresence, MemberVipState, PageCursor, VipTable,
};
use crate::chain::member::{Member, MemberChange, MemberSettings, MemberState, Said};
use crate::chain::ring::MemberObservation;
use crate::chain::test_packets::TestPacketReport;

/// A turn without events comes at least this often; then the counters are reported.
const TURN: Duration = Duration::from_secs(1);
/// The wait before a socket that could not be opened is opened again.
const RETRY: Duration = Duration::from_secs(1);
/// The time in which at most [`BUDGET`] datagrams are read, and [`BUDGET_OF_MEMBER`] for each member. A flood must neither keep the
/// loop from sending nor take the processor from the rest of the host. What is too much is dropped by the kernel.
const PERIOD: Duration = Duration::from_millis(10);
const BUDGET: usize = 64;
const BUDGET_OF_MEMBER: usize = 8;
/// The wait until a report is sent again that the main thread had no room for.
const REPORT_AGAIN: Duration = Duration::from_millis(20);
/// Network control (RFC 4594 §3.2), as for our BGP packets.
const CS6: u32 = 0xc0;

/// A random number for a start.
pub(super) fn random_start() -> io::Result<HeartbeatStart> {
    let mut octets = [0; 16];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| io::Error::other("the kernel gives no random numbers"))?;
    HeartbeatStart::new(u128::from_ne_bytes(octets))
        .ok_or_else(|| io::Error::other("the random number was zero"))
}

/// The loop, from its start to its end.
pub(super) async fn run(
    settings: HeartbeatSettings,
    content: HeartbeatContent,
    former: BTreeMap<IpAddr, Said>,
    orders: mpsc::UnboundedReceiver<HeartbeatOrder>,
    reports: mpsc::Sender<HeartbeatReport>,
) {
    let now = Instant::now();
    let (answered, answers) = mpsc::unbounded_channel();
    let mut heartbeats = Heartbeats {
        socket: Err((String::new(), now)),
        peers: BTreeMap::new(),
        table: VipTable::default(),
        settings,
        content,
        drops: BTreeMap::new(),
        send_errors: 0,
        neighbours: Neighbours::open().map(Arc::new).ok(),
        answered,
        changed: true,
        reported: now,
        reports,
        budget: (now, 0),
    };
    heartbeats.settle(&former, now);
    heartbeats.table.set(heartbeats.content.vips.clone());
    heartbeats.serve(orders, answers).await;
}

/// What is known of one other member.
struct Peer {
    member: Member,
    cursor: PageCursor,
    vips: SaidVips,
    answer: Option<IntentAnswer>,
    test_packets: TestPacketReport,
    contact: Contact,
}

struct Heartbeats {
    settings: HeartbeatSettings,
    content: HeartbeatContent,
    /// The socket, or why there is none and when it is tried again.
    socket: Result<UdpSocket, (String, Instant)>,
    peers: BTreeMap<IpAddr, Peer>,
    table: VipTable,
    drops: BTreeMap<HeartbeatDropReason, u64>,
    send_errors: u64,
    neighbours: Option<Arc<Neighbours>>,
    /// Which kernels were asked, and whether they have answered.
    answered: mpsc::UnboundedSender<(IpAddr, bool)>,
    /// Whether a report is due at once.
    changed: bool,
    reported: Instant,
    reports: mpsc::Sender<HeartbeatReport>,
    /// When the period of reading began, and how many datagrams were read in it.
    budget: (Instant, usize),
}

impl Heartbeats {
    async fn serve(
        &mut self,
        mut orders: mpsc::UnboundedReceiver<HeartbeatOrder>,
        mut answers: mpsc::UnboundedReceiver<(IpAddr, bool)>,
    ) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            while let Ok((member, answered)) = answers.try_recv() {
                self.kernel_answered(member, answered);
            }
            let now = Instant::now();
            self.open(now);
            let more = self.read(now);
            self.expire(now);
            self.send(now);
            self.report(now);
            let deadline = self.deadline(now, more);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some((member, answered)) = answers.recv() => self.kernel_answered(member, answered),
                () = readable(&self.socket), if !more => {}
                () = sleep_until(deadline.into()) => {}
            }
        }
    }

    fn obey(&mut self, order: HeartbeatOrder) {
        let now = Instant::now();
        match order {
            HeartbeatOrder::Settings(settings) => {
                let same = (settings.own, settings.port) == (self.settings.own, self.settings.port);
                self.settings = *settings;
                if !same {
                    self.socket = Err((String::new(), now));
                    self.peers.clear();
                }
                self.settle(&BTreeMap::new(), now);
            }
            HeartbeatOrder::Content(content) => {
                if *content == self.content {
                    return;
                }
                self.table.set(content.vips.clone());
                self.content = *content;
                self.peers.values_mut().for_each(|peer| peer.member.hurry());
            }
        }
        self.changed = true;
    }

    /// Follows the list of members; `former`: what they said to a former process.
    fn settle(&mut self, former: &BTreeMap<IpAddr, Said>, now: Instant) {
        let HeartbeatSettings { own, members, interval, .. } = &self.settings;
        self.peers.retain(|address, _| members.contains(address));
        for peer in self.peers.values_mut() {
            peer.member.configure(*interval, now);
        }
        for member in members {
            // The kernel has given random numbers before. Without one, the member is taken with the next settings.
            let (false, Ok(start)) = (self.peers.contains_key(member), random_start()) else { continue };
            let settings = MemberSettings { own: *own, member: *member, interval: *interval };
            let peer = Peer {
                member: match former.get(member) {
                    Some(said) => Member::former(settings, start, *said, now),
                    None => Member::new(settings, start, now),
                },
                cursor: PageCursor::default(),
                vips: SaidVips::default(),
                answer: None,
                test_packets: TestPacketReport::default(),
                contact: Contact::default(),
            };
            self.peers.insert(*member, peer);
        }
    }

    fn open(&mut self, now: Instant) {
        let Err((known, retry)) = &self.socket else { return };
        if now < *retry {
            return;
        }
        let opened = open(SocketAddr::new(self.settings.own, self.settings.port));
        self.changed = true;
        self.socket = opened.map_err(|error| {
            let error = error.to_string();
            if *known != error {
                warn!(address = %self.settings.own, port = self.settings.port, error, "heartbeats cannot be exchanged");
            }
            (error, now + RETRY)
        });
    }

    /// Reads the datagrams that wait; `true`: the budget is used up, and more may wait.
    fn read(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.budget.0) >= PERIOD {
            self.budget = (now, 0);
        }
        let most = BUDGET + BUDGET_OF_MEMBER * self.peers.len();
        let mut octets = [0; MAX_LENGTH + 1];
        while self.budget.1 < most {
            let Ok(socket) = &self.socket else { return false };
            match socket.try_recv_from(&mut octets) {
                Ok((length, source)) => {
                    self.budget.1 += 1;
                    let datagram = octets.get(..length).unwrap_or_default();
                    if let Err(reason) = self.accept(datagram, source.ip(), now) {
                        *self.drops.entry(reason).or_default() += 1;
                        debug!(source = %source.ip(), %reason, "heartbeat did not count");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => self.budget.1 += 1, // such as a port that nobody has at a member; the next datagram is read
            }
        }
        true
    }

    /// Handles a datagram.
    ///
    /// # Errors
    /// Why it does not count.
    fn accept(&mut self, datagram: &[u8], source: IpAddr, now: Instant) -> Result<(), HeartbeatDropReason> {
        let peer = self.peers.get_mut(&source.to_canonical());
        let decoded = Heartbeat::decode(datagram, source, self.settings.own, &self.settings.keys);
        let Some(peer) = peer else { return decoded.and(Err(HeartbeatDropReason::NotMember)) };
        let before = peer.member.said().copied();
        let received = decoded.and_then(|heartbeat| Ok((peer.member.receive(&heartbeat, now)?, heartbeat)));
        let (change, heartbeat) = match received {
            Ok(received) => received,
            Err(reason) => {
                peer.contact.dropped(reason, now);
                return Err(reason);
            }
        };
        peer.contact.heard();
        self.changed |= peer.test_packets != heartbeat.test_packets;
        peer.test_packets = heartbeat.test_packets;
        if let Some(change) = change {
            log(peer.member.address(), change);
        }
        self.changed |= change.is_some() || peer.member.said().copied() != before;
        self.changed |= peer.answer != heartbeat.answer;
        peer.answer = heartbeat.answer;
        let Header { start, counter, .. } = heartbeat.header;
        self.changed |= peer.vips.hear(start, counter, heartbeat.intent, &heartbeat.vips);
        Ok(())
    }

    fn kernel_answered(&mut self, member: IpAddr, answered: bool) {
        let now = Instant::now();
        let Some(peer) = self.peers.get_mut(&member) else { return };
        peer.contact.kernel_answered(answered);
        if answered && let Some(change) = peer.member.kernel_answered(now) {
            log(member, change);
            self.changed = true;
        }
    }

    /// Lets silence have its effects, and asks the kernels of silent members.
    fn expire(&mut self, now: Instant) {
        for (address, peer) in &mut self.peers {
            if let Some(change) = peer.member.expire(now) {
                log(*address, change);
                self.changed = true;
            }
            if (peer.member.ask(now) || peer.contact.ask(peer.member.state(), now))
                && let (Some(neighbours), Some(place)) =
                    (&self.neighbours, self.settings.neighbours.get(address))
            {
                let (neighbours, place, answered) = (neighbours.clone(), *place, self.answered.clone());
                let member = *address;
                tokio::task::spawn_local(async move {
                    let has_answered = neighbours.ask(place).await;
                    let _ = answered.send((member, has_answered)); // the loop may have ended
                });
            }
        }
    }

    fn send(&mut self, now: Instant) {
        let Ok(socket) = &self.socket else { return };
        for (address, peer) in &mut self.peers {
            while let Some(header) = peer.member.transmit(now) {
                let octets = heartbeat(&self.content, header, self.table.page(&mut peer.cursor))
                    .encode(&self.settings.keys);
                if socket.try_send_to(&octets, SocketAddr::new(*address, self.settings.port)).is_err() {
                    self.send_errors += 1; // a route that is missing, or a port that nobody has: silence has its own effects
                }
            }
        }
    }

    fn deadline(&self, now: Instant, more: bool) -> Instant {
        // Without a socket nothing can be sent, and what is due stays due.
        let members = self.peers.values().map(|peer| peer.member.deadline()).filter(|_| self.socket.is_ok());
        let retry = self.socket.as_ref().err().map(|(_, retry)| *retry);
        let again = self.changed.then(|| now + REPORT_AGAIN);
        let budget = more.then(|| self.budget.0 + PERIOD);
        let all = members.chain(retry).chain(again).chain(budget);
        all.min().unwrap_or(now + TURN).min(now + TURN)
    }

    fn report(&mut self, now: Instant) {
        let awaited = self.peers.values().any(|peer| peer.member.awaited(now));
        let turn = if awaited { self.settings.interval } else { TURN };
        if !self.changed && now.saturating_duration_since(self.reported) < turn {
            return;
        }
        let members = self.peers.iter().map(|(address, peer)| {
            let report = MemberReport {
                observation: MemberObservation::of(&peer.member, now),
                last_heartbeat: peer.member.last_heartbeat(),
                vips: peer.vips.clone(),
                answer: peer.answer,
                test_packets: peer.test_packets,
                contact: peer.contact.report(now),
            };
            (*address, report)
        });
        let report = HeartbeatReport {
            members: members.collect(),
            drops: self.drops.clone(),
            send_errors: self.send_errors,
            bind_error: self.socket.as_ref().err().map(|(error, _)| error.clone()),
        };
        // It never waits: if the main thread has no room, the next report has the newer state.
        match self.reports.try_send(report) {
            Ok(()) | Err(TrySendError::Closed(_)) => (self.changed, self.reported) = (false, now),
            Err(TrySendError::Full(_)) => self.changed = true,
        }
    }
}

fn heartbeat(content: &HeartbeatContent, header: Header, vips: Vec<(IpAddr, MemberVipState)>) -> Heartbeat {
    let left = content.left.contains(&header.receiver);
    let presence = if left { MemberPresence::Left } else { content.facts.presence };
    Heartbeat {
        facts: Facts { presence, ..content.facts },
        test_packets: content.test_packets,
        about_receiver: content.about.get(&header.receiver).copied().unwrap_or(AboutReceiver::default()),
        answer: content.answers.get(&header.receiver).copied(),
        intent: content.intent.clone(),
        header,
        vips,
    }
}

fn log(member: IpAddr, MemberChange { from, to }: MemberChange) {
    match to {
        MemberState::Dead => warn!(%member, before = %from, "member is dead"),
        MemberState::Silent => {
            warn!(%member, before = %from, "heartbeats of member stopped, its kernel answers")
        }
        MemberState::Alive if from != MemberState::Asked => info!(%member, before = %from, "member is alive"),
        MemberState::Left => info!(%member, "member has left"),
        MemberState::Alive | MemberState::Asked | MemberState::Unknown => {
            debug!(%member, before = %from, state = %to, "state of member changed")
        }
    }
}

/// Opens the socket. It receives only what is sent to our member address.
fn open(own: SocketAddr) -> io::Result<UdpSocket> {
    let socket =
        Socket::new(Domain::for_address(own), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    match own.ip() {
        IpAddr::V4(_) => socket.set_tos_v4(CS6)?,
        IpAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_tclass_v6(CS6)?;
        }
    }
    socket.bind(&own.into())?;
    UdpSocket::from_std(socket.into())
}

/// Returns when a datagram waits.
async fn readable(socket: &Result<UdpSocket, (String, Instant)>) {
    match socket {
        Ok(socket) => drop(socket.readable().await), // an error of the socket is read with the next datagram
        Err(_) => std::future::pending().await,
    }
}
