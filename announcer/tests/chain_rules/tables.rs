//! The tables in the kernel: what is installed, replaced and removed.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use announcer::chain::rules::counters::ChainCounters;
use announcer::chain::rules::{BelievedSources, ForwardingSwitch, ListenOn, RuleSet, install, remove};

use crate::segment::{Namespace, PORT, VIP_V4, VIP_V6, mac, member};
use crate::with_root;

#[test]
fn installing_and_removing_leaves_nothing_and_touches_no_other_table() {
    with_root(|| {
        let host = Namespace::new();
        host.ip(&["link add eth0 type veth peer name other", "link set eth0 up"]);
        host.nft(
            "
            table inet filter {
                counter forwarded { packets 5 bytes 6 }
                set members { type ether_addr; elements = { 02:00:00:00:00:99 } }
                chain input {
                    type filter hook input priority filter; policy accept
                    tcp dport 22 counter name forwarded accept
                }
            }
            table ip nat {
                chain prerouting { type nat hook prerouting priority dstnat; }
            }
            ",
        );
        let before = host.ruleset();
        host.nft(&remove());
        assert_eq!(host.ruleset(), before, "nothing to remove");
        assert_eq!(host.counters(), [None, None]);
        let site_rules = |services: u32| {
            let first = usize::try_from(services % 7).unwrap();
            let mut rules = RuleSet {
                device: "eth0".parse().unwrap(),
                believed: BelievedSources::Macs((first..first + 31).map(mac).collect()),
                budget: NonZeroU32::new(1000).unwrap(),
                forwarding: ForwardingSwitch::On,
                v4: announcer::chain::rules::FamilyRules { services: [].into(), next: None },
                v6: announcer::chain::rules::FamilyRules { services: [].into(), next: None },
            };
            let ring = announcer::chain::rules::RingLength::new(32).unwrap();
            rules.v4.next = Some(announcer::chain::rules::NextMember { address: member(1).0, ring });
            rules.v6.next =
                Some(announcer::chain::rules::NextMember { address: "fe80::1".parse().unwrap(), ring });
            for number in 0..services {
                let listens = if number % 3 == 0 { ListenOn::Address } else { ListenOn::Wildcard };
                rules.v4.services.insert(((u32::from(VIP_V4) + number).into(), PORT), listens);
                rules.v6.services.insert(((u128::from(VIP_V6) + u128::from(number)).into(), PORT), listens);
            }
            rules
        };
        host.nft(&install(&site_rules(3)));
        let three = host.ruleset();
        assert_ne!(three, before);
        assert_eq!(host.counters(), [Some(ChainCounters::default()); 2]);
        for (services, limit) in [(0, 1), (5000, 3), (5000, 3), (3, 3)] {
            let rules = site_rules(services);
            let start = Instant::now();
            let text = install(&rules);
            let written = start.elapsed();
            host.nft(&text);
            println!(
                "{services} VIPs of each family: {} octets written in {written:?}, installed in {:?}",
                text.len(),
                start.elapsed() - written
            );
            assert!(start.elapsed() < Duration::from_secs(limit));
        }
        assert_eq!(host.ruleset(), three, "a replacement leaves nothing of the rules before it");
        host.nft(&(remove() + &install(&site_rules(3))));
        assert_eq!(host.ruleset(), three, "in one input");
        let mut alone = site_rules(3);
        alone.v4.next = None;
        host.nft(&install(&alone));
        host.nft(&remove());
        assert_eq!(host.ruleset(), before);
        host.nft(&remove());
    });
}
