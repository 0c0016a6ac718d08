//! A log that one thread writes and others wait on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

impl<T: Clone> Log<T> {
    /// Adds an entry, and wakes the waiting threads.
    pub fn push(&self, seen: T) {
        self.entries().push(seen);
        self.0.1.notify_all();
    }

    /// The current position in the log.
    pub fn mark(&self) -> usize {
        self.entries().len()
    }

    /// The entries after `mark`.
    pub fn since(&self, mark: usize) -> Vec<T> {
        self.entries().iter().skip(mark).cloned().collect()
    }

    /// Waits for the first entry after `mark` that fits, for at most `patience`.
    pub fn wait(&self, mark: usize, patience: Duration, fits: impl Fn(&T) -> bool) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut entries = self.entries();
        let mut next = mark;
        loop {
            if let Some(found) = entries.iter().skip(next).find(|entry| fits(entry)) {
                return Some(found.clone());
            }
            next = entries.len().max(mark);
            let left = deadline.checked_duration_since(Instant::now())?;
            entries = self.0.1.wait_timeout(entries, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
