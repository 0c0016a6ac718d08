//! The NTP probe: one request, and the time of its answer.
//!
//! Touches the network and the clock. The offset is between two clocks, so it needs the wall clock; the time between request and
//! answer is that of the monotonic clock, and a step of the wall clock between them changes nothing.

use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use super::datagram;
use super::prober::Prober;
use super::result::ProbeError;
use crate::config::endpoint::Endpoint;
use crate::config::kind::ntp::{Failure, NtpConfig};
use crate::health::ntp::NtpTime;
use crate::health::outcome::Outcome;
use crate::health::{Target, ntp};

#[cfg(test)]
mod tests;

/// A prepared probe of one address and port, which can be repeated.
#[derive(Debug)]
pub struct NtpProbe {
    endpoint: Endpoint,
    config: NtpConfig,
    timeout: Duration,
}

impl NtpProbe {
    /// A probe of `ntp` at a target.
    pub fn of(_: &Prober, target: &Target, ntp: &NtpConfig) -> Self {
        let endpoint = target.endpoint(ntp.port, None);
        NtpProbe { endpoint, config: ntp.clone(), timeout: target.config.timeout }
    }

    /// Makes one probe. If the future is dropped, the socket is closed.
    pub async fn probe(&self) -> Outcome {
        let nonce = fastrand::u64(..);
        // A clock before 1970 has an offset of its own.
        let (start, clock) = (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH));
        let clock = clock.unwrap_or_default();
        let judge = |octets: &[u8]| {
            let (sent, received) = (NtpTime::of_unix(clock), NtpTime::of_unix(clock + start.elapsed()));
            match ntp::judge(&self.config, nonce, octets, sent, received) {
                Ok(answer) => ControlFlow::Break(Ok(answer.into())),
                Err(failure @ (Failure::NotNtp | Failure::OtherRequest)) => {
                    ControlFlow::Continue(ProbeError::of(failure))
                }
                Err(
                    failure @ (Failure::Unsynchronised
                    | Failure::Refuses(_)
                    | Failure::Stratum(_)
                    | Failure::Offset(_)),
                ) => ControlFlow::Break(Err(ProbeError::of(failure))),
            }
        };
        datagram::ask(&self.endpoint, &ntp::request(nonce), self.timeout, judge).await
    }
}
