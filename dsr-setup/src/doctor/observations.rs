//! What `doctor` has seen of the host: a snapshot, from which all findings are computed.
//!
//! Pure. What could not be seen is an [`Unseen`] with the reason, and never an empty list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::nft::Ruleset;
use crate::plan::Sysctl;

/// Why something could not be seen, and what is needed for it: a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen(pub String);

/// A part of the snapshot.
pub type Seen<T> = Result<T, Unseen>;

/// A part that was not looked at yet.
pub fn not_looked<T>() -> Seen<T> {
    Err(Unseen("it was not looked at".into()))
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What an interface is, as far as a VIP on it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// `lo`, a dummy, or a VRF: no other host is behind it.
    Inner,
    /// A tunnel or another device without ARP.
    NoArp,
    /// An interface to other hosts.
    Ethernet,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up, and has a carrier.
    pub is_up: bool,
    /// What it is.
    pub kind: LinkKind,
    /// The largest packet, in octets.
    pub mtu: u32,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// The number of the VRF that it is, or that it is in; `None`: it is outside of each VRF.
    pub vrf: Option<u32>,
}

/// An address of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// The address and the prefix length it was added with.
    pub net: IpNet,
    /// The name of its interface.
    pub interface: String,
    /// IFA_PROTO: the number of the program that added it.
    pub protocol: Option<u8>,
    /// Whether duplicate address detection has not ended.
    pub is_tentative: bool,
    /// Whether duplicate address detection has found a duplicate.
    pub is_dadfailed: bool,
    /// Whether the prefix has no route of its own (IFA_F_NOPREFIXROUTE).
    pub has_no_prefix_route: bool,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteState {
    /// Its destination.
    pub to: IpNet,
    /// The interface and the gateway of each next hop.
    pub hops: Vec<(String, Option<IpAddr>)>,
    /// Its metric; a smaller one is preferred.
    pub metric: u32,
    /// Whether packets are sent by it: it is neither `unreachable` nor `blackhole`.
    pub is_unicast: bool,
}

/// A policy rule, as `ip rule` shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// The priority.
    pub priority: u32,
    /// The source that it applies to; `None`: all.
    pub from: Option<IpNet>,
    /// The destination that it applies to; `None`: all.
    pub to: Option<IpNet>,
    /// What it does, as in `lookup 100` or `unreachable`.
    pub action: String,
    /// Whether packets are lost: the action is `unreachable`, `prohibit` or `blackhole`.
    pub loses: bool,
}

/// The way of the kernel from a VIP to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathState {
    /// The VIP.
    pub from: IpAddr,
    /// The client, or an address that stands for clients.
    pub to: IpAddr,
    /// The error of the kernel, if there is no way.
    pub error: Option<String>,
}

/// The source that the kernel chooses for the host's own packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenSource {
    /// Their destination.
    pub to: IpAddr,
    /// The source.
    pub source: IpAddr,
}

/// A TCP socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListeningSocket {
    /// Its address; unspecified for all addresses.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it accepts IPv6 only.
    pub is_v6_only: bool,
    /// The number of the interface that it is bound to; `None`: of none.
    pub device: Option<u32>,
    /// The connections that wait for `accept`.
    pub queue: u32,
    /// How many may wait.
    pub backlog: u32,
}

/// Counters of the kernel since the network namespace was made (`/proc/net/netstat`), read twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// TcpExt ListenOverflows.
    pub listen_overflows: u64,
    /// TcpExt SyncookiesSent.
    pub cookies_sent: u64,
    /// TcpExt IPReversePathFilter.
    pub reverse_path: u64,
}

/// The table of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConntrackState {
    /// Its entries.
    pub count: u64,
    /// The most that it can have.
    pub max: u64,
}

/// An answer to ARP or to a neighbour solicitation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighbourAnswer {
    /// The interface by which it came.
    pub interface: String,
    /// For which address.
    pub address: IpAddr,
    /// From which Ethernet address.
    pub mac: Mac,
}

/// Echo requests of several sizes to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtuProbe {
    /// The host.
    pub to: IpAddr,
    /// The interface of the route to it.
    pub interface: String,
    /// The interface's MTU in octets, which is also the largest size that was sent.
    pub mtu: u32,
    /// The sizes in octets, with the header of IP, that were answered.
    pub answered: BTreeSet<u32>,
}

/// The packets of a VIP that were seen while doctor listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VipTraffic {
    /// Packets to the VIP.
    pub arrived: u64,
    /// Connections that began, by a SYN.
    pub opened: u64,
    /// Those of them that were answered, by SYN-ACK or RST.
    pub answered: u64,
}

/// What was captured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capture {
    /// For how many seconds doctor listened.
    pub seconds: u64,
    /// The packets of each VIP.
    pub traffic: BTreeMap<IpAddr, VipTraffic>,
}

/// The validity of the certificate that a VIP has shown, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub begins: i64,
    /// Until when.
    pub ends: i64,
}

/// A TLS handshake with a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProbe {
    /// The VIP.
    pub vip: IpAddr,
    /// The port.
    pub port: u16,
    /// What its certificate says.
    pub validity: Validity,
}

/// A program that is known to manage addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerProcess {
    /// The name of the process.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

/// The whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observations {
    /// The wall clock, in seconds since 1970.
    pub now: i64,
    /// The interfaces.
    pub links: Vec<LinkState>,
    /// The addresses.
    pub addresses: Vec<HostAddress>,
    /// The routes of the main table.
    pub routes: Vec<RouteState>,
    /// The policy rules.
    pub rules: Seen<Vec<PolicyRule>>,
    /// The ways from the VIPs to clients.
    pub paths: Vec<PathState>,
    /// The sources that the kernel chooses.
    pub sources: Vec<ChosenSource>,
    /// The ARP settings.
    pub arp: BTreeMap<Sysctl, i32>,
    /// Settings of IPv4 interfaces, by interface and name.
    pub conf: BTreeMap<(String, String), i64>,
    /// Other settings, by their path below `/proc/sys`.
    pub settings: BTreeMap<String, i64>,
    /// The sockets that listen.
    pub listeners: Seen<Vec<ListeningSocket>>,
    /// The counters, at the beginning and at the end.
    pub counters: Seen<(Counters, Counters)>,
    /// The table of connections; `None`: this kernel has no conntrack, or nothing uses it.
    pub conntrack: Option<ConntrackState>,
    /// The packet filter.
    pub ruleset: Seen<Ruleset>,
    /// Answers to ARP and ND probes, and those that were seen beside.
    pub answers: Seen<Vec<NeighbourAnswer>>,
    /// Echo requests.
    pub mtu: Seen<Vec<MtuProbe>>,
    /// What was captured; `None`: it was not asked for.
    pub capture: Option<Seen<Capture>>,
    /// TLS handshakes that have shown a certificate.
    pub tls: Vec<TlsProbe>,
    /// Programs that manage addresses, in this network namespace.
    pub managers: Seen<Vec<ManagerProcess>>,
}

/// What the caller wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// The VIPs.
    pub vips: BTreeSet<IpAddr>,
    /// The dummy or the VRF that has to have them; `None`: `lo`, and a VIP on another interface without neighbours is right too.
    pub device: Option<String>,
    /// The VRF in which the VIPs are, which has the name of `device`; `None`: in none. Only the `routers` of the same VRF belong to the question.
    pub vrf: Option<String>,
    /// Whether these and `others` are all VIPs of the host, so that further ones of ours are left over.
    pub is_complete: bool,
    /// The VIPs of other devices.
    pub others: BTreeSet<IpAddr>,
    /// The ports of the services of each VIP; without any, 80 and 443 are looked at, and one is enough.
    pub ports: BTreeMap<IpAddr, BTreeSet<u16>>,
    /// The names that clients ask for by TLS, by VIP and port. Without any, port 443 is asked without a name, if a server listens there.
    pub names: BTreeMap<(IpAddr, u16), String>,
    /// Directors on the LAN, which answer ARP for the VIPs rightly.
    pub directors: BTreeSet<IpAddr>,
    /// Routers that send packets for the VIPs.
    pub routers: BTreeSet<IpAddr>,
    /// Clients.
    pub clients: BTreeSet<IpAddr>,
    /// How many seconds before its end a certificate is reported.
    pub expires_within: i64,
}

impl Question {
    /// The command that puts the VIP where it has to be.
    #[must_use]
    pub fn apply(&self, vip: IpAddr) -> String {
        let device = self.device.as_ref().map(|device| format!(" --device {device}")).unwrap_or_default();
        format!("`dsr-setup apply --vip {vip}{device}`")
    }
}

impl Observations {
    /// A snapshot in which nothing was looked at, at this time in seconds since 1970.
    pub fn nothing(now: i64) -> Observations {
        Observations {
            now,
            links: Vec::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: not_looked(),
            paths: Vec::new(),
            sources: Vec::new(),
            arp: BTreeMap::new(),
            conf: BTreeMap::new(),
            settings: BTreeMap::new(),
            listeners: not_looked(),
            counters: not_looked(),
            conntrack: None,
            ruleset: not_looked(),
            answers: not_looked(),
            mtu: not_looked(),
            capture: None,
            tls: Vec::new(),
            managers: not_looked(),
        }
    }

    /// The interface with this name.
    pub fn link(&self, name: &str) -> Option<&LinkState> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Whether the interface has no other host behind it.
    pub fn is_inner(&self, name: &str) -> bool {
        self.link(name).is_some_and(|link| link.kind == LinkKind::Inner)
    }

    /// Whether the VIP is on an interface, so that the host answers for it.
    pub fn holds(&self, vip: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.net.addr() == vip)
    }

    /// Whether a connection that arrives in this VRF, or in none, is given to a socket that is bound to this interface. One that is bound to
    /// no interface serves outside of VRFs, and in every VRF if `tcp_l3mdev_accept` is 1. One that is bound to lo or to a dummy serves nobody.
    pub fn accepts_in(&self, vrf: Option<&str>, device: Option<u32>) -> bool {
        let vrf = match vrf {
            Some(name) => match self.link(name) {
                Some(link) => Some(link.index),
                None => return false,
            },
            None => None,
        };
        match device {
            None => vrf.is_none() || self.setting(L3MDEV_ACCEPT) == 1,
            Some(index) => self.links.iter().any(|link| {
                link.index == index && link.vrf == vrf && (vrf.is_some() || link.kind != LinkKind::Inner)
            }),
        }
    }

    /// Whether packets from other hosts arrive by the interface with this index for VIPs in this VRF, or for VIPs in none. They are seen
    /// once more at the device of the VRF, which does not count. An interface that was created since counts for VIPs in no VRF.
    pub fn arrives_by(&self, vrf: Option<&str>, interface: u32) -> bool {
        let link = self.links.iter().find(|link| link.index == interface);
        match vrf.map(|vrf| self.link(vrf)) {
            None => link.is_none_or(|link| link.vrf.is_none() && link.kind != LinkKind::Inner),
            Some(vrf) => link
                .zip(vrf)
                .is_some_and(|(link, vrf)| link.vrf == Some(vrf.index) && link.kind != LinkKind::Inner),
        }
    }

    /// The number of the VRF of an interface.
    fn vrf_of(&self, is_it: impl Fn(&LinkState) -> bool) -> Option<u32> {
        self.links.iter().find(|link| is_it(link))?.vrf
    }

    /// Whether the interface is in the VRF with this name, or is its device.
    pub fn is_in_vrf(&self, interface: &str, vrf: &str) -> bool {
        let of = self.vrf_of(|link| link.name == interface);
        of.is_some() && of == self.link(vrf).map(|vrf| vrf.index)
    }

    /// The interfaces of the best route to `to` in the main table.
    pub fn interfaces_to(&self, to: IpAddr) -> BTreeSet<&str> {
        let fitting = self.routes.iter().filter(|route| route.to.contains(&to));
        let best = fitting.min_by_key(|route| (u8::MAX - route.to.prefix_len(), route.metric));
        let hops = best.filter(|route| route.is_unicast).map(|route| route.hops.iter());
        hops.into_iter().flatten().map(|(interface, _)| interface.as_str()).collect()
    }

    /// The interfaces by which packets for the VIPs arrive: those to the routers and directors, or else all with an IPv4 address to other
    /// hosts.
    pub fn arrival(&self, question: &Question) -> BTreeSet<&str> {
        let known = question.routers.iter().chain(&question.directors);
        let to_known: BTreeSet<&str> = known.flat_map(|address| self.interfaces_to(*address)).collect();
        if !to_known.is_empty() {
            return to_known;
        }
        let has_address = |link: &LinkState| {
            self.addresses
                .iter()
                .any(|address| address.interface == link.name && address.net.addr().is_ipv4())
        };
        let links = self.links.iter().filter(|link| link.is_up && link.kind != LinkKind::Inner);
        links.filter(|link| has_address(link)).map(|link| link.name.as_str()).collect()
    }

    /// A setting of an IPv4 interface.
    pub fn conf(&self, interface: &str, name: &str) -> i64 {
        self.conf.get(&(interface.to_owned(), name.to_owned())).copied().unwrap_or(0)
    }

    /// Another setting; 0 if the kernel does not have it.
    pub fn setting(&self, path: &str) -> i64 {
        self.settings.get(path).copied().unwrap_or(0)
    }
}

/// The setting, below `/proc/sys`, with which a TCP socket that is bound to no interface serves in every VRF.
pub const L3MDEV_ACCEPT: &str = "net/ipv4/tcp_l3mdev_accept";

/// The address that stands for clients of this family if none is named: of the networks for documentation (RFC 5737, RFC 3849), so that
/// only a default route leads to it.
pub fn anywhere(is_ipv4: bool) -> IpAddr {
    match is_ipv4 {
        true => IpAddr::from([203, 0, 113, 1]),
        false => IpAddr::from([0x2001, 0xdb8, 0xffff, 0xffff, 0, 0, 0, 1]),
    }
}
