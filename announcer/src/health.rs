//! Health: what the local HTTP stack answers, and what we make of it.
//!
//! Pure, but for [`io`]. The probes ([`io::probe`], one loop a check and VIP) send what they saw up as [`ProbeFact`]; the
//! owner of the [`check::Check`]s folds it into verdicts, and sends a [`Pace`] down.
//!
//! ```text
//! io::probe ── mpsc<Probed{sequence, outcome}> ─→ check::Check::observe ─→ Verdict
//! io::listener ─ mpsc<Listening{vip, port}> ─→ check::Check::vanished ─→ Verdict
//!     ↑                                                  │ settling()
//!     └───────────── watch<Pace> ────────────────────────┘
//! ```

pub mod check;
pub mod hint;
pub mod io;
pub mod outcome;
pub mod shortages;
pub mod watch;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use url::Host;

use crate::config;
use crate::config::endpoint::Endpoint;
use crate::model::ServiceName;

use outcome::Outcome;

/// One check of one VIP: what a probe loop works at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The service that stands and falls with it.
    pub service: ServiceName,
    /// The address that is asked.
    pub vip: IpAddr,
    /// The check's place in its service, from 0.
    pub check: usize,
    /// What is asked, and how.
    pub config: config::CheckConfig,
}

impl Target {
    /// Where its probes go: to the check's target or the VIP; at `port`, unless the target has another.
    pub fn endpoint(&self, port: u16, host: Option<Host>) -> Endpoint {
        Endpoint::new(self.vip, self.config.target, port, host)
    }
}

#[cfg(test)]
impl Target {
    /// The first check of a service `www`, with a timeout.
    pub(crate) fn of_test(vip: IpAddr, mut config: config::CheckConfig, timeout: Duration) -> Self {
        config.timeout = timeout;
        Target { service: "www".parse().unwrap(), vip, check: 0, config }
    }
}

/// How fast a probe loop probes; decided from above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the start of one probe to the start of the next, above zero.
    pub interval: Duration,
    /// How often an immediate probe was asked for: a change means "probe now".
    pub rechecks: u64,
}

/// A fact: the kernel's word that a listener is gone, or there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerFact {
    /// The VIP that was listened on.
    pub vip: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// `false`: nothing would accept, and a connection was refused. `true`: it is back.
    pub listening: bool,
    /// When it was known (monotonic).
    pub at: Instant,
}

/// What the listener watch has to know of a VIP and port, decided from above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSpec {
    /// How long a listener may be gone before that counts.
    pub grace: Duration,
    /// Whether a check that asks there is up.
    pub up: bool,
}

/// A fact: what one probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFact {
    /// [`Target::service`].
    pub service: ServiceName,
    /// [`Target::vip`].
    pub vip: IpAddr,
    /// [`Target::check`].
    pub check: usize,
    /// The order in which the probes of a check were started: rising, with gaps, also over a new start of its loop.
    pub sequence: u64,
    /// What it saw.
    pub outcome: Outcome,
    /// When it was known (monotonic).
    pub at: Instant,
}
