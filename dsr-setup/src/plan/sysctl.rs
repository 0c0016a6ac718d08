//! The settings of the kernel that are changed here, by their names.
//!
//! Pure.

use std::fmt;

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
    pub(super) fn hides(self, value: i32) -> bool {
        match self {
            ArpSetting::ArpIgnore => matches!(value, 1 | 2 | 8),
            ArpSetting::ArpAnnounce => value == 2,
        }
    }
}

/// A setting of an interface that decides which packets it drops because of their source
/// (`Documentation/networking/ip-sysctl.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathSetting {
    /// Whether a packet is dropped if the reply would leave by another interface.
    RpFilter,
    /// Whether a packet with an address of this host as its source is accepted.
    AcceptLocal,
}

impl PathSetting {
    /// Both of them.
    pub const ALL: [PathSetting; 2] = [PathSetting::RpFilter, PathSetting::AcceptLocal];

    /// Its file's name.
    pub fn name(self) -> &'static str {
        match self {
            PathSetting::RpFilter => "rp_filter",
            PathSetting::AcceptLocal => "accept_local",
        }
    }

    /// The value that is set where the current one drops packets for a VIP.
    pub fn target(self) -> i32 {
        match self {
            PathSetting::RpFilter => 2,
            PathSetting::AcceptLocal => 1,
        }
    }
}

/// The name of [`Sysctl::AcceptMarks`].
const ACCEPT_MARKS: &str = "net.ipv4.tcp_fwmark_accept";

/// A setting of the kernel, for this network namespace. Displays as sysctl(8) writes it, where a dot in an interface's name is a slash:
/// `net.ipv4.conf.eth0/100.arp_ignore`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sysctl {
    /// An ARP setting of one interface, or of `all` or `default`.
    Arp {
        /// The folder under `/proc/sys/net/ipv4/conf`.
        interface: String,
        /// The file in it.
        knob: ArpSetting,
    },
    /// A setting of one interface about the packets that arrive by it.
    Path {
        /// The folder under `/proc/sys/net/ipv4/conf`.
        interface: String,
        /// The file in it.
        knob: PathSetting,
    },
    /// Whether a connection gets the mark of the packet that opens it, for IPv4 and IPv6. The rules of the chain need it for servers that
    /// listen on a VIP itself. It has no effect on packets without a mark.
    AcceptMarks,
}

impl Sysctl {
    /// The ARP setting of `all`.
    pub fn of_all(knob: ArpSetting) -> Sysctl {
        Sysctl::Arp { interface: "all".into(), knob }
    }

    /// The folder and the file of an ARP setting.
    pub fn arp(&self) -> Option<(&str, ArpSetting)> {
        match self {
            Sysctl::Arp { interface, knob } => Some((interface, *knob)),
            Sysctl::Path { .. } | Sysctl::AcceptMarks => None,
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Sysctl> {
        if text == ACCEPT_MARKS {
            return Some(Sysctl::AcceptMarks);
        }
        let (interface, name) = text.strip_prefix("net.ipv4.conf.")?.rsplit_once('.')?;
        let interface = interface.replace('/', ".");
        if interface.is_empty() || interface == "." || interface == ".." {
            return None; // no name of a folder
        }
        if let Some(knob) = ArpSetting::ALL.into_iter().find(|knob| knob.name() == name) {
            return Some(Sysctl::Arp { interface, knob });
        }
        let knob = PathSetting::ALL.into_iter().find(|knob| knob.name() == name)?;
        Some(Sysctl::Path { interface, knob })
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sysctl::Arp { interface, knob } => {
                write!(f, "net.ipv4.conf.{}.{}", interface.replace('.', "/"), knob.name())
            }
            Sysctl::Path { interface, knob } => {
                write!(f, "net.ipv4.conf.{}.{}", interface.replace('.', "/"), knob.name())
            }
            Sysctl::AcceptMarks => f.write_str(ACCEPT_MARKS),
        }
    }
}
