//! A range of VIPs in announcer's configuration, as in `192.0.2.80-192.0.2.89`. announcer uses this file too.
//!
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most addresses of a range: what one host can serve, and not a network by mistake.
pub const MOST: u128 = 256;

/// Why a text is not a range. The message continues the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// It has a `-`, and not an address before and after it. With the range that was probably meant.
    #[error(
        "is not a range of addresses; write the first and the last address, as in `192.0.2.80-192.0.2.89`"
    )]
    NoRange(Option<(IpAddr, IpAddr)>),
    /// One end is IPv4 and the other IPv6.
    #[error("is not a range of addresses of one family")]
    Families,
    /// The last address is below the first one. With both, the lower one first.
    #[error("ends before it begins; write the lower address first")]
    Descends(IpAddr, IpAddr),
    /// It has more than [`MOST`] addresses. With the address at which it would have to end.
    #[error("has more than {MOST} addresses; write several ranges")]
    TooLong(IpAddr),
}

/// The addresses of a range, in their order; `None`: the text has no `-`, so that it is no range.
///
/// # Errors
/// See [`RangeError`].
pub fn addresses(text: &str) -> Option<Result<Vec<IpAddr>, RangeError>> {
    let (first, last) = text.split_once('-')?;
    let (Ok(first), Ok(last)) = (first.parse::<IpAddr>(), last.parse::<IpAddr>()) else {
        return Some(Err(RangeError::NoRange(meant(first.trim(), last.trim()))));
    };
    if first.is_ipv4() != last.is_ipv4() {
        return Some(Err(RangeError::Families));
    }
    let (from, to) = (number(first), number(last));
    Some(match to.checked_sub(from) {
        None => Err(RangeError::Descends(last, first)),
        Some(more) if more >= MOST => Err(RangeError::TooLong(nth(first, from + (MOST - 1)))),
        Some(_) => Ok((from..=to).map(|one| nth(first, one)).collect()),
    })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The address with this number, of the same family as `like`.
fn nth(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

/// The range that a text with blanks, or with the last octet alone, as in `192.0.2.80-89`, probably means.
fn meant(first: &str, last: &str) -> Option<(IpAddr, IpAddr)> {
    let first: IpAddr = first.parse().ok()?;
    let last: IpAddr = match (first, last.parse::<u8>()) {
        (IpAddr::V4(v4), Ok(octet)) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, octet).into()
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => last.parse().ok()?,
    };
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_ends_and_at_most_256_addresses() {
        let found = |text: &str| {
            addresses(text).map(|found| found.map(|all| (all.len(), all[0], all[all.len() - 1])))
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, want) in [
            ("192.0.2.80", None),
            ("2001:db8::80", None),
            ("192.0.2.80-192.0.2.80", Some(Ok((1, ip("192.0.2.80"), ip("192.0.2.80"))))),
            ("192.0.2.250-192.0.3.4", Some(Ok((11, ip("192.0.2.250"), ip("192.0.3.4"))))),
            ("192.0.2.0-192.0.2.255", Some(Ok((256, ip("192.0.2.0"), ip("192.0.2.255"))))),
            ("192.0.2.0-192.0.3.0", Some(Err(RangeError::TooLong(ip("192.0.2.255"))))),
            ("2001:db8::ff-2001:db8::101", Some(Ok((3, ip("2001:db8::ff"), ip("2001:db8::101"))))),
            ("2001:db8::1-2001:db8::0", Some(Err(RangeError::Descends(ip("2001:db8::"), ip("2001:db8::1"))))),
            ("192.0.2.1-2001:db8::1", Some(Err(RangeError::Families))),
            ("192.0.2.80-89", Some(Err(RangeError::NoRange(Some((ip("192.0.2.80"), ip("192.0.2.89"))))))),
            ("a-b", Some(Err(RangeError::NoRange(None)))),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(Err(RangeError::TooLong(ip("::ff"))))),
            (
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some(Ok((
                    256,
                    ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00"),
                    ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                ))),
            ),
            ("255.255.255.254-255.255.255.255", Some(Ok((2, ip("255.255.255.254"), ip("255.255.255.255"))))),
        ] {
            assert_eq!(found(text), want, "{text}");
        }
    }
}
