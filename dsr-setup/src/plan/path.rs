//! The settings of the interfaces by which packets for the VIPs arrive.
//!
//! Pure. `rp_filter` 1 (strict, RFC 3704) drops a packet if the reply to its source would leave by another interface. With DSR the
//! replies leave by the default route, and the requests come from wherever the director or the router is. So an interface with a strict
//! filter and without a default route gets 2 (loose), as long as another interface has the default route. Every other value stays.
//!
//! `accept_local` is needed only in a VRF: a request of this host itself, from outside the VRF, arrives there by the network with an
//! address of this host as its source, and the kernel drops such packets by default.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Change, HostState, PathSetting, Step, Sysctl};

/// An interface of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub is_up: bool,
    /// What it is, as far as it matters here.
    pub kind: InterfaceKind,
    /// Whether an IPv4 default route of any routing table leads through it. It is read only if a filter is strict.
    pub has_default_route: bool,
}

/// What an interface is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A loopback.
    Loopback,
    /// A dummy.
    Dummy,
    /// A VRF.
    Vrf,
    /// It receives packets itself.
    Plain,
    /// A port of a VRF, which has this index. It receives packets itself.
    VrfPort(u32),
    /// A port of a bridge or of a bond, which receives the packets.
    Port,
}

/// The steps after which packets for these VIPs are not dropped where they arrive.
pub(super) fn open<'a>(
    host: &'a HostState,
    vips: &'a std::collections::BTreeSet<IpAddr>,
) -> impl Iterator<Item = Step> + 'a {
    let has_v4 = vips.iter().any(IpAddr::is_ipv4);
    host.interfaces.iter().filter(move |interface| has_v4 && receives(interface)).flat_map(|interface| {
        let needs_loose = is_strict(&host.sysctls, &interface.name)
            && !interface.has_default_route
            && host.interfaces.iter().any(|other| other.has_default_route);
        let needs_local = in_vrf_of_vips(host, interface);
        [(needs_loose, PathSetting::RpFilter), (needs_local, PathSetting::AcceptLocal)]
            .into_iter()
            .filter_map(|(is_needed, knob)| is_needed.then(|| set(host, interface, knob)).flatten())
    })
}

/// Whether packets for a VIP may arrive by it.
fn receives(interface: &Interface) -> bool {
    interface.is_up
        && match interface.kind {
            InterfaceKind::Plain | InterfaceKind::VrfPort(_) => true,
            InterfaceKind::Loopback | InterfaceKind::Dummy | InterfaceKind::Vrf | InterfaceKind::Port => {
                false
            }
        }
}

/// Whether it is a port of the VRF that has the VIPs.
fn in_vrf_of_vips(host: &HostState, interface: &Interface) -> bool {
    let InterfaceKind::VrfPort(vrf) = interface.kind else { return false };
    host.interfaces.iter().any(|device| device.index == vrf && device.name == host.lo.device)
}

/// Whether the filter of an interface is strict. The kernel takes the larger one of `all` and its own.
pub fn is_strict(sysctls: &BTreeMap<Sysctl, i32>, interface: &str) -> bool {
    let value = |name: &str| {
        let sysctl = Sysctl::Path { interface: name.into(), knob: PathSetting::RpFilter };
        sysctls.get(&sysctl).copied().unwrap_or(0)
    };
    value("all").max(value(interface)) == 1
}

/// The step that sets a setting of an interface, unless it is so already. `accept_local` holds if `all` or the interface has it.
fn set(host: &HostState, interface: &Interface, knob: PathSetting) -> Option<Step> {
    let sysctl = Sysctl::Path { interface: interface.name.clone(), knob };
    let was = *host.sysctls.get(&sysctl)?;
    let all = host.sysctls.get(&Sysctl::Path { interface: "all".into(), knob }).copied().unwrap_or(0);
    let is_set = match knob {
        PathSetting::RpFilter => was.max(all) != 1,
        PathSetting::AcceptLocal => was != 0 || all != 0,
    };
    (!is_set).then_some(Step::Set { sysctl, change: Change { was, set: knob.target() } })
}
