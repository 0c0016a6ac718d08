//! The state of the daemon in answers: routers, services, VIPs and drains.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ChainSummary, ReasonStatus};

/// The state of the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of the host.
    pub host: String,
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds that it has been running.
    pub uptime: f64,
    /// When it began, RFC 3339.
    pub started: String,
    /// How this process began; empty values if the daemon is older than this.
    #[serde(default)]
    pub start: StartStatus,
    /// Our AS.
    pub asn: u32,
    /// Our BGP identifier, once it is known.
    pub router_id: Option<String>,
    /// The routers, in the order of the configuration.
    pub peers: Vec<PeerStatus>,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// The drains in force, by file name (`_all`: every service, `www@ann`: the order of ann for `www`).
    pub drains: BTreeMap<String, DrainStatus>,
    /// The state of the listener watch; none while nothing is watched.
    pub listener_watch: Option<ListenerWatchStatus>,
    /// The chain; none if it is not configured.
    #[serde(default)]
    pub chain: Option<ChainSummary>,
    /// The warnings, one sentence each.
    pub warnings: Vec<String>,
    /// How what runs differs from what is on disk, one sentence each; these are among the warnings too.
    pub differs: Vec<String>,
}

/// The start of the process, and whether the next one would take over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StartStatus {
    /// `cold`; `upgrade`: a former program has executed this one; `crash`: a former process has ended without a stop.
    pub how: String,
    /// Milliseconds from the former program's last turn to the first of this one; only after an upgrade.
    pub gap_ms: Option<f64>,
    /// Milliseconds from the former program's last turn to the first BFD packet of this one; only after an upgrade with BFD.
    #[serde(default)]
    pub bfd_pause_ms: Option<f64>,
    /// The file that an upgrade runs.
    pub installed: Option<String>,
    /// Whether this is the previous program, because the installed one has crashed after an upgrade.
    pub rolled_back: bool,
    /// Why sessions of the former process were ended instead of continued.
    #[serde(default)]
    pub not_continued: Option<String>,
    /// Whether a crash would be survived, as a sentence.
    pub crash: String,
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
    /// Its address; until that was found, `default-gateway`, or the interface of a router that is learnt.
    pub address: String,
    /// The VRF of the session; none: it is in no VRF.
    #[serde(default)]
    pub vrf: Option<String>,
    /// Its AS; none while it is `external` and its OPEN has not arrived.
    pub asn: Option<u32>,
    /// RFC 4271's name of the state, as in `Established`.
    pub state: String,
    /// Seconds that it has been in that state.
    #[serde(rename = "for")]
    pub lasts: f64,
    /// Since when, RFC 3339.
    pub since: String,
    /// Seconds since its last session ended, or since the start if there was none; none while there is a session.
    pub down: Option<f64>,
    /// When its last session ended, RFC 3339; none while there is a session, and before the first one.
    pub last_up: Option<String>,
    /// How many prefixes its kernel has acknowledged.
    pub announced: usize,
    /// How many prefixes were sent to it, including those that it has not acknowledged yet.
    pub advertised: usize,
    /// Why the last session ended or the last attempt failed; none while all is well.
    pub reason: Option<ReasonStatus>,
    /// The hint, if there is one.
    pub hint: Option<String>,
    /// Which routes are not sent to this peer and why.
    pub not_sent: Vec<ReasonStatus>,
    /// The families in our configuration of it.
    pub families: Vec<String>,
    /// The negotiated values of the session; none without a session.
    pub session: Option<SessionStatus>,
    /// BFD with it; none if it is not configured.
    pub bfd: Option<PeerBfdStatus>,
    /// How often a session was established since the daemon began.
    pub established: u64,
    /// How the last session or try ended, and when. A new session may have been established since then.
    pub last_end: Option<ReasonStatus>,
    /// Another peer of the configuration that is the same router.
    pub same_router: Option<String>,
    /// Messages received from it, by type.
    pub received: BTreeMap<String, u64>,
    /// Messages sent to it, by type.
    pub sent: BTreeMap<String, u64>,
}

/// BFD with a router (RFC 5880).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerBfdStatus {
    /// `Up`, `Init`, `Down` or `AdminDown`; `Down` also while there is no session yet.
    pub state: String,
    /// Seconds that it has been in that state; none while there is no session yet.
    #[serde(rename = "for")]
    pub lasts: Option<f64>,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// The router's state, as it said last.
    pub remote_state: Option<String>,
    /// Why it is not up; none while it is up.
    pub reason: Option<String>,
    /// Whether the router is dialled only while it is up.
    pub strict: bool,
    /// Whether it is of RFC 5883, for a router that is several hops away.
    pub multihop: bool,
    /// Our address of the session.
    pub local_address: Option<String>,
    /// Milliseconds between our packets, before jitter.
    pub interval_ms: Option<f64>,
    /// Milliseconds between the router's packets, as agreed; none until it has sent one.
    pub remote_interval_ms: Option<f64>,
    /// After how many milliseconds without a packet we consider the router dead.
    pub detection_ms: Option<f64>,
    /// After how many milliseconds without a packet the router considers this host dead.
    pub remote_detection_ms: Option<f64>,
    /// Our last diagnostic, in words.
    pub diagnostic: Option<String>,
    /// The router's last diagnostic, in words.
    pub remote_diagnostic: Option<String>,
    /// Why it went down last, and when; none if it has not.
    pub last_down: Option<String>,
    /// How often it has left Up.
    pub flaps: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// How the thread is scheduled: `real-time`, or `ordinary` with the cause; none until the thread runs.
    pub scheduling: Option<String>,
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
    /// The VRF of its VIPs and checks; none: they are in no VRF.
    #[serde(default)]
    pub vrf: Option<String>,
    /// The weight of its routes on this host, 1 to 100; `None`: they have none.
    #[serde(default)]
    pub weight: Option<u8>,
}

/// A VIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The address.
    pub address: IpAddr,
    /// `announced`, `last_choice`, `drained`, `not_announced` or `starting`.
    pub standing: String,
    /// Why.
    pub reason: ReasonStatus,
    /// The reason in a few words, without numbers that change from probe to probe.
    pub brief: String,
    /// How far its route has got.
    pub routers: DeliveryStatus,
    /// Seconds that it has had this standing.
    #[serde(rename = "for")]
    pub lasts: f64,
    /// Since when, RFC 3339.
    pub since: String,
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
    /// When it ends by itself, RFC 3339; none if it does not end by time.
    #[serde(default)]
    pub until: Option<String>,
    /// Whether it ends when the host boots.
    #[serde(default)]
    pub until_reboot: bool,
}
