//! Computes the steps from the current state of the host to the wanted one.
//!
//! Pure. The order is part of the plan: the ARP settings are set before `lo` is set up and before the first VIP is added, and restored
//! only after the last one is removed, so that no neighbour ever learns a VIP from this host. A VIP of ours that differs from what is
//! added here is corrected. An address of another program counts as present and is never changed or removed; [`warning`] says what is
//! wrong with it. `lo` itself stays up, because other programs need it.
//!
//! The VIPs may be on another device than `lo`: a dummy interface, or a VRF, which is the loopback of its routing domain.
//!
//! [`warning`]: crate::warning

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

pub use self::chain::{ChainRules, DEVICE, Forwarding, Table, tables};
pub use self::path::{Interface, InterfaceKind, is_strict};
pub use self::step::Step;
pub use self::sysctl::{ArpSetting, PathSetting, Sysctl};

mod chain;
mod path;
mod step;
mod sysctl;
mod vip;

/// The longest label, in octets, that the kernel stores (IFNAMSIZ).
const LONGEST_LABEL: usize = 15;

/// The label of an IPv4 VIP that is ours: that of the device, as in `lo:vip`, as far as it has room. IPv6 addresses have no labels.
#[must_use]
pub fn label(device: &str) -> String {
    let label = format!("{device}:vip");
    if label.len() > LONGEST_LABEL { device.to_owned() } else { label }
}

/// Who put an address on `lo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The daemon or `dsr-setup`.
    Ours,
    /// Another program: never removed.
    Foreign,
}

/// Whether `lo` is up. In a new network namespace it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Its addresses answer.
    Up,
    /// Its addresses do not answer.
    Down,
}

/// One address on `lo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoAddress {
    /// The address, with the prefix length it was added with.
    pub net: IpNet,
    /// Who added it.
    pub owner: Owner,
    /// How it differs from a VIP that is added here.
    pub differences: BTreeSet<Difference>,
}

/// A difference between an address on `lo` and a VIP that is added here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The host may choose it as the source of its packets: IPv4 scope global, or an IPv6 preferred lifetime.
    Source,
    /// It is subject to duplicate address detection, or has a route for its prefix (IPv6).
    Flags,
    /// Its lifetime ends, and then the kernel removes it.
    Ends,
    /// It does not have our mark, on a kernel that stores marks.
    Mark,
    /// It does not have our label (IPv4).
    Label,
}

/// Whether the kernel stores a mark that says which program added an address (IFA_PROTO, Linux 5.18). It does if any address has
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkSupport {
    /// The mark says which addresses are ours.
    Kept,
    /// The state file says which addresses are ours.
    NotKept,
}

/// An address of another interface than `lo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherAddress {
    /// The address, with its prefix length.
    pub net: IpNet,
    /// The name of its interface; `interface 7` if the name was not needed.
    pub interface: String,
    /// The index of its interface.
    pub index: u32,
    /// Who added it. Without [`MarkSupport::Kept`] it counts as foreign.
    pub owner: Owner,
    /// Whether it is link-local.
    pub link_local: bool,
    /// Whether the kernel may use it yet: duplicate address detection has ended without a duplicate.
    pub usable: bool,
}

/// `lo`, or the other device of the VIPs, as read from the kernel, and the addresses of the other interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loopback {
    /// Its name: `lo`, unless the VIPs are on another device.
    pub device: String,
    /// Up or down.
    pub link: Link,
    /// Whether the kernel keeps marks.
    pub marks: MarkSupport,
    /// Every address on it, 127.0.0.1 and ::1 too.
    pub addresses: Vec<LoAddress>,
    /// Every address on another interface.
    pub elsewhere: Vec<OtherAddress>,
}

impl Loopback {
    /// Whether `vip` is on `lo`, for every owner.
    pub fn holds(&self, vip: IpAddr) -> bool {
        self.addresses.iter().any(|on_lo| on_lo.net.addr() == vip)
    }

    /// The addresses that are ours.
    pub fn ours(&self) -> impl Iterator<Item = IpNet> {
        self.addresses.iter().filter(|on_lo| on_lo.owner == Owner::Ours).map(|on_lo| on_lo.net)
    }
}

/// A setting that was changed here: its old value, and the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The value that was found.
    pub was: i32,
    /// The value that was written.
    pub set: i32,
}

/// The host as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// The loopback interface.
    pub lo: Loopback,
    /// The settings of `all`, `default` and every interface, and the setting of the chain.
    pub sysctls: BTreeMap<Sysctl, i32>,
    /// The changes since boot according to the state file.
    pub changes: BTreeMap<Sysctl, Change>,
    /// Why the state file could not be used, if it could not. Then changes cannot be undone, but nothing else fails.
    pub record_error: Option<String>,
    /// What the daemon's `[chain]` has left. It is read only before [`DesiredState::Clean`].
    pub chain: ChainRules,
    /// Every interface, also `lo`.
    pub interfaces: Vec<Interface>,
}

/// The host as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DesiredState {
    /// These VIPs are on `lo`, the ARP settings are set, and the setting of the chain is, if it forwards packets. Other VIPs of ours
    /// stay: a list that is too short by mistake must not remove an announced VIP. The setting of a chain that is gone stays, too.
    Present(BTreeSet<IpAddr>, Forwarding),
    /// These VIPs are not on `lo`, if they are ours; the ARP settings stay as they are.
    Absent(BTreeSet<IpAddr>),
    /// Nothing of ours is left.
    Clean,
}

/// The steps from `observed` to `desired`, in the order in which they are to be done. Empty: nothing to do.
#[must_use]
pub fn plan(observed: &HostState, desired: &DesiredState) -> Vec<Step> {
    match desired {
        DesiredState::Present(vips, forwarding) => {
            let settings = quiet(&observed.sysctls)
                .chain(path::open(observed, vips))
                .chain(chain::accept_marks(&observed.sysctls, *forwarding));
            let raise = (observed.lo.link == Link::Down).then_some(Step::RaiseLo);
            let put = vips.iter().flat_map(|vip| vip::put(&observed.lo, *vip));
            // A VIP of ours on another interface is removed only after it is on the right one.
            let elsewhere = vip::ours_elsewhere(&observed.lo, |vip| vips.contains(&vip));
            settings.chain(raise).chain(put).chain(elsewhere).collect()
        }
        DesiredState::Absent(vips) => {
            let on_lo = observed.lo.ours().filter(|net| vips.contains(&net.addr())).map(Step::Remove);
            on_lo.chain(vip::ours_elsewhere(&observed.lo, |vip| vips.contains(&vip))).collect()
        }
        DesiredState::Clean => {
            let remove =
                observed.lo.ours().map(Step::Remove).chain(vip::ours_elsewhere(&observed.lo, |_| true));
            let undo = observed.changes.iter().map(|(sysctl, change)| undo(observed, sysctl, *change));
            chain::remove(&observed.chain).chain(remove).chain(undo).collect()
        }
    }
}

/// The VIPs of a running daemon that these steps affect: VIPs that are removed, which the daemon would put back, and all VIPs if
/// settings are restored, or if the rules or the device of the chain are removed, which the daemon would make again.
#[must_use]
pub fn in_use(steps: &[Step], held: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let touches = |vip: &IpAddr, step: &Step| match step {
        Step::Remove(net) | Step::RemoveElsewhere { net, .. } => net.addr() == *vip,
        Step::Restore { .. } | Step::RemoveTable(_) | Step::RemoveDevice(_) => true,
        Step::RaiseLo | Step::Add(_) | Step::Replace { .. } | Step::Mend { .. } => false,
        Step::Set { .. } | Step::Leave { .. } => false,
    };
    held.iter().filter(|vip| steps.iter().any(|step| touches(vip, step))).copied().collect()
}

/// The settings with which an existing interface answers ARP for addresses on `lo`, or announces them.
pub fn answering(sysctls: &BTreeMap<Sysctl, i32>) -> BTreeMap<Sysctl, i32> {
    let decides = sysctls.iter().filter_map(|(sysctl, &own)| {
        let (interface, knob) = sysctl.arp()?;
        let is_interface = !matches!(interface, "all" | "default" | "lo");
        let all = Sysctl::of_all(knob);
        let of_all = sysctls.get(&all).copied().unwrap_or(0);
        let decisive = if own > of_all { (sysctl.clone(), own) } else { (all, of_all) };
        (is_interface && !knob.hides(decisive.1)).then_some(decisive)
    });
    decides.collect()
}

fn quiet(sysctls: &BTreeMap<Sysctl, i32>) -> impl Iterator<Item = Step> {
    sysctls.iter().filter_map(|(sysctl, was)| {
        let (interface, knob) = sysctl.arp()?;
        let change = Change { was: *was, set: knob.target() };
        (!hides(sysctls, interface, knob, *was)).then(|| Step::Set { sysctl: sysctl.clone(), change })
    })
}

/// Whether a setting hides the VIPs, after `all` was set if necessary.
///
/// For both settings the kernel takes the larger of `all` and the interface's own. So `all` is enough, except for an interface
/// whose own value is larger and answers.
fn hides(sysctls: &BTreeMap<Sysctl, i32>, interface: &str, knob: ArpSetting, now: i32) -> bool {
    let all = sysctls.get(&Sysctl::of_all(knob)).copied().unwrap_or(0);
    let all = if knob.hides(all) { all } else { knob.target() };
    match interface {
        "all" => knob.hides(now),
        "lo" => true, // lo has no ARP
        _interface => knob.hides(now.max(all)),
    }
}

fn undo(observed: &HostState, sysctl: &Sysctl, change: Change) -> Step {
    let now = observed.sysctls.get(sysctl).copied();
    let sysctl = sysctl.clone();
    if now == Some(change.set) {
        Step::Restore { sysctl, change }
    } else {
        Step::Leave { sysctl, change, now }
    }
}

#[cfg(test)]
mod tests;
