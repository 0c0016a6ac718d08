//! The kernel's word when an address comes to `lo` or leaves it.
//!
//! Touches a netlink socket of its own, so that a flood of events never stands in the way of a request's answer.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkFlags;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};

use super::Error;
use super::vips::{LO, net};
use crate::plan::Link;

const DATAGRAM: usize = 8 << 10; // octets; one address event takes about a hundred
const EVENT_BUFFER: i32 = 1 << 20; // octets; the kernel caps it at net.core.rmem_max

/// A change on `lo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VipEvent {
    /// An address is there: added, or changed in its flags or lifetime.
    Added(IpAddr),
    /// An address is gone.
    Removed(IpAddr),
    /// `lo` itself was set up or down, or changed in another way.
    Link(Link),
    /// Events were lost: observe again in full.
    Overrun,
}

/// Changes on `lo`, in order.
pub struct Events {
    socket: TokioSocket,
    ready: VecDeque<VipEvent>,
    drain: Backlog,
}

/// Whether events were lost, and what is still queued is to be thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backlog {
    No,
    UntilEmpty,
}

/// Subscribes to `lo` going up or down and to every address that comes to it or leaves it, ours or not. Whatever happens after this call is
/// reported; so watch first, then observe. To be called within a tokio runtime.
pub fn watch() -> Result<Events, Error> {
    let open = || {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        inner.set_rx_buf_sz(EVENT_BUFFER)?;
        inner.bind_auto()?;
        inner.add_membership(libc::RTNLGRP_LINK)?;
        inner.add_membership(libc::RTNLGRP_IPV4_IFADDR)?;
        inner.add_membership(libc::RTNLGRP_IPV6_IFADDR)?;
        Ok(socket)
    };
    let socket = open().map_err(Error::Netlink)?;
    Ok(Events { socket, ready: VecDeque::new(), drain: Backlog::No })
}

impl Events {
    /// The next event. Dropping the returned future loses nothing.
    ///
    /// The kernel says once that it dropped an event (ENOBUFS), and then goes on dropping, without another word,
    /// until the queue has been read empty. So [`VipEvent::Overrun`] comes only then: an observation made after it
    /// misses nothing.
    pub async fn next(&mut self) -> Result<VipEvent, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let mut octets = [0; DATAGRAM];
            let mut room = &mut octets[..];
            let received = match self.drain {
                Backlog::No => self.socket.recv(&mut room).await,
                Backlog::UntilEmpty => self.socket.socket_ref().recv(&mut room, 0).map(drop),
            };
            let length = DATAGRAM - room.len();
            match (received, self.drain) {
                (Ok(()), Backlog::No) => self.ready = events(octets.get(..length).unwrap_or_default()),
                (Ok(()), Backlog::UntilEmpty) => {}
                (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.drain = Backlog::UntilEmpty
                }
                (Err(error), Backlog::UntilEmpty) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.drain = Backlog::No;
                    return Ok(VipEvent::Overrun);
                }
                (Err(error), Backlog::No | Backlog::UntilEmpty) => return Err(Error::Netlink(error)),
            }
        }
    }
}

/// The events in one datagram. What cannot be read counts as lost.
fn events(mut octets: &[u8]) -> VecDeque<VipEvent> {
    let mut events = VecDeque::new();
    while !octets.is_empty() {
        if let Some(rest) = behind_another_link(octets) {
            octets = rest;
            continue;
        }
        let Ok(message) = NetlinkMessage::deserialize(octets) else {
            events.push_back(VipEvent::Overrun);
            break;
        };
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        octets = octets.get(length..).unwrap_or_default();
        events.extend(event(message.payload));
    }
    events
}

/// What follows a message about another interface, which is not worth reading: it is large, and a host may have thousands of
/// them. The layout is that of `struct nlmsghdr` and `struct ifinfomsg`.
fn behind_another_link(octets: &[u8]) -> Option<&[u8]> {
    let word =
        |at: usize| octets.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    let kind = octets.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes)?;
    if !matches!(kind, libc::RTM_NEWLINK | libc::RTM_DELLINK) || word(20)? == LO {
        return None;
    }
    let length = usize::try_from(word(0)?).ok()?.next_multiple_of(4).max(16);
    Some(octets.get(length..).unwrap_or_default())
}

#[allow(clippy::wildcard_enum_match_arm)] // netlink's own enums grow
fn event(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<VipEvent> {
    let on_lo = |message: AddressMessage| (message.header.index == LO).then(|| net(&message)).flatten();
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
            on_lo(message).map(|net| VipEvent::Added(net.addr()))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
            on_lo(message).map(|net| VipEvent::Removed(net.addr()))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) if message.header.index == LO => {
            let is_up = message.header.flags.contains(LinkFlags::Up);
            Some(VipEvent::Link(if is_up { Link::Up } else { Link::Down }))
        }
        _ => None,
    }
}
