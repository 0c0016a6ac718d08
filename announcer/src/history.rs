//! The last changes of standings and sessions, for `announcer history` and for streams of events.
//!
//! Pure. [`io`] owns the list and publishes it. A reader that has not read for a long time finds out how many changes it has missed.

pub mod io;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::control::api::{Change, WireTime};

/// How many changes are kept.
pub const KEPT: usize = 1000;
/// How many writes are remembered for a change that is recorded after its UPDATEs were written.
const WRITES: usize = 64;

/// The last changes.
#[derive(Debug, Clone, Default)]
pub struct History {
    kept: VecDeque<KeptChange>,
    /// The number of the newest change; 0: there was none.
    newest: u64,
    /// Counts every new and every completed change.
    revision: u64,
    /// The last writes. The director's task and the sessions report on their own, so a write may be known before its change.
    writes: VecDeque<RouterWrite>,
}

/// UPDATEs that were written to one router.
#[derive(Debug, Clone, Copy)]
struct RouterWrite {
    /// They were for the facts after this one; none: only for the last.
    from: Option<Instant>,
    /// The last fact.
    to: Instant,
    written: Instant,
}

#[derive(Debug, Clone)]
struct KeptChange {
    change: Change,
    /// When the fact was known that led to new routes; none if the routes stayed as they were.
    known: Option<Instant>,
    revision: u64,
}

/// How far a reader has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    newest: u64,
    revision: u64,
}

/// The changes that a reader has not read.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadChanges {
    /// How many changes were dropped before they were read.
    pub lost: u64,
    /// The others, the oldest first. A change that was completed is here again.
    pub changes: Vec<Change>,
}

impl KeptChange {
    /// Adds the time of a write, if it was for this change. Whether anything has changed.
    fn complete(&mut self, RouterWrite { from, to, written }: RouterWrite) -> bool {
        let is_for = |known: &Instant| *known <= to && from.map_or(*known == to, |from| *known > from);
        let Some(known) = self.known.filter(is_for) else { return false };
        let took = milliseconds(written.saturating_duration_since(known));
        let before = self.change.wire_ms.unwrap_or(WireTime { first: took, last: took });
        let now = Some(WireTime { first: before.first.min(took), last: before.last.max(took) });
        std::mem::replace(&mut self.change.wire_ms, now) != now
    }
}

impl History {
    /// Adds a change, which gets its number here. `known` is when the fact was known that led to new routes.
    pub fn push(&mut self, change: Change, known: Option<Instant>) {
        self.newest += 1;
        self.revision += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        let change = Change { id: self.newest, ..change };
        let mut kept = KeptChange { change, known, revision: self.revision };
        for write in &self.writes {
            kept.complete(*write);
        }
        self.kept.push_back(kept);
    }

    /// A router's UPDATEs for the facts that were known after `from`, up to `to`, were written at `written`. Without `from`, only
    /// those for the fact that was known at `to`: earlier facts may have been part of the session's first table.
    pub fn written(&mut self, from: Option<Instant>, to: Instant, written: Instant) {
        let write = RouterWrite { from, to, written };
        if self.writes.len() == WRITES {
            self.writes.pop_front();
        }
        self.writes.push_back(write);
        for kept in &mut self.kept {
            if kept.complete(write) {
                self.revision += 1;
                kept.revision = self.revision;
            }
        }
    }

    /// The newest changes, `limit` at most, the oldest first.
    pub fn newest(&self, limit: usize) -> Vec<Change> {
        let skipped = self.kept.len().saturating_sub(limit);
        self.kept.iter().skip(skipped).map(|kept| kept.change.clone()).collect()
    }

    /// A cursor behind the newest change.
    pub fn end(&self) -> Cursor {
        Cursor { newest: self.newest, revision: self.revision }
    }

    /// What a reader at this cursor has not read; moves the cursor to the end.
    pub fn read(&self, cursor: &mut Cursor) -> UnreadChanges {
        let oldest = self.kept.front().map_or(self.newest + 1, |kept| kept.change.id);
        let unread = self.kept.iter().filter(|kept| kept.revision > cursor.revision);
        let read = UnreadChanges {
            lost: oldest.saturating_sub(cursor.newest + 1),
            changes: unread.map(|kept| kept.change.clone()).collect(),
        };
        *cursor = self.end();
        read
    }
}

/// With three digits behind the point: microseconds.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::ChangeKind;

    fn change(after: &str) -> Change {
        Change {
            id: 0,
            time: "2026-01-01T00:00:00Z".into(),
            kind: ChangeKind::Standing,
            service: Some("www".into()),
            vip: None,
            peer: None,
            drain: None,
            before: "starting".into(),
            after: after.into(),
            reason: None,
            wire_ms: None,
        }
    }

    fn ids(changes: &[Change]) -> Vec<u64> {
        changes.iter().map(|change| change.id).collect()
    }

    #[test]
    fn the_newest_are_kept_and_a_slow_reader_learns_what_it_missed() {
        let mut history = History::default();
        let mut cursor = history.end();
        assert_eq!(history.read(&mut cursor), UnreadChanges { lost: 0, changes: vec![] });
        for number in 0..3 {
            history.push(change(&number.to_string()), None);
        }
        assert_eq!(ids(&history.read(&mut cursor).changes), [1, 2, 3]);
        assert_eq!(history.read(&mut cursor).changes, []);
        for number in 0..KEPT + 5 {
            history.push(change(&number.to_string()), None);
        }
        let read = history.read(&mut cursor);
        assert_eq!((read.lost, read.changes.len()), (5, KEPT));
        assert_eq!(ids(&history.newest(2)), [1007, 1008]);
        assert_eq!(history.newest(usize::MAX).len(), KEPT);
    }

    #[test]
    fn the_time_to_the_wire_is_of_the_first_and_the_last_router() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut history = History::default();
        history.push(change("a"), Some(at(10)));
        history.push(change("b"), None);
        history.push(change("c"), Some(at(20)));
        let mut cursor = history.end();
        // One router has both, another only the first.
        history.written(Some(at(5)), at(20), at(25));
        history.written(None, at(10), at(12));
        let read = history.read(&mut cursor);
        assert_eq!(ids(&read.changes), [1, 3], "a change that was completed is read again");
        assert_eq!(read.changes[0].wire_ms, Some(WireTime { first: 2.0, last: 15.0 }));
        assert_eq!(read.changes[1].wire_ms, Some(WireTime { first: 5.0, last: 5.0 }));
        // What a router had before is not counted for it again.
        history.written(Some(at(10)), at(20), at(26));
        assert_eq!(ids(&history.read(&mut cursor).changes), [3]);
        // A write that is reported before its change.
        history.written(Some(at(20)), at(30), at(31));
        history.push(change("d"), Some(at(30)));
        assert_eq!(history.newest(1)[0].wire_ms, Some(WireTime { first: 1.0, last: 1.0 }));
    }
}
