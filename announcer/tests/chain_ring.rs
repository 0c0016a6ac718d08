//! Up to 32 hosts with a chain on a virtual clock: heartbeats with loss, delay, copies and another order; hosts that lose power, start,
//! stop and leave; daemons that die and begin again, also two at once; lists that change host by host; partitions; lists that differ for good. Packets walk over the hosts by the rules that each of
//! them has installed. At every step of every seed, these properties are checked:
//!
//! - Every packet ends after at most 32 hops, whatever the hosts know; unless a host that was off is started with a list that lacks a host
//!   whose rules forward to it. It cannot believe the marks of a host that it has never known, and the TTL ends the packet. So it
//!   is for a host that begins without rules, as long as nothing arrives from the other one, if heartbeats are lost without a bound.
//! - While one heartbeat of three arrives, a living owner is reached, except for the time of a repair after a host lost power: 3 heartbeats,
//!   three delays, and the time of two installations. Starts, stops, leaving, and restarts of daemons need no such time.
//! - While one heartbeat of three arrives, no host that lives and has its rules is dropped.
//! - New rules skip no member that lives, also if its daemon is dead.
//! - A host that announces is in the ring of every other host, and has them in its own.
//! - A heartbeat counts once at most, and never after it has become old. Somebody without the key records them, holds some back, and sends
//!   them again.
//! - When no more faults happen, all rings are equal and complete.
//!
//! `chain_ring/oracle.rs` has the excuses, with their reasons.
//!
//! `SEEDS=1000000 cargo test --profile simulation --test chain_ring` runs more seeds. A seed that fails is printed, and `SEED=n` runs only that
//! seed and prints every fault.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

#[path = "chain_ring/host.rs"]
mod host;
#[path = "chain_ring/network.rs"]
mod network;
#[path = "chain_ring/oracle.rs"]
mod oracle;
#[path = "chain_ring/packet.rs"]
mod packet;
#[path = "chain_ring/peers.rs"]
mod peers;
mod seeds;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use announcer::chain::ring::Leaving;
use host::{Effect, Host, HostSet, World, address, index};
use network::Network;
use oracle::{Checks, Oracle, least_off};
use seeds::RunCounts;

/// The number of seeds in a normal run of the tests.
const USUAL: u64 = 100;

#[test]
fn every_packet_ends_and_living_owners_are_reached() {
    let Some((seeds, sum)) = seeds::run(USUAL, |seed, trace| Simulation::new(seed, trace).run()) else {
        return;
    };
    // The checks are only useful if enough events happened. Packets are sent when something has changed, so many fall into a repair.
    let Checks { reached, forwarded, nobody, repairing, outdated, .. } = sum.checks;
    assert!(reached > 100 * seeds && forwarded > 80 * seeds && nobody > 20 * seeds, "{sum:?}");
    assert!(reached > repairing + outdated, "{sum:?}");
    assert!(sum.announced > 2 * seeds && sum.crashes > seeds / 4 && sum.left > seeds / 4, "{sum:?}");
    assert!(sum.restarts > seeds / 4 && sum.repairs > seeds / 10, "{sum:?}");
    assert!(sum.both_dead > seeds / 4 && sum.changes > seeds / 8, "{sum:?}");
}

/// Counters of what happened in all runs.
#[derive(Debug, Default)]
struct EventCounts {
    checks: Checks,
    /// Hosts that announced, lost power, and left.
    announced: u64,
    crashes: u64,
    left: u64,
    /// Daemons that died and began again.
    restarts: u64,
    /// Hosts that were found dead.
    repairs: u64,
    /// How often the daemons of two hosts died at once, and how often a change of the lists began.
    both_dead: u64,
    changes: u64,
    /// How often a host that had left was still kept at the end, and the time of a silence was waited for.
    silences: u64,
    /// Events of all kinds.
    events: u64,
    /// Virtual time.
    lived: Duration,
}

impl RunCounts for EventCounts {
    fn add(&mut self, other: &EventCounts) {
        self.checks.reached += other.checks.reached;
        self.checks.forwarded += other.checks.forwarded;
        self.checks.nobody += other.checks.nobody;
        self.checks.disorderly += other.checks.disorderly;
        self.checks.repairing += other.checks.repairing;
        self.checks.outdated += other.checks.outdated;
        self.checks.unreached += other.checks.unreached;
        self.checks.strangers += other.checks.strangers;
        self.checks.hops = self.checks.hops.max(other.checks.hops);
        self.announced += other.announced;
        self.crashes += other.crashes;
        self.left += other.left;
        self.restarts += other.restarts;
        self.repairs += other.repairs;
        self.both_dead += other.both_dead;
        self.changes += other.changes;
        self.silences += other.silences;
        self.events += other.events;
        self.lived += other.lived;
    }
}

struct Simulation {
    luck: fastrand::Rng,
    began: Instant,
    now: Instant,
    network: Network,
    hosts: Vec<Host>,
    powered: Vec<bool>,
    /// Until when a host that has lost power stays off.
    off_until: Vec<Instant>,
    starts: u128,
    /// Whether one heartbeat of three arrives, all lists are equal, and there are no partitions: then every property holds.
    orderly: bool,
    oracle: Oracle,
    /// The list that every host has, or will have after the present change.
    list: Vec<IpAddr>,
    sum: EventCounts,
    trace: bool,
}

impl Simulation {
    fn new(seed: u64, trace: bool) -> Self {
        let mut luck = fastrand::Rng::with_seed(seed);
        let now = Instant::now();
        let count = match luck.u8(..) {
            0 => 32,
            1..8 => luck.usize(9..20),
            _ => luck.usize(2..=8),
        };
        let orderly = luck.u8(..4) != 0;
        let loss = if orderly { [0, 5, 30, 66][luck.usize(..4)] } else { [0, 30, 66, 90][luck.usize(..4)] };
        let all: Vec<IpAddr> = (0..count).map(address).collect();
        let hosts = (0..count).map(|index| Host::new(index, all.clone())).collect();
        Simulation {
            began: now,
            now,
            network: Network::new(count, loss, orderly),
            hosts,
            powered: vec![false; count],
            off_until: vec![now; count],
            starts: 0,
            orderly,
            oracle: Oracle::new(orderly, HostSet::of(0..count), now),
            list: (0..count).map(address).collect(),
            sum: EventCounts::default(),
            luck,
            trace,
        }
    }

    fn run(mut self) -> EventCounts {
        self.say(format_args!(
            "{} hosts, loss {}, orderly {}",
            self.hosts.len(),
            self.network.loss,
            self.orderly
        ));
        for host in 0..self.hosts.len() {
            if self.luck.u8(..8) != 0 {
                // A daemon waits 8 intervals for those that it does not hear: some begin just before or after that.
                let pause = [0, 300, self.luck.u64(..1000)][self.luck.usize(..3)];
                self.live(pause);
                self.start(host);
            }
        }
        for _ in 0..self.luck.u32(5..20) {
            let pause = 1 << self.luck.u32(3..10);
            self.live(pause);
            self.befall();
        }
        self.quiet();
        self.sum.checks = self.oracle.checks;
        self.sum.lived = self.now - self.began;
        self.sum
    }

    fn say(&self, what: fmt::Arguments<'_>) {
        if self.trace {
            eprintln!("{:>10.3?} {what}", self.now - self.began);
        }
    }

    /// Runs for this many milliseconds.
    fn live(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            let due = self.hosts.iter().filter(|host| host.daemon.is_some());
            let due = due.filter_map(|host| host.deadline.map(|at| (at, host.index))).min();
            let arrival = self.network.next();
            let repaired = Some(self.oracle.repaired).filter(|at| self.now < *at);
            let next = due.map(|(at, _)| at).into_iter().chain(arrival).chain(repaired).min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => break,
            }
            self.sum.events += 1;
            // What has arrived is read before time has its effects.
            if let Some((to, what)) = self.network.arrive(self.now) {
                self.act(to, |host, world| host.arrive(&what, world));
            } else if let Some((_, host)) = due.filter(|(at, _)| *at <= self.now) {
                self.act(host, Host::turn);
            }
            self.check();
        }
        self.now = end;
    }

    fn check(&mut self) {
        self.oracle.check(&mut self.hosts, &self.network, self.now, &mut self.luck);
    }

    fn act(&mut self, host: usize, act: impl FnOnce(&mut Host, &mut World<'_>) -> Vec<Effect>) {
        let mut world =
            World { network: &mut self.network, luck: &mut self.luck, now: self.now, powered: &self.powered };
        for effect in act(&mut self.hosts[host], &mut world) {
            self.say(format_args!("host {host}: {effect:?}"));
            match effect {
                Effect::Announced { late } => {
                    self.sum.announced += 1;
                    self.oracle.announced(host, late, &self.hosts, self.now);
                }
                Effect::SaidLeft(member) => {
                    self.oracle.said_left(host, &self.hosts[index(member)], &self.hosts, self.now);
                }
                Effect::Gone => self.sum.left += 1,
                Effect::Dropped(member) => {
                    let member = &self.hosts[index(member)];
                    self.sum.repairs += u64::from(!member.powered);
                    self.oracle.dropped(host, member, self.now);
                }
                Effect::Skipped(member, why) => {
                    let member = &self.hosts[index(member)];
                    self.oracle.skipped(&self.hosts[host], member, why, self.now);
                }
            }
        }
    }

    fn start(&mut self, host: usize) {
        if self.hosts[host].daemon.is_some() || self.now < self.off_until[host] {
            return;
        }
        // A host that has no rules starts when it is in every list, and when no change is in progress: it knows nothing of an earlier list.
        let changing = !self.oracle.listed.has(host) || self.hosts.iter().any(|host| self.lacks_list(host));
        if self.orderly && self.hosts[host].rules.is_none() && changing {
            return;
        }
        self.starts += 1;
        let number = self.starts;
        self.say(format_args!("host {host} starts"));
        if self.hosts[host].rules.is_some() {
            self.sum.restarts += 1;
            self.oracle.restarted(host, &self.hosts, self.now);
            self.hosts[host].restarted = Some(self.now);
        }
        self.powered[host] = true;
        self.act(host, |host, world| host.start(number, world));
    }

    /// Makes a random fault or repair.
    fn befall(&mut self) {
        let host = self.luck.usize(..self.hosts.len());
        let (powered, lives) = (self.hosts[host].powered, self.hosts[host].daemon.is_some());
        match self.luck.u8(..16) {
            0 | 1 if powered => {
                self.say(format_args!("host {host} loses power"));
                if self.hosts[host].rules.is_some() {
                    self.sum.crashes += 1;
                    self.oracle.crashed(host, &self.hosts, self.now);
                }
                self.off_until[host] = self.now + least_off(&self.hosts[host], self.now);
                self.hosts[host] = Host::new(host, self.hosts[host].list.clone());
                self.powered[host] = false;
            }
            2 | 3 if lives && self.hosts[host].rules.is_some() => {
                self.kill_daemon(host);
            }
            4 | 5 if lives => {
                self.say(format_args!("host {host} stops"));
                let flows = self.now + Duration::from_millis(self.luck.u64(..1000));
                let end = self.now + Duration::from_millis(self.luck.u64(500..2000));
                let host = &mut self.hosts[host];
                host.announces = false;
                host.flows_end = Some(flows);
                if let Some(daemon) = &mut host.daemon
                    && daemon.leaving.is_none()
                {
                    daemon.leaving = Some(Leaving::new(end.max(flows)));
                }
            }
            6 if !self.orderly => {
                let sides: Vec<bool> = self.hosts.iter().map(|_| self.luck.bool()).collect();
                self.say(format_args!("a partition: {sides:?}"));
                self.network.sides = sides;
                self.hosts[host].changed = true;
            }
            7 if !self.orderly => self.network.sides.fill(false),
            8 if !self.orderly => {
                let list = self.list();
                self.act(host, |host, world| host.reload(list, world));
            }
            8 | 12 | 13 => self.change_lists(),
            14 | 15 => self.two_daemons_die(),
            9 | 10 => {
                for _ in 0..self.luck.u8(1..6) {
                    self.network.replay(self.now, &mut self.luck);
                }
            }
            _ => self.start(host),
        }
        self.check();
    }

    fn kill_daemon(&mut self, host: usize) {
        self.say(format_args!("the daemon of host {host} dies"));
        self.hosts[host].died_leaving = self.hosts[host].has_left();
        self.hosts[host].daemon = None;
        self.hosts[host].down = Some(self.now);
        self.hosts[host].changed = true;
    }

    /// The daemons of two hosts die at once, and one of them begins while the other is dead.
    fn two_daemons_die(&mut self) {
        let lives = |host: &&Host| host.daemon.is_some() && host.rules.is_some();
        let mut living: Vec<usize> = self.hosts.iter().filter(lives).map(|host| host.index).collect();
        self.luck.shuffle(&mut living);
        let [first, second, ..] = living[..] else { return };
        self.sum.both_dead += 1;
        self.kill_daemon(first);
        self.kill_daemon(second);
        let pause = 1 << self.luck.u32(3..11);
        self.live(pause);
        self.start(first);
        let pause = 1 << self.luck.u32(3..11);
        self.live(pause);
    }

    /// One host gets the new list; or a change begins, which adds a host or removes one.
    fn change_lists(&mut self) {
        if self.hosts.iter().all(|host| !self.lacks_list(host)) {
            let member = address(self.luck.usize(..self.hosts.len()));
            let mut list = self.list.clone();
            if list.contains(&member) {
                // A host that starts may not have been heard by those that have removed it: it skips them. docs/chain.md says
                // that a host is not removed while it starts.
                let host = &self.hosts[index(member)];
                if host.daemon.as_ref().is_some_and(|daemon| daemon.leaving.is_none()) && !host.announces {
                    return;
                }
                list.retain(|other| *other != member);
            } else {
                list.push(member);
            }
            if list.len() < 2 {
                return;
            }
            self.sum.changes += 1;
            if list.len() < self.list.len() {
                // One that leaves before it has announced starts too.
                let host = &self.hosts[index(member)];
                if host.daemon.is_some() && !host.announces && !host.owns {
                    self.oracle.removed_at_start.insert(host.index);
                }
                self.oracle.listed = HostSet::of(list.iter().map(|member| index(*member)));
            }
            self.luck.shuffle(&mut list);
            self.say(format_args!(
                "a new list: {:?}",
                list.iter().map(|member| index(*member)).collect::<Vec<_>>()
            ));
            self.list = list;
        }
        let waiting = self.hosts.iter().filter(|host| self.lacks_list(host) && host.list != self.list);
        let waiting: Vec<usize> = waiting.map(|host| host.index).collect();
        let count = self.luck.usize(..=waiting.len());
        for _ in 0..count {
            let host = waiting[self.luck.usize(..waiting.len())];
            self.reload(host);
            let pause = self.luck.u64(..50);
            self.live(pause);
        }
        if self.hosts.iter().all(|host| !self.lacks_list(host)) {
            self.oracle.lists_changed(HostSet::of(self.list.iter().map(|member| index(*member))), self.now);
        }
    }

    /// Whether a host has another list than it will have, or its daemon is dead and its rules may know another one.
    fn lacks_list(&self, host: &Host) -> bool {
        let differs = host.list != self.list || host.down.is_some() && host.rules.is_some();
        differs && (self.list.contains(&host.own()) || host.daemon.is_some() && !host.has_left())
    }

    fn reload(&mut self, host: usize) {
        let list = self.list.clone();
        self.say(format_args!("host {host} gets the list"));
        self.act(host, |host, world| host.reload(list, world));
    }

    /// Some of the hosts, in any order.
    fn list(&mut self) -> Vec<IpAddr> {
        let mut list: Vec<IpAddr> = (0..self.hosts.len()).map(address).collect();
        if self.luck.bool() {
            self.luck.shuffle(&mut list);
        }
        let keep = self.luck.usize(..=list.len());
        list.truncate(keep.max(1));
        list
    }

    /// From now on no faults happen.
    fn quiet(&mut self) {
        self.network.sides.fill(false);
        self.network.loss = 0;
        self.say(format_args!("no more faults"));
        for host in 0..self.hosts.len() {
            if self.hosts[host].powered && self.hosts[host].rules.is_some() {
                self.start(host);
            }
            self.reload(host);
        }
        self.oracle.lists_changed(HostSet::of(self.list.iter().map(|member| index(*member))), self.now);
        for _ in 0..8 {
            self.live(500);
            for _ in 0..4 {
                self.network.replay(self.now, &mut self.luck);
            }
        }
        let kept = self.oracle.quiet(&mut self.hosts, &self.network, self.now, &mut self.luck);
        // It takes long, so some of the seeds are enough.
        if kept && self.luck.u8(..4) == 0 {
            self.sum.silences += 1;
            self.live(31_000);
            self.oracle.quiet(&mut self.hosts, &self.network, self.now, &mut self.luck);
        }
    }
}
