//! Connects two state machines on a virtual clock: ours, with the director, and a router's. Between them there are loss, delay,
//! resets, power cuts, readers that stop, and random octets. Probes, drains, reloads and lost VIPs come in any order, and their
//! sources hang for some time. Our process is killed, and the next one takes the session over. At every step of every seed, these properties are checked:
//!
//! - Up and Down alternate; nothing is sent without TCP; a deadline that is reached changes; a wanted session always has a deadline
//!   or a connection.
//! - Exactly the healthy VIPs are announced, according to an oracle that uses the whole history.
//! - A reload is refused exactly if it would withdraw every announced VIP, or end a drain.
//! - A router that has read all messages has exactly the Loc-RIB, with all attributes, according to its own decoder.
//! - When no more faults happen, the session is established again, and stays up.
//!
//! `SEEDS=1000000 cargo test --profile simulation --test simulation` runs more seeds. A seed that fails is printed, and `SEED=n` runs only
//! that seed and prints every event.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(unreachable_pub, reason = "the modules of a test are nobody else's")]

#[path = "simulation/health.rs"]
mod health;
#[path = "simulation/link.rs"]
mod link;
#[path = "simulation/oracle.rs"]
mod oracle;
mod seeds;
#[path = "simulation/speaker.rs"]
mod speaker;
#[path = "simulation/table.rs"]
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use announcer::bgp::fsm::{Event, StateName, Timers};
use announcer::bgp::open::Offer;
use announcer::model::{Asn, Family, PeerAsn, RouterId};
use announcer::rib::LocRib;
use health::Health;
use link::{Link, Segment, Side};
use seeds::RunCounts;
use speaker::{HEALED, Speaker, World, shutdown};

/// The number of seeds in a normal run of the tests.
const USUAL: u64 = 2000;

#[test]
fn two_machines_keep_their_promises_whatever_happens() {
    let Some((seeds, sum)) = seeds::run(USUAL, |seed, trace| Simulation::new(seed, trace).run()) else {
        return;
    };
    // The checks are only useful if enough events happened.
    assert!(sum.sessions > seeds && sum.updates > 3 * seeds && sum.held > 10 * seeds, "{sum:?}");
    assert!(sum.taken_over > seeds / 4, "{sum:?}");
    assert!(sum.reloads > seeds && sum.refused > seeds / 4 && sum.lapsed > seeds / 4, "{sum:?}");
}

/// Counters of what happened in all runs.
#[derive(Debug, Default)]
struct EventCounts {
    /// Sessions that were established on our side.
    sessions: u64,
    /// UPDATEs that we sent.
    updates: u64,
    /// How often a router's table was compared with the Loc-RIB.
    held: u64,
    /// Reloads that were made, and that were refused.
    reloads: u64,
    refused: u64,
    /// How often leases ended.
    lapsed: u64,
    /// How often our process was killed, and how often its session was up then.
    crashes: u64,
    taken_over: u64,
    /// Events of all kinds.
    events: u64,
    /// Virtual time.
    lived: Duration,
}

impl RunCounts for EventCounts {
    fn add(&mut self, other: &EventCounts) {
        self.sessions += other.sessions;
        self.updates += other.updates;
        self.held += other.held;
        self.reloads += other.reloads;
        self.refused += other.refused;
        self.lapsed += other.lapsed;
        self.crashes += other.crashes;
        self.taken_over += other.taken_over;
        self.events += other.events;
        self.lived += other.lived;
    }
}

struct Simulation {
    luck: fastrand::Rng,
    began: Instant,
    now: Instant,
    link: Link,
    connections: u64,
    us: Speaker,
    router: Speaker,
    health: Health,
    /// When the router or our side is restarted, and when the router's reader continues.
    restart: [Option<Instant>; 2],
    wakes: Option<Instant>,
    /// Whether the router's stream may have an incomplete message.
    garbled: bool,
    sum: EventCounts,
    trace: bool,
}

fn offer(asn: u32, peer: u32, id: [u8; 4], luck: &mut fastrand::Rng) -> Offer {
    let hold_time = [0, 3, 9, 9, 90][luck.usize(..5)];
    let families = [&[Family::V4, Family::V6][..], &[Family::V4], &[Family::V6]][luck.usize(..4) % 3];
    Offer {
        asn: Asn::try_from(asn).unwrap(),
        router_id: RouterId::try_from(std::net::Ipv4Addr::from(id)).unwrap(),
        hold_time,
        min_hold_time: 0,
        families: families.iter().copied().collect(),
        peer_asn: PeerAsn::Is(Asn::try_from(peer).unwrap()),
        capabilities: true,
        extended_next_hop: false,
        restart: None,
    }
}

impl Simulation {
    fn new(seed: u64, trace: bool) -> Self {
        let mut luck = fastrand::Rng::with_seed(seed);
        let now = Instant::now();
        let asn = if luck.bool() { 65001 } else { 400_001 };
        let peer = if luck.u8(..4) == 0 { asn } else { 65000 };
        let mut ours = offer(asn, peer, [10, 0, 1, 11], &mut luck);
        ours.families = [Family::V4, Family::V6].into();
        let theirs = offer(peer, asn, [10, 9, 9, 9], &mut luck);
        let timers = |hold: u16| Timers::new(Duration::from_secs(480.max(2 * u64::from(hold))));
        let send_hold = Duration::from_secs([20, 480][luck.usize(..2)]);
        let us = Timers { send_hold, ..timers(ours.hold_time) };
        // A router listens when it is ready.
        let router = Timers { connect: Duration::from_secs(3600), ..timers(theirs.hold_time) };
        let loss = [0.0, 0.02, 0.2][luck.usize(..3)];
        let delay = Duration::from_micros(luck.u64(50..100_000));
        let user_timeout = luck.bool();
        Simulation {
            began: now,
            now,
            link: Link::new(now, delay, loss),
            connections: 0,
            us: Speaker::new(Side::Us, ours, us, user_timeout),
            router: Speaker::new(Side::Router, theirs, router, user_timeout),
            health: Health::new(now, &mut luck),
            restart: [None, None],
            wakes: None,
            garbled: false,
            sum: EventCounts::default(),
            luck,
            trace,
        }
    }

    fn run(mut self) -> EventCounts {
        self.router.rib = Arc::new(LocRib {
            generation: 1,
            complete: true,
            caused: None,
            routes: [("198.51.100.0/24".parse().unwrap(), Default::default())].into(),
            ..Default::default()
        });
        self.on(Side::Router, Speaker::start);
        self.on(Side::Us, Speaker::start);
        self.health.appear(self.now, &mut self.luck);
        for _ in 0..self.luck.u32(20..80) {
            let pause = Duration::from_micros(1 << self.luck.u32(8..22));
            self.live_until(self.now + pause, |_| false);
            self.befall();
            self.settle();
        }
        self.heal();
        self.quiet();
        if self.luck.u8(..4) == 0 {
            self.end();
        }
        self.sum.sessions = self.us.ups;
        self.sum.updates = self.us.updates;
        self.sum.reloads = self.health.reloads;
        self.sum.refused = self.health.refused;
        self.sum.lapsed = self.health.lapsed;
        self.sum.lived = self.now - self.began;
        self.sum
    }

    /// Runs the simulation until `end`, or until `enough` is true.
    fn live_until(&mut self, end: Instant, enough: impl Fn(&Self) -> bool) -> bool {
        while !enough(self) {
            let mut times: Vec<Instant> = [
                self.link.next(),
                self.us.deadline(),
                self.router.deadline(),
                self.wakes,
                self.health.next(),
            ]
            .into_iter()
            .chain(self.restart)
            .flatten()
            .collect();
            times.sort();
            match times.first() {
                Some(next) if *next <= end => self.now = self.now.max(*next),
                _ => {
                    self.now = self.now.max(end);
                    return false;
                }
            }
            self.happen();
            self.settle();
        }
        true
    }

    /// Executes the event that is due first.
    fn happen(&mut self) {
        self.sum.events += 1;
        if let Some(arrival) = self.link.arrive(self.now) {
            if self.trace {
                eprintln!(
                    "{:?} {:?} <- #{} {:?}",
                    self.now - self.began,
                    arrival.to,
                    arrival.connection,
                    arrival.segment
                );
            }
            return self.on(arrival.to, |speaker, world| {
                speaker.arrived(arrival.connection, arrival.segment, world);
            });
        }
        if self.health.next().is_some_and(|at| at <= self.now) {
            return self.health.happen(self.now, &mut self.luck);
        }
        if self.wakes.is_some_and(|at| at <= self.now) {
            self.wakes = None;
            return self.on(Side::Router, Speaker::wake);
        }
        for who in [Side::Us, Side::Router] {
            if self.restart[who as usize].is_some_and(|at| at <= self.now) {
                self.restart[who as usize] = None;
                return self.on(who, Speaker::start);
            }
            if self.speaker(who).deadline().is_some_and(|at| at <= self.now) {
                return self.on(who, Speaker::expire);
            }
        }
    }

    /// Lets each speaker act after an event, and checks the properties.
    fn settle(&mut self) {
        let rib = self.health.rib(self.now);
        if self.us.rib.generation != rib.generation {
            self.us.rib = rib;
            if let Some(routes) = &mut self.us.routes {
                routes.stale = true;
            }
        }
        let healthy = self.health.healthy();
        self.us.fill(&healthy);
        self.router.fill(&healthy);
        self.on(Side::Us, Speaker::flush);
        self.on(Side::Router, Speaker::flush);
        self.hold();
    }

    /// Checks that a router that has read all messages has the Loc-RIB.
    fn hold(&mut self) {
        let same = |router: &speaker::Tcp| self.us.tcp.as_ref().is_some_and(|us| us.id == router.id);
        let joined = self.router.tcp.as_ref().is_some_and(same) && self.router.routes.is_some();
        if !joined || !self.us.heard_out() {
            return;
        }
        assert!(self.us.acknowledged(), "what was read was acknowledged");
        let families = self.families();
        let known = &self.router.table.routes;
        let mut count = 0;
        for (prefix, attributes) in &self.us.rib.routes {
            let Some(next_hop) = families.get(&Family::of(prefix.addr())) else { continue };
            let communities = attributes.communities.iter().map(|community| community.0).collect();
            let want = (next_hop.parse().unwrap(), attributes.med, communities);
            assert_eq!(known.get(prefix), Some(&want), "{prefix}");
            count += 1;
        }
        assert_eq!(known.len(), count, "the router knows {known:?}, we want {:?}", self.us.rib.routes);
        let ended = if self.us.rib.complete { families.len() } else { self.router.table.ended.len() };
        assert_eq!(self.router.table.ended.len(), ended, "End-of-RIB for each family");
        self.sum.held += 1;
    }

    /// The families of the session, with our next hops.
    fn families(&self) -> BTreeMap<Family, &'static str> {
        let next_hops = [(Family::V4, "10.0.1.11"), (Family::V6, "2001:db8:1::11")];
        next_hops.into_iter().filter(|(family, _)| self.router.speaks(*family)).collect()
    }

    /// Makes a random fault or repair.
    fn befall(&mut self) {
        let now = self.now;
        let soon = Duration::from_millis(self.luck.u64(1..30_000));
        match self.luck.u8(..27) {
            0 => self.link.down(now + soon),
            1 => self.reset(&[Side::Us, Side::Router]),
            2 => self.reset(&[Side::Us]),
            3 => self.reset(&[Side::Router]),
            4 => {
                self.router.lose_power();
                self.restart[Side::Router as usize] = Some(now + soon);
            }
            5 => self.stop(Side::Router, soon),
            6 => self.stop(Side::Us, soon),
            7 => {
                self.router.stuck = true;
                self.wakes = Some(now + soon * self.luck.u32(1..20));
            }
            8 => {
                self.on(Side::Us, |us, world| us.handle(Event::LivenessLost { wait: Duration::ZERO }, world))
            }
            // Mostly when there is something to take over.
            24..=26 if self.us.state.name() == StateName::Established || self.luck.u8(..6) == 0 => {
                self.crash()
            }
            9 => self.garble(),
            10..=12 => self.chat(),
            _ => (0..self.luck.u8(1..5)).for_each(|_| self.health.befall(now, &mut self.luck)),
        }
    }

    /// Our process is killed at any moment, and the next one begins at once.
    fn crash(&mut self) {
        self.sum.crashes += 1;
        self.sum.taken_over += u64::from(self.us.state.name() == StateName::Established);
        let ups = self.us.ups;
        self.health.crash(self.now);
        self.us.rib = self.health.rib(self.now);
        self.on(Side::Us, Speaker::crash);
        self.router.table.taken_over = true;
        assert_eq!(self.us.ups, ups, "a session that continues does not come up again");
    }

    fn reset(&mut self, whom: &[Side]) {
        let ids = [&self.us, &self.router].map(|speaker| speaker.tcp.as_ref().map(|tcp| tcp.id));
        for who in whom {
            if let Some(id) = ids[*who as usize] {
                self.on(*who, |speaker, world| speaker.arrived(id, Segment::Rst, world));
            }
        }
    }

    fn stop(&mut self, who: Side, pause: Duration) {
        self.on(who, |speaker, world| speaker.stop(shutdown(), world));
        self.restart[who as usize] = Some(self.now + pause);
    }

    /// The router sends a malformed message.
    fn garble(&mut self) {
        let mut octets = vec![0xff; 16];
        octets.extend([0, self.luck.u8(19..40), self.luck.u8(..7)]);
        octets.extend((0..self.luck.usize(..40)).map(|_| self.luck.u8(..)));
        self.router.say(&octets);
        self.garbled = true;
    }

    /// The router sends a valid message.
    fn chat(&mut self) {
        if self.router.state.name() != StateName::Established {
            return;
        }
        let body: &[&[u8]] = &[
            &[0, 23, 5, 0, 1, 0, 1],
            &[0, 23, 5, 0, 2, 0, 1],
            &[0, 23, 5, 0, 25, 0, 70],
            &[0, 19, 4],
            &[0, 28, 2, 0, 0, 0, 0, 24, 198, 51, 100, 0][..11],
            &[0, 27, 2, 0, 0, 0, 4, 0x40, 2, 9, 9],
        ];
        let body = body[self.luck.usize(..body.len())];
        let length = u8::try_from(16 + body.len()).unwrap();
        let message = [&[0xff; 16][..], &[0, length], &body[2..]].concat();
        self.router.say(&message);
    }

    /// From now on no faults happen.
    fn heal(&mut self) {
        let up = self.link.heal();
        self.live_until(up, |_| false);
        self.wakes = self.wakes.map(|_| self.now);
        self.health.heal(self.now, &mut self.luck);
        for who in [Side::Us, Side::Router] {
            let again = self.restart[who as usize].take();
            if again.is_some() && !self.speaker(who).wanted {
                self.on(who, Speaker::start);
            }
        }
        if self.garbled {
            self.reset(&[Side::Us, Side::Router]);
        }
        // With a hold time of zero, a router that died without a message is not noticed. This is the meaning of zero.
        let joined = self.us.tcp.as_ref().map(|tcp| tcp.id) == self.router.tcp.as_ref().map(|tcp| tcp.id);
        if !joined && self.us.holds_for_ever() {
            self.reset(&[Side::Us]);
        }
        self.settle();
    }

    /// Checks that the session is established again, that the router has all routes, and that this stays so.
    fn quiet(&mut self) {
        let whole = |world: &Self| {
            let both = [&world.us, &world.router].iter().all(|s| s.state.name() == StateName::Established);
            both && world.us.heard_out() && world.router.heard_out()
        };
        assert!(self.live_until(self.now + HEALED, whole), "the session does not come back: {}", self.tell());
        let ups = self.us.ups;
        self.live_until(self.now + Duration::from_secs(10), |_| false);
        assert!(self.live_until(self.now + HEALED, whole), "it is not whole again: {}", self.tell());
        assert_eq!(self.us.ups, ups, "a session with nothing against it stays");
    }

    /// A stop: withdrawn first, then closed.
    fn end(&mut self) {
        self.health.stop(self.now);
        self.settle();
        assert!(self.us.rib.routes.is_empty());
        assert!(self.live_until(self.now + HEALED, |world| world.us.heard_out()), "{}", self.tell());
        assert!(self.router.table.routes.is_empty(), "withdrawn before the session ends");
        self.on(Side::Us, |us, world| us.stop(shutdown(), world));
        self.live_until(self.now + Duration::from_secs(10), |_| false);
        assert_eq!((self.us.state.name(), self.us.deadline()), (StateName::Idle, None));
        assert!(self.router.state.name() != StateName::Established);
    }

    fn tell(&self) -> String {
        format!("we are {:?}, the router is {:?}", self.us.state, self.router.state)
    }

    fn speaker(&self, who: Side) -> &Speaker {
        match who {
            Side::Us => &self.us,
            Side::Router => &self.router,
        }
    }

    fn on(&mut self, who: Side, act: impl FnOnce(&mut Speaker, &mut World)) {
        let mut world = World {
            link: &mut self.link,
            luck: &mut self.luck,
            now: self.now,
            connections: &mut self.connections,
            trace: self.trace,
        };
        match who {
            Side::Us => act(&mut self.us, &mut world),
            Side::Router => act(&mut self.router, &mut world),
        }
    }
}
