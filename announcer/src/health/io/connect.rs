//! Opens the TCP connection of a probe, from the VIP to the VIP, and converts its errors.
//!
//! Touches the network. The socket is bound to the VIP, so that a probe fails when the VIP is not on this host, and never reaches
//! another host that has it. If the check has a `target` in its configuration, the probe connects to that address instead, and the
//! kernel chooses the source address. With `send_proxy`, the connection begins with the header of the PROXY protocol.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::result::{self, ProbeError, of_kernel};
use crate::config::endpoint::Endpoint;
use crate::health::outcome::{Reason, Shortage};

#[cfg(test)]
pub(super) mod tests;

/// Connects to the endpoint, and sends the header of the PROXY protocol if the check has one. It has no time limit of its own; the caller limits the whole probe.
///
/// # Errors
///
/// See [`probe_error`].
pub(super) async fn connect(endpoint: &Endpoint) -> Result<TcpStream, ProbeError> {
    try_connect(endpoint).await.map_err(|error| probe_error(endpoint, &error))
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

async fn try_connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let socket = if endpoint.to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(from) = endpoint.from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    // We send in pieces, and each piece should be sent at once.
    socket.set_nodelay(true)?;
    let mut stream = socket.connect(endpoint.to).await?;
    if let Some(version) = endpoint.proxy {
        stream.write_all(&version.header(stream.local_addr()?, endpoint.to)).await?;
    }
    Ok(stream)
}
