//! A session of the thread: its machine, its socket and what is counted.
//!
//! Touches its socket and the log.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::socket::{self, Datagram, ReceiverKey};
use super::{SavedSession, Wanted};
use crate::bfd::fsm::{DownCause, Machine, Snapshot, Transition};
use crate::bfd::packet::{self, BfdState, Packet};
use crate::bfd::status::BfdSessionReport;

/// The wait before a socket that could not be opened is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// AdminDown is sent for at most this time, even if the detection time of the router is longer.
const LONGEST_LEAVE: Duration = Duration::from_secs(10);

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// One session.
#[derive(Debug)]
pub(super) struct BfdSession {
    pub(super) wanted: Wanted,
    pub(super) machine: Machine,
    socket: Option<Arc<OwnedFd>>,
    /// When to open the socket again.
    retry: Instant,
    /// Until when it says AdminDown, after which it is forgotten; `None`: it is wanted.
    pub(super) leaves: Option<Instant>,
    since: Instant,
    last_down: Option<(DownCause, Instant)>,
    was_up: bool,
    flaps: u64,
    losses: u64,
    sent: u64,
    received: u64,
    unsent: u64,
    error: Option<String>,
    /// As it was reported last.
    reported: Option<Snapshot>,
}

impl BfdSession {
    /// A new session.
    pub(super) fn new(wanted: Wanted, discriminator: u32, now: Instant) -> Self {
        let machine = Machine::new(wanted.settings, discriminator, now);
        BfdSession {
            wanted,
            machine,
            socket: None,
            retry: now,
            leaves: None,
            since: now,
            last_down: None,
            was_up: false,
            flaps: 0,
            losses: 0,
            sent: 0,
            received: 0,
            unsent: 0,
            error: None,
            reported: None,
        }
    }

    /// Continues a session of a previous process.
    pub(super) fn restore(saved: SavedSession, socket: Option<OwnedFd>, now: Instant) -> Self {
        let SavedSession { name, ends, snapshot, flaps, losses } = saved;
        let machine = Machine::restore(&snapshot, now);
        let wanted = Wanted { name, ends, settings: machine.settings() };
        let was_up = machine.state() == BfdState::Up;
        let new = BfdSession::new(wanted, machine.discriminator(), now);
        BfdSession { machine, socket: socket.map(Arc::new), was_up, flaps, losses, ..new }
    }

    /// Whether a packet that a receiver got can be for this session: it is from the router's address to ours (RFC 5880 §6.8.6 leaves it
    /// to the application), and on our interface, if the address alone does not say which router it is. In a VRF, the receiver is that
    /// of the VRF, and the interface is that on which the packet came, not the VRF.
    pub(super) fn is_from(&self, receiver: &ReceiverKey, datagram: &Datagram) -> bool {
        let ends = &self.wanted.ends;
        let one_link =
            (ends.device.is_some() && ends.device.as_deref() != ends.vrf_name()) || is_link_local(ends.peer);
        let arrived =
            |(to, interface): (IpAddr, u32)| to == ends.local && (!one_link || interface == ends.interface);
        ReceiverKey::of(ends) == *receiver
            && ends.peer == datagram.source.ip()
            && datagram.arrival.is_some_and(arrived)
    }

    /// Whether a packet with this TTL has come from no further away than the router may be.
    pub(super) fn is_near(&self, ttl: u8) -> bool {
        ttl >= self.wanted.ends.least_ttl
    }

    pub(super) fn receive(&mut self, packet: &Packet, now: Instant) -> bool {
        self.received += 1;
        let transition = self.machine.receive(packet, now);
        self.note(transition, now)
    }

    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let transition = self.machine.expire(now);
        self.note(transition, now)
    }

    /// Goes to AdminDown. The router hears it during its detection time.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.leaves.is_some() {
            return;
        }
        let heard = matches!(self.machine.state(), BfdState::Init | BfdState::Up);
        let time = self.machine.remote_detection_time().filter(|_| heard).unwrap_or_default();
        self.leaves = Some(now + time.min(LONGEST_LEAVE));
        let transition = self.machine.admin_down(now);
        self.note(transition, now);
    }

    /// Sends the packets that are due. Unless `live`, they are dropped.
    pub(super) fn transmit(&mut self, now: Instant, live: bool) {
        while let Some(packet) = self.machine.transmit(now, fastrand::f64()) {
            if live {
                self.send(&packet, now);
            }
        }
    }

    fn send(&mut self, packet: &Packet, now: Instant) {
        let Some(socket) = self.socket(now) else {
            self.unsent += 1;
            return;
        };
        match socket::send(socket.as_fd(), &self.wanted.ends, &packet::encode(packet)) {
            Ok(()) => {
                self.sent += 1;
                self.error = None;
            }
            Err(error) => {
                self.unsent += 1;
                if socket::is_gone(&error) {
                    (self.socket, self.retry) = (None, now);
                }
                self.error = Some(format!("the kernel refused a packet: {error}"));
            }
        }
    }

    fn socket(&mut self, now: Instant) -> Option<Arc<OwnedFd>> {
        if self.socket.is_none() && now >= self.retry {
            match socket::sender(&self.wanted.ends) {
                Ok(socket) => self.socket = Some(Arc::new(socket)),
                Err(error) => {
                    self.retry = now + RETRY;
                    let local = self.wanted.ends.local;
                    self.error = Some(format!("no packet can be sent from {local}: {error}"));
                }
            }
        }
        self.socket.clone()
    }

    /// Counts and logs a change of the state; `true`: there was one.
    fn note(&mut self, transition: Option<Transition>, now: Instant) -> bool {
        let Some(Transition { from, to, cause }) = transition else { return false };
        self.since = now;
        self.flaps += u64::from(from == BfdState::Up);
        self.was_up |= to == BfdState::Up;
        let peer = &self.wanted.name;
        if let Some(cause) = cause {
            self.last_down = Some((cause, now));
            self.losses += u64::from(from == BfdState::Up && cause.is_loss());
            if from == BfdState::Up && cause.is_loss() {
                warn!(peer = %peer, from = %from, to = %to, cause = %cause, "BFD state changed");
            } else {
                info!(peer = %peer, from = %from, to = %to, cause = %cause, "BFD state changed");
            }
        } else {
            info!(peer = %peer, from = %from, to = %to, "BFD state changed");
        }
        true
    }

    pub(super) fn named_socket(&self) -> Option<(String, Arc<OwnedFd>)> {
        Some((super::sender_name(&self.wanted.name), self.socket.clone()?))
    }

    /// Whether a process that continues would need another snapshot than the one that was reported last.
    pub(super) fn has_news(&mut self, now: Instant) -> bool {
        let snapshot = self.machine.snapshot(now);
        let news = self.reported.as_ref().is_none_or(|reported| reported.differs(&snapshot));
        if news {
            self.reported = Some(snapshot);
        }
        news
    }

    pub(super) fn saved(&self, now: Instant) -> SavedSession {
        SavedSession {
            name: self.wanted.name.clone(),
            ends: self.wanted.ends.clone(),
            snapshot: self.machine.snapshot(now),
            flaps: self.flaps,
            losses: self.losses,
        }
    }

    pub(super) fn report(&self) -> BfdSessionReport {
        let machine = &self.machine;
        BfdSessionReport {
            ends: self.wanted.ends.clone(),
            settings: self.wanted.settings,
            state: machine.state(),
            since: self.since,
            remote_state: machine.remote_state(),
            interval: machine.interval(),
            remote_interval: machine.remote_interval(),
            detection_time: machine.detection_time(),
            remote_detection_time: machine.remote_detection_time(),
            diag: machine.diag(),
            remote_diag: machine.remote_diag(),
            last_down: self.last_down,
            was_up: self.was_up,
            flaps: self.flaps,
            losses: self.losses,
            sent: self.sent,
            received: self.received,
            unsent: self.unsent,
            error: self.error.clone(),
        }
    }
}
