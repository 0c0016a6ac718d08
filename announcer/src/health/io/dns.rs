//! The DNS probe: one query, by UDP, TCP or TLS.
//!
//! Touches the network. Each query has a new number, and over UDP a new port. A datagram that answers another query is dropped, and
//! reported if no other one comes.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Host;

use super::connect::connect;
use super::datagram::{self, Judgement};
use super::prober::Prober;
use super::result::{self, ProbeError, ProbeSuccess};
use super::tls::{self, Handshake};
use crate::config::endpoint::{Endpoint, ServerAddress};
use crate::config::kind;
use crate::config::kind::dns::{DnsConfig, DnsTransport, Failure};
use crate::health::outcome::{Outcome, Reason, TimeoutPhase};
use crate::health::{Target, dns};
use crate::time_limit::io::within;

#[cfg(test)]
mod tests;

/// A prepared probe of one address and port, which can be repeated.
#[derive(Debug)]
pub struct DnsProbe {
    endpoint: Endpoint,
    config: DnsConfig,
    /// The query, with the number 0; `None`: it cannot be written.
    query: Option<Vec<u8>>,
    /// For TLS; or the reason why there is no handshake.
    handshake: Option<Result<Handshake, kind::handshake::Failure>>,
    timeout: Duration,
}

impl DnsProbe {
    /// A probe of `dns` at a target.
    pub fn of(prober: &Prober, target: &Target, dns: &DnsConfig) -> Self {
        let timeout = target.config.timeout;
        let endpoint = target.endpoint(dns.asked_port(), dns.server_name.clone());
        let handshake = dns.certificate().map(|certificate| {
            let address = match &endpoint.to {
                ServerAddress::Ip(SocketAddr::V4(to)) => Host::Ipv4(*to.ip()),
                ServerAddress::Ip(SocketAddr::V6(to)) => Host::Ipv6(*to.ip()),
                ServerAddress::Unix(_) => Host::Domain("localhost".to_owned()), // the configuration has no such target
            };
            let host = dns.server_name.as_ref().unwrap_or(&address);
            Handshake::new(host, Vec::new(), certificate, prober.trust(), timeout)
        });
        DnsProbe { endpoint, config: dns.clone(), query: dns::query(dns), handshake, timeout }
    }

    /// Makes one probe. If the future is dropped, the socket is closed.
    pub async fn probe(&self) -> Outcome {
        if let Some(Ok(handshake)) = &self.handshake {
            handshake.prepare().await;
        }
        let Some(mut query) = self.query.clone() else {
            let reason = Reason::Other("the name cannot be put into a query");
            return Outcome::Fail { reason, took: Duration::ZERO };
        };
        let id = fastrand::u16(..);
        if let Some(octets) = query.get_mut(..2) {
            octets.copy_from_slice(&id.to_be_bytes());
        }
        match self.config.transport {
            DnsTransport::Udp => {
                let judge = |octets: &[u8]| self.judge(id, octets);
                datagram::ask(&self.endpoint, &query, self.timeout, judge).await
            }
            DnsTransport::Tcp | DnsTransport::Tls => {
                let start = Instant::now();
                let mut waiting = TimeoutPhase::Connection;
                let ended = within(self.timeout, self.over_connection(&query, id, &mut waiting)).await;
                result::outcome(ended, waiting, self.timeout, start.elapsed())
            }
        }
    }

    /// A datagram that is no answer to this query does not end the probe.
    fn judge(&self, id: u16, octets: &[u8]) -> Judgement {
        match dns::judge(&self.config, id, octets) {
            Ok(answer) => ControlFlow::Break(Ok(answer.into())),
            Err(failure @ (Failure::NotDns | Failure::OtherQuery)) => {
                ControlFlow::Continue(ProbeError::of(failure))
            }
            Err(
                failure @ (Failure::Code(_)
                | Failure::NoRecord(_)
                | Failure::Missing { .. }
                | Failure::Truncated),
            ) => ControlFlow::Break(Err(ProbeError::of(failure))),
        }
    }

    async fn over_connection(
        &self,
        query: &[u8],
        id: u16,
        waiting: &mut TimeoutPhase,
    ) -> Result<ProbeSuccess, ProbeError> {
        let (octets, warning) = match &self.handshake {
            None => {
                let mut stream = connect(&self.endpoint).await?;
                (self.exchange(&mut stream, query, waiting).await?, None)
            }
            Some(handshake) => {
                let handshake = handshake.as_ref().map_err(|failure| ProbeError::of(failure.clone()))?;
                let mut connection = handshake.open(&self.endpoint, waiting).await?;
                (self.exchange(&mut connection.stream, query, waiting).await?, connection.warning)
            }
        };
        let answer = dns::judge(&self.config, id, &octets).map_err(ProbeError::of)?;
        Ok(ProbeSuccess { answer: answer.into(), warning: warning.map(Into::into) })
    }

    /// Sends the query behind its length, and reads the answer behind its length (RFC 1035 section 4.2.2).
    async fn exchange(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        query: &[u8],
        waiting: &mut TimeoutPhase,
    ) -> Result<Vec<u8>, ProbeError> {
        *waiting = TimeoutPhase::Answer;
        let failed = |error: io::Error| tls::stream_error(&self.endpoint, &error);
        let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
        stream.write_all(&[&length.to_be_bytes(), query].concat()).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let length = stream.read_u16().await.map_err(failed)?;
        *waiting = TimeoutPhase::Body;
        let mut octets = Vec::with_capacity(usize::from(length));
        while octets.len() < usize::from(length) {
            let left = usize::from(length) - octets.len();
            let read = (&mut *stream).take(u64::try_from(left).unwrap_or(0)).read_buf(&mut octets).await;
            if read.map_err(failed)? == 0 {
                return Err(ProbeError::of(Failure::NotDns));
            }
        }
        let _ = stream.shutdown().await; // the server may have closed the connection already
        Ok(octets)
    }
}
