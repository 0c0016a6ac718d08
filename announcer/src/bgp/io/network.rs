//! Publishes the host's links and addresses, and the fact that a route has changed. Sessions depend on these.
//!
//! Touches rtnetlink (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR and so on; RTM_GETLINK, RTM_GETADDR). After each event, all links or all
//! addresses are read again. So no change is missed, even if the kernel drops events, and removed links and addresses are
//! forgotten. For routes, only the fact is published that a route, or a default route, has changed: a host can have a million
//! routes, and a session asks the kernel about the one that it uses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netlink_dump::dump;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use crate::bgp::io::path::{self, Netlink, to_io};
use crate::bgp::path::{Address, Link, LinkState, Network};

/// The wait before a failed operation is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The size of the kernel's queue of events, in octets. The kernel limits it to net.core.rmem_max.
const EVENT_BUFFER: i32 = 1 << 18;
/// The time between two reads of the addresses, because thousands of VIPs can be added at once.
const ADDRESS_PAUSE: Duration = Duration::from_millis(100);
/// The time between two reports of changed routes, because a routing daemon on the host can change thousands per second.
const ROUTE_PAUSE: Duration = Duration::from_millis(250);
/// The most events that are read at a time. The others wait or are dropped. Both are harmless, because one event is enough.
const BATCH: usize = 64;

/// The addresses of the interface with this name; none if it does not exist.
///
/// # Errors
/// The kernel cannot be asked.
pub async fn addresses_on(name: &str) -> io::Result<BTreeSet<IpAddr>> {
    let Some(device) = path::interface(name).await? else { return Ok(BTreeSet::new()) };
    Ok(path::addresses(device.index).await?.into_iter().map(|address| address.ip).collect())
}

/// Publishes the host's network, for ever.
pub async fn watch(publish: watch::Sender<Arc<Network>>) {
    loop {
        let followed = tokio::select! {
            followed = follow_links_and_addresses(&publish) => followed,
            followed = follow_routes(&publish) => followed,
            () = publish.closed() => return,
        };
        if let Err(error) = followed {
            warn!(%error, "links and addresses cannot be read, only hold timers notice a failure");
        }
        sleep(RETRY).await;
    }
}

async fn follow_links_and_addresses(publish: &watch::Sender<Arc<Network>>) -> io::Result<()> {
    let groups = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
    let mut events = subscribe(&groups)?;
    let mut news = NetworkChanges::ALL;
    let mut next_look = Instant::now();
    loop {
        if news.links {
            let links = look_at_links().await?;
            publish_links(publish, links);
            news.links = false;
        }
        if news.addresses && Instant::now() >= next_look {
            let addresses = path::all_addresses().await?;
            publish_addresses(publish, addresses);
            news.addresses = false;
            next_look = Instant::now() + ADDRESS_PAUSE;
        }
        tokio::select! {
            seen = next(&mut events) => news.add(seen?),
            () = sleep_until(next_look), if news.addresses => {}
        }
    }
}

async fn follow_routes(publish: &watch::Sender<Arc<Network>>) -> io::Result<()> {
    let mut events = subscribe(&[libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE])?;
    // Changes before the start caused no event, so everything is read once.
    let mut news = NetworkChanges::ALL;
    loop {
        publish.send_modify(|network| {
            let network = Arc::make_mut(network);
            network.routes += 1;
            network.default_routes += u64::from(news.default_routes);
        });
        news = next(&mut events).await?;
        sleep(ROUTE_PAUSE).await;
    }
}

fn subscribe(groups: &[libc::c_uint]) -> io::Result<TokioSocket> {
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    events.socket_mut().set_rx_buf_sz(EVENT_BUFFER)?;
    events.socket_mut().bind_auto()?;
    for group in groups {
        events.socket_mut().add_membership(*group)?;
    }
    Ok(events)
}

/// What has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct NetworkChanges {
    links: bool,
    addresses: bool,
    /// A default route has changed. A change of any other route only wakes the task.
    default_routes: bool,
}

impl NetworkChanges {
    /// Read everything again, because the changes are not known.
    const ALL: NetworkChanges = NetworkChanges { links: true, addresses: true, default_routes: true };

    fn add(&mut self, other: NetworkChanges) {
        self.links |= other.links;
        self.addresses |= other.addresses;
        self.default_routes |= other.default_routes;
    }

    /// Reads the types of the messages in a datagram (nlmsghdr of linux/netlink.h), and for a route the length of its destination's
    /// prefix (rtmsg of linux/rtnetlink.h).
    fn of(datagram: &[u8]) -> Self {
        let mut news = NetworkChanges::default();
        let mut rest = datagram;
        while let [a, b, c, d, kind, kind_high, ..] = rest {
            match u16::from_ne_bytes([*kind, *kind_high]) {
                libc::RTM_NEWLINK | libc::RTM_DELLINK => news.links = true,
                libc::RTM_NEWADDR | libc::RTM_DELADDR => news.addresses = true,
                libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
                    // After the 16 octets of nlmsghdr: the family, then the length.
                    news.default_routes |= rest.get(17).is_none_or(|length| *length == 0);
                }
                _ => {}
            }
            let length = usize::try_from(u32::from_ne_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
        }
        news
    }
}

/// Waits for events, and reads all that are available.
async fn next(events: &mut TokioSocket) -> io::Result<NetworkChanges> {
    let mut octets = Vec::with_capacity(32 << 10);
    let mut news = NetworkChanges::default();
    let mut received = events.recv(&mut octets).await;
    for _ in 0..BATCH {
        match received {
            Ok(()) => news.add(NetworkChanges::of(&octets)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // The kernel dropped some events. Everything is read again, so no change is missed.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => news = NetworkChanges::ALL,
            Err(error) => return Err(error),
        }
        octets.clear();
        received = events.socket_ref().recv(&mut octets, 0).map(drop);
    }
    Ok(news)
}

async fn look_at_links() -> io::Result<BTreeMap<u32, Link>> {
    let netlink = Netlink::open()?;
    let links = dump(|| netlink.handle.link().get()).await.map_err(to_io)?;
    Ok(links.iter().map(|link| (link.header.index, read(link))).collect())
}

/// A link is up while the interface is set up and has a carrier.
fn read(link: &LinkMessage) -> Link {
    let mut name = String::new();
    for attribute in &link.attributes {
        if let LinkAttribute::IfName(found) = attribute {
            name.clone_from(found);
        }
    }
    let up = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    Link { name, state: if up { LinkState::Up } else { LinkState::Down } }
}

fn publish_links(publish: &watch::Sender<Arc<Network>>, links: BTreeMap<u32, Link>) {
    publish.send_if_modified(|network| {
        if network.links == links {
            return false;
        }
        for (index, link) in &links {
            let before = network.links.get(index).map(|link| link.state);
            match (before, link.state) {
                (Some(LinkState::Down), LinkState::Up) => {
                    info!(interface = link.name, "link went up");
                }
                (Some(LinkState::Up), LinkState::Down) => info!(interface = link.name, "link went down"),
                (Some(LinkState::Up), LinkState::Up)
                | (Some(LinkState::Down), LinkState::Down)
                | (None, _) => {}
            }
        }
        debug!(links = links.len(), "links were read");
        Arc::make_mut(network).links = links;
        true
    });
}

fn publish_addresses(publish: &watch::Sender<Arc<Network>>, addresses: BTreeMap<u32, Vec<Address>>) {
    publish.send_if_modified(|network| {
        let news = network.addresses != addresses;
        if news {
            debug!(interfaces = addresses.len(), "addresses were read");
            Arc::make_mut(network).addresses = addresses;
        }
        news
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W11.
    #[tokio::test]
    async fn loopback_has_a_link_and_an_interface_that_is_gone_is_forgotten() {
        let mut before = Network::default();
        before.links.insert(u32::MAX, Link { name: "eth9".into(), state: LinkState::Up });
        let (publish, mut seen) = watch::channel(Arc::new(before));
        publish_links(&publish, look_at_links().await.unwrap());
        assert!(seen.has_changed().unwrap(), "the sessions hear of it");
        let network = seen.borrow_and_update().clone();
        let lo = network.links.values().find(|link| link.name == "lo").unwrap();
        assert_eq!(lo.state, LinkState::Up);
        assert!(!network.links.contains_key(&u32::MAX), "{network:?}");
        publish_links(&publish, network.links.clone());
        assert!(!seen.has_changed().unwrap(), "the same links are no change");
    }

    #[test]
    fn a_link_takes_an_interface_that_is_up_and_a_carrier() {
        for (flags, state) in [
            (LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running, LinkState::Up),
            (LinkFlags::Up, LinkState::Down),
            (LinkFlags::LowerUp, LinkState::Down),
        ] {
            let mut message = LinkMessage::default();
            message.header.flags = flags;
            message.attributes.push(LinkAttribute::IfName("eth0".into()));
            assert_eq!(read(&message), Link { name: "eth0".into(), state }, "{flags:?}");
        }
    }

    #[test]
    fn an_event_says_what_is_to_be_looked_at_and_no_octets_make_it_loop() {
        let message = |length: u32, kind: u16| {
            let mut octets = length.to_ne_bytes().to_vec();
            octets.extend(kind.to_ne_bytes());
            octets.resize(16, 0);
            octets
        };
        let route = |kind: u16, prefix: u8| {
            let mut octets = message(28, kind);
            octets.extend([2, prefix]);
            octets.resize(28, 0);
            octets
        };
        let links = NetworkChanges { links: true, ..NetworkChanges::default() };
        let addresses = NetworkChanges { addresses: true, ..NetworkChanges::default() };
        let default_routes = NetworkChanges { default_routes: true, ..NetworkChanges::default() };
        for (octets, want) in [
            (message(16, libc::RTM_NEWLINK), links),
            (message(16, libc::RTM_DELADDR), addresses),
            (
                [message(16, libc::RTM_DELLINK), message(16, libc::RTM_NEWADDR)].concat(),
                NetworkChanges { links: true, addresses: true, default_routes: false },
            ),
            (route(libc::RTM_NEWROUTE, 24), NetworkChanges::default()),
            (route(libc::RTM_NEWROUTE, 0), default_routes),
            ([route(libc::RTM_NEWROUTE, 32), route(libc::RTM_DELROUTE, 0)].concat(), default_routes),
            (message(16, libc::RTM_NEWROUTE), default_routes),
            (message(0, libc::RTM_NEWLINK), links),
            (message(u32::MAX, libc::RTM_NEWADDR), addresses),
            (vec![], NetworkChanges::default()),
        ] {
            assert_eq!(NetworkChanges::of(&octets), want, "{octets:?}");
        }
    }
}
