//! A session as plain data, so that another process can continue it and the other end notices nothing.
//!
//! Pure. Times are durations relative to the `now` of the call.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{BfdSettings, Machine, Poll, Remote};
use crate::bfd::packet::{BfdState, Diagnostic};

/// The shortest interval of a session.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest interval that a packet can say (RFC 5880 §4.1: 32 bits of microseconds).
const LONGEST: Duration = Duration::from_micros(u32::MAX as u64);

/// Everything that a [`Machine`] knows. Its fields are those of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    interval: Duration,
    multiplier: u8,
    state: BfdState,
    discriminator: u32,
    diag: Diagnostic,
    remote: Remote,
    desired_min_tx: Duration,
    required_min_rx: Duration,
    used_min_tx: Duration,
    used_min_rx: Duration,
    poll: Poll,
    /// How long ago the last packet arrived.
    heard_before: Option<Duration>,
}

impl Snapshot {
    /// Our discriminator.
    pub fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// The state.
    pub fn state(&self) -> BfdState {
        self.state
    }

    /// Whether another process would need another snapshot to continue: anything but the time of the last packet differs.
    pub fn differs(&self, other: &Snapshot) -> bool {
        Snapshot { heard_before: None, ..self.clone() } != Snapshot { heard_before: None, ..other.clone() }
            || self.heard_before.is_some() != other.heard_before.is_some()
    }
}

impl Machine {
    /// The session as data.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            interval: self.settings.interval,
            multiplier: self.settings.multiplier,
            state: self.state,
            discriminator: self.discriminator,
            diag: self.diag,
            remote: self.remote,
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            used_min_tx: self.used_min_tx,
            used_min_rx: self.used_min_rx,
            poll: self.poll,
            heard_before: self.heard.map(|heard| now.saturating_duration_since(heard)),
        }
    }

    /// Continues a session. A packet is due at once, because it is not known how long the other end has waited. The detection
    /// time begins anew, because packets may wait in the socket.
    pub fn restore(snapshot: &Snapshot, now: Instant) -> Machine {
        let limited = |time: Duration| time.clamp(SHORTEST, LONGEST);
        let remote = snapshot.remote;
        Machine {
            settings: BfdSettings {
                interval: limited(snapshot.interval),
                multiplier: snapshot.multiplier.max(1),
            },
            state: snapshot.state,
            discriminator: snapshot.discriminator,
            diag: snapshot.diag,
            remote: Remote {
                min_tx: remote.min_tx.min(LONGEST),
                min_rx: remote.min_rx.min(LONGEST),
                ..remote
            },
            desired_min_tx: limited(snapshot.desired_min_tx),
            required_min_rx: limited(snapshot.required_min_rx),
            used_min_tx: limited(snapshot.used_min_tx),
            used_min_rx: limited(snapshot.used_min_rx),
            poll: snapshot.poll,
            answer: false,
            urgent: false,
            next: now,
            heard: snapshot.heard_before.map(|_| now),
        }
    }
}
