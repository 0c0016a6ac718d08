//! Keeps descriptors for the process that comes next: in systemd's file descriptor store, and over `exec`.
//!
//! Touches descriptors, the environment and systemd's socket. Nothing waits: a message that systemd does not read now is sent again
//! by [`Descriptors::send_again`], in the same order.
//!
//! A kept descriptor is a duplicate. So a TCP connection does not end when its socket is closed: it ends when the socket is closed
//! and [`forgotten`](Descriptors::forget), here and by systemd. Whoever closes a connection forgets it too.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::adopt::adopt;
use crate::systemd::Notice;
use crate::systemd::io::Notifier;
use crate::takeover::inherit::{inherited_numbers, is_name};
use crate::takeover::{CrashStore, Start};

/// The first number of a kept descriptor: not standard input, output or error.
const FIRST: i32 = 3;

/// Keeps descriptors for the process that comes next: in systemd's file descriptor store, and over `exec`. Clones share one list.
#[derive(Debug, Clone)]
pub struct Descriptors(Arc<DescriptorsInner>);

#[derive(Debug)]
struct DescriptorsInner {
    notifier: Notifier,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    kept: BTreeMap<String, OwnedFd>,
    /// The messages that systemd has not read, the oldest first. Each is about the descriptor of this name.
    unsent: VecDeque<StoreChange>,
}

/// A change of systemd's store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StoreChange {
    Add(String),
    Remove(String),
}

impl Descriptors {
    /// Nothing is kept yet. What a former process has stored stays in systemd's store, until it is kept again under the same name, or
    /// forgotten.
    pub fn new(notifier: Notifier) -> Self {
        Descriptors(Arc::new(DescriptorsInner { notifier, list: Mutex::default() }))
    }

    /// Keeps a duplicate of `fd` under `name`, in the place of what had this name: letters, digits and `-`. A descriptor that this
    /// process has [`inherited`] is kept again under the same name; systemd sees that it has it already.
    ///
    /// # Errors
    /// A name with other characters, and the system's error when no descriptor is left. Then nothing has changed.
    pub fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !is_name(name) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is no name for a descriptor"),
            ));
        }
        let copy = fcntl_dupfd_cloexec(fd, FIRST)?;
        let mut list = self.list();
        if list.kept.insert(name.to_owned(), copy).is_some() {
            list.remove_later(name);
        }
        list.unsent.push_back(StoreChange::Add(name.to_owned()));
        list.send(&self.0.notifier);
        Ok(())
    }

    /// Forgets what is kept under `name`, here and in systemd's store, and closes the duplicate. It may also be a name that only a
    /// former process has kept. The descriptor that was duplicated is not touched.
    pub fn forget(&self, name: &str) {
        let mut list = self.list();
        list.kept.remove(name);
        list.remove_later(name);
        list.send(&self.0.notifier);
    }

    /// Forgets everything that this process keeps: at a stop, so that the next start is a cold one.
    pub fn forget_all(&self) {
        let names: Vec<String> = self.list().kept.keys().cloned().collect();
        names.iter().for_each(|name| self.forget(name));
    }

    /// Sends the messages that systemd has not read; the main loop calls it each second.
    pub fn send_again(&self) {
        self.list().send(&self.0.notifier);
    }

    /// Whether a crash would be survived.
    pub fn crash_store(&self) -> CrashStore {
        let list = self.list();
        CrashStore::new(self.0.notifier.store(), list.unsent.len(), list.kept.len())
    }

    /// Lets programs that are executed inherit what is kept, and returns the number of each. It holds until the returned value is
    /// dropped; between the two calls no other program may be started.
    ///
    /// # Errors
    /// Those of fcntl(2). Then programs inherit nothing.
    pub(crate) fn open_for_exec(&self) -> io::Result<OpenForExec<'_>> {
        let open = OpenForExec { list: self.list() };
        open.list.kept.values().try_for_each(|fd| fcntl_setfd(fd, FdFlags::empty()))?;
        Ok(open)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    /// Takes a name out of systemd's store. What systemd has not heard of `name` yet, it need not hear.
    fn remove_later(&mut self, name: &str) {
        self.unsent.retain(|change| *change != StoreChange::Add(name.to_owned()));
        let remove = StoreChange::Remove(name.to_owned());
        if !self.unsent.contains(&remove) {
            self.unsent.push_back(remove);
        }
    }

    fn send(&mut self, notifier: &Notifier) {
        while let Some(change) = self.unsent.front() {
            let sent = match change {
                StoreChange::Add(name) => match self.kept.get(name) {
                    Some(fd) => notifier.send_with(&Notice::Store(name.clone()), fd.as_fd()),
                    None => true,
                },
                StoreChange::Remove(name) => notifier.send(&Notice::Unstore(name.clone())),
            };
            if !sent {
                return;
            }
            self.unsent.pop_front();
        }
    }
}

/// Programs that are executed inherit the kept descriptors while this exists.
#[derive(Debug)]
pub(crate) struct OpenForExec<'a> {
    list: MutexGuard<'a, List>,
}

impl OpenForExec<'_> {
    /// The number of each kept descriptor, by name.
    pub(crate) fn numbers(&self) -> BTreeMap<String, i32> {
        self.list.kept.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())).collect()
    }
}

impl Drop for OpenForExec<'_> {
    fn drop(&mut self) {
        for fd in self.list.kept.values() {
            let _ = fcntl_setfd(fd, FdFlags::CLOEXEC); // it fails only for a descriptor that is not open
        }
    }
}

/// What the former process left to this one.
#[derive(Debug)]
pub struct Inherited {
    /// How this process began.
    pub how: Start,
    /// When the former program was left, by CLOCK_MONOTONIC; only after an upgrade.
    pub left: Option<Duration>,
    /// The descriptors, by name. None of them is kept yet: each has to be kept again or forgotten
    /// ([`Descriptors::keep`], [`Descriptors::forget`]).
    pub descriptors: BTreeMap<String, OwnedFd>,
}

impl Inherited {
    /// Nothing was left.
    pub fn nothing() -> Self {
        Inherited { how: Start::Cold, left: None, descriptors: BTreeMap::new() }
    }
}

/// What the former process left. It is called at the very start of the daemon, before this process opens a descriptor or starts a
/// thread; each further call returns nothing. Programs that are executed from now on do not inherit the descriptors.
pub fn inherited() -> Inherited {
    static READ: AtomicBool = AtomicBool::new(false);
    if READ.swap(true, Ordering::SeqCst) {
        return Inherited::nothing();
    }
    let numbers = inherited_numbers(|name| std::env::var(name).ok(), std::process::id());
    let mut taken: Vec<i32> = Vec::new();
    let mut take = |number: i32| {
        if taken.contains(&number) {
            return None; // a second owner would close it twice
        }
        taken.push(number);
        adopt(number)
    };
    let descriptors =
        numbers.named.into_iter().filter_map(|(name, number)| Some((name, take(number)?))).collect();
    for number in numbers.other {
        drop(take(number));
    }
    Inherited { how: numbers.how, left: numbers.left, descriptors }
}

#[cfg(test)]
mod tests;
