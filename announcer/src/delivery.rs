//! How far the routes of the VIPs have got: which of the routers that should have a VIP's route have acknowledged its UPDATE.
//!
//! Pure. A standing is our decision; this stands beside it. [`delivery`] is the only place where it is computed: `status`, `explain`,
//! the metrics, the log and the warnings read it.
//!
//! An acknowledgement is TCP's: the router's kernel has our octets. Whether the router uses the route is not known here, because
//! its filter may have refused it.

mod alarm;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

pub use alarm::{DeliveryAlarm, DeliveryNews};

use crate::director::{Figures, NextHopSource, Standing, VipRoute};
use crate::model::{Family, Generation, PeerName, ServiceName};
use crate::rib::NotSent;

/// A configured router, and its session as far as routes depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSession {
    /// Its configured name.
    pub name: PeerName,
    /// Its `families` in the configuration: the routers that should have a route are those with the route's family.
    pub families: BTreeSet<Family>,
    /// What its session has sent.
    pub progress: SessionProgress,
}

/// What a session has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionProgress {
    /// It is not Established. The router may still keep the routes of the last session, for example by graceful restart. That was
    /// not seen, so it does not count.
    Down,
    /// It is Established.
    Established {
        /// Up to which generation of the Loc-RIB the router's kernel has acknowledged our octets.
        acknowledged: Generation,
        /// Families with routes that are not sent, and why.
        not_sent: BTreeMap<Family, NotSent>,
    },
}

/// How far a route has got to one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteProgress {
    /// The configuration does not send routes of this family, or of this service, to the router.
    NotWanted,
    /// The session is not Established.
    Down,
    /// The session is Established, and the route is not sent, for this reason.
    NotSent(NotSent),
    /// The UPDATE is being sent, and the router's kernel has not acknowledged all of it.
    Sending,
    /// The router's kernel has acknowledged the UPDATE.
    Acknowledged,
}

impl RouterSession {
    /// How far a route of this family has got to this router.
    pub fn progress(&self, family: Family, route: &VipRoute) -> RouteProgress {
        if !route.recipients.include(&self.name) {
            return RouteProgress::NotWanted;
        }
        let SessionProgress::Established { acknowledged, not_sent } = &self.progress else {
            return if self.families.contains(&family) {
                RouteProgress::Down
            } else {
                RouteProgress::NotWanted
            };
        };
        if !self.families.contains(&family) {
            return RouteProgress::NotWanted;
        }
        let sent = match *acknowledged < route.generation {
            true => RouteProgress::Sending,
            false => RouteProgress::Acknowledged,
        };
        match not_sent.get(&family) {
            // Other routes of the family lack a next hop. This one has its own.
            Some(NotSent::NoNextHop(_)) if route.next_hop == NextHopSource::Service => sent,
            Some(why) => RouteProgress::NotSent(*why),
            None => sent,
        }
    }

    /// Whether the session is Established.
    fn is_established(&self) -> bool {
        match self.progress {
            SessionProgress::Down => false,
            SessionProgress::Established { .. } => true,
        }
    }
}

/// How far the route of a VIP has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The routers that should have the route, in the order of the configuration; none while the VIP is not announced.
    routers: Vec<(&'a PeerName, RouteProgress)>,
}

/// How far the route of a VIP has got to each router that should have it. `route` is `None` while the VIP is not announced: then no
/// router should have it.
pub fn delivery<'a>(vip: IpAddr, route: Option<&VipRoute>, routers: &'a [RouterSession]) -> Delivery<'a> {
    let family = Family::of(vip);
    let one = |route: &VipRoute| {
        let route = route.clone();
        let progress = routers.iter().map(move |router| (&router.name, router.progress(family, &route)));
        progress.filter(|(_, progress)| *progress != RouteProgress::NotWanted)
    };
    Delivery { routers: route.into_iter().flat_map(one).collect() }
}

/// Every VIP with its service and its delivery, in the order of the configuration.
pub fn deliveries<'a>(
    figures: &'a Figures,
    routers: &'a [RouterSession],
) -> impl Iterator<Item = (&'a ServiceName, IpAddr, Delivery<'a>)> {
    figures.services.iter().flat_map(move |service| {
        service
            .vips
            .iter()
            .map(move |vip| (&service.name, vip.address, delivery(vip.address, vip.route.as_ref(), routers)))
    })
}

impl<'a> Delivery<'a> {
    /// How many routers should have the route.
    pub fn wanted(&self) -> usize {
        self.routers.len()
    }

    /// How many of them have acknowledged its UPDATE.
    pub fn acknowledged(&self) -> usize {
        self.count(RouteProgress::Acknowledged)
    }

    /// How many of them are being sent the UPDATE.
    pub fn sending(&self) -> usize {
        self.count(RouteProgress::Sending)
    }

    /// Those that have not acknowledged it.
    pub fn missing(&self) -> impl Iterator<Item = &'a PeerName> {
        let missing = self.routers.iter().filter(|(_, progress)| *progress != RouteProgress::Acknowledged);
        missing.map(|(name, _)| *name)
    }

    fn count(&self, wanted: RouteProgress) -> usize {
        self.routers.iter().filter(|(_, progress)| *progress == wanted).count()
    }

    /// The standing of the VIP, and how far its route has got, as a sentence without its subject.
    pub fn beside(&self, standing: &Standing) -> String {
        match standing {
            Standing::Drained(_) | Standing::NotAnnounced(_) => standing.to_string(),
            Standing::Announced if self.acknowledged() == 0 => format!("ready, but {self}"),
            Standing::LastChoice(_) if self.acknowledged() == 0 => format!("{standing}; but {self}"),
            Standing::Announced | Standing::LastChoice(_) => format!("{standing}, {self}"),
        }
    }
}

impl fmt::Display for Delivery<'_> {
    /// As in "sent to 2 of 3 routers".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.acknowledged(), self.wanted(), self.sending()) {
            (0, _, 0) => f.write_str("sent to no router"),
            (0, _, 1) => f.write_str("no router has acknowledged it yet, 1 is being sent it"),
            (0, _, sending) => write!(f, "no router has acknowledged it yet, {sending} are being sent it"),
            (sent, 1, _) => write!(f, "sent to {sent} of 1 router"),
            (sent, wanted, _) => write!(f, "sent to {sent} of {wanted} routers"),
        }
    }
}

#[cfg(test)]
mod tests;
