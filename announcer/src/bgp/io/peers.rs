//! All sessions seen as one: who knows what, and waiting until each knows enough.
//!
//! Touches nothing; reads what the session tasks publish.

use tokio::sync::watch;

use super::session::Status;
use crate::bgp::fsm::StateName;
use crate::config;
use crate::model::Generation;

/// The sessions' published states, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Peers(Vec<(config::Peer, watch::Receiver<Status>)>);

impl Peers {
    /// Of these sessions.
    pub fn new(peers: Vec<(config::Peer, watch::Receiver<Status>)>) -> Self {
        Peers(peers)
    }

    /// Each peer with the present state of its session.
    pub fn iter(&self) -> impl Iterator<Item = (&config::Peer, Status)> {
        self.0.iter().map(|(peer, status)| (peer, status.borrow().clone()))
    }

    /// What an operator should look at, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let no_hold_timer = |(peer, status): &(config::Peer, watch::Receiver<Status>)| {
            let agreed = status.borrow().negotiated.as_ref().map(|negotiated| negotiated.hold_time);
            (agreed == Some(None) && !peer.hold_time.is_zero()).then(|| {
                format!(
                    "{} has switched the hold timer off: only TCP keepalive notices that it is gone; `min_hold_time` refuses \
                     such a session",
                    peer.name
                )
            })
        };
        self.0.iter().filter_map(no_hold_timer).collect()
    }

    /// Whether a router has heard our BGP Identifier.
    pub fn have_spoken(&self) -> bool {
        self.0.iter().any(|(_, status)| status.borrow().sent.open > 0)
    }

    /// Whether an established peer knows a prefix from us, or may.
    pub fn announcing(&self) -> bool {
        self.0.iter().any(|(_, status)| {
            let status = status.borrow();
            status.announced.max(status.advertised) > 0
        })
    }

    /// Returns when the kernel of each established peer has acknowledged what `generation` has to say.
    pub async fn told(&self, generation: Generation) {
        for (_, status) in &self.0 {
            // An error means that the session's task is gone, and its routes with it.
            let _ = status.clone().wait_for(|status| knows(status, generation)).await;
        }
    }

    /// The names of the established peers that have not acknowledged `generation`.
    pub fn untold(&self, generation: Generation) -> Vec<String> {
        let untold = self.0.iter().filter(|(_, status)| !knows(&status.borrow(), generation));
        untold.map(|(peer, _)| peer.name.to_string()).collect()
    }
}

/// A peer without a session has dropped our routes; it has nothing to be told.
fn knows(status: &Status, generation: Generation) -> bool {
    status.state != StateName::Established || status.told >= generation
}
