//! A router's FIB: rtnetlink's events in its network namespace.
//!
//! Times are those at which the event was read: rtnetlink's events have none of their own. On a busy host the thread that reads them may
//! have to wait for a processor; its name is [`THREAD`], so that a measurement can give it a real-time priority (`chrt`).

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use futures_util::StreamExt;
use ipnet::IpNet;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use nix::sched::{CloneFlags, setns};
use rtnetlink::MulticastGroup;
use rtnetlink::sys::AsyncSocket;

use crate::log::{Dated, Log};

/// The name of each thread that reads the events.
pub const THREAD: &str = "fib";
/// The main routing table.
const MAIN: u8 = 254;

/// A route that changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// When the event was read.
    pub at: SystemTime,
    /// Where the route leads.
    pub prefix: IpNet,
    /// Its new next hops; none if it was removed.
    pub next_hops: Vec<IpAddr>,
}

impl Dated for Change {
    fn at(&self) -> SystemTime {
        self.at
    }
}

/// Follows the FIB of a network namespace until the process ends, on a separate thread.
///
/// # Errors
/// When the namespace cannot be entered, or the query fails.
pub fn watch(netns: OwnedFd, log: Log<Change>) -> anyhow::Result<()> {
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
        let run = || -> anyhow::Result<()> {
            setns(netns, CloneFlags::CLONE_NEWNET)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let groups = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
                let (mut connection, _handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
                connection.socket_mut().socket_mut().set_rx_buf_sz(1 << 22)?;
                tokio::spawn(connection);
                let _ = ready.send(Ok(()));
                while let Some((message, _)) = messages.next().await {
                    let at = SystemTime::now();
                    let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
                    let change = match &message {
                        RouteNetlinkMessage::NewRoute(route) => change(at, route, true),
                        RouteNetlinkMessage::DelRoute(route) => change(at, route, false),
                        _ => None,
                    };
                    change.into_iter().for_each(|change| log.push(change));
                }
                Ok(())
            })
        };
        if let Err(e) = run() {
            let _ = ready.send(Err(e)); // after the start there is no receiver, and the log only ends
        }
    })?;
    started.recv()?
}

fn change(at: SystemTime, route: &RouteMessage, there: bool) -> Option<Change> {
    if route.header.table != MAIN {
        return None;
    }
    let mut destination = None;
    let mut next_hops = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => next_hops.extend(ip(address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => next_hops.push(IpAddr::V6(*address)),
            RouteAttribute::MultiPath(paths) => {
                let gateways = paths.iter().flat_map(|path| path.attributes.iter());
                next_hops.extend(gateways.filter_map(|attribute| match attribute {
                    RouteAttribute::Gateway(address) => ip(address),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    let prefix = IpNet::new(destination?, route.header.destination_prefix_length).ok()?;
    Some(Change { at, prefix, next_hops: if there { next_hops } else { Vec::new() } })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
