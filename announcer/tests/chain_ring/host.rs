//! One host: its kernel with the installed rules, and its daemon, which is wired as the real one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use announcer::chain::heartbeat::{
    AboutReceiver, Facts, Families, Header, Heartbeat, HeartbeatDropReason, HeartbeatStart, ListDigest,
    MemberPresence, NextHops,
};
use announcer::chain::member::{Member, MemberSettings, MemberState, RETURN_WINDOW};
use announcer::chain::ring::{
    Believed, Leaving, LeavingStep, MemberObservation, Own, Ring, StartWait, may_join, settled, start_wait,
};
use announcer::chain::test_packets::TestPacketReport;

use crate::network::{Arrival, Network};

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

    pub fn has(self, host: usize) -> bool {
        self.0 & 1 << host != 0
    }

    pub fn overlaps(self, other: HostSet) -> bool {
        self.0 & other.0 != 0
    }

    fn iter(self) -> impl Iterator<Item = usize> {
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
    pub daemon: Option<Daemon>,
    pub announces: bool,
    /// Whether it may own flows: it has announced since it was powered on, and its rules were not removed.
    pub owns: bool,
    pub list: Vec<IpAddr>,
    /// Whether it has left and removed its rules.
    pub gone: bool,
    /// Whom its last daemon had never heard when it removed the rules.
    pub unheard: HostSet,
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
    pub members: BTreeMap<IpAddr, Member>,
    believed: Believed,
    /// Whose MAC addresses are known.
    macs: HostSet,
    installing: Option<Rules>,
    said_rules: bool,
    pub leaving: Option<Leaving>,
    /// When it decides next, if nothing changes before.
    decides: Option<Instant>,
}

/// What a host does that others notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Announced { late: bool },
    Gone,
    Dropped(IpAddr),
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
            daemon: None,
            announces: false,
            owns: false,
            gone: false,
            unheard: HostSet::default(),
            list,
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

    /// Whether it says that it has left.
    pub fn has_left(&self) -> bool {
        let leaving = self.daemon.as_ref().and_then(|daemon| daemon.leaving);
        leaving.is_some_and(|leaving| leaving.presence() == MemberPresence::Left)
    }

    /// The daemon begins, with the rules of a former one if there are any.
    pub fn start(&mut self, number: u128, world: &mut World<'_>) -> Vec<Effect> {
        self.powered = true;
        (self.down, self.flows_end, self.gone) = (None, None, false);
        let mut believed = Believed::default();
        let macs = self.rules.as_ref().map(|rules| rules.believed).unwrap_or_default();
        believed.update(macs.iter().map(address), world.now);
        self.daemon = Some(Daemon {
            number,
            began: world.now,
            members: BTreeMap::new(),
            believed,
            macs,
            installing: None,
            said_rules: self.rules.is_some(),
            leaving: None,
            decides: None,
        });
        self.reload(self.list.clone(), world)
    }

    /// The daemon gets a list.
    pub fn reload(&mut self, list: Vec<IpAddr>, world: &mut World<'_>) -> Vec<Effect> {
        self.list = list;
        let own = self.own();
        let Some(daemon) = &mut self.daemon else { return Vec::new() };
        let others: Vec<IpAddr> = self.list.iter().copied().filter(|member| *member != own).collect();
        daemon.members.retain(|member, _| others.contains(member));
        daemon.believed.update(others.iter().copied(), world.now);
        for member in others {
            let settings = MemberSettings { own, member, interval: INTERVAL };
            daemon.members.entry(member).or_insert_with(|| {
                Member::new(settings, HeartbeatStart::new(world.luck.u128(1..)).unwrap(), world.now)
            });
        }
        self.turn(world)
    }

    pub fn arrive(&mut self, what: &Arrival, world: &mut World<'_>) -> Vec<Effect> {
        let Some(daemon) = &mut self.daemon else { return Vec::new() };
        match what {
            Arrival::Heartbeat(sent) => {
                let heard = daemon.macs.insert(sent.from);
                let Some(member) = daemon.members.get_mut(&address(sent.from)) else { return Vec::new() };
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
                    self.send(world);
                    return Vec::new();
                }
            }
            Arrival::KernelAnswer { of } => {
                let new = daemon.macs.insert(*of);
                let Some(member) = daemon.members.get_mut(&address(*of)) else { return Vec::new() };
                if member.kernel_answered(world.now).is_none() && !new {
                    return Vec::new();
                }
            }
            Arrival::Installed { daemon: number } if *number == daemon.number => {
                self.rules = daemon.installing.take();
                self.changed = true;
                daemon.members.values_mut().for_each(Member::hurry);
            }
            Arrival::Installed { .. } => return Vec::new(),
        }
        self.turn(world)
    }

    /// One turn of the daemon: expire, ask, decide, install, send.
    pub fn turn(&mut self, world: &mut World<'_>) -> Vec<Effect> {
        let (own, now) = (self.own(), world.now);
        let Some(daemon) = &mut self.daemon else { return Vec::new() };
        let mut effects = Vec::new();
        for (address, member) in &mut daemon.members {
            let change = member.expire(now);
            if change.is_some_and(|change| change.to == MemberState::Dead) {
                effects.push(Effect::Dropped(*address));
            }
            if member.ask(now) {
                let other = index(*address);
                world.network.ask(self.index, other, world.powered[other], now, world.luck);
            }
        }
        daemon.believed.expire(now);
        let others: BTreeMap<IpAddr, MemberObservation> = daemon
            .members
            .iter()
            .map(|(address, member)| (*address, MemberObservation::of(member, now)))
            .collect();
        let presence = daemon.leaving.as_ref().map_or(MemberPresence::Here, Leaving::presence);
        let us = Own { address: own, wanted: V4, switched_off: false, presence };
        let limit = daemon.began + START_WAIT;

        // The rules.
        let mut believed = HostSet::default();
        for member in daemon.believed.iter().map(index).filter(|member| daemon.macs.has(*member)) {
            believed.insert(member);
        }
        let want = Rules { ring: Ring::new(&self.list, &us, &others), believed };
        if daemon.installing.is_none() && settled(&others) && self.rules.as_ref() != Some(&want) {
            let time = Duration::from_micros(world.luck.u64(3_000..30_000));
            world.network.put(now + time, self.index, Arrival::Installed { daemon: daemon.number });
            daemon.installing = Some(want);
        }
        if let Some(rules) = &self.rules
            && !daemon.said_rules
            && may_join(&us, &rules.ring, &others, now, limit)
        {
            daemon.said_rules = true;
            daemon.members.values_mut().for_each(Member::hurry);
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
                daemon.members.values_mut().for_each(Member::hurry);
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
                (self.rules, self.daemon, self.gone) = (None, None, true);
                effects.push(Effect::Gone);
                return effects;
            }
        }

        let flows = self.flows_end.filter(|end| *end > now);
        daemon.decides = flows.into_iter().chain(daemon.leaving.map(|_| now + INTERVAL)).min();
        self.send(world);
        effects
    }

    /// Sends the heartbeats that are due.
    fn send(&mut self, world: &mut World<'_>) {
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
            members: ListDigest::default(),
            services: ListDigest::default(),
        };
        let mut deadline = daemon.decides;
        for (address, member) in &mut daemon.members {
            let other = index(*address);
            while let Some(header) = member.transmit(now) {
                // The kernel has to know where to send it.
                if !daemon.macs.has(other) {
                    world.network.ask(self.index, other, world.powered[other], now, world.luck);
                }
                let known = member.state().lives();
                let heartbeat = heartbeat(header, facts, self.rules.as_ref(), known);
                world.network.send(self.index, other, heartbeat, now, world.luck);
            }
            let next = member.deadline();
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
