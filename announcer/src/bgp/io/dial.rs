//! A try to connect: from the route to the TCP connection.
//!
//! Touches rtnetlink, sockets and the key's file. When it is dropped, nothing remains.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::bgp::hint::{Clues, Neighbour, PeerLocation};
use crate::bgp::io::netstat::NetstatCounters;
use crate::bgp::io::password::{self, Md5Key};
use crate::bgp::io::path;
use crate::bgp::io::sockopt::{self, SocketOptions};
use crate::bgp::path::{Address, ConnectionPath, Path};
use crate::bgp::reason::TcpFailure;
use crate::config::{PeerAddress, PeerConfig};
use crate::files::io::Files;
use crate::model::Family;

/// A connection, with the facts that were found while connecting.
pub(super) struct DialSuccess {
    pub(super) stream: TcpStream,
    /// Our end.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) peer: SocketAddr,
    /// What it uses of the host's network.
    pub(super) used: ConnectionPath,
    /// The addresses of the outgoing interface.
    pub(super) addresses: Vec<Address>,
    /// How long the peer's kernel may acknowledge nothing.
    pub(super) silence: Duration,
    /// The key that signs its segments.
    pub(super) key: Option<Md5Key>,
    /// The families all of whose VIPs are on the host.
    pub(super) kept: BTreeSet<Family>,
    /// The clues of the try.
    pub(super) clues: Clues,
}

/// A failed try, with its clues.
pub(super) struct DialFailure {
    pub(super) failure: TcpFailure,
    pub(super) clues: Clues,
}

/// The part of a try's time that is kept for collecting clues.
const LOOK: Duration = Duration::from_millis(500);

/// Connects to the peer from an address that is no VIP; it ends a little before `patience` is over.
pub(super) async fn dial(
    files: Files,
    peer: Arc<PeerConfig>,
    vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    patience: Duration,
) -> Result<DialSuccess, DialFailure> {
    let mut clues = Clues::default();
    let before = counters(&files).await;
    let mut next = None;
    let tried = attempt(&files, &peer, &vips, patience.saturating_sub(LOOK), &mut clues, &mut next).await;
    match tried {
        Ok(dialed) => Ok(DialSuccess { clues, ..dialed }),
        Err(failure) => {
            if let Some((next, interface)) = next {
                let (neighbour, now) = tokio::join!(neighbour(next, interface), counters(&files));
                (clues.neighbour, clues.counters) = (neighbour, now.rose_since(&before));
            }
            Err(DialFailure { failure, clues })
        }
    }
}

/// Reads the kernel counters; returns no counters if that takes too long.
async fn counters(files: &Files) -> NetstatCounters {
    timeout(LOOK / 2, NetstatCounters::read(files)).await.unwrap_or_default()
}

/// Makes the try. It sets `next` to the next host on the way and the interface towards it, when both are known.
async fn attempt(
    files: &Files,
    peer: &PeerConfig,
    vips: &watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    patience: Duration,
    clues: &mut Clues,
    next: &mut Option<(IpAddr, u32)>,
) -> Result<DialSuccess, TcpFailure> {
    let key = match &peer.password_file {
        Some(file) => {
            let key =
                password::read(files, file).await.map_err(|error| TcpFailure::Password(error.to_string()))?;
            clues.key = key.oddity();
            Some(key)
        }
        None => None,
    };
    let (address, route) = locate(peer, None).await?;
    clues.location = if route.via.is_some() { PeerLocation::Routed } else { PeerLocation::OnLink };
    let end = end(address, peer.port, route.interface);
    let avoided = Arc::clone(&vips.borrow());
    let chosen = path::source(end, peer.interface.as_deref(), route, &avoided).await;
    let (choice, addresses) = chosen.map_err(|error| broken(&error))?;
    let source = peer.source_address.or(choice).ok_or(TcpFailure::NoSource(route.source))?;
    clues.source = Some(source);
    *next = Some((route.via.unwrap_or(address), route.interface));

    let (began, silence) = (Instant::now(), silence(peer.hold_time));
    let wants = SocketOptions {
        peer: end,
        silence,
        mss: peer.tcp_mss,
        // RFC 5082 §3: a packet of 255 loses one at each router on the way.
        least_ttl: peer.ttl_security.then(|| u8::MAX - (peer.multihop - 1)),
        interface: peer.interface.as_deref(),
        key: key.as_ref(),
    };
    match patient(patience, connect(&wants, self::end(source, 0, route.interface))).await {
        Ok(Ok(stream)) => {
            let local = stream.local_addr().map_err(|error| broken(&error))?;
            let used = ConnectionPath {
                peer: address,
                local: local.ip(),
                interface: route.interface,
                own: addresses.iter().any(|ours| ours.ip == local.ip()),
                assigned: false,
                pinned: peer.source_address.is_some(),
            };
            // The OPEN must be true at the time when it is sent. VIPs whose presence is not known count as missing.
            let vips = Arc::clone(&vips.borrow());
            let kept = path::families_on_host(&vips).await.unwrap_or_default();
            Ok(DialSuccess {
                stream,
                local,
                peer: end,
                used,
                addresses,
                silence,
                key,
                kept,
                clues: Clues::default(),
            })
        }
        Ok(Err(TcpFailure::TimedOut)) => Err(TcpFailure::NoAnswer(began.elapsed())),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(TcpFailure::NoAnswer(began.elapsed())),
    }
}

/// Finds the peer's current address and the way to it. `known` has the default gateway and its interface, if they do not have to be
/// looked up.
pub(super) async fn locate(
    peer: &PeerConfig,
    known: Option<(IpAddr, u32)>,
) -> Result<(IpAddr, Path), TcpFailure> {
    let broken = |error| broken(&error);
    let over = match &peer.interface {
        Some(name) => Some(
            path::interface(name)
                .await
                .map_err(broken)?
                .ok_or_else(|| TcpFailure::NoInterface(name.clone()))?,
        ),
        None => None,
    };
    let (address, over) = match peer.address {
        PeerAddress::Ip(address) => (address, over),
        PeerAddress::DefaultGateway => match known {
            Some((address, interface)) => (address, Some(interface)),
            None => path::gateway(over).await.map_err(broken)?.ok_or(TcpFailure::NoGateway)?,
        },
    };
    Ok((address, path::towards(address, over).await.map_err(|error| no_route(&error))?))
}

/// How long the peer's kernel may acknowledge nothing: the hold time, or half a minute if the hold time is zero.
pub(super) fn silence(hold_time: Duration) -> Duration {
    if hold_time.is_zero() { Duration::from_secs(30) } else { hold_time }
}

/// Waits for at most `limit`. If the process was stopped, an event that arrived during that time still counts, even if it is
/// handled late.
async fn patient<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = std::pin::pin!(future);
    match timeout(limit, &mut future).await {
        Ok(result) => Ok(result),
        Err(_) => {
            // Lets tokio handle the sockets once: after a process was stopped, its timers are handled first.
            tokio::task::yield_now().await;
            timeout(Duration::ZERO, future).await
        }
    }
}

async fn neighbour(next: IpAddr, interface: u32) -> Neighbour {
    let known = timeout(LOOK / 2, path::neighbour(next, interface)).await;
    // If this fails, the try does not fail because of it.
    known.ok().and_then(Result::ok).unwrap_or_default()
}

/// An end of a connection; a link-local one needs its interface.
fn end(ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, interface).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(ip, port),
    }
}

async fn connect(wants: &SocketOptions<'_>, source: SocketAddr) -> Result<TcpStream, TcpFailure> {
    let open = || {
        let socket = Socket::new(Domain::for_address(wants.peer), Type::STREAM, Some(Protocol::TCP))?;
        sockopt::prepare(&socket, wants)?;
        io::Result::Ok(socket)
    };
    let socket = open().map_err(|error| broken(&error))?;
    socket.bind(&source.into()).map_err(|error| {
        let missing = error.kind() == io::ErrorKind::AddrNotAvailable;
        if missing { TcpFailure::SourceMissing(source.ip()) } else { broken(&error) }
    })?;
    let connected = TcpSocket::from_std_stream(socket.into()).connect(wants.peer).await;
    connected.map_err(|error| {
        let failure = broken(&error);
        // There is a route, so the error comes from an ICMP message.
        if failure == TcpFailure::NoRoute { TcpFailure::Unreachable } else { failure }
    })
}

/// The meaning of an error from the routing table. Routes of the types `unreachable`, `prohibit` and `blackhole` have their own
/// errors.
#[allow(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
fn no_route(error: &io::Error) -> TcpFailure {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput => TcpFailure::NoRoute,
        io::ErrorKind::AddrNotAvailable => TcpFailure::NoAddress,
        _ => broken(error),
    }
}

/// The meaning of a connection's error.
#[allow(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
pub(super) fn broken(error: &io::Error) -> TcpFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => TcpFailure::Refused,
        io::ErrorKind::NetworkUnreachable => TcpFailure::NoRoute,
        io::ErrorKind::HostUnreachable => TcpFailure::Unreachable,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => TcpFailure::Reset,
        io::ErrorKind::TimedOut => TcpFailure::TimedOut,
        io::ErrorKind::PermissionDenied => TcpFailure::Forbidden,
        _ => TcpFailure::Other(error.to_string()),
    }
}
