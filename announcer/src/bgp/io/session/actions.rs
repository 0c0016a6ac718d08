//! Passes events to the state machine, and executes its actions: connect, send, end, and what is logged and published of it.
//!
//! Touches the session's connection and the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Level, debug};

use super::network::PathWatch;
use super::{BoxedFuture, HANG, Session, now};
use crate::bgp::fsm::{self, Action, Event, StateName, StepContext};
use crate::bgp::hint::Clues;
use crate::bgp::io::connection::Connection;
use crate::bgp::io::dial::{self, dial};
use crate::bgp::outage::LogLine;
use crate::bgp::plan::PathComparison;
use crate::bgp::reason::{DownReason, TcpFailure};
use crate::log::at_level;

impl Session {
    /// Passes one event to the state machine, and executes the actions.
    pub(super) fn handle(&mut self, event: Event) {
        let moment = StepContext { now: now(), jitter: fastrand::f64() };
        let (state, actions) = fsm::step(&self.timers, std::mem::take(&mut self.state), event, moment);
        if state.name() != self.status.state {
            self.status.state = state.name();
            self.status.since = moment.now;
        }
        self.state = state;
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => {
                self.status.waits_until = None;
                self.clues = Clues::default();
                let (files, peer, vips) = (self.files.clone(), Arc::clone(&self.peer), self.vips.clone());
                self.dialing =
                    Some(Box::pin(dial(files, peer, vips, self.routers.clone(), self.timers.connect)));
            }
            Action::Send(message) => self.send(&message),
            Action::Hangup => {
                self.look_for_drops();
                self.store.ended();
                self.dialing = None;
                (self.path_watch, self.key) = (PathWatch::default(), None);
                self.farewell = self
                    .connection
                    .take()
                    .map(|connection| -> BoxedFuture<()> { Box::pin(connection.farewell()) });
            }
            Action::Abort => {
                self.look_for_drops();
                self.store.ended();
                self.dialing = None;
                (self.path_watch, self.key) = (PathWatch::default(), None);
                if let Some(connection) = self.connection.take() {
                    connection.abort();
                }
            }
            Action::Up(negotiated) => {
                self.up(negotiated);
                self.end_unless_live();
            }
            Action::Down(why) => {
                let hint = self.status.outage.session_ended(why.clone(), &self.clues(), now());
                at_level!(self.log_level(&why), reason = %why, hint = hint.as_deref(), "session ended");
                self.status.ended = Some(now());
                self.status.kept_until = self.kept_until(&why);
                self.down(&why);
            }
            Action::Failed(why) => {
                match self.status.outage.try_ended(why.clone(), &self.clues(), now()) {
                    Some(LogLine { hint, tries }) => {
                        at_level!(self.log_level(&why), reason = %why, hint = hint.as_deref(), tries, "try failed");
                    }
                    None => debug!(reason = %why, "try failed"),
                }
                self.down(&why);
            }
            Action::Refresh(family) => {
                if let Some(routes) = &mut self.routes {
                    routes.refresh.insert(family);
                    routes.stale = true;
                }
            }
        }
    }

    /// How much a line about an outage matters: its first line is a warning.
    fn log_level(&mut self, why: &DownReason) -> Level {
        let level = why.level(self.outage_logged);
        self.outage_logged |= level == Level::WARN;
        level
    }

    fn down(&mut self, why: &DownReason) {
        (self.routes, self.silent) = (None, None);
        *self.status.downs.entry(why.label()).or_default() += 1;
        self.status.last_down = self.status.outage.last().cloned();
        self.status.local_address = None;
        self.status.negotiated = None;
        (self.status.announced, self.status.advertised) = (0, 0);
        self.status.next_hops.clear();
        self.status.path = PathComparison::Same;
        self.status.not_sent.clear();
    }

    /// Until when the router may keep the routes of a session that ends now.
    fn kept_until(&self, why: &DownReason) -> Option<Instant> {
        let agreed = self.status.negotiated.as_ref().and_then(|negotiated| negotiated.hold_time);
        let hold_time = agreed.unwrap_or_else(|| dial::silence(self.peer.hold_time));
        let restart_time = self
            .offer
            .restart
            .as_ref()
            .map_or(Duration::ZERO, |restart| Duration::from_secs(restart.seconds.into()));
        let kept = why.routes_kept_for(hold_time, restart_time);
        (!kept.is_zero()).then(|| now() + kept)
    }

    /// Reports why there is no session, while the state machine still waits.
    pub(super) fn hangs(&mut self) {
        self.hang = None;
        let why = match self.state.name() {
            StateName::OpenSent => DownReason::NoOpen(HANG),
            StateName::OpenConfirm => DownReason::NoKeepalive(HANG),
            StateName::Idle | StateName::Connect | StateName::Established => return,
        };
        if self.peer.ttl_security && self.state.name() == StateName::OpenSent {
            // The kernel drops every packet below the minimum TTL, also RST and FIN, so this connection cannot notice its end.
            if self.connection.as_ref().is_some_and(Connection::drops) {
                return self.handle(Event::TcpFails(TcpFailure::Unheard(HANG)));
            }
            self.hang = Some(now() + HANG);
        }
        if let Some(LogLine { hint, .. }) = self.status.outage.try_waits(why.clone(), &self.clues(), now()) {
            at_level!(self.log_level(&why), reason = %why, hint = hint.as_deref(), "peer is silent");
        }
        self.status.last_down = self.status.outage.last().cloned();
    }
}
