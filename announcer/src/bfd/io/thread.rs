//! The loop of the thread: reads packets, lets the detection times end, sends what is due, and reports.
//!
//! Touches the clock, sockets and the log. In each turn, packets are read before a detection time ends: if
//! this process was stopped, the packets that have arrived meanwhile count.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TryRecvError, error::TrySendError};
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::lease::{LEASE, MainTurns};
use super::session::BfdSession;
use super::socket::{self, Datagram, Port, ReceiverKey};
use super::{BfdOrder, InheritedBfd, LONGEST_STOP, ThreadReport, Wanted};
use crate::bfd::packet::{self, DropReason};
use crate::bfd::status::port_name;
use crate::model::Family;
use crate::realtime::Scheduling;

/// A turn without events comes at least this often; then the counters are reported.
const TURN: Duration = Duration::from_secs(1);
/// The wait before a port that could not be opened is opened again.
const RETRY: Duration = Duration::from_secs(5);
/// The time in which at most [`BUDGET`] packets are read, and [`BUDGET_OF_SESSION`] for each session. A flood of packets must neither
/// keep the thread from sending nor take the processor from the rest of the host. What is too much is dropped by the kernel.
const PERIOD: Duration = Duration::from_millis(10);
const BUDGET: usize = 256;
const BUDGET_OF_SESSION: usize = 16;
/// The packets that are read from one port before the others have their turn.
const TURN_OF_PORT: usize = 16;
/// The wait until a report is sent again that the main thread had no room for.
const REPORT_AGAIN: Duration = Duration::from_millis(50);

/// The loop, from its start to its end.
pub(super) async fn run(
    scheduling: Scheduling,
    turns: MainTurns,
    inherited: InheritedBfd,
    orders: mpsc::UnboundedReceiver<BfdOrder>,
    reports: mpsc::Sender<ThreadReport>,
) {
    let mut thread = Thread::new(scheduling, turns, reports, Instant::now());
    thread.inherit(inherited);
    thread.serve(orders).await;
}

/// A port to receive on.
enum Receiver {
    Open {
        socket: UdpSocket,
        /// The same socket, for a process that continues.
        shared: Arc<OwnedFd>,
    },
    Closed {
        error: String,
        retry: Instant,
    },
}

struct Budget {
    begins: Instant,
    read: usize,
}

struct Thread {
    turns: MainTurns,
    reports: mpsc::Sender<ThreadReport>,
    scheduling: Scheduling,
    sessions: Vec<BfdSession>,
    receivers: BTreeMap<ReceiverKey, Receiver>,
    drops: BTreeMap<DropReason, u64>,
    withheld: Option<Instant>,
    /// When the thread ends at the latest.
    stops: Option<Instant>,
    /// Whether a report is due at once.
    changed: bool,
    reported: Instant,
    budget: Budget,
}

impl Thread {
    /// Without sessions.
    fn new(
        scheduling: Scheduling,
        turns: MainTurns,
        reports: mpsc::Sender<ThreadReport>,
        now: Instant,
    ) -> Thread {
        Thread {
            turns,
            reports,
            scheduling,
            sessions: Vec::new(),
            receivers: BTreeMap::new(),
            drops: BTreeMap::new(),
            withheld: None,
            stops: None,
            changed: true,
            reported: now,
            budget: Budget { begins: now, read: 0 },
        }
    }

    /// Continues the sessions of a previous process, and sends their first packets.
    fn inherit(&mut self, inherited: InheritedBfd) {
        let now = Instant::now();
        let mut sockets: BTreeMap<String, OwnedFd> = inherited.sockets.into_iter().collect();
        let keys: BTreeSet<ReceiverKey> =
            inherited.sessions.iter().map(|session| ReceiverKey::of(&session.ends)).collect();
        for saved in inherited.sessions {
            let socket = sockets.remove(&super::sender_name(&saved.name));
            let mut session = BfdSession::restore(saved, socket, now);
            session.transmit(now, true);
            self.sessions.push(session);
        }
        for key in keys {
            let socket = sockets.remove(&key.socket_name());
            if let Some(Ok(receiver)) = socket.map(|one| reading(one, key.family)) {
                self.receivers.insert(key, receiver);
            }
        }
    }

    async fn serve(&mut self, mut orders: mpsc::UnboundedReceiver<BfdOrder>) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(order),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            self.open_ports(now);
            let more = self.read(now);
            for session in &mut self.sessions {
                self.changed |= session.expire(now);
            }
            let live = self.is_live(now);
            for session in &mut self.sessions {
                session.transmit(now, live);
                self.changed |= session.has_news(now);
            }
            self.forget(now);
            if self.stops.is_some_and(|stops| now >= stops || self.sessions.is_empty()) {
                return;
            }
            self.report(now);
            let deadline = self.deadline(now, more);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                () = self.readable(), if !more => {}
                () = sleep_until(deadline.into()) => {}
            }
        }
    }

    fn obey(&mut self, order: BfdOrder) {
        let now = Instant::now();
        self.changed = true;
        match order {
            BfdOrder::Sessions(wanted) => self.apply(wanted, now),
            BfdOrder::Stop => {
                self.apply(Vec::new(), now);
                self.stops = Some(now + LONGEST_STOP);
            }
        }
    }

    fn apply(&mut self, wanted: Vec<Wanted>, now: Instant) {
        for session in &mut self.sessions {
            let same = |one: &&Wanted| one.name == session.wanted.name && one.ends == session.wanted.ends;
            match wanted.iter().find(same) {
                Some(one) if session.leaves.is_none() => {
                    session.machine.configure(one.settings, now);
                    session.wanted = one.clone();
                }
                Some(_) | None => session.leave(now),
            }
        }
        for one in wanted {
            // A session with the same ends that is just being ended would take the new one down.
            self.sessions.retain(|session| session.leaves.is_none() || session.wanted.ends != one.ends);
            if !self
                .sessions
                .iter()
                .any(|session| session.leaves.is_none() && session.wanted.name == one.name)
            {
                let discriminator = self.discriminator();
                self.sessions.push(BfdSession::new(one, discriminator, now));
            }
        }
    }

    /// A random discriminator that no session has.
    fn discriminator(&self) -> u32 {
        loop {
            let random = fastrand::u32(1..);
            if self.sessions.iter().all(|session| session.machine.discriminator() != random) {
                return random;
            }
        }
    }

    /// Removes the sessions that have said AdminDown for long enough.
    fn forget(&mut self, now: Instant) {
        let before = self.sessions.len();
        self.sessions.retain(|session| session.leaves.is_none_or(|until| now < until));
        self.changed |= self.sessions.len() != before;
    }

    /// Whether the main thread turns, so that packets may be sent.
    fn is_live(&mut self, now: Instant) -> bool {
        let live = self.turns.age(now) < LEASE;
        match (live, self.withheld) {
            (false, None) => {
                self.withheld = Some(now);
                self.changed = true;
                warn!("main thread does not turn, BFD packets are withheld");
            }
            (true, Some(_)) => {
                self.withheld = None;
                self.changed = true;
                info!("main thread turns, BFD packets are sent again");
            }
            (false, Some(_)) | (true, None) => {}
        }
        live
    }

    /// Opens the ports that the sessions need.
    fn open_ports(&mut self, now: Instant) {
        let needed: BTreeSet<ReceiverKey> =
            self.sessions.iter().map(|session| ReceiverKey::of(&session.wanted.ends)).collect();
        let before = self.receivers.len();
        self.receivers.retain(|key, _| needed.contains(key));
        self.changed |= self.receivers.len() != before;
        for key in &needed {
            match self.receivers.get(key) {
                Some(Receiver::Open { .. }) => continue,
                Some(Receiver::Closed { retry, .. }) if now < *retry => continue,
                Some(Receiver::Closed { .. }) | None => {}
            }
            let known = self.receivers.contains_key(key);
            let is_shared = needed.iter().filter(|other| is_one_port(other, key)).count() > 1;
            if is_shared {
                // If it fails, the port cannot be opened, and that error is reported.
                let _ = self.share_port(key, true);
            }
            let receiver = match socket::receiver(key, is_shared)
                .and_then(|socket| reading(socket, key.family))
            {
                Ok(receiver) => receiver,
                Err(error) => {
                    let error = socket::receiver_error(&error, key);
                    if !known {
                        let (port, family, vrf) =
                            (key.port.number(), key.family, key.vrf.as_ref().map(|vrf| vrf.name.as_str()));
                        warn!(port, %family, vrf, error, "BFD cannot receive");
                    }
                    Receiver::Closed { error, retry: now + RETRY }
                }
            };
            self.changed |= !known || matches!(receiver, Receiver::Open { .. });
            self.receivers.insert(key.clone(), receiver);
            if is_shared && let Err(error) = self.share_port(key, false) {
                let (port, family) = (key.port.number(), key.family);
                warn!(port, %family, %error, "BFD port is still open to other programs");
            }
        }
    }

    /// Whether another receiver may have the port of those that are open. Only while it is opened: otherwise another program could
    /// open the port too. It is set on each of them, also if it fails on one; with the first error.
    fn share_port(&self, key: &ReceiverKey, shares: bool) -> io::Result<()> {
        let mut done = Ok(());
        for (other, receiver) in &self.receivers {
            if let Receiver::Open { shared, .. } = receiver
                && is_one_port(other, key)
            {
                done = done.and(socket::share(shared.as_fd(), shares));
            }
        }
        done
    }

    /// Reads the packets that wait; `true`: the budget is used up, and more may wait.
    fn read(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.budget.begins) >= PERIOD {
            self.budget = Budget { begins: now, read: 0 };
        }
        let most = BUDGET + BUDGET_OF_SESSION * self.sessions.len();
        // A few of each port in turns, so that a flood of one does not starve the others.
        let mut ports: Vec<(&ReceiverKey, &Receiver)> = self.receivers.iter().collect();
        while !ports.is_empty() {
            let mut waiting = Vec::new();
            for (key, receiver) in ports {
                let Receiver::Open { socket, .. } = receiver else { continue };
                let mut rest = TURN_OF_PORT;
                while rest > 0 {
                    if self.budget.read >= most {
                        return true;
                    }
                    let Some(datagram) = socket::receive(socket.as_fd()) else {
                        // The runtime may still believe that the socket is readable.
                        let nothing = || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into());
                        let _ = socket.try_io(Interest::READABLE, nothing);
                        break;
                    };
                    rest -= 1;
                    self.budget.read += 1;
                    match accept(&mut self.sessions, key, &datagram, now) {
                        Ok(changed) => self.changed |= changed,
                        Err(reason) => *self.drops.entry(reason).or_default() += 1,
                    }
                }
                if rest == 0 {
                    waiting.push(key);
                }
            }
            let receivers = &self.receivers;
            ports = receivers.iter().filter(|(key, _)| waiting.contains(key)).collect();
        }
        false
    }

    /// Returns when a packet waits.
    async fn readable(&self) {
        let open = self.receivers.values().filter_map(|receiver| match receiver {
            Receiver::Open { socket, .. } => Some(Box::pin(socket.readable())),
            Receiver::Closed { .. } => None,
        });
        let open: Vec<_> = open.collect();
        if open.is_empty() {
            return std::future::pending().await;
        }
        let _ = select_all(open).await; // an error of the socket is read with the next packet
    }

    fn deadline(&self, now: Instant, more: bool) -> Instant {
        let machines = self.sessions.iter().filter_map(|session| session.machine.deadline());
        let leaving = self.sessions.iter().filter_map(|session| session.leaves);
        let again = (self.changed).then(|| now + REPORT_AGAIN);
        let budget = more.then(|| self.budget.begins + PERIOD);
        let all = machines.chain(leaving).chain(self.stops).chain(again).chain(budget);
        all.min().unwrap_or(now + TURN).min(now + TURN)
    }

    fn report(&mut self, now: Instant) {
        if !self.changed && now.saturating_duration_since(self.reported) < TURN {
            return;
        }
        let wanted = || self.sessions.iter().filter(|session| session.leaves.is_none());
        let sockets = self.receivers.iter().filter_map(|(key, receiver)| match receiver {
            Receiver::Open { shared, .. } => Some((key.socket_name(), shared.clone())),
            Receiver::Closed { .. } => None,
        });
        let closed = self.receivers.iter().filter_map(|(key, receiver)| match receiver {
            Receiver::Open { .. } => None,
            Receiver::Closed { error, .. } => {
                let port = port_name(key.port.number(), key.family, key.vrf.as_ref());
                Some((port, error.clone()))
            }
        });
        let report = ThreadReport {
            scheduling: self.scheduling.clone(),
            withheld: self.withheld,
            closed_ports: closed.collect(),
            sessions: wanted().map(|one| (one.wanted.name.clone(), one.report())).collect(),
            drops: self.drops.clone(),
            sockets: sockets.chain(wanted().filter_map(BfdSession::named_socket)).collect(),
            saved: wanted().map(|session| session.saved(now)).collect(),
        };
        // It never waits: if the main thread has no room, the next report has the newer state.
        match self.reports.try_send(report) {
            Ok(()) | Err(TrySendError::Closed(_)) => (self.changed, self.reported) = (false, now),
            Err(TrySendError::Full(_)) => self.changed = true,
        }
    }
}

/// Whether two receivers are for the same port and family.
fn is_one_port(one: &ReceiverKey, other: &ReceiverKey) -> bool {
    (one.port, one.family) == (other.port, other.family)
}

fn reading(socket: OwnedFd, family: Family) -> io::Result<Receiver> {
    socket::with_details(&socket, family)?;
    let shared = Arc::new(socket.try_clone()?);
    Ok(Receiver::Open { socket: UdpSocket::from_std(socket.into())?, shared })
}

/// Gives a packet to its session; `true`: the session's state has changed.
///
/// # Errors
/// The reason to drop it.
fn accept(
    sessions: &mut [BfdSession],
    receiver: &ReceiverKey,
    datagram: &Datagram,
    now: Instant,
) -> Result<bool, DropReason> {
    let ttl = datagram.ttl.ok_or(DropReason::Ttl)?;
    if receiver.port == Port::SingleHop && ttl != u8::MAX {
        return Err(DropReason::Ttl);
    }
    let packet = packet::decode(datagram.octets.get(..datagram.length).ok_or(DropReason::Length)?)?;
    let named = packet.your_discriminator;
    let session = sessions.iter_mut().find(|session| {
        session.is_from(receiver, datagram)
            && match named {
                0 => session.leaves.is_none(),
                named => session.machine.discriminator() == named,
            }
    });
    let session = session.ok_or(DropReason::NoSession)?;
    if !session.is_near(ttl) {
        return Err(DropReason::Ttl);
    }
    Ok(session.receive(&packet, now))
}

#[cfg(test)]
mod tests;
