//! The keys of `[[service]]` for the attributes of its routes.
//!
//! Pure.

use std::net::IpAddr;

use toml::Spanned;
use toml::Value as Toml;

use super::address::{NextHopValue, next_hop};
use super::error::Fault;
use super::overrides::sizes;
use super::table::table;
use super::value::{med, prepend, word};
use super::writer::{ToToml, text};
use super::written::{all, list, nowhere, one};
use crate::model::{Attributes, Community, ExtendedCommunity, Family, LargeCommunity, Origin};

table! {
    struct Written {
        next_hop: one_or_list NextHopValue, default "\"self\"", next_hop,
            "`self`, or an address for each family, as in `[\"10.0.1.11\"]`";
        origin: one Origin, default "\"igp\"", word, "`igp`, `egp` or `incomplete`";
        med: one u32, optional "100", med, "the MED of the routes; 0 to 4294967295";
        local_pref: one u32, default "100", med, "on iBGP, the local preference of the routes; 0 to 4294967295";
        prepend: one u8, default "0", prepend, "on eBGP, how many more times our AS is prepended; 0 to 10";
        communities: set Community, optional "[\"65001:80\"]", word,
            "communities (RFC 1997) of the routes, well-known ones by name, such as `no-export`; at most 255";
        extended_communities: set ExtendedCommunity, optional "[\"rt:65001:80\"]", word,
            "extended communities (RFC 4360): `rt:…`, `soo:…`, `bandwidth:AS:OCTETS_PER_SECOND`; at most 31";
        large_communities: set LargeCommunity, optional "[\"65001:1:2\"]", word, "large communities (RFC 8092); at most 64";
    }
}

impl ToToml for NextHopValue {
    fn to_toml(&self) -> Toml {
        match self {
            NextHopValue::Own => text("self"),
            NextHopValue::Is(ip) => text(ip),
        }
    }
}

impl Written {
    pub(super) fn used(&self) -> Option<Attributes> {
        let mut attributes = Attributes {
            origin: one(&self.origin)?,
            med: one(&self.med),
            local_pref: one(&self.local_pref),
            prepend: one(&self.prepend)?,
            communities: all(&self.communities),
            extended_communities: all(&self.extended_communities),
            large_communities: all(&self.large_communities),
            ..Attributes::default() // `recipients` and `deprefer` are other keys
        };
        for next_hop in all::<_, Vec<NextHopValue>>(&self.next_hop) {
            match next_hop {
                NextHopValue::Own => {}
                NextHopValue::Is(IpAddr::V4(ip)) => attributes.next_hop_v4 = Some(ip),
                NextHopValue::Is(IpAddr::V6(ip)) => attributes.next_hop_v6 = Some(ip),
            }
        }
        Some(attributes)
    }
}

impl From<&Attributes> for Written {
    fn from(used: &Attributes) -> Self {
        let Attributes { origin, med, local_pref, prepend, next_hop_v4, next_hop_v6, .. } = used;
        let Attributes { communities, extended_communities, large_communities, .. } = used;
        let v4 = next_hop_v4.map(|ip| NextHopValue::Is(ip.into()));
        let mut next_hops: Vec<NextHopValue> = v4.into_iter().collect();
        next_hops.extend(next_hop_v6.map(|ip| NextHopValue::Is(ip.into())));
        if next_hops.is_empty() {
            next_hops.push(NextHopValue::Own);
        }
        Written {
            next_hop: list(&next_hops),
            origin: Some(nowhere(*origin)),
            med: med.map(nowhere),
            local_pref: local_pref.map(nowhere),
            prepend: Some(nowhere(*prepend)),
            communities: list(communities),
            extended_communities: list(extended_communities),
            large_communities: list(large_communities),
        }
    }
}

/// Checks that `next_hop` is only `self`, or one address per family, and that the message has room for VIPs.
pub(super) fn judge(written: &Written, faults: &mut Vec<Fault>) {
    sizes(&written.communities, &written.extended_communities, &written.large_communities, faults);
    let Some(next_hops) = &written.next_hop else { return };
    let kind = |next_hop: &Spanned<NextHopValue>| match next_hop.get_ref() {
        NextHopValue::Own => None,
        NextHopValue::Is(ip) => Some(Family::of(*ip)),
    };
    for (index, next_hop) in next_hops.get_ref().iter().enumerate() {
        let before = next_hops.get_ref().iter().take(index);
        let clash = before.clone().any(|other| kind(other).is_none() || kind(other) == kind(next_hop));
        if clash || (index > 0 && kind(next_hop).is_none()) {
            let help = "write `\"self\"`, or one IPv4 and one IPv6 address at most";
            faults.push(Fault::new(
                next_hop.span(),
                "this next hop is not used: each family has one already",
                help,
            ));
        }
    }
}
