//! Opens the connection of a probe, from the VIP to the VIP, and converts its errors.
//!
//! Touches the network. In a VRF, the socket is first bound to the device of the VRF (SO_BINDTODEVICE, socket(7); no capability is needed
//! since Linux 5.7): only then the VIP is an address of its own, and only the servers of the VRF can answer. The socket is bound to the
//! VIP, so that a probe fails when the VIP is not on this host, and never reaches another host that has it. If the check has a `target` in
//! its configuration, the probe connects to that address instead, and the kernel chooses the source address; or to that unix socket. With
//! `send_proxy`, the connection begins with the header of the PROXY protocol.

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::result::{self, ProbeError, of_kernel};
use super::stream::ProbeStream;
use crate::config::endpoint::{Endpoint, ServerAddress, SocketPath};
use crate::config::kind::socket;
use crate::health::outcome::{Reason, Shortage};

#[cfg(test)]
pub(super) mod tests;

/// Connects to the endpoint, and sends the header of the PROXY protocol if the check has one. It has no time limit of its own; the
/// caller limits the whole probe.
///
/// # Errors
///
/// See [`probe_error`], and for a unix socket [`socket_error`].
pub(super) async fn connect(endpoint: &Endpoint) -> Result<ProbeStream, ProbeError> {
    let failed = |error: io::Error| probe_error(endpoint, &error);
    let (mut stream, addresses) = match &endpoint.to {
        ServerAddress::Ip(to) => {
            let stream = try_connect(endpoint, *to).await.map_err(failed)?;
            let addresses = (stream.local_addr().map_err(failed)?, *to);
            (ProbeStream::Tcp(stream), Some(addresses))
        }
        ServerAddress::Unix(path) => {
            let stream = connect_unix(path).await;
            let stream =
                stream.map_err(|error| socket_error(&error).map_or_else(|| failed(error), ProbeError::of))?;
            (stream, None)
        }
    };
    if let Some(version) = endpoint.proxy {
        stream.write_all(&version.header(addresses)).await.map_err(failed)?;
    }
    Ok(stream)
}

/// Converts an error of the probe's socket, from connecting, reading or writing. A shortage of this host is not a failure of the
/// server: the probe counts as skipped, neither passed nor failed.
pub(super) fn probe_error(endpoint: &Endpoint, error: &io::Error) -> ProbeError {
    match of_kernel(error) {
        // EADDRNOTAVAIL of a bound socket means that the VIP is not on this host. A socket that is not bound to a VIP gets it when
        // no local port is free.
        Some(ProbeError::Fail(Reason::VipMissing)) if endpoint.from.is_none() => {
            ProbeError::Skip(Shortage::Ports)
        }
        Some(error) => error,
        // The error has no error number, so it did not come from a system call.
        None => ProbeError::Fail(result::kernel_reason(error)),
    }
}

/// The address of an endpoint, for the kinds of checks without connections. Their configuration allows no unix socket.
pub(super) fn ip_of(endpoint: &Endpoint) -> Result<SocketAddr, ProbeError> {
    endpoint
        .to
        .ip()
        .ok_or(ProbeError::Fail(Reason::Other("this check cannot use a unix socket: write an address")))
}

async fn try_connect(endpoint: &Endpoint, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(vrf) = &endpoint.vrf {
        socket.bind_device(Some(vrf.as_bytes()))?;
    }
    if let Some(from) = endpoint.from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    // We send in pieces, and each piece should be sent at once.
    socket.set_nodelay(true)?;
    socket.connect(to).await
}

/// A connection to a unix socket is made or refused at once, also when the server hangs: the socket does not block (unix(7)).
async fn connect_unix(path: &SocketPath) -> io::Result<ProbeStream> {
    UnixStream::connect(path.path()).await.map(ProbeStream::Unix)
}

/// The meaning of an error of connect(2) that only a unix socket has.
fn socket_error(error: &io::Error) -> Option<socket::Failure> {
    let errno = Errno::from_raw(error.raw_os_error()?);
    let known = [
        (Errno::ENOENT, socket::Failure::Missing),
        (Errno::ENOTDIR, socket::Failure::Missing),
        (Errno::ECONNREFUSED, socket::Failure::Refused),
        (Errno::EACCES, socket::Failure::Forbidden),
        (Errno::EAGAIN, socket::Failure::QueueFull),
        (Errno::EPROTOTYPE, socket::Failure::NotStream),
    ];
    known.into_iter().find(|(known, _)| *known == errno).map(|(_, failure)| failure)
}
