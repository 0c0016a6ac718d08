//! A log that one thread writes and others wait on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The entries, in the order in which they were added. Cheap to clone; all clones are the same log.
#[derive(Debug)]
pub struct Log<T>(Arc<(Mutex<Vec<T>>, Condvar)>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(self.0.clone())
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log(Arc::default())
    }
}

/// An entry that says when it happened.
pub trait Dated {
    /// When it happened, by the host's clock.
    fn at(&self) -> SystemTime;
}

/// A moment. What happened before it does not count, even if it is read from the routers later: on a busy host, the thread that
/// reads a capture is some milliseconds behind.
#[derive(Debug, Clone, Copy)]
pub struct Mark(SystemTime);

impl Mark {
    /// Before everything.
    pub const BEGINNING: Mark = Mark(SystemTime::UNIX_EPOCH);

    /// This moment.
    pub fn now() -> Mark {
        Mark(SystemTime::now())
    }
}

impl<T: Clone> Log<T> {
    /// Adds an entry, and wakes the waiting threads.
    pub fn push(&self, seen: T) {
        self.entries().push(seen);
        self.0.1.notify_all();
    }

    /// The number of entries.
    pub fn count(&self) -> usize {
        self.entries().len()
    }

    /// All entries but the first ones.
    pub fn skip(&self, entries: usize) -> Vec<T> {
        self.entries().iter().skip(entries).cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Dated> Log<T> {
    /// What happened after `mark` and is known by now.
    pub fn since(&self, mark: Mark) -> Vec<T> {
        self.entries().iter().filter(|entry| entry.at() >= mark.0).cloned().collect()
    }

    /// Waits for the first entry after `mark` that fits, for at most `patience`.
    pub fn wait(&self, mark: Mark, patience: Duration, fits: impl Fn(&T) -> bool) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut entries = self.entries();
        let mut next = 0;
        loop {
            let mut new = entries.iter().skip(next).filter(|entry| entry.at() >= mark.0);
            if let Some(found) = new.find(|entry| fits(entry)) {
                return Some(found.clone());
            }
            next = entries.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            entries = self.0.1.wait_timeout(entries, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Entry(SystemTime);

    impl Dated for Entry {
        fn at(&self) -> SystemTime {
            self.0
        }
    }

    #[test]
    fn what_happened_before_a_mark_and_is_read_later_does_not_count() {
        let log = Log::default();
        let mark = Mark::now();
        let (late, new) =
            (Entry(mark.0 - Duration::from_millis(1)), Entry(mark.0 + Duration::from_millis(1)));
        log.push(late);
        assert_eq!(log.since(mark), []);
        assert_eq!(log.wait(mark, Duration::ZERO, |_| true), None);
        log.push(new);
        assert_eq!(log.since(mark), [new]);
        assert_eq!(log.wait(mark, Duration::ZERO, |_| true), Some(new));
        assert_eq!((log.count(), log.skip(1)), (2, vec![new]));
    }
}
