//! Computes which sessions continue, restart, end or start, and in which order. The input is the running sessions and the wanted
//! configuration.
//!
//! Pure. It returns one step at a time, so that a newer configuration counts from the next step on. A reload never ends all
//! sessions at once, because sessions restart one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Config, PeerConfig};
use crate::model::{Asn, Family, PeerName, Recipients, RouterId};

/// The settings with which a session was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our AS.
    pub asn: Asn,
    /// `graceful_restart`.
    pub graceful_restart: Option<Duration>,
    /// Our BGP Identifier; `None`: it is not known, so the session has not started.
    pub router_id: Option<RouterId>,
    /// The peer.
    pub peer: PeerConfig,
}

/// A session that runs, or that waits for a router id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSession {
    /// The settings with which it was started.
    pub settings: Settings,
    /// Whether it is Established.
    pub state: SessionPhase,
    /// Whether the way to its peer has changed.
    pub path: PathComparison,
}

/// Whether a session carries routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionPhase {
    /// It carries no routes, so a restart removes no routes.
    Down,
    /// It is Established and carries routes.
    Established,
}

/// Whether a session still uses the same way as a new one would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathComparison {
    /// The way is the same.
    Same,
    /// A new session would use another interface, or reach another router.
    Other,
}

/// The wanted configuration and router id.
#[derive(Debug, Clone, Copy)]
pub struct DesiredSessions<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The router id, once it is known.
    pub router_id: Option<RouterId>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanStep {
    /// End the session: the configuration no longer names the peer.
    End(PeerName),
    /// Start a session, or a session that waited for the router id.
    Start(PeerName),
    /// End the session and start another.
    Restart(PeerName, RestartCause),
}

/// Why a session restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartCause {
    /// The configuration of the peer or of `[bgp]` has changed.
    Configuration,
    /// The router id has changed.
    RouterId,
    /// The way to the peer has changed.
    Way,
}

impl DesiredSessions<'_> {
    /// The settings for a session with a peer.
    pub fn settings(&self, peer: &PeerConfig) -> Settings {
        let (bgp, router_id) = (&self.config.bgp, self.router_id);
        Settings { asn: bgp.asn, graceful_restart: bgp.graceful_restart, router_id, peer: peer.clone() }
    }

    /// The peer of that name, if the configuration has one.
    pub fn peer(&self, name: &PeerName) -> Option<&PeerConfig> {
        self.config.peers.iter().find(|peer| peer.name == *name)
    }
}

/// Why a session cannot continue with a peer that is still wanted; `None`: it can.
pub fn cause(settings: &Settings, peer: &PeerConfig, wanted: &DesiredSessions<'_>) -> Option<RestartCause> {
    let next = wanted.settings(peer);
    let same = (settings.asn, settings.graceful_restart) == (next.asn, next.graceful_restart);
    if !same || !settings.peer.same_session(peer) {
        Some(RestartCause::Configuration)
    } else if next.router_id.is_some() && settings.router_id != next.router_id {
        Some(RestartCause::RouterId)
    } else {
        None
    }
}

/// The sessions that a reload restarts. `in_use` is the router id of the sessions.
pub fn restarts(old: &Config, new: &Config, in_use: Option<RouterId>) -> BTreeSet<PeerName> {
    let (before, wanted) = both(old, new, in_use);
    let restarts = |peer: &&PeerConfig| {
        wanted.peer(&peer.name).is_some_and(|next| cause(&before.settings(peer), next, &wanted).is_some())
    };
    old.peers.iter().filter(restarts).map(|peer| peer.name.clone()).collect()
}

/// The sessions before and after a reload.
fn both<'a>(
    old: &'a Config,
    new: &'a Config,
    in_use: Option<RouterId>,
) -> (DesiredSessions<'a>, DesiredSessions<'a>) {
    (
        DesiredSessions { config: old, router_id: in_use.or(old.bgp.router_id) },
        DesiredSessions { config: new, router_id: new.bgp.router_id.or(in_use) },
    )
}

/// The next step; `None`: everything is as wanted.
///
/// Removed peers come first, then new peers, then peers whose session has to restart. Of the last, peers without an established
/// session come first, because they lose no routes; the others follow in the order of the configuration.
pub fn next(running: &[RunningSession], wanted: &DesiredSessions<'_>) -> Option<PlanStep> {
    let of = |peer: &PeerConfig| running.iter().find(|one| one.settings.peer.name == peer.name);
    let gone = running.iter().find(|one| wanted.peer(&one.settings.peer.name).is_none());
    if let Some(gone) = gone {
        return Some(PlanStep::End(gone.settings.peer.name.clone()));
    }
    let begins = |peer: &&PeerConfig| {
        of(peer).is_none_or(|one| {
            one.settings.router_id.is_none() && cause(&one.settings, peer, wanted).is_some()
        })
    };
    if let Some(peer) = wanted.config.peers.iter().find(begins) {
        return Some(PlanStep::Start(peer.name.clone()));
    }
    let restarts = wanted.config.peers.iter().filter_map(|peer| {
        let one = of(peer)?;
        let moved = (one.path == PathComparison::Other).then_some(RestartCause::Way);
        let cause = cause(&one.settings, peer, wanted).or(moved)?;
        Some((one.state, PlanStep::Restart(peer.name.clone(), cause)))
    });
    restarts.min_by_key(|(state, _)| *state).map(|(_, step)| step)
}

/// Whether the next step ends a session with routes. Then all sessions that were restarted before have to be established first.
pub fn takes_routes(running: &[RunningSession], wanted: &DesiredSessions<'_>) -> bool {
    match next(running, wanted) {
        Some(PlanStep::Restart(name, _)) => {
            running.iter().any(|one| one.settings.peer.name == name && one.state == SessionPhase::Established)
        }
        Some(PlanStep::End(_) | PlanStep::Start(_)) | None => false,
    }
}

/// A session that is Established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EstablishedSession {
    /// Its peer.
    pub peer: PeerName,
    /// The families whose routes are sent on it.
    pub families: BTreeSet<Family>,
}

/// Why a reload needs `--force`: it would end every established session, or every one that carries a VIP. Its `Display` is a
/// sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interruption {
    /// The VIPs that are sent now and would be on no session that continues. Empty: every session would end, and no VIP is sent.
    pub vips: Vec<IpAddr>,
    /// The sessions that would end; there is at least one.
    pub sessions: Vec<(PeerName, SessionChange)>,
}

/// What a reload would do to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionChange {
    /// The configuration no longer names the peer.
    Removed,
    /// `families` of the peer no longer has a family that the session carries.
    FamilyRemoved(Family),
    /// It ends, and another one starts.
    Restarted,
    /// It continues, and `peers` of the services of these VIPs no longer names the router.
    NotNamed,
}

/// Why a reload would interrupt too much; `None`: some established session continues for each VIP in `sent`. These are the VIPs that
/// are announced now and that the new configuration has too. Sessions that are not established do not count: they carry nothing.
/// `in_use` is the router id of the sessions.
pub fn interruption(
    old: &Config,
    new: &Config,
    in_use: Option<RouterId>,
    established: &[EstablishedSession],
    sent: &[IpAddr],
) -> Option<Interruption> {
    let (before, wanted) = both(old, new, in_use);
    let change = |session: &EstablishedSession| {
        let Some(next) = wanted.peer(&session.peer) else { return Some(SessionChange::Removed) };
        let same = before
            .peer(&session.peer)
            .is_some_and(|peer| cause(&before.settings(peer), next, &wanted).is_none());
        let lost = session.families.iter().find(|family| !next.families.contains(family));
        (!same).then(|| lost.map_or(SessionChange::Restarted, |family| SessionChange::FamilyRemoved(*family)))
    };
    let changes: Vec<_> = established.iter().map(|session| (session, change(session))).collect();
    let (now, then) = (old.recipients(), new.recipients());
    let is_interrupted = |vip: &&IpAddr| {
        let carried = changes.iter().any(|(session, _)| session.carries(vip, &now));
        let continues =
            changes.iter().any(|(session, change)| change.is_none() && session.carries(vip, &then));
        carried && !continues
    };
    let vips: Vec<IpAddr> = sent.iter().filter(is_interrupted).copied().collect();
    let every = !changes.is_empty() && changes.iter().all(|(_, change)| change.is_some());
    if vips.is_empty() && !every {
        return None;
    }
    let carries =
        |session: &EstablishedSession| vips.is_empty() || vips.iter().any(|vip| session.carries(vip, &now));
    let ended = changes.iter().filter(|(session, _)| carries(session));
    let change = |change: Option<SessionChange>| change.unwrap_or(SessionChange::NotNamed);
    let sessions = ended.map(|(session, how)| (session.peer.clone(), change(*how))).collect();
    Some(Interruption { vips, sessions })
}

impl EstablishedSession {
    /// Whether it carries the route of a VIP, by its families and by `peers` of the VIP's service.
    fn carries(&self, vip: &IpAddr, recipients: &BTreeMap<IpAddr, &Recipients>) -> bool {
        self.families.contains(&Family::of(*vip))
            && recipients.get(vip).is_some_and(|recipients| recipients.include(&self.peer))
    }
}

/// The VIPs of `sent` that no router would be sent any more if the routers `drained` got no routes. Only an established session
/// counts, because a session that is down sends nothing. A VIP whose service names none of these routers loses nothing.
pub fn without_router(
    established: &[EstablishedSession],
    drained: &BTreeSet<PeerName>,
    sent: &[IpAddr],
    recipients: &BTreeMap<IpAddr, &Recipients>,
) -> Vec<IpAddr> {
    let concerned = |vip: &IpAddr| {
        let named = |recipients: &&Recipients| drained.iter().any(|peer| recipients.include(peer));
        recipients.get(vip).is_some_and(named)
    };
    let others: Vec<_> = established.iter().filter(|session| !drained.contains(&session.peer)).collect();
    let carried = |vip: &IpAddr| others.iter().any(|session| session.carries(vip, recipients));
    sent.iter().filter(|vip| concerned(vip) && !carried(vip)).copied().collect()
}

/// How many VIPs and how many sessions a sentence names.
const NAMED: usize = 3;

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |all: Vec<String>| match all.len().saturating_sub(NAMED) {
            0 => all.join(", "),
            more => format!("{}, and {more} more", all[..NAMED].join(", ")),
        };
        let ends = self.sessions.iter().all(|(_, change)| *change != SessionChange::NotNamed);
        f.write_str(match ends {
            true => "this would end every established session",
            false => "this would take the routes from every established session",
        })?;
        if !self.vips.is_empty() {
            let vips = self.vips.iter().map(ToString::to_string).collect();
            write!(f, " that carries a route to {}", list(vips))?;
        }
        let sessions = self.sessions.iter().map(|(name, change)| match change {
            SessionChange::Removed => format!("{name} would be removed"),
            SessionChange::FamilyRemoved(family) => format!("`families` of {name} would lack {family}"),
            SessionChange::Restarted => format!("the session with {name} would restart"),
            SessionChange::NotNamed => format!("`peers` would not name {name}"),
        });
        write!(f, ": {}", list(sessions.collect()))
    }
}

#[cfg(test)]
mod tests;
