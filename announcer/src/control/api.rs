//! What is said over the control socket: one JSON line asks, one JSON line answers.
//!
//! Pure. The answer to `status` is also what `status --json` prints: fields are added to it, and never renamed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// How things stand.
    Status,
    /// Hold services back.
    Drain {
        /// Which.
        what: Scope,
        /// Why, for whoever asks later.
        #[serde(default)]
        reason: Option<String>,
        /// Who asks, when the socket alone would say `root` (sudo).
        #[serde(default)]
        by: Option<String>,
        /// When given, the answer comes once the routers have stopped sending, or after this many milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// End such a drain, and forget that its VIPs came and went.
    Undrain {
        /// Which.
        what: Scope,
    },
    /// Probe now, whatever the interval.
    Recheck {
        /// Which.
        what: Scope,
    },
    /// All that is known of a VIP, in sentences.
    Explain {
        /// Which.
        vip: IpAddr,
        /// What was sent to this router; without it, to each.
        #[serde(default)]
        peer: Option<String>,
    },
    /// All that is known of a router and of the session with it, in sentences.
    ExplainPeer {
        /// Its configured name.
        peer: String,
    },
    /// Read the configuration anew.
    Reload {
        /// Also when it withdraws every VIP or ends every session.
        #[serde(default)]
        force: bool,
    },
}

/// Services by name, or all of them; an empty list is refused and never means all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every service, those that are configured later too.
    All,
    /// These.
    Services(Vec<String>),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "lowercase")]
pub enum Response {
    /// To `status`.
    Status {
        /// How things stand.
        status: Box<Status>,
    },
    /// It is done; what is worth saying about it, a sentence each.
    Done {
        /// Sentences for the operator.
        notes: Vec<String>,
    },
    /// It was done, but what was waited for did not come in time.
    Timeout {
        /// A sentence that names the peers.
        message: String,
    },
    /// It was not done: the request is at fault.
    Refused {
        /// What is wrong, and what to write.
        message: String,
    },
    /// It was not done: the daemon could not.
    Failed {
        /// What went wrong.
        message: String,
    },
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds that it has been running.
    pub uptime: f64,
    /// Our AS.
    pub asn: u32,
    /// Our BGP identifier, once it is known.
    pub router_id: Option<String>,
    /// The routers, in the order of the configuration.
    pub peers: Vec<PeerStatus>,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// The drains in force, by file name (`_all`: every service).
    pub drains: BTreeMap<String, DrainStatus>,
    /// How it is watched whether anything listens; none while nothing is watched.
    #[serde(default)]
    pub listener_watch: Option<ListenerWatchStatus>,
    /// What an operator should look at, a sentence each.
    pub warnings: Vec<String>,
}

/// The listener watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerWatchStatus {
    /// Milliseconds from look to look.
    pub period_ms: f64,
    /// How many VIPs and ports are watched.
    pub targets: usize,
    /// How the kernel is asked: `lookups` or `dump`.
    pub by: String,
    /// Those that are up and left to their probes, and why, a sentence each.
    pub disarmed: Vec<String>,
    /// Why nothing can be seen at present; none while all is well.
    pub blind: Option<String>,
}

/// A router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its configured name.
    pub name: String,
    /// Its address; `default-gateway` until that was found.
    pub address: String,
    /// Its AS; none while it is `external` and has not said which.
    pub asn: Option<u32>,
    /// RFC 4271's name of the state, as in `Established`.
    pub state: String,
    /// Seconds that it has been in that state.
    #[serde(rename = "for")]
    pub since: f64,
    /// How many prefixes its kernel has acknowledged.
    pub announced: usize,
    /// How many prefixes it was sent; those that it has not acknowledged are under way.
    #[serde(default)]
    pub advertised: usize,
    /// Why the last session ended or the last attempt failed, a sentence; none while all is well.
    pub reason: Option<String>,
    /// What to look at, where the reason alone could leave a person at a loss.
    #[serde(default)]
    pub hint: Option<String>,
    /// Which routes are not sent to this peer and why, a sentence each.
    pub not_sent: Vec<String>,
    /// The families that our configuration gives to it.
    #[serde(default)]
    pub families: Vec<String>,
    /// What was agreed on the session; none without one.
    #[serde(default)]
    pub session: Option<SessionStatus>,
    /// How often a session was established since the daemon began.
    #[serde(default)]
    pub established: u64,
    /// How the last session ended, or the last try, a sentence; there may be a session since.
    #[serde(default)]
    pub last_end: Option<String>,
    /// Another peer of the configuration that is the same router.
    #[serde(default)]
    pub same_router: Option<String>,
    /// Messages received from it, by type.
    #[serde(default)]
    pub received: BTreeMap<String, u64>,
    /// Messages sent to it, by type.
    #[serde(default)]
    pub sent: BTreeMap<String, u64>,
}

/// What both OPENs agreed, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Our end of the connection, address and port.
    pub local_address: Option<String>,
    /// The router's BGP identifier.
    pub router_id: String,
    /// The agreed hold time in seconds; 0: there are no timers.
    pub hold_time: u64,
    /// The families of both OPENs.
    pub families: Vec<String>,
    /// How many octets an AS number has towards it: 4, or 2 with an old router.
    pub asn_octets: u8,
    /// `plain`, or `enhanced` (RFC 7313).
    pub route_refresh: String,
    /// Whether IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The next hop of routes that name none, by family.
    pub next_hops: BTreeMap<String, String>,
}

impl PeerStatus {
    /// What it has acknowledged, and what is under way, as in "2 prefixes acknowledged, 1 under way".
    pub fn prefixes(&self) -> String {
        let acknowledged = match self.announced {
            1 => "1 prefix acknowledged".to_owned(),
            many => format!("{many} prefixes acknowledged"),
        };
        match self.advertised.saturating_sub(self.announced) {
            0 => acknowledged,
            more => format!("{acknowledged}, {more} under way"),
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its configured name.
    pub name: String,
    /// Its VIPs.
    pub vips: Vec<VipStatus>,
}

/// A VIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The address.
    pub address: IpAddr,
    /// `announced`, `last_choice`, `drained`, `not_announced` or `starting`.
    pub standing: String,
    /// The sentence that says why.
    pub reason: String,
    /// Seconds that it has had this standing.
    #[serde(rename = "for")]
    pub since: f64,
}

/// A drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: Option<String>,
    /// When, RFC 3339.
    pub at: Option<String>,
}
