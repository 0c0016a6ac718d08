//! The VIPs on `lo`, or on another device.
//!
//! Touches rtnetlink. Our VIPs have IFA_PROTO 0xB6. If the kernel does not store this mark (before 5.18), the state file says which
//! addresses are ours. How a VIP is added:
//!
//! - IPv4: /32, label `lo:vip`, scope link. With scope global, the kernel uses an address on such a device as the source of packets that
//!   leave through an interface without an address, and the answers go to another frontend.
//! - IPv6: /128, preferred lifetime 0 (never chosen as a source, RFC 6724 rule 3), no duplicate address detection
//!   (every frontend has the same VIP), no route for the prefix.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use ipnet::IpNet;
use netlink_dump::{dump, one};
use netlink_packet_route::address::{AddressFlags, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::RouteType;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::Error;
use super::device::{Device, DeviceError, DeviceKind, DeviceName};
use crate::plan::{Link, LoAddress, Loopback, MarkSupport, OtherAddress};

mod message;

pub(super) use self::message::{flags, net, protocol};
use self::message::{label, mark, owner, read};

/// IFA_PROTO of every address that is ours.
pub const PROTOCOL: u8 = 0xB6;
/// The kernel gives `lo` this index in every network namespace.
pub(super) const LO: u32 = 1;
/// How many requests are sent at the same time. The kernel answers each at once, and the answers have to fit into the socket's
/// buffer.
const REQUESTS: usize = 64;
/// How long [`Vips::add`] waits for the routes of the new IPv6 addresses.
const ROUTE_PATIENCE: Duration = Duration::from_secs(1);
/// How often to check for addresses that were removed again, while waiting for their routes.
const GONE_POLL: Duration = Duration::from_millis(20);
/// How often to check whether the route of a new IPv6 address is there.
const ROUTE_POLL: Duration = Duration::from_millis(1);

/// The VIPs on `lo` of this network namespace, or on another device ([`Vips::on`]). Cheap to clone. No call touches a file.
#[derive(Debug, Clone)]
pub struct Vips {
    handle: Handle,
    device: Device,
}

/// The result of [`Vips::add`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddResult {
    /// The address was added with our mark.
    Added,
    /// The address existed already, whoever had added it, and was not changed.
    AlreadyThere,
}

/// The result of [`Vips::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveResult {
    /// It is gone.
    Removed,
    /// It was not there.
    Absent,
}

/// Opens a netlink connection. The future carries its messages and must be polled (spawned) for as long as the
/// [`Vips`] are in use; it ends when the last clone is dropped.
pub fn connect() -> Result<(impl Future<Output = ()> + Send + 'static, Vips), Error> {
    let (connection, handle, _unasked) = rtnetlink::new_connection().map_err(Error::Netlink)?;
    Ok((connection, Vips { handle, device: Device::lo() }))
}

impl Vips {
    /// The same for the VIPs on another device.
    #[must_use]
    pub fn on(self, device: Device) -> Vips {
        Vips { device, ..self }
    }

    /// The same for the VIPs on the interface with this name.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub async fn on_device(self, name: &str) -> Result<Vips, DeviceError> {
        let device = Device::find(&self.handle, name).await?;
        Ok(self.on(device))
    }

    /// The same for the VIPs on the device with this name.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub async fn on_named(self, name: &DeviceName) -> Result<Vips, DeviceError> {
        let device = Device::find_named(&self.handle, name).await?;
        Ok(self.on(device))
    }

    /// The device of the VIPs.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The netlink connection.
    pub(in crate::io) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Reads from the kernel the device of the VIPs, every address on it, and the addresses of the other interfaces. `recorded` has our addresses
    /// according to the state file. They count only if the kernel stores no marks.
    pub async fn observe(&self, recorded: &BTreeSet<IpAddr>) -> Result<Loopback, Error> {
        let all = dump(|| self.handle.address().get()).await.map_err(request_error)?;
        let marks = if all.iter().any(|message| protocol(message).is_some()) {
            MarkSupport::Kept
        } else {
            MarkSupport::NotKept
        };
        let (on_lo, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|message| message.header.index == self.device.index);
        let name = &self.device.name;
        let addresses: Vec<LoAddress> =
            on_lo.iter().filter_map(|message| read(message, name, marks, recorded)).collect();
        let mut elsewhere = Vec::new();
        for message in others {
            let Some(net) = net(&message) else { continue };
            // An IPv4 address has a label that begins with the name of its interface, such as `eth0:1`. For an IPv6 address the
            // kernel is asked for the name, but only if the address is also on `lo`. For others the index stands in place of the
            // name.
            let interface = match label(&message) {
                Some(label) => label.split(':').next().unwrap_or(label).to_owned(),
                None if protocol(&message) == Some(PROTOCOL)
                    || addresses.iter().any(|on_lo| on_lo.net.addr() == net.addr()) =>
                {
                    self.name(message.header.index).await?
                }
                None => format!("interface {}", message.header.index),
            };
            let link_local = message.header.scope == AddressScope::Link;
            let usable = !flags(&message).intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
            let (index, owner) = (message.header.index, owner(protocol(&message), marks, false));
            elsewhere.push(OtherAddress { net, interface, index, owner, link_local, usable });
        }
        Ok(Loopback { device: name.clone(), link: self.link().await?, marks, addresses, elsewhere })
    }

    /// Sets the device up; it has no effect if it is up.
    pub async fn raise_lo(&self) -> Result<(), Error> {
        let up = LinkUnspec::new_with_index(self.device.index).up().build();
        self.handle.link().set(up).execute().await.map_err(request_error)
    }

    /// Puts `vips` on `lo`, many at a time. When it returns, and `lo` is up, the host answers for those that were added. The
    /// results are in the order in which the kernel answered.
    pub async fn add(&self, vips: &[IpAddr]) -> Vec<(IpAddr, Result<AddResult, Error>)> {
        let requests =
            stream::iter(vips.iter().copied()).map(|vip| async move { (vip, self.add_one(vip).await) });
        let done: Vec<_> = requests.buffer_unordered(REQUESTS).collect().await;
        let added =
            done.iter().filter(|(vip, ensured)| vip.is_ipv6() && matches!(ensured, Ok(AddResult::Added)));
        let added: Vec<IpAddr> = added.map(|(vip, _)| *vip).collect();
        let mut routed =
            std::pin::pin!(stream::iter(&added).for_each_concurrent(REQUESTS, |vip| self.local(*vip)));
        // If the kernel is even slower, the VIPs exist, and probes show whether they work.
        let give_up = tokio::time::Instant::now() + ROUTE_PATIENCE;
        loop {
            tokio::select! {
                () = &mut routed => break,
                () = tokio::time::sleep(GONE_POLL) => {}
            }
            // Not in the select: a dump that is dropped halfway holds the next one up.
            if self.is_one_gone(&added).await || give_up <= tokio::time::Instant::now() {
                break;
            }
        }
        done
    }

    /// Whether one of these addresses was removed again: its route will not appear, and it has to be put back.
    async fn is_one_gone(&self, vips: &[IpAddr]) -> bool {
        let index = self.device.index;
        let on_lo = dump(|| self.handle.address().get().set_link_index_filter(index)).await;
        let Ok(on_lo) = on_lo else { return false };
        let on_lo: BTreeSet<IpAddr> = on_lo.iter().filter_map(net).map(|net| net.addr()).collect();
        vips.iter().any(|vip| !on_lo.contains(vip))
    }

    /// Puts one VIP on `lo`. It does not wait for its route.
    async fn add_one(&self, vip: IpAddr) -> Result<AddResult, Error> {
        let mut request = self.handle.address().add(self.device.index, vip, IpNet::from(vip).prefix_len());
        mark(request.message_mut(), vip, &self.device.name);
        match request.execute().await {
            Ok(()) => Ok(AddResult::Added),
            Err(error) if is(&error, libc::EEXIST) => Ok(AddResult::AlreadyThere),
            Err(error) if vip.is_ipv6() && NO_IPV6.iter().any(|code| is(&error, *code)) => {
                Err(Error::Ipv6Disabled(self.device.name.clone()))
            }
            Err(error) => Err(request_error(error)),
        }
    }

    /// Restores the flags, lifetimes and mark of our addresses that are on `lo`, as [`add`](Self::add) sets them. The scope of an
    /// IPv4 address cannot be changed.
    pub async fn mend(&self, vips: &[IpAddr]) -> Vec<(IpAddr, Result<(), Error>)> {
        let requests = stream::iter(vips.iter().copied()).map(|vip| async move {
            let index = self.device.index;
            let mut request = self.handle.address().add(index, vip, IpNet::from(vip).prefix_len()).replace();
            mark(request.message_mut(), vip, &self.device.name);
            (vip, request.execute().await.map_err(request_error))
        });
        requests.buffer_unordered(REQUESTS).collect().await
    }

    /// Waits, without a limit, until `vip` is routed to this host itself. For IPv6 the kernel inserts that route a moment after it
    /// has reported the address. Until then, a probe of the VIP would leave the host by the default route, and another frontend
    /// might answer it.
    async fn local(&self, vip: IpAddr) {
        loop {
            let to_vip =
                RouteMessageBuilder::<IpAddr>::new().destination_prefix(vip, IpNet::from(vip).prefix_len());
            // The routes of a VRF are asked for with the VRF as the interface.
            let to_vip = match self.device.kind {
                DeviceKind::Vrf => to_vip.map(|to_vip| to_vip.output_interface(self.device.index)),
                DeviceKind::Loopback | DeviceKind::Dummy => to_vip,
            };
            if let Ok(to_vip) = to_vip {
                let route = one(self.handle.route().get(to_vip.build())).await;
                if route.is_ok_and(|route| route.is_some_and(|route| route.header.kind == RouteType::Local)) {
                    return;
                }
            }
            tokio::time::sleep(ROUTE_POLL).await;
        }
    }

    /// Puts a VIP in the place of an address of ours that has another prefix length, scope or label. The kernel may have an IPv4
    /// address with two prefix lengths at the same time, so that the host has it all the time; otherwise, it lacks it for a moment.
    pub async fn replace(&self, net: IpNet) -> Result<(), Error> {
        let vip = net.addr();
        if vip.is_ipv4() && net.prefix_len() != net.max_prefix_len() {
            self.add_one(vip).await?;
            self.remove(net).await?;
            return Ok(());
        }
        self.remove(net).await?;
        self.add(&[vip]).await.into_iter().try_for_each(|(_, done)| done.map(drop))
    }

    /// Removes an address from the device. The caller has checked its owner with [`observe`](Self::observe).
    pub async fn remove(&self, net: IpNet) -> Result<RemoveResult, Error> {
        self.remove_from(self.device.index, net).await
    }

    /// Removes an address from the interface with this index. The caller has checked its owner with [`observe`](Self::observe).
    pub async fn remove_from(&self, index: u32, net: IpNet) -> Result<RemoveResult, Error> {
        let mut request = self.handle.address().add(index, net.addr(), net.prefix_len());
        let message = request.message_mut().clone();
        match self.handle.address().del(message).execute().await {
            Ok(()) => Ok(RemoveResult::Removed),
            Err(error) if is(&error, libc::EADDRNOTAVAIL) => Ok(RemoveResult::Absent),
            Err(error) => Err(request_error(error)),
        }
    }

    /// Whether the device is up.
    async fn link(&self) -> Result<Link, Error> {
        let lo = one(self.handle.link().get().match_index(self.device.index)).await.map_err(request_error)?;
        let is_up = lo.is_some_and(|lo| lo.header.flags.contains(LinkFlags::Up));
        Ok(if is_up { Link::Up } else { Link::Down })
    }

    /// The name of an interface, or its number if the interface no longer exists.
    #[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
    async fn name(&self, index: u32) -> Result<String, Error> {
        let link = one(self.handle.link().get().match_index(index)).await;
        let attributes = link.ok().flatten().map(|link| link.attributes).unwrap_or_default();
        let name = attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        Ok(name.unwrap_or_else(|| format!("interface {index}")))
    }
}

/// The errors for an IPv6 address if IPv6 is switched off, by sysctl or for the whole kernel.
const NO_IPV6: [i32; 3] = [libc::EACCES, libc::EOPNOTSUPP, libc::EAFNOSUPPORT];

/// Whether the kernel answered with this error number.
pub(super) fn is(error: &rtnetlink::Error, code: i32) -> bool {
    io(error).raw_os_error() == Some(code)
}

/// Converts the error of a request.
pub(super) fn request_error(error: rtnetlink::Error) -> Error {
    if is(&error, libc::EPERM) { Error::NotPermitted } else { Error::Netlink(io(&error)) }
}

/// The kernel's errno. Other errors have texts that are only for programmers.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the other errors belong to requests that are not made here"
)]
fn io(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        rtnetlink::Error::RequestFailed => io::Error::other("the connection is closed"),
        _ => io::Error::other("an answer that was not understood"),
    }
}
