//! One VIP in the keeper: wanted, or leaving.
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
    pub(super) is_present: bool,
    /// Whether it was removed from the device and has not been put back yet.
    pub(super) is_gone: bool,
    /// Whether we put it there, or it had our mark.
    pub(super) is_ours: bool,
    /// If it could not be put there: when this is tried again.
    pub(super) retry: Option<Instant>,
    /// If its flags, lifetimes or mark were changed: when they are restored.
    pub(super) mend: Option<Instant>,
    /// The presence that was reported last.
    pub(super) reported: Option<Presence>,
}

/// A VIP that no service names any more.
#[derive(Debug)]
pub(super) struct LeavingVip {
    pub(super) generation: Generation,
    pub(super) since: Instant,
    pub(super) acknowledged: Option<Instant>,
    pub(super) is_ours: bool,
    /// If it could not be removed: when this is tried again.
    pub(super) retry: Option<Instant>,
}

impl LeavingVip {
    /// The earliest time at which it may leave the device.
    pub(super) fn due(&self, settle: Duration) -> Instant {
        let due = self.acknowledged.unwrap_or(self.since + LONGEST_WAIT) + settle;
        self.retry.map_or(due, |retry| retry.max(due))
    }
}

impl WantedVip {
    /// It is not on the device, or the device is down.
    pub(super) fn leave(&mut self, now: Instant) {
        if !self.is_gone {
            self.removals.removed(now);
        }
        (self.is_gone, self.is_present, self.is_ours, self.mend) = (true, false, false, None);
    }

    /// It is on the device again.
    pub(super) fn return_to(&mut self, now: Instant) {
        self.removals.put(Ok(()), now);
        (self.is_gone, self.is_present, self.retry) = (false, true, None);
    }

    /// A read of the device has found it.
    pub(super) fn see(&mut self, found: &[&LoAddress], marks: MarkSupport, now: Instant) {
        if self.is_gone {
            self.return_to(now);
        } else {
            self.removals.seen(now);
            (self.is_gone, self.is_present, self.retry) = (false, true, None);
        }
        let Some(address) =
            found.iter().find(|address| address.net.prefix_len() == address.net.max_prefix_len())
        else {
            return;
        };
        self.is_ours |= address.owner == Owner::Ours;
        let may_be_mended = |difference: &Difference| match difference {
            Difference::Source | Difference::Flags => address.net.addr().is_ipv6(),
            Difference::Ends => true,
            Difference::Label => false, // the kernel does not change a label, and it harms nobody
            Difference::Mark => marks == MarkSupport::Kept,
        };
        let differs = self.is_ours && address.differences.iter().any(may_be_mended);
        self.mend = differs.then(|| self.mend.unwrap_or(now));
    }
}
