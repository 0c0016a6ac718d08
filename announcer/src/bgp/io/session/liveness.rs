//! What the failure detector (BFD) means for a session.
//!
//! Touches the clock. A loss ends the session. A detector that was never up, or that the router's operator has switched off, does not:
//! then the hold timer alone watches the router. With `strict`, the router is dialled only while the detector is up.

use std::time::Duration;

use tracing::info;

use super::{Session, now};
use crate::bgp::fsm::{Event, State};
use crate::config::BfdConfig;

/// A session that ended this long before a loss may have ended because of it.
const JUST_ENDED: Duration = Duration::from_secs(3);

impl Session {
    /// Whether the router is not dialled, because `strict` waits for the detector.
    pub(super) fn waits_for_liveness(&self) -> bool {
        let strict = self.peer.bfd.as_ref().is_some_and(|BfdConfig { strict, .. }| *strict);
        strict && !self.liveness.borrow().up
    }

    /// Whether no try has begun yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.state, State::Idle { retry: None, .. })
    }

    /// Whether no connection is tried now.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Idle { .. }) && self.waits_for_liveness()
    }

    /// Ends a new session if `strict` forbids it: the detector was up when the router was dialled, and is not any more.
    pub(super) fn end_unless_live(&mut self) {
        if self.waits_for_liveness() {
            self.handle(Event::LivenessLost { wait: Duration::ZERO });
        }
    }

    /// Handles a change of the detector's state. A loss counts even if the detector is up again by now: the router has noticed it too.
    pub(super) fn liveness_changed(&mut self) {
        let liveness = *self.liveness.borrow_and_update();
        let established = matches!(self.state, State::Established { .. });
        // The router may have noticed it first, and have ended the session. Later losses have cost no session, so they do not count.
        let just_ended = self.status.ended.is_some_and(|ended| {
            Some(ended) != self.loss_counted && now().saturating_duration_since(ended) < JUST_ENDED
        });
        if liveness.losses > self.losses_seen && (established || just_ended) {
            let wait = self.losses.lost(now());
            self.handle(Event::LivenessLost { wait });
            self.loss_counted = self.status.ended;
            self.status.waits_until = (!wait.is_zero()).then(|| now() + wait);
            if !wait.is_zero() {
                info!(
                    seconds = wait.as_secs(),
                    "peer waits before it is dialled, because BFD has lost it several times"
                );
            }
        }
        self.losses_seen = liveness.losses;
    }
}
