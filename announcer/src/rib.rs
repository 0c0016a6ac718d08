//! The routes: the Loc-RIB, and the Adj-RIB-Out of each peer.
//!
//! Pure. RFC 4271 §3.2. A session starts with an empty Adj-RIB-Out, and [`AdjRibOut::advance`] updates it: only the difference
//! between the Loc-RIB and the Adj-RIB-Out is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

pub use crate::model::Attributes;
use crate::model::{Family, Generation, Overrides, PeerName, Recipients};
pub use treap::{Treap, TreapDifference};

mod treap;

/// Routes by prefix, with their attributes. Copies share their common parts.
pub type Routes = Treap<IpNet, Arc<Attributes>>;

/// The routes to announce, by the decision of the director.
#[derive(Debug, Clone, Default)]
pub struct LocRib {
    /// Increases with every change.
    pub generation: Generation,
    /// Whether each VIP has had its first verdict. End-of-RIB is sent after that (RFC 4724 §3).
    pub complete: bool,
    /// The time of the fact that made the routes differ from the previous generation.
    pub caused: Option<Instant>,
    /// The routes with their attributes; routes of one service share them.
    pub routes: Routes,
    /// The routers that an operator has drained: no route is sent to them.
    pub drained_peers: Arc<BTreeSet<PeerName>>,
}

/// Compares the routes, and not the time of their cause.
impl PartialEq for LocRib {
    fn eq(&self, other: &Self) -> bool {
        let LocRib { generation, complete, caused: _, routes, drained_peers } = self;
        (generation, complete, routes, drained_peers)
            == (&other.generation, &other.complete, &other.routes, &other.drained_peers)
    }
}

impl Eq for LocRib {}

/// A route's next hop, as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// NEXT_HOP (RFC 4271 §5.1.3).
    V4(Ipv4Addr),
    /// In MP_REACH_NLRI, 16 octets; also for IPv4 routes, if RFC 8950 was negotiated.
    V6(Ipv6Addr),
    /// The same in 32 octets: a global address and the link-local one of the link to the peer (RFC 2545 §3).
    V6AndLinkLocal(Ipv6Addr, Ipv6Addr),
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHop::V4(ip) => ip.fmt(f),
            NextHop::V6(ip) => ip.fmt(f),
            NextHop::V6AndLinkLocal(global, link_local) => write!(f, "{global} and {link_local}"),
        }
    }
}

/// The rules to send a route on a session: its families, our next hops, and the peer's own attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Export {
    /// The router; `None`: one that no service names, for tests.
    pub peer: Option<PeerName>,
    /// The families that both OPENs had (RFC 4760 §8).
    pub families: BTreeSet<Family>,
    /// The families that our configuration leaves out of this session. It is not an error that their routes are not sent.
    pub left_out: BTreeSet<Family>,
    /// The next hop of IPv4 routes without their own; `None`: they are not sent.
    pub next_hop_v4: Option<NextHop>,
    /// The next hop of IPv6 routes without their own; `None`: they are not sent.
    pub next_hop_v6: Option<NextHop>,
    /// The attributes that the peer's configuration replaces.
    pub overrides: Overrides,
}

/// A route as it is advertised to one peer. The next hops within the attributes are `None`, because the next hop is the first
/// field.
type AdvertisedRoute = (NextHop, Arc<Attributes>);

/// A route as it is advertised to one peer, or why it is not; `None`: our own configuration leaves it out.
type ExportResult = Result<AdvertisedRoute, Option<NotSent>>;

impl Export {
    /// The next hop of each family, for routes without their own.
    pub fn next_hops(&self) -> BTreeMap<Family, NextHop> {
        let Overrides { next_hop_v4, next_hop_v6, .. } = &self.overrides;
        let both = [
            (Family::V4, next_hop_v4.map(NextHop::V4).or(self.next_hop_v4)),
            (Family::V6, next_hop_v6.map(NextHop::V6).or(self.next_hop_v6)),
        ];
        let known = both.into_iter().filter_map(|(family, next_hop)| Some((family, next_hop?)));
        known
            .filter(|(family, _)| self.families.contains(family) && !self.left_out.contains(family))
            .collect()
    }

    /// The same session while its router is drained: every route is left out, so that its Adj-RIB-Out becomes empty.
    pub fn withholding(&self) -> Export {
        Export { left_out: [Family::V4, Family::V6].into(), ..self.clone() }
    }

    /// Whether the router gets the routes of a service.
    fn gets(&self, recipients: &Recipients) -> bool {
        match &self.peer {
            Some(peer) => recipients.include(peer),
            None => *recipients == Recipients::All,
        }
    }

    /// A route as it is advertised on this session, or why it is not.
    fn route(
        &self,
        family: Family,
        attributes: &Attributes,
    ) -> Result<(NextHop, Attributes), Option<NotSent>> {
        if self.left_out.contains(&family) || !self.gets(&attributes.recipients) {
            return Err(None);
        }
        if !self.families.contains(&family) {
            return Err(Some(NotSent::FamilyNotNegotiated(family)));
        }
        let mut attributes = self.overrides.over(attributes);
        let given = (attributes.next_hop_v4.take(), attributes.next_hop_v6.take());
        let next_hop = match family {
            Family::V4 => given.0.map(NextHop::V4).or(self.next_hop_v4),
            Family::V6 => given.1.map(NextHop::V6).or(self.next_hop_v6),
        };
        Ok((next_hop.ok_or(Some(NotSent::NoNextHop(family)))?, attributes))
    }
}

/// Makes the routes of one session as they are advertised. It stores the attributes that it has made, because thousands of routes
/// share a few.
struct Exporter<'a> {
    export: &'a Export,
    /// The attributes are kept, so that no others get the same address in memory.
    cache: HashMap<(Family, *const Attributes), (Arc<Attributes>, ExportResult)>,
}

impl<'a> Exporter<'a> {
    fn new(export: &'a Export) -> Self {
        Exporter { export, cache: HashMap::new() }
    }

    fn of(&mut self, family: Family, attributes: &Arc<Attributes>) -> ExportResult {
        let make = || {
            let route = self.export.route(family, attributes);
            (Arc::clone(attributes), route.map(|(next_hop, attributes)| (next_hop, Arc::new(attributes))))
        };
        self.cache.entry((family, Arc::as_ptr(attributes))).or_insert_with(make).1.clone()
    }
}

/// Why the routes of a family are not sent to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotSent {
    /// The peer's OPEN did not have the family.
    FamilyNotNegotiated(Family),
    /// We have no address of that family on the session's interface, and none was configured.
    NoNextHop(Family),
}

impl NotSent {
    /// The family of the routes.
    pub fn family(&self) -> Family {
        match self {
            NotSent::FamilyNotNegotiated(family) | NotSent::NoNextHop(family) => *family,
        }
    }

    /// One word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            NotSent::FamilyNotNegotiated(_) => "family_not_negotiated",
            NotSent::NoNextHop(_) => "no_next_hop",
        }
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotSent::FamilyNotNegotiated(family) => {
                write!(
                    f,
                    "{family} routes are not sent: the peer's OPEN does not have it; activate the family on the router"
                )
            }
            NotSent::NoNextHop(Family::V4) => write!(
                f,
                "IPv4 routes are not sent: the session runs over IPv6 and its interface has no IPv4 address except VIPs; let \
                 the router offer `capability extended-nexthop`, or write `next_hop_v4`"
            ),
            NotSent::NoNextHop(Family::V6) => write!(
                f,
                "IPv6 routes are not sent: the session's interface has no global IPv6 address except VIPs; give it one, or \
                 write `next_hop_v6`"
            ),
        }
    }
}

/// A change for a peer: one or more UPDATE messages (the codec splits at 4,096 octets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Prefixes of one family that are withdrawn.
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

/// The routes that were advertised to one peer on its current session (RFC 4271 §3.2), with the export that was used.
#[derive(Debug, Clone, Default)]
pub struct AdjRibOut {
    routes: Routes,
    export: Export,
    /// How many of the routes were sent.
    sent: usize,
    /// How many were not sent, and why.
    not_sent: BTreeMap<NotSent, usize>,
    /// Families that have to be sent again completely.
    again: BTreeSet<Family>,
    ended: BTreeSet<Family>,
    /// Prefixes that another process may have advertised on this session, with attributes that are not known.
    unknown: BTreeSet<IpNet>,
}

impl AdjRibOut {
    /// The routes of a session that another process began. The peer has some of `prefixes`, and no other prefix of ours. The next
    /// [`advance`](Self::advance) announces every wanted route again, which changes nothing at a peer that has it, and withdraws the
    /// rest.
    pub fn resumed(prefixes: BTreeSet<IpNet>) -> Self {
        AdjRibOut { unknown: prefixes, ..AdjRibOut::default() }
    }

    /// The UPDATEs after which the peer has the routes of `want`: withdrawals first, only changes, and End-of-RIB once for each
    /// family when `want` is complete.
    ///
    /// The cost depends on the difference from the last `want`, unless `export` has changed or a refresh was requested.
    #[must_use]
    pub fn advance(&mut self, want: &LocRib, export: &Export) -> Vec<Update> {
        let again = std::mem::take(&mut self.again);
        let mut unknown = std::mem::take(&mut self.unknown);
        let pairs = match again.is_empty() && *export == self.export {
            true => self.routes.diff(&want.routes),
            false => self.routes.beside(&want.routes),
        };
        let (mut before, mut now) = (Exporter::new(&self.export), Exporter::new(export));
        let mut gone: BTreeMap<Family, Vec<IpNet>> = BTreeMap::new();
        let mut news: BTreeMap<(Family, AdvertisedRoute), Vec<IpNet>> = BTreeMap::new();
        for TreapDifference { key: prefix, old, new } in pairs {
            let family = Family::of(prefix.addr());
            let old = old.map(|attributes| before.of(family, &attributes));
            let new = new.map(|attributes| now.of(family, &attributes));
            match &old {
                Some(Ok(_)) => self.sent -= 1,
                Some(Err(Some(why))) => *self.not_sent.entry(*why).or_default() -= 1,
                Some(Err(None)) | None => {}
            }
            match &new {
                Some(Ok(_)) => self.sent += 1,
                Some(Err(Some(why))) => *self.not_sent.entry(*why).or_default() += 1,
                Some(Err(None)) | None => {}
            }
            match (old.and_then(Result::ok), new.and_then(Result::ok)) {
                (Some(old), Some(new)) if old == new && !again.contains(&family) => {}
                (_, Some(new)) => news.entry((family, new)).or_default().push(prefix),
                (Some(_), None) => gone.entry(family).or_default().push(prefix),
                (None, None) => {}
            }
        }
        if !unknown.is_empty() {
            let announced: BTreeSet<&IpNet> = news.values().flatten().collect();
            unknown.retain(|prefix| !announced.contains(prefix));
            let carried =
                unknown.iter().filter(|prefix| export.families.contains(&Family::of(prefix.addr())));
            carried.for_each(|prefix| gone.entry(Family::of(prefix.addr())).or_default().push(*prefix));
        }
        self.not_sent.retain(|_, count| *count > 0);
        self.routes = want.routes.clone();
        self.export = export.clone();

        let mut updates: Vec<Update> =
            gone.into_iter().map(|(family, p)| Update::Withdraw(family, p)).collect();
        updates.extend(news.into_iter().map(|((family, (next_hop, attributes)), prefixes)| {
            Update::Announce { family, next_hop, attributes, prefixes }
        }));
        if want.complete {
            let owed: Vec<Family> = export.families.difference(&self.ended).copied().collect();
            updates.extend(owed.iter().map(|family| Update::EndOfRib(*family)));
            self.ended.extend(owed);
        }
        updates
    }

    /// Lets the next [`advance`](Self::advance) send all of a family again (RFC 2918 §4).
    pub fn refresh(&mut self, family: Family) {
        self.again.insert(family);
    }

    /// Whether End-of-RIB was sent. Before that, a refresh is part of the first table (RFC 7313 §4).
    pub fn ended(&self, family: Family) -> bool {
        self.ended.contains(&family)
    }

    /// How many prefixes are advertised to the peer.
    pub fn len(&self) -> usize {
        self.sent
    }

    /// Whether nothing is advertised to the peer.
    pub fn is_empty(&self) -> bool {
        self.sent == 0
    }

    /// Families with routes that were not sent to this peer, and why.
    pub fn not_sent(&self) -> BTreeMap<Family, NotSent> {
        self.not_sent.keys().map(|why| (why.family(), *why)).collect()
    }
}

#[cfg(test)]
mod tests;
