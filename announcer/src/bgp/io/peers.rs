//! Looks at all sessions together: which routers have which generation, and a wait until all routers have one.
//!
//! Touches no socket; it reads the states that the session tasks publish.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::session::{GenerationProgress, SessionReport};
use crate::bgp::fsm::StateName;
use crate::bgp::plan::EstablishedSession;
use crate::config;
use crate::delivery::{RouterSession, SessionProgress};
use crate::model::{Family, Generation, PeerName};

/// The sessions' published states, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Peers(Vec<(config::PeerConfig, watch::Receiver<SessionReport>)>);

impl Peers {
    /// Of these sessions.
    pub fn new(peers: Vec<(config::PeerConfig, watch::Receiver<SessionReport>)>) -> Self {
        Peers(peers)
    }

    /// Each peer with the present state of its session.
    pub fn iter(&self) -> impl Iterator<Item = (&config::PeerConfig, SessionReport)> {
        self.0.iter().map(|(peer, status)| (peer, status.borrow().clone()))
    }

    /// The peers with an established session, each with the hold time that was agreed; `None`: it has none.
    pub fn hold_times(&self) -> BTreeMap<PeerName, Option<Duration>> {
        let one = |(peer, status): &(config::PeerConfig, watch::Receiver<SessionReport>)| {
            let status = status.borrow();
            let agreed = status.negotiated.as_ref().filter(|_| status.state == StateName::Established)?;
            Some((peer.name.clone(), agreed.hold_time))
        };
        self.0.iter().filter_map(one).collect()
    }

    /// Returns when the state of a session has changed since the last call. Without sessions it never returns.
    pub async fn changed(&mut self) {
        let changes = self.0.iter_mut().map(|(_, status)| {
            Box::pin(async move {
                if status.changed().await.is_err() {
                    std::future::pending().await // the session's task has ended; the list of sessions will change
                }
            })
        });
        let changes: Vec<_> = changes.collect();
        if changes.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(changes).await;
    }

    /// The warnings for an operator, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let no_hold_timer = |(peer, status): &(config::PeerConfig, watch::Receiver<SessionReport>)| {
            let agreed = status.borrow().negotiated.as_ref().map(|negotiated| negotiated.hold_time);
            (agreed == Some(None) && !peer.hold_time.is_zero()).then(|| {
                format!(
                    "{} has switched the hold timer off: only TCP keepalive notices that the router is gone; \
                     `min_hold_time` refuses such a session",
                    peer.name
                )
            })
        };
        self.0.iter().filter_map(no_hold_timer).collect()
    }

    /// The sessions that are established, and the families whose routes are sent on each.
    pub fn established(&self) -> Vec<EstablishedSession> {
        let one = |(peer, status): &(config::PeerConfig, watch::Receiver<SessionReport>)| {
            let status = status.borrow();
            let negotiated = status.negotiated.as_ref().filter(|_| status.state == StateName::Established)?;
            let wanted = families(peer, &status);
            let families = negotiated.families.intersection(&wanted).copied();
            let families = families.filter(|family| !status.not_sent.contains_key(family)).collect();
            Some(EstablishedSession { peer: peer.name.clone(), families })
        };
        self.0.iter().filter_map(one).collect()
    }

    /// How many sessions there are, and how many of them are established.
    pub fn count(&self) -> (usize, usize) {
        let established =
            self.0.iter().filter(|(_, status)| status.borrow().state == StateName::Established).count();
        (self.0.len(), established)
    }

    /// The routers as the delivery of routes sees them, in the order of the configuration.
    pub fn routers(&self) -> Vec<RouterSession> {
        let one = |(peer, status): &(config::PeerConfig, watch::Receiver<SessionReport>)| {
            let status = status.borrow();
            let progress = match status.state {
                StateName::Established => SessionProgress::Established {
                    acknowledged: status.acknowledged,
                    not_sent: status.not_sent.clone(),
                },
                StateName::Idle | StateName::Connect | StateName::OpenSent | StateName::OpenConfirm => {
                    SessionProgress::Down
                }
            };
            RouterSession { name: peer.name.clone(), families: families(peer, &status), progress }
        };
        self.0.iter().map(one).collect()
    }

    /// Returns when [`routers`](Self::routers) differs from `known`.
    pub async fn routers_changed(&mut self, known: &[RouterSession]) {
        while self.routers() == known {
            let changes = self.0.iter_mut().map(|(_, status)| {
                // A session whose task has ended does not change any more.
                Box::pin(async move {
                    if status.changed().await.is_err() {
                        std::future::pending().await
                    }
                })
            });
            let changes: Vec<_> = changes.collect();
            if changes.is_empty() {
                return std::future::pending().await;
            }
            futures_util::future::select_all(changes).await;
        }
    }

    /// Whether a router has received our BGP Identifier, from this process or, on a session that continues, from the one before.
    pub fn have_spoken(&self) -> bool {
        let spoken = |status: &SessionReport| status.sent.open > 0 || status.established > 0;
        self.0.iter().any(|(_, status)| spoken(&status.borrow()))
    }

    /// Whether an established peer has, or may have, a prefix from us.
    pub fn announcing(&self) -> bool {
        self.0.iter().any(|(_, status)| {
            let status = status.borrow();
            status.announced.max(status.advertised) > 0
        })
    }

    /// Returns when each router follows `generation`: its kernel has acknowledged it, or the router no longer keeps our routes.
    pub async fn acknowledged(&self, generation: Generation) {
        for (_, status) in &self.0 {
            follow(status.clone(), generation).await;
        }
    }

    /// The names of the routers that do not follow `generation`. For a router without a session, the text has the time for which it
    /// may keep routes.
    pub fn unacknowledged(&self, generation: Generation) -> Vec<String> {
        let now = Instant::now();
        let name = |(peer, status): &(config::PeerConfig, watch::Receiver<SessionReport>)| match status
            .borrow()
            .follows(generation, now.into_std())
        {
            GenerationProgress::Yes => None,
            GenerationProgress::NotYet => Some(peer.name.to_string()),
            GenerationProgress::MayKeepRoutes(until) => {
                let left = Duration::from_secs(until.saturating_duration_since(now.into_std()).as_secs() + 1);
                let left = humantime::format_duration(left);
                Some(format!("{} (no session; it may keep routes of the last one for {left})", peer.name))
            }
        };
        self.0.iter().filter_map(name).collect()
    }
}

/// The families whose routes the router should have: none while it is drained.
fn families(peer: &config::PeerConfig, status: &SessionReport) -> BTreeSet<Family> {
    if status.drained { BTreeSet::new() } else { peer.families.clone() }
}

/// Returns when a router follows a generation.
async fn follow(mut status: watch::Receiver<SessionReport>, generation: Generation) {
    loop {
        let follows = status.borrow_and_update().follows(generation, Instant::now().into_std());
        let until = match follows {
            GenerationProgress::Yes => return,
            GenerationProgress::NotYet => None,
            GenerationProgress::MayKeepRoutes(until) => Some(until),
        };
        tokio::select! {
            changed = status.changed() => if changed.is_err() {
                return; // the session's task has ended, so the routes are withdrawn
            },
            () = super::session::at(until) => {}
        }
    }
}

#[cfg(test)]
mod tests;
