//! Communities: standard, extended and large, as text and as the octets in a route.
//!
//! Pure. RFC 1997 and its well-known names, RFC 4360 and 5668 (extended), RFC 8092 (large), draft-ietf-idr-link-bandwidth.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::{AS_TRANS, InvalidValue, asdot};

/// A standard community (RFC 1997), written `65001:80` or by its well-known name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// The names of IANA's list, in the spelling of routers. The first name of a value is used for output.
const WELL_KNOWN: &[(&str, u32)] = &[
    ("graceful-shutdown", 0xffff_0000),
    ("accept-own", 0xffff_0001),
    ("llgr-stale", 0xffff_0006),
    ("no-llgr", 0xffff_0007),
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
    ("local-as", 0xffff_ff03),
    ("no-peer", 0xffff_ff04),
];

impl FromStr for Community {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(Community(*value));
        }
        let halves =
            text.split_once(':').and_then(|(high, low)| Some((number::<u16>(high)?, number::<u16>(low)?)));
        match halves {
            Some((high, low)) => Ok(Community(u32::from(high) << 16 | u32::from(low))),
            None => Err(InvalidValue(format!(
                "`{}` is not a community; {}",
                text.escape_debug(),
                Community::help(text)
            ))),
        }
    }
}

impl Community {
    /// What to write instead of an invalid text.
    fn help(text: &str) -> String {
        let parts: Vec<&str> = text.split(':').collect();
        let asn = |text: &str| number::<u32>(text).or_else(|| asdot(text));
        match parts.as_slice() {
            [high, low] => match (asn(high), number::<u32>(low)) {
                (Some(high), Some(low)) if high > 0xffff || low > 0xffff => format!(
                    "a number above 65535 needs a large community: write three numbers in `large_communities`, as in `{high}:{low}:0`"
                ),
                (Some(high), Some(low)) => format!("write `{high}:{low}`"),
                (_, _) => Self::HELP.into(),
            },
            ["rt" | "soo" | "bandwidth", ..] => "write it in `extended_communities`".into(),
            [_, _, _] if parts.iter().all(|part| asn(part).is_some()) => {
                "write it in `large_communities`".into()
            }
            _ => Self::HELP.into(),
        }
    }

    const HELP: &str = "write two numbers of 0 to 65535, as in `65001:80`, or a name such as `no-export`";
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WELL_KNOWN.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

/// An extended community (RFC 4360), as eight octets.
///
/// Written `rt:65001:80`, `rt:10.0.0.1:80` (route target), `soo:…` (site of origin), `bandwidth:65001:125000000` (octets
/// a second), or `0x` and sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// The types of RFC 4360 §3 and RFC 5668, which depend on the administrator's number.
const TWO_OCTET_AS: u8 = 0;
const IPV4: u8 = 1;
const FOUR_OCTET_AS: u8 = 2;
/// A type that stays inside the AS, with a two-octet AS.
const LOCAL_TWO_OCTET_AS: u8 = 0x40;
const ROUTE_TARGET: u8 = 2;
const SITE_OF_ORIGIN: u8 = 3;
const LINK_BANDWIDTH: u8 = 4;

impl ExtendedCommunity {
    /// A link bandwidth in octets a second, non-transitive, with an AS; one of four octets is AS_TRANS
    /// (draft-ietf-idr-link-bandwidth).
    pub fn link_bandwidth(asn: u32, rate: f32) -> Self {
        let [a, b] = u16::try_from(asn).unwrap_or(AS_TRANS).to_be_bytes();
        let [c, d, e, f] = rate.to_be_bytes();
        Self([LOCAL_TWO_OCTET_AS, LINK_BANDWIDTH, a, b, c, d, e, f])
    }

    /// Whether it is a link bandwidth, transitive or not.
    pub fn is_link_bandwidth(&self) -> bool {
        let [high, low, ..] = self.0;
        low == LINK_BANDWIDTH && (high == LOCAL_TWO_OCTET_AS || high == TWO_OCTET_AS)
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(digits) = text.strip_prefix("0x") {
            let plain = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            return plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten().map(Self::from);
        }
        let mut parts = text.split(':');
        let (kind, admin, value) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        match kind {
            "rt" => Self::numbered(ROUTE_TARGET, admin, value),
            "soo" => Self::numbered(SITE_OF_ORIGIN, admin, value),
            "bandwidth" => {
                // Only digits: no sign, no exponent, no infinity.
                let rate: f32 =
                    value.bytes().all(|digit| digit.is_ascii_digit()).then(|| value.parse().ok())??;
                rate.is_finite().then(|| Some(Self::link_bandwidth(number(admin)?, rate)))?
            }
            _ => None,
        }
    }

    fn numbered(kind: u8, admin: &str, value: &str) -> Option<Self> {
        if let Ok(address) = admin.parse::<Ipv4Addr>() {
            let ([a, b, c, d], [e, f]) = (address.octets(), number::<u16>(value)?.to_be_bytes());
            return Some(Self([IPV4, kind, a, b, c, d, e, f]));
        }
        let asn = number::<u32>(admin)?;
        Some(Self(match u16::try_from(asn) {
            Ok(asn) => {
                let ([a, b], [c, d, e, f]) = (asn.to_be_bytes(), number::<u32>(value)?.to_be_bytes());
                [TWO_OCTET_AS, kind, a, b, c, d, e, f]
            }
            Err(_) => {
                let ([a, b, c, d], [e, f]) = (asn.to_be_bytes(), number::<u16>(value)?.to_be_bytes());
                [FOUR_OCTET_AS, kind, a, b, c, d, e, f]
            }
        }))
    }

    /// The community as words, if these words give the same octets again.
    fn words(self) -> Option<String> {
        let [high, low, a, b, c, d, e, f] = self.0;
        let kind = match low {
            ROUTE_TARGET => "rt",
            SITE_OF_ORIGIN => "soo",
            LINK_BANDWIDTH => "bandwidth",
            _ => return None,
        };
        let (two, last_two) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([e, f]));
        let text = match high {
            TWO_OCTET_AS => format!("{kind}:{two}:{}", u32::from_be_bytes([c, d, e, f])),
            IPV4 => format!("{kind}:{}:{last_two}", Ipv4Addr::new(a, b, c, d)),
            FOUR_OCTET_AS => format!("{kind}:{}:{last_two}", u32::from_be_bytes([a, b, c, d])),
            LOCAL_TWO_OCTET_AS => format!("{kind}:{two}:{}", f32::from_be_bytes([c, d, e, f])),
            _ => return None,
        };
        (Self::read(&text) == Some(self)).then_some(text)
    }
}

impl From<u64> for ExtendedCommunity {
    fn from(octets: u64) -> Self {
        Self(octets.to_be_bytes())
    }
}

impl FromStr for ExtendedCommunity {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        Self::read(text).ok_or_else(|| {
            let mut parts: Vec<String> = text.split(':').map(str::to_owned).collect();
            if let [_, admin, _] = parts.as_mut_slice()
                && let Some(asn) = asdot(admin)
            {
                *admin = asn.to_string();
                if Self::read(&parts.join(":")).is_some() {
                    let (text, same) = (text.escape_debug(), parts.join(":"));
                    return InvalidValue(format!("`{text}` has an AS with a dot; write `{same}`"));
                }
            }
            InvalidValue(format!(
                "`{}` is not an extended community; write one as in `rt:65001:80`, `soo:10.0.0.1:80`, \
                 `bandwidth:65001:125000000` (octets a second) or `0x0002fde900000050`",
                text.escape_debug()
            ))
        })
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            Some(words) => f.write_str(&words),
            None => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

/// A large community (RFC 8092), written `65001:1:2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub [u32; 3]);

impl FromStr for LargeCommunity {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let parts: Option<Vec<u32>> = text.split(':').map(number).collect();
        match parts.as_deref() {
            Some([a, b, c]) => Ok(LargeCommunity([*a, *b, *c])),
            _ => Err(InvalidValue(format!(
                "`{}` is not a large community; {}",
                text.escape_debug(),
                Self::help(text)
            ))),
        }
    }
}

impl LargeCommunity {
    /// What to write instead of an invalid text.
    fn help(text: &str) -> String {
        let asn = |text: &str| number::<u32>(text).or_else(|| asdot(text));
        let parts: Option<Vec<u32>> = text.split(':').map(asn).collect();
        match parts.as_deref() {
            Some([a, b, c]) => format!("write `{a}:{b}:{c}`"),
            Some([a, b]) if *a <= 0xffff && *b <= 0xffff => "write it in `communities`".into(),
            Some(_) | None => "write three numbers of 0 to 4294967295, as in `65001:1:2`".into(),
        }
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LargeCommunity([a, b, c]) = self;
        write!(f, "{a}:{b}:{c}")
    }
}

/// Only digits: `from_str` would also accept a sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_numbers_or_well_known_names() {
        for good in ["65001:80", "0:0", "65535:65535", "no-export", "graceful-shutdown", "blackhole"] {
            assert_eq!(good.parse::<Community>().unwrap().to_string(), good);
        }
        for (text, value) in [
            ("65535:65281", 0xffff_ff01),
            ("local-as", 0xffff_ff03),
            ("no-export-subconfed", 0xffff_ff03),
            ("no-advertise", 0xffff_ff02),
            ("no-peer", 0xffff_ff04),
            ("65535:666", 0xffff_029a),
            ("65535:0", 0xffff_0000),
            ("accept-own", 0xffff_0001),
            ("llgr-stale", 0xffff_0006),
            ("no-llgr", 0xffff_0007),
        ] {
            assert_eq!(text.parse::<Community>().unwrap(), Community(value), "{text}");
        }
        for bad in ["65001", "65536:1", "1:-1", "+1:1", "1:2:3", "", "No-Export"] {
            assert!(bad.parse::<Community>().is_err(), "{bad}");
        }
    }

    #[test]
    fn extended_communities_are_written_as_routers_do() {
        for (text, octets) in [
            ("rt:65001:80", [0, 2, 0xfd, 0xe9, 0, 0, 0, 80]),
            ("soo:65001:4294967295", [0, 3, 0xfd, 0xe9, 255, 255, 255, 255]),
            ("rt:10.0.0.1:80", [1, 2, 10, 0, 0, 1, 0, 80]),
            ("soo:4200000000:7", [2, 3, 0xfa, 0x56, 0xea, 0, 0, 7]),
            // 125,000,000 octets a second are 1 Gbit/s: 0x4cee6b28 as f32.
            ("bandwidth:65001:125000000", [0x40, 4, 0xfd, 0xe9, 0x4c, 0xee, 0x6b, 0x28]),
            ("0x0702030405060708", [7, 2, 3, 4, 5, 6, 7, 8]),
            // A four-octet type with a short AS cannot be written as words.
            ("0x02020000fde90050", [2, 2, 0, 0, 0xfd, 0xe9, 0, 80]),
        ] {
            let parsed: ExtendedCommunity = text.parse().unwrap();
            assert_eq!(parsed.0, octets, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        let trans: ExtendedCommunity = "bandwidth:4200000000:1".parse().unwrap();
        assert_eq!(trans.to_string(), "bandwidth:23456:1");
        for bad in [
            "rt:1",
            "rt:65001:4294967296",
            "rt:70000:65536",
            "rt:1:2:3",
            "bandwidth:1:inf",
            "bandwidth:1:-1",
            "bandwidth:1:",
            "0x1",
            "0x+123456789abcdef",
            "xx:1:2",
            "",
        ] {
            assert!(bad.parse::<ExtendedCommunity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn large_communities_are_three_numbers() {
        assert_eq!("65001:1:4294967295".parse::<LargeCommunity>().unwrap().to_string(), "65001:1:4294967295");
        for bad in ["1:2", "1:2:3:4", "1:2:4294967296", "a:1:2", "1::2"] {
            assert!(bad.parse::<LargeCommunity>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_eight_octets_are_written_and_read_again(octets: [u8; 8], kind in 0_u8..5, common: bool) {
            let [_, _, rest @ ..] = octets;
            let mut octets = octets;
            if common {
                octets[..2].copy_from_slice(&[[0, 1, 2, 0x40, 0x80][usize::from(kind)], 2 + rest[0] % 3]);
            }
            let text = ExtendedCommunity(octets).to_string();
            proptest::prop_assert_eq!(text.parse(), Ok(ExtendedCommunity(octets)), "{}", text);
        }
    }
}
