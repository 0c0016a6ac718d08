//! The ICMP probe: one echo request over a ping socket.
//!
//! Touches the network. A ping socket (SOCK_DGRAM with the protocol ICMP, icmp(7)) needs no capability. The kernel gives it to the
//! groups of net.ipv4.ping_group_range alone, also for ICMPv6.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::connect::{ip_of, probe_error};
use super::datagram;
use super::prober::Prober;
use super::result::ProbeError;
use crate::config::endpoint::{Endpoint, ServerAddress};
use crate::config::kind::icmp::{Answer, Failure, IcmpConfig};
use crate::health::outcome::Outcome;
use crate::health::{Target, icmp};
use crate::model::Family;
use crate::time_limit::io::within;

#[cfg(test)]
mod tests;

/// A prepared probe of one address, which can be repeated.
#[derive(Debug)]
pub struct IcmpProbe {
    /// Its port is 0.
    endpoint: Endpoint,
    size: u16,
    timeout: Duration,
}

impl IcmpProbe {
    /// A probe of `icmp` at a target.
    pub fn of(_: &Prober, target: &Target, icmp: &IcmpConfig) -> Self {
        IcmpProbe { endpoint: target.endpoint(0, None), size: icmp.size, timeout: target.config.timeout }
    }

    /// Makes one probe. If the future is dropped, the socket is closed.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let mut refused = None;
        let family = match &self.endpoint.to {
            ServerAddress::Ip(SocketAddr::V4(_)) => Family::V4,
            ServerAddress::Ip(SocketAddr::V6(_)) | ServerAddress::Unix(_) => Family::V6,
        };
        let sequence = fastrand::u16(..);
        let data: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(self.size.into()).collect();
        let judge = |octets: &[u8]| match icmp::judge(family, sequence, &data, octets) {
            Ok(()) => ControlFlow::Break(Ok(Answer::Echo.into())),
            Err(failure) => ControlFlow::Continue(ProbeError::of(failure)),
        };
        let request = icmp::request(family, sequence, &data);
        let asked = async {
            let socket = open(&self.endpoint, family)?;
            datagram::exchange(&socket, &self.endpoint, &request, judge, &mut refused).await
        };
        let ended = within(self.timeout, asked).await;
        datagram::outcome(ended, refused, self.timeout, start)
    }
}

fn open(endpoint: &Endpoint, family: Family) -> Result<UdpSocket, ProbeError> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket =
        Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol)).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EACCES) => ProbeError::of(Failure::NotPermitted),
                Some(_) | None => probe_error(endpoint, &error),
            }
        })?;
    let to = ip_of(endpoint)?;
    // It is bound, connected, read and written like one of UDP.
    datagram::bind_and_connect(endpoint, to, socket).map_err(|error| probe_error(endpoint, &error))
}
