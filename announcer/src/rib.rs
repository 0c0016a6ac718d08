//! What is announced: the Loc-RIB, and what each peer has been told of it.
//!
//! Pure. RFC 4271 §3.2. A session starts from "told nothing" and is brought up to date by [`AdjRibOut::advance`]; the
//! difference between what is wanted and what was told is all that is ever sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Community, Family, Generation};

/// The path attributes of a route, before a peer's own are added (AS_PATH, NEXT_HOP).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attributes {
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// COMMUNITIES (RFC 1997).
    pub communities: BTreeSet<Community>,
}

/// The routes that are to be announced, by the director's decision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocRib {
    /// Rises with every change.
    pub generation: Generation,
    /// Whether each VIP has had its first verdict: End-of-RIB waits for it (RFC 4724 §3).
    pub complete: bool,
    /// What is announced, and with what.
    pub routes: BTreeMap<IpNet, Attributes>,
}

/// What a session makes of a route: which families it carries, and our next hops on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Export {
    /// The families that both OPENs had (RFC 4760 §8).
    pub families: BTreeSet<Family>,
    /// The next hop of IPv4 routes; `None`: they are withheld.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// The next hop of IPv6 routes; `None`: they are withheld.
    pub next_hop_v6: Option<Ipv6Addr>,
}

impl Export {
    /// The next hop of `family` on this session, or why its routes are withheld.
    pub fn next_hop(&self, family: Family) -> Result<IpAddr, Withheld> {
        if !self.families.contains(&family) {
            return Err(Withheld::FamilyNotNegotiated(family));
        }
        let next_hop = match family {
            Family::V4 => self.next_hop_v4.map(IpAddr::V4),
            Family::V6 => self.next_hop_v6.map(IpAddr::V6),
        };
        next_hop.ok_or(Withheld::NoNextHop(family))
    }
}

/// Why one peer is not told of a family's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// The peer's OPEN did not have the family.
    FamilyNotNegotiated(Family),
    /// We have no address of that family on the session's interface, and none was configured.
    NoNextHop(Family),
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Withheld::FamilyNotNegotiated(family) => {
                write!(
                    f,
                    "{family} is withheld: the peer's OPEN does not have it; activate the family on the router"
                )
            }
            Withheld::NoNextHop(Family::V4) => {
                write!(f, "IPv4 is withheld: a session over IPv6 has no IPv4 next hop")
            }
            Withheld::NoNextHop(Family::V6) => write!(
                f,
                "IPv6 is withheld: the session's interface has no global IPv6 address that is no VIP; give it one, or \
                 write `next_hop_v6`"
            ),
        }
    }
}

/// What is to be said to a peer: one or more UPDATE messages (the codec splits at 4,096 octets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Prefixes of one family that are gone.
    Withdraw(Family, Vec<IpNet>),
    /// Prefixes of one family that share attributes and next hop.
    Announce {
        /// The next hop, of the prefixes' family.
        next_hop: IpAddr,
        /// The attributes that they share.
        attributes: Attributes,
        /// At least one.
        prefixes: Vec<IpNet>,
    },
    /// End-of-RIB (RFC 4724 §2).
    EndOfRib(Family),
}

/// What one peer has been told on its present session (RFC 4271 §3.2).
#[derive(Debug, Clone, Default)]
pub struct AdjRibOut {
    /// `None`: the peer may know it and wants to hear it again.
    told: BTreeMap<IpNet, Option<(IpAddr, Attributes)>>,
    ended: BTreeSet<Family>,
}

impl AdjRibOut {
    /// What to say so that the peer knows `want`: withdrawals first, only what changed, End-of-RIB once for each family
    /// when `want` is complete.
    #[must_use]
    pub fn advance(&mut self, want: &LocRib, export: &Export) -> Vec<Update> {
        let wanted: BTreeMap<IpNet, (IpAddr, Attributes)> = want
            .routes
            .iter()
            .filter_map(|(prefix, attributes)| {
                let next_hop = export.next_hop(Family::of(prefix.addr())).ok()?;
                Some((*prefix, (next_hop, attributes.clone())))
            })
            .collect();

        let mut gone: BTreeMap<Family, Vec<IpNet>> = BTreeMap::new();
        for prefix in self.told.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            gone.entry(Family::of(prefix.addr())).or_default().push(*prefix);
        }
        let mut updates: Vec<Update> =
            gone.into_iter().map(|(family, p)| Update::Withdraw(family, p)).collect();

        let mut news: BTreeMap<&(IpAddr, Attributes), Vec<IpNet>> = BTreeMap::new();
        for (prefix, route) in &wanted {
            if self.told.get(prefix).and_then(Option::as_ref) != Some(route) {
                news.entry(route).or_default().push(*prefix);
            }
        }
        updates.extend(news.into_iter().map(|((next_hop, attributes), prefixes)| Update::Announce {
            next_hop: *next_hop,
            attributes: attributes.clone(),
            prefixes,
        }));
        self.told = wanted.into_iter().map(|(prefix, route)| (prefix, Some(route))).collect();

        if want.complete {
            let owed: Vec<Family> = export.families.difference(&self.ended).copied().collect();
            updates.extend(owed.iter().map(|family| Update::EndOfRib(*family)));
            self.ended.extend(owed);
        }
        updates
    }

    /// Lets the next [`advance`](Self::advance) say all of a family again (RFC 2918 §4).
    pub fn refresh(&mut self, family: Family) {
        for (_, route) in self.told.iter_mut().filter(|(prefix, _)| Family::of(prefix.addr()) == family) {
            *route = None;
        }
    }

    /// Whether End-of-RIB was said: before it, a refresh is part of the first table (RFC 7313 §4).
    pub fn ended(&self, family: Family) -> bool {
        self.ended.contains(&family)
    }

    /// How many prefixes the peer knows from us.
    pub fn len(&self) -> usize {
        self.told.len()
    }

    /// Whether the peer knows nothing from us.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

#[cfg(test)]
mod tests;
