//! One attempt to connect to a peer: it reads the key, finds the route and the source address, and opens the TCP connection.
//!
//! Touches rtnetlink, sockets and the key's file. When the future is dropped, its sockets are closed, and nothing remains.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::bgp::discovery::LearntRouters;
use crate::bgp::hint::{Clues, Neighbour, PeerLocation};
use crate::bgp::io::netstat::NetstatCounters;
use crate::bgp::io::password::{self, Md5Key};
use crate::bgp::io::path;
use crate::bgp::io::sockopt::{self, SocketOptions};
use crate::bgp::path::{Address, BoundDevices, ConnectionPath, Path};
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
    /// The addresses and the interface that it uses. When the network changes, they say whether the session can continue.
    pub(super) used: ConnectionPath,
    /// The addresses of the outgoing interface.
    pub(super) addresses: Vec<Address>,
    /// How long the peer's kernel may acknowledge nothing before the connection counts as lost. The kernel's TCP keepalive probes
    /// are set by it.
    pub(super) silence: Duration,
    /// The TCP MD5 key that signs its segments (RFC 2385).
    pub(super) key: Option<Md5Key>,
    /// The families all of whose VIPs are on the host. Graceful restart in our OPEN says that their forwarding state was kept
    /// (RFC 4724 §3).
    pub(super) kept: BTreeSet<Family>,
    /// What was observed during the attempt, for the hint about a later failure.
    pub(super) clues: Clues,
}

/// A failed attempt, with what was observed during it.
pub(super) struct DialFailure {
    pub(super) failure: TcpFailure,
    pub(super) clues: Clues,
}

/// The part of an attempt's time that is reserved for collecting clues: one half before it, the other half after a failure.
const CLUES_TIME: Duration = Duration::from_millis(500);

/// Connects to the peer from an address that is no VIP. The TCP connection is given up so early that the clues can still be read
/// before `patience` is over. `patience` does not limit the reading of the key and the queries of the kernel before it: the caller
/// drops the future when its own timer ends.
pub(super) async fn dial(
    files: Files,
    peer: Arc<PeerConfig>,
    vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    routers: watch::Receiver<Arc<LearntRouters>>,
    patience: Duration,
) -> Result<DialSuccess, DialFailure> {
    let mut clues = Clues::default();
    let before = counters(&files).await;
    let mut next = None;
    let attempted =
        attempt(&files, &peer, &vips, routers, patience.saturating_sub(CLUES_TIME), &mut clues, &mut next)
            .await;
    match attempted {
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
    timeout(CLUES_TIME / 2, NetstatCounters::read(files)).await.unwrap_or_default()
}

/// Makes the attempt. As soon as the route is known, it sets `next` to the next host on the way (the router, or the peer itself if
/// it is on the link) and the index of the interface towards it. `patience` limits only the TCP connection. The clues are in
/// `clues`, also after a failure, so those of the result are empty.
async fn attempt(
    files: &Files,
    peer: &PeerConfig,
    vips: &watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    routers: watch::Receiver<Arc<LearntRouters>>,
    patience: Duration,
    clues: &mut Clues,
    next: &mut Option<(IpAddr, u32)>,
) -> Result<DialSuccess, TcpFailure> {
    let key = match &peer.password_file {
        Some(file) => {
            let key =
                password::read(files, file).await.map_err(|error| TcpFailure::Password(error.to_string()))?;
            clues.key = key.oddity(); // text in it that is probably a mistake
            Some(key)
        }
        None => None,
    };
    let (began, routers) = (Instant::now(), learnt(peer, routers, patience).await);
    let patience = patience.saturating_sub(began.elapsed());
    let (address, route) = locate(peer, None, &routers).await?;
    clues.location = if route.via.is_some() { PeerLocation::Routed } else { PeerLocation::OnLink };
    let peer_socket = socket_address(address, peer.port, route.interface);
    let avoided = Arc::clone(&vips.borrow());
    let chosen = path::source(peer_socket, peer.device(), route, &avoided).await;
    let (choice, addresses) = chosen.map_err(|error| tcp_failure(&error))?;
    // The configured address, or the one that was chosen; none if there are only VIPs.
    let source = peer.source_address.or(choice).ok_or(TcpFailure::NoSource(route.source))?;
    clues.source = Some(source);
    *next = Some((route.via.unwrap_or(address), route.interface));

    let (began, silence) = (Instant::now(), silence(peer.hold_time));
    let wants = SocketOptions {
        peer: peer_socket,
        silence,
        mss: peer.tcp_mss,
        // RFC 5082 §3: a packet of 255 loses one at each router on the way.
        least_ttl: peer.ttl_security.then(|| u8::MAX - (peer.multihop - 1)),
        device: peer.device(),
        key: key.as_ref(),
    };
    let source_socket = socket_address(source, 0, route.interface);
    match limited(patience, connect(&wants, source_socket)).await {
        Ok(Ok(stream)) => {
            let local = stream.local_addr().map_err(|error| tcp_failure(&error))?;
            let used = ConnectionPath {
                peer: address,
                local: local.ip(),
                interface: route.interface,
                own: addresses.iter().any(|ours| ours.ip == local.ip()),
                assigned: false, // not known yet: the first comparison with the network sets it
                pinned: peer.source_address.is_some(),
            };
            // The OPEN must be true at the time when it is sent. VIPs whose presence is not known count as missing.
            let vips = Arc::clone(&vips.borrow());
            let kept = path::families_on_host(&vips).await.unwrap_or_default();
            Ok(DialSuccess {
                stream,
                local,
                peer: peer_socket,
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

/// Finds the peer's current address and the way to it. `known` has the default gateway and the index of its interface, if the
/// caller knows that the default route has not changed: the query for it reads all routes. Of a router that is learnt, it has the one
/// that the session uses.
pub(super) async fn locate(
    peer: &PeerConfig,
    known: Option<(IpAddr, u32)>,
    routers: &LearntRouters,
) -> Result<(IpAddr, Path), TcpFailure> {
    let tcp_failure = |error| tcp_failure(&error);
    let bound = bound_to(peer).await?;
    let (over, table) = (bound.index(), bound.table());
    let (address, over) = match peer.address {
        PeerAddress::Ip(address) => (address, over),
        PeerAddress::DefaultGateway => match known {
            Some((address, interface)) => (address, Some(interface)),
            None => path::gateway(over.filter(|_| peer.interface.is_some()), table)
                .await
                .map_err(tcp_failure)?
                .ok_or(TcpFailure::NoGateway)?,
        },
        PeerAddress::RouterAdvertisement => match known {
            Some((address, interface)) => (address, Some(interface)),
            None => (learnt_router(peer, routers)?.into(), over),
        },
    };
    Ok((address, path::towards(address, over).await.map_err(|error| route_failure(&error))?))
}

/// Looks up the devices to which the session is bound.
async fn bound_to(peer: &PeerConfig) -> Result<BoundDevices, TcpFailure> {
    let find = async |name: &Option<String>| match name {
        Some(name) => path::interface(name).await.map_err(|error| tcp_failure(&error)),
        None => Ok(None),
    };
    let (interface, vrf) = (find(&peer.interface).await?, find(&peer.vrf).await?);
    BoundDevices::new(
        peer.interface.as_deref().map(|name| (name, interface)),
        peer.vrf.as_deref().map(|name| (name, vrf)),
    )
}

/// The router that the peer's interface has now.
fn learnt_router(peer: &PeerConfig, routers: &LearntRouters) -> Result<Ipv6Addr, TcpFailure> {
    let interface = peer.interface.as_deref().unwrap_or_default();
    routers.of(interface).ok_or_else(|| match &routers.failure {
        Some(why) => TcpFailure::NotLearnt(why.clone()),
        None => TcpFailure::NoRouter(interface.to_owned()),
    })
}

/// Waits for the router of an unnumbered session for at most `patience`, and returns the routers that are known then.
async fn learnt(
    peer: &PeerConfig,
    mut routers: watch::Receiver<Arc<LearntRouters>>,
    patience: Duration,
) -> Arc<LearntRouters> {
    if peer.address == PeerAddress::RouterAdvertisement {
        let is_known = |routers: &Arc<LearntRouters>| {
            !matches!(learnt_router(peer, routers), Err(TcpFailure::NoRouter(_)))
        };
        let _ = timeout(patience, routers.wait_for(is_known)).await; // then the attempt fails
    }
    Arc::clone(&routers.borrow())
}

/// The addresses that a connection to a peer would have now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerEnds {
    /// The peer's address.
    pub peer: IpAddr,
    /// Ours.
    pub local: IpAddr,
    /// The index of the outgoing interface.
    pub interface: u32,
    /// The index of the peer's VRF.
    pub vrf: Option<u32>,
    /// Whether the peer is on the link.
    pub location: PeerLocation,
}

/// Looks the addresses up, as [`dial()`] does.
///
/// # Errors
/// There is no route, no interface or no usable address; as a sentence.
pub async fn ends(
    peer: &PeerConfig,
    vips: &BTreeSet<IpAddr>,
    routers: &LearntRouters,
) -> Result<PeerEnds, TcpFailure> {
    let (address, route) = locate(peer, None, routers).await?;
    let peer_socket = socket_address(address, peer.port, route.interface);
    let chosen = path::source(peer_socket, peer.device(), route, vips).await;
    let (choice, _) = chosen.map_err(|error| tcp_failure(&error))?;
    let local = peer.source_address.or(choice).ok_or(TcpFailure::NoSource(route.source))?;
    let location = if route.via.is_some() { PeerLocation::Routed } else { PeerLocation::OnLink };
    let vrf = bound_to(peer).await?.vrf.map(|vrf| vrf.index);
    Ok(PeerEnds { peer: address, local, interface: route.interface, vrf, location })
}

/// How long the peer's kernel may acknowledge nothing before the connection counts as lost: the hold time, or half a minute if the
/// hold time is zero.
pub(super) fn silence(hold_time: Duration) -> Duration {
    if hold_time.is_zero() { Duration::from_secs(30) } else { hold_time }
}

/// Waits for at most `limit`. If this process did not run for a while (SIGSTOP, a suspended host), an event that arrived during
/// that time still counts, even if it is handled late.
async fn limited<T>(limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
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

/// The state of the next host in ARP or ND; unknown if the query fails or takes too long.
async fn neighbour(next: IpAddr, interface: u32) -> Neighbour {
    let known = timeout(CLUES_TIME / 2, path::neighbour(next, interface)).await;
    known.ok().and_then(Result::ok).unwrap_or_default()
}

/// The socket address of one end of a connection. A link-local address needs its interface's index as the scope.
fn socket_address(ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, interface).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(ip, port),
    }
}

/// Opens a socket with these options, binds it to `source`, and connects.
async fn connect(wants: &SocketOptions<'_>, source: SocketAddr) -> Result<TcpStream, TcpFailure> {
    let open = || {
        let socket = Socket::new(Domain::for_address(wants.peer), Type::STREAM, Some(Protocol::TCP))?;
        sockopt::prepare(&socket, wants)?;
        io::Result::Ok(socket)
    };
    let socket = open().map_err(|error| tcp_failure(&error))?;
    socket.bind(&source.into()).map_err(|error| {
        let missing = error.kind() == io::ErrorKind::AddrNotAvailable;
        if missing { TcpFailure::SourceMissing(source.ip()) } else { tcp_failure(&error) }
    })?;
    let connected = TcpSocket::from_std_stream(socket.into()).connect(wants.peer).await;
    connected.map_err(|error| {
        let failure = tcp_failure(&error);
        // There is a route, so the error comes from an ICMP message.
        if failure == TcpFailure::NoRoute { TcpFailure::Unreachable } else { failure }
    })
}

/// Converts an error of the query for the route. Routes of the types `unreachable`, `prohibit` and `blackhole` have their own
/// errors.
#[allow(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
fn route_failure(error: &io::Error) -> TcpFailure {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput => TcpFailure::NoRoute,
        io::ErrorKind::AddrNotAvailable => TcpFailure::NoAddress,
        _ => tcp_failure(error),
    }
}

/// Converts an error of a connection, or of a query of the kernel that has no meaning of its own.
#[allow(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
pub(super) fn tcp_failure(error: &io::Error) -> TcpFailure {
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
