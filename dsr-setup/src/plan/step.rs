//! One step, and its sentences: what is done, what was wrong before, and why.
//!
//! Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{ArpSetting, Change, Difference, PathSetting, Sysctl, Table, chain};

/// One step. [`Step::on`] is the line that `plan` and `apply` print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Set `lo`, or the other device of the VIPs, up.
    RaiseLo,
    /// Add a VIP to `lo`, and mark it as ours.
    Add(IpAddr),
    /// Add a VIP in the place of an address of ours that cannot be corrected: one with another prefix length, scope or label.
    Replace {
        /// The address that is there.
        net: IpNet,
        /// How it differs, besides its prefix length.
        differences: BTreeSet<Difference>,
    },
    /// Restore the flags and the lifetimes of a VIP of ours.
    Mend {
        /// Which one.
        vip: IpAddr,
        /// How it differs.
        differences: BTreeSet<Difference>,
    },
    /// Remove an address of ours from `lo`.
    Remove(IpNet),
    /// Remove an address of ours from another interface than that of the VIPs.
    RemoveElsewhere {
        /// The address.
        net: IpNet,
        /// The name of the interface, or `interface 7`.
        interface: String,
        /// The index of the interface.
        index: u32,
    },
    /// Remove a table of the daemon's rules.
    RemoveTable(Table),
    /// Remove the daemon's VXLAN device, which has this index.
    RemoveDevice(u32),
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

impl Step {
    /// The line about this step, in which `device` has the VIPs.
    #[must_use]
    pub fn on<'a>(&'a self, device: &'a str) -> StepLine<'a> {
        StepLine { step: self, device }
    }

    /// The VIP that it puts on the device or corrects there.
    #[must_use]
    pub fn vip(&self) -> Option<IpAddr> {
        match self {
            Step::Add(vip) | Step::Mend { vip, .. } => Some(*vip),
            Step::Replace { net, .. } => Some(net.addr()),
            Step::RaiseLo
            | Step::Remove(_)
            | Step::RemoveElsewhere { .. }
            | Step::RemoveTable(_)
            | Step::RemoveDevice(_)
            | Step::Set { .. }
            | Step::Restore { .. }
            | Step::Leave { .. } => None,
        }
    }

    /// What was wrong before this step, as a sentence without a full stop. `is` is the verb in its tense, `is` or `was`.
    #[must_use]
    pub fn drift(&self, device: &str, is: &str) -> String {
        match self {
            Step::RaiseLo => format!("{device} {is} down, so that no address on it answers"),
            Step::Add(vip) => format!("{} {is} not on {device}", IpNet::from(*vip)),
            Step::Replace { net, differences } => {
                format!("{net} {is} on {device} {}", how(*net, differences))
            }
            Step::Mend { vip, differences } => {
                let net = IpNet::from(*vip);
                format!("{net} {is} on {device} {}", how(net, differences))
            }
            Step::RemoveElsewhere { net, interface, .. } => {
                format!("{net} {is} also on {interface}, where dsr-setup or announcer has put it")
            }
            Step::Set { sysctl, change } => format!("{sysctl} {is} {}{}", change.was, effect(sysctl)),
            Step::Remove(_)
            | Step::RemoveTable(_)
            | Step::RemoveDevice(_)
            | Step::Restore { .. }
            | Step::Leave { .. } => format!("it {is} not done yet to {}", self.on(device)),
        }
    }

    /// Why this step is done, as the end of a sentence; `None`: the order to undo it is the reason.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        Some(match self {
            Step::RaiseLo => "no address on it answers while it is down".to_owned(),
            Step::Add(IpAddr::V4(_)) => {
                "with scope link, so that this host does not send from it".to_owned()
            }
            Step::Add(IpAddr::V6(_)) => "with preferred lifetime 0, so that this host does not send from it; without duplicate address \
                                         detection, because other hosts have it too"
                .to_owned(),
            Step::Replace { net, differences } => format!("it is there {}", how(*net, differences)),
            Step::Mend { vip, differences } => format!("it is there {}", how(IpNet::from(*vip), differences)),
            Step::RemoveElsewhere { .. } => "dsr-setup or announcer has put it there before".to_owned(),
            Step::Set { sysctl, .. } => match sysctl {
                Sysctl::Arp { knob: ArpSetting::ArpIgnore, .. } => {
                    "so that this host does not answer ARP requests for the VIPs".to_owned()
                }
                Sysctl::Arp { knob: ArpSetting::ArpAnnounce, .. } => {
                    "so that the ARP requests of this host do not name a VIP as their sender".to_owned()
                }
                Sysctl::Path { interface, knob: PathSetting::RpFilter } => format!(
                    "so that requests to a VIP that arrive on {interface} are not dropped, because the replies leave by another interface"
                ),
                Sysctl::Path { interface, knob: PathSetting::AcceptLocal } => format!(
                    "so that the requests of this host itself to a VIP, from outside the VRF, are not dropped on {interface}"
                ),
                Sysctl::AcceptMarks => "so that connections keep the mark of the chain's rules".to_owned(),
            },
            Step::Remove(_)
            | Step::RemoveTable(_)
            | Step::RemoveDevice(_)
            | Step::Restore { .. }
            | Step::Leave { .. } => return None,
        })
    }
}

/// What follows from the value of a setting before it was set.
fn effect(sysctl: &Sysctl) -> String {
    match sysctl {
        Sysctl::Arp { knob: ArpSetting::ArpIgnore, .. } => {
            ", so that this host answers ARP requests for the VIPs".to_owned()
        }
        Sysctl::Arp { knob: ArpSetting::ArpAnnounce, .. } => {
            ", so that the ARP requests of this host may name a VIP as their sender".to_owned()
        }
        Sysctl::Path { interface, knob: PathSetting::RpFilter } => {
            format!(", so that requests to a VIP that arrive on {interface} are dropped")
        }
        Sysctl::Path { interface, knob: PathSetting::AcceptLocal } => {
            format!(", so that requests of this host itself to a VIP are dropped on {interface}")
        }
        Sysctl::AcceptMarks => ", so that connections lose the mark of the chain's rules".to_owned(),
    }
}

/// How an address differs from a VIP that is added here: `with the prefix length 24 and with scope global`.
fn how(net: IpNet, differences: &BTreeSet<Difference>) -> String {
    let mut words = Vec::new();
    if net.prefix_len() != net.max_prefix_len() {
        words.push(format!("with the prefix length {}", net.prefix_len()));
    }
    words.extend(differences.iter().map(|difference| {
        match difference {
            Difference::Source if net.addr().is_ipv4() => "with scope global",
            Difference::Source => "with a preferred lifetime",
            Difference::Flags => "without nodad and noprefixroute",
            Difference::Ends => "for a limited time",
            Difference::Mark => "without our mark",
            Difference::Label => "without our label",
        }
        .to_owned()
    }));
    words.join(" and ")
}

/// The line about a step, for a device of the VIPs.
#[derive(Debug, Clone, Copy)]
pub struct StepLine<'a> {
    step: &'a Step,
    device: &'a str,
}

impl fmt::Display for StepLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device;
        match self.step {
            Step::RaiseLo => write!(f, "set {device} up"),
            Step::Add(vip) => write!(f, "add {} to {device}", IpNet::from(*vip)),
            Step::Replace { net, .. } => {
                write!(f, "replace {net} on {device} by {}", IpNet::from(net.addr()))
            }
            Step::Mend { vip, .. } => write!(f, "correct {} on {device}", IpNet::from(*vip)),
            Step::Remove(net) => write!(f, "remove {net} from {device}"),
            Step::RemoveElsewhere { net, interface, .. } => write!(f, "remove {net} from {interface}"),
            Step::RemoveTable(table) => write!(f, "remove the nftables table {table}"),
            Step::RemoveDevice(_) => write!(f, "remove the device {}", chain::DEVICE),
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
