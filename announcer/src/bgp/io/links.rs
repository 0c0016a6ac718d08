//! Which interfaces have no link: a session over one is over, long before its hold timer says so.
//!
//! Touches rtnetlink (RTNLGRP_LINK, RTM_GETLINK). An event means: look at all links anew; so none can be missed, whatever
//! the kernel had to drop.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::bgp::io::path::{Netlink, to_io};

/// The interfaces without a link, by index, with their names; those that have been removed too.
pub type Cut = Arc<BTreeMap<u32, String>>;

/// Before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Octets of the kernel's queue of events; it caps it at net.core.rmem_max.
const EVENT_BUFFER: i32 = 1 << 18;

/// Tells which links are cut, for ever.
pub async fn watch(told: watch::Sender<Cut>) {
    let mut known = BTreeMap::new();
    loop {
        let Err(error) = follow(&mut known, &told).await else { return };
        warn!(%error, "links cannot be seen, hold timers alone find a cut");
        sleep(RETRY).await;
    }
}

async fn follow(known: &mut BTreeMap<u32, Link>, told: &watch::Sender<Cut>) -> io::Result<()> {
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    events.socket_mut().set_rx_buf_sz(EVENT_BUFFER)?;
    events.socket_mut().bind_auto()?;
    events.socket_mut().add_membership(libc::RTNLGRP_LINK)?;
    loop {
        look(known).await?;
        let cut: BTreeMap<u32, String> = known
            .iter()
            .filter(|(_, link)| link.state == State::Cut)
            .map(|(index, link)| (*index, link.name.clone()))
            .collect();
        told.send_if_modified(|told| {
            let news = **told != cut;
            if news {
                *told = Arc::new(cut);
            }
            news
        });
        tokio::select! {
            event = next(&mut events) => event?,
            () = told.closed() => return Ok(()),
        }
    }
}

/// Waits for events, and takes all that are there.
async fn next(events: &mut TokioSocket) -> io::Result<()> {
    let mut octets = Vec::with_capacity(32 << 10);
    let mut received = events.recv(&mut octets).await;
    loop {
        octets.clear();
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // Some were dropped: what they said is seen all the same.
            Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => return Err(error),
            Ok(()) | Err(_) => received = events.socket_ref().recv(&mut octets, 0).map(drop),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    name: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Linked,
    Cut,
}

/// Looks at all links; one that is not there any more is cut.
async fn look(known: &mut BTreeMap<u32, Link>) -> io::Result<()> {
    let netlink = Netlink::open()?;
    let links: Vec<LinkMessage> = netlink.handle.link().get().execute().try_collect().await.map_err(to_io)?;
    let now: BTreeMap<u32, Link> = links.iter().map(|link| (link.header.index, read(link))).collect();
    for (index, before) in known.iter_mut() {
        if !now.contains_key(index) {
            before.state = State::Cut;
        }
    }
    for (index, link) in now {
        if let Some(before) = known.insert(index, link.clone())
            && before.state != link.state
        {
            match link.state {
                State::Linked => info!(interface = link.name, "link is there again"),
                State::Cut => info!(interface = link.name, "link went down"),
            }
        }
    }
    debug!(links = known.len(), "links were looked at");
    Ok(())
}

/// A link is there while the interface is set up and has a carrier.
fn read(link: &LinkMessage) -> Link {
    let mut name = String::new();
    for attribute in &link.attributes {
        if let LinkAttribute::IfName(found) = attribute {
            name.clone_from(found);
        }
    }
    let linked = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    Link { name, state: if linked { State::Linked } else { State::Cut } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_has_a_link_and_one_that_is_removed_has_none() {
        let mut known = BTreeMap::new();
        let gone = Link { name: "eth9".into(), state: State::Linked };
        known.insert(u32::MAX, gone);
        look(&mut known).await.unwrap();
        let lo = known.values().find(|link| link.name == "lo").unwrap();
        assert_eq!(lo.state, State::Linked);
        assert_eq!(known[&u32::MAX].state, State::Cut);
    }

    #[test]
    fn a_link_takes_an_interface_that_is_up_and_a_carrier() {
        for (flags, want) in [
            (LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running, State::Linked),
            (LinkFlags::Up, State::Cut),
            (LinkFlags::LowerUp, State::Cut),
        ] {
            let mut message = LinkMessage::default();
            message.header.flags = flags;
            message.attributes.push(LinkAttribute::IfName("eth0".into()));
            assert_eq!(read(&message), Link { name: "eth0".into(), state: want }, "{flags:?}");
        }
    }
}
