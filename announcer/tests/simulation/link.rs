//! TCP between two hosts on a virtual clock: in order and complete, but late, cut into any pieces, stalled or reset.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// How many octets may be under way or unread in one direction: this is small, so that a reader that stops soon has an effect.
pub const WINDOW: u64 = 2048;
/// The wait before a lost segment is retransmitted.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Us,
    Router,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Us => Side::Router,
            Side::Router => Side::Us,
        }
    }
}

/// A segment of one connection, from one host's kernel to the other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Syn,
    SynAck,
    Data(Vec<u8>),
    /// How many octets have arrived, and how many of them were read, since the connection began.
    Ack {
        arrived: u64,
        read: u64,
    },
    Fin,
    Rst,
}

/// A segment under way.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrival {
    pub at: Instant,
    number: u64,
    pub to: Side,
    pub connection: u64,
    pub segment: Segment,
}

impl Ord for Arrival {
    /// The earliest arrival is the greatest, so that it is at the top of the heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The link: the segments under way, and its faults.
pub struct Link {
    under_way: BinaryHeap<Arrival>,
    number: u64,
    /// When the last segment of each direction arrives: the next is not before it.
    last: [Instant; 2],
    /// No segment arrives before this time.
    down_until: Instant,
    delay: Duration,
    /// The probability that a segment is lost at first.
    loss: f64,
}

impl Link {
    pub fn new(now: Instant, delay: Duration, loss: f64) -> Self {
        Link { under_way: BinaryHeap::new(), number: 0, last: [now; 2], down_until: now, delay, loss }
    }

    pub fn send(
        &mut self,
        to: Side,
        connection: u64,
        segment: Segment,
        now: Instant,
        luck: &mut fastrand::Rng,
    ) {
        let mut at = now.max(self.down_until) + self.delay.mul_f64(0.5 + luck.f64());
        if now < self.down_until {
            at += RETRANSMISSION;
        }
        // A segment is lost at most five times in a row, because a later segment would delay new connections.
        for again in [1, 2, 4, 8, 16] {
            if luck.f64() >= self.loss {
                break;
            }
            at += RETRANSMISSION * again;
        }
        let last = &mut self.last[to as usize];
        *last = at.max(*last);
        self.number += 1;
        self.under_way.push(Arrival { at: *last, number: self.number, to, connection, segment });
    }

    pub fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|arrival| arrival.at)
    }

    pub fn arrive(&mut self, now: Instant) -> Option<Arrival> {
        if self.next()? > now { None } else { self.under_way.pop() }
    }

    /// Takes the link down; segments under way arrive after that.
    pub fn down(&mut self, until: Instant) {
        self.down_until = self.down_until.max(until);
        let delayed: Vec<Arrival> = self.under_way.drain().collect();
        for mut arrival in delayed {
            arrival.at = arrival.at.max(until);
            self.last[arrival.to as usize] = self.last[arrival.to as usize].max(arrival.at);
            self.under_way.push(arrival);
        }
    }

    /// From now on nothing is lost. Returns when the link is up, if it is not.
    pub fn heal(&mut self) -> Instant {
        self.loss = 0.0;
        self.down_until
    }
}
