//! Health: the results of the probes of the local server, and the verdicts that follow from them.
//!
//! Pure, except for [`io`]. The probes ([`io::probe`], one loop per check and VIP) send their results as [`ProbeFact`]. The owner of
//! the [`check::Check`]s computes verdicts from them, and publishes a [`Pace`] for each loop.
//!
//! ```text
//! io::probe ── mpsc<Probed{sequence, outcome}> ─→ check::Check::observe ─→ Verdict
//! io::listener ─ mpsc<Listening{vip, port}> ─→ check::Check::vanished ─→ Verdict
//!     ↑                                                  │ settling()
//!     └───────────── watch<Pace> ────────────────────────┘
//! ```

pub mod check;
pub mod dns;
pub mod grpc;
pub mod hint;
pub mod icmp;
pub mod io;
pub mod ntp;
pub mod outcome;
pub mod reuse;
pub mod shortages;
pub mod watch;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use url::Host;

use crate::config;
use crate::config::endpoint::Endpoint;
use crate::model::ServiceName;

use outcome::Outcome;

/// One check of one VIP, which one probe loop executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The service of the VIP.
    pub service: ServiceName,
    /// The address that is probed.
    pub vip: IpAddr,
    /// The index of the check in its service, from 0.
    pub check: usize,
    /// The configuration of the check.
    pub config: config::CheckConfig,
    /// The VRF of the service, to whose device the sockets of the probes are bound; `None`: they are bound to none.
    pub vrf: Option<String>,
}

impl Target {
    /// One check of a service and VIP.
    pub fn new(
        service: &config::ServiceConfig,
        vip: IpAddr,
        check: usize,
        config: &config::CheckConfig,
    ) -> Self {
        let vrf = service.vrf.clone();
        Target { service: service.name.clone(), vip, check, config: config.clone(), vrf }
    }

    /// The endpoint of its probes: the check's target or the VIP, with `port`, unless the target has another.
    pub fn endpoint(&self, port: u16, host: Option<Host>) -> Endpoint {
        let proxy = self.config.probe.send_proxy();
        Endpoint {
            proxy,
            vrf: self.vrf.clone(),
            ..Endpoint::new(self.vip, self.config.target.as_ref(), port, host)
        }
    }
}

#[cfg(test)]
impl Target {
    /// The first check of a service `www`, with a timeout.
    pub(crate) fn of_test(vip: IpAddr, mut config: config::CheckConfig, timeout: Duration) -> Self {
        config.timeout = timeout;
        Target { service: "www".parse().unwrap(), vip, check: 0, config, vrf: None }
    }
}

/// The pace of a probe loop, which the director decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the start of one probe to the start of the next, above zero.
    pub interval: Duration,
    /// How often an immediate probe was requested: a change means "probe now".
    pub rechecks: u64,
}

/// A fact: the kernel reports that a listener is gone, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerFact {
    /// The VIP of the listener.
    pub vip: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// `false`: there is no listener, and a connection was refused. `true`: it is back.
    pub listening: bool,
    /// When it was known (monotonic).
    pub at: Instant,
}

/// The data of the listener watch for a VIP and port, which the director decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSpec {
    /// How long a listener may be missing before this is reported.
    pub grace: Duration,
    /// Whether a check of this port is up.
    pub up: bool,
}

/// A fact: the result of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFact {
    /// [`Target::service`].
    pub service: ServiceName,
    /// [`Target::vip`].
    pub vip: IpAddr,
    /// [`Target::check`].
    pub check: usize,
    /// The number of the probe. Numbers increase in the order of the starts, with gaps, also when the loop is restarted.
    pub sequence: u64,
    /// Its outcome.
    pub outcome: Outcome,
    /// When it was known (monotonic).
    pub at: Instant,
}
