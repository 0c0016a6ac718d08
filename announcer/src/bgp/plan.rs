//! Which sessions continue, which begin anew, which end or start, and in which order: from what runs and what is wanted.
//!
//! Pure. One step at a time, so that whoever takes the steps can look again in between: a newer configuration counts from the
//! next step on. A reload never takes every path away at once, since sessions begin anew one after the other.

use std::time::Duration;

use crate::config::{Config, PeerConfig};
use crate::model::{Asn, PeerName, RouterId};

/// All that a session was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our AS.
    pub asn: Asn,
    /// `graceful_restart`.
    pub graceful_restart: Option<Duration>,
    /// Our BGP Identifier; `None`: the session has not begun, since it is not known.
    pub router_id: Option<RouterId>,
    /// The peer.
    pub peer: PeerConfig,
}

/// A session that runs, or that waits for a router id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSession {
    /// What it was started with.
    pub settings: Settings,
    /// Whether it is Established.
    pub state: SessionPhase,
    /// Whether the way to its peer has changed.
    pub path: PathComparison,
}

/// Whether a session carries routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionPhase {
    /// It does not: to begin it anew takes nothing away.
    Down,
    /// It is Established.
    Established,
}

/// Whether a session still goes the way that a new one would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathComparison {
    /// It does.
    Same,
    /// A new one would leave by another interface, or reach another router.
    Other,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct DesiredSessions<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The router id, once it is known.
    pub router_id: Option<RouterId>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanStep {
    /// End the session: the configuration names the peer no more.
    End(PeerName),
    /// Start a session, or let one that waited for the router id begin.
    Start(PeerName),
    /// End the session and start another.
    Restart(PeerName, RestartCause),
}

/// Why a session begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartCause {
    /// The configuration says something else of the peer, or of ourselves.
    Configuration,
    /// The router id is another.
    RouterId,
    /// The way to the peer is another.
    Way,
}

impl DesiredSessions<'_> {
    /// What a session with a peer is to be started with.
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

/// The next step; `None`: all is as it is wanted.
///
/// Peers that were removed go first, then new ones, then those that have to begin anew: of these the ones without a session
/// go first, since they lose nothing, and the others in the order of the configuration.
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

/// Whether the next step takes routes away, so that what was begun anew before has to be back first.
pub fn takes_routes(running: &[RunningSession], wanted: &DesiredSessions<'_>) -> bool {
    match next(running, wanted) {
        Some(PlanStep::Restart(name, _)) => {
            running.iter().any(|one| one.settings.peer.name == name && one.state == SessionPhase::Established)
        }
        Some(PlanStep::End(_) | PlanStep::Start(_)) | None => false,
    }
}

/// Whether a reload would end every session that there is, each by itself or one after the other. `in_use` is the router id
/// that sessions have.
pub fn interrupts_every_session(old: &Config, new: &Config, in_use: Option<RouterId>) -> bool {
    let wanted = DesiredSessions { config: new, router_id: new.bgp.router_id.or(in_use) };
    let before = DesiredSessions { config: old, router_id: in_use.or(old.bgp.router_id) };
    !old.peers.iter().any(|peer| {
        let next = wanted.peer(&peer.name);
        next.is_some_and(|next| cause(&before.settings(peer), next, &wanted).is_none())
    })
}

#[cfg(test)]
mod tests;
