//! Computes which sessions continue, restart, end or start, and in which order. The input is the running sessions and the wanted
//! configuration.
//!
//! Pure. It returns one step at a time, so that a newer configuration counts from the next step on. A reload never ends all
//! sessions at once, because sessions restart one after the other.

use std::time::Duration;

use crate::config::{Config, PeerConfig};
use crate::model::{Asn, PeerName, RouterId};

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

/// Whether a reload would end every existing session, in any order. `in_use` is the router id of the sessions.
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
