//! From the configuration and the ring to the rules.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::heartbeat::{AboutReceiver, Facts, Families, ListDigest, MemberPresence, NextHops};
use super::member::Said;
use super::ring::Ring;
use super::rules::{self, FamilyRules, ForwardingSwitch, ListenOn, NextMember, RingLength, RuleSet};
use crate::config::{ChainConfig, Config};
use crate::model::{Family, InvalidValue};

/// A VIP and a TCP port.
pub type Service = (IpAddr, u16);

/// Everything that the rules depend on.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// `[chain]`.
    pub config: &'a ChainConfig,
    /// The device of the segment.
    pub device: &'a str,
    /// How the server of each service listens.
    pub services: &'a BTreeMap<Service, ListenOn>,
    /// The ring.
    pub ring: &'a Ring,
    /// The Ethernet addresses of the members that are believed, as far as they are known. With a VXLAN they are not needed.
    pub ethernet: &'a BTreeMap<IpAddr, [u8; 6]>,
    /// Whether an operator has switched the forwarding off.
    pub off: bool,
}

/// The services of a configuration: each VIP with the ports of its flows.
pub fn services(config: &Config) -> BTreeMap<IpAddr, BTreeSet<u16>> {
    let ports = config.vips().map(|(vip, service)| (vip, service.flow_ports()));
    ports.filter(|(_, ports)| !ports.is_empty()).collect()
}

/// The rules.
///
/// # Errors
/// When the name of the device cannot stand in a rule.
pub fn rules(input: &PlanInput<'_>) -> Result<RuleSet, InvalidValue> {
    let PlanInput { config, device, services, ring, ethernet, off } = *input;
    let v4 = |vip: &IpAddr| match vip {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    };
    let v6 = |vip: &IpAddr| match vip {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    };
    Ok(RuleSet {
        device: device.parse()?,
        believed: match config.vxlan {
            Some(_) => rules::BelievedSources::Device,
            None => rules::BelievedSources::Macs(ethernet.values().copied().collect()),
        },
        budget: NonZeroU32::new(config.budget).unwrap_or(NonZeroU32::MIN),
        forwarding: if off { ForwardingSwitch::Off } else { ForwardingSwitch::On },
        v4: family::<Ipv4Addr>(services, ring, Family::V4, v4),
        v6: family::<Ipv6Addr>(services, ring, Family::V6, v6),
    })
}

fn family<A: Ord>(
    services: &BTreeMap<Service, ListenOn>,
    ring: &Ring,
    family: Family,
    of: impl Fn(&IpAddr) -> Option<A>,
) -> FamilyRules<A> {
    let own = services.iter().filter_map(|((vip, port), listens)| Some(((of(vip)?, *port), *listens)));
    let next = ring.forwarding(family).and_then(|forwarding| {
        Some(NextMember { address: of(&forwarding.via)?, ring: RingLength::new(forwarding.length.into())? })
    });
    FamilyRules { services: own.collect(), next }
}

/// The families in which this host takes part: it has VIPs and an address on the segment.
pub fn wanted(services: &BTreeMap<IpAddr, BTreeSet<u16>>, next_hops: &NextHops) -> Families {
    Families::of(|family| {
        services.keys().any(|vip| Family::of(*vip) == family) && next_hops.of(family).is_some()
    })
}

/// What is in the kernel. It is stored, because the rules outlive the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Installed {
    /// The text that was given to nft.
    pub text: String,
    /// Our address in the list of members.
    #[serde(default)]
    pub own: Option<IpAddr>,
    /// The families in which this host takes part.
    pub families: Families,
    /// In which families each other member is in the ring.
    pub in_ring: BTreeMap<IpAddr, Families>,
    /// The members whose marks are believed.
    pub believed: BTreeSet<IpAddr>,
    /// The other members that live, and what they have said: [`remembered`](super::ring::remembered).
    #[serde(default)]
    pub members: BTreeMap<IpAddr, StoredMember>,
}

/// What a member has said, as far as the next process needs it to keep that member in the ring, or to wait for it, while its daemon is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMember {
    /// The interval of its heartbeats.
    pub interval: Duration,
    /// The families whose rules it had.
    pub rules: Families,
    /// Where it takes forwarded packets.
    pub next_hops: NextHops,
    /// In which families we were in its ring.
    pub in_ring: Families,
    /// In which families it believed our marks.
    pub believed: Families,
    /// The digest of its list of members.
    pub list: ListDigest,
}

impl StoredMember {
    /// Of what a member has said.
    pub fn of(Said { facts, about_us }: &Said) -> StoredMember {
        StoredMember {
            interval: facts.interval,
            rules: facts.rules,
            next_hops: facts.next_hops,
            in_ring: about_us.in_ring,
            believed: about_us.believed,
            list: facts.members,
        }
    }

    /// What the member has said. The digest of its services is not known.
    pub fn said(&self) -> Said {
        let StoredMember { interval, rules, next_hops, in_ring, believed, list } = *self;
        let facts = Facts {
            interval,
            rules,
            presence: MemberPresence::Here,
            switched_off: false,
            next_hops,
            members: list,
            services: ListDigest::default(),
        };
        Said { facts, about_us: AboutReceiver { in_ring, believed, known: false } }
    }
}

impl Installed {
    /// What a heartbeat says to a member about itself, as far as it depends on the rules.
    pub fn about(&self, member: IpAddr) -> AboutReceiver {
        AboutReceiver {
            in_ring: self.in_ring.get(&member).copied().unwrap_or_default(),
            believed: if self.believed.contains(&member) { Families::BOTH } else { Families::NONE },
            known: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with_services;

    fn config() -> Config {
        let text = with_services!(
            "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n[[service.check]]\ntcp = 443\n\
             [[service]]\nname = \"file\"\nvips = [\"192.0.2.81\"]\n[[service.check]]\nfile = \"/up\"\n\
             [chain]\ninterface = \"eth0\"\nmembers = [\"10.0.0.1\", \"10.0.0.2\"]\nkey_file = \"/k\"\n"
        );
        crate::config::parse("x", text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn a_service_without_a_port_has_no_flows() {
        let services = services(&config());
        assert_eq!(services.len(), 2);
        assert!(services.values().all(|ports| *ports == [443].into()));
    }

    #[test]
    fn a_family_is_wanted_with_vips_and_an_address_on_the_segment() {
        let services = services(&config());
        let next_hops = NextHops { v4: Some([10, 0, 0, 1].into()), v6: None };
        assert_eq!(wanted(&services, &next_hops), Families { v4: true, v6: false });
        assert_eq!(wanted(&BTreeMap::new(), &next_hops), Families::NONE);
    }

    /// The file of an earlier version has no `members`.
    #[test]
    fn what_is_installed_is_read_again_as_it_was_stored() {
        let member = StoredMember {
            interval: Duration::from_millis(100),
            rules: Families::BOTH,
            next_hops: NextHops { v4: Some([10, 0, 0, 2].into()), v6: None },
            in_ring: Families { v4: true, v6: false },
            believed: Families { v4: false, v6: true },
            list: ListDigest([7; 8]),
        };
        assert_eq!(StoredMember::of(&member.said()), member);
        let installed =
            Installed { members: [("10.0.0.2".parse().unwrap(), member)].into(), ..Installed::default() };
        let text = serde_json::to_string(&installed).unwrap();
        assert_eq!(serde_json::from_str::<Installed>(&text).unwrap(), installed);
        let earlier = r#"{"text":"","families":{"v4":false,"v6":false},"in_ring":{},"believed":[]}"#;
        assert_eq!(serde_json::from_str::<Installed>(earlier).unwrap(), Installed::default());
    }

    #[test]
    fn marks_are_believed_by_ethernet_address_or_by_the_vxlan() {
        let mut config = config();
        let chain = config.chain.as_mut().unwrap();
        let services = BTreeMap::from([(("192.0.2.80".parse().unwrap(), 443), ListenOn::Wildcard)]);
        let ethernet = BTreeMap::from([("10.0.0.2".parse().unwrap(), [2, 0, 0, 0, 0, 2])]);
        let mut made = |vxlan, off| {
            chain.vxlan = vxlan;
            let input = PlanInput {
                config: chain,
                device: "eth0",
                services: &services,
                ring: &Ring::default(),
                ethernet: &ethernet,
                off,
            };
            rules(&input).unwrap()
        };
        let lan = made(None, false);
        assert_eq!(lan.believed, rules::BelievedSources::Macs([[2, 0, 0, 0, 0, 2]].into()));
        assert_eq!(
            (lan.forwarding, lan.v4.services.len(), lan.v6.services.len()),
            (ForwardingSwitch::On, 1, 0)
        );
        let vxlan = made(Some(7), true);
        assert_eq!(
            (vxlan.believed, vxlan.forwarding),
            (rules::BelievedSources::Device, ForwardingSwitch::Off)
        );
    }
}
