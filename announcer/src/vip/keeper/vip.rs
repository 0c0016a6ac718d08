//! One VIP as the keeper knows it: wanted, or leaving.
//!
//! Pure.

use std::time::{Duration, Instant};

use dsr_setup::{Difference, LoAddress, MarkSupport, Owner};

use super::LONGEST_WAIT;
use crate::model::Generation;
use crate::vip::Presence;
use crate::vip::removals::Removals;

/// A VIP that is wanted.
#[derive(Debug, Default)]
pub(super) struct WantedVip {
    pub(super) removals: Removals,
    pub(super) on_lo: bool,
    /// It was on lo and is no longer, and has not been put back yet.
    pub(super) is_gone: bool,
    /// We put it there, or it bore our mark.
    pub(super) is_ours: bool,
    /// It could not be put there, and when that is tried again.
    pub(super) retry: Option<Instant>,
    /// Its flags, lifetimes or mark were changed, and when they are set again.
    pub(super) mend: Option<Instant>,
    /// What was reported of it last.
    pub(super) reported: Option<Presence>,
}

/// A VIP that nobody wants any more.
#[derive(Debug)]
pub(super) struct LeavingVip {
    pub(super) generation: Generation,
    pub(super) since: Instant,
    pub(super) acknowledged: Option<Instant>,
    pub(super) is_ours: bool,
    /// It could not be removed, and when that is tried again.
    pub(super) retry: Option<Instant>,
}

impl LeavingVip {
    /// The earliest time at which it may leave lo.
    pub(super) fn due(&self, settle: Duration) -> Instant {
        let due = self.acknowledged.unwrap_or(self.since + LONGEST_WAIT) + settle;
        self.retry.map_or(due, |retry| retry.max(due))
    }
}

impl WantedVip {
    /// It is not on lo, or lo is down.
    pub(super) fn leave(&mut self, now: Instant) {
        if !self.is_gone {
            self.removals.removed(now);
        }
        (self.is_gone, self.on_lo, self.is_ours, self.mend) = (true, false, false, None);
    }

    /// It is on lo again.
    pub(super) fn return_to(&mut self, now: Instant) {
        self.removals.put(Ok(()), now);
        (self.is_gone, self.on_lo, self.retry) = (false, true, None);
    }

    /// It is on lo, as a look at it shows.
    pub(super) fn see(&mut self, found: &[&LoAddress], marks: MarkSupport, now: Instant) {
        if self.is_gone && self.removals != Removals::default() {
            self.return_to(now);
        } else {
            self.removals.seen(now);
            (self.is_gone, self.on_lo, self.retry) = (false, true, None);
        }
        let Some(on_lo) = found.iter().find(|on_lo| on_lo.net.prefix_len() == on_lo.net.max_prefix_len())
        else {
            return;
        };
        self.is_ours |= on_lo.owner == Owner::Ours;
        let may_be_mended = |difference: &Difference| match difference {
            Difference::Source | Difference::Flags => on_lo.net.addr().is_ipv6(),
            Difference::Ends => true,
            Difference::Mark => marks == MarkSupport::Kept,
        };
        let differs = self.is_ours && on_lo.differences.iter().any(may_be_mended);
        self.mend = differs.then(|| self.mend.unwrap_or(now));
    }
}
