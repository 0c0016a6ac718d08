//! Configurations and texts by chance.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::*;
use super::GOOD;

fn second(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn millisecond(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

prop_compose! {
    fn checks()(
        path in "[a-z0-9/?&='\\\\\"%ü.-]{0,12}", port in proptest::option::of(1u16..), interval in millisecond(50..=3_600_000),
        timeout in millisecond(1..=60_000), rise in 1u32..=100, fall in 1u32..=100,
    ) -> Check {
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let url = Url::parse(&format!("http://www.example.com{port}/{path}")).unwrap();
        Check { probe: Probe::Http(url), interval, timeout, rise, fall }
    }
}

prop_compose! {
    fn peers()(
        asn in 1u32..23456, hold in prop_oneof![Just(Duration::ZERO), second(3..=65535)],
        host in 1u8..=254, six in any::<bool>(), port in 1u16.., hop in proptest::option::of(1u16..),
    ) -> Peer {
        Peer {
            name: "r".parse().unwrap(),
            address: if six { Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, host.into()).into() }
                else { Ipv4Addr::new(10, 0, 1, host).into() },
            port,
            asn: Asn::try_from(asn).unwrap(),
            hold_time: hold,
            next_hop_v6: hop.map(|hop| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, hop)),
        }
    }
}

prop_compose! {
    fn configs()(
        asn in 23457u32.., id in proptest::option::of(1u8..), settle in millisecond(0..=60_000), flaps in any::<bool>(),
        mut peers in proptest::collection::vec(peers(), 1..4),
        services in proptest::collection::vec((
            "[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}", proptest::collection::vec(any::<bool>(), 1..5), proptest::option::of(any::<u32>()),
            proptest::collection::btree_set(any::<u32>().prop_map(Community), 0..4), proptest::collection::vec(checks(), 1..3),
        ), 1..4),
    ) -> Config {
        for (i, peer) in (0..).zip(&mut peers) {
            peer.name = format!("r{i}").parse().unwrap();
            peer.address = match peer.address {
                IpAddr::V4(v4) => Ipv4Addr::new(10, 0, 1 + i, v4.octets()[3]).into(),
                IpAddr::V6(v6) => Ipv6Addr::new(0x2001, 0xdb8, 1 + u16::from(i), 0, 0, 0, 0, v6.segments()[7]).into(),
            };
        }
        let services = (0..).zip(services).map(|(i, (name, vips, med, communities, checks))| Service {
            name: format!("{name}{i}").parse().unwrap(),
            vips: (0..).zip(vips).map(|(j, six)| if six {
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, i, j).into()
            } else {
                Ipv4Addr::new(192, 0, i.to_be_bytes()[1], j.to_be_bytes()[1]).into()
            }).collect(),
            communities, med, announce_delay: settle, flap_damping: flaps, checks,
        }).collect();
        let all_six = peers.iter().all(|peer| peer.address.is_ipv6());
        let router_id = id.or(all_six.then_some(1)).map(|id| RouterId::try_from(Ipv4Addr::new(10, 1, 1, id)).unwrap());
        Config { bgp: Bgp { asn: Asn::try_from(asn).unwrap(), router_id, settle }, peers, services }
    }
}

/// Nothing panics, errors are never none, and each is where it says.
fn survives(text: &str) {
    if let Err(errors) = parse("x", text) {
        assert!(errors.len() > 0);
        let lines = text.split('\n').count();
        for error in errors.iter() {
            assert!(error.line <= lines && error.column >= 1);
            assert!(!error.message.is_empty() && !error.help.is_empty(), "{error:?}");
        }
        assert!(errors.to_string().starts_with("error: "));
        drop(errors.styled());
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_again(config in configs()) {
        let text = canonical(&config);
        match parse("x", &text) {
            Ok(again) => prop_assert_eq!(again, config),
            Err(errors) => prop_assert!(false, "{}", errors),
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn no_toml_panics(text in "([\\[\\]={}.,#\"'a-c0-9 \n\t\r\\\\ü]|bgp|peer|service|check|vips|asn|\\[\\[|\"\"\"){0,60}") {
        survives(&text);
    }

    #[test]
    fn no_change_of_a_good_file_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[\\[\\]={}.,\"' \n\r0-9a-zü\u{0}]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (at, length, put) in edits {
            if text.is_empty() { break }
            let at = at.index(text.len());
            text.splice(at..(at + length).min(text.len()), put.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }
}
