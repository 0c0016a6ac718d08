//! A try to connect: from the route to the TCP connection.
//!
//! Touches rtnetlink and sockets. Dropped, it leaves nothing behind.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::bgp::io::path::{self, Address};
use crate::bgp::io::sockopt;
use crate::bgp::reason::TcpFailure;
use crate::config::Peer;

/// A connection, and what was learnt on the way.
pub(super) struct Dialed {
    pub(super) stream: TcpStream,
    /// Our end.
    pub(super) local: SocketAddr,
    /// The outgoing interface.
    pub(super) interface: u32,
    /// Its addresses.
    pub(super) addresses: Vec<Address>,
}

/// Connects to the peer from an address that is no VIP.
pub(super) async fn dial(peer: Peer, vips: Arc<BTreeSet<IpAddr>>) -> Result<Dialed, TcpFailure> {
    let began = Instant::now();
    let route = path::towards(peer.address).await.map_err(|error| failure(&error, began))?;
    let addresses = path::addresses(route.interface).await.map_err(|error| failure(&error, began))?;
    let source = path::source(route, &addresses, &vips).ok_or(TcpFailure::NoSource(route.source))?;
    let stream = connect(&peer, source).await.map_err(|error| failure(&error, began))?;
    let local = stream.local_addr().map_err(|error| failure(&error, began))?;
    Ok(Dialed { stream, local, interface: route.interface, addresses })
}

async fn connect(peer: &Peer, source: IpAddr) -> io::Result<TcpStream> {
    let socket =
        Socket::new(Domain::for_address((peer.address, 0).into()), Type::STREAM, Some(Protocol::TCP))?;
    sockopt::prepare(&socket, peer.address, peer.hold_time)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    TcpSocket::from_std_stream(socket.into()).connect((peer.address, peer.port).into()).await
}

fn failure(error: &io::Error, began: Instant) -> TcpFailure {
    let failure = broken(error);
    if failure == TcpFailure::TimedOut { TcpFailure::NoAnswer(began.elapsed()) } else { failure }
}

/// What an error of a connection means.
#[allow(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
pub(super) fn broken(error: &io::Error) -> TcpFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => TcpFailure::Refused,
        io::ErrorKind::NetworkUnreachable => TcpFailure::NoRoute,
        io::ErrorKind::HostUnreachable => TcpFailure::Unreachable,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => TcpFailure::Reset,
        io::ErrorKind::TimedOut => TcpFailure::TimedOut,
        _ => TcpFailure::Other(error.to_string()),
    }
}
