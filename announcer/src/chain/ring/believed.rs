//! Whose hop marks this host believes.
//!
//! Pure.
//!
//! If a member forwards to us and we do not believe its mark, we begin the mark again, and the packet may come round for ever. So a member
//! forwards to us only after our heartbeat has said that we believe it, and we go on believing it for [`BELIEF_LINGER`] after the list
//! has lost it: longer than any member keeps another one in its ring without a heartbeat. Death is no reason to stop.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::chain::member::MAX_SILENCE;

/// How long a member is believed after it was removed from the list.
pub const BELIEF_LINGER: Duration = Duration::from_secs(2 * MAX_SILENCE.as_secs());

/// The members whose MAC addresses the rules believe, as soon as those are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Believed {
    /// Until when; `None`: it is in the list.
    members: BTreeMap<IpAddr, Option<Instant>>,
}

impl Believed {
    /// Takes the list of the other members.
    pub fn update(&mut self, list: impl IntoIterator<Item = IpAddr>, now: Instant) {
        for until in self.members.values_mut() {
            until.get_or_insert(now + BELIEF_LINGER);
        }
        self.members.extend(list.into_iter().map(|member| (member, None)));
    }

    /// Forgets the members whose time is over. Returns whether there was one.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.members.len();
        self.members.retain(|_, until| until.is_none_or(|until| now < until));
        self.members.len() != before
    }

    /// When [`expire`](Believed::expire) has to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.members.values().flatten().min().copied()
    }

    /// The members.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.members.keys().copied()
    }
}
