//! The tunnels of a frontend: reads their state, and executes the steps.
//!
//! Touches rtnetlink, `/proc/sys/net/ipv4/conf`, and `nft`.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use netlink_dump::{dump, one};
use netlink_packet_route::link::{
    InfoData, InfoGre, InfoIpTunnel, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

use super::chain::{NftError, nft};
use super::vips::{is, request_error};
use super::{Error, permitted};
use crate::tunnel::{
    Misfit, MssRules, TABLE, TunnelDevice, TunnelKind, TunnelMark, TunnelState, TunnelStep, comment_in,
    removal,
};

/// Where the settings of interfaces are.
const CONF: &str = "/proc/sys/net/ipv4/conf";
/// The MTU of a host whose interfaces are all down: that of Ethernet.
const ETHERNET: u32 = 1500;

/// Why a step about a tunnel failed.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The kernel has no tunnels of this kind.
    #[error(
        "this kernel has no tunnels of the kind `{}` (module `{}`): install the package with the modules of the running kernel, or \
         boot another kernel; a director that forwards by MAC address needs no tunnel", .0.name(), .0.module()
    )]
    Missing(TunnelKind),
    /// The name of the kernel's device belongs to an interface of another kind.
    #[error("`{}` is not a tunnel of the kind `{}`: rename that interface", .0.device(), .0.name())]
    OtherDevice(TunnelKind),
    /// Another error.
    #[error(transparent)]
    Host(#[from] Error),
}

/// Reads the tunnels of the host. `mss` is what the rules are known to be; without it, they are read too.
///
/// # Errors
/// Those of rtnetlink and of `/proc`, and that `nft` needs CAP_NET_ADMIN.
pub async fn observe(handle: &Handle, mss: Option<MssRules>) -> Result<TunnelState, Error> {
    let links = dump(|| handle.link().get()).await.map_err(request_error)?;
    let mut devices = BTreeMap::new();
    let mut mtu = None;
    for link in &links {
        let is_up = link.header.flags.contains(LinkFlags::Up);
        if let Some(kind) = kind_of(link) {
            let rp_filter = read_rp_filter(kind.device())?;
            let mark = alias(link).and_then(TunnelMark::read);
            let misfit = misfit(kind, link);
            devices.insert(kind, TunnelDevice { is_up, mark, rp_filter, misfit });
        }
        if is_up && is_path(link) {
            mtu = mtu_of(link).into_iter().chain(mtu).min();
        }
    }
    let mss = match mss {
        Some(known) => known,
        None => match read_mss().await {
            Ok(mss) => mss,
            // A kernel without nf_tables refuses. Whoever is only late has rules that are not known, and would not be limited.
            Err(Error::Nft(error @ (NftError::Refused(_) | NftError::Io(_)))) => {
                MssRules::Unreadable(error.to_string())
            }
            Err(error) => return Err(error),
        },
    };
    Ok(TunnelState { devices, all_rp_filter: read_rp_filter("all")?, mtu: mtu.unwrap_or(ETHERNET), mss })
}

/// Reads the rules that limit the MSS.
async fn read_mss() -> Result<MssRules, Error> {
    let Some(tables) = nft(&["list", "tables"], "").await? else {
        return Ok(MssRules::Unreadable("`nft` is not installed".into()));
    };
    if !tables.lines().any(|line| line.trim() == format!("table {TABLE}")) {
        return Ok(MssRules::Absent);
    }
    Ok(comment_in(&nft(&["list", "table", "inet", "dsr-setup"], "").await?.unwrap_or_default()))
}

/// Executes one step.
///
/// # Errors
/// See [`TunnelError`].
pub async fn carry_out(handle: &Handle, step: &TunnelStep) -> Result<(), TunnelError> {
    permitted()?;
    match step {
        TunnelStep::Make(kind) => make(handle, *kind).await,
        TunnelStep::Filter { kind, was: _, set } => {
            let was = read_rp_filter(kind.device())?;
            if was == *set {
                return Ok(());
            }
            note(handle, *kind, |mark| TunnelMark { rp_filter: mark.rp_filter.or(Some(was)), ..mark })
                .await?;
            Ok(write_rp_filter(kind.device(), *set)?)
        }
        TunnelStep::Raise(kind) => {
            note(handle, *kind, |mark| TunnelMark { raised: true, ..mark }).await?;
            set(handle, LinkUnspec::new_with_name(kind.device()).up()).await
        }
        TunnelStep::LimitMss(limit) => Ok(nft(&["-f", "-"], &limit.rules()).await.map(drop)?),
        TunnelStep::RemoveMss => Ok(nft(&["-f", "-"], &removal()).await.map(drop)?),
        TunnelStep::Lower(kind) => set(handle, LinkUnspec::new_with_name(kind.device()).down()).await,
        TunnelStep::Unfilter { kind, was } => Ok(write_rp_filter(kind.device(), *was)?),
        TunnelStep::Release(kind) => set(handle, LinkUnspec::new_with_name(kind.device()).alias("")).await,
    }
}

/// Makes the device of a kind. The request lets the kernel load the module, which makes the device itself; then the request fails
/// with EEXIST. Where the kernel makes no such devices (`net.core.fb_tunnels_only_for_init_net`), the request makes it.
async fn make(handle: &Handle, kind: TunnelKind) -> Result<(), TunnelError> {
    let request =
        LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(info(kind)).name(kind.device()).build();
    match handle.link().add(request).execute().await {
        Ok(()) => Ok(()),
        Err(error) if is(&error, libc::EEXIST) => match get(handle, kind).await? {
            Some(link) if kind_of(&link) == Some(kind) => Ok(()),
            Some(_) | None => Err(TunnelError::OtherDevice(kind)),
        },
        Err(error) if is(&error, libc::EOPNOTSUPP) => Err(TunnelError::Missing(kind)),
        Err(error) => Err(request_error(error).into()),
    }
}

/// Changes what the alias of a device says.
async fn note(
    handle: &Handle,
    kind: TunnelKind,
    change: impl FnOnce(TunnelMark) -> TunnelMark,
) -> Result<(), TunnelError> {
    let link = get(handle, kind).await?;
    let mark = link.as_ref().and_then(alias).and_then(TunnelMark::read).unwrap_or_default();
    set(handle, LinkUnspec::new_with_name(kind.device()).alias(change(mark).write())).await
}

async fn set(handle: &Handle, change: LinkMessageBuilder<LinkUnspec>) -> Result<(), TunnelError> {
    Ok(handle.link().set(change.build()).execute().await.map_err(request_error)?)
}

/// The device with the name of a kind's; `None` if there is none.
async fn get(handle: &Handle, kind: TunnelKind) -> Result<Option<LinkMessage>, Error> {
    match one(handle.link().get().match_name(kind.device().to_owned())).await {
        Ok(link) => Ok(link),
        Err(error) if is(&error, libc::ENODEV) => Ok(None),
        Err(error) => Err(request_error(error)),
    }
}

/// The kind whose device this is.
#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn kind_of(link: &LinkMessage) -> Option<TunnelKind> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    });
    let kind = TunnelKind::ALL.into_iter().find(|kind| Some(kind.device()) == name)?;
    (link.header.link_layer_type == layer(kind)).then_some(kind)
}

/// Why packets of the kind do not come out of its device. The kernel's own devices have no other end and no protocol, unless another
/// program has set one.
#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn misfit(kind: TunnelKind, link: &LinkMessage) -> Option<Misfit> {
    let (mut remote, mut mode) = (None, None);
    for info in link.attributes.iter().flat_map(infos) {
        match info {
            LinkInfo::Data(InfoData::IpTunnel(data)) => {
                for one in data {
                    match one {
                        InfoIpTunnel::Remote(address) => remote = Some(*address),
                        InfoIpTunnel::Protocol(protocol) => mode = Some(u8::from(*protocol)),
                        _ => {}
                    }
                }
            }
            LinkInfo::Data(InfoData::GreTun(data)) => {
                remote = data.iter().find_map(|one| match one {
                    InfoGre::Remote(address) => Some(IpAddr::from(*address)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let other_mode = mode.filter(|mode| *mode != 0 && kind.protocol().is_some_and(|own| own != *mode));
    let remote = remote.filter(|remote| !remote.is_unspecified());
    remote.map(Misfit::Remote).or(other_mode.map(Misfit::Mode))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn infos(attribute: &LinkAttribute) -> &[LinkInfo] {
    match attribute {
        LinkAttribute::LinkInfo(infos) => infos,
        _ => &[],
    }
}

/// Whether packets of a tunnel can arrive on this interface: neither `lo` nor a tunnel.
fn is_path(link: &LinkMessage) -> bool {
    let layers = TunnelKind::ALL.map(layer);
    !link.header.flags.contains(LinkFlags::Loopback) && !layers.contains(&link.header.link_layer_type)
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn mtu_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "netlink's own enums grow")]
fn alias(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    })
}

/// What the kernel calls a kind.
fn info(kind: TunnelKind) -> InfoKind {
    match kind {
        TunnelKind::Ipip => InfoKind::IpIp,
        TunnelKind::Sit => InfoKind::SitTun,
        TunnelKind::Ip6ip6 => InfoKind::Ip6Tnl,
        TunnelKind::Gre => InfoKind::GreTun,
    }
}

/// The type of the device in `if_arp.h`. The kernel's own devices of some kinds have no IFLA_INFO_KIND that says more.
fn layer(kind: TunnelKind) -> LinkLayerType {
    match kind {
        TunnelKind::Ipip => LinkLayerType::Tunnel,
        TunnelKind::Sit => LinkLayerType::Sit,
        TunnelKind::Ip6ip6 => LinkLayerType::Tunnel6,
        TunnelKind::Gre => LinkLayerType::Ipgre,
    }
}

fn read_rp_filter(interface: &str) -> Result<i32, Error> {
    let path = format!("{CONF}/{interface}/rp_filter");
    let text = std::fs::read_to_string(&path).and_then(|text| text.trim().parse().map_err(io::Error::other));
    text.map_err(|error| Error::Proc { path, error })
}

fn write_rp_filter(interface: &str, value: i32) -> Result<(), Error> {
    super::sysctl::write_file(format!("{CONF}/{interface}/rp_filter"), value)
}
