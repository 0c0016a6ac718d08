//! The codec: converts octets to messages and back. Only this module uses zettabgp.
//!
//! Pure. RFC 4271 §4, RFC 4760, RFC 2545, RFC 8950, RFC 6793, RFC 2918 and 7313, RFC 4724 §2, RFC 4360, RFC 8092. Our own code does
//! the framing, the parameters of OPEN, the lengths of UPDATE and NOTIFICATION ([`frame`], [`params`]). zettabgp decodes single
//! capabilities whose length was checked before. It encodes only the attributes that it encodes correctly, into a buffer that is
//! always large enough. Our own code also encodes OPEN, AS_PATH (zettabgp swaps AS_SET and AS_SEQUENCE), MP_REACH_NLRI, and
//! extended and large communities.

pub mod frame;
mod params;

use std::net::IpAddr;

use ipnet::IpNet;
use zettabgp::prelude::*;

use crate::bgp::notification::Notification;
use crate::bgp::open::{AsWidth, Capability, Offer, PeerKind};
use crate::model::{AS_TRANS, Asn, Family, Origin};
use crate::rib::{Attributes, NextHop, Update};

pub use frame::{Framer, Message};

/// The longest message (RFC 4271 §4.1).
pub const MAX_LENGTH: usize = 4096;
/// Marker, length and type.
const HEADER_LENGTH: usize = 19;
/// The size of the buffer. Our messages are built from parts of at most 4,096 octets, and are always much shorter.
const SCRATCH: usize = 65_535;
/// The default LOCAL_PREF of our routes on iBGP (RFC 4271 §5.1.5).
const LOCAL_PREF: u32 = 100;

/// Why a message could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The attributes leave no room for a prefix.
    #[error("the attributes of {0} do not fit into a message of 4,096 octets; give it fewer communities")]
    TooLong(IpNet),
    /// zettabgp returned an error.
    #[error("the message cannot be encoded: {0}")]
    Codec(String),
}

impl From<BgpError> for EncodeError {
    fn from(error: BgpError) -> Self {
        EncodeError::Codec(error.to_string())
    }
}

/// The properties of a session on which the encoding of an UPDATE depends, besides the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Our AS.
    pub asn: Asn,
    /// Whether the peer is in our AS.
    pub kind: PeerKind,
    /// The size of AS numbers in AS_PATH.
    pub as_width: AsWidth,
}

/// The subtypes of ROUTE-REFRESH that we send (RFC 7313 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshMarker {
    /// BoRR.
    Begin,
    /// EoRR.
    End,
}

/// Appends an OPEN. Each capability has its own parameter, because the oldest peers require it.
pub fn open(out: &mut Vec<u8>, offer: &Offer) {
    let parameters = params::offered(offer);
    let asn = u16::try_from(offer.asn.get()).unwrap_or(AS_TRANS);
    let mut body = vec![params::VERSION];
    body.extend(asn.to_be_bytes());
    body.extend(offer.hold_time.to_be_bytes());
    body.extend(offer.router_id.get().octets());
    // Two families and all other capabilities are less than 60 octets.
    body.push(u8::try_from(parameters.len()).unwrap_or(u8::MAX));
    body.extend(parameters);
    framed(out, &BgpMessageType::Open, &body);
}

/// Appends a KEEPALIVE.
pub fn keepalive(out: &mut Vec<u8>) {
    framed(out, &BgpMessageType::Keepalive, &[]);
}

/// Appends a NOTIFICATION; data that would make it too long is cut.
pub fn notification(out: &mut Vec<u8>, notification: &Notification) {
    let mut body = vec![notification.code, notification.subcode];
    body.extend(&notification.data);
    body.truncate(MAX_LENGTH - HEADER_LENGTH);
    framed(out, &BgpMessageType::Notification, &body);
}

/// Appends a BoRR or an EoRR.
///
/// # Errors
/// [`EncodeError::Codec`] if zettabgp returns an error.
pub fn refresh_bound(out: &mut Vec<u8>, family: Family, bound: RefreshMarker) -> Result<(), EncodeError> {
    let (afi, safi) = afi_safi(family);
    let subtype = match bound {
        RefreshMarker::Begin => 1,
        RefreshMarker::End => 2,
    };
    append(out, BgpMessageType::Routerefresh, &BgpRouterefreshMessage { afi, safi, subtype })
}

/// Appends the UPDATEs for one [`Update`], and returns their number.
///
/// # Errors
/// [`EncodeError::TooLong`] when the attributes leave no room for a prefix; then nothing is appended.
pub fn update(out: &mut Vec<u8>, encoding: &Encoding, update: &Update) -> Result<u64, EncodeError> {
    match update {
        Update::EndOfRib(family) => {
            append(out, BgpMessageType::Update, &withdrawal(*family, &[])).map(|()| 1)
        }
        Update::Withdraw(family, prefixes) => split(out, prefixes, |chunk| withdrawal(*family, chunk)),
        Update::Announce { family, next_hop, attributes, prefixes } => {
            // With more octets, the scratch buffer could be too short, and zettabgp would panic.
            let octets = attributes.communities.len() * 4
                + attributes.extended_communities.len() * 8
                + attributes.large_communities.len() * 12;
            if octets > MAX_LENGTH {
                return Err(prefixes.first().map_or_else(
                    || EncodeError::Codec("no prefix".into()),
                    |first| EncodeError::TooLong(*first),
                ));
            }
            split(out, prefixes, |chunk| announcement(encoding, *family, *next_hop, attributes, chunk))
        }
    }
}

/// Fills each message with as many prefixes as possible.
fn split(
    out: &mut Vec<u8>,
    prefixes: &[IpNet],
    build: impl Fn(&[IpNet]) -> BgpUpdateMessage,
) -> Result<u64, EncodeError> {
    let start = out.len();
    let room = MAX_LENGTH.saturating_sub(HEADER_LENGTH + body(&build(&[]))?.len());
    let mut rest = prefixes;
    let mut messages = 0;
    while let [first, ..] = rest {
        let mut used = 0;
        let fits = rest.iter().take_while(|prefix| {
            used += nlri_length(prefix);
            used <= room
        });
        let count = fits.count();
        if count == 0 {
            out.truncate(start);
            return Err(EncodeError::TooLong(*first));
        }
        let (chunk, later) = rest.split_at(count);
        append(out, BgpMessageType::Update, &build(chunk))?;
        messages += 1;
        rest = later;
    }
    Ok(messages)
}

/// The octets of a prefix in NLRI (RFC 4271 §4.3).
fn nlri_length(prefix: &IpNet) -> usize {
    1 + usize::from(prefix.prefix_len().div_ceil(8))
}

fn withdrawal(family: Family, prefixes: &[IpNet]) -> BgpUpdateMessage {
    let mut message = BgpUpdateMessage::new();
    match family {
        Family::V4 => message.withdraws = nlri(family, prefixes),
        Family::V6 => {
            let gone = BgpMPWithdraws { addrs: nlri(family, prefixes) };
            message.attrs.push(BgpAttrItem::MPWithdraws(gone));
        }
    }
    message
}

/// MP_REACH comes first (RFC 7606 §5.1), the other attributes follow by their type codes.
fn announcement(
    encoding: &Encoding,
    family: Family,
    next_hop: NextHop,
    attributes: &Attributes,
    prefixes: &[IpNet],
) -> BgpUpdateMessage {
    let mut message = BgpUpdateMessage::new();
    let attrs = &mut message.attrs;
    let classic = match next_hop {
        NextHop::V4(ip) => Some(ip),
        NextHop::V6(global) => {
            attrs.push(reach(family, &global.octets(), prefixes));
            None
        }
        NextHop::V6AndLinkLocal(global, link_local) => {
            attrs.push(reach(family, &[global.octets(), link_local.octets()].concat(), prefixes));
            None
        }
    };
    attrs.push(BgpAttrItem::Origin(BgpOrigin::new(match attributes.origin {
        Origin::Igp => BgpAttrOrigin::Igp,
        Origin::Egp => BgpAttrOrigin::Egp,
        Origin::Incomplete => BgpAttrOrigin::Incomplete,
    })));
    attrs.push(as_path(encoding, attributes.prepend));
    if let Some(next_hop) = classic {
        attrs.push(BgpAttrItem::NextHop(BgpNextHop::new(next_hop.into())));
        message.updates = nlri(family, prefixes);
    }
    attrs.extend(attributes.med.map(|med| BgpAttrItem::MED(BgpMED::new(med))));
    if encoding.kind == PeerKind::Internal {
        let preference = attributes.local_pref.unwrap_or(LOCAL_PREF);
        attrs.push(BgpAttrItem::LocalPref(BgpLocalpref::new(preference)));
    }
    if !attributes.communities.is_empty() {
        let list = attributes.communities.iter().map(|community| BgpCommunity::new(community.0)).collect();
        attrs.push(BgpAttrItem::CommunityList(BgpCommunityList::from_vec(list)));
    }
    if !attributes.extended_communities.is_empty() {
        let octets = attributes.extended_communities.iter().flat_map(|community| community.0).collect();
        attrs.push(raw(EXTENDED_COMMUNITIES, OPTIONAL | TRANSITIVE, octets));
    }
    attrs.extend(as4_path(encoding, attributes.prepend));
    if !attributes.large_communities.is_empty() {
        let numbers = attributes.large_communities.iter().flat_map(|community| community.0);
        let octets = numbers.flat_map(u32::to_be_bytes).collect();
        attrs.push(raw(LARGE_COMMUNITY, OPTIONAL | TRANSITIVE, octets));
    }
    message
}

/// MP_REACH_NLRI (RFC 4760 §3): zettabgp supports neither a next hop of 32 octets nor one of another family.
fn reach(family: Family, next_hop: &[u8], prefixes: &[IpNet]) -> BgpAttrItem {
    let (afi, safi) = afi_safi(family);
    let mut value = afi.to_be_bytes().to_vec();
    value.push(safi);
    // 16 or 32.
    value.push(u8::try_from(next_hop.len()).unwrap_or(u8::MAX));
    value.extend(next_hop);
    value.push(0);
    for prefix in prefixes.iter().map(IpNet::trunc).filter(|prefix| Family::of(prefix.addr()) == family) {
        value.push(prefix.prefix_len());
        let octets = match prefix.addr() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        value.extend(octets.iter().take(nlri_length(&prefix) - 1));
    }
    raw(MP_REACH_NLRI, OPTIONAL | EXTENDED_LENGTH, value)
}

const AS_PATH: u8 = 2;
const MP_REACH_NLRI: u8 = 14;
const EXTENDED_COMMUNITIES: u8 = 16;
const AS4_PATH: u8 = 17;
const LARGE_COMMUNITY: u8 = 32;
const AS_SEQUENCE: u8 = 2;
const EXTENDED_LENGTH: u8 = 0x10;
const TRANSITIVE: u8 = 0x40;
const OPTIONAL: u8 = 0x80;

/// Our AS, once and as often as it is prepended; empty on iBGP (RFC 4271 §5.1.2).
fn as_path(encoding: &Encoding, prepend: u8) -> BgpAttrItem {
    let value = match (encoding.kind, encoding.as_width) {
        (PeerKind::Internal, _) => vec![],
        (PeerKind::External, AsWidth::Four) => sequence(&encoding.asn.get().to_be_bytes(), prepend),
        (PeerKind::External, AsWidth::Two) => {
            sequence(&u16::try_from(encoding.asn.get()).unwrap_or(AS_TRANS).to_be_bytes(), prepend)
        }
    };
    raw(AS_PATH, TRANSITIVE, value)
}

/// Only if AS_PATH has AS_TRANS (RFC 6793 §4.2.2).
fn as4_path(encoding: &Encoding, prepend: u8) -> Option<BgpAttrItem> {
    let hidden = encoding.kind == PeerKind::External
        && encoding.as_width == AsWidth::Two
        && u16::try_from(encoding.asn.get()).is_err();
    let value = || sequence(&encoding.asn.get().to_be_bytes(), prepend);
    hidden.then(|| raw(AS4_PATH, OPTIONAL | TRANSITIVE, value()))
}

fn sequence(asn: &[u8], prepend: u8) -> Vec<u8> {
    let count = prepend.saturating_add(1);
    [&[AS_SEQUENCE, count], asn.repeat(usize::from(count)).as_slice()].concat()
}

/// An attribute that our own code has encoded. With more than 255 octets it has the extended length, whatever its flags say.
fn raw(typecode: u8, flags: u8, value: Vec<u8>) -> BgpAttrItem {
    let long = if value.len() > usize::from(u8::MAX) { EXTENDED_LENGTH } else { 0 };
    let params = BgpAttrParams { typecode, flags: flags | long };
    BgpAttrItem::Unknown(BgpAttrUnknown { params, value })
}

/// Prefixes with their host bits masked; prefixes of another family are left out.
fn nlri(family: Family, prefixes: &[IpNet]) -> BgpAddrs {
    let masked = prefixes.iter().map(IpNet::trunc);
    match family {
        Family::V4 => BgpAddrs::IPV4U(
            masked
                .filter_map(|prefix| match prefix {
                    IpNet::V4(prefix) => Some(BgpAddrV4::new(prefix.addr(), prefix.prefix_len())),
                    IpNet::V6(_) => None,
                })
                .collect(),
        ),
        Family::V6 => BgpAddrs::IPV6U(
            masked
                .filter_map(|prefix| match prefix {
                    IpNet::V6(prefix) => Some(BgpAddrV6::new(prefix.addr(), prefix.prefix_len())),
                    IpNet::V4(_) => None,
                })
                .collect(),
        ),
    }
}

fn afi_safi(family: Family) -> (u16, u8) {
    match family {
        Family::V4 => (1, 1),
        Family::V6 => (2, 1),
    }
}

/// The session parameters for zettabgp. Its flags for features that we do not use stay off.
fn session() -> BgpSessionParams {
    let mut params = BgpSessionParams::new(0, 0, BgpTransportMode::IPv4, [0, 0, 0, 0].into(), vec![]);
    params.fuzzy_pathid = false;
    params
}

fn body(message: &impl BgpMessage) -> Result<Vec<u8>, EncodeError> {
    let mut scratch = vec![0; SCRATCH];
    let length = message.encode_to(&session(), &mut scratch)?;
    scratch.truncate(length);
    Ok(scratch)
}

fn append(out: &mut Vec<u8>, kind: BgpMessageType, message: &impl BgpMessage) -> Result<(), EncodeError> {
    let body = body(message)?;
    if HEADER_LENGTH + body.len() > MAX_LENGTH {
        return Err(EncodeError::Codec(format!("{} octets are too many", body.len())));
    }
    framed(out, &kind, &body);
    Ok(())
}

/// Appends a header and a body that is short enough.
fn framed(out: &mut Vec<u8>, kind: &BgpMessageType, body: &[u8]) {
    let length = u16::try_from(HEADER_LENGTH + body.len()).unwrap_or(u16::MAX);
    out.extend([0xff; 16]);
    out.extend(length.to_be_bytes());
    out.push(kind.encode());
    out.extend(body);
}

/// Decodes one capability. zettabgp gets only codes and lengths that it decodes correctly; all others are `Other`.
fn capability(code: u8, value: &[u8]) -> Capability {
    if code == params::EXTENDED_NEXT_HOP && value.len().is_multiple_of(6) {
        let ours = value.chunks_exact(6).any(|chunk| chunk == params::V4_OVER_V6);
        return if ours { Capability::ExtendedNextHop } else { Capability::Other(code) };
    }
    let known = matches!((code, value.len()), (1 | 65, 4) | (2 | 70, 0));
    if !known {
        return Capability::Other(code);
    }
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    let tlv = [&[code, length], value].concat();
    match BgpCapability::from_buffer(&tlv) {
        Ok((Ok(BgpCapability::SafiIPv4u), _)) => Capability::Multiprotocol(Family::V4),
        Ok((Ok(BgpCapability::SafiIPv6u), _)) => Capability::Multiprotocol(Family::V6),
        Ok((Ok(BgpCapability::CapRR), _)) => Capability::RouteRefresh,
        Ok((Ok(BgpCapability::CapEnhancedRR), _)) => Capability::EnhancedRouteRefresh,
        Ok((Ok(BgpCapability::CapASN32(asn)), _)) => Capability::FourOctetAs(asn),
        Ok(_) | Err(_) if code == 1 => Capability::ForeignMultiprotocol,
        Ok(_) | Err(_) => Capability::Other(code),
    }
}

#[cfg(test)]
mod tests;
