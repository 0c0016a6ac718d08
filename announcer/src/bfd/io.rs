//! The loop that sends and receives BFD packets.
//!
//! Touches the clock and UDP sockets. Its loop runs on the real-time thread, so that packets leave on time whatever the main thread
//! does. It never waits for the main thread: orders and reports pass through queues, and the sign of life of the main thread is an
//! atomic number.
//!
//! ```text
//! main ── mpsc<BfdOrder> ──> thread ── mpsc<ThreadReport> ──> main
//!      ── MainTurns ───>
//! ```

mod lease;
#[cfg(test)]
mod own_netns;
mod session;
mod socket;
mod thread;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::bfd::fsm::{BfdSettings, Snapshot};
use crate::bfd::packet::DropReason;
use crate::bfd::status::{BfdSessionReport, Ends};
use crate::model::PeerName;
use crate::realtime::Scheduling;
use crate::realtime::io::RealtimeThread;
pub use lease::{LEASE, MainTurns};

/// A session that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The peer's name. There is one session for each.
    pub name: PeerName,
    /// Its ends.
    pub ends: Ends,
    /// Its intervals.
    pub settings: BfdSettings,
}

/// An order to the thread.
#[derive(Debug)]
pub enum BfdOrder {
    /// Exactly these sessions are wanted. Those that are no longer wanted go to AdminDown for a detection time.
    Sessions(Vec<Wanted>),
    /// All sessions go to AdminDown, and the thread ends after the longest detection time, at most after [`LONGEST_STOP`].
    Stop,
}

/// How long the thread says AdminDown at a stop at most.
pub const LONGEST_STOP: Duration = Duration::from_secs(1);

/// A session that another process can continue, without its socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    /// The peer's name.
    pub name: PeerName,
    /// Its ends.
    pub ends: Ends,
    /// The machine.
    pub snapshot: Snapshot,
    /// How often the session has left Up.
    pub flaps: u64,
    /// How often it has left Up because the path or the router was lost.
    pub losses: u64,
}

/// The sockets and sessions of a previous process. Sockets that are missing are opened anew.
#[derive(Debug, Default)]
pub struct InheritedBfd {
    /// The sockets by their names, as in [`ThreadReport::sockets`].
    pub sockets: Vec<(String, OwnedFd)>,
    /// The sessions.
    pub sessions: Vec<SavedSession>,
}

/// The name of the socket that a session sends from.
pub fn sender_name(name: &PeerName) -> String {
    format!("bfd-send-{name}")
}

/// What the thread publishes at each change of a state, and about once a second.
#[derive(Debug, Clone)]
pub struct ThreadReport {
    /// How the thread is scheduled.
    pub scheduling: Scheduling,
    /// Since when packets are withheld because the main thread does not turn.
    pub withheld: Option<Instant>,
    /// The ports that could not be opened, each with the error.
    pub closed_ports: BTreeMap<String, String>,
    /// The sessions that are wanted.
    pub sessions: BTreeMap<PeerName, BfdSessionReport>,
    /// The packets that were dropped, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// All sockets by their names, for a process that continues.
    pub sockets: BTreeMap<String, Arc<OwnedFd>>,
    /// All sessions, for a process that continues.
    pub saved: Vec<SavedSession>,
}

/// The connection to a running thread. When it is dropped, the thread ends at once.
#[derive(Debug)]
pub struct BfdThread {
    /// Orders.
    pub orders: mpsc::UnboundedSender<BfdOrder>,
    /// Reports; `None` when the thread has ended.
    pub reports: mpsc::Receiver<ThreadReport>,
}

/// Starts the loop on the real-time thread. Sessions of `inherited` send a packet at once.
///
/// # Errors
/// When the kernel makes no thread.
pub fn start(thread: &RealtimeThread, turns: MainTurns, inherited: InheritedBfd) -> io::Result<BfdThread> {
    let (orders, ordered) = mpsc::unbounded_channel();
    let (report, reports) = mpsc::channel(64);
    thread.run(move |scheduling| thread::run(scheduling, turns, inherited, ordered, report))?;
    Ok(BfdThread { orders, reports })
}
