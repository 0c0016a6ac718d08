//! Which members take part while a reload changes the list of members host by host.
//!
//! Pure.
//!
//! The members of a ring forward in the order of their addresses, each to the next one that it knows. So a packet reaches its owner whatever
//! the others know, if each host on its way has the owner in its ring: nobody passes the owner over. A host that joins hears only those that
//! have it in their lists already, and has not the others in its ring; and a host that was removed from the other lists is soon in the same
//! state. Neither may be in anybody's ring then:
//!
//! ```text
//! a member that a reload adds      exchanges heartbeats ──────── all agree ─> in the ring
//! a member that a reload removes   stays in the ring ─────────── all agree ─> not in the ring ── 12 intervals ─> we say left ── 15 ─> forgotten
//! ```
//!
//! All agree when each member of the new list that lives has said that its list is the same. A removed member need not agree.
//!
//! A removed member that hears from us that we have left passes over us. So nobody may forward to it any more then. But a member whose
//! daemon has died keeps its rules until its next daemon replaces them. The 12 intervals begin again while the daemon of a member of the
//! list is dead, and when its next one is heard. If the daemon of the removed member itself is dead, we go on until we have said to its
//! next one that we have left: its rules still forward to us, and it would keep us for the time of a silent member.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::MemberObservation;
use crate::chain::heartbeat::{ListDigest, MAX_MEMBERS};
use crate::chain::member::MemberState;

/// How many intervals after the agreement, while no daemon was dead, we begin to say to a removed member that we have left. The others have
/// seen the agreement by then and have replaced their rules, which a daemon that begins does after at most 9 intervals; and a daemon that
/// has died before that was found silent.
const LEFT_AFTER: u32 = 12;
/// For how many intervals a member is silent before its daemon is held for dead: if one heartbeat of three arrives, none that lives is
/// silent so long.
const DAEMON_DEAD: u32 = 2;
/// For how many intervals we say so to a daemon that is heard.
const LEFT_FOR: u32 = 15;

/// The list of the configuration, and what earlier lists have left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberLists {
    list: Vec<IpAddr>,
    /// Of `list`: it is compared in each turn.
    digest: ListDigest,
    /// Those that are not in the ring yet.
    added: BTreeSet<IpAddr>,
    /// Those of an earlier list, and since when the members agree that they are none and none of the daemons has begun or was dead; `None`:
    /// they do not agree.
    removed: BTreeMap<IpAddr, Option<Instant>>,
    agreed: bool,
}

impl MemberLists {
    /// The list of the configuration. `former`: the members that the installed rules of a former process know; `None`: there are no rules.
    pub fn new(list: &[IpAddr], former: Option<&BTreeSet<IpAddr>>) -> Self {
        let mut lists = MemberLists::default();
        if let Some(former) = former {
            lists.list = former.iter().copied().collect();
            lists.update(list);
        }
        lists.replace(list);
        lists
    }

    /// Takes a list, and returns the one before.
    fn replace(&mut self, list: &[IpAddr]) -> Vec<IpAddr> {
        self.digest = ListDigest::of_members(list);
        std::mem::replace(&mut self.list, list.to_vec())
    }

    /// Takes the list of a reload. Returns whether it differs from the one before.
    pub fn update(&mut self, list: &[IpAddr]) -> bool {
        if self.list == list {
            return false;
        }
        let before = self.replace(list);
        let in_ring = |member: &IpAddr| before.contains(member) || self.removed.get(member) == Some(&None);
        self.added.extend(list.iter().filter(|member| !in_ring(member)));
        self.added.retain(|member| list.contains(member));
        self.removed.retain(|member, _| !list.contains(member));
        for member in before {
            if !list.contains(&member) {
                self.removed.entry(member).or_insert(None);
            }
        }
        self.agreed = false;
        true
    }

    /// Follows what the others have said. `ours`: our addresses in lists, which are no other members.
    pub fn step(
        &mut self,
        ours: &[IpAddr],
        others: &BTreeMap<IpAddr, MemberObservation>,
        interval: Duration,
        now: Instant,
    ) {
        let agrees = |member: &IpAddr| {
            let Some(observed) = others.get(member) else { return false };
            let same = observed.said.is_some_and(|said| said.facts.members == self.digest);
            !observed.awaited && !observed.state.lives() || same
        };
        self.agreed = self.list.iter().filter(|member| !ours.contains(member)).all(agrees);
        if self.agreed {
            self.added.clear();
            let began = self.last_beginning(ours, others, interval, now);
            for since in self.removed.values_mut() {
                let since = since.get_or_insert(now);
                // Once we say that we have left, nobody forwards to that member any more.
                if now < *since + interval * LEFT_AFTER {
                    *since = began.map_or(*since, |began| began.max(*since));
                }
            }
        }
        self.removed.retain(|member, since| {
            let observed = others.get(member);
            let heard = observed.and_then(|observed| observed.heard_since);
            let silent = observed.is_some_and(|observed| observed.state == MemberState::Silent);
            let over = since.is_some_and(|since| {
                let said = since + interval * LEFT_AFTER;
                !silent && now >= heard.map_or(said, |heard| heard.max(said)) + interval * LEFT_FOR
            });
            let gone = observed.is_some_and(|observed| match observed.state {
                MemberState::Dead => true,
                MemberState::Unknown => !observed.awaited,
                MemberState::Left => !observed.lingers,
                MemberState::Alive | MemberState::Asked | MemberState::Silent => false,
            });
            !over && !gone && !ours.contains(member)
        });
    }

    /// When the last daemon of a living member of the list was heard first; now, if one is dead.
    fn last_beginning(
        &self,
        ours: &[IpAddr],
        others: &BTreeMap<IpAddr, MemberObservation>,
        interval: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let beginning = |observed: &MemberObservation| match observed.state {
            MemberState::Silent if now >= observed.since + interval * DAEMON_DEAD => Some(now),
            MemberState::Alive | MemberState::Asked | MemberState::Silent => observed.heard_since,
            MemberState::Unknown | MemberState::Dead | MemberState::Left => None,
        };
        let listed = self.list.iter().filter(|member| !ours.contains(member));
        listed.filter_map(|member| others.get(member)).filter_map(beginning).max()
    }

    /// Whether every living member of the list has the same list.
    pub fn agreed(&self) -> bool {
        self.agreed
    }

    /// Whether members wait to be added or removed.
    pub fn is_changing(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty()
    }

    /// Whether a member is not in the ring yet, because another list may lack it.
    pub fn is_added(&self, member: IpAddr) -> bool {
        self.added.contains(&member)
    }

    /// All with whom heartbeats are exchanged, in the order of their addresses.
    pub fn members(&self) -> Vec<IpAddr> {
        let all: BTreeSet<IpAddr> = self.list.iter().chain(self.removed.keys()).copied().collect();
        all.into_iter().collect()
    }

    /// Those that can be in the ring, in the order of their addresses. If they are more than [`MAX_MEMBERS`], removed ones are left out.
    pub fn ring(&self) -> Vec<IpAddr> {
        let stay = self.removed.iter().filter(|(_, since)| since.is_none()).map(|(member, _)| member);
        let mut ring: Vec<IpAddr> = self.list.iter().chain(stay).copied().take(MAX_MEMBERS).collect();
        ring.sort();
        ring
    }

    /// The removed members to whom we say that we have left, so that they do not keep this host for the time of a silent one.
    pub fn left(&self, interval: Duration, now: Instant) -> BTreeSet<IpAddr> {
        let is_due =
            |since: &Option<Instant>| since.is_some_and(|since| now >= since + interval * LEFT_AFTER);
        self.removed.iter().filter(|(_, since)| is_due(since)).map(|(member, _)| *member).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ring::tests::{address, healthy};

    const INTERVAL: Duration = Duration::from_millis(100);

    /// Members by their numbers, in the order of the letters.
    fn list(numbers: &[u8]) -> Vec<IpAddr> {
        numbers.iter().map(|number| address(*number)).collect()
    }

    /// Others that live, and their lists.
    fn others(lists: &[(u8, &[u8])], now: Instant) -> BTreeMap<IpAddr, MemberObservation> {
        let other = |(index, theirs): &(u8, &[u8])| {
            let mut observed = healthy(*index, now);
            observed.said.as_mut().unwrap().facts.members = ListDigest::of_members(&list(theirs));
            (address(*index), observed)
        };
        lists.iter().map(other).collect()
    }

    #[test]
    fn a_member_is_added_when_all_agree() {
        let now = Instant::now();
        let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
        assert!(!lists.update(&list(&[1, 2, 3])) && !lists.is_changing());
        assert!(lists.update(&list(&[1, 2, 3, 4])));
        for (theirs, added) in [
            (&[(2, &[1, 2, 3][..]), (3, &[1, 2, 3, 4]), (4, &[1, 2, 3, 4])][..], true),
            (&[(2, &[1, 2, 3, 4]), (3, &[1, 2, 3, 4])], true), // 4 was not asked yet
            (&[(2, &[4, 3, 2, 1]), (3, &[1, 2, 3, 4]), (4, &[1, 4])], true),
            (&[(2, &[4, 3, 2, 1]), (3, &[1, 2, 3, 4]), (4, &[1, 2, 3, 4])], false),
        ] {
            lists.step(&list(&[1]), &others(theirs, now), INTERVAL, now);
            assert_eq!((lists.is_added(address(4)), lists.agreed()), (added, !added), "{theirs:?}");
            assert_eq!(lists.members(), list(&[1, 2, 3, 4]));
        }
        assert!(!lists.is_changing());
    }

    #[test]
    fn who_does_not_live_need_not_agree() {
        let now = Instant::now();
        let mut lists = MemberLists::new(&list(&[1, 2]), None);
        lists.update(&list(&[1, 2, 3]));
        let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], now);
        for (state, agreed) in [
            (MemberState::Alive, false),
            (MemberState::Asked, false),
            (MemberState::Silent, false),
            (MemberState::Dead, true),
            (MemberState::Left, true),
            (MemberState::Unknown, true),
        ] {
            others.get_mut(&address(2)).unwrap().state = state;
            lists.step(&list(&[1]), &others, INTERVAL, now);
            assert_eq!(lists.agreed(), agreed, "{state}");
        }
        others.get_mut(&address(2)).unwrap().awaited = true;
        lists.step(&list(&[1]), &others, INTERVAL, now);
        assert!(!lists.agreed(), "it may still be heard");
    }

    #[test]
    fn a_removed_member_stays_until_all_agree_and_is_told_that_we_have_left() {
        let begin = Instant::now();
        let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
        lists.update(&list(&[2, 1]));
        let mut others = others(&[(2, &[1, 2, 3]), (3, &[1, 2, 3])], begin);
        lists.step(&list(&[1]), &others, INTERVAL, begin);
        assert_eq!((lists.ring(), lists.left(INTERVAL, begin)), (list(&[1, 2, 3]), BTreeSet::new()));
        others.get_mut(&address(2)).unwrap().said.as_mut().unwrap().facts.members =
            ListDigest::of_members(&list(&[1, 2]));
        let mut said = 0;
        for tenth in 0..40 {
            let now = begin + INTERVAL * tenth;
            lists.step(&list(&[1]), &others, INTERVAL, now);
            assert_eq!(lists.ring(), list(&[1, 2]));
            said += lists.left(INTERVAL, now).len();
            assert_eq!(lists.members() == list(&[1, 2, 3]), tenth < 27, "{tenth}");
        }
        assert_eq!(said, 15);
    }

    /// Its daemon cannot hear that we have left while it is dead, and its rules go on forwarding to us.
    #[test]
    fn a_removed_member_whose_daemon_is_dead_is_told_later_that_we_have_left() {
        let begin = Instant::now();
        // When the heartbeats of 3 stop, when its next daemon is heard, and until when it is known; in tenths.
        for (silent, again, known) in [
            (5, 40, 55),
            (11, 40, 55),
            (5, 20, 35),
            (5, 8, 27), // there was time enough
            (26, 40, 55),
            (28, 40, 27), // it has heard it before
        ] {
            let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
            lists.update(&list(&[1, 2]));
            let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], begin);
            for tenth in 0..60 {
                let now = begin + INTERVAL * tenth;
                let observed = others.get_mut(&address(3)).unwrap();
                if tenth == again {
                    (observed.state, observed.heard_since) = (MemberState::Alive, Some(now));
                } else if tenth == silent {
                    observed.state = MemberState::Silent;
                }
                lists.step(&list(&[1]), &others, INTERVAL, now);
                let (is_known, told) = (lists.is_changing(), !lists.left(INTERVAL, now).is_empty());
                assert_eq!(
                    (is_known, told),
                    (tenth < known, (12..known).contains(&tenth)),
                    "{silent} {tenth}"
                );
            }
        }
    }

    /// The rules of a dead daemon may still forward to the removed member, and its next daemon keeps them at first.
    #[test]
    fn a_removed_member_is_not_told_that_we_have_left_before_every_daemon_has_replaced_its_rules() {
        let begin = Instant::now();
        // When the heartbeats of 2 stop, when its next daemon is heard, and when 3 hears first that we have left; in tenths.
        for (silent, again, left) in [
            (90, None, Some(12)),
            (5, Some(9), Some(21)), // a heartbeat does not show that the former daemon lived until then
            (5, Some(5), Some(17)), // it was restarted at once
            (9, Some(30), Some(42)),
            (11, Some(30), Some(12)), // its rules were replaced before
            (0, None, None),
        ] {
            let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
            lists.update(&list(&[1, 2]));
            let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], begin);
            let mut first = None;
            for tenth in 0..60 {
                let now = begin + INTERVAL * tenth;
                let observed = others.get_mut(&address(2)).unwrap();
                if again == Some(tenth) {
                    (observed.state, observed.since, observed.heard_since) =
                        (MemberState::Alive, now, Some(now));
                } else if silent == tenth {
                    (observed.state, observed.since) = (MemberState::Silent, now);
                }
                lists.step(&list(&[1]), &others, INTERVAL, now);
                if !lists.left(INTERVAL, now).is_empty() {
                    first.get_or_insert(tenth);
                }
            }
            assert_eq!(first, left, "{silent} {again:?}");
        }
    }

    /// With a loss of two heartbeats of three, members are silent for up to 1.6 intervals again and again.
    #[test]
    fn a_short_silence_is_no_dead_daemon() {
        let begin = Instant::now();
        let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
        lists.update(&list(&[1, 2]));
        let mut others = others(&[(2, &[1, 2]), (3, &[1, 2, 3])], begin);
        for half in 0..=24 {
            let now = begin + INTERVAL / 2 * half;
            let observed = others.get_mut(&address(2)).unwrap();
            match half % 6 {
                0 => observed.state = MemberState::Alive,
                3 => (observed.state, observed.since) = (MemberState::Silent, now),
                1 | 2 | 4 | 5 => {}
                other => panic!("{other}"),
            }
            lists.step(&list(&[1]), &others, INTERVAL, now);
            assert_eq!(lists.left(INTERVAL, now).is_empty(), half < 24, "{half}");
        }
    }

    #[test]
    fn a_removed_member_is_forgotten_when_it_does_not_live() {
        let now = Instant::now();
        for (state, lingers, forgotten) in [
            (MemberState::Alive, false, false),
            (MemberState::Silent, false, false),
            (MemberState::Left, true, false),
            (MemberState::Left, false, true),
            (MemberState::Dead, false, true),
            (MemberState::Unknown, false, true),
        ] {
            let mut lists = MemberLists::new(&list(&[1, 2, 3]), None);
            lists.update(&list(&[1, 2]));
            let mut others = others(&[(2, &[1]), (3, &[1, 2, 3])], now);
            let observed = others.get_mut(&address(3)).unwrap();
            (observed.state, observed.lingers) = (state, lingers);
            lists.step(&list(&[1]), &others, INTERVAL, now);
            assert_eq!(lists.members() == list(&[1, 2]), forgotten, "{state} {lingers}");
        }
    }

    #[test]
    fn one_that_is_removed_and_added_again_was_never_out_of_the_ring() {
        let mut lists = MemberLists::new(&list(&[1, 2]), None);
        lists.update(&list(&[1]));
        lists.update(&list(&[1, 2]));
        assert!(!lists.is_changing());
    }

    #[test]
    fn a_new_process_continues_the_change() {
        let former: BTreeSet<IpAddr> = list(&[1, 2, 3]).into_iter().collect();
        let lists = MemberLists::new(&list(&[1, 2, 4]), Some(&former));
        assert!(lists.is_added(address(4)) && !lists.is_added(address(2)));
        assert_eq!(lists.ring(), list(&[1, 2, 3, 4]));
        assert!(!MemberLists::new(&list(&[1, 2, 4]), None).is_changing(), "without rules, nothing is known");
    }

    #[test]
    fn a_mark_has_room_for_32_members() {
        let all: Vec<u8> = (1..=32).collect();
        let mut lists = MemberLists::new(&list(&all), None);
        lists.update(&list(&(5..=36).collect::<Vec<u8>>()));
        assert_eq!(lists.ring(), list(&(5..=36).collect::<Vec<u8>>()));
        assert_eq!(lists.members().len(), 36);
    }
}
