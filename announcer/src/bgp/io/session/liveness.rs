//! What the failure detector (BFD) means for a session.
//!
//! Touches the clock. A loss ends the session. A detector that was never up, or that the router's operator has switched off, does not:
//! then the hold timer alone watches the router. With `strict`, the router is dialled only while the detector is up.

use std::time::Duration;

use super::{Session, now};
use crate::bgp::fsm::{Event, State};
use crate::config::BfdConfig;

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
        if liveness.losses > self.losses_seen {
            let wait = self.losses.lost(now());
            self.handle(Event::LivenessLost { wait });
        }
        self.losses_seen = liveness.losses;
    }
}
