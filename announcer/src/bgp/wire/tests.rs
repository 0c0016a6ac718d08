#![allow(clippy::wildcard_enum_match_arm, reason = "what a test does not name, it does not mean")]

use std::collections::BTreeSet;

use bgpkit_parser::models::{
    AsPath, AsPathSegment, AsnLength, AttributeValue, BgpMessage as Theirs, BgpUpdateMessage,
    Community as TheirCommunity,
};
use proptest::prelude::*;

use super::*;
use crate::bgp::open::Open;
use crate::model::{Community, RouterId};

fn voice(asn: u32, kind: Kind, as_width: AsWidth) -> Voice {
    Voice { asn: Asn::try_from(asn).unwrap(), kind, as_width }
}

/// The frames of a buffer, each decoded by an independent decoder.
fn decoded(out: &[u8], width: AsWidth) -> Vec<BgpUpdateMessage> {
    let width = match width {
        AsWidth::Two => AsnLength::Bits16,
        AsWidth::Four => AsnLength::Bits32,
    };
    let parse = |frame: &[u8]| {
        let mut octets = bytes::Bytes::copy_from_slice(frame);
        match bgpkit_parser::parser::bgp::messages::parse_bgp_message(&mut octets, false, &width).unwrap() {
            Theirs::Update(update) => update,
            other => panic!("{other:?} is no UPDATE"),
        }
    };
    frames(out).into_iter().map(parse).collect()
}

fn frames(mut out: &[u8]) -> Vec<&[u8]> {
    let mut frames = vec![];
    while !out.is_empty() {
        let (frame, rest) = out.split_at(usize::from(u16::from_be_bytes([out[16], out[17]])));
        assert!(frame.len() <= MAX_LENGTH);
        frames.push(frame);
        out = rest;
    }
    frames
}

/// What a router would make of it: prefixes announced with their attributes, prefixes withdrawn.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    announced: BTreeSet<IpNet>,
    withdrawn: BTreeSet<IpNet>,
    next_hops: BTreeSet<IpAddr>,
    paths: BTreeSet<Vec<u32>>,
    wide_paths: BTreeSet<Vec<u32>>,
    meds: BTreeSet<u32>,
    local_prefs: BTreeSet<u32>,
    communities: BTreeSet<Community>,
}

fn community(theirs: &TheirCommunity) -> Community {
    Community(match theirs {
        TheirCommunity::NoExport => 0xffff_ff01,
        TheirCommunity::NoAdvertise => 0xffff_ff02,
        TheirCommunity::NoExportSubConfed => 0xffff_ff03,
        TheirCommunity::Custom(high, low) => u32::from(*high) << 16 | u32::from(*low),
    })
}

fn asns(path: &AsPath) -> Vec<u32> {
    let segments = path.segments.iter().map(|segment| match segment {
        AsPathSegment::AsSequence(asns) => asns.iter().map(|asn| u32::from(*asn)),
        other => panic!("{other:?} is no AS_SEQUENCE"),
    });
    segments.flatten().collect()
}

fn heard(updates: &[BgpUpdateMessage]) -> Heard {
    let mut heard = Heard::default();
    for update in updates {
        heard.announced.extend(update.announced_prefixes.iter().map(|p| p.prefix));
        heard.withdrawn.extend(update.withdrawn_prefixes.iter().map(|p| p.prefix));
        assert!(
            update.attributes.validation_warnings().is_empty(),
            "{:?}",
            update.attributes.validation_warnings()
        );
        for attribute in update.attributes.iter() {
            match attribute {
                AttributeValue::NextHop(ip) => drop(heard.next_hops.insert(*ip)),
                AttributeValue::MultiExitDiscriminator(med) => drop(heard.meds.insert(*med)),
                AttributeValue::LocalPreference(pref) => drop(heard.local_prefs.insert(*pref)),
                AttributeValue::AsPath(path) => drop(heard.paths.insert(asns(path))),
                AttributeValue::As4Path(path) => drop(heard.wide_paths.insert(asns(path))),
                AttributeValue::Communities(list) => {
                    heard.communities.extend(list.iter().map(community));
                }
                AttributeValue::MpReachNlri(nlri) => {
                    heard.announced.extend(nlri.prefixes.iter().map(|p| p.prefix));
                    heard.next_hops.insert(nlri.next_hop.unwrap().addr());
                }
                AttributeValue::MpUnreachNlri(nlri) => {
                    heard.withdrawn.extend(nlri.prefixes.iter().map(|p| p.prefix))
                }
                AttributeValue::Origin(origin) => assert_eq!(origin.to_string(), "IGP"),
                other => panic!("we never send {other:?}"),
            }
        }
    }
    heard
}

fn said(voice: &Voice, updates: &[Update]) -> (Vec<u8>, Heard) {
    let mut out = vec![];
    for each in updates {
        update(&mut out, voice, each).unwrap();
    }
    let heard = heard(&decoded(&out, voice.as_width));
    (out, heard)
}

fn announce(prefixes: Vec<IpNet>, next_hop: &str, attributes: Attributes) -> Update {
    Update::Announce { next_hop: next_hop.parse().unwrap(), attributes, prefixes }
}

#[test]
fn as_path_is_an_as_sequence_octet_by_octet() {
    let update = announce(vec!["192.0.2.80/32".parse().unwrap()], "10.0.0.1", Attributes::default());
    let (out, heard) = said(&voice(65001, Kind::External, AsWidth::Four), &[update]);
    let path = [0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
    assert!(out.windows(path.len()).any(|window| window == path), "{out:02x?}");
    assert_eq!(heard.paths, [vec![65001]].into());
}

#[test]
fn an_old_peer_gets_as_trans_and_as4_path() {
    let update = |next_hop| announce(vec!["192.0.2.80/32".parse().unwrap()], next_hop, Attributes::default());
    let old = |asn| voice(asn, Kind::External, AsWidth::Two);
    let (out, heard) = said(&old(4_200_000_000), &[update("10.0.0.1")]);
    assert_eq!((heard.paths, heard.wide_paths), ([vec![23456]].into(), [vec![4_200_000_000]].into()));
    assert!(out.windows(3).any(|window| window == [0xc0, AS4_PATH, 6]));
    let (_, heard) = said(&old(65001), &[update("10.0.0.1")]);
    assert_eq!((heard.paths, heard.wide_paths), ([vec![65001]].into(), [].into()));
}

#[test]
fn ibgp_has_an_empty_as_path_and_a_local_pref() {
    let update = announce(vec!["2001:db8::80/128".parse().unwrap()], "fd00::1", Attributes::default());
    let (_, heard) = said(&voice(65001, Kind::Internal, AsWidth::Four), &[update]);
    assert_eq!((heard.paths, heard.local_prefs), ([vec![]].into(), [100].into()));
}

#[test]
fn end_of_rib_is_an_empty_update() {
    let mut out = vec![];
    for family in [Family::V4, Family::V6] {
        update(&mut out, &voice(1, Kind::External, AsWidth::Four), &Update::EndOfRib(family)).unwrap();
    }
    let frames = frames(&out);
    assert_eq!(frames[0][16..], [0, 23, 2, 0, 0, 0, 0]);
    assert_eq!(frames[1][16..], [0, 30, 2, 0, 0, 0, 7, 0x90, 15, 0, 3, 0, 2, 1]);
    assert!(decoded(&out, AsWidth::Four).iter().all(BgpUpdateMessage::is_end_of_rib));
}

#[test]
fn attributes_without_end_are_refused_and_nothing_is_said() {
    let attributes = |count| Attributes { med: None, communities: (0..count).map(Community).collect() };
    let voice = voice(65001, Kind::External, AsWidth::Four);
    for count in [1012, 1020, 1024, 1025, 30_000] {
        let mut out = vec![7];
        let each = announce(vec!["192.0.2.80/32".parse().unwrap()], "10.0.0.1", attributes(count));
        assert_eq!(
            update(&mut out, &voice, &each),
            Err(EncodeError::TooLong("192.0.2.80/32".parse().unwrap())),
            "{count}"
        );
        assert_eq!(out, [7]);
    }
    let each = announce(vec!["192.0.2.80/32".parse().unwrap()], "10.0.0.1", attributes(1010));
    assert_eq!(said(&voice, &[each]).1.communities.len(), 1010);
}

#[test]
fn host_bits_never_leave() {
    let update = announce(vec!["192.0.2.80/24".parse().unwrap()], "10.0.0.1", Attributes::default());
    let (_, heard) = said(&voice(65001, Kind::External, AsWidth::Four), &[update]);
    assert_eq!(heard.announced, ["192.0.2.0/24".parse().unwrap()].into());
}

#[test]
fn many_prefixes_share_a_message_and_no_message_is_too_long() {
    let voice = voice(65001, Kind::External, AsWidth::Four);
    let v4: Vec<IpNet> =
        (0..5000_u32).map(|n| IpNet::from(IpAddr::from((0x0a00_0000 + n).to_be_bytes()))).collect();
    let v6: Vec<IpNet> =
        (0..5000_u16).map(|n| IpNet::from(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]))).collect();
    for (prefixes, next_hop, octets) in [(v4, "10.0.0.1", 5_usize), (v6, "fd00::1", 17)] {
        let family = Family::of(prefixes[0].addr());
        let (out, reached) = said(&voice, &[announce(prefixes.clone(), next_hop, Attributes::default())]);
        assert_eq!(reached.announced, prefixes.iter().copied().collect());
        assert_eq!(frames(&out).len(), (5000 * octets).div_ceil(4000), "full messages");
        let (out, gone) = said(&voice, &[Update::Withdraw(family, prefixes.clone())]);
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
        // A first octet of zero is taken for a path identifier by the decoder.
        {
            (any::<[u8; 16]>(), 1_u8..=128)
                .prop_map(|(ip, len)| IpNet::new(IpAddr::from(ip), len).unwrap().trunc())
                .boxed()
        }
    };
    proptest::collection::vec(net, 1..400).boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The independent decoder hears what was said.
    #[test]
    fn what_is_said_is_what_is_heard(
        v4 in prefixes(Family::V4),
        v6 in prefixes(Family::V6),
        med in proptest::option::of(any::<u32>()),
        communities in proptest::collection::btree_set(any::<u32>().prop_map(Community), 0..300),
        asn in 1_u32..u32::MAX,
        internal: bool,
        old: bool,
    ) {
        prop_assume!(asn != 23456);
        let kind = if internal { Kind::Internal } else { Kind::External };
        let voice = voice(asn, kind, if old { AsWidth::Two } else { AsWidth::Four });
        let attributes = Attributes { med, communities };
        let (_, heard) = said(&voice, &[
            announce(v4.clone(), "10.0.0.1", attributes.clone()),
            announce(v6.clone(), "fd00::1", attributes.clone()),
        ]);
        prop_assert_eq!(&heard.announced, &v4.iter().chain(&v6).copied().collect());
        prop_assert_eq!(heard.next_hops, ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()].into());
        prop_assert_eq!(heard.meds, med.into_iter().collect());
        prop_assert_eq!(heard.communities, attributes.communities);
        let (_, gone) = said(&voice, &[
            Update::Withdraw(Family::V4, v4.clone()), Update::Withdraw(Family::V6, v6.clone()),
        ]);
        prop_assert_eq!(gone.withdrawn, heard.announced);
        prop_assert!(gone.announced.is_empty());
    }

    /// Any octets, cut anywhere: the same messages and the same error.
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

/// Messages with a frame that is right or nearly so.
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

fn parsed(length: u8, parameters: &[u8]) -> Result<Vec<Capability>, crate::bgp::open::OpenError> {
    let body = [&[4, 0xfd, 0xe8, 0, 9, 10, 0, 0, 1, length], parameters].concat();
    params::open(&body).map(|open| open.capabilities)
}

#[test]
fn capabilities_are_read_one_by_one_and_no_foreign_one_hurts() {
    use Capability::{
        EnhancedRouteRefresh, ForeignMultiprotocol, FourOctetAs, Multiprotocol, Other, RouteRefresh,
    };
    let fqdn = [73, 9, 3, b'f', b'r', b'r', 4, b'l', b'a', b'b', b's'];
    let parameters = [
        [2, 6, 1, 4, 0, 1, 0, 1].as_slice(),
        &[2, 6, 1, 4, 0, 25, 0, 70],
        &[2, 8, 2, 0, 70, 0, 2, 0, 1, 0],
        &[2, 6, 65, 4, 0, 0, 0, 0],
        &[2, 11],
        &fqdn,
        &[2, 0],
        &[2, 3, 65, 1, 9],
    ]
    .concat();
    assert_eq!(
        parsed(u8::try_from(parameters.len()).unwrap(), &parameters),
        Ok(vec![
            Multiprotocol(Family::V4),
            ForeignMultiprotocol,
            RouteRefresh,
            EnhancedRouteRefresh,
            RouteRefresh,
            Other(1),
            FourOctetAs(0),
            Other(73),
            Other(65),
        ])
    );
}

#[test]
fn the_extended_form_is_read_as_rfc_9072_has_it() {
    let parameter = [2, 0, 6, 65, 4, 0, 1, 0, 0];
    let extended = |length: [u8; 2]| [&[255, length[0], length[1]], parameter.as_slice()].concat();
    assert_eq!(parsed(255, &extended([0, 9])), Ok(vec![Capability::FourOctetAs(65536)]));
    assert_eq!(parsed(7, &extended([0, 9])), Ok(vec![Capability::FourOctetAs(65536)]));
    assert!(parsed(255, &extended([0, 10])).is_err());
    assert!(parsed(255, &extended([0, 8])).is_err());
}

#[test]
fn our_open_is_read_as_it_was_meant() {
    let offer = Offer {
        asn: Asn::try_from(4_200_000_000).unwrap(),
        router_id: RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 1, 11)).unwrap(),
        hold_time: 9,
        families: [Family::V4, Family::V6].into(),
        peer_asn: Asn::try_from(65000).unwrap(),
    };
    let mut out = vec![];
    open(&mut out, &offer).unwrap();
    let (messages, error) = run([out.as_slice()]);
    assert_eq!(error, None);
    assert_eq!(
        messages,
        [Message::Open(Ok(Open {
            asn: AS_TRANS,
            hold_time: 9,
            identifier: [10, 0, 1, 11].into(),
            capabilities: vec![
                Capability::Multiprotocol(Family::V4),
                Capability::Multiprotocol(Family::V6),
                Capability::RouteRefresh,
                Capability::EnhancedRouteRefresh,
                Capability::FourOctetAs(4_200_000_000),
            ],
        }))]
    );
    let mut octets = bytes::Bytes::from(out);
    let theirs =
        bgpkit_parser::parser::bgp::messages::parse_bgp_message(&mut octets, false, &AsnLength::Bits32)
            .unwrap();
    let Theirs::Open(theirs) = theirs else { panic!("{theirs:?}") };
    assert_eq!((theirs.hold_time, u32::from(theirs.asn)), (9, 23456));
}
