//! The keys of `[[peer]]` that replace keys of the services, and the limit on the communities of a route.
//!
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::address::{next_hop_v4, next_hop_v6};
use super::error::Fault;
use super::table::table;
use super::value::{med, prepend, word};
use super::written::{WrittenList, all, maybe_list, nowhere, one};
use crate::model::{Community, ExtendedCommunity, LargeCommunity, Origin, Overrides};

table! {
    struct Written {
        next_hop_v4: one Ipv4Addr, optional "\"10.0.1.11\"", next_hop_v4,
            "the next hop of IPv4 routes; without it, the service's";
        next_hop_v6: one Ipv6Addr, optional "\"2001:db8:1::11\"", next_hop_v6,
            "the next hop of IPv6 routes; without it, the service's";
        origin: one Origin, optional "\"incomplete\"", word, "replaces the value of the services";
        med: one u32, optional "100", med, "replaces the value of the services; 0 to 4294967295";
        local_pref: one u32, optional "100", med, "replaces the value of the services; 0 to 4294967295";
        prepend: one u8, optional "2", prepend, "replaces the value of the services; 0 to 10";
        communities: set Community, optional "[\"65001:80\"]", word, "replaces the value of the services; at most 255";
        extended_communities: set ExtendedCommunity, optional "[\"rt:65001:80\"]", word,
            "replaces the value of the services; at most 31";
        large_communities: set LargeCommunity, optional "[\"65001:1:2\"]", word, "replaces the value of the services; at most 64";
    }
}

impl Written {
    pub(super) fn used(&self) -> Option<Overrides> {
        Some(Overrides {
            origin: one(&self.origin),
            med: one(&self.med),
            local_pref: one(&self.local_pref),
            prepend: one(&self.prepend),
            next_hop_v4: one(&self.next_hop_v4),
            next_hop_v6: one(&self.next_hop_v6),
            communities: self.communities.is_some().then(|| all(&self.communities)),
            extended_communities: self
                .extended_communities
                .is_some()
                .then(|| all(&self.extended_communities)),
            large_communities: self.large_communities.is_some().then(|| all(&self.large_communities)),
        })
    }

    /// The next hops that are given.
    pub(super) fn next_hops(&self) -> impl Iterator<Item = (IpAddr, Range<usize>)> {
        let v4 = self.next_hop_v4.iter().map(|given| (IpAddr::V4(*given.get_ref()), given.span()));
        v4.chain(self.next_hop_v6.iter().map(|given| (IpAddr::V6(*given.get_ref()), given.span())))
    }
}

impl From<&Overrides> for Written {
    fn from(used: &Overrides) -> Self {
        let Overrides { origin, med, local_pref, prepend, next_hop_v4, next_hop_v6, .. } = used;
        let Overrides { communities, extended_communities, large_communities, .. } = used;
        Written {
            next_hop_v4: next_hop_v4.map(nowhere),
            next_hop_v6: next_hop_v6.map(nowhere),
            origin: origin.map(nowhere),
            med: med.map(nowhere),
            local_pref: local_pref.map(nowhere),
            prepend: prepend.map(nowhere),
            communities: maybe_list(communities),
            extended_communities: maybe_list(extended_communities),
            large_communities: maybe_list(large_communities),
        }
    }
}

/// Checks that the message has room for VIPs.
pub(super) fn judge(written: &Written, faults: &mut Vec<Fault>) {
    sizes(&written.communities, &written.extended_communities, &written.large_communities, faults);
}

/// The most extended communities of a route.
pub(super) const MOST_EXTENDED: usize = 31;

/// The limits on the communities of a route: if all lists are full, half of an UPDATE of 4096 octets is left for prefixes.
pub(super) fn sizes(
    communities: &WrittenList<Community>,
    extended: &WrittenList<ExtendedCommunity>,
    large: &WrittenList<LargeCommunity>,
    faults: &mut Vec<Fault>,
) {
    at_most(255, communities, "communities", faults);
    at_most(MOST_EXTENDED, extended, "extended communities", faults);
    at_most(64, large, "large communities", faults);
}

fn at_most<T>(most: usize, list: &WrittenList<T>, what: &str, faults: &mut Vec<Fault>) {
    if let Some(list) = list.as_ref().filter(|list| list.get_ref().len() > most) {
        let help = format!("write at most {most}, or the message has no room for VIPs");
        let message = format!("{} {what} are too many", list.get_ref().len());
        faults.push(Fault::new(list.span(), message, help));
    }
}
