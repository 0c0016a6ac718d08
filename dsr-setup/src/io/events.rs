//! The kernel's events about addresses that are added to `lo` or removed from it, or for another device of the VIPs.
//!
//! Touches its own netlink socket, so that many events never delay the answer to a request.

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
const EVENT_BUFFER: i32 = 1 << 20; // octets; the kernel limits it to net.core.rmem_max

/// A change on `lo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VipEvent {
    /// An address was added, or its flags or lifetime have changed.
    Added(IpAddr),
    /// An address was removed.
    Removed(IpAddr),
    /// `lo` itself was set up or down, or changed in another way.
    Link(Link),
    /// Events were lost: everything has to be read again.
    Overrun,
}

/// Changes on `lo`, in order.
pub struct Events {
    /// The index of the device of the VIPs.
    device: u32,
    socket: TokioSocket,
    ready: VecDeque<VipEvent>,
    drain: Backlog,
}

/// Whether events were lost, so that the queued events have to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backlog {
    No,
    UntilEmpty,
}

/// Subscribes to changes of `lo` and of every address on it, ours or not. Every change after this call is reported, so watch first
/// and then observe. Call it within a tokio runtime.
pub fn watch() -> Result<Events, Error> {
    watch_device(LO)
}

/// As [`watch`], for the interface with this index.
///
/// # Errors
/// When no socket can be opened.
pub fn watch_device(device: u32) -> Result<Events, Error> {
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
    Ok(Events { device, socket, ready: VecDeque::new(), drain: Backlog::No })
}

impl Events {
    /// The next event. Dropping the returned future loses nothing.
    ///
    /// The kernel reports once that it has dropped an event (ENOBUFS), and then drops further events without a report, until the
    /// queue is empty. So [`VipEvent::Overrun`] is returned only then: an observation after it misses nothing.
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
                (Ok(()), Backlog::No) => {
                    self.ready = events(octets.get(..length).unwrap_or_default(), self.device)
                }
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

/// The events in one datagram. A message that cannot be read counts as lost.
fn events(mut octets: &[u8], device: u32) -> VecDeque<VipEvent> {
    let mut events = VecDeque::new();
    while !octets.is_empty() {
        if let Some(rest) = behind_another_link(octets, device) {
            octets = rest;
            continue;
        }
        let Ok(message) = NetlinkMessage::deserialize(octets) else {
            events.push_back(VipEvent::Overrun);
            break;
        };
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        octets = octets.get(length..).unwrap_or_default();
        events.extend(event(message.payload, device));
    }
    events
}

/// The octets after a message about another interface. The message itself is skipped, because it is large and a host may have
/// thousands of interfaces. The layout is that of `struct nlmsghdr` and `struct ifinfomsg`.
fn behind_another_link(octets: &[u8], device: u32) -> Option<&[u8]> {
    let word =
        |at: usize| octets.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    let kind = octets.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes)?;
    if !matches!(kind, libc::RTM_NEWLINK | libc::RTM_DELLINK) || word(20)? == device {
        return None;
    }
    let length = usize::try_from(word(0)?).ok()?.next_multiple_of(4).max(16);
    Some(octets.get(length..).unwrap_or_default())
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn event(payload: NetlinkPayload<RouteNetlinkMessage>, device: u32) -> Option<VipEvent> {
    let on_lo = |message: AddressMessage| (message.header.index == device).then(|| net(&message)).flatten();
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
            on_lo(message).map(|net| VipEvent::Added(net.addr()))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
            on_lo(message).map(|net| VipEvent::Removed(net.addr()))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message))
            if message.header.index == device =>
        {
            let is_up = message.header.flags.contains(LinkFlags::Up);
            Some(VipEvent::Link(if is_up { Link::Up } else { Link::Down }))
        }
        _ => None,
    }
}
