//! A director: it checks the health of hosts, and forwards the packets of a VIP to one of the healthy ones, which answers the client
//! directly.
//!
//! Pure, except for `run`. It does what OpenBSD's relayd does with `route to` (relayd.conf(5), "Redirections"): a check of each host at
//! its own address, a table of hosts, and a fallback table that is used only when no host of the first one is healthy. The kernel
//! forwards, with rules that this module writes for nft(8):
//!
//! - [`Forward::Mac`]: the destination MAC address becomes that of a host in the same LAN. The IP packet stays as it is.
//! - [`Forward::Tunnel`]: the packet gets a mark, and the routing policy (ip-rule(8)) sends each mark into the tunnel of one host.
//!
//! A hash of the client's address and port chooses one of [`BUCKETS`] buckets, and each bucket has one host: the one with the highest
//! weight for it (rendezvous hashing). So a host that leaves moves only the connections in its own buckets.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

mod run;

pub use run::run;

/// How many buckets the hash has. With a few hosts, the shares differ by some per cent.
pub const BUCKETS: u16 = 256;

/// The ICMP errors that a connection needs: path MTU discovery depends on them (RFC 1191).
const ERRORS: &str = "{ destination-unreachable, time-exceeded, parameter-problem }";
/// The same for IPv6 (RFC 8201).
const ERRORS6: &str = "{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem }";

/// How packets get to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Forward {
    /// With its MAC address, in the same LAN
    Mac,
    /// By the routing policy, with a mark: 1 for the first `--host`, 2 for the second, and so on; then those of `--fallback`
    Tunnel,
}

/// What the director does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The interface in the LAN of the hosts, on which the packets arrive.
    pub interface: String,
    /// The VIPs. Each is forwarded to the hosts of its own family.
    pub vips: Vec<IpAddr>,
    /// The hosts, each by its own address.
    pub hosts: Vec<IpAddr>,
    /// The hosts that are used for a family when none of `hosts` of this family is healthy.
    pub fallback: Vec<IpAddr>,
    /// The TCP port that is forwarded, and checked.
    pub port: u16,
    /// The path of the HTTP check. Only an answer of 2xx is healthy.
    pub path: String,
    /// The time from one check of a host to the next.
    pub interval: Duration,
    /// The longest time that a check may take.
    pub timeout: Duration,
    /// How packets get to a host.
    pub forward: Forward,
}

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What is known about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Its first check is running. It gets no packets.
    Unknown,
    /// Its last check has passed; with the MAC address of that time. Without one, it cannot be forwarded to by [`Forward::Mac`].
    Up(Option<MacAddress>),
    /// Its last check has failed, for this reason.
    Down(String),
}

/// Which table a host is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It serves whenever it is healthy.
    Frontend,
    /// It serves only while no frontend is healthy.
    Fallback,
}

/// A host of one of the two tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its own address.
    pub address: IpAddr,
    /// Which table it is in.
    pub role: Role,
    /// Its mark, for [`Forward::Tunnel`].
    pub mark: u32,
    /// What its last check has shown.
    pub health: Health,
}

impl Host {
    /// What nft writes into the packet so that it gets to this host; `None` if it cannot get packets.
    fn target(&self, forward: Forward) -> Option<String> {
        match (&self.health, forward) {
            (Health::Up(Some(mac)), Forward::Mac) => Some(mac.to_string()),
            (Health::Up(_), Forward::Tunnel) => Some(self.mark.to_string()),
            (Health::Up(None), Forward::Mac) | (Health::Unknown | Health::Down(_), _) => None,
        }
    }
}

/// The hosts of a plan, before the first check.
#[must_use]
pub fn hosts(plan: &Plan) -> Vec<Host> {
    let frontends = plan.hosts.iter().map(|address| (address, Role::Frontend));
    let fallback = plan.fallback.iter().map(|address| (address, Role::Fallback));
    let host = |((address, role), mark): ((&IpAddr, Role), u32)| Host {
        address: *address,
        role,
        mark,
        health: Health::Unknown,
    };
    frontends.chain(fallback).zip(1..).map(host).collect()
}

/// The hosts that get the packets of `vip`: the healthy frontends of its family, otherwise the healthy hosts of the fallback table.
#[must_use]
pub fn serving<'a>(hosts: &'a [Host], vip: IpAddr, forward: Forward) -> Vec<&'a Host> {
    let of = |role: Role| -> Vec<&'a Host> {
        let fits = |host: &&Host| {
            host.role == role && host.address.is_ipv4() == vip.is_ipv4() && host.target(forward).is_some()
        };
        hosts.iter().filter(fits).collect()
    };
    let frontends = of(Role::Frontend);
    if frontends.is_empty() { of(Role::Fallback) } else { frontends }
}

/// The sentence about a VIP for the log: who gets its packets.
#[must_use]
pub fn sentence(hosts: &[Host], vip: IpAddr, forward: Forward) -> String {
    let serving = serving(hosts, vip, forward);
    let names: Vec<String> = serving.iter().map(|host| host.address.to_string()).collect();
    match serving.first().map(|host| host.role) {
        Some(Role::Frontend) => format!("{vip}: forwarded to {}", names.join(", ")),
        Some(Role::Fallback) => format!("{vip}: forwarded to the fallback {}", names.join(", ")),
        None => format!("{vip}: not forwarded, no host is healthy"),
    }
}

/// The host of each bucket, as an index into `hosts`. `hosts` is not empty.
fn buckets(hosts: &[&Host]) -> Vec<usize> {
    let best = |bucket: u16| {
        let weight = |index: &usize| hosts.get(*index).map(|host| weight(host.address, bucket));
        (0..hosts.len()).max_by_key(weight).unwrap_or_default()
    };
    (0..BUCKETS).map(best).collect()
}

/// The weight of a host for a bucket: FNV-1a over both, and the last step of SplitMix64, so that all bits depend on all octets.
fn weight(address: IpAddr, bucket: u16) -> u64 {
    let octets: Vec<u8> = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let hash = octets.iter().chain(&bucket.to_be_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The map from buckets to what nft writes into a packet, as nft reads it.
fn map(hosts: &[&Host], forward: Forward) -> String {
    let targets: Vec<String> = hosts.iter().filter_map(|host| host.target(forward)).collect();
    let of = |(bucket, host): (usize, usize)| Some(format!("{bucket} : {}", targets.get(host)?));
    let elements: Vec<String> = buckets(hosts).into_iter().enumerate().filter_map(of).collect();
    format!("{{ {} }}", elements.join(", "))
}

/// The text for `nft -f -` that replaces all rules of the director at once. `own` is the MAC address of the director's interface.
///
/// Packets of a VIP for which no host is healthy have no rule: the director itself answers them, as it holds the VIP, with RST.
#[must_use]
pub fn rules(plan: &Plan, hosts: &[Host], own: MacAddress) -> String {
    let mut lines = String::new();
    for vip in &plan.vips {
        let serving = serving(hosts, *vip, plan.forward);
        if serving.is_empty() {
            continue;
        }
        let family = if vip.is_ipv4() { "ip" } else { "ip6" };
        let hash = format!("jhash {family} saddr . tcp sport mod {BUCKETS} seed 0x5eed");
        let packets = format!("{family} daddr {vip} tcp dport {}", plan.port);
        let map = map(&serving, plan.forward);
        // Writing to a string cannot fail.
        let _ = match plan.forward {
            Forward::Mac => {
                // Its own MAC address as the source: with the router's, the switch would learn that the router is here.
                writeln!(
                    lines,
                    "{packets} ether saddr set {own} ether daddr set {hash} map {map} fwd to \"{}\"",
                    plan.interface
                )
            }
            Forward::Tunnel => writeln!(lines, "{packets} meta mark set {hash} map {map}"),
        };
        if plan.forward == Forward::Mac {
            errors(&mut lines, *vip, &serving, own, &plan.interface);
        }
    }
    let (removal, table) = (removal(plan.forward), table(plan.forward));
    let hook = match plan.forward {
        Forward::Mac => format!("ingress device \"{}\" priority filter", plan.interface),
        Forward::Tunnel => "prerouting priority mangle".to_owned(),
    };
    format!("{removal}{table} {{\nchain forward {{\ntype filter hook {hook};\n{lines}}}\n}}\n")
}

/// The text for `nft -f -` that removes the rules, if there are any.
#[must_use]
pub fn removal(forward: Forward) -> String {
    let table = table(forward);
    format!("add {table}\ndelete {table}\n")
}

/// The table of the rules. Its name alone does not say it: each family has its own tables.
fn table(forward: Forward) -> &'static str {
    match forward {
        Forward::Mac => "table netdev director",
        Forward::Tunnel => "table inet director",
    }
}

/// The rules for ICMP errors about packets of a VIP. Their own packet does not say which connection they belong to, so each host gets a
/// copy; only the host that has the connection uses it.
fn errors(lines: &mut String, vip: IpAddr, serving: &[&Host], own: MacAddress, interface: &str) {
    let packets = match vip {
        IpAddr::V4(vip) => format!("ip daddr {vip} icmp type {ERRORS}"),
        IpAddr::V6(vip) => format!("ip6 daddr {vip} icmpv6 type {ERRORS6}"),
    };
    let targets: Vec<String> = serving.iter().filter_map(|host| host.target(Forward::Mac)).collect();
    let copies = targets.iter().enumerate().map(|(position, target)| {
        let verb = if position + 1 == targets.len() { "fwd" } else { "dup" };
        format!(" ether daddr set {target} {verb} to \"{interface}\"")
    });
    let copies: String = copies.collect();
    let _ = writeln!(lines, "{packets} ether saddr set {own}{copies}"); // writing to a string cannot fail
}

#[cfg(test)]
mod tests;
