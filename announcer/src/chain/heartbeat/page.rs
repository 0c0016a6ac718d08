//! The states of our VIPs, page by page: 5,000 VIPs do not fit into one datagram.
//!
//! Pure.
//!
//! ```text
//! VipTable   our VIPs, and in which order they have changed                one for all receivers
//! PageCursor which of them were sent to one receiver                       one per receiver
//! ```
//!
//! Half of a page is for VIPs that have changed. Each change is in [`REPEATS`] pages for each receiver, so that it arrives although pages
//! are lost. The rest of the page goes on through all VIPs in their order, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;

use super::MemberVipState;
use super::octets::width;

/// In how many pages a change is, beside the rotation.
pub const REPEATS: usize = 8;
/// The most octets of a page. With every other part of a heartbeat at its longest, this much is left.
pub const MAX_PAGE: usize = 712;
/// How many removed VIPs are still sent. The oldest ones are forgotten.
const MAX_REMOVED: usize = 1000;

/// The states of our VIPs.
#[derive(Debug, Clone, Default)]
pub struct VipTable {
    vips: BTreeMap<IpAddr, (MemberVipState, u64)>,
    /// The last change of each VIP, by its number. Numbers begin at 1.
    changes: BTreeMap<u64, IpAddr>,
    last: u64,
}

/// Which states were sent to one receiver.
#[derive(Debug, Clone, Default)]
pub struct PageCursor {
    /// The changes up to this number were sent once, twice, and so on.
    sent: [u64; REPEATS],
    /// The VIP that was sent last in the rotation.
    rotation: Option<IpAddr>,
}

impl VipTable {
    /// Sets all VIPs and their states. A VIP that is missing here is sent as [`MemberVipState::Removed`]. Returns whether a state has changed:
    /// then heartbeats should be sent at once.
    pub fn set(&mut self, states: impl IntoIterator<Item = (IpAddr, MemberVipState)>) -> bool {
        let before = self.last;
        let states: BTreeMap<IpAddr, MemberVipState> =
            states.into_iter().map(|(vip, state)| (vip.to_canonical(), state)).collect();
        let gone: Vec<IpAddr> = self.vips.keys().filter(|vip| !states.contains_key(vip)).copied().collect();
        for (vip, state) in gone.into_iter().map(|vip| (vip, MemberVipState::Removed)).chain(states) {
            self.change(vip, state);
        }
        self.forget();
        self.last != before
    }

    fn change(&mut self, vip: IpAddr, state: MemberVipState) {
        let old = self.vips.get(&vip).copied();
        if old.is_some_and(|(old, _)| old == state) {
            return;
        }
        if let Some((_, number)) = old {
            self.changes.remove(&number);
        }
        self.last += 1;
        self.changes.insert(self.last, vip);
        self.vips.insert(vip, (state, self.last));
    }

    /// Forgets the oldest of too many removed VIPs.
    fn forget(&mut self) {
        let removed =
            self.changes.iter().filter(|(_, vip)| self.state(**vip) == Some(MemberVipState::Removed));
        let removed: Vec<(u64, IpAddr)> = removed.map(|(number, vip)| (*number, *vip)).collect();
        for (number, vip) in removed.iter().take(removed.len().saturating_sub(MAX_REMOVED)) {
            self.changes.remove(number);
            self.vips.remove(vip);
        }
    }

    /// The state of one VIP.
    pub fn state(&self, vip: IpAddr) -> Option<MemberVipState> {
        self.vips.get(&vip).map(|(state, _)| *state)
    }

    /// The next page for the receiver of this cursor: at most [`MAX_PAGE`] octets in the datagram. Each VIP is in at least one of
    /// any `n` pages in a row, where `n` is the number of octets of all VIPs, 5 for IPv4 and 17 for IPv6, divided by 336, plus 2.
    pub fn page(&self, cursor: &mut PageCursor) -> Vec<(IpAddr, MemberVipState)> {
        let mut page = PageDraft { room: MAX_PAGE / 2, taken: BTreeSet::new() };
        let mut limit = self.last;
        for sent in &mut cursor.sent {
            let until = *sent;
            for (number, vip) in
                self.changes.range((Bound::Excluded(until), Bound::Included(limit.max(until))))
            {
                if !page.add(*vip) {
                    break;
                }
                *sent = *number;
            }
            if page.room_for_none() {
                break;
            }
            // The next repeat ends where this one began, so that one page does not say the same twice.
            limit = until;
        }
        page.room += MAX_PAGE - MAX_PAGE / 2 - 2;
        self.rotate(cursor, &mut page);
        page.taken.iter().filter_map(|vip| self.state(*vip).map(|state| (*vip, state))).collect()
    }

    fn rotate(&self, cursor: &mut PageCursor, page: &mut PageDraft) {
        let behind = cursor.rotation.map_or(Bound::Unbounded, Bound::Excluded);
        let first = self.vips.range((behind, Bound::Unbounded));
        let again = self
            .vips
            .range((Bound::Unbounded, cursor.rotation.map_or(Bound::Excluded(UNSPECIFIED), Bound::Included)));
        for (vip, _) in first.chain(again) {
            if !page.add(*vip) {
                break;
            }
            cursor.rotation = Some(*vip);
        }
    }
}

/// Below every other address.
const UNSPECIFIED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

struct PageDraft {
    room: usize,
    taken: BTreeSet<IpAddr>,
}

impl PageDraft {
    /// Whether the VIP is in the page now.
    fn add(&mut self, vip: IpAddr) -> bool {
        let octets = width(vip) + 1;
        if self.taken.contains(&vip) {
            return true;
        }
        if octets > self.room {
            return false;
        }
        self.room -= octets;
        self.taken.insert(vip)
    }

    fn room_for_none(&self) -> bool {
        self.room < 5
    }
}
