//! The metrics for Prometheus: every metric's name, type, labels and meaning in one table, and the data of a scrape.
//!
//! Pure, except for [`io`]. Current values are read from the director and the sessions at a scrape, so that they cost nothing
//! between scrapes. Events are counted where they happen, in plain numbers: in the director's task ([`Tally`]), in each session, at
//! reloads, in the hook. A scrape gets copies of all of them ([`Scrape`]), and shares no lock with the director.

pub mod host;
pub mod io;
mod tally;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bfd::status::BfdReport;
use crate::bgp::fsm::StateName;
use crate::chain::status::ChainStatus;
use crate::config::ConfigDigest;
use crate::delivery::RouterSession;
use crate::director::Figures;
use crate::drain::Drains;
use crate::hook::HookRuns;
use crate::model::{Asn, Histogram, PeerName, RouterId};
use crate::rib::NotSent;
use crate::takeover::Start;
use crate::vip::findings::HostFindings;

pub use tally::{ProbeDurations, Tally};
pub use text::write;

/// A metric of Prometheus.
#[derive(Debug)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// A metric's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that increases and decreases.
    Gauge,
    /// A number that only increases, from the start of the process or of the counted object.
    Counter,
    /// Durations, counted by their length.
    Histogram,
}

impl MetricKind {
    /// The word of the text format.
    pub fn word(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
        }
    }
}

macro_rules! table {
    ($($place:ident $kind:ident $name:literal [$($label:literal),*] $help:literal)*) => {
        $(#[doc = $help] pub const $place: Metric =
            Metric { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help };)*
        /// Every metric, in the order in which they are printed.
        pub const ALL: &[&Metric] = &[$(&$place),*];
    };
}

table! {
    BUILD Gauge "announcer_build_info" ["version"]
        "Always 1; the label is the running version"
    STANDING Gauge "announcer_vip_standing" ["service", "vip", "standing"]
        "1 for the standing that a VIP has, 0 for the others"
    REASON Gauge "announcer_vip_reason" ["service", "vip", "reason"]
        "1 for the reason why a VIP has its standing; absent for others"
    VIP_ROUTERS Gauge "announcer_vip_routers" ["service", "vip"]
        "How many routers have acknowledged the UPDATE with the route to a VIP (TCP); 0 while the VIP is not announced"
    VIP_ROUTERS_WANTED Gauge "announcer_vip_routers_wanted" ["service", "vip"]
        "How many routers should have the route to a VIP; 0 while the VIP is not announced"
    CHANGES Counter "announcer_vip_changes_total" ["service", "vip"]
        "How often a VIP's standing, or the reason for it, changed"
    DRAINED Gauge "announcer_service_drained" ["service"]
        "1 while a drain withdraws a service (a drain of this service or of all services), else 0"
    WEIGHT Gauge "announcer_service_weight" ["service"]
        "The weight of a service's routes on this host, 1 to 100; absent for services without a weight"
    DRAIN_INFO Gauge "announcer_drain_info" ["drain", "by", "until"]
        "1 for each drain in force, by its file (`_all`: of all services): who made it, and when it ends by itself; empty if it does not"
    DRAIN_END Gauge "announcer_drain_end_timestamp_seconds" ["drain"]
        "When a drain ends by itself, in Unix time; absent for those that do not"
    PROBES Counter "announcer_probes_total" ["service", "vip", "check", "result", "reason"]
        "Probes that ended, by result: pass, fail, or skipped (announcer lacked a resource; counts neither as a pass nor as a failure)"
    PROBE_TIME Histogram "announcer_probe_duration_seconds" ["service", "check"]
        "Duration of the probes that passed or failed"
    PROBES_SKIPPED Counter "announcer_probes_skipped_total" ["reason"]
        "Probes of all checks that were skipped, by the resource that announcer lacked"
    LAPSES Counter "announcer_probe_loops_hung_total" []
        "How often a check lost its result because its probe loop had stopped"
    CERTIFICATE_ENDS Gauge "announcer_certificate_expiry_timestamp_seconds" ["service", "vip", "check"]
        "When a certificate ends, in Unix time, if it ends within `cert_expires_within` or has ended; absent for others"
    CERTIFICATE_FLAW Gauge "announcer_certificate_flaw" ["service", "vip", "check", "reason"]
        "1 for the flaw that the newest probe found in a certificate; absent for others"
    WATCH_PERIOD Gauge "announcer_listener_watch_period_seconds" []
        "Time between two queries for listeners; 0 while no listener is watched"
    WATCH_TARGETS Gauge "announcer_listener_watch_targets" []
        "How many pairs of VIP and port the listener watch watches"
    WATCH_DISARMED Gauge "announcer_listener_watch_disarmed" []
        "How many of these pairs are up and watched only by their probes; `announcer status` says why"
    WATCH_BLIND Gauge "announcer_listener_watch_blind" []
        "1 while the listener watch cannot read the listeners and only probes notice a crash, else 0"
    PEER_INFO Gauge "announcer_peer_info" ["peer", "address", "asn", "router_id"]
        "Always 1; the address, AS and BGP identifier of a router, as far as they are known"
    PEER_STATE Gauge "announcer_peer_state" ["peer", "state"]
        "1 for the state that the session with a router has (RFC 4271), 0 for the others"
    PEER_UPTIME Gauge "announcer_peer_uptime_seconds" ["peer"]
        "How long the session has been established; 0 while it is not"
    PEER_UPS Counter "announcer_peer_established_total" ["peer"]
        "How often the session was established"
    PEER_DOWNS Counter "announcer_peer_down_total" ["peer", "reason"]
        "How often the session ended or a try to establish it failed, by reason"
    PEER_PREFIXES Gauge "announcer_peer_prefixes" ["peer"]
        "How many prefixes are advertised to a router"
    PEER_ROUTES_NOT_SENT Gauge "announcer_peer_routes_not_sent" ["peer", "family", "reason"]
        "1 if routes of a family of the peer's `families` are not sent to a router, by reason; absent otherwise"
    SENT Counter "announcer_peer_messages_sent_total" ["peer", "type"]
        "Messages sent to a router, by type"
    RECEIVED Counter "announcer_peer_messages_received_total" ["peer", "type"]
        "Messages received from a router, by type"
    WIRE Histogram "announcer_update_delay_seconds" ["peer"]
        "Time from a fact that changes the announcements until the kernel has accepted the UPDATEs"
    BFD_STATE Gauge "announcer_bfd_state" ["peer", "state"]
        "1 for the state that BFD with a router has (RFC 5880), 0 for the others; absent for routers without BFD"
    BFD_DETECTION Gauge "announcer_bfd_detection_seconds" ["peer", "of"]
        "After how long without a packet this host considers the router dead (of=router), and the router this host (of=host); absent until it is agreed"
    BFD_FLAPS Counter "announcer_bfd_flaps_total" ["peer"]
        "How often BFD with a router has left Up, for whatever reason"
    BFD_LOSSES Counter "announcer_bfd_losses_total" ["peer"]
        "How often BFD has lost a router after it was up, which ends the session"
    BFD_PACKETS Counter "announcer_bfd_packets_total" ["peer", "direction"]
        "BFD packets of a router's session: sent, received, or refused by the kernel (unsent)"
    BFD_DROPS Counter "announcer_bfd_packets_dropped_total" ["reason"]
        "BFD packets that were received and dropped, by reason"
    BFD_REAL_TIME Gauge "announcer_bfd_real_time" []
        "1 if the BFD thread has real-time scheduling, 0 if the kernel refused it; absent without BFD"
    CHAIN_MEMBERS Gauge "announcer_chain_members" []
        "How many members the list of the chain has; absent without a chain, and while it does not work on this host"
    CHAIN_RING Gauge "announcer_chain_ring_members" ["family"]
        "How many members are in the ring, this host too; absent for families in which this host does not take part"
    CHAIN_RULES Gauge "announcer_chain_rules_installed" []
        "1 while the rules of the chain are in the kernel, else 0; absent without a chain, and with `forward = false`"
    CHAIN_OFF Gauge "announcer_chain_switched_off" []
        "1 while an operator has switched the forwarding of this host off, else 0; absent without a chain"
    CHAIN_STATE Gauge "announcer_chain_member_state" ["member", "state"]
        "1 for the state that another member of the chain has, 0 for the others"
    CHAIN_STATE_TIME Gauge "announcer_chain_member_state_duration_seconds" ["member"]
        "How long another member of the chain has been in its state"
    CHAIN_DIFFERS Gauge "announcer_chain_member_differs" ["member", "what"]
        "1 if the list of members (what=members), or the VIPs and their ports (what=services), of another member are not this host's, else 0; absent while it is not heard"
    CHAIN_PACKETS Counter "announcer_chain_packets_total" ["family", "what"]
        "Packets that the rules of the chain have counted since they were installed, by what became of them"
    CHAIN_TEST Gauge "announcer_chain_test_packets" ["family", "state"]
        "1 for what becomes of this host's test packets to the next member of the chain, 0 for the others; absent for families without a next member"
    CHAIN_DROPS Counter "announcer_chain_heartbeats_dropped_total" ["reason"]
        "Heartbeats of the chain that were received and did not count, by reason"
    CHAIN_UNSENT Counter "announcer_chain_heartbeats_unsent_total" []
        "Heartbeats of the chain that the kernel did not send"
    FINDING Gauge "announcer_finding" ["code"]
        "1 if the daemon has found this fault of the host, by the codes of docs/dsr-doctor.md that it watches, else 0; absent before the first look, and while it cannot look for the fault"
    LISTENER_QUEUE Gauge "announcer_listener_queue" ["vip"]
        "How many connections wait until the server accepts them, every 10 s, in the fullest accept queue of a VIP; absent while no server listens"
    LISTENER_QUEUE_LIMIT Gauge "announcer_listener_queue_limit" ["vip"]
        "How many connections may wait in that accept queue; the kernel drops more"
    WARNINGS Gauge "announcer_warnings" []
        "How many warnings `announcer status` has"
    CONFIG_INFO Gauge "announcer_config_info" ["sha256"]
        "Always 1; the label is the SHA-256 of the file of the running configuration, as it was read"
    PROGRAM_OUTDATED Gauge "announcer_program_outdated" []
        "1 if the program file on disk is not the one that runs, so that a restart would run another version, else 0"
    PROGRAM_ROLLED_BACK Gauge "announcer_program_rolled_back" []
        "1 if the previous program runs, because the installed one crashed twice after an upgrade, else 0"
    TAKEOVER_FAILED Gauge "announcer_takeover_failed" []
        "1 if sessions of the process before this one were ended at the start, and not continued, else 0"
    START_INFO Gauge "announcer_start_info" ["how"]
        "Always 1; the label says how the process began: cold, upgrade, or crash (the one before ended without a stop)"
    RELOADED Gauge "announcer_config_last_reload_successful" []
        "1 if the last reload was applied, 0 if it was refused; 1 before the first"
    RELOADED_AT Gauge "announcer_config_last_reload_success_timestamp_seconds" []
        "When the running configuration was read, in Unix time"
    RELOADS Counter "announcer_config_reloads_total" ["result"]
        "Reloads that were requested, by result: applied, or refused (nothing was changed)"
    FALLBACK Gauge "announcer_fallback_config" []
        "1 while the last good configuration runs, because the file was wrong at the start, else 0"
    HOOKS Counter "announcer_hook_runs_total" ["result"]
        "Runs of all hooks, by result: ok, failed, timeout (it was killed), or not_started"
    HOOKS_REPLACED Counter "announcer_hook_replaced_total" []
        "Changes for which a hook was not run, because the VIP, session or drain changed again before its turn came"
    LOST_LINES Counter "announcer_log_lines_lost_total" []
        "Lines of the log that were not written, because standard error was not read in time"
    START Gauge "process_start_time_seconds" []
        "When the process was started, in Unix time"
    CPU Counter "process_cpu_seconds_total" []
        "Processor time in user and system mode"
    RESIDENT Gauge "process_resident_memory_bytes" []
        "Resident memory"
    VIRTUAL Gauge "process_virtual_memory_bytes" []
        "Virtual memory"
    FILES Gauge "process_open_fds" []
        "Open file descriptors"
    MAX_FILES Gauge "process_max_fds" []
        "Limit of open file descriptors"
}

/// The chain at the time of a scrape.
#[derive(Debug, Clone)]
pub struct ChainMetrics {
    /// What is known of it.
    pub status: Arc<ChainStatus>,
    /// The time of the scrape.
    pub now: Instant,
}

/// The data of one scrape.
#[derive(Debug)]
pub struct Scrape {
    /// The decisions on every VIP.
    pub figures: Figures,
    /// The counters of the director's task.
    pub tally: Tally,
    /// The state of the listener watch.
    pub listeners: ListenerMetrics,
    /// The sessions, in the order of the configuration.
    pub peers: Vec<PeerMetrics>,
    /// BFD with them.
    pub bfd: Arc<BfdReport>,
    /// The chain.
    pub chain: ChainMetrics,
    /// The sessions, as the delivery of routes sees them.
    pub routers: Vec<RouterSession>,
    /// The drains in force.
    pub drains: Drains,
    /// Whether the program on disk is the one that runs.
    pub program: DiskProgram,
    /// Whether the previous program runs, because the installed one has crashed.
    pub rolled_back: bool,
    /// How the process began.
    pub start: Start,
    /// Whether sessions of the process before it were ended instead of continued.
    pub takeover_failed: bool,
    /// What `dsr-setup doctor` would find, as far as the daemon watches it.
    pub findings: HostFindings,
    /// How many warnings there are.
    pub warnings: usize,
    /// The counters of the reloads.
    pub reloads: Reloads,
    /// Whether the last good configuration runs instead of the file.
    pub fallback: bool,
    /// The counters of the hooks' runs.
    pub hooks: HookRuns,
    /// How many lines of the log were lost.
    pub lost_lines: u64,
    /// The process; values that the host does not report are absent.
    pub process: ProcessMetrics,
}

/// The state of the listener watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerMetrics {
    /// The time between two queries; zero: nothing is watched.
    pub period: Duration,
    /// How many VIPs and ports are watched.
    pub targets: usize,
    /// How many of them are up and checked only by probes.
    pub disarmed: usize,
    /// Whether the watch cannot see listeners now.
    pub blind: bool,
}

/// A router, and the session with it.
#[derive(Debug)]
pub struct PeerMetrics {
    /// Its configured name.
    pub name: PeerName,
    /// Its address; until that was found, `default-gateway`, or the interface of a router that is learnt.
    pub address: String,
    /// Its AS, if it is known.
    pub asn: Option<Asn>,
    /// Its BGP identifier, while the session is established.
    pub router_id: Option<RouterId>,
    /// The session's state.
    pub state: StateName,
    /// How long the session has been in this state.
    pub lasts: Duration,
    /// How often it was established.
    pub established: u64,
    /// How often it ended or failed, by the reason's label.
    pub downs: BTreeMap<&'static str, u64>,
    /// How many prefixes the router has from us.
    pub prefixes: usize,
    /// Which routes are not sent to it.
    pub not_sent: Vec<NotSent>,
    /// Messages by type.
    pub sent: [(&'static str, u64); 5],
    /// Messages by type.
    pub received: [(&'static str, u64); 5],
    /// The delay from the knowledge of facts to the UPDATEs.
    pub wire: Histogram<13>,
}

/// The program's file on disk, compared with the one that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskProgram {
    /// It is the one that runs, or it could not be compared.
    Same,
    /// It is another one.
    Other,
}

impl DiskProgram {
    /// The warning, if there is one. `path` is where the program was started from.
    pub fn warning(self, path: &Path) -> Option<String> {
        match self {
            DiskProgram::Same => None,
            DiskProgram::Other => Some(format!(
                "the program `{}` was replaced since it was started: version {} goes on until `announcer upgrade`",
                path.display(),
                env!("CARGO_PKG_VERSION")
            )),
        }
    }
}

/// The counters of the reloads so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reloads {
    /// How many were applied.
    pub applied: u64,
    /// How many were refused or failed.
    pub refused: u64,
    /// Whether the last one was applied; also true for the configuration of the start.
    pub last_applied: bool,
    /// When the configuration that runs was read, in seconds of Unix time.
    pub applied_at: f64,
    /// The digest of the file of the configuration that runs.
    pub config: ConfigDigest,
}

impl Reloads {
    /// The counters of a daemon that has read its configuration, with this digest, at `now`, in seconds of Unix time.
    pub fn new(now: f64, config: ConfigDigest) -> Self {
        Reloads { applied: 0, refused: 0, last_applied: true, applied_at: now, config }
    }

    /// Counts one more reload, at `now`.
    pub fn count(&mut self, applied: bool, now: f64) {
        self.last_applied = applied;
        if applied {
            self.applied += 1;
            self.applied_at = now;
        } else {
            self.refused += 1;
        }
    }
}

/// The kernel's data about the process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessMetrics {
    /// Unix time.
    pub started: Option<f64>,
    /// Seconds.
    pub cpu: Option<f64>,
    /// Octets.
    pub resident: Option<u64>,
    /// Octets.
    pub virtual_size: Option<u64>,
    /// The number of open descriptors.
    pub open_files: Option<u64>,
    /// The limit of open descriptors; absent: there is no limit.
    pub max_files: Option<u64>,
}
