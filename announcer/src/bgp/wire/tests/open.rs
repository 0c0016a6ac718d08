//! OPEN and its capabilities.

use super::*;

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
        min_hold_time: 0,
        families: [Family::V4, Family::V6].into(),
        peer_asn: PeerAsn::External,
        capabilities: true,
        extended_next_hop: true,
        restart: Some(Restart { seconds: 10, restarted: true, kept: [Family::V6].into() }),
    };
    let mut out = vec![];
    open(&mut out, &offer);
    // RFC 4724 §3: R and 10 s; IPv4 without F, IPv6 with it.
    let restart = [2, 12, 64, 10, 0x80, 10, 0, 1, 1, 0, 0, 2, 1, 0x80];
    assert!(out.windows(restart.len()).any(|octets| octets == restart), "{out:02x?}");
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
                Capability::ExtendedNextHop,
                Capability::Other(64),
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

// B24
#[test]
fn an_open_without_capabilities_has_no_parameter_and_a_short_as() {
    let offer = Offer {
        asn: Asn::try_from(4_200_000_000).unwrap(),
        router_id: RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 1, 11)).unwrap(),
        min_hold_time: 0,
        hold_time: 9,
        families: [Family::V4].into(),
        peer_asn: PeerAsn::External,
        capabilities: false,
        extended_next_hop: true,
        restart: Some(Restart { seconds: 10, restarted: true, kept: [].into() }),
    };
    let mut out = vec![];
    open(&mut out, &offer);
    // RFC 4271 §4.2: version, AS_TRANS, hold time, identifier, and no octet of parameters.
    assert_eq!(out[19..], [4, 0x5b, 0xa0, 0, 9, 10, 0, 1, 11, 0]);
}
