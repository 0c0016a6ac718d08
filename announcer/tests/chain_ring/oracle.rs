//! What must be true at every step, and every case in which it need not be true, with its reason.
//!
//! Packets are excused for a time (`repaired`), or because they meet rules that nobody can change ([`Oracle::outdated`]). There are only
//! excuses where the design has no means: rules are made from heartbeats, and a host without a daemon neither sends nor reads any.

use std::time::{Duration, Instant};

use announcer::chain::ring::Absence;

use crate::host::{Host, HostSet, INTERVAL, LONGEST_INSTALL, START_WAIT, address, index};
use crate::network::{LONGEST_DELAY, Network};
use crate::packet::{End, walk};

/// How long a host whose daemon is dead stays in the rings.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a host that has lost power is off at least, if its daemon lived: [`least_off`].
const LEAST_OFF: Duration = Duration::from_secs(1);
/// How long a daemon that begins may keep the rules of the former one: it replaces them when it has heard every member, or has waited 8
/// intervals for it. The ninth is for the turn after that.
const KEEPS_RULES: u32 = 9;
/// For how long two hosts, of which one announces and the daemon of the other has just begun, may not know each other: the first has not
/// waited for a daemon that was dead, and the second keeps its rules, then hears that it is believed, and installs its new ones.
const NEW_TO_EACH_OTHER: u32 = KEEPS_RULES + 4;
/// For how many intervals after the death of its daemon a host that dies is found dead as soon as any other: its kernel is asked often for
/// 10 intervals after the last heartbeat that has arrived, and that was sent 3 intervals before the daemon's death or later.
const EARLY: u32 = 6;
/// For how long a daemon that begins may be not heard: if of three heartbeats in each direction one arrives, this is enough for its
/// first one, our answer, and its next one; then rules may just be being installed.
const UNHEARD: u32 = 9;
/// The most pairs of origin and owner that are tried after a change.
const MOST_PAIRS: usize = 81;

/// How long a ring may need after a host lost power: 3 heartbeats, of which the last or an answer of the kernel may be on the way; the next
/// question may be; and an older ring may just be being installed.
fn repair() -> Duration {
    INTERVAL * 3 + LONGEST_DELAY * 3 + LONGEST_INSTALL * 2
}

/// How much longer than other hosts a host is not found dead that loses power now: one whose daemon is dead for long is asked once a second,
/// to save questions.
fn asked_late(host: &Host, now: Instant) -> Duration {
    let early = host.down.is_none_or(|down| now < down + INTERVAL * EARLY);
    if early { Duration::ZERO } else { Duration::from_secs(1) }
}

/// How long a host that loses power now is off at least. It boots longer than the others need to find it dead; one that were back sooner
/// would be in their rings without having rules.
pub fn least_off(host: &Host, now: Instant) -> Duration {
    LEAST_OFF + asked_late(host, now)
}

/// Counters of what was checked.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// Packets that had to reach their owner, and how many of them were forwarded.
    pub reached: u64,
    pub forwarded: u64,
    /// Packets that nobody owned.
    pub nobody: u64,
    /// Packets that need not reach their owner because lists differ, heartbeats are lost without a bound, or there are partitions.
    pub disorderly: u64,
    /// Packets during the time of a repair, and those that met rules that are out of date. How many of them have not reached their owner.
    pub repairing: u64,
    pub outdated: u64,
    pub unreached: u64,
    /// Packets that a host has had from one that is not in its list.
    pub strangers: u64,
    /// The most hops of a packet.
    pub hops: u32,
}

pub struct Oracle {
    pub checks: Checks,
    /// Whether one heartbeat of three arrives, all lists are equal, and there are no partitions: then every property holds.
    orderly: bool,
    /// The hosts that were removed while they started: docs/chain.md says that this is not done. Until their daemon has ended and their rules
    /// are gone; or until they announce; or until they are in all lists again and the rings are repaired.
    pub removed_at_start: HostSet,
    /// From when on every living owner is reached.
    pub repaired: Instant,
    /// When the packets were checked last.
    checked: Option<Instant>,
    /// The hosts that are in every list, also while the lists change host by host.
    pub listed: HostSet,
    /// When the lists of all hosts became the same.
    changed_lists: Instant,
    /// The hosts that were added then.
    added: HostSet,
}

impl Oracle {
    pub fn new(orderly: bool, listed: HostSet, now: Instant) -> Self {
        Oracle {
            checks: Checks::default(),
            orderly,
            removed_at_start: HostSet::default(),
            repaired: now,
            checked: None,
            listed,
            changed_lists: now,
            added: HostSet::default(),
        }
    }

    /// The lists of all hosts have become the same now.
    pub fn lists_changed(&mut self, list: HostSet, now: Instant) {
        self.added = HostSet::of(list.iter().filter(|host| !self.listed.has(*host)));
        (self.listed, self.changed_lists) = (list, now);
    }

    fn extend(&mut self, until: Instant) {
        self.repaired = self.repaired.max(until);
    }

    /// A host loses power now.
    pub fn crashed(&mut self, host: usize, hosts: &[Host], now: Instant) {
        if hosts[host].rules.is_none() {
            return;
        }
        // A daemon that has just begun keeps the former rules, which may forward to the dead host.
        let keeps = hosts.iter().any(|host| begun_within(host, KEEPS_RULES, now));
        let keeps = if keeps { INTERVAL * KEEPS_RULES } else { Duration::ZERO };
        self.extend(now + keeps + asked_late(&hosts[host], now) + repair());
    }

    /// A daemon begins now on a host that has rules; `hosts` are as they were before.
    pub fn restarted(&mut self, host: usize, hosts: &[Host], now: Instant) {
        // Its rules or those of another one are out of date; or the first daemon of another host began while this one was dead: it has not
        // heard it, and makes its rules without it when it has waited for it. One that has found rules keeps the members of its ring.
        let unheard = |other: &Host| {
            let knows = other.rules.as_ref().is_some_and(|rules| rules.ring.has(address(host)).v4);
            // After a former daemon has said that it has left, the next one keeps no member that it does not hear.
            let knows = knows && !other.returned;
            !knows && other.daemon.as_ref().is_some_and(|daemon| now < daemon.began + INTERVAL * KEEPS_RULES)
        };
        if Self::outdated(hosts, now) != HostSet::default() || hosts.iter().any(unheard) {
            self.extend(now + INTERVAL * KEEPS_RULES + repair());
        }
    }

    /// A host announces now.
    pub fn announced(&mut self, host: usize, late: bool, hosts: &[Host], now: Instant) {
        if !self.orderly {
            return;
        }
        self.removed_at_start.remove(host);
        // It has not heard a host whose daemon was dead until now, or it waits for it in vain; also if that host has died since then and
        // is not found dead yet.
        let unheard = |other: &Host| other.down.is_some() || begun_within(other, NEW_TO_EACH_OTHER, now);
        // If one host after the other starts, it waits for each until its time is over.
        let starting = |other: &Host| {
            let began = other.daemon.as_ref().filter(|_| other.index != host).map(|daemon| daemon.began);
            began.is_some_and(|began| now < began + START_WAIT)
        };
        // And it waits for one that has just left, which may never hear of it.
        let waits = |other: &Host| unheard(other) || starting(other) || other.gone.is_some();
        let lists = now < self.changed_lists + START_WAIT;
        let excused = now < self.repaired || lists || hosts.iter().any(waits);
        assert!(!late || excused, "host {host} announces although it is not in every ring");
        // Its former daemon may have said just before its death that it has left: then others are installing rings without it.
        if begun_within(&hosts[host], 1, now) {
            return self.extend(now + repair());
        }
        let own = address(host);
        let ours = &hosts[host].rules.as_ref().unwrap().ring;
        let known = |other: &Host| {
            let theirs = other.rules.as_ref().is_none_or(|rules| rules.ring.has(own).v4);
            theirs && ours.has(other.own()).v4
        };
        if hosts.iter().any(|other| begun_within(other, NEW_TO_EACH_OTHER, now) && !known(other)) {
            self.extend(now + INTERVAL * NEW_TO_EACH_OTHER);
        }
        let listed = |index| self.listed.has(index);
        let others = hosts.iter().filter(|other| other.owns && other.powered && other.index != host);
        let others = others.filter(|other| listed(host) && listed(other.index));
        for other in others.filter(|other| !unheard(other)) {
            let Some(rules) = &other.rules else { continue };
            assert!(rules.ring.has(own).v4, "host {host} announces, and {} does not know it", other.index);
            assert!(ours.has(other.own()).v4, "host {host} announces without {}", other.index);
        }
    }

    /// A host declares a member dead now.
    pub fn dropped(&self, host: usize, member: &Host, now: Instant) {
        // A dead daemon is not a dead host for 30 s. One that has removed its rules forwards nothing.
        // One that was off has rules again, of which this host has not heard.
        let dead = !member.powered || member.rules_since.is_none_or(|since| now < since + LEAST_OFF);
        let silent = member.down.is_some_and(|down| now >= down + SILENCE);
        let listed = self.listed.has(host) && self.listed.has(member.index);
        let excused = dead || silent || !listed || !self.orderly;
        assert!(excused, "host {host} drops {}, which lives", member.index);
    }

    /// The rules of a host skip a member now that they had in the ring before.
    pub fn skipped(&self, host: &Host, member: &Host, why: Option<Absence>, now: Instant) {
        let began = host.daemon.as_ref().map(|daemon| daemon.began);
        let (returned, made, host) = (host.returned, host.rules_made, host.index);
        // One that was off has rules again, of which this host has not heard.
        let new = member.rules_since.is_none_or(|since| now < since + LEAST_OFF);
        let silent = member.down.is_some_and(|down| now >= down + SILENCE);
        let listed = self.listed.has(host) && self.listed.has(member.index);
        // A former daemon of it has said that it has left, also to a former daemon of this host, and the present one is not heard yet or has
        // died. It announces again when it is in the rings, and owns no flow before.
        let had_left = matches!(why, Some(Absence::Left | Absence::Unknown));
        // Or it has died so soon after this host's daemon began that no heartbeat of it arrived.
        let met = member
            .down
            .zip(began)
            .is_some_and(|(down, began)| began <= down && down < began + INTERVAL * UNHEARD);
        let unheard =
            had_left && member.returned && (begun_within(member, UNHEARD, now) || !member.owns || met);
        let left = member.has_left() || member.died_leaving || unheard || returned;
        // It was removed and added again, and the others have not heard yet that all have the list.
        let added = why == Some(Absence::NotAgreed) && now < self.changed_lists + START_WAIT;
        // The others had said to it that they have left.
        let again = why == Some(Absence::Left) && self.added.has(host) && now < self.changed_lists + repair();
        // It was removed and is added again, while rules were just being installed that were made when no list named it.
        let installing = why.is_none() && self.added.has(member.index) && made <= Some(self.changed_lists);
        let lists = added || again || installing || !listed;
        let excused = !member.powered || new || silent || left || lists || !self.orderly;
        assert!(excused, "the new rules of host {host} skip {}, which lives", member.index);
    }

    /// A host begins now to say to a removed member that it has left. That member then skips it, so no host may forward to that member any more.
    pub fn said_left(&self, host: usize, member: &Host, hosts: &[Host], now: Instant) {
        for other in hosts.iter().filter(|other| self.orderly && self.listed.has(other.index)) {
            let has = other.rules.as_ref().is_some_and(|rules| rules.ring.has(member.own()).v4);
            // The lists of the others have become the same without it, because it has said that it has left: it still has its rules, or its
            // daemon has died then and the next one is not heard yet.
            let returned = other.returned && begun_within(other, UNHEARD, now);
            let had_left = other.has_left() || other.died_leaving || returned;
            let excused = other.index == member.index || had_left || forgotten(other, member, now);
            let other = other.index;
            assert!(!has || excused, "{host} has left for {}, which {other} has in its ring", member.index);
        }
    }

    /// Checks the packets if something may have changed since it did.
    pub fn check(&mut self, hosts: &mut [Host], network: &Network, now: Instant, luck: &mut fastrand::Rng) {
        let mut changed = self.checked.is_none_or(|at| at < self.repaired && self.repaired <= now);
        for host in hosts.iter_mut() {
            changed |= std::mem::take(&mut host.changed);
        }
        if !changed {
            return;
        }
        self.checked = Some(now);
        let owners: Vec<usize> =
            hosts.iter().filter(|host| host.owns && host.powered).map(|host| host.index).collect();
        for host in hosts.iter().filter(|host| host.rules.is_none() && host.daemon.is_none()) {
            self.removed_at_start.remove(host.index);
        }
        if now >= self.changed_lists + repair() {
            self.removed_at_start = self.removed_at_start.without(self.listed);
        }
        let outdated = Self::outdated(hosts, now).union(self.removed_at_start);
        let wanted = owners.iter().copied().map(Some).chain([None]);
        let pairs = owners.len() * (owners.len() + 1);
        if pairs <= MOST_PAIRS {
            for owner in wanted {
                for origin in &owners {
                    self.packet(*origin, owner, outdated, hosts, network, now);
                }
            }
        } else {
            let wanted: Vec<Option<usize>> = wanted.collect();
            for _ in 0..MOST_PAIRS {
                let origin = owners[luck.usize(..owners.len())];
                self.packet(origin, wanted[luck.usize(..wanted.len())], outdated, hosts, network, now);
            }
        }
    }

    fn packet(
        &mut self,
        origin: usize,
        owner: Option<usize>,
        outdated: HostSet,
        hosts: &[Host],
        network: &Network,
        now: Instant,
    ) {
        let way = walk(hosts, network, origin, owner);
        assert!(
            way.hops <= 32 || way.stranger,
            "a packet from {origin} for {owner:?} has made {} hops\n{}",
            way.hops,
            tell(hosts)
        );
        let checks = &mut self.checks;
        if way.stranger {
            checks.strangers += 1;
            return;
        }
        checks.hops = checks.hops.max(way.hops);
        let want = if owner.is_some() { End::Reached } else { End::Answered };
        let meets = way.visited.overlaps(outdated) || owner.is_some_and(|owner| outdated.has(owner));
        let excuse = match () {
            () if !self.orderly => Some(&mut checks.disorderly),
            () if !self.listed.has(origin) || owner.is_some_and(|owner| !self.listed.has(owner)) => {
                Some(&mut checks.disorderly)
            }
            () if now < self.repaired => Some(&mut checks.repairing),
            () if meets => Some(&mut checks.outdated),
            () => None,
        };
        if let Some(excuse) = excuse {
            *excuse += 1;
            checks.unreached += u64::from(way.end != want);
            return;
        }
        assert_eq!(way.end, want, "a packet from {origin} for {owner:?} in {way:?}\n{}", tell(hosts));
        checks.nobody += u64::from(owner.is_none());
        checks.reached += u64::from(owner.is_some());
        checks.forwarded += u64::from(owner.is_some() && way.hops > 0);
    }

    /// The hosts with a dead daemon whose rules do not fit: a host has lost power or has joined since it died, which nobody can tell its
    /// kernel; or a host that has joined since then has not heard it; or so many are in the rings of others now, although they do not
    /// announce yet, that its mark ends before a packet has come round. The hosts whose mark ends too early because they have not heard one
    /// that has just begun. And the hosts that have left and are still in the ring of one that they had forgotten: a packet that comes to one
    /// of them ends there. One that does not is not excused.
    fn outdated(hosts: &[Host], now: Instant) -> HostSet {
        let mut set = HostSet::default();
        let rings = hosts.iter().filter_map(|host| host.rules.as_ref()).flat_map(|rules| &rules.ring.entries);
        let in_rings = HostSet::of(rings.filter(|entry| entry.v4.is_none()).map(|entry| index(entry.member)));
        let takes_hop = |host: &Host| host.rules.is_some() && in_rings.has(host.index);
        let hops = hosts.iter().filter(|host| takes_hop(host)).count();
        // With losses, a host has not heard yet all that have just begun, and does not count them. They may be hops of others already.
        for host in hosts.iter().filter(|host| host.powered && host.down.is_none()) {
            let Some(ring) = host.rules.as_ref().map(|rules| &rules.ring) else { continue };
            let is_new = |other: &&Host| {
                let entry = ring.entries.iter().find(|entry| entry.member == other.own());
                let is_unheard = entry.is_some_and(|entry| entry.v4 == Some(Absence::Unknown));
                let began = other.daemon.as_ref().map(|daemon| daemon.began);
                is_unheard && takes_hop(other) && began.is_some_and(|began| now < began + INTERVAL * UNHEARD)
            };
            let length = ring.v4.map_or(0, |forwarding| usize::from(forwarding.length));
            let new = hosts.iter().filter(is_new).count();
            if new > 0 && length < hops && hops <= length + new {
                set.insert(host.index);
            }
        }
        for orphan in hosts.iter().filter(|host| host.powered && host.down.is_some()) {
            let Some(rules) = &orphan.rules else { continue };
            let own = orphan.own();
            let misfit = hosts.iter().any(|host| {
                let has = rules.ring.has(host.own()).v4;
                let joined = host.owns && !has;
                // One that has left has waited for this host if it knew of it: its daemon may have begun after this one died.
                let waited = host.gone.is_some() && !host.unheard.has(orphan.index);
                let dead = has && host.rules.is_none() && !waited;
                let unknown = host.rules.as_ref().is_some_and(|rules| !rules.ring.has(own).v4);
                joined || dead || unknown
            });
            // The last hop of a round is back to this host. Its length is too short only if there is one that it does not know.
            let short = rules.ring.v4.is_some_and(|forwarding| usize::from(forwarding.length) + 1 < hops);
            let unknown = hosts.iter().any(|host| takes_hop(host) && !rules.ring.has(host.own()).v4);
            if misfit || short && unknown {
                set.insert(orphan.index);
            }
        }
        // A daemon that has begun keeps a host that has left without waiting for it, because it was removed before that host's daemon began,
        // or because that host had never heard it.
        for host in hosts.iter().filter(|host| host.restarted.is_some()) {
            let Some(rules) = &host.rules else { continue };
            let kept = |other: &&Host| rules.ring.has(other.own()).v4 && forgotten(host, other, now);
            for other in hosts.iter().filter(kept) {
                set.insert(other.index);
            }
        }
        set
    }

    /// No more faults have happened for long: the rings are equal and complete, and packets reach their owners in any case. Returns whether
    /// a host still keeps one that has left, which it may for the time of a silence.
    pub fn quiet(
        &mut self,
        hosts: &mut [Host],
        network: &Network,
        now: Instant,
        luck: &mut fastrand::Rng,
    ) -> bool {
        let living: Vec<usize> = hosts
            .iter()
            .filter(|host| host.rules.is_some() && !host.has_left())
            .map(|host| host.index)
            .collect();
        let (mut keeps, mut silent, mut left_out) = (false, false, HostSet::default());
        for host in &living {
            let ring = &hosts[*host].rules.as_ref().unwrap().ring;
            let members =
                ring.entries.iter().filter(|entry| entry.v4.is_none()).map(|entry| index(entry.member));
            // If no heartbeat arrived that said it has left, its kernel keeps it in the ring for 30 s; or it keeps it as one whose rules
            // are not installed, or that does not believe us.
            let gone = |member: &usize| {
                let other = &hosts[*member];
                !self.orderly && may_keep(&hosts[*host], other, now) || forgotten(&hosts[*host], other, now)
            };
            let kept = ring.entries.iter().any(|entry| {
                matches!(entry.v4, None | Some(Absence::NoRules | Absence::NotBelieved))
                    && gone(&index(entry.member))
            });
            let mut members: Vec<usize> = members.collect();
            let in_ring = members.len();
            members.retain(|member| !gone(member));
            (keeps, silent) = (keeps || kept, silent || members.len() < in_ring);
            // As long as it is kept, its list differs, and no member that was added is in this ring.
            let not_agreed = ring.entries.iter().filter(|entry| entry.v4 == Some(Absence::NotAgreed));
            let not_agreed = HostSet::of(not_agreed.map(|entry| index(entry.member)).filter(|_| kept));
            left_out = left_out.union(not_agreed);
            let wanted: Vec<usize> =
                living.iter().copied().filter(|member| !not_agreed.has(*member)).collect();
            assert_eq!(members, wanted, "the ring of host {host}\n{}", tell(hosts));
        }
        self.orderly |= !silent;
        let listed = self.listed;
        self.listed = listed.without(left_out);
        self.repaired = now;
        hosts[0].changed = true;
        self.check(hosts, network, now, luck);
        self.listed = listed;
        keeps
    }
}

/// Whether a host may still keep another one that has left, as a silent one: if it has not heard that, for the time of a silence after it
/// has left, or after our daemon has begun, which knows it from the former one.
fn may_keep(host: &Host, other: &Host, now: Instant) -> bool {
    other.gone.is_some_and(|gone| now < host.restarted.map_or(gone, |at| at.max(gone)) + SILENCE + repair())
}

/// Whether a host may still keep another one that has left and did not know this one then, or had never heard it.
fn forgotten(host: &Host, other: &Host, now: Instant) -> bool {
    let forgot = other.restarted.is_some() && other.forgot.has(host.index);
    may_keep(host, other, now) && (forgot || other.unheard.has(host.index))
}

/// Whether a daemon has begun in the last `intervals` on a host that had rules.
fn begun_within(host: &Host, intervals: u32, now: Instant) -> bool {
    host.restarted.is_some_and(|at| now < at + INTERVAL * intervals)
}

/// What each host has installed.
fn tell(hosts: &[Host]) -> String {
    let ring = |host: &Host| {
        let ring = host.rules.as_ref().map(|rules| {
            let entries = rules.ring.entries.iter();
            let members = entries.map(|entry| match entry.v4 {
                None => index(entry.member).to_string(),
                Some(absence) => format!("{}:{}", index(entry.member), absence.label()),
            });
            members.collect::<Vec<_>>().join(" ")
        });
        let daemon = host.daemon.is_some();
        format!("{}: powered {}, daemon {daemon}, owns {}, {ring:?}\n", host.index, host.powered, host.owns)
    };
    hosts.iter().map(ring).collect()
}
