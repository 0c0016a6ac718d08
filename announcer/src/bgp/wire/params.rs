//! OPEN's body: fixed fields, optional parameters, capabilities.
//!
//! Pure. RFC 4271 §4.2, RFC 5492 §4, RFC 9072 (parameters beyond 255 octets). Every length is checked before it is used.

use std::net::Ipv4Addr;

use crate::bgp::open::{Capability, Offer, Open, OpenError, Restart};
use crate::bgp::wire::{afi_safi, capability};
use crate::model::Family;

pub(super) const VERSION: u8 = 4;
const CAPABILITIES: u8 = 2;
/// Capability codes that our own code encodes or decodes (RFC 5492, IANA).
pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
/// AFI 1, SAFI 1, next hop AFI 2 (RFC 8950 §4).
pub(super) const V4_OVER_V6: [u8; 6] = [0, 1, 0, 1, 0, 2];
/// The flags of RFC 4724 §3: restart state, and forwarding state of a family.
const RESTARTED: u16 = 0x8000;
const KEPT: u8 = 0x80;
/// Restart Time has 12 bits.
const LONGEST_RESTART: u16 = 0x0fff;
/// Marks the extended form (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// The size of the length field of an optional parameter.
#[derive(Debug, Clone, Copy)]
enum Width {
    One,
    Two,
}

/// Reads an OPEN, and checks only its version.
pub(super) fn open(body: &[u8]) -> Result<Open, OpenError> {
    let (fixed, parameters) = body.split_first_chunk::<10>().ok_or(OpenError::Malformed)?;
    let [version, as_high, as_low, hold_high, hold_low, a, b, c, d, length] = *fixed;
    if version != VERSION {
        return Err(OpenError::Version(version));
    }
    Ok(Open {
        asn: u16::from_be_bytes([as_high, as_low]),
        hold_time: u16::from_be_bytes([hold_high, hold_low]),
        identifier: Ipv4Addr::new(a, b, c, d),
        capabilities: parameters_of(length, parameters)?,
    })
}

/// Our optional parameters. A session with IPv4 always has the capability for IPv4, because BIRD answers 2/7 without it.
pub(super) fn offered(offer: &Offer) -> Vec<u8> {
    let mut out = Vec::new();
    if !offer.capabilities {
        return out;
    }
    for family in &offer.families {
        let [afi_high, afi_low, safi] = numbers(*family);
        parameter(&mut out, MULTIPROTOCOL, &[afi_high, afi_low, 0, safi]);
    }
    parameter(&mut out, ROUTE_REFRESH, &[]);
    parameter(&mut out, ENHANCED_ROUTE_REFRESH, &[]);
    parameter(&mut out, FOUR_OCTET_AS, &offer.asn.get().to_be_bytes());
    if offer.extended_next_hop {
        parameter(&mut out, EXTENDED_NEXT_HOP, &V4_OVER_V6);
    }
    if let Some(Restart { seconds, restarted, kept }) = &offer.restart {
        let flags = if *restarted { RESTARTED } else { 0 };
        let mut value = (flags | (*seconds).min(LONGEST_RESTART)).to_be_bytes().to_vec();
        for family in &offer.families {
            value.extend(numbers(*family));
            value.push(if kept.contains(family) { KEPT } else { 0 });
        }
        parameter(&mut out, GRACEFUL_RESTART, &value);
    }
    out
}

fn numbers(family: Family) -> [u8; 3] {
    let (afi, safi) = afi_safi(family);
    let [high, low] = afi.to_be_bytes();
    [high, low, safi]
}

fn parameter(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    // Our longest value has 10 octets.
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    out.extend([CAPABILITIES, length.saturating_add(2), code, length]);
    out.extend(value);
}

fn parameters_of(length: u8, octets: &[u8]) -> Result<Vec<Capability>, OpenError> {
    let (width, mut rest) = match octets {
        [EXTENDED, after @ ..] if length != 0 => {
            let (length, rest) = after.split_first_chunk::<2>().ok_or(OpenError::Malformed)?;
            exact(rest, usize::from(u16::from_be_bytes(*length)))?;
            (Width::Two, rest)
        }
        rest => {
            exact(rest, usize::from(length))?;
            (Width::One, rest)
        }
    };
    let mut capabilities = Vec::new();
    while let [kind, after @ ..] = rest {
        let (value, later) = value(width, after)?;
        if *kind != CAPABILITIES {
            return Err(OpenError::Parameter(*kind));
        }
        capabilities_of(value, &mut capabilities)?;
        rest = later;
    }
    Ok(capabilities)
}

fn exact(octets: &[u8], length: usize) -> Result<(), OpenError> {
    if octets.len() == length { Ok(()) } else { Err(OpenError::Malformed) }
}

fn capabilities_of(mut rest: &[u8], capabilities: &mut Vec<Capability>) -> Result<(), OpenError> {
    while let [code, after @ ..] = rest {
        let (value, later) = value(Width::One, after)?;
        capabilities.push(capability(*code, value));
        rest = later;
    }
    Ok(())
}

/// Reads a value that begins with its length; returns the value and the rest.
fn value(width: Width, octets: &[u8]) -> Result<(&[u8], &[u8]), OpenError> {
    let (length, rest) = match (width, octets) {
        (Width::One, [length, rest @ ..]) => (usize::from(*length), rest),
        (Width::Two, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        (Width::One | Width::Two, _) => return Err(OpenError::Malformed),
    };
    rest.split_at_checked(length).ok_or(OpenError::Malformed)
}
