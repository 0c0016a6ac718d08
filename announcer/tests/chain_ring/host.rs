//! One host: its kernel with the installed rules, and its daemon, which is wired as the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use announcer::chain::heartbeat::{
    AboutReceiver, Facts, Families, Header, Heartbeat, HeartbeatDropReason, HeartbeatStart, ListDigest,
    MemberPresence, NextHops,
};
use announcer::chain::member::{Member, MemberSettings, MemberState, RETURN_WINDOW, Said};
use announcer::chain::ring::{
    Absence, Believed, Leaving, LeavingStep, MemberLists, MemberObservation, Own, Ring, StartWait, may_join,
    remembered, settled, start_wait,
};
use announcer::chain::test_packets::TestPacketReport;

use crate::network::{Arrival, Network};
use crate::peers::Peers;

pub const INTERVAL: Duration = Duration::from_millis(100);
/// The longest time that nft needs.
pub const LONGEST_INSTALL: Duration = Duration::from_millis(30);
/// How long a start waits for the others at most.
pub const START_WAIT: Duration = Duration::from_secs(3);
/// How old a heartbeat can be that counts: it returns one of the last [`RETURN_WINDOW`] heartbeats of its receiver, which sends one in each
/// interval and then needs a delay.
pub const MOST_AGE: Duration = Duration::from_millis(100 * (RETURN_WINDOW + 1));

pub const V4: Families = Families { v4: true, v6: false };

pub fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, u8::try_from(index + 1).unwrap()))
}

pub fn index(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(v4) => usize::from(v4.octets()[3]) - 1,
        IpAddr::V6(_) => unreachable!(),
    }
}

/// A set of hosts, by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostSet(u32);

impl HostSet {
    pub fn insert(&mut self, host: usize) -> bool {
        let before = self.0;
        self.0 |= 1 << host;
        self.0 != before
    }

    pub fn of(hosts: impl IntoIterator<Item = usize>) -> Self {
        let mut set = HostSet::default();
        hosts.into_iter().for_each(|host| _ = set.insert(host));
        set
    }

    pub fn has(self, host: usize) -> bool {
        self.0 & 1 << host != 0
    }

    pub fn union(self, other: HostSet) -> HostSet {
        HostSet(self.0 | other.0)
    }

    pub fn overlaps(self, other: HostSet) -> bool {
        self.0 & other.0 != 0
    }

    pub fn without(self, other: HostSet) -> Self {
        HostSet(self.0 & !other.0)
    }

    pub fn remove(&mut self, host: usize) {
        self.0 &= !(1 << host);
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..32).filter(move |host| self.has(*host))
    }
}

/// What is installed in a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    pub ring: Ring,
    /// The members whose marks are believed.
    pub believed: HostSet,
}

pub struct Host {
    pub index: usize,
    pub powered: bool,
    pub rules: Option<Rules>,
    /// What is stored of the other members: what they said last.
    stored: Vec<(IpAddr, Said)>,
    /// Which members the installed rules know; those that were added while lists differ are not among them.
    stored_list: HostSet,
    /// Since when it has rules.
    pub rules_since: Option<Instant>,
    /// When a daemon made its present rules, and began to install them.
    pub rules_made: Option<Instant>,
    pub daemon: Option<Daemon>,
    pub announces: bool,
    /// Whether it may own flows: it has announced since it was powered on, and its rules were not removed.
    pub owns: bool,
    pub list: Vec<IpAddr>,
    /// Of the list.
    digest: ListDigest,
    /// Whether a reload has given it a list without itself: `list` is the one before, with which its daemon leaves, and so does its next one.
    removed: bool,
    /// Since when it has left and has no rules.
    pub gone: Option<Instant>,
    /// Whether its daemon had said that it has left when it died.
    pub died_leaving: bool,
    /// Whether a daemon before this one had said so: its members did not wait for this host, and it does not keep them.
    pub returned: bool,
    /// Whom its last daemon had never heard when it removed the rules.
    pub unheard: HostSet,
    /// Whom its daemon does not know, because they were removed from the list before it began: it does not wait for them.
    pub forgot: HostSet,
    /// How long its flows live after the withdraw.
    pub flows_end: Option<Instant>,
    /// Since when its daemon is dead.
    pub down: Option<Instant>,
    /// When a daemon began that found rules of a former one.
    pub restarted: Option<Instant>,
    /// When its daemon acts next.
    pub deadline: Option<Instant>,
    /// Whether something has changed that the ways of packets depend on; the oracle takes it.
    pub changed: bool,
}

pub struct Daemon {
    pub number: u128,
    pub began: Instant,
    peers: Peers,
    lists: MemberLists,
    believed: Believed,
    /// Whose MAC addresses are known.
    macs: HostSet,
    /// The rules that are being installed, and since when.
    installing: Option<(Rules, Instant)>,
    said_rules: bool,
    /// The removed members to which it says that it has left.
    said_left: HostSet,
    pub leaving: Option<Leaving>,
    /// When it decides next, if nothing changes before.
    decides: Option<Instant>,
    /// What it knew of the others when it decided last.
    others: BTreeMap<IpAddr, MemberObservation>,
    /// Whose MAC addresses were known then, if it stays and nothing was left to do: the same again would decide the same.
    decided: Option<HostSet>,
}

/// What a host does that others notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Announced {
        late: bool,
    },
    Gone,
    /// It stays, and has begun to say to a removed member that it has left.
    SaidLeft(IpAddr),
    /// It declares a member dead.
    Dropped(IpAddr),
    /// Its new rules skip a member that the former ones had in the ring, and why; `None`: no list names it any more.
    Skipped(IpAddr, Option<Absence>),
}

pub struct World<'a> {
    pub network: &'a mut Network,
    pub luck: &'a mut fastrand::Rng,
    pub now: Instant,
    pub powered: &'a [bool],
}

impl Host {
    pub fn new(index: usize, list: Vec<IpAddr>) -> Self {
        Host {
            index,
            powered: false,
            rules: None,
            stored: Vec::new(),
            stored_list: HostSet::default(),
            rules_since: None,
            rules_made: None,
            daemon: None,
            announces: false,
            owns: false,
            gone: None,
            died_leaving: false,
            returned: false,
            unheard: HostSet::default(),
            forgot: HostSet::default(),
            digest: ListDigest::of_members(&list),
            list,
            removed: false,
            flows_end: None,
            down: None,
            restarted: None,
            deadline: None,
            changed: true,
        }
    }

    pub fn own(&self) -> IpAddr {
        address(self.index)
    }

    /// Whether it has learnt the MAC address of another host, and neither waits for the answer of a member before it installs rules, nor is
    /// just installing those that believe it.
    pub fn has_mac(&self, other: usize) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| {
            daemon.macs.has(other) && daemon.installing.is_none() && settled(&daemon.others)
        })
    }

    /// Whether it says that it has left.
    pub fn has_left(&self) -> bool {
        let leaving = self.daemon.as_ref().and_then(|daemon| daemon.leaving);
        leaving.is_some_and(|leaving| leaving.presence() == MemberPresence::Left)
    }

    /// The daemon begins, with the rules of a former one if there are any.
    pub fn start(&mut self, number: u128, world: &mut World<'_>) -> Vec<Effect> {
        self.powered = true;
        self.returned |= self.died_leaving;
        (self.down, self.flows_end, self.gone, self.died_leaving) = (None, None, None, false);
        let mut believed = Believed::default();
        let macs = self.rules.as_ref().map(|rules| rules.believed).unwrap_or_default();
        believed.update(macs.iter().map(address), world.now);
        // If this host is not in the list, it leaves with what its rules know.
        let stored: BTreeSet<IpAddr> = self.stored_list.iter().map(address).collect();
        let list = if self.removed { Vec::new() } else { self.list.clone() };
        let lists = if list.contains(&self.own()) {
            MemberLists::new(&list, self.rules.as_ref().map(|_| &stored))
        } else {
            MemberLists::new(&Vec::from_iter(stored), None)
        };
        self.forgot = HostSet::of(0..32);
        self.daemon = Some(Daemon {
            number,
            began: world.now,
            peers: Peers::default(),
            lists,
            believed,
            macs,
            installing: None,
            said_rules: self.rules.is_some(),
            said_left: HostSet::default(),
            leaving: None,
            decides: None,
            others: BTreeMap::new(),
            decided: None,
        });
        self.reload(list, world)
    }

    /// The daemon gets a list. If this host is not in it, it leaves.
    pub fn reload(&mut self, list: Vec<IpAddr>, world: &mut World<'_>) -> Vec<Effect> {
        self.removed = !list.contains(&self.own());
        let Some(daemon) = &mut self.daemon else {
            self.take_list(list);
            return Vec::new();
        };
        daemon.decided = None;
        if !self.removed {
            daemon.lists.update(&list);
            self.take_list(list);
        } else {
            daemon.leaving.get_or_insert(Leaving::new(world.now));
        }
        self.meet(world);
        self.turn(world)
    }

    fn take_list(&mut self, list: Vec<IpAddr>) {
        if self.list != list {
            self.digest = ListDigest::of_members(&list);
            self.list = list;
        }
    }

    /// Exchanges heartbeats with those that the lists name.
    fn meet(&mut self, world: &mut World<'_>) {
        let own = self.own();
        let Some(daemon) = &mut self.daemon else { return };
        let others: Vec<IpAddr> =
            daemon.lists.members().into_iter().filter(|member| *member != own).collect();
        daemon.peers.retain(|member| others.contains(&member));
        daemon.believed.update(others.iter().copied(), world.now);
        for member in others {
            self.forgot.remove(index(member));
            let settings = MemberSettings { own, member, interval: INTERVAL };
            if daemon.peers.get_mut(index(member)).is_none() {
                let start = HeartbeatStart::new(world.luck.u128(1..)).unwrap();
                daemon.peers.insert(
                    match self.stored.iter().find(|(of, _)| *of == member && daemon.began == world.now) {
                        Some((_, said)) => Member::former(settings, start, *said, world.now),
                        None => Member::new(settings, start, world.now),
                    },
                );
            }
        }
    }

    pub fn arrive(&mut self, what: &Arrival, world: &mut World<'_>) -> Vec<Effect> {
        let Some(daemon) = &mut self.daemon else { return Vec::new() };
        let mut effects = Vec::new();
        match what {
            Arrival::Heartbeat(sent) => {
                let heard = daemon.macs.insert(sent.from);
                let Some(member) = daemon.peers.get_mut(sent.from) else { return Vec::new() };
                let (state, said) = (member.state(), member.said().copied());
                match member.receive(&sent.heartbeat, world.now) {
                    Ok(_) => {
                        assert!(!sent.counted.replace(true), "a copy or a replay counts");
                        let age = world.now - sent.at;
                        assert!(age <= MOST_AGE, "a heartbeat counts {age:?} after it was sent");
                    }
                    Err(
                        HeartbeatDropReason::Counter
                        | HeartbeatDropReason::NotReturned
                        | HeartbeatDropReason::EarlierStart,
                    ) => {}
                    Err(other) => panic!("{other:?}"),
                }
                if !heard && (state, said) == (member.state(), member.said().copied()) {
                    self.send(&mut effects, world);
                    return effects;
                }
            }
            Arrival::KernelAnswer { of } => {
                let new = daemon.macs.insert(*of);
                let Some(member) = daemon.peers.get_mut(*of) else { return Vec::new() };
                if member.kernel_answered(world.now).is_none() && !new {
                    return Vec::new();
                }
            }
            Arrival::Installed { daemon: number } if *number == daemon.number => {
                let (rules, made) = daemon.installing.take().unzip();
                self.rules_made = made;
                let before = std::mem::replace(&mut self.rules, rules);
                self.changed = true;
                self.rules_since.get_or_insert(world.now);
                daemon.decided = None;
                daemon.peers.hurry();
                let after = |member| {
                    let mut entries = self.rules.iter().flat_map(|rules| &rules.ring.entries);
                    entries.find(|entry| entry.member == member).map(|entry| entry.v4)
                };
                let before = before.iter().flat_map(|rules| &rules.ring.entries);
                let before = before.filter(|entry| entry.v4.is_none()).map(|entry| entry.member);
                let skipped = before.filter_map(|member| {
                    let absence = after(member);
                    (absence != Some(None)).then(|| Effect::Skipped(member, absence.flatten()))
                });
                effects.extend(skipped);
            }
            Arrival::Installed { .. } => return Vec::new(),
        }
        effects.extend(self.turn(world));
        effects
    }

    /// One turn of the daemon: expire, ask, decide, install, send.
    pub fn turn(&mut self, world: &mut World<'_>) -> Vec<Effect> {
        let (own, now) = (self.own(), world.now);
        let Some(daemon) = &mut self.daemon else { return Vec::new() };
        let mut effects = Vec::new();
        for peer in daemon.peers.iter_mut() {
            // Before it is due, time has no effect on a member.
            if peer.due() > now {
                continue;
            }
            let change = peer.expire(now);
            if change.is_some_and(|change| change.to == MemberState::Dead) {
                effects.push(Effect::Dropped(peer.address()));
            }
            if peer.ask(now) {
                let other = index(peer.address());
                world.network.ask(self.index, other, world.powered[other], now, world.luck);
            }
        }
        let forgot = daemon.believed.expire(now);
        let changed = daemon.peers.observe(&mut daemon.others, now);
        if daemon.decided == Some(daemon.macs) && daemon.leaving.is_none() && !forgot && !changed {
            self.send(&mut effects, world);
            return effects;
        }
        let mut others = std::mem::take(&mut daemon.others);
        let changing = daemon.lists.is_changing();
        daemon.lists.step(&[own], &others, INTERVAL, now);
        if changing {
            let known = daemon.lists.members();
            others.retain(|member, _| known.contains(member));
            daemon.peers.retain(|member| known.contains(&member));
            let left = daemon.lists.left(INTERVAL, now);
            for (member, observed) in &mut others {
                observed.added = daemon.lists.is_added(*member);
                observed.removed = left.contains(member);
            }
        }
        let presence = daemon.leaving.as_ref().map_or(MemberPresence::Here, Leaving::presence);
        let us = Own { address: own, wanted: V4, switched_off: false, presence, members: self.digest };
        let limit = daemon.began + START_WAIT;

        // The rules.
        let mut believed = HostSet::default();
        for member in daemon.believed.iter().map(index).filter(|member| daemon.macs.has(*member)) {
            believed.insert(member);
        }
        let want = Rules { ring: Ring::new(&daemon.lists.ring(), &us, &others), believed };
        let installed = self.rules.as_ref() == Some(&want);
        if daemon.installing.is_none() && settled(&others) && !installed {
            let time = Duration::from_micros(world.luck.u64(3_000..30_000));
            world.network.put(now + time, self.index, Arrival::Installed { daemon: daemon.number });
            daemon.installing = Some((want, now));
        }
        if let (Some(rules), true) = (&self.rules, settled(&others)) {
            let known = rules.ring.entries.iter().filter(|entry| entry.v4 != Some(Absence::NotAgreed));
            self.stored_list = HostSet::of(known.map(|entry| index(entry.member)));
        }
        if let Some(rules) = &self.rules
            && !daemon.said_rules
            && may_join(&us, &rules.ring, &others, now, limit)
        {
            daemon.said_rules = true;
            daemon.peers.hurry();
        }

        // Announcements.
        if daemon.leaving.is_none() && !self.announces && daemon.said_rules {
            let installed = self.rules.as_ref().map(|rules| &rules.ring);
            match start_wait(&us, installed, &others, now, limit) {
                StartWait::Ready => effects.push(Effect::Announced { late: false }),
                StartWait::Late(_) => effects.push(Effect::Announced { late: true }),
                StartWait::Waiting(_) => {}
            }
            if !effects.is_empty() && matches!(effects.last(), Some(Effect::Announced { .. })) {
                (self.announces, self.owns, self.changed) = (true, true, true);
            }
        }
        if let Some(leaving) = &mut daemon.leaving {
            let flows = usize::from(self.flows_end.is_some_and(|end| now < end));
            let before = leaving.presence();
            let step = leaving.step(flows, &others, INTERVAL, now);
            if leaving.presence() != before {
                daemon.peers.hurry();
            }
            if step != LeavingStep::Stay && self.owns {
                (self.owns, self.changed) = (false, true);
            }
            if step == LeavingStep::RemoveRules {
                self.changed = true;
                self.unheard = HostSet::default();
                for (member, observed) in &others {
                    if observed.state == MemberState::Unknown {
                        self.unheard.insert(index(*member));
                    }
                }
                (self.rules, self.rules_since, self.daemon, self.gone) = (None, None, None, Some(now));
                effects.push(Effect::Gone);
                return effects;
            }
        }

        if self.rules.is_some() {
            // Before it is said to the others.
            let presence = daemon.leaving.as_ref().map_or(MemberPresence::Here, Leaving::presence);
            let members = others.iter();
            let members =
                members.filter_map(|(member, observed)| Some((*member, remembered(observed, presence)?)));
            self.stored.clear();
            self.stored.extend(members);
        }
        let flows = self.flows_end.filter(|end| *end > now);
        let waits = daemon.leaving.is_some() || daemon.lists.is_changing();
        daemon.decides = flows.into_iter().chain(waits.then(|| now + INTERVAL)).min();
        let done = installed && daemon.installing.is_none() && settled(&others);
        let stays = self.announces && daemon.said_rules && daemon.decides.is_none();
        daemon.decided = (done && stays).then_some(daemon.macs);
        daemon.others = others;
        self.send(&mut effects, world);
        effects
    }

    /// Sends the heartbeats that are due.
    fn send(&mut self, effects: &mut Vec<Effect>, world: &mut World<'_>) {
        let now = world.now;
        let Some(daemon) = &mut self.daemon else { return };
        let facts = Facts {
            interval: INTERVAL,
            rules: if daemon.said_rules { V4 } else { Families::NONE },
            presence: daemon.leaving.as_ref().map_or(MemberPresence::Here, Leaving::presence),
            switched_off: false,
            next_hops: NextHops {
                v4: Some(Ipv4Addr::new(10, 0, 1, u8::try_from(self.index + 1).unwrap())),
                v6: None,
            },
            members: self.digest,
            services: ListDigest::default(),
        };
        let left = daemon.lists.left(INTERVAL, now);
        daemon.said_left = HostSet::of(daemon.said_left.iter().filter(|host| left.contains(&address(*host))));
        let mut deadline = daemon.decides;
        for peer in daemon.peers.iter_mut() {
            if peer.due() <= now {
                let member = peer.address();
                let other = index(member);
                while let Some(header) = peer.transmit(now) {
                    // The kernel has to know where to send it.
                    if !daemon.macs.has(other) {
                        world.network.ask(self.index, other, world.powered[other], now, world.luck);
                    }
                    let known = peer.state().lives();
                    let presence = if left.contains(&member) { MemberPresence::Left } else { facts.presence };
                    if left.contains(&member) && daemon.said_left.insert(other) {
                        effects.push(Effect::SaidLeft(member));
                    }
                    let facts = Facts { presence, ..facts };
                    let heartbeat = heartbeat(header, facts, self.rules.as_ref(), known);
                    world.network.send(self.index, other, heartbeat, now, world.luck);
                }
            }
            let next = peer.due();
            deadline = Some(deadline.map_or(next, |deadline| deadline.min(next)));
        }
        self.deadline = deadline;
    }
}

fn heartbeat(header: Header, facts: Facts, rules: Option<&Rules>, known: bool) -> Heartbeat {
    let receiver = header.receiver;
    let about_receiver = AboutReceiver {
        in_ring: rules.map_or(Families::NONE, |rules| rules.ring.has(receiver)),
        believed: if rules.is_some_and(|rules| rules.believed.has(index(receiver))) {
            V4
        } else {
            Families::NONE
        },
        known,
    };
    let test_packets = TestPacketReport::default();
    Heartbeat { header, facts, test_packets, about_receiver, answer: None, intent: None, vips: Vec::new() }
}
