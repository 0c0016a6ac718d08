//! What a router would make of our messages, by an independent decoder.

use super::*;

/// The frames of a buffer, each decoded by an independent decoder.
pub(super) fn decoded(out: &[u8], width: AsWidth) -> Vec<BgpUpdateMessage> {
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

pub(super) fn frames(mut out: &[u8]) -> Vec<&[u8]> {
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
pub(super) struct ReceivedRoutes {
    pub(super) announced: BTreeSet<IpNet>,
    pub(super) withdrawn: BTreeSet<IpNet>,
    pub(super) next_hops: BTreeSet<IpAddr>,
    pub(super) paths: BTreeSet<Vec<u32>>,
    pub(super) wide_paths: BTreeSet<Vec<u32>>,
    pub(super) origins: BTreeSet<String>,
    pub(super) link_locals: BTreeSet<Ipv6Addr>,
    pub(super) meds: BTreeSet<u32>,
    pub(super) local_prefs: BTreeSet<u32>,
    pub(super) communities: BTreeSet<Community>,
    pub(super) extended_communities: BTreeSet<ExtendedCommunity>,
    pub(super) large_communities: BTreeSet<LargeCommunity>,
}

fn community(theirs: &TheirCommunity) -> Community {
    Community(match theirs {
        TheirCommunity::NoExport => 0xffff_ff01,
        TheirCommunity::NoAdvertise => 0xffff_ff02,
        TheirCommunity::NoExportSubConfed => 0xffff_ff03,
        TheirCommunity::Custom(high, low) => u32::from(*high) << 16 | u32::from(*low),
    })
}

/// The octets that the decoder understood, of the kinds that a configuration has words for.
fn extended(theirs: &Extended) -> ExtendedCommunity {
    let two = |asn: u32| u16::try_from(asn).unwrap().to_be_bytes();
    let octets = match theirs {
        Extended::TransitiveTwoOctetAs(c) => {
            [&[0, c.subtype], two(c.global_admin.into()).as_slice(), &c.local_admin].concat()
        }
        Extended::TransitiveIpv4Addr(c) => {
            [&[1, c.subtype], c.global_admin.octets().as_slice(), &c.local_admin].concat()
        }
        Extended::TransitiveFourOctetAs(c) => {
            [&[2, c.subtype], u32::from(c.global_admin).to_be_bytes().as_slice(), &c.local_admin].concat()
        }
        Extended::LinkBandwidth(c) => {
            let kind = if c.transitive { 0 } else { 0x40 };
            [&[kind, 4], two(c.global_admin.into()).as_slice(), &c.bandwidth.to_be_bytes()].concat()
        }
        Extended::Raw(octets) => octets.to_vec(),
        other => panic!("{other:?} was not said"),
    };
    ExtendedCommunity(octets.try_into().unwrap())
}

fn asns(path: &AsPath) -> Vec<u32> {
    let segments = path.segments.iter().map(|segment| match segment {
        AsPathSegment::AsSequence(asns) => asns.iter().map(|asn| u32::from(*asn)),
        other => panic!("{other:?} is no AS_SEQUENCE"),
    });
    segments.flatten().collect()
}

pub(super) fn received(updates: &[BgpUpdateMessage]) -> ReceivedRoutes {
    let mut received = ReceivedRoutes::default();
    for update in updates {
        received.announced.extend(update.announced_prefixes.iter().map(|p| p.prefix));
        received.withdrawn.extend(update.withdrawn_prefixes.iter().map(|p| p.prefix));
        assert!(
            update.attributes.validation_warnings().is_empty(),
            "{:?}",
            update.attributes.validation_warnings()
        );
        for attribute in update.attributes.iter() {
            match attribute {
                AttributeValue::NextHop(ip) => drop(received.next_hops.insert(*ip)),
                AttributeValue::MultiExitDiscriminator(med) => drop(received.meds.insert(*med)),
                AttributeValue::LocalPreference(pref) => drop(received.local_prefs.insert(*pref)),
                AttributeValue::AsPath(path) => drop(received.paths.insert(asns(path))),
                AttributeValue::As4Path(path) => drop(received.wide_paths.insert(asns(path))),
                AttributeValue::Communities(list) => {
                    received.communities.extend(list.iter().map(community));
                }
                AttributeValue::ExtendedCommunities(list) => {
                    received.extended_communities.extend(list.iter().map(extended));
                }
                AttributeValue::LargeCommunities(list) => received.large_communities.extend(
                    list.iter().map(|c| LargeCommunity([c.global_admin, c.local_data[0], c.local_data[1]])),
                ),
                AttributeValue::MpReachNlri(nlri) => {
                    received.announced.extend(nlri.prefixes.iter().map(|p| p.prefix));
                    match nlri.next_hop.unwrap() {
                        NextHopAddress::Ipv6LinkLocal(global, link_local) => {
                            received.next_hops.insert(global.into());
                            received.link_locals.insert(link_local);
                        }
                        one => drop(received.next_hops.insert(one.addr())),
                    }
                }
                AttributeValue::MpUnreachNlri(nlri) => {
                    received.withdrawn.extend(nlri.prefixes.iter().map(|p| p.prefix))
                }
                AttributeValue::Origin(origin) => {
                    received.origins.insert(origin.to_string().to_lowercase());
                }
                other => panic!("we never send {other:?}"),
            }
        }
    }
    received
}
