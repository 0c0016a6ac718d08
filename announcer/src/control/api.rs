//! The protocol of the control socket: the request is one JSON line, and the answer is one JSON line.
//!
//! Pure. The answer to `status` is also what `status --json` prints: fields are added to it, and never renamed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// The state of the daemon.
    Status,
    /// Drain services.
    Drain {
        /// The services.
        what: Scope,
        /// The reason, for other operators.
        #[serde(default)]
        reason: Option<String>,
        /// The operator, if the socket would only show `root` (sudo).
        #[serde(default)]
        by: Option<String>,
        /// If set, the answer is sent when the routers have stopped sending traffic, or after this many milliseconds.
        #[serde(default)]
        wait_ms: Option<u64>,
    },
    /// End such a drain, and forget the flaps of its VIPs.
    Undrain {
        /// The services.
        what: Scope,
    },
    /// Probe now, whatever the interval.
    Recheck {
        /// The services.
        what: Scope,
    },
    /// Explain the state of a VIP, in sentences.
    Explain {
        /// The VIP.
        vip: IpAddr,
        /// What was sent to this router; without it, to each.
        #[serde(default)]
        peer: Option<String>,
    },
    /// Explain the state of a router and its session, in sentences.
    ExplainPeer {
        /// Its configured name.
        peer: String,
    },
    /// Use another level of the log for some time. Only root may do it.
    Log {
        /// The level, or a filter as that of `--log`.
        filter: String,
        /// For how many seconds.
        seconds: u64,
    },
    /// Read the configuration again.
    Reload {
        /// Do it also if it withdraws every VIP or ends every session.
        #[serde(default)]
        force: bool,
        /// Do not do it, and answer what it would change.
        #[serde(default)]
        dry_run: bool,
    },
}

/// Services by name, or all of them; an empty list is refused and never means all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Every service, also services that are configured later.
    All,
    /// These.
    Services(Vec<String>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "lowercase")]
pub enum Response {
    /// To `status`.
    Status {
        /// The state of the daemon.
        status: Box<Status>,
    },
    /// The request is done; with notes.
    Done {
        /// Sentences for the operator.
        notes: Vec<String>,
    },
    /// The request is done, but the routers did not follow within the time.
    Timeout {
        /// A sentence that names the peers.
        message: String,
    },
    /// The request was refused, because of a mistake in it.
    Refused {
        /// What is wrong, and what to write.
        message: String,
    },
    /// The daemon could not do the request.
    Failed {
        /// What went wrong.
        message: String,
    },
}

/// The state of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of the host.
    #[serde(default)]
    pub host: String,
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
    /// The state of the listener watch; none while nothing is watched.
    #[serde(default)]
    pub listener_watch: Option<ListenerWatchStatus>,
    /// The warnings, one sentence each.
    pub warnings: Vec<String>,
    /// How what runs differs from what is on disk, one sentence each.
    #[serde(default)]
    pub differs: Vec<String>,
}

/// The listener watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListenerWatchStatus {
    /// Milliseconds between two queries.
    pub period_ms: f64,
    /// How many VIPs and ports are watched.
    pub targets: usize,
    /// How the kernel is asked: `lookups` or `dump`.
    pub by: String,
    /// The VIPs and ports that are up and that only probes check, with the reason, one sentence each.
    pub disarmed: Vec<String>,
    /// Why the watch cannot see listeners now; none while it can.
    pub blind: Option<String>,
}

/// A router.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its configured name.
    pub name: String,
    /// Its address; `default-gateway` until that was found.
    pub address: String,
    /// Its AS; none while it is `external` and its OPEN has not arrived.
    pub asn: Option<u32>,
    /// RFC 4271's name of the state, as in `Established`.
    pub state: String,
    /// Seconds that it has been in that state.
    #[serde(rename = "for")]
    pub since: f64,
    /// Seconds since its last session ended, or since the start if there was none; none while there is a session.
    #[serde(default)]
    pub down: Option<f64>,
    /// When its last session ended, RFC 3339; none while there is a session, and before the first one.
    #[serde(default)]
    pub last_up: Option<String>,
    /// How many prefixes its kernel has acknowledged.
    pub announced: usize,
    /// How many prefixes were sent to it, including those that it has not acknowledged yet.
    #[serde(default)]
    pub advertised: usize,
    /// Why the last session ended or the last attempt failed, a sentence; none while all is well.
    pub reason: Option<String>,
    /// The hint, if there is one.
    #[serde(default)]
    pub hint: Option<String>,
    /// Which routes are not sent to this peer and why, one sentence each.
    pub not_sent: Vec<String>,
    /// The families in our configuration of it.
    #[serde(default)]
    pub families: Vec<String>,
    /// The negotiated values of the session; none without a session.
    #[serde(default)]
    pub session: Option<SessionStatus>,
    /// How often a session was established since the daemon began.
    #[serde(default)]
    pub established: u64,
    /// How the last session or try ended, as a sentence. A new session may have been established since then.
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

/// The negotiated values of both OPENs, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Our address and port of the connection.
    pub local_address: Option<String>,
    /// The router's BGP identifier.
    pub router_id: String,
    /// The negotiated hold time in seconds; 0: there are no timers.
    pub hold_time: u64,
    /// The families of both OPENs.
    pub families: Vec<String>,
    /// How many octets an AS number has in messages to it: 4, or 2 with an old router.
    pub asn_octets: u8,
    /// `plain`, or `enhanced` (RFC 7313).
    pub route_refresh: String,
    /// Whether IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The next hop of routes without their own next hop, by family.
    pub next_hops: BTreeMap<String, String>,
}

impl PeerStatus {
    /// The acknowledged prefixes and those that are under way, such as "2 prefixes acknowledged, 1 under way".
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
    /// The reason as one word, as in metrics.
    #[serde(default)]
    pub code: String,
    /// The sentence that says why.
    pub reason: String,
    /// The reason in a few words, without numbers that change.
    #[serde(default)]
    pub brief: String,
    /// Seconds that it has had this standing.
    #[serde(rename = "for")]
    pub since: f64,
    /// How far its route has got.
    #[serde(default)]
    pub routers: DeliveryStatus,
}

/// How far the route of a VIP has got. An acknowledgement is TCP's: whether a router uses the route is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// How many routers should have the route; 0 while the VIP is not announced.
    pub wanted: usize,
    /// How many of them have acknowledged its UPDATE.
    pub acknowledged: usize,
    /// The names of those that have not.
    pub missing: Vec<String>,
    /// The standing, its reason, and how far the route has got, as one sentence.
    pub text: String,
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
