#![allow(clippy::wildcard_enum_match_arm, reason = "what a test does not name, it does not mean")]

use std::collections::BTreeSet;

use bgpkit_parser::models::{
    AsPath, AsPathSegment, AsnLength, AttributeValue, BgpMessage as Theirs, BgpUpdateMessage,
    Community as TheirCommunity, ExtendedCommunity as Extended, NextHopAddress,
};
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use self::received::{ReceivedRoutes, decoded, frames, received};
use super::*;
use crate::bgp::open::Open;
use std::sync::Arc;

use crate::bgp::open::Restart;
use crate::model::{Community, ExtendedCommunity, LargeCommunity, PeerAsn, RouterId};

mod open;
mod received;

fn encoding(asn: u32, kind: PeerKind, as_width: AsWidth) -> Encoding {
    Encoding { asn: Asn::try_from(asn).unwrap(), kind, as_width }
}

fn extended_community() -> impl Strategy<Value = ExtendedCommunity> {
    let bandwidth =
        (any::<u16>(), 0_u32..=u32::MAX).prop_map(|(asn, rate)| format!("bandwidth:{asn}:{rate}"));
    let numbered = (prop_oneof![Just("rt"), Just("soo")], any::<u32>(), any::<u16>());
    prop_oneof![
        numbered.clone().prop_map(|(kind, admin, value)| format!("{kind}:{admin}:{value}")),
        numbered.prop_map(|(kind, admin, value)| format!("{kind}:{}:{value}", Ipv4Addr::from(admin))),
        bandwidth,
        (0x8000_0000_0000_0000_u64..).prop_map(|octets| format!("0x{octets:016x}")),
    ]
    .prop_map(|text| text.parse().unwrap())
}

fn encoded(encoding: &Encoding, updates: &[Update]) -> (Vec<u8>, ReceivedRoutes) {
    let mut out = vec![];
    for each in updates {
        update(&mut out, encoding, each).unwrap();
    }
    let received = received(&decoded(&out, encoding.as_width));
    (out, received)
}

fn announce(prefixes: Vec<IpNet>, next_hop: &str, attributes: Attributes) -> Update {
    let next_hop = match next_hop.parse().unwrap() {
        IpAddr::V4(ip) => NextHop::V4(ip),
        IpAddr::V6(ip) => NextHop::V6(ip),
    };
    announce_by(prefixes, next_hop, attributes)
}

fn announce_by(prefixes: Vec<IpNet>, next_hop: NextHop, attributes: Attributes) -> Update {
    let family = Family::of(prefixes[0].addr());
    Update::Announce { family, next_hop, attributes: Arc::new(attributes), prefixes }
}

#[test]
fn as_path_is_an_as_sequence_octet_by_octet() {
    let update = announce(vec!["192.0.2.80/32".parse().unwrap()], "10.0.0.1", Attributes::default());
    let (out, received) = encoded(&encoding(65001, PeerKind::External, AsWidth::Four), &[update]);
    let path = [0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    assert!(out.windows(path.len()).any(|window| window == path), "{out:02x?}");
    assert_eq!(received.paths, [vec![65001]].into());
}

#[test]
fn an_old_peer_gets_as_trans_and_as4_path() {
    let update = |next_hop| announce(vec!["192.0.2.80/32".parse().unwrap()], next_hop, Attributes::default());
    let old = |asn| encoding(asn, PeerKind::External, AsWidth::Two);
    let (out, received) = encoded(&old(4_200_000_000), &[update("10.0.0.1")]);
    assert_eq!((received.paths, received.wide_paths), ([vec![23456]].into(), [vec![4_200_000_000]].into()));
    assert!(out.windows(3).any(|window| window == [0xc0, AS4_PATH, 6]));
    let (_, received) = encoded(&old(65001), &[update("10.0.0.1")]);
    assert_eq!((received.paths, received.wide_paths), ([vec![65001]].into(), [].into()));
}

#[test]
fn ibgp_has_an_empty_as_path_and_a_local_pref() {
    let update = announce(vec!["2001:db8::80/128".parse().unwrap()], "fd00::1", Attributes::default());
    let (_, received) = encoded(&encoding(65001, PeerKind::Internal, AsWidth::Four), &[update]);
    assert_eq!((received.paths, received.local_prefs), ([vec![]].into(), [100].into()));
}

#[test]
fn prepending_repeats_our_as_and_ibgp_has_none() {
    let update = |prepend| {
        let attributes = Attributes { prepend, local_pref: Some(50), ..Attributes::default() };
        announce(vec!["192.0.2.80/32".parse().unwrap()], "10.0.0.1", attributes)
    };
    let (out, received) = encoded(&encoding(65001, PeerKind::External, AsWidth::Four), &[update(2)]);
    let path = [0x40, 2, 14, 2, 3, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xe9];
    assert!(out.windows(path.len()).any(|window| window == path), "{out:02x?}");
    assert_eq!(received.local_prefs, [].into());
    let (_, received) = encoded(&encoding(65001, PeerKind::Internal, AsWidth::Four), &[update(10)]);
    assert_eq!((received.paths, received.local_prefs), ([vec![]].into(), [50].into()));
}

#[test]
fn an_ipv4_route_has_an_ipv6_next_hop_octet_by_octet() {
    let next_hop = NextHop::V6("fd00::1".parse().unwrap());
    let update = announce_by(vec!["192.0.2.80/32".parse().unwrap()], next_hop, Attributes::default());
    let (out, _) = encoded(&encoding(65001, PeerKind::External, AsWidth::Four), &[update]);
    let reach = [
        0x90, 14, 0, 26, 0, 1, 1, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 32, 192, 0, 2, 80,
    ];
    assert!(out.windows(reach.len()).any(|window| window == reach), "{out:02x?}");
    assert!(!out.windows(3).any(|window| window == [0x40, 3, 4]), "no NEXT_HOP beside it");
}

#[test]
fn end_of_rib_is_an_empty_update() {
    let mut out = vec![];
    for family in [Family::V4, Family::V6] {
        update(&mut out, &encoding(1, PeerKind::External, AsWidth::Four), &Update::EndOfRib(family)).unwrap();
    }
    let frames = frames(&out);
    assert_eq!(frames[0][16..], [0, 23, 2, 0, 0, 0, 0]);
    assert_eq!(frames[1][16..], [0, 30, 2, 0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 1]);
    assert!(decoded(&out, AsWidth::Four).iter().all(BgpUpdateMessage::is_end_of_rib));
}

#[test]
fn attributes_without_end_are_refused_and_nothing_is_said() {
    let attributes =
        |count| Attributes { communities: (0..count).map(Community).collect(), ..Attributes::default() };
    let encoding = encoding(65001, PeerKind::External, AsWidth::Four);
    for count in [1012, 1020, 1024, 1025, 30_000] {
        let mut out = vec![7];
        let each = announce(vec!["192.0.2.80/32".parse().unwrap()], "10.0.0.1", attributes(count));
        assert_eq!(
            update(&mut out, &encoding, &each),
            Err(EncodeError::TooLong("192.0.2.80/32".parse().unwrap())),
            "{count}"
        );
        assert_eq!(out, [7]);
    }
    let each = announce(vec!["192.0.2.80/32".parse().unwrap()], "10.0.0.1", attributes(1010));
    assert_eq!(encoded(&encoding, &[each]).1.communities.len(), 1010);
}

#[test]
fn host_bits_never_leave() {
    let update = announce(vec!["192.0.2.80/24".parse().unwrap()], "10.0.0.1", Attributes::default());
    let (_, received) = encoded(&encoding(65001, PeerKind::External, AsWidth::Four), &[update]);
    assert_eq!(received.announced, ["192.0.2.0/24".parse().unwrap()].into());
}

#[test]
fn many_prefixes_share_a_message_and_no_message_is_too_long() {
    let encoding = encoding(65001, PeerKind::External, AsWidth::Four);
    let v4: Vec<IpNet> =
        (0..5000_u32).map(|n| IpNet::from(IpAddr::from((0x0a00_0000 + n).to_be_bytes()))).collect();
    let v6: Vec<IpNet> =
        (0..5000_u16).map(|n| IpNet::from(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]))).collect();
    for (prefixes, next_hop, octets) in [(v4, "10.0.0.1", 5_usize), (v6, "fd00::1", 17)] {
        let family = Family::of(prefixes[0].addr());
        let (out, reached) =
            encoded(&encoding, &[announce(prefixes.clone(), next_hop, Attributes::default())]);
        assert_eq!(reached.announced, prefixes.iter().copied().collect());
        assert_eq!(frames(&out).len(), (5000 * octets).div_ceil(4000), "full messages");
        let (out, gone) = encoded(&encoding, &[Update::Withdraw(family, prefixes.clone())]);
        assert_eq!(gone.withdrawn, prefixes.iter().copied().collect());
        assert_eq!(frames(&out).len(), (5000 * octets).div_ceil(4060));
    }
}

fn prefixes(family: Family) -> BoxedStrategy<Vec<IpNet>> {
    let net = match family {
        Family::V4 => (any::<[u8; 4]>(), 1_u8..=32)
            .prop_map(|(ip, len)| IpNet::new(IpAddr::from(ip), len).unwrap().trunc())
            .boxed(),
        Family::V6 =>
        // The decoder would take a first octet of zero for a path identifier.
        {
            (any::<[u8; 16]>(), 1_u8..=128)
                .prop_map(|(ip, len)| IpNet::new(IpAddr::from(ip), len).unwrap().trunc())
                .boxed()
        }
    };
    proptest::collection::vec(net, 1..400).boxed()
}

fn next_hops() -> impl Strategy<Value = NextHop> {
    let global = (1_u16..9).prop_map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n));
    let both = (global.clone(), 1_u16..9)
        .prop_map(|(global, n)| NextHop::V6AndLinkLocal(global, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n)));
    prop_oneof![Just(NextHop::V4(Ipv4Addr::new(10, 0, 0, 1))), global.prop_map(NextHop::V6), both,]
}

/// At most as many as a configuration can have.
fn attributes() -> impl Strategy<Value = Attributes> {
    use proptest::collection::btree_set;
    (
        prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        (proptest::option::of(any::<u32>()), proptest::option::of(any::<u32>()), 0_u8..=10),
        btree_set(any::<u32>().prop_map(Community), 0..255),
        btree_set(extended_community(), 0..31),
        btree_set(any::<[u32; 3]>().prop_map(LargeCommunity), 0..64),
    )
        .prop_map(|(origin, (med, local_pref, prepend), communities, extended, large)| Attributes {
            origin,
            med,
            local_pref,
            prepend,
            next_hop_v4: None,
            next_hop_v6: None,
            communities,
            extended_communities: extended,
            large_communities: large,
            recipients: crate::model::Recipients::All,
            deprefer: None,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The independent decoder reads exactly what was encoded.
    #[test]
    fn what_is_said_is_what_is_heard(
        v4 in prefixes(Family::V4),
        v6 in prefixes(Family::V6),
        attributes in attributes(),
        asn in 1_u32..u32::MAX,
        internal: bool,
        old: bool,
        next_hop in next_hops(),
    ) {
        prop_assume!(asn != 23456);
        let kind = if internal { PeerKind::Internal } else { PeerKind::External };
        let encoding = encoding(asn, kind, if old { AsWidth::Two } else { AsWidth::Four });
        let v6_next_hop = match next_hop {
            NextHop::V4(_) => NextHop::V6("fd00::1".parse().unwrap()),
            other => other,
        };
        let (_, received) = encoded(&encoding, &[
            announce_by(v4.clone(), next_hop, attributes.clone()),
            announce_by(v6.clone(), v6_next_hop, attributes.clone()),
        ]);
        prop_assert_eq!(&received.announced, &v4.iter().chain(&v6).copied().collect());
        let (mut globals, mut link_locals) = (BTreeSet::new(), BTreeSet::new());
        for next_hop in [next_hop, v6_next_hop] {
            match next_hop {
                NextHop::V4(ip) => drop(globals.insert(IpAddr::V4(ip))),
                NextHop::V6(ip) => drop(globals.insert(IpAddr::V6(ip))),
                NextHop::V6AndLinkLocal(ip, link_local) => {
                    globals.insert(IpAddr::V6(ip));
                    link_locals.insert(link_local);
                }
            }
        }
        prop_assert_eq!(received.next_hops, globals);
        prop_assert_eq!(received.link_locals, link_locals);
        prop_assert_eq!(received.origins, [attributes.origin.to_string()].into());
        prop_assert_eq!(received.meds, attributes.med.into_iter().collect());
        let preference = internal.then(|| attributes.local_pref.unwrap_or(100));
        prop_assert_eq!(received.local_prefs, preference.into_iter().collect());
        prop_assert_eq!(received.communities, attributes.communities);
        prop_assert_eq!(received.extended_communities, attributes.extended_communities);
        prop_assert_eq!(received.large_communities, attributes.large_communities);
        let times = if internal { 0 } else { usize::from(attributes.prepend) + 1 };
        let hidden = old && asn > 0xffff;
        prop_assert_eq!(received.paths, [vec![if hidden { 23456 } else { asn }; times]].into());
        let wide = (hidden && !internal).then(|| vec![asn; times]);
        prop_assert_eq!(received.wide_paths, wide.into_iter().collect());
        let (_, gone) = encoded(&encoding, &[
            Update::Withdraw(Family::V4, v4.clone()), Update::Withdraw(Family::V6, v6.clone()),
        ]);
        prop_assert_eq!(gone.withdrawn, received.announced);
        prop_assert!(gone.announced.is_empty());
    }

    /// For any octets, the messages and the error do not depend on where the stream is cut.
    #[test]
    fn the_framer_is_total_and_does_not_care_how_the_stream_is_cut(
        stream in stream(), cuts in proptest::collection::vec(1_usize..60, 1..80)
    ) {
        let whole = run([stream.as_slice()]);
        let mut pieces = vec![];
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, later) = rest.split_at(rest.len().min(*cut));
            pieces.push(piece);
            rest = later;
        }
        prop_assert_eq!(run(pieces), whole);
    }

    #[test]
    fn no_open_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = params::open(&body);
        let mut whole = vec![4, 0xfd, 0xe8, 0, 9, 10, 0, 0, 1, u8::try_from(body.len().min(255)).unwrap()];
        whole.extend(&body);
        let _ = params::open(&whole);
        whole.splice(9..10, [255, 255, 0, u8::try_from(body.len().min(255)).unwrap()]);
        let _ = params::open(&whole);
    }
}

/// Messages with a correct or almost correct frame.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let message = (
        prop_oneof![20 => Just(0xff_u8), 1 => any::<u8>()],
        prop_oneof![20 => 1_u8..=5, 1 => any::<u8>()],
        prop_oneof![20 => Just(0_i32), 1 => -30..30],
        proptest::collection::vec(any::<u8>(), 0..60),
    );
    proptest::collection::vec(message, 0..8).prop_map(|messages| {
        let mut stream = vec![];
        for (marker, kind, lie, body) in messages {
            let body = if kind == 4 { vec![] } else { body };
            let length = i32::try_from(19 + body.len()).unwrap() + lie;
            stream.extend([marker; 16]);
            stream.extend(u16::try_from(length.max(0)).unwrap().to_be_bytes());
            stream.push(kind);
            stream.extend(body);
        }
        stream
    })
}

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<Notification>) {
    let mut framer = Framer::default();
    let mut messages = vec![];
    for piece in pieces {
        framer.feed(piece);
        loop {
            match framer.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}
