//! The orders that a session gets, and the status that it publishes.
//!
//! Touches the clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::bgp::ack_times::AckTimes;
use crate::bgp::fsm::StateName;
use crate::bgp::notification::{self, Notification};
use crate::bgp::open::NegotiatedSession;
use crate::bgp::outage::Outage;
pub use crate::bgp::outage::SessionDown;
use crate::bgp::plan::PathComparison;
use crate::model::histogram::micros;
use crate::model::{Family, Generation, Histogram};
use crate::rib::{NextHop, NotSent};

/// Whether a session is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOrder {
    /// It is.
    Run,
    /// The daemon stops: Cease/Administrative Shutdown with a text for the router's log (RFC 9003).
    Shutdown {
        /// The text; cut at 255 octets.
        text: String,
    },
    /// The configuration no longer names the peer: Cease/Peer De-configured.
    Deconfigured,
    /// The configuration of the peer has changed: Cease/Other Configuration Change, and a new session follows.
    Reconfigured,
}

impl SessionOrder {
    /// The NOTIFICATION that ends the session; `None`: the session is wanted.
    pub(super) fn farewell(&self) -> Option<Notification> {
        match self {
            SessionOrder::Run => None,
            SessionOrder::Shutdown { text } => Some(Notification::shutdown(text)),
            SessionOrder::Deconfigured => Some(Notification::bare(notification::PEER_DECONFIGURED)),
            SessionOrder::Reconfigured => Some(Notification::bare(notification::OTHER_CONFIGURATION_CHANGE)),
        }
    }
}

/// The status of a session, published on every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    /// The machine's state.
    pub state: StateName,
    /// Since when.
    pub since: Instant,
    /// Up to which generation of the Loc-RIB the peer's kernel has acknowledged our octets; 0 unless Established.
    pub acknowledged: Generation,
    /// When the task began.
    pub began: Instant,
    /// When the last session ended; `None`: none has ended.
    pub ended: Option<Instant>,
    /// Without a session: until when the router may keep the routes of the last session, because it may not have noticed the end,
    /// or because of graceful restart.
    pub kept_until: Option<Instant>,
    /// When the newest generations were acknowledged.
    pub ack_times: AckTimes,
    /// How many prefixes the peer's kernel has acknowledged.
    pub announced: usize,
    /// How many prefixes the peer has after it has acknowledged everything that was sent.
    pub advertised: usize,
    /// The next hop of each family for routes without their own next hop, while Established.
    pub next_hops: BTreeMap<Family, NextHop>,
    /// Whether a new session would use another interface or reach another router.
    pub path: PathComparison,
    /// Whether an operator has drained the router: no route is sent to it, and this is no error.
    pub drained: bool,
    /// Until when the peer is not dialled, because BFD has lost it again and again.
    pub waits_until: Option<Instant>,
    /// Families with routes that are not sent to this peer.
    pub not_sent: BTreeMap<Family, NotSent>,
    /// Why the last session ended, why the last try failed, or why the current try hangs.
    pub last_down: Option<SessionDown>,
    /// The causes that were found since the last session ended.
    pub outage: Outage,
    /// The peer's address: the configured one, that of the default gateway, or that of the router that was learnt.
    pub peer_address: Option<IpAddr>,
    /// Our address and port of the connection.
    pub local_address: Option<SocketAddr>,
    /// The negotiated values of both OPENs, while Established.
    pub negotiated: Option<NegotiatedSession>,
    /// Messages received since the task began.
    pub received: MessageCounters,
    /// Messages sent since the task began.
    pub sent: MessageCounters,
    /// How often a session was established since the task began.
    pub established: u64,
    /// How often a session ended or a try failed since the task began, by
    /// [`DownReason::label`](crate::bgp::reason::DownReason::label).
    pub downs: BTreeMap<&'static str, u64>,
    /// The time from the knowledge of a fact until the kernel accepted its UPDATEs, for sessions that were established at that
    /// time.
    pub wire: WireLatency,
    /// The newest fact for which UPDATEs were written in an established session.
    pub last_written: Option<WrittenCause>,
}

/// A fact, and when its UPDATEs were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenCause {
    /// When the fact was known.
    pub known: Instant,
    /// When the kernel accepted the last octet of its UPDATEs.
    pub written: Instant,
}

/// How far a router follows a generation of the Loc-RIB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationProgress {
    /// Its kernel has acknowledged it, or it keeps none of our routes.
    Yes,
    /// There is a session, and the acknowledgement has not arrived yet.
    NotYet,
    /// There is no session, and the router may keep older routes until this time.
    MayKeepRoutes(Instant),
}

/// The delay from the knowledge of a fact until the bytes are written to the socket.
pub type WireLatency = Histogram<13>;

const WIRE: [Duration; 13] = micros([
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
]);

/// Messages by type. All UPDATEs received are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MessageCounters {
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

impl SessionReport {
    /// The status before the first try.
    pub fn new() -> Self {
        SessionReport {
            state: StateName::Idle,
            since: super::now(),
            acknowledged: 0,
            began: super::now(),
            ended: None,
            kept_until: None,
            ack_times: AckTimes::default(),
            announced: 0,
            advertised: 0,
            next_hops: BTreeMap::new(),
            path: PathComparison::Same,
            drained: false,
            waits_until: None,
            not_sent: BTreeMap::new(),
            last_down: None,
            outage: Outage::default(),
            peer_address: None,
            local_address: None,
            negotiated: None,
            received: MessageCounters::default(),
            sent: MessageCounters::default(),
            established: 0,
            downs: BTreeMap::new(),
            wire: WireLatency::new(&WIRE),
            last_written: None,
        }
    }

    /// Whether the router follows a generation.
    pub fn follows(&self, generation: Generation, now: Instant) -> GenerationProgress {
        match (self.state, self.kept_until) {
            (StateName::Established, _) if self.acknowledged >= generation => GenerationProgress::Yes,
            (StateName::Established, _) => GenerationProgress::NotYet,
            (_, Some(until)) if now < until => GenerationProgress::MayKeepRoutes(until),
            (_, _) => GenerationProgress::Yes,
        }
    }

    /// Since when there is no session; `None`: there is one.
    pub fn down_since(&self) -> Option<Instant> {
        (self.state != StateName::Established).then(|| self.ended.unwrap_or(self.began))
    }

    /// Why there is no session, as a sentence, with the hint; `None` while there is a session, and before the first try has failed.
    pub fn trouble(&self) -> Option<(String, Option<String>)> {
        if self.state == StateName::Established {
            return None;
        }
        let now = super::now();
        let waits = self.waits_until.and_then(|until| until.checked_duration_since(now)).map(|left| {
            let left = Duration::from_secs(left.as_secs() + 1);
            format!(
                "BFD has lost it several times, so it is dialled again in {}",
                humantime::format_duration(left)
            )
        });
        self.outage.reason(now).map(|(reason, hint)| (reason, waits.or(hint)))
    }
}

impl Default for SessionReport {
    fn default() -> Self {
        SessionReport::new()
    }
}
