//! The path attributes that a configuration gives to routes.
//!
//! Pure. RFC 4271 §5, RFC 1997, RFC 4360, RFC 8092. AS_PATH and the next hop that is "self" are added by the session.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{Community, ExtendedCommunity, LargeCommunity, Origin, PeerName};

/// The path attributes of a route, before a peer's own are added (AS_PATH, NEXT_HOP).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attributes {
    /// ORIGIN (RFC 4271 §5.1.1).
    pub origin: Origin,
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// LOCAL_PREF (RFC 4271 §5.1.5): only sent on iBGP; `None`: 100.
    pub local_pref: Option<u32>,
    /// How many more times our AS is in AS_PATH, besides the one time that eBGP requires; never on iBGP.
    pub prepend: u8,
    /// The next hop of IPv4 routes; `None`: the session's own.
    pub next_hop_v4: Option<Ipv4Addr>,
    /// The next hop of IPv6 routes; `None`: the session's own.
    pub next_hop_v6: Option<Ipv6Addr>,
    /// COMMUNITIES (RFC 1997).
    pub communities: BTreeSet<Community>,
    /// EXTENDED COMMUNITIES (RFC 4360).
    pub extended_communities: BTreeSet<ExtendedCommunity>,
    /// LARGE_COMMUNITY (RFC 8092).
    pub large_communities: BTreeSet<LargeCommunity>,
    /// The routers that get the route. Like [`deprefer`](Self::deprefer), it is not sent.
    pub recipients: Recipients,
    /// Changes that make routers prefer other routes; `None`: no changes. They take precedence over the peer's attributes.
    pub deprefer: Option<Box<Deprefer>>,
}

/// The routers that get the routes of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Recipients {
    /// Each router.
    #[default]
    All,
    /// The routers with these names, which `peers` of the service names; at least one.
    Only(Arc<BTreeSet<PeerName>>),
    /// The routers with these names, because they are in the VRF of the service, or in no VRF as the service is, and others are
    /// not.
    SameVrf(Arc<BTreeSet<PeerName>>),
}

impl Recipients {
    /// Whether a router gets the routes. This is the only place that decides it.
    pub fn include(&self, router: &PeerName) -> bool {
        match self {
            Recipients::All => true,
            Recipients::Only(names) | Recipients::SameVrf(names) => names.contains(router),
        }
    }
}

/// The changes to the attributes of a route that is the last choice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Deprefer {
    /// Added to [`Attributes::prepend`].
    pub prepend: u8,
    /// Replaces [`Attributes::local_pref`]; `None`: no change.
    pub local_pref: Option<u32>,
    /// Replaces [`Attributes::med`]; `None`: no change.
    pub med: Option<u32>,
    /// Added to [`Attributes::communities`].
    pub communities: BTreeSet<Community>,
}

impl Attributes {
    /// The attributes with the changes of [`deprefer`](Self::deprefer).
    #[must_use]
    fn made_last_choice(mut self) -> Self {
        if let Some(deprefer) = self.deprefer.take() {
            self.prepend = self.prepend.saturating_add(deprefer.prepend);
            self.local_pref = deprefer.local_pref.or(self.local_pref);
            self.med = deprefer.med.or(self.med);
            self.communities.extend(deprefer.communities);
        }
        self
    }
}

/// The attributes that a peer replaces in every route; `None`: it does not replace them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// As [`Attributes::origin`].
    pub origin: Option<Origin>,
    /// As [`Attributes::med`].
    pub med: Option<u32>,
    /// As [`Attributes::local_pref`].
    pub local_pref: Option<u32>,
    /// As [`Attributes::prepend`].
    pub prepend: Option<u8>,
    /// As [`Attributes::next_hop_v4`].
    pub next_hop_v4: Option<Ipv4Addr>,
    /// As [`Attributes::next_hop_v6`].
    pub next_hop_v6: Option<Ipv6Addr>,
    /// As [`Attributes::communities`]; an empty set leaves none.
    pub communities: Option<BTreeSet<Community>>,
    /// As [`Attributes::extended_communities`]; an empty set leaves none.
    pub extended_communities: Option<BTreeSet<ExtendedCommunity>>,
    /// As [`Attributes::large_communities`]; an empty set leaves none.
    pub large_communities: Option<BTreeSet<LargeCommunity>>,
}

impl Overrides {
    /// The attributes of a route for this peer, with all changes applied, and without what is not sent.
    pub fn over(&self, route: &Attributes) -> Attributes {
        Attributes {
            origin: self.origin.unwrap_or(route.origin),
            med: self.med.or(route.med),
            local_pref: self.local_pref.or(route.local_pref),
            prepend: self.prepend.unwrap_or(route.prepend),
            next_hop_v4: self.next_hop_v4.or(route.next_hop_v4),
            next_hop_v6: self.next_hop_v6.or(route.next_hop_v6),
            communities: self.communities.as_ref().unwrap_or(&route.communities).clone(),
            extended_communities: (self.extended_communities.as_ref())
                .unwrap_or(&route.extended_communities)
                .clone(),
            large_communities: self.large_communities.as_ref().unwrap_or(&route.large_communities).clone(),
            recipients: Recipients::All,
            deprefer: route.deprefer.clone(),
        }
        .made_last_choice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_replaces_and_what_it_does_not_say_stays() {
        let route = Attributes {
            med: Some(1),
            prepend: 2,
            communities: [Community(7)].into(),
            large_communities: [LargeCommunity([1, 2, 3])].into(),
            next_hop_v4: Some(Ipv4Addr::new(10, 0, 0, 1)),
            ..Attributes::default()
        };
        assert_eq!(Overrides::default().over(&route), route);
        let peer = Overrides {
            origin: Some(Origin::Incomplete),
            med: Some(0),
            local_pref: Some(50),
            communities: Some(BTreeSet::new()),
            ..Overrides::default()
        };
        let want = Attributes {
            origin: Origin::Incomplete,
            med: Some(0),
            local_pref: Some(50),
            communities: BTreeSet::new(),
            ..route.clone()
        };
        assert_eq!(peer.over(&route), want);
    }

    #[test]
    fn a_depreference_adds_and_replaces_and_is_done_with() {
        let route = Attributes {
            med: Some(1),
            local_pref: Some(200),
            prepend: 254,
            communities: [Community(7)].into(),
            ..Attributes::default()
        };
        assert_eq!(route.clone().made_last_choice(), route);
        let with = |deprefer| Attributes { deprefer: Some(Box::new(deprefer)), ..route.clone() };
        assert_eq!(with(Deprefer::default()).made_last_choice(), route, "what is not said stays");
        let deprefer =
            Deprefer { prepend: 3, local_pref: Some(0), med: Some(9), communities: [Community(8)].into() };
        let want = Attributes {
            med: Some(9),
            local_pref: Some(0),
            prepend: 255,
            communities: [Community(7), Community(8)].into(),
            ..route.clone()
        };
        assert_eq!(with(deprefer).made_last_choice(), want);
    }
}
