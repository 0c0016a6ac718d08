//! Computes the steps from the current state of the host to the wanted one.
//!
//! Pure. The order is part of the plan: the ARP settings are set before the first VIP is added, and restored only after the last
//! one is removed, so that no neighbour ever learns a VIP from this host. An address of another program on `lo` counts as present
//! and is never removed. `lo` itself stays up, because other programs need it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

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
    /// Whether it is link-local.
    pub link_local: bool,
    /// Whether the kernel may use it yet: duplicate address detection has ended without a duplicate.
    pub usable: bool,
}

/// `lo` as read from the kernel, and the addresses of the other interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loopback {
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

/// The two settings with which the host does not answer ARP for addresses on `lo` and does not announce them
/// (`Documentation/networking/ip-sysctl.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArpSetting {
    /// For which addresses a host answers ARP requests.
    ArpIgnore,
    /// Which source address its own ARP requests carry.
    ArpAnnounce,
}

impl ArpSetting {
    /// Both of them.
    pub const ALL: [ArpSetting; 2] = [ArpSetting::ArpIgnore, ArpSetting::ArpAnnounce];

    /// Its file's name.
    pub fn name(self) -> &'static str {
        match self {
            ArpSetting::ArpIgnore => "arp_ignore",
            ArpSetting::ArpAnnounce => "arp_announce",
        }
    }

    /// The value that is set if the current one is not sufficient.
    pub fn target(self) -> i32 {
        match self {
            ArpSetting::ArpIgnore => 1,
            ArpSetting::ArpAnnounce => 2,
        }
    }

    /// Whether this value hides the VIPs. `arp_ignore` 2 and 8 are stricter than 1; 3 answers for `lo`, and the kernel treats every
    /// other number as 0.
    fn hides(self, value: i32) -> bool {
        match self {
            ArpSetting::ArpIgnore => matches!(value, 1 | 2 | 8),
            ArpSetting::ArpAnnounce => value == 2,
        }
    }
}

/// One setting of one interface, or of `all` or `default`. Displays as sysctl(8) writes it, where a dot in an
/// interface's name is a slash: `net.ipv4.conf.eth0/100.arp_ignore`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl {
    /// The folder under `/proc/sys/net/ipv4/conf`.
    pub interface: String,
    /// The file in it.
    pub knob: ArpSetting,
}

impl Sysctl {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Sysctl> {
        let (interface, name) = text.strip_prefix("net.ipv4.conf.")?.rsplit_once('.')?;
        let knob = ArpSetting::ALL.into_iter().find(|knob| knob.name() == name)?;
        let interface = interface.replace('/', ".");
        let is_folder_name = !interface.is_empty() && interface != "." && interface != "..";
        is_folder_name.then_some(Sysctl { interface, knob })
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net.ipv4.conf.{}.{}", self.interface.replace('.', "/"), self.knob.name())
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
    /// Both settings of `all`, `default` and every interface.
    pub sysctls: BTreeMap<Sysctl, i32>,
    /// The changes since boot according to the state file.
    pub changes: BTreeMap<Sysctl, Change>,
    /// Why the state file could not be used, if it could not. Then changes cannot be undone, but nothing else fails.
    pub record_error: Option<String>,
}

/// The host as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DesiredState {
    /// These VIPs are on `lo`, and the ARP settings are set. Other VIPs of ours stay: a list that is too short by mistake must not
    /// remove an announced VIP.
    Present(BTreeSet<IpAddr>),
    /// These VIPs are not on `lo`, if they are ours; the ARP settings stay as they are.
    Absent(BTreeSet<IpAddr>),
    /// Nothing of ours is left.
    Clean,
}

/// One step. Its `Display` is the line that `plan` and `apply` print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Set `lo` up.
    RaiseLo,
    /// Add a VIP to `lo`, and mark it as ours.
    Add(IpAddr),
    /// Remove an address of ours from `lo`.
    Remove(IpNet),
    /// Write a setting and record the old value.
    Set {
        /// Which one.
        sysctl: Sysctl,
        /// Its current value and its next one.
        change: Change,
    },
    /// Write back the old value of a setting, and remove the record.
    Restore {
        /// Which one.
        sysctl: Sysctl,
        /// The change that is undone.
        change: Change,
    },
    /// Another program has changed a setting after us, or its interface no longer exists: remove the record and change nothing.
    Leave {
        /// Which one.
        sysctl: Sysctl,
        /// The change that is recorded.
        change: Change,
        /// Its current value; `None`: the interface no longer exists.
        now: Option<i32>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::RaiseLo => write!(f, "set lo up"),
            Step::Add(vip) => write!(f, "add {} to lo", IpNet::from(*vip)),
            Step::Remove(net) => write!(f, "remove {net} from lo"),
            Step::Set { sysctl, change } => write!(f, "set {sysctl} = {} (was {})", change.set, change.was),
            Step::Restore { sysctl, change } => {
                write!(f, "set {sysctl} = {} (was {})", change.was, change.set)
            }
            Step::Leave { sysctl, change, now: Some(now) } => {
                write!(f, "leave {sysctl} = {now} (no longer the {} that was set)", change.set)
            }
            Step::Leave { sysctl, change: _, now: None } => write!(f, "forget {sysctl} (no longer there)"),
        }
    }
}

/// The steps from `observed` to `desired`, in the order in which they are to be done. Empty: nothing to do.
#[must_use]
pub fn plan(observed: &HostState, desired: &DesiredState) -> Vec<Step> {
    match desired {
        DesiredState::Present(vips) => {
            let raise = (observed.lo.link == Link::Down).then_some(Step::RaiseLo);
            let add = vips.iter().filter(|vip| !observed.lo.holds(**vip)).map(|vip| Step::Add(*vip));
            raise.into_iter().chain(quiet(&observed.sysctls)).chain(add).collect()
        }
        DesiredState::Absent(vips) => {
            observed.lo.ours().filter(|net| vips.contains(&net.addr())).map(Step::Remove).collect()
        }
        DesiredState::Clean => {
            let remove = observed.lo.ours().map(Step::Remove);
            let undo = observed.changes.iter().map(|(sysctl, change)| undo(observed, sysctl, *change));
            remove.chain(undo).collect()
        }
    }
}

/// The VIPs of a running daemon that these steps affect: VIPs that are removed, which the daemon would put back, and all VIPs if
/// the ARP settings are restored.
#[must_use]
pub fn in_use(steps: &[Step], held: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let touches = |vip: &IpAddr, step: &Step| match step {
        Step::Remove(net) => net.addr() == *vip,
        Step::Restore { .. } => true,
        Step::RaiseLo | Step::Add(_) | Step::Set { .. } | Step::Leave { .. } => false,
    };
    held.iter().filter(|vip| steps.iter().any(|step| touches(vip, step))).copied().collect()
}

/// The settings with which an existing interface answers ARP for addresses on `lo`, or announces them.
pub fn answering(sysctls: &BTreeMap<Sysctl, i32>) -> BTreeMap<Sysctl, i32> {
    let interfaces =
        sysctls.iter().filter(|(sysctl, _)| !matches!(sysctl.interface.as_str(), "all" | "default" | "lo"));
    let decides = interfaces.filter_map(|(sysctl, &own)| {
        let all = Sysctl { interface: "all".into(), knob: sysctl.knob };
        let of_all = sysctls.get(&all).copied().unwrap_or(0);
        let decisive = if own > of_all { (sysctl.clone(), own) } else { (all, of_all) };
        (!sysctl.knob.hides(decisive.1)).then_some(decisive)
    });
    decides.collect()
}

fn quiet(sysctls: &BTreeMap<Sysctl, i32>) -> impl Iterator<Item = Step> {
    sysctls.iter().filter(|(sysctl, now)| !hides(sysctls, sysctl, **now)).map(|(sysctl, was)| {
        let set = sysctl.knob.target();
        Step::Set { sysctl: sysctl.clone(), change: Change { was: *was, set } }
    })
}

/// Whether a setting hides the VIPs, after `all` was set if necessary.
///
/// For both settings the kernel takes the larger of `all` and the interface's own. So `all` is enough, except for an interface
/// whose own value is larger and answers.
fn hides(sysctls: &BTreeMap<Sysctl, i32>, sysctl: &Sysctl, now: i32) -> bool {
    let knob = sysctl.knob;
    let all = sysctls.get(&Sysctl { interface: "all".into(), knob }).copied().unwrap_or(0);
    let all = if knob.hides(all) { all } else { knob.target() };
    match sysctl.interface.as_str() {
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
