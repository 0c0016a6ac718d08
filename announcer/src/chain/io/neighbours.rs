//! The kernel's neighbour table: the MAC addresses of members, and whether the kernel of a member answers.
//!
//! Touches rtnetlink (RTM_GETNEIGH, RTM_NEWNEIGH) and the clock. Needs CAP_NET_ADMIN to ask.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_dump::dump;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::debug;

/// After how long the neighbour entry is read, again and again, until the kernel of a member has answered.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(60),
];
/// The most that one request may take. The kernel answers at once.
const LIMIT: Duration = Duration::from_secs(1);

/// A neighbour whose kernel is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedNeighbour {
    /// The index of the interface.
    pub interface: u32,
    /// Its address there.
    pub address: IpAddr,
    /// The Ethernet address of a fixed neighbour (NUD_PERMANENT), as on a VXLAN.
    pub fixed: Option<[u8; 6]>,
}

/// A connection to the kernel. It ends when this is dropped.
#[derive(Debug)]
pub struct Neighbours {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Neighbours {
    /// Opens the connection.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Neighbours { handle, task: tokio::spawn(connection) })
    }

    /// Lets the kernel probe a neighbour by ARP or ND (one unicast probe; RFC 4861 §7.3.3), and says whether it has answered within
    /// 0.1 s. A fixed neighbour is fixed again afterwards: otherwise the kernel would forget its Ethernet address when it does not answer,
    /// and could not find it again where there is no multicast.
    pub async fn ask(&self, neighbour: AskedNeighbour) -> bool {
        let AskedNeighbour { interface, address, fixed } = neighbour;
        let answered = self.probe(interface, address).await;
        if let Some(ethernet) = fixed {
            let neighbour = self.handle.neighbours().add(interface, address).link_layer_address(&ethernet);
            let request = neighbour.state(NeighbourState::Permanent).replace().execute();
            let replaced = timeout(LIMIT, request).await.unwrap_or(Err(rtnetlink::Error::RequestFailed));
            if let Err(error) = replaced {
                debug!(%address, %error, "neighbour entry cannot be fixed again");
            }
        }
        answered
    }

    async fn probe(&self, interface: u32, address: IpAddr) -> bool {
        // PROBE sends a probe only if the entry is in another state before.
        let set = async |state| self.set(interface, address, state, NeighbourFlags::empty()).await;
        let probed = match set(NeighbourState::Stale).await {
            Ok(()) => set(NeighbourState::Probe).await,
            Err(error) => Err(error),
        };
        if let Err(error) = probed {
            debug!(%address, %error, "neighbour entry cannot be probed, it is resolved anew");
            let _ = self.set(interface, address, NeighbourState::None, NeighbourFlags::Use).await; // the look below shows whether it worked
        }
        for wait in LOOKS {
            sleep(wait).await;
            if self.is_reachable(interface, address).await {
                return true;
            }
        }
        false
    }

    async fn set(
        &self,
        interface: u32,
        address: IpAddr,
        state: NeighbourState,
        flags: NeighbourFlags,
    ) -> Result<(), rtnetlink::Error> {
        let request = self.handle.neighbours().add(interface, address).state(state).flags(flags).replace();
        timeout(LIMIT, request.execute()).await.unwrap_or(Err(rtnetlink::Error::RequestFailed))
    }

    async fn is_reachable(&self, interface: u32, address: IpAddr) -> bool {
        let entries = self.entries(address.is_ipv4()).await.unwrap_or_default();
        entries.iter().any(|entry| {
            entry.header.ifindex == interface
                && entry.header.state == NeighbourState::Reachable
                && destination(entry) == Some(address)
        })
    }

    async fn entries(&self, v4: bool) -> Result<Vec<NeighbourMessage>, rtnetlink::Error> {
        let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let dumped = dump(|| self.handle.neighbours().get().set_address_family(family));
        timeout(LIMIT, dumped).await.unwrap_or(Err(rtnetlink::Error::RequestFailed))
    }

    /// The Ethernet addresses of the neighbours on an interface, as far as the kernel knows them.
    ///
    /// # Errors
    /// Those of netlink.
    pub async fn ethernet(&self, interface: u32) -> io::Result<BTreeMap<IpAddr, [u8; 6]>> {
        let mut found = BTreeMap::new();
        for v4 in [true, false] {
            let entries = self.entries(v4).await.map_err(|error| io::Error::other(error.to_string()))?;
            found.extend(
                entries.iter().filter(|entry| entry.header.ifindex == interface).filter_map(ethernet),
            );
        }
        Ok(found)
    }
}

fn destination(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::Destination(address) = attribute else { return None };
        if let NeighbourAddress::Inet(v4) = address {
            Some(IpAddr::V4(*v4))
        } else if let NeighbourAddress::Inet6(v6) = address {
            Some(IpAddr::V6(*v6))
        } else {
            None
        }
    })
}

/// The address and the Ethernet address of an entry that is resolved.
fn ethernet(entry: &NeighbourMessage) -> Option<(IpAddr, [u8; 6])> {
    let unresolved =
        [NeighbourState::Failed, NeighbourState::Incomplete, NeighbourState::Noarp, NeighbourState::None];
    let mac = entry.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::LinkLayerAddress(octets) = attribute else { return None };
        <[u8; 6]>::try_from(octets.as_slice()).ok()
    });
    if unresolved.contains(&entry.header.state) { None } else { Some((destination(entry)?, mac?)) }
}
