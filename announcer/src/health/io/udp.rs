//! The UDP probe: one datagram, and the datagram that is expected.
//!
//! Touches the network. A datagram that is not the expected one is dropped, and reported if no other one comes.

use std::ops::ControlFlow;
use std::time::Duration;

use super::datagram;
use super::prober::Prober;
use super::result::ProbeError;
use crate::config::endpoint::Endpoint;
use crate::config::kind::udp::UdpConfig;
use crate::health::Target;
use crate::health::outcome::Outcome;

#[cfg(test)]
mod tests;

/// A prepared probe of one address and port, which can be repeated.
#[derive(Debug)]
pub struct UdpProbe {
    endpoint: Endpoint,
    config: UdpConfig,
    timeout: Duration,
}

impl UdpProbe {
    /// A probe of `udp` at a target.
    pub fn of(_: &Prober, target: &Target, udp: &UdpConfig) -> Self {
        let endpoint = target.endpoint(udp.port, None);
        UdpProbe { endpoint, config: udp.clone(), timeout: target.config.timeout }
    }

    /// Makes one probe. If the future is dropped, the socket is closed.
    pub async fn probe(&self) -> Outcome {
        let judge = |octets: &[u8]| match self.config.compare(octets) {
            Ok(answer) => ControlFlow::Break(Ok(answer.into())),
            Err(failure) => ControlFlow::Continue(ProbeError::of(failure)),
        };
        datagram::ask(&self.endpoint, &self.config.request_octets(), self.timeout, judge).await
    }
}
