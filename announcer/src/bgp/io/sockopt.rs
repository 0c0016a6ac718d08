//! Socket options, and facts about a socket for which there is no safe interface.
//!
//! Touches sockets. This file has `unsafe` code. RFC 2385 (MD5), RFC 5082 (GTSM), RFC 5014 (source addresses), tcp(7), ip(7).

#![allow(
    unsafe_code,
    reason = "TCP MD5, the least TTL and what the kernel counts of a socket have no safe interface"
)]

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::bgp::io::password::Md5Key;
use crate::bgp::stall::TcpInfo;

/// Network control (RFC 4594 §3.2), which routers use for their own packets.
const CS6: u32 = 0xc0;
/// A peer with GTSM needs this TTL (RFC 5082). For other peers it makes no difference.
const TTL: u32 = 255;

/// The options of a socket for a connection to a peer.
#[derive(Debug)]
pub(super) struct SocketOptions<'a> {
    /// The address to connect to.
    pub(super) peer: SocketAddr,
    /// If the peer's kernel is silent for about this time, the peer counts as lost.
    pub(super) silence: Duration,
    /// The largest segment, in octets.
    pub(super) mss: Option<u16>,
    /// The lowest TTL of received packets.
    pub(super) least_ttl: Option<u8>,
    /// The interface or the VRF to which it is bound.
    pub(super) device: Option<&'a str>,
    /// The key that signs every segment.
    pub(super) key: Option<&'a Md5Key>,
}

/// Sets all options before the connection is opened, because they have to apply to the SYN.
pub(super) fn prepare(socket: &Socket, wants: &SocketOptions<'_>) -> io::Result<()> {
    if let Some(device) = wants.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    let least = wants.least_ttl.map(i32::from);
    match wants.peer.ip() {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(TTL)?;
            socket.set_tos_v4(CS6)?;
            least.map_or(Ok(()), |ttl| set(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MINTTL, &ttl))?;
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(TTL)?;
            socket.set_tclass_v6(CS6)?;
            prefer_public(socket)?;
            least.map_or(Ok(()), |ttl| {
                set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &ttl)
            })?;
        }
    }
    if let Some(key) = wants.key {
        set_key(socket.as_fd(), wants.peer, key)?;
    }
    if let Some(mss) = wants.mss {
        socket.set_tcp_mss(mss.into())?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    keep_alive(SockRef::from(socket), wants.silence)
}

/// Lets the kernel send keepalive probes to a silent peer, and end the connection after slightly more than `silence`. If BGP has a
/// hold timer, that timer expires first.
pub(super) fn keep_alive(socket: SockRef<'_>, silence: Duration) -> io::Result<()> {
    let third = (silence / 3).clamp(Duration::from_secs(1), Duration::from_secs(32_767));
    let keepalive = TcpKeepalive::new().with_time(third).with_interval(third).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

/// IPV6_ADDR_PREFERENCES and IPV6_PREFER_SRC_PUBLIC of linux/in6.h (RFC 5014 §3).
const ADDRESS_PREFERENCES: libc::c_int = 72;
const PREFER_PUBLIC: libc::c_int = 2;

/// Prevents the kernel from choosing a temporary address (RFC 8981).
fn prefer_public(socket: &Socket) -> io::Result<()> {
    set(socket.as_fd(), libc::IPPROTO_IPV6, ADDRESS_PREFERENCES, &PREFER_PUBLIC)
}

/// The source that the kernel chooses towards `peer` for a socket with the options of a session; nothing is sent.
pub(super) fn preferred_source(peer: SocketAddr, device: Option<&str>) -> io::Result<IpAddr> {
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, None)?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if peer.is_ipv6() {
        prefer_public(&socket)?;
    }
    socket.connect(&peer.into())?;
    let local = socket.local_addr()?.as_socket();
    local.map(|local| local.ip()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Signature {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; libc::TCP_MD5SIG_MAXKEYLEN],
}

const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;

/// Sets or changes the key for a peer on a socket. An established connection stays up (RFC 2385).
pub(super) fn set_key(socket: BorrowedFd<'_>, peer: SocketAddr, key: &Md5Key) -> io::Result<()> {
    let octets = key.octets();
    let mut storage = SockAddr::from(peer).as_storage();
    // SAFETY: both types are the kernel's sockaddr_storage, and any octets are one.
    let address = unsafe { *storage.view_as::<libc::sockaddr_storage>() };
    let mut signature = Md5Signature {
        address,
        flags: TCP_MD5SIG_FLAG_PREFIX,
        prefix_length: if peer.is_ipv4() { 32 } else { 128 },
        key_length: u16::try_from(octets.len()).map_err(io::Error::other)?,
        interface: 0,
        key: [0; libc::TCP_MD5SIG_MAXKEYLEN],
    };
    let Some(place) = signature.key.get_mut(..octets.len()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    place.copy_from_slice(octets);
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG_EXT, &signature)
}

fn set<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed, so open; the pointer is to a value of `length` octets that outlives the call,
    // and the kernel only reads from it.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How many of our octets the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7)).
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut octets: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, so open; TIOCOUTQ (SIOCOUTQ's other name) writes one int to the pointer, which
    // is valid and ours alone.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(octets).unwrap_or(0))
}

/// The kernel's data about a connection (TCP_INFO). Fields that an older kernel does not fill are `None`, or zero.
pub(super) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    const STATE: usize = 0;
    const RETRANSMITS: usize = 2;
    const PROBES: usize = 3;
    const MSS: usize = 16;
    const IN_FLIGHT: usize = 24;
    const LAST_DATA: usize = 52;
    const LAST_ACK: usize = 56;
    const WINDOW: usize = 228;
    /// TCP_ESTABLISHED.
    const ESTABLISHED: u8 = 1;
    let info = RawTcpInfo::of(socket)?;
    let number = |at: usize| info.get(at).map(u32::from_ne_bytes);
    let octet = |at: usize| info.get(at).map_or(0, |[octet]| octet);
    let milliseconds = |at: usize| Duration::from_millis(number(at).unwrap_or_default().into());
    Ok(TcpInfo {
        established: octet(STATE) == ESTABLISHED,
        mss: number(MSS).unwrap_or_default(),
        in_flight: number(IN_FLIGHT).unwrap_or_default(),
        retransmits: octet(RETRANSMITS),
        probes: octet(PROBES),
        last_ack: milliseconds(LAST_ACK),
        last_data: milliseconds(LAST_DATA),
        window: number(WINDOW),
    })
}

/// What the kernel was given of our octets on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SentOctets {
    /// All since the connection's begin.
    pub(super) given: u64,
    /// Those of them that the peer has not acknowledged.
    pub(super) queued: u64,
}

/// What the kernel was given on a connection that this host has opened. The SYN counts as one acknowledged octet there, and not on a
/// connection that it has accepted.
pub(super) fn sent(socket: BorrowedFd<'_>) -> io::Result<SentOctets> {
    const BYTES_ACKED: usize = 120;
    /// The peer may acknowledge octets between the two questions. Then they are asked again.
    const TRIES: usize = 100;
    let acknowledged = || {
        let octets = RawTcpInfo::of(socket)?.get(BYTES_ACKED).map(u64::from_ne_bytes);
        octets.and_then(|octets| octets.checked_sub(1)).ok_or_else(|| {
            io::Error::other("the kernel does not say how many octets the router has acknowledged")
        })
    };
    for _ in 0..TRIES {
        let (before, queued) = (acknowledged()?, unacknowledged(socket)?);
        if acknowledged()? == before {
            return Ok(SentOctets { given: before + queued, queued });
        }
    }
    Err(io::Error::other("the acknowledged octets change too fast"))
}

/// `struct tcp_info` of linux/tcp.h, to which the kernel only appends fields.
struct RawTcpInfo {
    octets: [u8; 232],
    /// How many of them this kernel has.
    length: usize,
}

impl RawTcpInfo {
    fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut octets = [0_u8; 232];
        let mut length = libc::socklen_t::try_from(octets.len()).map_err(io::Error::other)?;
        // SAFETY: the descriptor is borrowed, so open; the kernel writes at most `length` octets to the array, which has as
        // many, and what it wrote to `length`. Both are ours alone.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                octets.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(RawTcpInfo { octets, length: usize::try_from(length).unwrap_or_default() })
    }

    /// The octets of a field; `None`: this kernel does not have it.
    fn get<const LENGTH: usize>(&self, at: usize) -> Option<[u8; LENGTH]> {
        self.octets.get(..self.length)?.get(at..at + LENGTH)?.try_into().ok()
    }
}

/// How many segments for this socket the kernel has dropped because of a low TTL or a missing key (SK_MEMINFO_DROPS of
/// linux/sock_diag.h).
pub(super) fn drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    const DROPS: usize = 8;
    let mut counts = [0_u32; DROPS + 1];
    let mut length = libc::socklen_t::try_from(size_of_val(&counts)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed, so open; the kernel writes at most `length` octets to the array, which has as
    // many, and what it wrote to `length`. Both are ours alone.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(counts[DROPS]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(socket: &Socket, level: libc::c_int, name: libc::c_int) -> libc::c_int {
        let mut value: libc::c_int = 0;
        let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap();
        // SAFETY: the descriptor is open, and both pointers are to ints that are ours alone.
        let result = unsafe {
            libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut length)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        value
    }

    fn wants(peer: &str) -> SocketOptions<'static> {
        SocketOptions {
            peer: peer.parse().unwrap(),
            silence: Duration::from_secs(9),
            mss: None,
            least_ttl: None,
            device: None,
            key: None,
        }
    }

    #[test]
    fn the_struct_is_as_long_as_the_kernels() {
        assert_eq!(size_of::<Md5Signature>(), 216);
    }

    #[test]
    fn a_socket_has_cs6_ttl_255_and_tcp_keepalive_and_no_user_timeout() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        prepare(&socket, &wants("127.0.0.1:1")).unwrap();
        assert_eq!((socket.ttl_v4().unwrap(), socket.tos_v4().unwrap()), (255, 0xc0));
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(3));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(3));
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            None,
            "it would end a session whose peer does not read"
        );
        assert_eq!(get(&socket, libc::IPPROTO_IP, libc::IP_MINTTL), 0, "not unless it is wanted");
        let v6 = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        prepare(&v6, &wants("[::1]:1")).unwrap();
        assert_eq!((v6.unicast_hops_v6().unwrap(), v6.tclass_v6().unwrap()), (255, 0xc0));
        let preferences = get(&v6, libc::IPPROTO_IPV6, ADDRESS_PREFERENCES);
        assert_eq!(preferences & PREFER_PUBLIC, PREFER_PUBLIC);
    }

    #[test]
    fn tcp_mss_bounds_the_segments() {
        let router = listener();
        let mss = |mss| {
            let peer = router.local_addr().unwrap().as_socket().unwrap();
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            prepare(&socket, &SocketOptions { peer, mss, ..wants("127.0.0.1:1") }).unwrap();
            socket.set_nonblocking(false).unwrap();
            socket.connect(&peer.into()).unwrap();
            let _accepted = router.accept().unwrap();
            tcp_info(socket.as_fd()).unwrap().mss
        };
        assert!(mss(Some(1000)) <= 1000, "{}", mss(Some(1000)));
        assert!(mss(None) > 1000, "{}", mss(None));
    }

    #[test]
    fn the_kernel_says_how_a_connection_does() {
        let router = listener();
        let (ours, theirs) = dial(&router, None).unwrap();
        assert!(says(&ours, &theirs) && says(&theirs, &ours));
        let info = tcp_info(ours.as_fd()).unwrap();
        assert!(info.mss > 500 && info.window.unwrap() > 0, "{info:?}");
        assert_eq!((info.established, info.retransmits, info.probes), (true, 0, 0));
        assert!(
            info.last_ack < Duration::from_secs(5) && info.last_data < Duration::from_secs(5),
            "{info:?}"
        );
    }

    #[test]
    fn the_preferred_source_is_the_kernels() {
        assert_eq!(
            preferred_source("127.0.0.1:179".parse().unwrap(), None).unwrap(),
            IpAddr::from([127, 0, 0, 1])
        );
        assert!(preferred_source("127.0.0.1:179".parse().unwrap(), Some("nosuch0")).is_err());
    }

    #[test]
    fn ttl_security_demands_a_least_ttl() {
        let v4 = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        prepare(&v4, &SocketOptions { least_ttl: Some(255), ..wants("127.0.0.1:1") }).unwrap();
        assert_eq!(get(&v4, libc::IPPROTO_IP, libc::IP_MINTTL), 255);
        let v6 = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        prepare(&v6, &SocketOptions { least_ttl: Some(253), ..wants("[::1]:1") }).unwrap();
        assert_eq!(get(&v6, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT), 253);
    }

    #[test]
    fn a_socket_is_bound_to_its_interface() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        prepare(&socket, &SocketOptions { device: Some("lo"), ..wants("127.0.0.1:1") }).unwrap();
        assert_eq!(socket.device().unwrap().unwrap(), b"lo");
        let none = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        assert!(prepare(&none, &SocketOptions { device: Some("nosuch0"), ..wants("127.0.0.1:1") }).is_err());
    }

    /// Connects to a listener, as a session does.
    fn dial(listener: &Socket, key: Option<&Md5Key>) -> io::Result<(Socket, Socket)> {
        let peer = listener.local_addr()?.as_socket().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        prepare(&socket, &SocketOptions { peer, key, ..wants("127.0.0.1:1") })?;
        socket.set_nonblocking(false)?;
        socket.connect_timeout(&peer.into(), Duration::from_millis(300))?;
        Ok((socket, listener.accept()?.0))
    }

    fn listener() -> Socket {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(4).unwrap();
        listener
    }

    fn says(from: &Socket, to: &Socket) -> bool {
        to.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut octets = [std::mem::MaybeUninit::uninit(); 1];
        from.send(b"x").unwrap() == 1 && to.recv(&mut octets).is_ok()
    }

    #[test]
    fn rfc_5082_ttl_255_out_always() {
        let router = listener();
        set(router.as_fd(), libc::IPPROTO_IP, libc::IP_MINTTL, &255).unwrap();
        let (ours, theirs) = dial(&router, None).expect("a router that demands TTL 255 hears us");
        assert!(says(&ours, &theirs));
        let plain = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let to = router.local_addr().unwrap();
        assert!(plain.connect_timeout(&to, Duration::from_millis(300)).is_err(), "and nobody with TTL 64");
    }

    #[test]
    fn rfc_2385_a_key_is_on_the_syn_and_can_be_changed_on_a_live_session() {
        let key = |text: &str| Md5Key::new(text.as_bytes().to_vec());
        let anyone: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let router = listener();
        set_key(router.as_fd(), anyone, &key("old")).unwrap();
        assert!(dial(&router, None).is_err(), "a missing key is a silence");
        assert!(dial(&router, Some(&key("wrong"))).is_err(), "and so is a wrong one");
        let (ours, theirs) = dial(&router, Some(&key("old"))).unwrap();
        assert!(says(&ours, &theirs) && says(&theirs, &ours));
        set_key(ours.as_fd(), theirs.local_addr().unwrap().as_socket().unwrap(), &key("new")).unwrap();
        assert!(!says(&theirs, &ours), "what has the old key is dropped");
        set_key(theirs.as_fd(), ours.local_addr().unwrap().as_socket().unwrap(), &key("new")).unwrap();
        assert!(says(&ours, &theirs) && says(&theirs, &ours), "with both changed the session lives on");
    }
}
