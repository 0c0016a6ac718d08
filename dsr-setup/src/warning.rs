//! The warnings about the host: sentences for `dsr-setup plan` and for the daemon's status.
//!
//! Pure. Each sentence says what was found, what follows from it, and the command that corrects it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::plan::{Difference, Link, LoAddress, Loopback, OtherAddress, Owner, Sysctl, answering};

/// The most warnings about single addresses that are listed; the others are counted.
const MOST: usize = 10;

/// A problem of the host for which `plan` has no step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A VIP is on the device of the VIPs, with the prefix length of a network.
    Wide(IpNet, String),
    /// A VIP is on another interface too.
    Elsewhere(IpNet, String),
    /// A VIP is on the device of the VIPs, in a way in which the host may choose it as a source.
    Source(IpNet, String),
    /// A VIP is on the device of the VIPs, for a limited time.
    Ends(IpNet, String),
    /// The number of further warnings about addresses.
    More(usize),
    /// The host has an IPv6 VIP, but only link-local IPv6 addresses besides.
    NoGlobalAddress,
    /// With these settings, the host answers ARP for VIPs or announces them.
    Arp(BTreeMap<Sysctl, i32>),
    /// The state file cannot be used, for this reason.
    Record(String),
}

/// The warnings about the addresses of a host with these VIPs.
#[must_use]
pub fn of_addresses(lo: &Loopback, vips: &BTreeSet<IpAddr>) -> Vec<Warning> {
    let on_lo = lo.addresses.iter().filter(|on_lo| vips.contains(&on_lo.net.addr()));
    let elsewhere = lo.elsewhere.iter().filter(|other| vips.contains(&other.net.addr()));
    let mut warnings: Vec<Warning> = on_lo.filter_map(|on_lo| of_one(on_lo, &lo.device)).collect();
    warnings.extend(elsewhere.map(|other| Warning::Elsewhere(other.net, other.interface.clone())));
    if warnings.len() > MOST {
        let more = warnings.len() - MOST;
        warnings.truncate(MOST);
        warnings.push(Warning::More(more));
    }
    if lacks_global_address(lo, vips) {
        warnings.push(Warning::NoGlobalAddress);
    }
    warnings
}

/// The warnings about the addresses of other programs: VIPs that are there in a way that harms, and that are neither changed nor
/// removed here.
#[must_use]
pub fn of_foreign(lo: &Loopback, vips: &BTreeSet<IpAddr>) -> Vec<Warning> {
    let on_lo = lo.addresses.iter().filter(|on_lo| on_lo.owner == Owner::Foreign);
    let on_lo = on_lo.filter(|on_lo| vips.contains(&on_lo.net.addr()));
    let elsewhere = lo.elsewhere.iter().filter(|other| other.owner == Owner::Foreign);
    let elsewhere = elsewhere.filter(|other| vips.contains(&other.net.addr()));
    let of_elsewhere = elsewhere.map(|other| Warning::Elsewhere(other.net, other.interface.clone()));
    on_lo.filter_map(|on_lo| of_one(on_lo, &lo.device)).chain(of_elsewhere).collect()
}

/// The warnings about the host itself: that it has no other address for its own packets.
#[must_use]
pub fn of_host(lo: &Loopback, vips: &BTreeSet<IpAddr>) -> Option<Warning> {
    lacks_global_address(lo, vips).then_some(Warning::NoGlobalAddress)
}

/// The warning about settings with which the host answers ARP for IPv4 VIPs on `lo`: those in `vips`, and others of ours.
#[must_use]
pub fn of_arp(lo: &Loopback, sysctls: &BTreeMap<Sysctl, i32>, vips: &BTreeSet<IpAddr>) -> Option<Warning> {
    let is_vip = |on_lo: &&LoAddress| on_lo.owner == Owner::Ours || vips.contains(&on_lo.net.addr());
    let is_there =
        lo.link == Link::Up && lo.addresses.iter().filter(is_vip).any(|on_lo| on_lo.net.addr().is_ipv4());
    let settings = answering(sysctls);
    (is_there && !settings.is_empty()).then_some(Warning::Arp(settings))
}

fn of_one(on_lo: &LoAddress, device: &str) -> Option<Warning> {
    let (net, device) = (on_lo.net, device.to_owned());
    if net.prefix_len() != net.max_prefix_len() {
        Some(Warning::Wide(net, device))
    } else if on_lo.differences.contains(&Difference::Ends) {
        Some(Warning::Ends(net, device))
    } else {
        on_lo.differences.contains(&Difference::Source).then_some(Warning::Source(net, device))
    }
}

/// Whether the host has only link-local addresses. The scope (rule 2) is compared before deprecated addresses are avoided (rule 3
/// of RFC 6724 section 5).
fn lacks_global_address(lo: &Loopback, vips: &BTreeSet<IpAddr>) -> bool {
    let is_own = |net: &IpNet| net.addr().is_ipv6() && !vips.contains(&net.addr());
    let on_lo = |on_lo: &LoAddress| {
        let is_host = matches!(on_lo.net.addr(), IpAddr::V6(address) if address.is_loopback());
        is_own(&on_lo.net) && !is_host && on_lo.owner == Owner::Foreign
    };
    let global = |other: &OtherAddress| is_own(&other.net) && other.usable && !other.link_local;
    vips.iter().any(IpAddr::is_ipv6)
        && lo.elsewhere.iter().any(|other| other.net.addr().is_ipv6() && other.link_local)
        && !lo.elsewhere.iter().any(global)
        && !lo.addresses.iter().any(on_lo)
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Wide(net, device) => write!(
                f,
                "{net} is on {device}: this host treats all of {} as its own addresses; `ip address del {net} dev {device}` removes \
                 it; {} belongs there instead",
                net.trunc(),
                IpNet::from(net.addr())
            ),
            Warning::Elsewhere(net, interface) => write!(
                f,
                "{net} is also on {interface}, where this host answers {} for it, even while it is drained; \
                 `ip address del {net} dev {interface}` removes it",
                if net.addr().is_ipv4() { "ARP" } else { "neighbour solicitations" }
            ),
            Warning::Source(net, device) => write!(
                f,
                "{net} is on {device} with {}: this host may send from it, and the answers may go to another frontend; \
                 `ip address del {net} dev {device}` removes it, and the daemon or `dsr-setup apply` adds it again correctly",
                if net.addr().is_ipv4() { "scope global" } else { "a preferred lifetime" }
            ),
            Warning::Ends(net, device) => write!(
                f,
                "{net} is on {device} for a limited time, and the kernel removes it then; `ip address del {net} dev {device}` \
                 removes it, and the daemon or `dsr-setup apply` adds it again correctly"
            ),
            Warning::More(1) => {
                write!(f, "1 more address is wrong; `dsr-setup plan` prints the first {MOST}")
            }
            Warning::More(count) => {
                write!(f, "{count} more addresses are wrong; `dsr-setup plan` prints the first {MOST}")
            }
            Warning::NoGlobalAddress => write!(
                f,
                "this host has only link-local IPv6 addresses besides the VIPs, so its own IPv6 connections use a VIP as their \
                 source, and the answers may go to another frontend (RFC 6724 section 5, rule 2); give an interface a global \
                 address"
            ),
            Warning::Arp(settings) => {
                write!(
                    f,
                    "this host answers ARP for the VIPs on lo, or announces them, even while they are drained: "
                )?;
                for (index, (sysctl, now)) in settings.iter().take(3).enumerate() {
                    write!(f, "{}{sysctl} = {now}", if index == 0 { "" } else { ", " })?;
                }
                if settings.len() > 3 {
                    write!(f, " and {} more", settings.len() - 3)?;
                }
                write!(f, "; `dsr-setup apply` corrects it")
            }
            Warning::Record(error) => {
                write!(f, "{error}; until then `dsr-setup remove` cannot undo the settings")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ArpSetting, MarkSupport};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// `192.0.2.80/32` is ours and unchanged; `~192.0.2.80/32` belongs to another program. With a `!` at the end, the host may send
    /// from it; with a `?`, its lifetime ends. `eth0:fe80::1/64` is on another interface.
    fn host(text: &str) -> Loopback {
        let (mut addresses, mut elsewhere) = (Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            if let Some(net) = word.strip_prefix("eth0:") {
                let net: IpNet = net.parse().unwrap();
                let link_local = matches!(net.addr(), IpAddr::V6(address) if address.is_unicast_link_local());
                let (interface, index, owner) = ("eth0".into(), 2, Owner::Foreign);
                elsewhere.push(OtherAddress { net, interface, index, owner, link_local, usable: true });
                continue;
            }
            let owner = if word.starts_with('~') { Owner::Foreign } else { Owner::Ours };
            let mut differences = BTreeSet::new();
            differences.extend(word.ends_with('!').then_some(Difference::Source));
            differences.extend(word.ends_with('?').then_some(Difference::Ends));
            let net = word.trim_matches(['~', '!', '?']).parse().unwrap();
            addresses.push(LoAddress { net, owner, differences });
        }
        let device = "lo".into();
        Loopback { device, link: Link::Up, marks: MarkSupport::Kept, addresses, elsewhere }
    }

    fn labels(warnings: &[Warning]) -> String {
        let label = |warning: &Warning| match warning {
            Warning::Wide(..) => "wide",
            Warning::Elsewhere(..) => "elsewhere",
            Warning::Source(..) => "source",
            Warning::Ends(..) => "ends",
            Warning::More(_) => "more",
            Warning::NoGlobalAddress => "no_global_address",
            Warning::Arp(_) => "arp",
            Warning::Record(_) => "record",
        };
        warnings.iter().map(label).collect::<Vec<_>>().join(" ")
    }

    /// Cases H6 and H12, and a VIP of another program that may be a source.
    #[test]
    fn addresses_that_harm_are_reported() {
        let vips = BTreeSet::from([ip("192.0.2.80"), ip("2001:db8::80")]);
        for (lo, want) in [
            ("~127.0.0.1/8! ~::1/128! 192.0.2.80/32 2001:db8::80/128", ""),
            ("~192.0.2.80/24!", "wide"),
            ("~2001:db8::80/64!", "wide"),
            ("~192.0.2.80/32!", "source"),
            ("~192.0.2.80/32?", "ends"),
            ("~198.51.100.1/24!", ""),
            ("192.0.2.80/32 eth0:192.0.2.80/24", "elsewhere"),
            ("192.0.2.80/32 eth0:192.0.2.7/24", ""),
            ("eth0:fe80::1/64", "no_global_address"),
            ("eth0:fe80::1/64 eth0:2001:db8::80/64", "elsewhere no_global_address"),
            ("eth0:fe80::1/64 eth0:2001:db8::7/64", ""),
            ("~::1/128! eth0:fe80::1/64", "no_global_address"),
            ("~2001:db8:ffff::1/128! eth0:fe80::1/64", ""),
            ("2001:db8::81/128 eth0:fe80::1/64", "no_global_address"),
        ] {
            assert_eq!(labels(&of_addresses(&host(lo), &vips)), want, "{lo}");
        }
        let only_v4 = BTreeSet::from([ip("192.0.2.80")]);
        assert_eq!(labels(&of_addresses(&host("eth0:fe80::1/64"), &only_v4)), "");
    }

    #[test]
    fn what_is_corrected_here_is_not_among_the_addresses_of_other_programs() {
        let vips = BTreeSet::from([ip("192.0.2.80")]);
        for (lo, want) in [
            ("192.0.2.80/32!", ""),
            ("192.0.2.80/24", ""),
            ("~192.0.2.80/32", ""),
            ("~192.0.2.80/32!", "source"),
            ("~192.0.2.80/24 192.0.2.80/32", "wide"),
            ("~192.0.2.80/32? eth0:192.0.2.80/24", "ends elsewhere"),
            ("~192.0.2.81/24!", ""),
        ] {
            assert_eq!(labels(&of_foreign(&host(lo), &vips)), want, "{lo}");
        }
        let mut moved = host("eth0:192.0.2.80/32");
        moved.elsewhere[0].owner = Owner::Ours;
        assert_eq!(of_foreign(&moved, &vips), []);
    }

    #[test]
    fn an_address_that_cannot_be_used_yet_is_no_address_of_the_host() {
        let mut lo = host("eth0:fe80::1/64 eth0:2001:db8::7/64");
        lo.elsewhere[1].usable = false;
        assert_eq!(labels(&of_addresses(&lo, &[ip("2001:db8::80")].into())), "no_global_address");
    }

    /// Cases H11 and W21.
    #[test]
    fn arp_that_answers_for_vips_is_reported_where_there_are_any() {
        let sysctls = |text: &str| {
            let one = |word: &str| {
                let (name, value) = word.split_once('=').unwrap();
                (Sysctl::parse(&format!("net.ipv4.conf.{name}")).unwrap(), value.parse().unwrap())
            };
            text.split_whitespace().map(one).collect::<BTreeMap<Sysctl, i32>>()
        };
        let vips = BTreeSet::from([ip("192.0.2.80")]);
        let warnings = |lo: &str, text: &str| {
            of_arp(&host(lo), &sysctls(text), &vips).map(|warning| warning.to_string()).unwrap_or_default()
        };
        const RESET: &str = "all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=0 lo.arp_ignore=0";
        assert_eq!(
            warnings("192.0.2.80/32", RESET),
            "this host answers ARP for the VIPs on lo, or announces them, even while they are drained: \
             net.ipv4.conf.all.arp_ignore = 0; `dsr-setup apply` corrects it"
        );
        assert!(warnings("~192.0.2.80/32", RESET).contains("arp_ignore"));
        assert!(warnings("192.0.2.99/32", RESET).contains("arp_ignore"), "ours, of an older configuration");
        for (lo, text) in [
            ("~192.0.2.99/32", RESET),
            ("2001:db8::80/128", RESET),
            ("192.0.2.80/32", "all.arp_ignore=1 all.arp_announce=2 eth0.arp_ignore=0 eth0.arp_announce=0"),
            ("192.0.2.80/32", "all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=1 eth0.arp_announce=0"),
            ("192.0.2.80/32", "all.arp_ignore=0 all.arp_announce=0 default.arp_ignore=0 lo.arp_ignore=0"),
        ] {
            assert_eq!(warnings(lo, text), "", "{lo} {text}");
        }
        assert!(
            warnings("192.0.2.80/32", "all.arp_ignore=1 eth0.arp_ignore=3").contains("eth0.arp_ignore = 3")
        );
        let mut many = BTreeMap::new();
        for n in 0..5 {
            many.insert(Sysctl::Arp { interface: format!("eth{n}"), knob: ArpSetting::ArpIgnore }, 3);
        }
        let text = of_arp(&host("192.0.2.80/32"), &many, &vips).unwrap().to_string();
        assert!(text.contains("eth2.arp_ignore = 3 and 2 more;"), "{text}");
    }

    #[test]
    fn many_addresses_are_counted() {
        let vips: BTreeSet<IpAddr> = (0..12).map(|n| ip(&format!("192.0.2.{n}"))).collect();
        let lo: String = (0..12).map(|n| format!("~192.0.2.{n}/32! ")).collect();
        let warnings = of_addresses(&host(&lo), &vips);
        assert_eq!((warnings.len(), warnings.last()), (MOST + 1, Some(&Warning::More(2))));
    }
}
