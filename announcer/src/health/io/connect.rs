//! A TCP connection from the VIP to the VIP, and what it means when there is none.
//!
//! Touches the network. The socket is bound to the VIP, so that a probe fails when the VIP is not on this host, and never
//! asks another host that has it. A fixed target is asked from wherever the kernel says.

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
/// What the kernel says, as what it means for a probe.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<TcpStream, ProbeError> {
    try_connect(endpoint).await.map_err(|error| meaning(endpoint, &error))
}

/// What an error of a socket to an endpoint means.
pub(super) fn meaning(endpoint: &Endpoint, error: &io::Error) -> ProbeError {
    match of_kernel(error) {
        // A socket that is bound to no VIP misses none: no port was free.
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
    // What we send comes in pieces, and each is wanted at once.
    socket.set_nodelay(true)?;
    socket.connect(endpoint.to).await
}
