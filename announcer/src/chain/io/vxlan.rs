//! The VXLAN device, where members are not on one LAN (RFC 7348).
//!
//! Touches rtnetlink. It has no multicast group and learns nothing: each member has a fixed entry in the forwarding database, and fixed
//! neighbours. A device that is as wanted is left as it is, so that flows go on when the daemon starts again.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::{Handle, LinkUnspec, LinkVxlan};
use tokio::task::JoinHandle;

use crate::chain::segment::{VXLAN_DEVICE, VXLAN_MTU, VXLAN_PORT, ethernet, link_local};

/// What the device depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VxlanSettings {
    /// The number of the VXLAN (VNI).
    pub number: u32,
    /// Our address in the list of members.
    pub own: IpAddr,
    /// The other members.
    pub members: Vec<IpAddr>,
}

struct LinkNetlink {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for LinkNetlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open() -> io::Result<LinkNetlink> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    Ok(LinkNetlink { handle, task: tokio::spawn(connection) })
}

fn failed(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = &error {
        message.to_io()
    } else {
        io::Error::other(error.to_string())
    }
}

/// Makes the device, or corrects it, and returns its index.
///
/// # Errors
/// Those of rtnetlink.
pub async fn make(settings: &VxlanSettings) -> io::Result<u32> {
    let netlink = open()?;
    let found = find(&netlink.handle).await?;
    let index = match found {
        Some(link) if is_as_wanted(&link, settings) => link.header.index,
        Some(link) => {
            netlink.handle.link().del(link.header.index).execute().await.map_err(failed)?;
            create(&netlink.handle, settings).await?
        }
        None => create(&netlink.handle, settings).await?,
    };
    let up = LinkUnspec::new_with_index(index).mtu(VXLAN_MTU).up().build();
    netlink.handle.link().set(up).execute().await.map_err(failed)?;
    for member in &settings.members {
        let mac = ethernet(*member);
        let entry = netlink.handle.neighbours().add_bridge(index, &mac).destination(*member);
        let entry = entry.flags(NeighbourFlags::Own).state(NeighbourState::Permanent).replace();
        entry.execute().await.map_err(failed)?;
        for address in [*member, link_local(*member).into()] {
            let neighbour = netlink.handle.neighbours().add(index, address).link_layer_address(&mac);
            neighbour.state(NeighbourState::Permanent).replace().execute().await.map_err(failed)?;
        }
    }
    Ok(index)
}

/// Removes the device, if it exists.
///
/// # Errors
/// Those of rtnetlink.
pub async fn remove() -> io::Result<()> {
    let netlink = open()?;
    match find(&netlink.handle).await? {
        Some(link) => netlink.handle.link().del(link.header.index).execute().await.map_err(failed),
        None => Ok(()),
    }
}

async fn find(handle: &Handle) -> io::Result<Option<LinkMessage>> {
    let mut links = handle.link().get().match_name(VXLAN_DEVICE.to_owned()).execute();
    match links.try_next().await.map_err(failed) {
        Ok(link) => Ok(link),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_as_wanted(link: &LinkMessage, settings: &VxlanSettings) -> bool {
    let infos = link.attributes.iter().filter_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute { Some(infos) } else { None }
    });
    let data = infos
        .flatten()
        .find_map(|info| if let LinkInfo::Data(InfoData::Vxlan(data)) = info { Some(data) } else { None });
    let own = match settings.own {
        IpAddr::V4(v4) => InfoVxlan::Local(v4),
        IpAddr::V6(v6) => InfoVxlan::Local6(v6),
    };
    let mac = link.attributes.contains(&LinkAttribute::Address(ethernet(settings.own).to_vec()));
    mac && data.is_some_and(|data| {
        data.contains(&InfoVxlan::Id(settings.number))
            && data.contains(&own)
            && data.contains(&InfoVxlan::Port(VXLAN_PORT))
    })
}

async fn create(handle: &Handle, settings: &VxlanSettings) -> io::Result<u32> {
    let vxlan = LinkVxlan::new(VXLAN_DEVICE, settings.number).port(VXLAN_PORT).learning(false);
    let vxlan = match settings.own {
        IpAddr::V4(v4) => vxlan.local(v4),
        IpAddr::V6(v6) => vxlan.local6(v6),
    };
    let link = vxlan.address(ethernet(settings.own).to_vec()).build();
    handle.link().add(link).execute().await.map_err(failed)?;
    let made = find(handle).await?.ok_or_else(|| io::Error::other("the device was not made"))?;
    Ok(made.header.index)
}
