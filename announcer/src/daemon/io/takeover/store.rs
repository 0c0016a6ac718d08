//! What this process stores for the next one: the keys and descriptors that [`takeover`](super) names.
//!
//! Touches the memory file of the state, and descriptors.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use tokio::sync::watch;
use tracing::warn;

use crate::bfd;
use crate::bgp::io::resume::{Continuation, ResumeSlot, ResumedSession, SessionStore};
use crate::bgp::resume::{SessionSnapshot, StoredOctets, prefixes_from_text, prefixes_to_text};
use crate::director::Director;
use crate::model::PeerName;
use crate::monotonic::HostStart;
use crate::takeover::io::descriptors::Descriptors;
use crate::takeover::io::state_log::StateLog;
use crate::takeover::state::Entries;

/// The key of BFD's sessions.
pub(super) const BFD: &str = "bfd";

/// The state that outlives this process. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Takeover(Arc<TakeoverInner>);

#[derive(Debug)]
struct TakeoverInner {
    file: StateLog,
    descriptors: Descriptors,
    /// The sessions that continue, until their tasks take them.
    resumed: Mutex<BTreeMap<PeerName, (u32, ResumedSession)>>,
    /// The next free number.
    next: AtomicU32,
    may_send: watch::Receiver<bool>,
    not_continued: Option<String>,
    bfd: Mutex<BfdSockets>,
}

/// The sockets of BFD by their names.
#[derive(Debug)]
struct BfdSockets {
    kept: BTreeMap<String, Arc<OwnedFd>>,
    /// Names that the former process has kept, and this one not yet.
    found: BTreeSet<String>,
}

impl Takeover {
    /// With the sessions that continue, each with its number. `of_bfd` has the names of BFD's sockets that the former process has kept.
    pub(super) fn new(
        file: StateLog,
        descriptors: Descriptors,
        resumed: BTreeMap<PeerName, (u32, ResumedSession)>,
        not_continued: Option<String>,
        may_send: watch::Receiver<bool>,
        of_bfd: BTreeSet<String>,
    ) -> Self {
        let next = resumed.values().map(|(slot, _)| slot + 1).max().unwrap_or_default();
        Takeover(Arc::new(TakeoverInner {
            file,
            descriptors,
            resumed: Mutex::new(resumed),
            next: AtomicU32::new(next),
            may_send,
            not_continued,
            bfd: Mutex::new(BfdSockets { kept: BTreeMap::new(), found: of_bfd }),
        }))
    }

    /// Stores the sessions and sockets of BFD, for ever.
    pub(in crate::daemon) async fn store_bfd(
        self,
        mut reports: watch::Receiver<Option<Arc<bfd::io::ThreadReport>>>,
    ) {
        while reports.changed().await.is_ok() {
            let report = reports.borrow_and_update().clone();
            if let Some(report) = report {
                self.store_bfd_report(&report);
            }
        }
    }

    fn store_bfd_report(&self, report: &bfd::io::ThreadReport) {
        let inner = &self.0;
        match serde_json::to_vec(&report.saved) {
            Ok(octets) => inner.file.put(BFD, &octets),
            Err(_) => inner.file.remove(BFD),
        }
        let mut sockets = inner.bfd.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, socket) in &report.sockets {
            if sockets.found.remove(name) {
                inner.descriptors.forget(name); // it may be another socket
            }
            if !sockets.kept.get(name).is_some_and(|kept| Arc::ptr_eq(kept, socket)) {
                match inner.descriptors.keep(name, socket.as_fd()) {
                    Ok(()) => drop(sockets.kept.insert(name.clone(), Arc::clone(socket))),
                    Err(error) => warn!(name, %error, "BFD would not survive an upgrade or a crash"),
                }
            }
        }
        let gone: Vec<String> =
            sockets.kept.keys().filter(|name| !report.sockets.contains_key(*name)).cloned().collect();
        let found = std::mem::take(&mut sockets.found);
        for name in gone.into_iter().chain(found) {
            sockets.kept.remove(&name);
            inner.descriptors.forget(&name);
        }
    }

    /// For the session with a peer.
    pub(in crate::daemon) fn continuation(&self, peer: &PeerName) -> Continuation {
        let inner = &self.0;
        let resumed = inner.resumed.lock().unwrap_or_else(PoisonError::into_inner).remove(peer);
        let (slot, session) = match resumed {
            Some((slot, session)) => (slot, Some(session)),
            None => (inner.next.fetch_add(1, Ordering::Relaxed), None),
        };
        let store = PeerStore {
            file: inner.file.clone(),
            descriptors: inner.descriptors.clone(),
            slot,
            kept: AtomicBool::new(session.is_some()),
        };
        Continuation {
            store: Arc::new(store),
            resume: ResumeSlot::with(session),
            may_send: inner.may_send.clone(),
        }
    }

    /// Why sessions of the former process were ended instead of continued.
    pub(in crate::daemon) fn not_continued(&self) -> Option<String> {
        self.0.not_continued.clone()
    }

    /// Stores the facts of the director that have changed. Call it before the Loc-RIB is published that follows from them.
    pub(in crate::daemon) fn store(&self, director: &mut Director, start: HostStart) {
        for (vip, snapshot) in director.take_unstored(start) {
            let key = format!("vip.{vip}");
            match snapshot.map(|snapshot| serde_json::to_vec(&snapshot)) {
                Some(Ok(octets)) => self.0.file.put(&key, &octets),
                Some(Err(_)) | None => self.0.file.remove(&key),
            }
        }
    }

    /// Checks that the next process can use the state.
    ///
    /// # Errors
    /// When a write to it has failed.
    pub(in crate::daemon) fn check(&self) -> std::io::Result<()> {
        match self.0.file.is_usable() {
            true => Ok(()),
            false => Err(std::io::Error::other("an earlier write to it has failed")),
        }
    }
}

/// Stores one session.
#[derive(Debug)]
struct PeerStore {
    file: StateLog,
    descriptors: Descriptors,
    slot: u32,
    /// Whether the connection is kept.
    kept: AtomicBool,
}

impl SessionStore for PeerStore {
    fn established(&self, snapshot: &SessionSnapshot, offset: u64, octets: &[u8], socket: BorrowedFd<'_>) {
        let Ok(facts) = serde_json::to_vec(snapshot) else { return };
        self.file.remove(&prefixes_key(self.slot));
        self.outgoing(offset, octets);
        self.file.put(&key(self.slot), &facts);
        self.kept.store(true, Ordering::Relaxed);
        if let Err(error) = self.descriptors.keep(&descriptor_name(self.slot), socket) {
            warn!(%error, "session would not survive an upgrade or a crash");
        }
    }

    fn outgoing(&self, offset: u64, octets: &[u8]) {
        self.file.put(&octets_key(self.slot), &StoredOctets::to_octets(offset, octets));
    }

    fn prefixes(&self, prefixes: &[IpNet]) {
        self.file.append(&prefixes_key(self.slot), prefixes_to_text(prefixes).as_bytes());
    }

    fn ended(&self) {
        if self.kept.swap(false, Ordering::Relaxed) {
            let name = descriptor_name(self.slot);
            forget_session(&self.file, &name);
            self.descriptors.forget(&name);
        }
    }
}

/// Removes what the state has of the session whose connection has this name.
pub(super) fn forget_session(file: &StateLog, name: &str) {
    if let Some(slot) = slot_of(name) {
        [key(slot), octets_key(slot), prefixes_key(slot)].iter().for_each(|key| file.remove(key));
    }
}

/// The name of the descriptor of a session's connection.
pub(super) fn descriptor_name(slot: u32) -> String {
    format!("session-{slot}")
}

/// The number in such a name.
pub(super) fn slot_of(name: &str) -> Option<u32> {
    name.strip_prefix("session-")?.parse().ok()
}

fn key(slot: u32) -> String {
    format!("session.{slot}")
}

fn octets_key(slot: u32) -> String {
    format!("session.{slot}.out")
}

fn prefixes_key(slot: u32) -> String {
    format!("session.{slot}.prefixes")
}

/// What the state has of a session.
pub(super) struct StoredFacts {
    pub(super) snapshot: SessionSnapshot,
    pub(super) octets: StoredOctets,
    pub(super) prefixes: BTreeSet<IpNet>,
}

impl StoredFacts {
    /// `None`: something is missing or cannot be read.
    pub(super) fn read(entries: &Entries, slot: u32) -> Option<Self> {
        Some(StoredFacts {
            snapshot: serde_json::from_slice(entries.get(&key(slot))?).ok()?,
            octets: StoredOctets::from_octets(entries.get(&octets_key(slot))?)?,
            prefixes: prefixes_from_text(entries.get(&prefixes_key(slot)).map_or(&[], Vec::as_slice))?,
        })
    }
}
