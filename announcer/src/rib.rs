//! What is announced: the Loc-RIB, and what each peer has been told of it.
//!
//! Pure. RFC 4271 §3.2. A session starts from "told nothing" and is brought up to date by [`AdjRibOut::advance`]; the
//! difference between what is wanted and what was told is all that is ever sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

pub use crate::model::Attributes;
use crate::model::{Family, Generation, Overrides};

/// The routes that are to be announced, by the director's decision.
#[derive(Debug, Clone, Default)]
pub struct LocRib {
    /// Rises with every change.
    pub generation: Generation,
    /// Whether each VIP has had its first verdict: End-of-RIB waits for it (RFC 4724 §3).
    pub complete: bool,
    /// When the fact was known that made the routes other than those of the generation before.
    pub caused: Option<Instant>,
    /// What is announced, and with what; routes of one service share theirs.
    pub routes: BTreeMap<IpNet, Arc<Attributes>>,
}

/// What is announced, whenever it was caused.
impl PartialEq for LocRib {
    fn eq(&self, other: &Self) -> bool {
        let LocRib { generation, complete, caused: _, routes } = self;
        (generation, complete, routes) == (&other.generation, &other.complete, &other.routes)
    }
}

impl Eq for LocRib {}

/// A route's next hop, as it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// NEXT_HOP (RFC 4271 §5.1.3).
    V4(Ipv4Addr),
    /// In MP_REACH_NLRI, 16 octets; of IPv4 routes too, where RFC 8950 was agreed.
    V6(Ipv6Addr),
    /// The same in 32 octets: a global address and the link-local one of the link to the peer (RFC 2545 §3).
    V6AndLinkLocal(Ipv6Addr, Ipv6Addr),
}

/// What a session makes of a route: which families it carries, our next hops on it, and the peer's own attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Export {
    /// The families that both OPENs had (RFC 4760 §8).
    pub families: BTreeSet<Family>,
    /// The next hop of IPv4 routes that name none; `None`: they are withheld.
    pub next_hop_v4: Option<NextHop>,
    /// The next hop of IPv6 routes that name none; `None`: they are withheld.
    pub next_hop_v6: Option<NextHop>,
    /// What the peer's configuration replaces.
    pub overrides: Overrides,
}

/// A route as one peer gets it. The attributes' own next hops are `None`: there is one, and it is beside them.
type Told = (NextHop, Arc<Attributes>);

impl Export {
    /// A route as it is said on this session, or why it is not.
    fn route(&self, family: Family, attributes: &Attributes) -> Result<(NextHop, Attributes), Withheld> {
        if !self.families.contains(&family) {
            return Err(Withheld::FamilyNotNegotiated(family));
        }
        let mut attributes = self.overrides.over(attributes);
        let given = (attributes.next_hop_v4.take(), attributes.next_hop_v6.take());
        let next_hop = match family {
            Family::V4 => given.0.map(NextHop::V4).or(self.next_hop_v4),
            Family::V6 => given.1.map(NextHop::V6).or(self.next_hop_v6),
        };
        Ok((next_hop.ok_or(Withheld::NoNextHop(family))?, attributes))
    }

    /// All routes as they are said on this session, and of each family that is not, why.
    fn routes(&self, want: &LocRib) -> (BTreeMap<IpNet, Told>, BTreeMap<Family, Withheld>) {
        let (mut told, mut withheld) = (BTreeMap::new(), BTreeMap::new());
        // Thousands of routes share a few attributes.
        let mut made: HashMap<(Family, *const Attributes), Option<Told>> = HashMap::new();
        for (prefix, attributes) in &want.routes {
            let family = Family::of(prefix.addr());
            let route = made.entry((family, Arc::as_ptr(attributes))).or_insert_with(|| {
                match self.route(family, attributes) {
                    Ok((next_hop, attributes)) => Some((next_hop, Arc::new(attributes))),
                    Err(why) => {
                        withheld.insert(family, why);
                        None
                    }
                }
            });
            if let Some(route) = route {
                told.insert(*prefix, route.clone());
            }
        }
        (told, withheld)
    }

    /// Families that have routes and of which this session is not told some, with the reason.
    pub fn withheld(&self, want: &LocRib) -> BTreeMap<Family, Withheld> {
        self.routes(want).1
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

impl Withheld {
    /// One word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            Withheld::FamilyNotNegotiated(_) => "family_not_negotiated",
            Withheld::NoNextHop(_) => "no_next_hop",
        }
    }
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
            Withheld::NoNextHop(Family::V4) => write!(
                f,
                "IPv4 is withheld: the session runs over IPv6 and its interface has no IPv4 address that is no VIP; let the \
                 router offer `capability extended-nexthop`, or write `next_hop_v4`"
            ),
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
        /// The prefixes' family.
        family: Family,
        /// The next hop.
        next_hop: NextHop,
        /// The attributes that they share.
        attributes: Arc<Attributes>,
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
    told: BTreeMap<IpNet, Option<Told>>,
    ended: BTreeSet<Family>,
}

impl AdjRibOut {
    /// What to say so that the peer knows `want`: withdrawals first, only what changed, End-of-RIB once for each family
    /// when `want` is complete.
    #[must_use]
    pub fn advance(&mut self, want: &LocRib, export: &Export) -> Vec<Update> {
        let (wanted, _) = export.routes(want);

        let mut gone: BTreeMap<Family, Vec<IpNet>> = BTreeMap::new();
        for prefix in self.told.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            gone.entry(Family::of(prefix.addr())).or_default().push(*prefix);
        }
        let mut updates: Vec<Update> =
            gone.into_iter().map(|(family, p)| Update::Withdraw(family, p)).collect();

        let mut news: BTreeMap<(Family, &Told), Vec<IpNet>> = BTreeMap::new();
        for (prefix, route) in &wanted {
            if self.told.get(prefix).and_then(Option::as_ref) != Some(route) {
                news.entry((Family::of(prefix.addr()), route)).or_default().push(*prefix);
            }
        }
        let announce = |((family, (next_hop, attributes)), prefixes): ((Family, &Told), Vec<IpNet>)| {
            Update::Announce { family, next_hop: *next_hop, attributes: Arc::clone(attributes), prefixes }
        };
        updates.extend(news.into_iter().map(announce));
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
