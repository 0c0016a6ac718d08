//! What a drain withdraws, and the name of its file.
//!
//! Pure. A file's name is its target, and after an `@` the owner, so that two operators can drain the same target.
//!
//! ```text
//! www                  the service www, made by hand          _family-ipv6         every IPv6 VIP
//! www@ann              the same, ordered by ann               _peer-r1             every route to the router r1
//! _vip-192.0.2.80      one VIP                                _all                 every service
//! ```

use std::fmt;
use std::net::IpAddr;

use crate::model::Family;

/// The file that drains every service. Names of services and routers begin with a letter or a digit.
pub const ALL: &str = "_all";

/// What a drain withdraws; the order of the variants is the order in which drains of one VIP are named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainTarget {
    /// One VIP.
    Vip(IpAddr),
    /// A service, by its name. The configuration may not have it.
    Service(String),
    /// The VIPs of a family.
    Family(Family),
    /// Every service, also one that is configured later.
    All,
    /// Every route to a router, by its name. The configuration may not have it. The session stays up.
    Peer(String),
}

impl DrainTarget {
    /// The target of a drain file. A name that has none of the forms above is that of a service, which then does not exist.
    pub fn of_file(name: &str) -> DrainTarget {
        let target = name.split_once('@').map_or(name, |(target, _)| target);
        let rest = |prefix: &str| target.strip_prefix(prefix);
        if target == ALL {
            DrainTarget::All
        } else if let Some(address) = rest("_vip-").and_then(|text| text.parse().ok()) {
            DrainTarget::Vip(address)
        } else if let Some(family) = rest("_family-").and_then(|text| text.parse().ok()) {
            DrainTarget::Family(family)
        } else if let Some(peer) = rest("_peer-").filter(|text| !text.is_empty()) {
            DrainTarget::Peer(peer.to_owned())
        } else {
            DrainTarget::Service(target.to_owned())
        }
    }

    /// Whether a drain of it withdraws this VIP of a service.
    pub fn covers(&self, service: &str, vip: IpAddr) -> bool {
        match self {
            DrainTarget::Vip(address) => *address == vip,
            DrainTarget::Service(name) => name == service,
            DrainTarget::Family(family) => *family == Family::of(vip),
            DrainTarget::All => true,
            DrainTarget::Peer(_) => false,
        }
    }

    /// The name of its file without an owner.
    pub fn file(&self) -> String {
        match self {
            DrainTarget::Vip(address) => format!("_vip-{address}"),
            DrainTarget::Service(name) => name.clone(),
            DrainTarget::Family(family) => format!("_family-{}", word(*family)),
            DrainTarget::All => ALL.to_owned(),
            DrainTarget::Peer(name) => format!("_peer-{name}"),
        }
    }

    /// The arguments of `drain` and `undrain` for it.
    pub fn arguments(&self) -> String {
        match self {
            DrainTarget::Vip(address) => address.to_string(),
            DrainTarget::Service(name) => name.clone(),
            DrainTarget::Family(family) => format!("--family {}", word(*family)),
            DrainTarget::All => "--all".to_owned(),
            DrainTarget::Peer(name) => format!("--peer {name}"),
        }
    }
}

/// As in the configuration.
fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

impl fmt::Display for DrainTarget {
    /// As in a sentence: "www", "192.0.2.80", "every IPv6 VIP", "every service", "router r1".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DrainTarget::Vip(address) => address.fmt(f),
            DrainTarget::Service(name) => f.write_str(name),
            DrainTarget::Family(family) => write!(f, "every {family} VIP"),
            DrainTarget::All => f.write_str("every service"),
            DrainTarget::Peer(name) => write!(f, "router {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_its_target_and_its_owner() {
        for (file, target, sentence, arguments) in [
            ("www", DrainTarget::Service("www".into()), "www", "www"),
            ("_all", DrainTarget::All, "every service", "--all"),
            ("_vip-192.0.2.80", DrainTarget::Vip("192.0.2.80".parse().unwrap()), "192.0.2.80", "192.0.2.80"),
            (
                "_vip-2001:db8::80",
                DrainTarget::Vip("2001:db8::80".parse().unwrap()),
                "2001:db8::80",
                "2001:db8::80",
            ),
            ("_family-ipv4", DrainTarget::Family(Family::V4), "every IPv4 VIP", "--family ipv4"),
            ("_family-ipv6", DrainTarget::Family(Family::V6), "every IPv6 VIP", "--family ipv6"),
            ("_peer-r1", DrainTarget::Peer("r1".into()), "router r1", "--peer r1"),
        ] {
            assert_eq!(target.file(), file);
            assert_eq!((target.to_string().as_str(), target.arguments().as_str()), (sentence, arguments));
            for name in [file.to_owned(), format!("{file}@ann"), format!("{file}@a@b"), format!("{file}@")] {
                assert_eq!(DrainTarget::of_file(&name), target, "{name}");
            }
        }
        let vip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (target, v4, v6) in [
            (DrainTarget::Service("www".into()), true, true),
            (DrainTarget::Service("mail".into()), false, false),
            (DrainTarget::Vip(vip("192.0.2.80")), true, false),
            (DrainTarget::Family(Family::V6), false, true),
            (DrainTarget::All, true, true),
            (DrainTarget::Peer("www".into()), false, false),
        ] {
            let covers = |text| target.covers("www", vip(text));
            assert_eq!((covers("192.0.2.80"), covers("2001:db8::80")), (v4, v6), "{target}");
        }
        // What has none of these forms names a service that cannot exist.
        for odd in ["_vip-www", "_vip-", "_family-ipx", "_peer-", "_ALL", "_"] {
            assert_eq!(DrainTarget::of_file(odd), DrainTarget::Service(odd.into()), "{odd}");
        }
    }
}
