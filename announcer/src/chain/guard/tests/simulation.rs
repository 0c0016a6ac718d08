//! Hosts that want to drain at random times, with heartbeats that are lost: never fewer than `min_announcers` announce a VIP.

use std::collections::VecDeque;

use fastrand::Rng;

use super::*;

const TICK: Duration = Duration::from_millis(5);
const RUNS: u64 = 40;

/// A heartbeat on its way.
#[derive(Clone)]
struct Sent {
    arrives: Instant,
    from: usize,
    counter: u64,
    intent: Option<Intent>,
    answer: Option<IntentAnswer>,
    page: Vec<(IpAddr, MemberVipState)>,
}

/// What a host does about the drain that was allowed.
enum Act {
    Nothing,
    /// It withdraws these VIPs then.
    Withdraw(Instant, Vec<IpAddr>),
}

struct DrainingHost {
    guard: Guard,
    others: GuardMembers,
    vips: BTreeMap<IpAddr, MemberVipState>,
    said: (Option<Intent>, BTreeMap<IpAddr, IntentAnswer>),
    act: Act,
    inbox: Vec<Sent>,
    next: Instant,
    /// How many heartbeats to each other host were lost in a row, and how many were sent.
    lost: Vec<usize>,
    page: Vec<usize>,
    /// What it has asked for.
    wants: Vec<IpAddr>,
}

struct Site {
    luck: Rng,
    now: Instant,
    hosts: Vec<DrainingHost>,
    least: u32,
    /// How many heartbeats in a row are lost at most.
    losses: usize,
    allowed: u32,
    refused: u32,
}

fn address(host: usize) -> IpAddr {
    member(11 + u8::try_from(host).unwrap())
}

fn vip(index: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, 80 + u8::try_from(index).unwrap()])
}

impl Site {
    fn new(seed: u64) -> Site {
        let mut luck = Rng::with_seed(seed);
        let (count, now) = (luck.usize(3..=8), Instant::now());
        let least = luck.u32(1..u32::try_from(count).unwrap());
        let vips: BTreeMap<IpAddr, MemberVipState> =
            (0..3).map(|index| (vip(index), MemberVipState::Announced)).collect();
        let host = |own: usize| {
            let others = (0..count).filter(|other| *other != own);
            let known = |_| {
                let mut known = a_member("unsaid", now);
                let page: Vec<_> = vips.iter().map(|(vip, state)| (*vip, *state)).collect();
                known.vips.hear(HeartbeatStart::new(1).unwrap(), 0, None, &page);
                known
            };
            DrainingHost {
                guard: Guard::new(number(luck.u32(1..))),
                others: others.map(|other| (address(other), known(other))).collect(),
                vips: vips.clone(),
                said: (None, BTreeMap::new()),
                act: Act::Nothing,
                inbox: Vec::new(),
                next: now + Duration::from_millis(luck.u64(0..100)),
                lost: vec![0; count],
                page: vec![0; count],
                wants: Vec::new(),
            }
        };
        let hosts = (0..count).map(host).collect();
        // Of three in a row one arrives; and beyond what is required, members that are not heard for a second.
        let losses = if seed.is_multiple_of(2) { 2 } else { 10 };
        Site { luck, now, hosts, least, losses, allowed: 0, refused: 0 }
    }

    fn run(&mut self, seed: u64) {
        for _ in 0..2000 {
            self.now += TICK;
            for own in 0..self.hosts.len() {
                self.hear(own);
                self.want(own);
                self.act(own);
                self.step(own);
                self.send(own);
            }
            for index in 0..3 {
                let announce = |host: &&DrainingHost| host.vips[&vip(index)] == MemberVipState::Announced;
                let announcers = self.hosts.iter().filter(announce).count();
                assert!(
                    announcers >= self.least as usize,
                    "seed {seed}: {announcers} of {} announce {}, {} are needed",
                    self.hosts.len(),
                    vip(index),
                    self.least
                );
            }
        }
    }

    fn hear(&mut self, own: usize) {
        let (now, host) = (self.now, &mut self.hosts[own]);
        let arrived = host.inbox.extract_if(.., |sent| sent.arrives <= now).collect::<VecDeque<_>>();
        for Sent { from, counter, intent, answer, page, .. } in arrived {
            let member = host.others.get_mut(&address(from)).unwrap();
            member.last_heartbeat = Some(now);
            member.answer = answer;
            member.vips.hear(HeartbeatStart::new(1).unwrap(), counter, intent, &page);
        }
        for member in host.others.values_mut() {
            let silent = member.last_heartbeat.is_some_and(|at| now >= at + HEARTBEAT * 3);
            member.state = if silent { MemberState::Dead } else { MemberState::Alive };
        }
    }

    /// An operator drains VIPs that are announced, or ends a drain.
    fn want(&mut self, own: usize) {
        let host = &mut self.hosts[own];
        if host.guard.is_asking() || matches!(host.act, Act::Withdraw(..)) || self.luck.u8(0..60) != 0 {
            return;
        }
        let wanted: Vec<IpAddr> = (0..3).map(vip).filter(|_| self.luck.bool()).collect();
        if self.luck.bool() {
            let back = wanted.iter().filter(|vip| host.vips[*vip] == MemberVipState::Drained);
            let back: Vec<IpAddr> = back.copied().collect();
            host.vips.extend(back.into_iter().map(|vip| (vip, MemberVipState::Announced)));
            return;
        }
        host.wants = wanted.into_iter().filter(|vip| host.vips[vip] == MemberVipState::Announced).collect();
        if !host.wants.is_empty() {
            let need = CapacityNeed { service: "www".parse().unwrap(), least: self.least };
            let needs = host.wants.iter().map(|vip| (*vip, need.clone())).collect();
            host.guard.ask(IntentKind::Drain, needs, HEARTBEAT, self.now);
        }
    }

    /// What was allowed is done a moment later; sometimes it fails.
    fn act(&mut self, own: usize) {
        let host = &mut self.hosts[own];
        if let Act::Withdraw(at, vips) = &host.act
            && *at <= self.now
        {
            if self.luck.u8(0..10) != 0 {
                host.vips.extend(vips.iter().map(|vip| (*vip, MemberVipState::Drained)));
            }
            host.guard.carried_out(HEARTBEAT * 20, self.now);
            host.act = Act::Nothing;
        }
    }

    fn step(&mut self, own: usize) {
        let (now, host) = (self.now, &mut self.hosts[own]);
        let vips = host.vips.clone();
        let advertised = |vip: IpAddr| vips[&vip] == MemberVipState::Announced;
        let step = host.guard.step(address(own), &host.others, advertised, HEARTBEAT, now);
        match step.decided {
            Some(Ok(())) => {
                let at = now + Duration::from_millis(self.luck.u64(0..300));
                host.act = Act::Withdraw(at, std::mem::take(&mut host.wants));
                self.allowed += 1;
            }
            Some(Err(_)) => self.refused += 1,
            None => {}
        }
        let said = (step.intent, step.answers);
        if said != host.said {
            host.next = now; // what has changed is said at once
            host.said = said;
        }
    }

    /// A heartbeat to each other host, about one VIP.
    fn send(&mut self, own: usize) {
        if self.now < self.hosts[own].next {
            return;
        }
        self.hosts[own].next += HEARTBEAT;
        for to in (0..self.hosts.len()).filter(|to| *to != own) {
            let host = &mut self.hosts[own];
            let next = vip(host.page[to] % 3);
            host.page[to] += 1;
            let sent = Sent {
                arrives: self.now + Duration::from_millis(self.luck.u64(0..=10)),
                from: own,
                counter: host.page[to] as u64,
                intent: host.said.0.clone(),
                answer: host.said.1.get(&address(to)).copied(),
                page: vec![(next, host.vips[&next])],
            };
            if host.lost[to] < self.losses && self.luck.u8(0..3) != 0 {
                host.lost[to] += 1;
                continue;
            }
            host.lost[to] = 0;
            // In order: a heartbeat whose counter has not grown does not count.
            let late =
                self.hosts[to].inbox.iter().filter(|other| other.from == own).map(|other| other.arrives);
            let arrives = late.max().map_or(sent.arrives, |late| late.max(sent.arrives));
            self.hosts[to].inbox.push(Sent { arrives, ..sent });
        }
    }
}

#[test]
fn drains_never_leave_fewer_than_needed() {
    let (mut allowed, mut refused) = (0, 0);
    for seed in 0..RUNS {
        let mut site = Site::new(seed);
        site.run(seed);
        allowed += site.allowed;
        refused += site.refused;
    }
    assert!(allowed > 200 && refused > 200, "the simulation tests something: {allowed} {refused}");
}
