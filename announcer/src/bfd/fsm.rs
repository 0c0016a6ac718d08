//! One BFD session: what follows from a packet, from silence and from an order, and which packet is sent when (RFC 5880 §6.8).
//!
//! Pure. `now` comes in, the next deadline comes out. Asynchronous mode without echo, without authentication, in the active role.
//!
//! ```text
//! packet -> Machine::receive ──┐
//! time   -> Machine::expire   ─┼─> Transition?    then: while let Some(packet) = Machine::transmit(now, jitter) { send }
//! order  -> Machine::configure,┘                        wait until Machine::deadline()
//!           Machine::admin_down
//! ```

pub mod snapshot;

use std::fmt;
use std::time::{Duration, Instant};

use crate::bfd::packet::{BfdState, Diagnostic, Packet};
pub use snapshot::Snapshot;

/// The shortest interval between packets while a session is not Up (RFC 5880 §6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// What an operator wants of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfdSettings {
    /// The interval in which we want to send, and in which we can receive. Not zero.
    pub interval: Duration,
    /// How many of our packets may be missing before the other end declares us down, 1 to 255.
    pub multiplier: u8,
}

/// Why a session has left Up or Init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownCause {
    /// No packet arrived for this detection time.
    Silence(Duration),
    /// The other end says that it does not hear us, or that it has begun anew; with its diagnostic.
    Neighbour(Diagnostic),
    /// The other end was switched off by its operator. This says nothing of the path (RFC 5882 §3.2).
    NeighbourAdminDown,
    /// Our own order.
    Ours,
}

impl DownCause {
    /// Whether it says that the path to the other end, or the other end itself, is lost.
    pub fn is_loss(self) -> bool {
        match self {
            DownCause::Silence(_) | DownCause::Neighbour(_) => true,
            DownCause::NeighbourAdminDown | DownCause::Ours => false,
        }
    }
}

impl fmt::Display for DownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownCause::Silence(time) => {
                write!(f, "no packet arrived for {}", humantime::format_duration(*time))
            }
            DownCause::Neighbour(diag) if *diag == Diagnostic::NONE => {
                f.write_str("the router has begun its session anew")
            }
            DownCause::Neighbour(diag) => write!(f, "the router reports: {diag}"),
            DownCause::NeighbourAdminDown => f.write_str("the router's BFD was switched off there"),
            DownCause::Ours => f.write_str("it was switched off here"),
        }
    }
}

/// A change of the session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: BfdState,
    /// After; differs from `from`.
    pub to: BfdState,
    /// Set if `to` is Down or AdminDown.
    pub cause: Option<DownCause>,
}

/// Whether new intervals are being agreed (RFC 5880 §6.5). While they are, each packet has the P bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Poll {
    /// They are not.
    No,
    /// They are.
    Running {
        /// Whether a packet with P has been sent. A Final before that answers an earlier question.
        asked: bool,
        /// Whether the intervals have changed again after the first question: then another question follows.
        again: bool,
    },
}

/// What the other end said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Remote {
    state: BfdState,
    discriminator: u32,
    diag: Diagnostic,
    demand: bool,
    multiplier: u8,
    min_tx: Duration,
    min_rx: Duration,
}

/// One session. The names are those of the variables in RFC 5880 §6.8.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    settings: BfdSettings,
    state: BfdState,
    discriminator: u32,
    diag: Diagnostic,
    remote: Remote,
    /// bfd.DesiredMinTxInterval, as packets say it.
    desired_min_tx: Duration,
    /// bfd.RequiredMinRxInterval, as packets say it.
    required_min_rx: Duration,
    /// The desired interval with which we send: an increase is used only after Final.
    used_min_tx: Duration,
    /// The required interval of the detection time: a decrease is used only after Final.
    used_min_rx: Duration,
    poll: Poll,
    /// Whether a packet with F is due.
    answer: bool,
    /// Whether a packet is due because its contents have changed.
    urgent: bool,
    /// When the next periodic packet is due; it is not sent while [`periodic`](Machine::periodic) is false.
    next: Instant,
    /// When the last packet arrived.
    heard: Option<Instant>,
}

impl Machine {
    /// A new session in state Down. `discriminator` is random, not 0, and no other session of this host has it.
    pub fn new(settings: BfdSettings, discriminator: u32, now: Instant) -> Self {
        let slow = settings.interval.max(SLOW);
        Machine {
            settings,
            state: BfdState::Down,
            discriminator,
            diag: Diagnostic::NONE,
            remote: Remote {
                state: BfdState::Down,
                discriminator: 0,
                diag: Diagnostic::NONE,
                demand: false,
                multiplier: 0,
                min_tx: Duration::ZERO,
                min_rx: Duration::from_micros(1),
            },
            desired_min_tx: slow,
            required_min_rx: settings.interval,
            used_min_tx: slow,
            used_min_rx: settings.interval,
            poll: Poll::No,
            answer: false,
            urgent: false,
            next: now,
            heard: None,
        }
    }

    /// Our state.
    pub fn state(&self) -> BfdState {
        self.state
    }

    /// The other end's state, as it said last.
    pub fn remote_state(&self) -> BfdState {
        self.remote.state
    }

    /// Our discriminator.
    pub fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// The other end's discriminator; 0 while it is not known.
    pub fn remote_discriminator(&self) -> u32 {
        self.remote.discriminator
    }

    /// Why we have left Up last.
    pub fn diag(&self) -> Diagnostic {
        self.diag
    }

    /// Why the other end has left Up last, as it said last.
    pub fn remote_diag(&self) -> Diagnostic {
        self.remote.diag
    }

    /// How long no packet may arrive before we declare the other end down; `None` until a packet has arrived.
    pub fn detection_time(&self) -> Option<Duration> {
        self.heard.map(|_| self.used_min_rx.max(self.remote.min_tx) * u32::from(self.remote.multiplier))
    }

    /// How long the other end waits for our packets before it declares us down; `None`: we send no periodic packets.
    pub fn remote_detection_time(&self) -> Option<Duration> {
        self.periodic().then(|| self.interval() * u32::from(self.settings.multiplier))
    }

    /// The interval between our packets, before jitter.
    pub fn interval(&self) -> Duration {
        self.used_min_tx.max(self.remote.min_rx)
    }

    /// The interval in which the other end sends, as agreed; `None` until a packet has arrived.
    pub fn remote_interval(&self) -> Option<Duration> {
        self.heard.map(|_| self.used_min_rx.max(self.remote.min_tx))
    }

    /// What is wanted.
    pub fn settings(&self) -> BfdSettings {
        self.settings
    }

    /// Whether periodic packets are sent: not if the other end has forbidden it by RequiredMinRx 0, and not if it uses demand mode.
    fn periodic(&self) -> bool {
        let demanded = self.remote.demand
            && self.state == BfdState::Up
            && self.remote.state == BfdState::Up
            && self.poll == Poll::No;
        !self.remote.min_rx.is_zero() && !demanded
    }

    fn expires(&self) -> Option<Instant> {
        self.heard.zip(self.detection_time()).map(|(heard, time)| heard + time)
    }

    /// When [`expire`](Machine::expire) or [`transmit`](Machine::transmit) has to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let expires = self.expires();
        let periodic = self.periodic().then_some(self.next);
        expires.into_iter().chain(periodic).min()
    }

    /// Handles a packet for this session: the caller has checked its source, and that `your_discriminator` is ours or 0.
    pub fn receive(&mut self, packet: &Packet, now: Instant) -> Option<Transition> {
        let before = self.pace();
        self.remote = Remote {
            state: packet.state,
            discriminator: packet.my_discriminator,
            diag: packet.diag,
            demand: packet.demand,
            multiplier: packet.multiplier,
            min_tx: packet.desired_min_tx,
            min_rx: packet.required_min_rx,
        };
        if packet.is_final {
            self.finish_poll();
        }
        if self.state == BfdState::AdminDown {
            return None; // §6.8.6: it is discarded here, so that it is no sign of life either, and a poll has no answer
        }
        self.heard = Some(now);
        let (to, diag) = next_state(self.state, packet.state);
        let cause = match packet.state {
            BfdState::AdminDown => DownCause::NeighbourAdminDown,
            BfdState::Down | BfdState::Init | BfdState::Up => DownCause::Neighbour(packet.diag),
        };
        let transition = self.enter(to, diag, cause, now);
        self.answer |= packet.poll;
        self.hurry(before, now);
        transition
    }

    /// Handles the end of the detection time, if it has come.
    pub fn expire(&mut self, now: Instant) -> Option<Transition> {
        if self.expires().is_none_or(|expires| now < expires) {
            return None;
        }
        let time = self.detection_time().unwrap_or_default();
        (self.heard, self.remote.discriminator, self.remote.state) = (None, 0, BfdState::Down);
        (self.remote.min_rx, self.remote.demand) = (Duration::from_micros(1), false); // as before the first packet
        match self.state {
            BfdState::Init | BfdState::Up => {
                self.enter(BfdState::Down, Some(Diagnostic::DETECTION_EXPIRED), DownCause::Silence(time), now)
            }
            BfdState::AdminDown | BfdState::Down => None,
        }
    }

    /// Changes the intervals. In state Up they are agreed by a poll, and the session stays up.
    pub fn configure(&mut self, settings: BfdSettings, now: Instant) {
        if settings == self.settings {
            return;
        }
        let before = self.pace();
        self.settings = settings;
        self.adopt();
        self.urgent = true; // a new multiplier needs no poll
        self.hurry(before, now);
    }

    /// Switches the session off. The other end hears of it by the packets that follow.
    pub fn admin_down(&mut self, now: Instant) -> Option<Transition> {
        self.enter(BfdState::AdminDown, Some(Diagnostic::ADMIN_DOWN), DownCause::Ours, now)
    }

    /// The packet that is due now. It is called until it returns `None`. `jitter` is a random number from 0 to 1, new for each
    /// call.
    pub fn transmit(&mut self, now: Instant, jitter: f64) -> Option<Packet> {
        if std::mem::take(&mut self.answer) {
            self.urgent = false; // the answer has the new contents
            return Some(self.packet(true));
        }
        let due = self.periodic() && now >= self.next;
        if !std::mem::take(&mut self.urgent) && !due {
            return None;
        }
        self.next = now + jittered(self.interval(), self.settings.multiplier, jitter);
        let packet = self.packet(false);
        if let Poll::Running { asked, .. } = &mut self.poll {
            *asked = true;
        }
        Some(packet)
    }

    /// The contents of a packet. P and F never occur together (RFC 5880 §6.5).
    fn packet(&self, is_final: bool) -> Packet {
        Packet {
            diag: self.diag,
            state: self.state,
            poll: !is_final && self.poll != Poll::No,
            is_final,
            demand: false,
            multiplier: self.settings.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
        }
    }

    /// The interval between periodic packets; `None`: there are none.
    fn pace(&self) -> Option<Duration> {
        self.periodic().then(|| self.interval())
    }

    /// If packets are sent more often than before, the next one is sent at once. Otherwise the other end, which uses its new detection
    /// time at once, would miss the packets that were planned for the longer interval.
    fn hurry(&mut self, before: Option<Duration>, now: Instant) {
        let faster = match (before, self.pace()) {
            (Some(before), Some(after)) => after < before,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if faster {
            self.next = now;
        }
    }

    fn enter(
        &mut self,
        to: BfdState,
        diag: Option<Diagnostic>,
        cause: DownCause,
        now: Instant,
    ) -> Option<Transition> {
        if to == self.state {
            return None;
        }
        let (from, before) = (self.state, self.pace());
        self.state = to;
        self.diag = diag.unwrap_or(self.diag);
        self.adopt();
        self.urgent = true;
        self.hurry(before, now);
        let cause = matches!(to, BfdState::Down | BfdState::AdminDown).then_some(cause);
        Some(Transition { from, to, cause })
    }

    /// Takes the intervals that the state and the settings ask for.
    fn adopt(&mut self) {
        let up = self.state == BfdState::Up;
        let (tx, rx) = (
            if up { self.settings.interval } else { self.settings.interval.max(SLOW) },
            self.settings.interval,
        );
        let changed = (tx, rx) != (self.desired_min_tx, self.required_min_rx);
        (self.desired_min_tx, self.required_min_rx) = (tx, rx);
        if !up {
            // There is nothing to agree on: each packet has the intervals, and no end relies on them.
            (self.used_min_tx, self.used_min_rx, self.poll) = (tx, rx, Poll::No);
            return;
        }
        if changed {
            self.used_min_tx = self.used_min_tx.min(tx);
            self.used_min_rx = self.used_min_rx.max(rx);
            self.poll = match self.poll {
                Poll::Running { asked: true, .. } => Poll::Running { asked: true, again: true },
                Poll::No | Poll::Running { asked: false, .. } => Poll::Running { asked: false, again: false },
            };
        }
    }

    /// Handles a Final: the intervals are agreed.
    fn finish_poll(&mut self) {
        match self.poll {
            Poll::No | Poll::Running { asked: false, .. } => {}
            Poll::Running { asked: true, again: true } => {
                self.poll = Poll::Running { asked: false, again: false };
            }
            Poll::Running { asked: true, again: false } => {
                self.poll = Poll::No;
                (self.used_min_tx, self.used_min_rx) = (self.desired_min_tx, self.required_min_rx);
            }
        }
    }
}

/// Our next state, and our new diagnostic, from our state and the received one (RFC 5880 §6.2, §6.8.6).
fn next_state(ours: BfdState, received: BfdState) -> (BfdState, Option<Diagnostic>) {
    let lost = (BfdState::Down, Some(Diagnostic::NEIGHBOUR_DOWN));
    match (ours, received) {
        (BfdState::AdminDown, BfdState::AdminDown | BfdState::Down | BfdState::Init | BfdState::Up) => {
            (BfdState::AdminDown, None)
        }
        (BfdState::Down, BfdState::AdminDown | BfdState::Up) => (BfdState::Down, None),
        (BfdState::Down, BfdState::Down) => (BfdState::Init, None),
        (BfdState::Down, BfdState::Init) => (BfdState::Up, None),
        (BfdState::Init, BfdState::AdminDown) => lost,
        (BfdState::Init, BfdState::Down) => (BfdState::Init, None),
        (BfdState::Init, BfdState::Init | BfdState::Up) => (BfdState::Up, None),
        (BfdState::Up, BfdState::AdminDown | BfdState::Down) => lost,
        (BfdState::Up, BfdState::Init | BfdState::Up) => (BfdState::Up, None),
    }
}

/// Shortens an interval to 75 to 100 %, with multiplier 1 to 75 to 90 % (RFC 5880 §6.8.7). `jitter` is from 0 to 1.
fn jittered(interval: Duration, multiplier: u8, jitter: f64) -> Duration {
    let range = if multiplier == 1 { 0.15 } else { 0.25 };
    interval.mul_f64(0.75 + range * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
