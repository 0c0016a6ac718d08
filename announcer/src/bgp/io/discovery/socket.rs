//! The raw socket of router discovery (raw(7), RFC 3542).
//!
//! Touches the network; needs CAP_NET_RAW. A filter (classic BPF) lets only the two messages pass, and the kernel computes and checks the
//! checksum.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::{Ipv6RecvHopLimit, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::bgp::discovery::message::{ADVERTISEMENT, HOP_LIMIT, SOLICITATION};

/// All nodes of the link (RFC 4291 section 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub(super) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The longest message that is read: as long as the packets of most links.
const LONGEST: usize = 9216;
/// Network control (RFC 4594 section 3.2).
const CS6: u32 = 0xc0;

/// The instructions of the filter (linux/filter.h): load an octet, compare it, return.
const LOAD_OCTET: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// A message that has arrived.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    /// From the type of ICMPv6 on.
    pub(super) octets: &'a [u8],
    pub(super) source: Ipv6Addr,
    /// The index of the interface.
    pub(super) interface: u32,
    /// `None`: the kernel has not said it.
    pub(super) hop_limit: Option<u8>,
}

/// The socket.
#[derive(Debug)]
pub(super) struct DiscoverySocket {
    socket: UdpSocket,
    /// The interfaces on which solicitations are received.
    joined: BTreeSet<u32>,
    buffer: Vec<u8>,
}

impl DiscoverySocket {
    /// Opens it.
    ///
    /// # Errors
    /// Those of the kernel: `PermissionDenied` without CAP_NET_RAW.
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV6))?;
        // Jumps count the instructions that are left out.
        let filter = [
            SockFilter::new(LOAD_OCTET, 0, 0, 0),
            SockFilter::new(JUMP_IF_EQUAL, 1, 0, ADVERTISEMENT.into()),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, SOLICITATION.into()),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
            SockFilter::new(RETURN, 0, 0, 0),
        ];
        socket.attach_filter(&filter)?;
        socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_unicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_tclass_v6(CS6)?;
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
        // tokio has no raw socket; it waits for one as for one of UDP.
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(DiscoverySocket { socket, joined: BTreeSet::new(), buffer: vec![0; LONGEST] })
    }

    /// Receives solicitations on these interfaces. A host that does not forward is in the group of all nodes alone.
    pub(super) fn join(&mut self, interfaces: &BTreeSet<u32>) {
        self.joined.retain(|joined| interfaces.contains(joined));
        for interface in interfaces.difference(&self.joined.clone()) {
            let joined = self.socket.join_multicast_v6(&ALL_ROUTERS, *interface);
            // It is a member already if the link has been down; the kernel forgets interfaces that are removed.
            if joined.is_ok() || self.is_member(*interface) {
                self.joined.insert(*interface);
            }
        }
    }

    /// Whether the socket is in the group: a second attempt says so.
    fn is_member(&self, interface: u32) -> bool {
        let again = self.socket.join_multicast_v6(&ALL_ROUTERS, interface);
        again.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }

    /// Returns when a message may have arrived.
    pub(super) async fn readable(&self) {
        let _ = self.socket.readable().await; // `receive` finds out whether there is one
    }

    /// The next message; `None`: none is waiting.
    pub(super) fn receive(&mut self) -> Option<Arrival<'_>> {
        let mut control = [0; 256];
        let DiscoverySocket { socket, buffer, .. } = self;
        let received = socket.try_io(Interest::READABLE, || {
            let mut into = [IoSliceMut::new(buffer)];
            let socket = socket.as_raw_fd();
            let message =
                recvmsg::<SockaddrIn6>(socket, &mut into, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
            let details: Vec<ControlMessageOwned> =
                message.cmsgs().map(Iterator::collect).unwrap_or_default();
            Ok((
                message.bytes,
                message.address.map(|address| address.ip()),
                details.iter().find_map(interface),
                details.iter().find_map(hop_limit_of),
            ))
        });
        // An error of the socket is not an end: the next call reads on.
        let (length, source, interface, hop_limit) = received.ok()?;
        Some(Arrival { octets: buffer.get(..length)?, source: source?, interface: interface?, hop_limit })
    }

    /// Sends a message to a group of the link.
    pub(super) fn send(
        &self,
        interface: u32,
        source: Ipv6Addr,
        to: Ipv6Addr,
        octets: &[u8],
    ) -> io::Result<()> {
        let information = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
            ipi6_ifindex: interface,
        };
        let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, interface));
        let details = [ControlMessage::Ipv6PacketInfo(&information)];
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(octets)],
            &details,
            MsgFlags::MSG_DONTWAIT,
            Some(&to),
        )?;
        Ok(())
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list of control messages is open")]
fn interface(message: &ControlMessageOwned) -> Option<u32> {
    match message {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_ifindex),
        _ => None,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the list of control messages is open")]
fn hop_limit_of(message: &ControlMessageOwned) -> Option<u8> {
    match message {
        ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(*limit).ok(),
        _ => None,
    }
}

/// Why the socket could not be opened, and what to do.
pub(super) fn sentence(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return "routers cannot be learnt from their advertisements: this needs CAP_NET_RAW; copy \
                `/usr/share/announcer/unnumbered.conf` to `/etc/systemd/system/announcer.service.d/`, then run `systemctl daemon-reload` \
                and `systemctl restart announcer`"
            .into();
    }
    format!("routers cannot be learnt from their advertisements: {error}")
}
