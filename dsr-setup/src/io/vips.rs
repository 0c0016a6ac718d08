//! The VIPs on `lo`.
//!
//! Touches rtnetlink. A VIP of ours bears IFA_PROTO 0xB6; where the kernel does not keep that mark (before 5.18) the
//! state file says whose it is. How a VIP is added:
//!
//! - IPv4: /32, label `lo:vip`, scope link. With scope global the kernel takes an address on `lo` as the source of
//!   whatever leaves through an interface that has none of its own, and the answers go to another frontend.
//! - IPv6: /128, preferred lifetime 0 (never chosen as a source, RFC 6724 rule 3), no duplicate address detection
//!   (every frontend has the same VIP), no route for the prefix.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::link::LinkFlags;
use netlink_packet_route::route::RouteType;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::Error;
use super::store::Store;
use crate::plan::{Link, Loopback, OnLo, Owner};
use crate::record::Record;

/// IFA_PROTO of every address that is ours.
pub const PROTOCOL: u8 = 0xB6;
/// The kernel gives `lo` this index in every network namespace.
pub(super) const LO: u32 = 1;
const ROUTE_PATIENCE: Duration = Duration::from_secs(1);
const ROUTE_POLL: Duration = Duration::from_millis(1);
const LABEL: &str = "lo:vip";

/// The VIPs on `lo` of this network namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vips {
    handle: Handle,
    store: Store,
}

/// What [`Vips::ensure`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was not there, and now is, as ours.
    Added,
    /// It was there and was left as it is, whoever owns it.
    AlreadyThere,
}

/// What [`Vips::remove_if_ours`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It was ours, and is gone.
    Removed,
    /// It is on `lo` and somebody else's: it stays.
    Foreign,
    /// It was not there.
    Absent,
}

/// Opens a netlink connection. The future carries its messages and must be polled (spawned) for as long as the
/// [`Vips`] are in use; it ends when the last clone is dropped.
pub fn connect(store: Store) -> Result<(impl Future<Output = ()> + Send + 'static, Vips), Error> {
    let (connection, handle, _unasked) = rtnetlink::new_connection().map_err(Error::Netlink)?;
    Ok((connection, Vips { handle, store }))
}

impl Vips {
    /// `lo` and every address on it.
    pub async fn observe(&self) -> Result<Loopback, Error> {
        let record = self.store.load()?;
        let addresses = self.dump().await?;
        let addresses = addresses.iter().filter_map(|message| {
            let net = net(message)?;
            Some(OnLo { net, owner: owner(message, net.addr(), &record) })
        });
        Ok(Loopback { link: self.link().await?, addresses: addresses.collect() })
    }

    /// The VIPs on `lo` that are ours, whoever of the daemon and `dsr-setup` added them, and when.
    pub async fn ours(&self) -> Result<Vec<IpAddr>, Error> {
        Ok(self.observe().await?.ours().map(|net| net.addr()).collect())
    }

    /// Sets `lo` up; harmless if it is.
    pub async fn raise_lo(&self) -> Result<(), Error> {
        let up = LinkUnspec::new_with_index(LO).up().build();
        self.handle.link().set(up).execute().await.map_err(refused)
    }

    /// Puts `vip` on `lo` unless it is there. When it returns, and `lo` is up, the host answers for the VIP.
    pub async fn ensure(&self, vip: IpAddr) -> Result<Ensured, Error> {
        let lo = self.observe().await?;
        if lo.holds(vip) {
            return Ok(Ensured::AlreadyThere);
        }
        let mut request = self.handle.address().add(LO, vip, IpNet::from(vip).prefix_len());
        mark(request.message_mut(), vip);
        match request.execute().await {
            Ok(()) => {}
            Err(error) if is(&error, libc::EEXIST) => return Ok(Ensured::AlreadyThere),
            Err(error) if vip.is_ipv6() && NO_IPV6.iter().any(|code| is(&error, *code)) => {
                return Err(Error::Ipv6Disabled);
            }
            Err(error) => return Err(refused(error)),
        }
        self.own(vip).await?;
        if vip.is_ipv6() && lo.link == Link::Up {
            // Should the kernel be slower still, the VIP is there all the same, and a probe will tell.
            let _ = tokio::time::timeout(ROUTE_PATIENCE, self.local(vip)).await;
        }
        Ok(Ensured::Added)
    }

    /// Waits until `vip` is routed to this host itself. For IPv6 the kernel inserts that route a moment after it has
    /// said that the address is there; until then a probe of the VIP would leave the host by the default route, and
    /// another frontend might answer it.
    async fn local(&self, vip: IpAddr) {
        loop {
            let to_vip =
                RouteMessageBuilder::<IpAddr>::new().destination_prefix(vip, IpNet::from(vip).prefix_len());
            if let Ok(to_vip) = to_vip {
                let route = self.handle.route().get(to_vip.build()).execute().try_next().await;
                if route.is_ok_and(|route| route.is_some_and(|route| route.header.kind == RouteType::Local)) {
                    return;
                }
            }
            tokio::time::sleep(ROUTE_POLL).await;
        }
    }

    /// Removes `vip` from `lo` if it is ours.
    pub async fn remove_if_ours(&self, vip: IpAddr) -> Result<Removed, Error> {
        let record = self.store.load()?;
        let mut found = Removed::Absent;
        for message in self.dump().await?.into_iter().filter(|message| holds(message, vip)) {
            match owner(&message, vip, &record) {
                Owner::Ours => {
                    match self.handle.address().del(message).execute().await {
                        Ok(()) => {}
                        Err(error) if is(&error, libc::EADDRNOTAVAIL) => {}
                        Err(error) => return Err(refused(error)),
                    }
                    found = Removed::Removed;
                }
                Owner::Foreign if found == Removed::Absent => found = Removed::Foreign,
                Owner::Foreign => {}
            }
        }
        if record.addresses.contains(&vip) {
            self.store.update(|record| record.addresses.remove(&vip))?;
        }
        Ok(found)
    }

    /// Records an address that was just added, if the kernel did not keep its mark. If that fails the address goes
    /// again: an address that nobody owns would stay for ever.
    async fn own(&self, vip: IpAddr) -> Result<(), Error> {
        let Some(message) = self.dump().await?.into_iter().find(|message| holds(message, vip)) else {
            return Ok(());
        };
        if protocol(&message).is_some() {
            return Ok(());
        }
        if let Err(error) = self.store.update(|record| record.addresses.insert(vip)) {
            let _ = self.handle.address().del(message).execute().await;
            return Err(error.into());
        }
        Ok(())
    }

    async fn dump(&self) -> Result<Vec<AddressMessage>, Error> {
        let all = self.handle.address().get().execute().try_collect::<Vec<_>>().await.map_err(refused)?;
        Ok(all.into_iter().filter(|message| message.header.index == LO).collect())
    }

    async fn link(&self) -> Result<Link, Error> {
        let mut links = self.handle.link().get().match_index(LO).execute();
        let lo = links.try_next().await.map_err(refused)?;
        let is_up = lo.is_some_and(|lo| lo.header.flags.contains(LinkFlags::Up));
        Ok(if is_up { Link::Up } else { Link::Down })
    }
}

/// Makes the message one of ours.
fn mark(message: &mut AddressMessage, vip: IpAddr) {
    match vip {
        IpAddr::V4(_) => {
            message.header.scope = AddressScope::Link;
            message.attributes.push(AddressAttribute::Label(LABEL.into()));
        }
        IpAddr::V6(_) => {
            let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = 0;
            lifetime.ifa_valid = u32::MAX; // for ever
            message.attributes.push(AddressAttribute::Flags(flags));
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
    }
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
}

/// The mark decides where there is one; else the record does.
fn owner(message: &AddressMessage, vip: IpAddr, record: &Record) -> Owner {
    let is_ours = match protocol(message) {
        Some(protocol) => protocol == PROTOCOL,
        None => record.addresses.contains(&vip),
    };
    if is_ours { Owner::Ours } else { Owner::Foreign }
}

#[allow(clippy::wildcard_enum_match_arm)] // netlink's own enums grow
fn protocol(message: &AddressMessage) -> Option<u8> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    })
}

/// IFA_LOCAL is the address itself and IFA_ADDRESS the other end, where there is one; IPv6 sends IFA_ADDRESS alone.
#[allow(clippy::wildcard_enum_match_arm)] // netlink's own enums grow
pub(super) fn net(message: &AddressMessage) -> Option<IpNet> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => address = Some(*found),
            _ => {}
        }
    }
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

fn holds(message: &AddressMessage, vip: IpAddr) -> bool {
    net(message).is_some_and(|net| net.addr() == vip)
}

/// How the kernel refuses an IPv6 address where IPv6 is switched off: by sysctl, or for the whole kernel.
const NO_IPV6: [i32; 3] = [libc::EACCES, libc::EOPNOTSUPP, libc::EAFNOSUPPORT];

fn is(error: &rtnetlink::Error, code: i32) -> bool {
    io(error).raw_os_error() == Some(code)
}

fn refused(error: rtnetlink::Error) -> Error {
    if is(&error, libc::EPERM) { Error::NotPermitted } else { Error::Netlink(io(&error)) }
}

/// The kernel's errno. Other errors would show their innards to people.
#[allow(clippy::wildcard_enum_match_arm)] // requests that are not made here fail in more ways
fn io(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        rtnetlink::Error::RequestFailed => io::Error::other("the connection is closed"),
        _ => io::Error::other("an answer that was not understood"),
    }
}
