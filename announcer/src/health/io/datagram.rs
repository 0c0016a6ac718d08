//! One question in a datagram, and its answer: what the probes over UDP and ICMP have in common.
//!
//! Touches the network. The socket is bound to the VIP, as in [`super::connect`], and connected: so it only gets datagrams from the
//! server, and the kernel's errors about it. A datagram is not sent a second time; a lost one is a failed probe, as `fall` counts them.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::connect::{ip_of, probe_error};
use super::result::{self, ProbeError, ProbeSuccess};
use crate::config::endpoint::Endpoint;
use crate::health::outcome::{Outcome, TimeoutPhase};
use crate::time_limit::io::within;

/// How many octets of a datagram are read; what is behind them is dropped.
pub(super) const MOST: usize = 16 * 1024;

/// What a datagram means. `Break`: the probe ends with this result. `Continue`: the datagram is no answer to our question, and the
/// probe ends with this error if none comes.
pub(super) type Judgement = ControlFlow<Result<ProbeSuccess, ProbeError>, ProbeError>;

/// Sends `octets` to the endpoint by UDP, and waits for an answer that `judge` takes. If the future is dropped, the socket is closed.
pub(super) async fn ask(
    endpoint: &Endpoint,
    octets: &[u8],
    timeout: Duration,
    judge: impl FnMut(&[u8]) -> Judgement,
) -> Outcome {
    let start = Instant::now();
    let mut refused = None;
    let asked = async {
        let socket = connect(endpoint)?;
        exchange(&socket, endpoint, octets, judge, &mut refused).await
    };
    let ended = within(timeout, asked).await;
    outcome(ended, refused, timeout, start)
}

/// The outcome of an exchange that has ended; `refused` is why the last datagram was no answer.
pub(super) fn outcome(
    mut ended: Result<Result<ProbeSuccess, ProbeError>, tokio::time::error::Elapsed>,
    refused: Option<ProbeError>,
    timeout: Duration,
    start: Instant,
) -> Outcome {
    if ended.is_err()
        && let Some(refused) = refused
    {
        ended = Ok(Err(refused));
    }
    result::outcome(ended, TimeoutPhase::Answer, timeout, start.elapsed())
}

/// Sends `octets`, and reads until `judge` takes a datagram; `refused` is why the last one was no answer. It has no time limit of its
/// own.
pub(super) async fn exchange(
    socket: &UdpSocket,
    endpoint: &Endpoint,
    octets: &[u8],
    mut judge: impl FnMut(&[u8]) -> Judgement,
    refused: &mut Option<ProbeError>,
) -> Result<ProbeSuccess, ProbeError> {
    let failed = |error: io::Error| probe_error(endpoint, &error);
    socket.send(octets).await.map_err(failed)?;
    let mut buffer = vec![0; MOST];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(failed)?;
        match judge(buffer.get(..length).unwrap_or_default()) {
            ControlFlow::Break(end) => return end,
            ControlFlow::Continue(why) => *refused = Some(why),
        }
    }
}

fn connect(endpoint: &Endpoint) -> Result<UdpSocket, ProbeError> {
    let to = ip_of(endpoint)?;
    let open = || {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        bind_and_connect(endpoint, to, socket)
    };
    open().map_err(|error| probe_error(endpoint, &error))
}

/// Binds a socket of UDP or ICMP to the VRF and to the VIP, and connects it.
pub(super) fn bind_and_connect(endpoint: &Endpoint, to: SocketAddr, socket: Socket) -> io::Result<UdpSocket> {
    if let Some(vrf) = &endpoint.vrf {
        socket.bind_device(Some(vrf.as_bytes()))?;
    }
    if let Some(from) = endpoint.from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect(&to.into())?;
    UdpSocket::from_std(socket.into())
}
