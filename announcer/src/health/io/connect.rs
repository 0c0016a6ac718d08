//! Opens a TCP connection from the VIP to the VIP, and explains its errors.
//!
//! Touches the network. The socket is bound to the VIP, so that a probe fails when the VIP is not on this host, and never reaches
//! another host that has it. For a fixed target, the kernel chooses the source.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

use super::result::{self, ProbeError, of_kernel};
use crate::config::endpoint::Endpoint;
use crate::health::outcome::{Reason, Shortage};

/// Connects.
///
/// # Errors
///
/// The error of the kernel, as an error of a probe.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<TcpStream, ProbeError> {
    try_connect(endpoint).await.map_err(|error| meaning(endpoint, &error))
}

/// The meaning of a socket's error for an endpoint.
pub(super) fn meaning(endpoint: &Endpoint, error: &io::Error) -> ProbeError {
    match of_kernel(error) {
        // If the socket is not bound to a VIP, the error means that no port was free.
        Some(ProbeError::Fail(Reason::VipMissing)) if endpoint.from.is_none() => {
            ProbeError::Skip(Shortage::Ports)
        }
        Some(trouble) => trouble,
        None => ProbeError::Fail(result::refused(error)),
    }
}

async fn try_connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let socket = if endpoint.to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(from) = endpoint.from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    // We send in pieces, and each piece should be sent at once.
    socket.set_nodelay(true)?;
    socket.connect(endpoint.to).await
}
