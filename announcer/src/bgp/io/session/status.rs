//! What a session is told to do, and what it tells of itself.
//!
//! Touches nothing but the clock's type.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::bgp::fsm::StateName;
use crate::bgp::notification::{self, Notification};
use crate::bgp::open::Negotiated;
use crate::bgp::reason::DownReason;
use crate::model::{Family, Generation};
use crate::rib::Withheld;

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
    pub(super) fn farewell(&self) -> Option<Notification> {
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
    /// Why the last session ended, the last try failed, or the present one hangs.
    pub last_down: Option<Down>,
    /// Where the peer was found: its configured address, or the default gateway's.
    pub peer_address: Option<IpAddr>,
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
    /// What to look at, where a person could be at a loss.
    pub hint: Option<&'static str>,
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
            since: super::now(),
            told: 0,
            announced: 0,
            withheld: BTreeMap::new(),
            last_down: None,
            peer_address: None,
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
