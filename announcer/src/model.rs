//! The basic types of the program, which every layer uses.
//!
//! Pure. A value of these types is always valid; the error of `FromStr` says what to write instead.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use attributes::{Attributes, Deprefer, Overrides, Recipients};
pub use community::{Community, ExtendedCommunity, LargeCommunity};
pub use histogram::Histogram;
pub use weight::Weight;

mod attributes;
mod community;
pub mod device;
pub mod histogram;
pub mod text;
mod weight;

/// An address family that a session can carry (AFI 1 or 2 with SAFI 1, RFC 4760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 unicast.
    V4,
    /// IPv6 unicast.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(_) => Family::V4,
            std::net::IpAddr::V6(_) => Family::V6,
        }
    }
}

impl FromStr for Family {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "ipv4" => Ok(Family::V4),
            "ipv6" => Ok(Family::V6),
            other => Err(InvalidValue(format!(
                "`{}` is not a supported family; write `ipv4` or `ipv6`",
                other.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// The error for an invalid word; its text says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// An autonomous system number, 1 to 4,294,967,295 (RFC 6793); 0 is reserved (RFC 7607).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Asn(u32);

/// AS_TRANS (RFC 6793 §9): it replaces a 4-octet AS for peers that do not support those.
pub const AS_TRANS: u16 = 23456;

impl Asn {
    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// The number of an AS that is written `HIGH.LOW` (asdot, RFC 5396), such as `65000.1`.
pub fn asdot(text: &str) -> Option<u32> {
    let (high, low) = text.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| digits(text));
    Some(u32::from(number(high)?) << 16 | u32::from(number(low)?))
}

impl TryFrom<u32> for Asn {
    type Error = InvalidValue;
    fn try_from(number: u32) -> Result<Self, InvalidValue> {
        match number {
            0 => Err(InvalidValue("AS 0 is reserved; write the AS number, 1 to 4294967295".into())),
            23456 => Err(InvalidValue(
                "AS 23456 is AS_TRANS, which no network has; write the real AS number".into(),
            )),
            number => Ok(Asn(number)),
        }
    }
}

impl From<Asn> for u32 {
    fn from(asn: Asn) -> u32 {
        asn.0
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP Identifier: any 4 octets except zero (RFC 6286 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Ipv4Addr", into = "Ipv4Addr")]
pub struct RouterId(Ipv4Addr);

impl RouterId {
    /// The identifier as an address, which is how it is written.
    pub fn get(self) -> Ipv4Addr {
        self.0
    }
}

impl TryFrom<Ipv4Addr> for RouterId {
    type Error = InvalidValue;
    fn try_from(address: Ipv4Addr) -> Result<Self, InvalidValue> {
        if address.is_unspecified() {
            return Err(InvalidValue(
                "a router id cannot be 0.0.0.0; write one of the host's own IPv4 addresses".into(),
            ));
        }
        Ok(RouterId(address))
    }
}

impl From<RouterId> for Ipv4Addr {
    fn from(id: RouterId) -> Ipv4Addr {
        id.0
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The AS that a peer's OPEN must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAsn {
    /// This one.
    Is(Asn),
    /// Any AS except ours (eBGP).
    External,
    /// Ours (iBGP).
    Internal,
}

impl fmt::Display for PeerAsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAsn::Is(asn) => asn.fmt(f),
            PeerAsn::External => f.pad("external"),
            PeerAsn::Internal => f.pad("internal"),
        }
    }
}

/// ORIGIN (RFC 4271 §5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// IGP: the route is from inside the network.
    #[default]
    Igp,
    /// EGP, a protocol that is no longer used; routers prefer it less.
    Egp,
    /// Another origin; routers prefer it least.
    Incomplete,
}

impl FromStr for Origin {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "igp" => Ok(Origin::Igp),
            "egp" => Ok(Origin::Egp),
            "incomplete" => Ok(Origin::Incomplete),
            other => Err(InvalidValue(format!(
                "`{}` is not an origin; write `igp`, `egp` or `incomplete`",
                other.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// As it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidValue;
            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
                match text.as_bytes() {
                    [first, rest @ ..]
                        if first.is_ascii_alphanumeric() && rest.len() < 64 && rest.iter().all(|b| good(*b)) =>
                    {
                        Ok($type(text.into()))
                    }
                    _ => Err(InvalidValue(format!(
                        "`{}` is not a name; write a letter or digit, then letters, digits, `.`, `_` or `-`, at most 64",
                        text.escape_default()
                    ))),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// A peer's configured name, for logs, status and metrics.
    PeerName
}
name! {
    /// A service's configured name; also the name of its drain file, so it never begins with `.` or `_`.
    ServiceName
}

/// What a failure detector (BFD, RFC 5880) says of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Liveness {
    /// Whether it hears the peer now, and the peer hears us; `false` without a detector.
    pub up: bool,
    /// How often it has lost the peer after it was up. It never counts that an operator has switched it off.
    pub losses: u64,
}

/// The number of a version of the Loc-RIB. To wait for a change means to wait for its generation.
pub type Generation = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_taken_and_words_that_are_not() {
        for good in ["igp", "egp", "incomplete"] {
            assert_eq!(good.parse::<Origin>().unwrap().to_string(), good);
        }
        assert!("IGP".parse::<Origin>().is_err());
        for good in ["www", "a.b_c-9", "0"] {
            assert_eq!(good.parse::<ServiceName>().unwrap().as_str(), good);
        }
        for bad in ["", "_all", ".", "..", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
        assert!(Asn::try_from(0).is_err() && Asn::try_from(4_294_967_295).is_ok());
        assert!(RouterId::try_from(Ipv4Addr::UNSPECIFIED).is_err());
    }
}
