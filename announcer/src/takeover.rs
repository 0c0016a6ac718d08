//! What one process of the daemon leaves to the next one, so that no session ends in between.
//!
//! Pure, except for [`io`]. There are two ways from one process to the next:
//!
//! ```text
//! upgrade  the process executes the program on disk (execve(2)): same pid, and descriptors without FD_CLOEXEC stay open
//! crash    systemd has copies of the descriptors in its file descriptor store (sd_notify(3)), and gives them to the next process
//! ```
//!
//! In both cases each descriptor has a name. [`inherit`] reads what the environment says about them.

pub mod inherit;
pub mod io;
pub mod repeats;
pub mod state;

use crate::systemd::StoreLimit;

/// The version of the state that a process leaves to the next one. A program reads this version and the one before it.
pub const STATE_VERSION: u32 = 1;

/// How a process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing was left by a former process.
    Cold,
    /// The former process has ended without a stop; its descriptors were in systemd's store.
    Crash,
    /// The former process has executed this program.
    Upgrade,
}

/// Whether the next process would get the descriptors of this one after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashStore {
    /// systemd has read all of them, and stores so many.
    Stored,
    /// systemd has read all of them, but does not say how many it stores: it is older than version 254, or
    /// `FileDescriptorStoreMax=` is not set.
    Unconfirmed,
    /// Nobody stores them: this process was not started by systemd.
    NoManager,
    /// systemd has not read this many messages about them.
    Unread(usize),
    /// There are more descriptors than systemd stores.
    TooMany {
        /// How many there are.
        kept: usize,
        /// How many systemd stores, by `FileDescriptorStoreMax=`.
        most: u64,
    },
}

impl CrashStore {
    /// `store`: systemd's limit, from [`Notifier::store`](crate::systemd::io::Notifier::store); `unread`: how many messages it has
    /// not read; `kept`: how many descriptors are kept.
    pub fn new(store: StoreLimit, unread: usize, kept: usize) -> Self {
        match store {
            StoreLimit::NoManager => CrashStore::NoManager,
            StoreLimit::Most(_) | StoreLimit::Unknown if unread > 0 => CrashStore::Unread(unread),
            StoreLimit::Most(most) if u64::try_from(kept).is_ok_and(|kept| kept > most) => {
                CrashStore::TooMany { kept, most }
            }
            StoreLimit::Most(_) => CrashStore::Stored,
            StoreLimit::Unknown => CrashStore::Unconfirmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_survived_if_systemd_has_read_and_stores_everything() {
        for (store, unread, kept, want) in [
            (StoreLimit::NoManager, 0, 0, CrashStore::NoManager),
            (StoreLimit::NoManager, 3, 3, CrashStore::NoManager),
            (StoreLimit::Unknown, 0, 3, CrashStore::Unconfirmed),
            (StoreLimit::Unknown, 1, 3, CrashStore::Unread(1)),
            (StoreLimit::Most(3), 0, 3, CrashStore::Stored),
            (StoreLimit::Most(3), 2, 4, CrashStore::Unread(2)),
            (StoreLimit::Most(3), 0, 4, CrashStore::TooMany { kept: 4, most: 3 }),
            (StoreLimit::Most(0), 0, 0, CrashStore::Stored),
        ] {
            assert_eq!(CrashStore::new(store, unread, kept), want, "{store:?} {unread} {kept}");
        }
    }
}
