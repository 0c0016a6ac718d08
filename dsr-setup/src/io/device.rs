//! The device of the VIPs: `lo`, a dummy, or a VRF, and the other interfaces of the host.
//!
//! Touches rtnetlink.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use netlink_dump::{dump, one};
use netlink_packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::Error;
use super::vips::{LO, is, request_error};
use crate::LOOPBACK;
use crate::plan::{Interface, InterfaceKind};

/// The name of a device of VIPs, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceName {
    /// In `--device`: `lo`, a dummy, or a VRF.
    Option(String),
    /// In `vrf` of a service: a VRF.
    Vrf(String),
}

impl DeviceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            DeviceName::Option(name) | DeviceName::Vrf(name) => name,
        }
    }
}

/// The device of the VIPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
}

impl Device {
    /// `lo`, which has the same index in every network namespace.
    #[must_use]
    pub fn lo() -> Device {
        Device { index: LO, name: LOOPBACK.into(), kind: DeviceKind::Loopback }
    }

    /// The device with this name.
    ///
    /// # Errors
    /// When there is none, when it is of another kind than may be written there, and those of rtnetlink.
    pub async fn find_named(handle: &Handle, name: &DeviceName) -> Result<Device, DeviceError> {
        let vrf = match name {
            DeviceName::Option(name) => return Device::find(handle, name).await,
            DeviceName::Vrf(vrf) => vrf,
        };
        match Device::find(handle, vrf).await {
            Ok(device) if device.kind == DeviceKind::Vrf => Ok(device),
            Ok(_) | Err(DeviceError::Kind(_)) => Err(DeviceError::NotVrf(vrf.into())),
            Err(DeviceError::Missing(_)) => Err(DeviceError::NoSuchVrf(vrf.into())),
            Err(error @ (DeviceError::NoSuchVrf(_) | DeviceError::NotVrf(_) | DeviceError::Netlink(_))) => {
                Err(error)
            }
        }
    }

    /// The interface with this name.
    ///
    /// # Errors
    /// When there is none, when it is of a kind on which this host would answer ARP for a VIP, and those of rtnetlink.
    pub async fn find(handle: &Handle, name: &str) -> Result<Device, DeviceError> {
        if name == LOOPBACK {
            return Ok(Device::lo());
        }
        let found = one(handle.link().get().match_name(name.to_owned())).await;
        let link = match found {
            Ok(Some(link)) => link,
            Ok(None) => return Err(DeviceError::Missing(name.into())),
            // A name that the kernel cannot have, such as a long one, is a wrong argument.
            Err(error)
                if is(&error, libc::ENODEV) || is(&error, libc::ERANGE) || is(&error, libc::EINVAL) =>
            {
                return Err(DeviceError::Missing(name.into()));
            }
            Err(error) => return Err(DeviceError::Netlink(request_error(error))),
        };
        let kind = match kind(&link) {
            InterfaceKind::Loopback => DeviceKind::Loopback,
            InterfaceKind::Dummy => DeviceKind::Dummy,
            InterfaceKind::Vrf => DeviceKind::Vrf,
            InterfaceKind::Plain | InterfaceKind::VrfPort(_) | InterfaceKind::Port => {
                return Err(DeviceError::Kind(name.into()));
            }
        };
        Ok(Device { index: link.header.index, name: name.into(), kind })
    }
}

/// What the device of the VIPs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// A loopback.
    Loopback,
    /// A dummy.
    Dummy,
    /// A VRF, which is the loopback of its routing domain.
    Vrf,
}

/// Why an interface cannot have the VIPs.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no such interface.
    #[error(
        "this host has no interface `{0}`: make it first, as in `ip link add {0} type dummy`, on a kernel that has dummy interfaces, or \
         put the VIPs on lo, without `--device`"
    )]
    Missing(String),
    /// It is an interface of another kind.
    #[error(
        "`{0}` is no loopback, no dummy and no VRF: this host would answer ARP and neighbour solicitations for a VIP on it; write \
         another interface, or put the VIPs on lo, without `--device`"
    )]
    Kind(String),
    /// There is no such VRF.
    #[error("the VRF `{0}` does not exist: `ip link add {0} type vrf table NUMBER` creates it")]
    NoSuchVrf(String),
    /// It is an interface of another kind than a VRF.
    #[error("`{0}` is not a VRF: write in `vrf` a name that `ip link show type vrf` prints")]
    NotVrf(String),
    /// The kernel cannot be asked.
    #[error("{0}")]
    Netlink(Error),
}

/// Every interface of the host. The default routes are read only if `needs_routes`.
///
/// # Errors
/// Those of rtnetlink.
pub async fn interfaces(
    handle: &Handle,
    needs_routes: impl Fn(&[Interface]) -> bool,
) -> Result<Vec<Interface>, Error> {
    let links = dump(|| handle.link().get()).await.map_err(request_error)?;
    let mut interfaces: Vec<Interface> = links.iter().filter_map(read).collect();
    if needs_routes(&interfaces) {
        let leading = default_routes(handle).await?;
        for interface in &mut interfaces {
            interface.has_default_route = leading.contains(&interface.index);
        }
    }
    Ok(interfaces)
}

/// The indexes of the interfaces through which an IPv4 default route of any table leads.
async fn default_routes(handle: &Handle) -> Result<BTreeSet<u32>, Error> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes = dump(|| handle.route().get(all.clone())).await.map_err(request_error)?;
    let is_default = |route: &&RouteMessage| {
        route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
    };
    Ok(routes.iter().filter(is_default).flat_map(through).collect())
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn through(route: &RouteMessage) -> Vec<u32> {
    let of_one = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    };
    route.attributes.iter().flat_map(of_one).collect()
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn read(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    Some(Interface {
        index: link.header.index,
        name,
        is_up: link.header.flags.contains(LinkFlags::Up),
        kind: kind(link),
        has_default_route: false,
    })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn kind(link: &LinkMessage) -> InterfaceKind {
    if link.header.link_layer_type == LinkLayerType::Loopback {
        return InterfaceKind::Loopback;
    }
    let (mut controller, mut port, mut own) = (None, None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Controller(index) => controller = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(found) => own = Some(found.clone()),
                        LinkInfo::PortKind(found) => port = Some(found.clone()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    match (own, port, controller) {
        (Some(InfoKind::Dummy), _, _) => InterfaceKind::Dummy,
        (Some(InfoKind::Vrf), _, _) => InterfaceKind::Vrf,
        (_, Some(InfoPortKind::Vrf), Some(vrf)) => InterfaceKind::VrfPort(vrf),
        (_, Some(_), Some(_)) => InterfaceKind::Port,
        (_, _, _) => InterfaceKind::Plain,
    }
}
