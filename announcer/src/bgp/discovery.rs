//! Router discovery on the links of unnumbered sessions: which router is on a link, and when this host advertises itself there.
//!
//! Pure. RFC 4861: a router is learnt from its router advertisements, and asked for them by solicitations. The router learns this host
//! in the same way, so that it advertises itself too, with the lifetime 0: it is no default router. A link has one router, the first
//! that was heard. It stays until its advertisement runs out, or until it is silent while another one advertises itself.
//!
//! ```text
//! no router ── advertisement ──► kept ── its lifetime ends, the link goes down ──► no router, or another one that was heard
//!     │                           │ ▲
//!     └ a solicitation with each  │ └── it advertises itself within ANSWER: the other one is ignored, with a warning
//!       advertisement of ours     └── another router advertises itself: a solicitation; silence for ANSWER: the other one is kept
//! ```
//!
//! [`message`] reads and writes the messages.

pub mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use self::message::DiscoveryMessage;
use crate::bgp::path::{LinkState, Network};

/// The time between two advertisements of this host. FRR advertises itself as often on such a link.
const ADVERTISE: Duration = Duration::from_secs(10);
/// The shortest time between two of them (MIN_DELAY_BETWEEN_RAS of RFC 4861 section 10).
const LEAST_PAUSE: Duration = Duration::from_secs(3);
/// How many advertisements follow each other after that time, when a link has come up: the first may be lost.
const FIRST_ADVERTISEMENTS: u32 = 3;
/// The longest delay of the answer to a solicitation (MAX_RA_DELAY_TIME).
const ANSWER_DELAY: Duration = Duration::from_millis(500);
/// The time between the first solicitations (RTR_SOLICITATION_INTERVAL), and how many they are (MAX_RTR_SOLICITATIONS). After them,
/// a solicitation follows after each [`ADVERTISE`] until a router has answered (RFC 7559).
const SOLICIT: Duration = Duration::from_secs(4);
/// The same.
const FIRST_SOLICITATIONS: u32 = 3;
/// How long an advertisement counts whose lifetime is 0: the router is no default router, and is there all the same. It is the
/// default of AdvDefaultLifetime (RFC 4861 section 6.2.1).
const WITHOUT_LIFETIME: Duration = Duration::from_secs(1800);
/// How long the router of a link may take to answer a solicitation while another one advertises itself.
const ANSWER: Duration = Duration::from_secs(10);
/// How many other routers of a link are remembered.
const MOST_OTHERS: usize = 16;

/// The routers that are known on the links of unnumbered sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LearntRouters {
    /// By the name of the interface; a link without a router is missing.
    pub links: BTreeMap<String, LearntLink>,
    /// Why no router can be learnt, as a sentence.
    pub failure: Option<String>,
}

/// The routers of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearntLink {
    /// The link-local address of the router that gets the session.
    pub router: Ipv6Addr,
    /// Other addresses whose advertisements have not run out; the value: whether it is silent, so that another router has replaced it.
    pub others: BTreeMap<Ipv6Addr, Silence>,
}

/// Whether a router has not answered a solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It has advertised itself since.
    Heard,
    /// It has not.
    Silent,
}

impl LearntRouters {
    /// The router of a link.
    pub fn of(&self, interface: &str) -> Option<Ipv6Addr> {
        self.links.get(interface).map(|link| link.router)
    }

    /// Whether the advertisement of this address has not run out.
    pub fn has(&self, interface: &str, address: IpAddr) -> bool {
        let link = self.links.get(interface);
        link.is_some_and(|link| {
            IpAddr::V6(link.router) == address
                || link.others.keys().any(|other| IpAddr::V6(*other) == address)
        })
    }

    /// The warnings for an operator, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let several = |(interface, link): (&String, &LearntLink)| {
            let heard = link.others.iter().filter(|(_, silence)| **silence == Silence::Heard);
            let heard: Vec<String> = heard.map(|(other, _)| other.to_string()).collect();
            (!heard.is_empty()).then(|| {
                format!(
                    "several routers advertise themselves on `{interface}`: {} gets the session, {} does not; an unnumbered session needs a \
                     link to one router: write a `[[peer]]` with the `address` and the `interface` for each router",
                    link.router,
                    heard.join(" and ")
                )
            })
        };
        self.failure.iter().cloned().chain(self.links.iter().filter_map(several)).collect()
    }
}

/// A message to send to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoverySend {
    /// The index of the interface.
    pub interface: u32,
    /// Our link-local address there.
    pub source: Ipv6Addr,
    /// What it says.
    pub kind: DiscoverySendKind,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoverySendKind {
    /// An advertisement, to all nodes.
    Advertisement,
    /// A solicitation, to all routers.
    Solicitation,
}

/// The state of all links with an unnumbered session.
#[derive(Debug, Default)]
pub struct RouterDiscovery {
    links: BTreeMap<String, DiscoveryLink>,
}

/// One link.
#[derive(Debug)]
struct DiscoveryLink {
    /// The interface's index and our address, while the link is up and has one.
    place: Option<(u32, Ipv6Addr)>,
    /// The advertisements since the link came up, the last one, and when the next one is due.
    advertisements: u32,
    advertised: Option<Instant>,
    advertise: Instant,
    /// The solicitations without an answer, and when the next one is due.
    solicitations: u32,
    solicit: Instant,
    kept: Option<(Ipv6Addr, HeardRouter)>,
    others: BTreeMap<Ipv6Addr, HeardRouter>,
    /// Until when the router has to answer, because another one advertises itself.
    answer: Option<Instant>,
}

/// The last advertisement of a router.
#[derive(Debug, Clone, Copy)]
struct HeardRouter {
    at: Instant,
    /// When it runs out.
    until: Instant,
    silence: Silence,
}

impl DiscoveryLink {
    fn new(now: Instant) -> Self {
        DiscoveryLink {
            place: None,
            advertisements: 0,
            advertised: None,
            advertise: now,
            solicitations: 0,
            solicit: now,
            kept: None,
            others: BTreeMap::new(),
            answer: None,
        }
    }

    /// Takes the present state of the interface.
    fn stand(&mut self, place: Option<(u32, Ipv6Addr)>, now: Instant) {
        if place == self.place {
            return;
        }
        let index = |place: Option<(u32, Ipv6Addr)>| place.map(|(index, _)| index);
        if self.place.is_some() && index(place) != index(self.place) {
            // Another router may be at the other end of the cable.
            *self = DiscoveryLink::new(now);
        }
        self.place = place;
        (self.advertisements, self.advertise, self.solicitations, self.solicit) = (0, now, 0, now);
    }

    fn solicited(&mut self, jitter: f64, now: Instant) {
        let soon = now + ANSWER_DELAY.mul_f64(jitter.clamp(0.0, 1.0));
        let due = self.advertised.map_or(soon, |last| soon.max(last + LEAST_PAUSE));
        self.advertise = self.advertise.min(due);
    }

    fn heard(&mut self, router: Ipv6Addr, lifetime: Duration, now: Instant) {
        let valid = if lifetime.is_zero() { WITHOUT_LIFETIME } else { lifetime };
        let heard = HeardRouter { at: now, until: now + valid, silence: Silence::Heard };
        match self.kept {
            Some((kept, before)) if kept != router => {
                if self.others.len() < MOST_OTHERS || self.others.contains_key(&router) {
                    self.others.insert(router, heard);
                }
                // A router that has answered a moment ago may not answer again yet.
                if self.answer.is_none() && now.saturating_duration_since(before.at) > LEAST_PAUSE {
                    (self.answer, self.solicit) = (Some(now + ANSWER), now);
                }
            }
            Some(_) | None => {
                self.others.remove(&router);
                self.kept = Some((router, heard));
                (self.answer, self.solicitations) = (None, 0);
                self.solicit = now + valid.mul_f64(0.75);
            }
        }
    }

    /// Forgets what has run out.
    fn expire(&mut self, now: Instant) {
        self.others.retain(|_, heard| heard.until > now);
        let has_run_out = self.kept.is_some_and(|(_, heard)| heard.until <= now);
        let is_silent = self.answer.is_some_and(|answer| answer <= now);
        if is_silent || self.others.is_empty() {
            self.answer = None;
        }
        let newest = self.others.iter().max_by_key(|(_, heard)| heard.at).map(|(router, _)| *router);
        if has_run_out {
            self.kept = None;
            (self.solicitations, self.solicit) = (0, now);
        } else if let (true, Some((kept, before)), Some(_)) = (is_silent, self.kept, newest) {
            self.others.insert(kept, HeardRouter { silence: Silence::Silent, ..before });
            self.kept = None;
        }
        if self.kept.is_none()
            && let Some(router) = newest
            && let Some(heard) = self.others.remove(&router)
        {
            self.kept = Some((router, heard));
            self.solicit = now;
        }
    }

    fn due(&mut self, now: Instant) -> Vec<DiscoverySend> {
        let Some((interface, source)) = self.place else { return Vec::new() };
        let mut due = Vec::new();
        if self.advertise <= now {
            due.push(DiscoverySend { interface, source, kind: DiscoverySendKind::Advertisement });
            self.advertisements = self.advertisements.saturating_add(1);
            self.advertised = Some(now);
            let is_first = self.advertisements < FIRST_ADVERTISEMENTS;
            self.advertise = now + if is_first { LEAST_PAUSE } else { ADVERTISE };
        }
        if self.solicit <= now {
            due.push(DiscoverySend { interface, source, kind: DiscoverySendKind::Solicitation });
            self.solicitations = self.solicitations.saturating_add(1);
            let is_first = self.solicitations < FIRST_SOLICITATIONS;
            self.solicit = now + if is_first { SOLICIT } else { ADVERTISE };
        }
        due
    }

    fn deadline(&self) -> Option<Instant> {
        let sends = self.place.map(|_| self.advertise.min(self.solicit));
        let expiries = self.kept.iter().map(|(_, heard)| heard.until);
        let others = self.others.values().map(|heard| heard.until);
        expiries.chain(others).chain(sends).chain(self.answer).min()
    }
}

impl RouterDiscovery {
    /// With the routers that were published before, for a task that is started again: they count as just heard.
    pub fn resumed(known: &LearntRouters, now: Instant) -> Self {
        let links = known.links.iter().map(|(interface, link)| {
            let mut resumed = DiscoveryLink::new(now);
            resumed.heard(link.router, Duration::ZERO, now);
            (interface.clone(), resumed)
        });
        RouterDiscovery { links: links.collect() }
    }

    /// Takes the interfaces of unnumbered sessions and the present network. A link that went down loses its router.
    pub fn follow(&mut self, wanted: &BTreeSet<String>, network: &Network, now: Instant) {
        self.links.retain(|interface, _| wanted.contains(interface));
        if !network.is_read() {
            return;
        }
        for interface in wanted {
            let link = self.links.entry(interface.clone()).or_insert_with(|| DiscoveryLink::new(now));
            link.stand(place(interface, network), now);
        }
    }

    /// A message has arrived on an interface. `jitter`: a random number from 0 to 1.
    pub fn heard(
        &mut self,
        interface: u32,
        source: Ipv6Addr,
        message: DiscoveryMessage,
        jitter: f64,
        now: Instant,
    ) {
        let of = |link: &&mut DiscoveryLink| {
            link.place.is_some_and(|(index, ours)| index == interface && ours != source)
        };
        let Some(link) = self.links.values_mut().find(of) else { return };
        match message {
            DiscoveryMessage::Solicitation => link.solicited(jitter, now),
            DiscoveryMessage::Advertisement { lifetime } => link.heard(source, lifetime, now),
        }
    }

    /// Forgets what has run out, and returns what is to be sent now. All messages that have arrived have to be passed to
    /// [`heard`](Self::heard) before.
    pub fn due(&mut self, now: Instant) -> Vec<DiscoverySend> {
        let due = self.links.values_mut().flat_map(|link| {
            link.expire(now);
            link.due(now)
        });
        due.collect()
    }

    /// A message could not be sent: it is sent again after `wait`.
    pub fn not_sent(&mut self, send: DiscoverySend, wait: Duration, now: Instant) {
        let of = |link: &&mut DiscoveryLink| link.place.is_some_and(|(index, _)| index == send.interface);
        let Some(link) = self.links.values_mut().find(of) else { return };
        match send.kind {
            DiscoverySendKind::Advertisement => {
                link.advertisements = link.advertisements.saturating_sub(1);
                link.advertise = now + wait;
            }
            DiscoverySendKind::Solicitation => {
                link.solicitations = link.solicitations.saturating_sub(1);
                link.solicit = now + wait;
            }
        }
    }

    /// When [`due`](Self::due) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(DiscoveryLink::deadline).min()
    }

    /// The indexes of the interfaces whose links are up.
    pub fn interfaces(&self) -> BTreeSet<u32> {
        self.links.values().filter_map(|link| link.place).map(|(index, _)| index).collect()
    }

    /// The routers that are known now.
    pub fn routers(&self) -> BTreeMap<String, LearntLink> {
        let known = |(interface, link): (&String, &DiscoveryLink)| {
            let (router, _) = link.kept?;
            let others = link.others.iter().map(|(other, heard)| (*other, heard.silence)).collect();
            Some((interface.clone(), LearntLink { router, others }))
        };
        self.links.iter().filter_map(known).collect()
    }
}

/// The index of an interface and our link-local address there; `None`: the link is down, or there is no such address.
fn place(interface: &str, network: &Network) -> Option<(u32, Ipv6Addr)> {
    let is_up = |link: &crate::bgp::path::Link| link.name == interface && link.state == LinkState::Up;
    let (index, _) = network.links.iter().find(|(_, link)| is_up(link))?;
    let link_local = network.of(*index).iter().find_map(|address| match address.ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    Some((*index, link_local?))
}

#[cfg(test)]
mod tests;
