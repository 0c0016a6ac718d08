//! What one member has said of its VIPs, and which of that is not known any longer.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::CARRIED_INTERVALS;
use crate::chain::heartbeat::{HeartbeatStart, Intent, MemberVipState};

/// The states of a member's VIPs, and its intent.
#[derive(Debug, Clone, Default)]
pub struct SaidVips {
    states: Arc<BTreeMap<IpAddr, MemberVipState>>,
    /// The VIPs of an intent that has ended, or of another start, until a page says their states.
    unsettled: Arc<BTreeSet<IpAddr>>,
    /// The start and the counter of the last heartbeat.
    last: Option<(HeartbeatStart, u64)>,
    intent: Option<Intent>,
}

impl SaidVips {
    /// Handles what a heartbeat that counted has said. Returns whether anything has changed.
    ///
    /// When a VIP is no longer in the intent, it may have been withdrawn, and the page that says so may have been lost. So its state is not
    /// known until a page says it. Neither are the states of all VIPs after another start, or if so many heartbeats were lost that a whole
    /// intent may have been among them.
    pub fn hear(
        &mut self,
        start: HeartbeatStart,
        counter: u64,
        intent: Option<Intent>,
        page: &[(IpAddr, MemberVipState)],
    ) -> bool {
        let mut changed = self.intent != intent;
        let gap = self.last.replace((start, counter)).is_some_and(|(last_start, last)| {
            last_start != start || counter.saturating_sub(last) > u64::from(CARRIED_INTERVALS)
        });
        let before = std::mem::replace(&mut self.intent, intent);
        let intent = self.intent.as_ref();
        let covered =
            |intent: Option<&Intent>, vip: IpAddr| intent.is_some_and(|intent| intent.scope.has(vip));
        let ended = |vip: &&IpAddr| gap || covered(before.as_ref(), **vip) && !covered(intent, **vip);
        let ended: Vec<IpAddr> = match gap || before.is_some() {
            true => self.states.keys().filter(ended).copied().collect(),
            false => Vec::new(),
        };
        if !ended.is_empty() {
            changed = true;
            Arc::make_mut(&mut self.unsettled).extend(ended);
        }
        for (vip, state) in page {
            if self.unsettled.contains(vip) {
                changed = true;
                Arc::make_mut(&mut self.unsettled).remove(vip);
            }
            let known = self.states.get(vip);
            match (*state, known) {
                (MemberVipState::Removed, None) => {}
                (MemberVipState::Removed, Some(_)) => {
                    changed = true;
                    Arc::make_mut(&mut self.states).remove(vip);
                }
                (state, known) if known == Some(&state) => {}
                (state, _) => {
                    changed = true;
                    Arc::make_mut(&mut self.states).insert(*vip, state);
                }
            }
        }
        changed
    }

    /// The states as they were said last.
    pub fn states(&self) -> &Arc<BTreeMap<IpAddr, MemberVipState>> {
        &self.states
    }

    /// The state of a VIP; `None`: it was not said, or may have changed since.
    pub fn state(&self, vip: IpAddr) -> Option<MemberVipState> {
        let vip = vip.to_canonical();
        self.states.get(&vip).copied().filter(|_| !self.unsettled.contains(&vip))
    }

    /// The intent.
    pub fn intent(&self) -> Option<&Intent> {
        self.intent.as_ref()
    }

    /// Whether the VIP is in the intent.
    pub fn is_intended(&self, vip: IpAddr) -> bool {
        self.intent.as_ref().is_some_and(|intent| intent.scope.has(vip.to_canonical()))
    }
}
