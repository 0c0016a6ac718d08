//! The octets on their way to a peer, and which generation of the Loc-RIB they carry.
//!
//! Pure. Offsets count from the connection's first octet. A generation is acknowledged once the peer's kernel has
//! acknowledged the last octet of its UPDATEs.

use std::collections::VecDeque;
use std::time::Instant;

use crate::model::Generation;

/// A bounded buffer of octets: who fills it asks [`Outbox::has_room`] first.
#[derive(Debug, Default)]
pub struct Outbox {
    octets: Vec<u8>,
    /// How many of `octets` the kernel took.
    taken: usize,
    /// How many octets the kernel took before them.
    before: u64,
    /// Where the last UPDATE ends.
    updates_end: u64,
    acknowledged: u64,
    /// What holds once the octets up to an offset are acknowledged; offsets and generations rise.
    marks: VecDeque<(u64, AckPosition)>,
    position: AckPosition,
    /// Where UPDATEs end whose cause was known at a time, until the kernel takes them; both rise.
    causes: VecDeque<(u64, Instant)>,
}

/// How far the peer's kernel has acknowledged the Loc-RIB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckPosition {
    /// Up to which generation.
    pub generation: Generation,
    /// How many prefixes that is.
    pub prefixes: usize,
}

/// With more than this unsent, no further UPDATEs are made: the Loc-RIB goes on changing, and the peer later gets the
/// difference.
const ROOM: usize = 64 * 1024;

impl Outbox {
    /// Whether further UPDATEs may be appended.
    pub fn has_room(&self) -> bool {
        self.unsent().len() < ROOM
    }

    /// What the kernel has not taken.
    pub fn unsent(&self) -> &[u8] {
        self.octets.get(self.taken..).unwrap_or_default()
    }

    /// Where messages are appended to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.taken == self.octets.len() || self.taken >= ROOM {
            self.before += self.taken as u64;
            self.octets.drain(..self.taken);
            self.octets.shrink_to(ROOM);
            self.taken = 0;
        }
        &mut self.octets
    }

    /// All that was appended so far ends with the UPDATEs after which the peer has `position`. Call it with
    /// `Updates` after appending them, with `Nothing` when there were none to append.
    pub fn mark(&mut self, position: AckPosition, change: OutboxChange) {
        if change == OutboxChange::Updates {
            self.updates_end = self.before + self.octets.len() as u64;
        }
        match self.marks.back_mut() {
            Some((offset, last)) if *offset == self.updates_end => *last = position,
            _ => self.marks.push_back((self.updates_end, position)),
        }
        self.settle();
    }

    /// What was appended last tells of a fact that was known at `at`.
    pub fn mark_cause(&mut self, at: Instant) {
        self.causes.push_back((self.before + self.octets.len() as u64, at));
    }

    /// When the next fact was known whose UPDATEs the kernel has taken; `None`: there is none.
    pub fn written_for(&mut self) -> Option<Instant> {
        let (offset, at) = *self.causes.front()?;
        (offset <= self.written()).then(|| {
            self.causes.pop_front();
            at
        })
    }

    /// The kernel took this many octets.
    pub fn took(&mut self, count: usize) {
        self.taken = self.octets.len().min(self.taken + count);
    }

    /// Octets that the kernel took and the peer has not acknowledged, or that the kernel did not take.
    pub fn outstanding(&self) -> u64 {
        self.written() + self.unsent().len() as u64 - self.acknowledged
    }

    /// The kernel still has `queued` octets that the peer has not acknowledged. Returns how many were acknowledged since
    /// the last call.
    pub fn acknowledge(&mut self, queued: u64) -> u64 {
        let acknowledged = self.written().saturating_sub(queued).max(self.acknowledged);
        let progress = acknowledged - self.acknowledged;
        self.acknowledged = acknowledged;
        self.settle();
        progress
    }

    /// What the peer's kernel has acknowledged.
    pub fn position(&self) -> AckPosition {
        self.position
    }

    /// Up to which generation the peer's kernel has acknowledged all.
    pub fn acknowledged(&self) -> Generation {
        self.position.generation
    }

    fn written(&self) -> u64 {
        self.before + self.taken as u64
    }

    fn settle(&mut self) {
        while let Some((offset, position)) = self.marks.front().copied()
            && offset <= self.acknowledged
        {
            self.position = position;
            self.marks.pop_front();
        }
    }
}

/// Whether a generation had anything to say to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxChange {
    /// UPDATEs were appended.
    Updates,
    /// The peer knew it all.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(generation: Generation) -> AckPosition {
        AckPosition { generation, prefixes: 0 }
    }

    /// B5.
    #[test]
    fn prefixes_count_once_they_are_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.tail().extend([0; 10]);
        outbox.mark(AckPosition { generation: 1, prefixes: 400 }, OutboxChange::Updates);
        outbox.took(10);
        outbox.acknowledge(1);
        assert_eq!(outbox.position(), AckPosition::default());
        outbox.acknowledge(0);
        assert_eq!(outbox.position(), AckPosition { generation: 1, prefixes: 400 });
    }

    #[test]
    fn a_generation_is_acknowledged_when_its_last_octet_is_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.tail().extend([0; 10]);
        outbox.mark(position(1), OutboxChange::Updates);
        outbox.tail().extend([0; 10]);
        outbox.mark(position(2), OutboxChange::Updates);
        outbox.took(15);
        assert_eq!((outbox.acknowledged(), outbox.outstanding(), outbox.unsent().len()), (0, 20, 5));
        assert_eq!(outbox.acknowledge(6), 9);
        assert_eq!(outbox.acknowledged(), 0);
        assert_eq!(outbox.acknowledge(5), 1);
        assert_eq!(outbox.acknowledged(), 1);
        outbox.took(5);
        outbox.acknowledge(0);
        assert_eq!((outbox.acknowledged(), outbox.outstanding()), (2, 0));
    }

    #[test]
    fn what_needs_no_update_is_acknowledged_at_once_and_a_keepalive_on_its_way_delays_nothing() {
        let mut outbox = Outbox::default();
        outbox.tail().extend([0; 19]);
        outbox.mark(position(7), OutboxChange::Nothing);
        assert_eq!(outbox.acknowledged(), 7);
        outbox.tail().extend([0; 30]);
        outbox.mark(position(8), OutboxChange::Updates);
        outbox.mark(position(9), OutboxChange::Nothing);
        assert_eq!(outbox.acknowledged(), 7, "generation 9 is acknowledged when 8 is");
        outbox.took(49);
        outbox.acknowledge(0);
        assert_eq!(outbox.acknowledged(), 9);
        outbox.tail().extend([0; 19]);
        outbox.mark(position(10), OutboxChange::Nothing);
        assert_eq!(outbox.acknowledged(), 10);
    }

    #[test]
    fn offsets_go_on_when_the_buffer_starts_anew() {
        let mut outbox = Outbox::default();
        for generation in 1..=3 {
            outbox.tail().extend([0; 100]);
            outbox.mark(position(generation), OutboxChange::Updates);
            outbox.took(100);
            assert_eq!(outbox.acknowledged(), generation - 1);
            outbox.acknowledge(0);
            assert_eq!(outbox.acknowledged(), generation);
        }
    }

    #[test]
    fn a_cause_is_returned_once_when_the_kernel_has_taken_the_last_octet() {
        let (mut outbox, first) = (Outbox::default(), Instant::now());
        let second = first + std::time::Duration::from_secs(1);
        outbox.tail().extend([0; 10]);
        outbox.mark_cause(first);
        outbox.tail().extend([0; 10]);
        outbox.mark_cause(second);
        outbox.took(9);
        assert_eq!(outbox.written_for(), None);
        outbox.took(11);
        assert_eq!([(); 3].map(|()| outbox.written_for()), [Some(first), Some(second), None]);
        outbox.tail().extend([0; 10]);
        outbox.mark_cause(first);
        assert_eq!(outbox.written_for(), None, "the buffer began anew, the count of octets did not");
    }

    #[test]
    fn there_is_no_room_while_the_peer_does_not_keep_up() {
        let mut outbox = Outbox::default();
        outbox.tail().extend([0; ROOM]);
        assert!(!outbox.has_room());
        outbox.took(1);
        assert!(outbox.has_room());
    }
}
