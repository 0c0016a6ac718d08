//! The messages of router discovery: router solicitations and router advertisements (RFC 4861 sections 4.1 and 4.2).
//!
//! Pure. The kernel computes and checks the checksum of ICMPv6. What is read of an advertisement is that its sender is a router, and for
//! how long.

use std::net::Ipv6Addr;
use std::time::Duration;

/// The types of ICMPv6 (RFC 4861 section 4).
pub const SOLICITATION: u8 = 133;
/// The same.
pub const ADVERTISEMENT: u8 = 134;
/// A packet with this hop limit was not forwarded by a router, so its sender is on the link (RFC 4861 section 6.1).
pub const HOP_LIMIT: u8 = 255;

/// The octets of an advertisement without options.
const ADVERTISEMENT_HEADER: usize = 16;
/// The octets of a solicitation without options.
const SOLICITATION_HEADER: usize = 8;
/// The option with the sender's link-layer address (RFC 4861 section 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// A message of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryMessage {
    /// It asks the routers of the link to advertise themselves.
    Solicitation,
    /// It is a router. `lifetime`: for how long it may be a default router, whole seconds; zero: it is none (RFC 4861 section 4.2).
    Advertisement {
        /// The Router Lifetime.
        lifetime: Duration,
    },
}

/// Why a message is ignored (RFC 4861 sections 6.1.1 and 6.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryFlaw {
    /// Its type is neither of the two.
    #[error("its type is another one")]
    Kind,
    /// Its hop limit is not 255, or the kernel has not said it.
    #[error("its hop limit is not 255")]
    HopLimit,
    /// It comes from an address that its sender cannot have.
    #[error("its source is not link-local")]
    Source,
    /// Its code is not 0.
    #[error("its code is not 0")]
    Code,
    /// It is shorter than its header.
    #[error("it is too short")]
    Short,
    /// An option has the length 0, or is longer than the message, or may not be there.
    #[error("an option is malformed")]
    Option,
}

/// Reads a message, from the type of ICMPv6 on. `hop_limit`: the one with which it arrived.
///
/// # Errors
///
/// It has to be ignored.
pub fn read(
    octets: &[u8],
    source: Ipv6Addr,
    hop_limit: Option<u8>,
) -> Result<DiscoveryMessage, DiscoveryFlaw> {
    let [kind, code, ..] = octets else { return Err(DiscoveryFlaw::Short) };
    let header = match *kind {
        SOLICITATION => SOLICITATION_HEADER,
        ADVERTISEMENT => ADVERTISEMENT_HEADER,
        _ => return Err(DiscoveryFlaw::Kind),
    };
    if hop_limit != Some(HOP_LIMIT) {
        return Err(DiscoveryFlaw::HopLimit);
    }
    if *code != 0 {
        return Err(DiscoveryFlaw::Code);
    }
    let options = octets.get(header..).ok_or(DiscoveryFlaw::Short)?;
    if *kind == SOLICITATION {
        // A host that has no address yet asks too, and then names no link-layer address.
        if source.is_unspecified() {
            return match option_kinds(options)?.contains(&SOURCE_LINK_LAYER_ADDRESS) {
                true => Err(DiscoveryFlaw::Option),
                false => Ok(DiscoveryMessage::Solicitation),
            };
        }
        option_kinds(options)?;
        return if source.is_multicast() {
            Err(DiscoveryFlaw::Source)
        } else {
            Ok(DiscoveryMessage::Solicitation)
        };
    }
    if !source.is_unicast_link_local() {
        return Err(DiscoveryFlaw::Source);
    }
    option_kinds(options)?;
    let seconds = octets.get(6..8).and_then(|octets| octets.try_into().ok()).map_or(0, u16::from_be_bytes);
    Ok(DiscoveryMessage::Advertisement { lifetime: Duration::from_secs(seconds.into()) })
}

/// The types of the options; each has a length in units of eight octets (RFC 4861 section 4.6).
fn option_kinds(options: &[u8]) -> Result<Vec<u8>, DiscoveryFlaw> {
    let (mut kinds, mut rest) = (Vec::new(), options);
    while let [kind, length, ..] = rest {
        let length = 8 * usize::from(*length);
        rest = rest.get(length..).filter(|_| length > 0).ok_or(DiscoveryFlaw::Option)?;
        kinds.push(*kind);
    }
    if rest.is_empty() { Ok(kinds) } else { Err(DiscoveryFlaw::Option) }
}

/// The advertisement of a host that is no default router: the lifetime is 0, and nothing else is specified, so that no host on the
/// link changes anything because of it.
pub const fn advertisement() -> [u8; ADVERTISEMENT_HEADER] {
    let mut octets = [0; ADVERTISEMENT_HEADER];
    octets[0] = ADVERTISEMENT;
    octets
}

/// A solicitation.
pub const fn solicitation() -> [u8; SOLICITATION_HEADER] {
    let mut octets = [0; SOLICITATION_HEADER];
    octets[0] = SOLICITATION;
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: &str = "fe80::1";

    /// An advertisement with this lifetime and these octets of options.
    fn advertised(lifetime: u16, options: &[u8]) -> Vec<u8> {
        let [high, low] = lifetime.to_be_bytes();
        [&[134, 0, 9, 9, 64, 0xc0, high, low, 0, 0, 0, 0, 0, 0, 0, 0], options].concat()
    }

    #[test]
    fn rfc_4861_6_1_2_an_advertisement_counts_or_is_ignored() {
        use DiscoveryFlaw::{Code, HopLimit, Kind, Option, Short, Source};
        let option = [1, 1, 2, 0, 0, 0, 0, 1];
        let good = |seconds| Ok(DiscoveryMessage::Advertisement { lifetime: Duration::from_secs(seconds) });
        let changed = |at: usize, octet: u8| {
            let mut octets = advertised(1800, &[]);
            octets[at] = octet;
            octets
        };
        for (octets, source, hop_limit, want) in [
            (advertised(1800, &[]), ROUTER, Some(255), good(1800)),
            (advertised(0, &option), ROUTER, Some(255), good(0)),
            (advertised(65535, &[option, option].concat()), ROUTER, Some(255), good(65535)),
            (advertisement().to_vec(), ROUTER, Some(255), good(0)),
            (advertised(1800, &[]), ROUTER, Some(254), Err(HopLimit)),
            (advertised(1800, &[]), ROUTER, None, Err(HopLimit)),
            (advertised(1800, &[]), "2001:db8::1", Some(255), Err(Source)),
            (advertised(1800, &[]), "::", Some(255), Err(Source)),
            (advertised(1800, &[]), "ff02::1", Some(255), Err(Source)),
            (changed(1, 1), ROUTER, Some(255), Err(Code)),
            (changed(0, 135), ROUTER, Some(255), Err(Kind)),
            (advertised(1800, &[])[..15].to_vec(), ROUTER, Some(255), Err(Short)),
            (vec![134], ROUTER, Some(255), Err(Short)),
            (vec![], ROUTER, Some(255), Err(Short)),
            (advertised(1800, &[1, 0, 0, 0, 0, 0, 0, 0]), ROUTER, Some(255), Err(Option)),
            (advertised(1800, &[1, 2, 0, 0, 0, 0, 0, 0]), ROUTER, Some(255), Err(Option)),
            (advertised(1800, &[1]), ROUTER, Some(255), Err(Option)),
        ] {
            assert_eq!(
                read(&octets, source.parse().unwrap(), hop_limit),
                want,
                "{octets:?} {source} {hop_limit:?}"
            );
        }
    }

    #[test]
    fn rfc_4861_6_1_1_a_solicitation_counts_or_is_ignored() {
        use DiscoveryFlaw::{Code, HopLimit, Option, Short, Source};
        let option = [1, 1, 2, 0, 0, 0, 0, 1];
        let other = [14, 1, 2, 0, 0, 0, 0, 1];
        let with = |options: &[u8]| [&solicitation(), options].concat();
        let good = Ok(DiscoveryMessage::Solicitation);
        for (octets, source, hop_limit, want) in [
            (with(&[]), "fe80::2", Some(255), good),
            (with(&option), "2001:db8::2", Some(255), good),
            (with(&[]), "::", Some(255), good),
            (with(&other), "::", Some(255), good),
            (with(&option), "::", Some(255), Err(Option)),
            (with(&[]), "ff02::2", Some(255), Err(Source)),
            (with(&[]), "fe80::2", Some(64), Err(HopLimit)),
            (vec![133, 1, 0, 0, 0, 0, 0, 0], "fe80::2", Some(255), Err(Code)),
            (with(&[])[..7].to_vec(), "fe80::2", Some(255), Err(Short)),
            (with(&[1, 0]), "fe80::2", Some(255), Err(Option)),
        ] {
            assert_eq!(
                read(&octets, source.parse().unwrap(), hop_limit),
                want,
                "{octets:?} {source} {hop_limit:?}"
            );
        }
    }

    #[test]
    fn what_is_sent_is_what_rfc_4861_wants() {
        assert_eq!(advertisement(), [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(solicitation(), [133, 0, 0, 0, 0, 0, 0, 0]);
    }
}
