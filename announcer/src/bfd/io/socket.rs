//! The sockets: one for each session to send from, and one for each port and family to receive on.
//!
//! Touches sockets. None of them ever blocks. RFC 5881 §4 and §5, RFC 5883 §4 and §5.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt::Ipv4PacketInfo,
    sockopt::Ipv4RecvTtl, sockopt::Ipv6RecvHopLimit, sockopt::Ipv6RecvPacketInfo,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::bfd::packet::LENGTH;
use crate::bfd::status::{Ends, VrfDevice};
use crate::model::Family;
use crate::model::device::create_vrf;

/// Network control (RFC 4594 §3.2), as for our BGP packets.
const CS6: u32 = 0xc0;
/// The TTL of all packets (RFC 5881 §5).
const TTL: u32 = 255;
/// The source ports of RFC 5881 §4.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// The destination port of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    /// 3784, on the same link.
    SingleHop,
    /// 4784, over routers.
    Multihop,
}

impl Port {
    /// Of a session with these ends.
    pub(super) fn of(ends: &Ends) -> Self {
        if ends.hops > 1 { Port::Multihop } else { Port::SingleHop }
    }

    pub(super) fn number(self) -> u16 {
        match self {
            Port::SingleHop => 3784,
            Port::Multihop => 4784,
        }
    }
}

/// A packet that was received.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    /// The address that it was sent to, and the index of the interface on which it came; `None`: the kernel has not said it.
    pub(super) arrival: Option<(IpAddr, u32)>,
    /// TTL or hop limit; `None`: the kernel has not said it.
    pub(super) ttl: Option<u8>,
    /// The octets, at most [`BUFFER`].
    pub(super) octets: [u8; BUFFER],
    /// How many of them were received.
    pub(super) length: usize,
}

/// As much of a packet as is read: more than a packet without authentication has.
pub(super) const BUFFER: usize = LENGTH * 4;

/// What one socket receives: the packets to a port that arrive in a VRF, or in no VRF. The kernel gives packets that arrive in a
/// VRF to a socket that is bound to the VRF, and not to one that is bound to nothing (`udp_l3mdev_accept` = 0, the default).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReceiverKey {
    pub(super) port: Port,
    pub(super) family: Family,
    pub(super) vrf: Option<VrfDevice>,
}

impl ReceiverKey {
    /// Of a session with these ends.
    pub(super) fn of(ends: &Ends) -> Self {
        ReceiverKey { port: Port::of(ends), family: Family::of(ends.peer), vrf: ends.vrf.clone() }
    }

    /// The name of the socket, for a process that continues.
    pub(super) fn socket_name(&self) -> String {
        let inside = self.vrf.as_ref().map_or(String::new(), |vrf| format!("-in-{}-{}", vrf.name, vrf.index));
        format!("bfd-receive-{}-{}{inside}", self.port.number(), self.family.to_string().to_lowercase())
    }
}

/// The socket that receives. It fails if another program has the port. With `shared`, other sockets of ours receive on the same port in
/// other VRFs: the kernel wants SO_REUSEADDR on each of them, also on those that are open already ([`share`]). It is cleared when all are
/// open: with it, a program of another user could open the port beside ours.
pub(super) fn receiver(key: &ReceiverKey, shared: bool) -> io::Result<OwnedFd> {
    let (domain, any): (_, IpAddr) = match key.family {
        Family::V4 => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        Family::V6 => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    if key.family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    if let Some(vrf) = &key.vrf {
        socket.bind_device(Some(vrf.name.as_bytes()))?;
    }
    socket.set_reuse_address(shared)?;
    socket.bind(&SocketAddr::new(any, key.port.number()).into())?;
    Ok(socket.into())
}

/// Whether another socket may be opened with the same port.
pub(super) fn share(socket: BorrowedFd<'_>, shared: bool) -> io::Result<()> {
    SockRef::from(&socket).set_reuse_address(shared)
}

/// Lets the kernel say with each packet what its TTL was, and where it has arrived.
pub(super) fn with_details(socket: &OwnedFd, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => {
            setsockopt(socket, Ipv4RecvTtl, &true)?;
            setsockopt(socket, Ipv4PacketInfo, &true)?;
        }
        Family::V6 => {
            setsockopt(socket, Ipv6RecvHopLimit, &true)?;
            setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
        }
    }
    Ok(())
}

/// Why a port could not be opened, for people.
#[allow(clippy::wildcard_enum_match_arm, reason = "the list of kinds is open")]
pub(super) fn receiver_error(error: &io::Error, key: &ReceiverKey) -> String {
    if let Some(vrf) = key.vrf.as_ref().filter(|_| is_gone(error)) {
        return format!("the VRF `{}` does not exist; {}", vrf.name, create_vrf(&vrf.name));
    }
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it".to_owned(),
        io::ErrorKind::PermissionDenied => "the kernel forbids it".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a packet could not be sent because the device to which the socket is bound was removed. One with the same name is another
/// device, to which only a new socket can be bound.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENODEV as i32)
}

/// The socket that a session sends from, on a random port that it keeps.
pub(super) fn sender(ends: &Ends) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(address(ends.local, 0, ends)),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    if let Some(device) = &ends.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    match ends.local {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(TTL)?;
            socket.set_tos_v4(CS6)?;
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(TTL)?;
            socket.set_tclass_v6(CS6)?;
        }
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match socket.bind(&address(ends.local, fastrand::u16(SOURCE_PORTS), ends).into()) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < 100 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a packet to the router.
pub(super) fn send(socket: BorrowedFd<'_>, ends: &Ends, octets: &[u8]) -> io::Result<()> {
    let to = address(ends.peer, Port::of(ends).number(), ends);
    SockRef::from(&socket).send_to(octets, &to.into()).map(drop)
}

/// An address with a port. A link-local address needs its interface's index as the scope.
fn address(ip: IpAddr, port: u16, ends: &Ends) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, ends.interface).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => SocketAddr::new(ip, port),
    }
}

/// Reads one packet; `None`: none is waiting.
pub(super) fn receive(socket: BorrowedFd<'_>) -> Option<Datagram> {
    let (mut octets, mut control) = ([0; BUFFER], [0; 256]);
    loop {
        let mut into = [IoSliceMut::new(&mut octets)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message =
            match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut into, Some(&mut control), flags) {
                Ok(message) => message,
                Err(nix::Error::EINTR) => continue,
                Err(_) => return None, // also an error of the socket: the next call reads on
            };
        let details: Vec<ControlMessageOwned> = message.cmsgs().map(Iterator::collect).unwrap_or_default();
        let ttl = details.iter().find_map(time_to_live);
        let arrival = details.iter().find_map(arrival);
        let source = message.address.as_ref().and_then(socket_address);
        let length = message.bytes;
        return Some(Datagram { source: source?, arrival, ttl, octets, length });
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list of control messages is open")]
fn time_to_live(message: &ControlMessageOwned) -> Option<u8> {
    match message {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => u8::try_from(*ttl).ok(),
        _ => None,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list of control messages is open")]
fn arrival(message: &ControlMessageOwned) -> Option<(IpAddr, u32)> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let address = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
            Some((address.into(), u32::try_from(info.ipi_ifindex).ok()?))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some((Ipv6Addr::from(info.ipi6_addr.s6_addr).into(), info.ipi6_ifindex))
        }
        _ => None,
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

#[cfg(test)]
mod tests;
