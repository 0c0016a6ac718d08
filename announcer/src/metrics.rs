//! The metrics for Prometheus: every metric's name, type, labels and meaning in one table, and what a scrape makes of it.
//!
//! Pure, but for [`io`]. What holds at the moment of a scrape is read from the director's figures and the sessions' states,
//! so that it costs nothing while nobody asks; what has to be counted as it happens is counted by who sees it, in plain
//! numbers that it owns: the director's task ([`Tally`]), each session, the reloads, the hook. A scrape gets copies of
//! them all ([`Scrape`]), and no lock is shared with whoever decides.

pub mod io;
mod tally;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bgp::fsm::StateName;
use crate::director::Figures;
use crate::hook::HookRuns;
use crate::model::{Histogram, PeerName};
use crate::rib::NotSent;

pub use tally::{ProbeDurations, Tally};
pub use text::write;

/// A metric, as Prometheus knows it.
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
    /// A number that rises and falls.
    Gauge,
    /// A number that rises from the start of the process, or of what it counts.
    Counter,
    /// Times, counted by how long they are.
    Histogram,
}

impl MetricKind {
    /// As the text format has it.
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
        /// Every metric there is, in the order in which they are printed.
        pub const ALL: &[&Metric] = &[$(&$place),*];
    };
}

table! {
    BUILD Gauge "announcer_build_info" ["version"]
        "Always 1; which version runs"
    STANDING Gauge "announcer_vip_standing" ["service", "vip", "standing"]
        "1 for the standing that a VIP has, 0 for the others"
    REASON Gauge "announcer_vip_reason" ["service", "vip", "reason"]
        "1 for the reason why a VIP has its standing; absent for others"
    CHANGES Counter "announcer_vip_changes_total" ["service", "vip"]
        "How often a VIP's standing, or the reason for it, changed"
    DRAINED Gauge "announcer_service_drained" ["service"]
        "1 while a drain withdraws a service, its own or that of all services, else 0"
    PROBES Counter "announcer_probes_total" ["service", "vip", "check", "result", "reason"]
        "Probes that ended, by result: pass, fail, or skipped, which means that announcer lacked something and counts neither way"
    PROBE_TIME Histogram "announcer_probe_duration_seconds" ["service", "check"]
        "How long probes took that passed or failed"
    PROBES_SKIPPED Counter "announcer_probes_skipped_total" ["reason"]
        "Probes of all checks that were skipped, by what announcer lacked"
    LAPSES Counter "announcer_probe_loops_hung_total" []
        "How often a check lost its result because its probe loop had stopped"
    CERTIFICATE_ENDS Gauge "announcer_certificate_expiry_timestamp_seconds" ["service", "vip", "check"]
        "When a certificate ends that ends within `cert_expires_within` or has ended, in Unix time; absent for others"
    CERTIFICATE_FLAW Gauge "announcer_certificate_flaw" ["service", "vip", "check", "reason"]
        "1 for what the newest probe saw wrong with a certificate; absent for others"
    WATCH_PERIOD Gauge "announcer_listener_watch_period_seconds" []
        "Time between two looks for listeners; 0 while nothing is watched"
    WATCH_TARGETS Gauge "announcer_listener_watch_targets" []
        "How many pairs of VIP and port the listener watch watches"
    WATCH_DISARMED Gauge "announcer_listener_watch_disarmed" []
        "How many of them are up and watched by their probes alone; `announcer status` says why"
    WATCH_BLIND Gauge "announcer_listener_watch_blind" []
        "1 while the listener watch cannot see listeners, so that only probes notice a crash, else 0"
    PEER_STATE Gauge "announcer_peer_state" ["peer", "state"]
        "1 for the state that the session with a router has (RFC 4271), 0 for the others"
    PEER_UPTIME Gauge "announcer_peer_uptime_seconds" ["peer"]
        "How long the session has been established; 0 while it is not"
    PEER_UPS Counter "announcer_peer_established_total" ["peer"]
        "How often the session was established"
    PEER_DOWNS Counter "announcer_peer_down_total" ["peer", "reason"]
        "How often the session ended, or a try for it failed, and why"
    PEER_PREFIXES Gauge "announcer_peer_prefixes" ["peer"]
        "How many prefixes are advertised to a router"
    PEER_ROUTES_NOT_SENT Gauge "announcer_peer_routes_not_sent" ["peer", "family", "reason"]
        "1 for a family of the peer's `families` with routes that are not sent to a router, and why; absent otherwise"
    SENT Counter "announcer_peer_messages_sent_total" ["peer", "type"]
        "Messages sent to a router, by type"
    RECEIVED Counter "announcer_peer_messages_received_total" ["peer", "type"]
        "Messages received from a router, by type"
    WIRE Histogram "announcer_update_delay_seconds" ["peer"]
        "Time from a fact that changes what is announced until the kernel has taken the UPDATEs"
    WARNINGS Gauge "announcer_warnings" []
        "How many warnings `announcer status` has"
    RELOADED Gauge "announcer_config_last_reload_successful" []
        "1 if the last reload was applied, 0 if it was refused; 1 before the first"
    RELOADED_AT Gauge "announcer_config_last_reload_success_timestamp_seconds" []
        "When the configuration that runs was read, in Unix time"
    RELOADS Counter "announcer_config_reloads_total" ["result"]
        "Reloads that were asked for: applied, or refused and then nothing was changed"
    HOOKS Counter "announcer_hook_runs_total" ["result"]
        "Runs of the hook: ok, failed, timeout (and so killed), or not_started"
    HOOKS_REPLACED Counter "announcer_hook_replaced_total" []
        "Changes for which the hook was not run, because the VIP changed again before its turn came"
    START Gauge "process_start_time_seconds" []
        "When the process was started, in Unix time"
    CPU Counter "process_cpu_seconds_total" []
        "Processor time, user's and system's"
    RESIDENT Gauge "process_resident_memory_bytes" []
        "Resident memory"
    VIRTUAL Gauge "process_virtual_memory_bytes" []
        "Virtual memory"
    FILES Gauge "process_open_fds" []
        "Open file descriptors"
    MAX_FILES Gauge "process_max_fds" []
        "The most file descriptors that may be open"
}

/// All that one scrape tells.
#[derive(Debug)]
pub struct Scrape {
    /// What is decided of every VIP.
    pub figures: Figures,
    /// What the director's task has counted.
    pub tally: Tally,
    /// How the listener watch stands.
    pub listeners: ListenerMetrics,
    /// The sessions, in the order of the configuration.
    pub peers: Vec<PeerMetrics>,
    /// How many warnings there are.
    pub warnings: usize,
    /// What became of the reloads.
    pub reloads: Reloads,
    /// What became of the hook's runs.
    pub hooks: HookRuns,
    /// The process; what the host does not tell is absent.
    pub process: ProcessMetrics,
}

/// How the listener watch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerMetrics {
    /// From look to look; zero: nothing is watched.
    pub period: Duration,
    /// How many VIPs and ports are watched.
    pub targets: usize,
    /// How many of them are up and left to their probes.
    pub disarmed: usize,
    /// Whether nothing can be seen at present.
    pub blind: bool,
}

/// A router, and the session with it.
#[derive(Debug)]
pub struct PeerMetrics {
    /// Its configured name.
    pub name: PeerName,
    /// The session's state.
    pub state: StateName,
    /// How long it has had it.
    pub lasts: Duration,
    /// How often it was established.
    pub established: u64,
    /// How often it ended or failed, by the reason's label.
    pub downs: BTreeMap<&'static str, u64>,
    /// Prefixes that the router knows from us.
    pub prefixes: usize,
    /// Which routes are not sent to it.
    pub not_sent: Vec<NotSent>,
    /// Messages by type.
    pub sent: [(&'static str, u64); 5],
    /// Messages by type.
    pub received: [(&'static str, u64); 5],
    /// From the knowledge of facts to the wire.
    pub wire: Histogram<13>,
}

/// What became of the reloads so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reloads {
    /// How many were applied.
    pub applied: u64,
    /// How many were refused or failed.
    pub refused: u64,
    /// Whether the last one was applied; so is the configuration of the start.
    pub last_applied: bool,
    /// When the configuration that runs was read, in seconds of Unix time.
    pub applied_at: f64,
}

impl Reloads {
    /// Of a daemon that has read its configuration at `now`, in seconds of Unix time.
    pub fn new(now: f64) -> Self {
        Reloads { applied: 0, refused: 0, last_applied: true, applied_at: now }
    }

    /// One more, at `now`.
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

/// What the kernel knows of the process.
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
    /// Descriptors that are open.
    pub open_files: Option<u64>,
    /// The most that may be; absent: there is no limit.
    pub max_files: Option<u64>,
}
