//! The weight of a service on this host.
//!
//! Pure. draft-ietf-idr-link-bandwidth.

use super::{Asn, ExtendedCommunity};

/// How many flows a host wants in proportion to the other hosts that announce the same VIPs: 1 to 100. It is never zero: a host that
/// wants no flows withdraws its VIPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u8);

impl Weight {
    /// The lowest weight.
    pub const LEAST: u8 = 1;
    /// The highest weight.
    pub const MOST: u8 = 100;

    /// A weight; `None`: it is out of bounds.
    pub fn new(weight: u8) -> Option<Self> {
        (Self::LEAST..=Self::MOST).contains(&weight).then_some(Weight(weight))
    }

    /// As a number, 1 to 100.
    pub fn get(self) -> u8 {
        self.0
    }

    /// The link bandwidth extended community, non-transitive, with our AS (AS_TRANS if it has four octets). Only the proportions
    /// matter to a router; the unit is chosen so that a router which prints bits a second prints the weight times 10 Mbit/s.
    pub fn community(self, asn: Asn) -> ExtendedCommunity {
        ExtendedCommunity::link_bandwidth(asn.get(), f32::from(self.0) * OCTETS_A_SECOND)
    }
}

/// 10 Mbit/s.
const OCTETS_A_SECOND: f32 = 1_250_000.0;

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_bandwidth_and_never_zero() {
        assert_eq!((Weight::new(0), Weight::new(101)), (None, None));
        for (weight, asn, want) in [
            (1, 65001, "bandwidth:65001:1250000"),
            (70, 65001, "bandwidth:65001:87500000"),
            (100, 65001, "bandwidth:65001:125000000"),
            (10, 4_200_000_000, "bandwidth:23456:12500000"),
        ] {
            let community = Weight::new(weight).unwrap().community(Asn::try_from(asn).unwrap());
            assert_eq!((community.to_string().as_str(), community.is_link_bandwidth()), (want, true));
        }
        for (text, want) in [("bandwidth:1:1", true), ("0x0004000100000000", true), ("rt:65001:80", false)] {
            assert_eq!(text.parse::<ExtendedCommunity>().unwrap().is_link_bandwidth(), want, "{text}");
        }
    }
}
