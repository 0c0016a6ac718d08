//! The octets that are being sent to a peer, and the generations of the Loc-RIB that they contain.
//!
//! Pure. Offsets count from the connection's first octet. A generation is acknowledged once the peer's kernel has
//! acknowledged the last octet of its UPDATEs.

use std::collections::VecDeque;
use std::time::Instant;

use crate::model::Generation;

/// A bounded buffer of octets. The caller checks [`Outbox::has_room`] before it adds UPDATEs.
#[derive(Debug, Default)]
pub struct Outbox {
    octets: Vec<u8>,
    /// How many of `octets` the kernel has accepted.
    taken: usize,
    /// How many octets the kernel had accepted before them.
    before: u64,
    /// Where the last UPDATE ends.
    updates_end: u64,
    acknowledged: u64,
    /// What the peer has when the octets up to an offset are acknowledged. Offsets and generations increase.
    marks: VecDeque<(u64, AckPosition)>,
    position: AckPosition,
    /// The end offset of UPDATEs, and the time at which their cause was known, until the kernel has accepted them. Both increase.
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

/// If more octets than this are unsent, no further UPDATEs are made. The Loc-RIB continues to change, and the peer gets the
/// difference later.
const ROOM: usize = 64 * 1024;

impl Outbox {
    /// Whether further UPDATEs may be appended.
    pub fn has_room(&self) -> bool {
        self.unsent().len() < ROOM
    }

    /// The octets that the kernel has not accepted.
    pub fn unsent(&self) -> &[u8] {
        self.octets.get(self.taken..).unwrap_or_default()
    }

    /// The outbox of a connection that another process began: the kernel was given `written` octets, of which the peer has not
    /// acknowledged `queued`; `unsent` were not given yet.
    pub fn resumed(written: u64, queued: u64, unsent: Vec<u8>) -> Self {
        let acknowledged = written.saturating_sub(queued);
        // They may be UPDATEs, so a generation that needs none is acknowledged after them.
        let updates_end = written + unsent.len() as u64;
        Outbox { octets: unsent, before: written, acknowledged, updates_end, ..Outbox::default() }
    }

    /// The buffer to which messages are appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.taken == self.octets.len() || self.taken >= ROOM {
            self.before += self.taken as u64;
            self.octets.drain(..self.taken);
            self.octets.shrink_to(ROOM);
            self.taken = 0;
        }
        &mut self.octets
    }

    /// Marks the end of the appended octets: when they are acknowledged, the peer has `known`. Call it with `Updates` after
    /// appending them, with `Nothing` when there were none to append.
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

    /// Marks the end of the UPDATEs for a fact that was known at `at`.
    pub fn mark_cause(&mut self, at: Instant) {
        self.causes.push_back((self.before + self.octets.len() as u64, at));
    }

    /// The next fact for which the kernel has accepted the UPDATEs: the time at which it was known; `None`: there is none.
    pub fn written_for(&mut self) -> Option<Instant> {
        let (offset, at) = *self.causes.front()?;
        (offset <= self.written()).then(|| {
            self.causes.pop_front();
            at
        })
    }

    /// The kernel has accepted this many octets.
    pub fn took(&mut self, count: usize) {
        self.taken = self.octets.len().min(self.taken + count);
    }

    /// The octets that the peer has not acknowledged, including those that the kernel has not accepted.
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

    /// The generation and the prefixes that the peer's kernel has acknowledged.
    pub fn position(&self) -> AckPosition {
        self.position
    }

    /// The generation up to which the peer's kernel has acknowledged everything.
    pub fn acknowledged(&self) -> Generation {
        self.position.generation
    }

    /// How many octets of the connection the kernel has accepted.
    pub fn written(&self) -> u64 {
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

/// Whether a generation has changed routes of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxChange {
    /// UPDATEs were appended.
    Updates,
    /// The peer already had all routes.
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
    fn a_resumed_connection_goes_on_where_the_kernel_is() {
        let mut outbox = Outbox::resumed(100, 30, vec![7; 5]);
        assert_eq!((outbox.written(), outbox.outstanding(), outbox.unsent()), (100, 35, &[7; 5][..]));
        outbox.mark(position(9), OutboxChange::Nothing);
        assert_eq!(outbox.acknowledged(), 0, "what waits may be UPDATEs");
        let mut outbox = Outbox::resumed(100, 30, vec![7; 5]);
        outbox.tail().extend([0; 10]);
        outbox.mark(position(1), OutboxChange::Updates);
        outbox.took(15);
        outbox.acknowledge(1);
        assert_eq!(outbox.acknowledged(), 0);
        assert_eq!((outbox.acknowledge(0), outbox.acknowledged(), outbox.written()), (1, 1, 115));
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
