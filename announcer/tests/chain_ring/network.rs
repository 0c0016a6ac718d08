//! The segment between the hosts: loss, delay, order and copies of heartbeats, and questions to kernels; and somebody without the key
//! who records heartbeats and sends them again later.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use announcer::chain::heartbeat::Heartbeat;

use crate::host::MOST_AGE;

/// The longest delay of a datagram.
pub const LONGEST_DELAY: Duration = Duration::from_millis(15);

/// How many heartbeats are recorded at most.
const MAX_RECORDED: usize = 64;

/// A heartbeat that was sent.
#[derive(Debug)]
pub struct Sent {
    pub from: usize,
    pub at: Instant,
    pub heartbeat: Heartbeat,
    /// Whether it has counted at its receiver.
    pub counted: Cell<bool>,
}

/// A heartbeat that somebody without the key has recorded.
#[derive(Debug, Clone)]
struct Recorded {
    to: usize,
    sent: Rc<Sent>,
    /// Whether its receiver has not got it.
    held: bool,
}

/// What arrives at a host.
#[derive(Debug, Clone)]
pub enum Arrival {
    Heartbeat(Rc<Sent>),
    KernelAnswer {
        of: usize,
    },
    /// The rules of the daemon of this number are installed.
    Installed {
        daemon: u128,
    },
}

#[derive(Debug)]
struct Queued {
    at: Instant,
    order: u64,
    to: usize,
    what: Arrival,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

pub struct Network {
    queue: BinaryHeap<Reverse<Queued>>,
    order: u64,
    /// How many of 100 datagrams are lost, as far as `bounded` allows.
    pub loss: u32,
    /// Whether of three datagrams in a row between two hosts at least one arrives.
    pub bounded: bool,
    /// How many were lost in a row, from each host to each other, for heartbeats and for questions.
    lost: Vec<[u8; 2]>,
    count: usize,
    /// The side of each host; hosts of different sides do not hear each other.
    pub sides: Vec<bool>,
    recorded: Vec<Recorded>,
}

impl Network {
    pub fn new(count: usize, loss: u32, bounded: bool) -> Self {
        Network {
            queue: BinaryHeap::new(),
            order: 0,
            loss,
            bounded,
            lost: vec![[0, 0]; count * count],
            count,
            sides: vec![false; count],
            recorded: Vec::new(),
        }
    }

    pub fn connected(&self, a: usize, b: usize) -> bool {
        self.sides[a] == self.sides[b]
    }

    fn arrives(&mut self, from: usize, to: usize, kind: usize, luck: &mut fastrand::Rng) -> bool {
        if !self.connected(from, to) {
            return false;
        }
        let lost = &mut self.lost[from * self.count + to][kind];
        let arrives = luck.u32(..100) >= self.loss || self.bounded && *lost == 2;
        *lost = if arrives { 0 } else { lost.saturating_add(1) };
        arrives
    }

    pub fn send(
        &mut self,
        from: usize,
        to: usize,
        heartbeat: Heartbeat,
        now: Instant,
        luck: &mut fastrand::Rng,
    ) {
        let arrives = self.arrives(from, to, 0, luck);
        let sent = Rc::new(Sent { from, at: now, heartbeat, counted: Cell::new(false) });
        let copies = match arrives {
            false => 0,
            true if luck.u8(..20) == 0 => 2,
            true => 1,
        };
        for _ in 0..copies {
            self.put(now + delay(luck), to, Arrival::Heartbeat(Rc::clone(&sent)));
        }
        if luck.u8(..16) == 0 {
            let recorded = Recorded { to, sent, held: !arrives };
            if self.recorded.len() < MAX_RECORDED {
                self.recorded.push(recorded);
            } else {
                self.recorded[luck.usize(..MAX_RECORDED)] = recorded;
            }
        }
    }

    /// Sends a recorded heartbeat again. One that was held back is sent when it is too old to count: before that nobody can tell it from a
    /// late one.
    pub fn replay(&mut self, now: Instant, luck: &mut fastrand::Rng) {
        let Some(Recorded { to, sent, held }) = luck.choice(&self.recorded).cloned() else { return };
        if !held || now > sent.at + MOST_AGE {
            self.put(now + delay(luck), to, Arrival::Heartbeat(sent));
        }
    }

    /// A question to the kernel of `to`, which answers if `lives`.
    pub fn ask(&mut self, from: usize, to: usize, lives: bool, now: Instant, luck: &mut fastrand::Rng) {
        if self.arrives(from, to, 1, luck) && lives {
            self.put(now + delay(luck), from, Arrival::KernelAnswer { of: to });
        }
    }

    pub fn put(&mut self, at: Instant, to: usize, what: Arrival) {
        self.order += 1;
        self.queue.push(Reverse(Queued { at, order: self.order, to, what }));
    }

    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(queued)| queued.at)
    }

    pub fn arrive(&mut self, now: Instant) -> Option<(usize, Arrival)> {
        self.next().filter(|at| *at <= now)?;
        self.queue.pop().map(|Reverse(queued)| (queued.to, queued.what))
    }
}

fn delay(luck: &mut fastrand::Rng) -> Duration {
    Duration::from_micros(luck.u64(50..=u64::try_from(LONGEST_DELAY.as_micros()).unwrap()))
}
