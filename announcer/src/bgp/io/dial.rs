//! A try to connect: from the route to the TCP connection.
//!
//! Touches rtnetlink, sockets and the key's file. Dropped, it leaves nothing behind.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::bgp::io::password::{self, Key};
use crate::bgp::io::path::{self, Address, Path};
use crate::bgp::io::sockopt::{self, Wants};
use crate::bgp::reason::{Neighbour, TcpFailure};
use crate::config::{Peer, PeerAddress};
use crate::model::Family;

/// A connection, and what was learnt on the way.
pub(super) struct Dialed {
    pub(super) stream: TcpStream,
    /// Our end.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) peer: SocketAddr,
    /// The outgoing interface.
    pub(super) interface: u32,
    /// Its addresses.
    pub(super) addresses: Vec<Address>,
    /// The key of its segments.
    pub(super) key: Option<Key>,
    /// The families all of whose VIPs are on the host.
    pub(super) kept: BTreeSet<Family>,
}

/// A try that came to nothing, and what was seen.
pub(super) struct Missed {
    pub(super) failure: TcpFailure,
    /// What ARP or ND know of the next host on the way.
    pub(super) neighbour: Neighbour,
}

impl From<TcpFailure> for Missed {
    fn from(failure: TcpFailure) -> Self {
        Missed { failure, neighbour: Neighbour::Unknown }
    }
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Self {
        broken(&error).into()
    }
}

/// What is left of a try's time to look around after it.
const LOOK: Duration = Duration::from_millis(500);

/// Connects to the peer from an address that is no VIP; gives up a little before `patience` is over.
pub(super) async fn dial(
    peer: Arc<Peer>,
    vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    patience: Duration,
) -> Result<Dialed, Missed> {
    let key = match &peer.password_file {
        Some(file) => Some(password::read(file).map_err(|error| TcpFailure::Password(error.to_string()))?),
        None => None,
    };
    let interface = match &peer.interface {
        Some(name) => {
            Some(path::interface(name).await?.ok_or_else(|| TcpFailure::NoInterface(name.clone()))?)
        }
        None => None,
    };
    let (address, interface) = match peer.address {
        PeerAddress::Ip(address) => (address, interface),
        PeerAddress::DefaultGateway => path::gateway(interface).await?.ok_or(TcpFailure::NoGateway)?,
    };
    let route = path::towards(address, interface).await?;
    let addresses = path::addresses(route.interface).await?;
    let source = match peer.source_address {
        Some(source) => source,
        None => path::source(route, &addresses, &vips.borrow()).ok_or(TcpFailure::NoSource(route.source))?,
    };

    let began = Instant::now();
    let end = end(address, peer.port, route.interface);
    let wants = Wants {
        peer: end,
        hold_time: peer.hold_time,
        // RFC 5082 §3: a packet of 255 loses one at each router on the way.
        least_ttl: peer.ttl_security.then(|| u8::MAX - (peer.multihop - 1)),
        interface: peer.interface.as_deref(),
        key: key.as_ref(),
    };
    let connecting = connect(&wants, self::end(source, 0, route.interface));
    let failure = match timeout(patience.saturating_sub(LOOK), connecting).await {
        Ok(Ok(stream)) => {
            let local = stream.local_addr()?;
            let interface = route.interface;
            // What the OPEN says of the VIPs is to be true when it is sent. Not to know is not to have them.
            let vips = Arc::clone(&vips.borrow());
            let kept = path::families_on_host(&vips).await.unwrap_or_default();
            return Ok(Dialed { stream, local, peer: end, interface, addresses, key, kept });
        }
        Ok(Err(error)) => {
            let failure = broken(&error);
            if failure == TcpFailure::TimedOut { TcpFailure::NoAnswer(began.elapsed()) } else { failure }
        }
        Err(_) => TcpFailure::NoAnswer(began.elapsed()),
    };
    Err(Missed { failure, neighbour: neighbour(route, address).await })
}

async fn neighbour(route: Path, peer: IpAddr) -> Neighbour {
    let known = timeout(LOOK / 2, path::neighbour(route.via.unwrap_or(peer), route.interface)).await;
    // Not to know is no failure of its own.
    known.ok().and_then(Result::ok).unwrap_or_default()
}

/// An end of a connection; a link-local one is told by its interface.
fn end(ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, interface).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(ip, port),
    }
}

async fn connect(wants: &Wants<'_>, source: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(wants.peer), Type::STREAM, Some(Protocol::TCP))?;
    sockopt::prepare(&socket, wants)?;
    socket.bind(&source.into())?;
    TcpSocket::from_std_stream(socket.into()).connect(wants.peer).await
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
