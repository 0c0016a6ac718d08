//! OPEN's body: fixed fields, optional parameters, capabilities.
//!
//! Pure. RFC 4271 §4.2, RFC 5492 §4, RFC 9072 (parameters beyond 255 octets). Every length is checked before it is used.

use std::net::Ipv4Addr;

use crate::bgp::open::{Capability, Open, OpenError};
use crate::bgp::wire::capability;

const VERSION: u8 = 4;
const CAPABILITIES: u8 = 2;
/// Marks the extended form (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// How wide the length of an optional parameter is.
#[derive(Debug, Clone, Copy)]
enum Width {
    One,
    Two,
}

/// Reads an OPEN, without judging what it says beyond its version.
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

/// A value with its length before it, and what follows.
fn value(width: Width, octets: &[u8]) -> Result<(&[u8], &[u8]), OpenError> {
    let (length, rest) = match (width, octets) {
        (Width::One, [length, rest @ ..]) => (usize::from(*length), rest),
        (Width::Two, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        (Width::One | Width::Two, _) => return Err(OpenError::Malformed),
    };
    rest.split_at_checked(length).ok_or(OpenError::Malformed)
}
