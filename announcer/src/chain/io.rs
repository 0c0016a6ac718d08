//! The loop that sends and receives heartbeats, the neighbour table, nft, and the VXLAN device.
//!
//! Touches the clock, UDP sockets, rtnetlink and processes. The loop of the heartbeats runs on the real-time thread and never waits for
//! the main thread: orders and reports pass through queues.
//!
//! ```text
//! main ── mpsc<HeartbeatOrder> ──> heartbeats ── mpsc<HeartbeatReport> ──> main
//! ```

mod heartbeats;
pub mod key;
pub mod neighbours;
pub mod nft;
pub mod vxlan;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::chain::heartbeat::{
    AboutReceiver, Facts, HeartbeatDropReason, Intent, IntentAnswer, Keys, VipState,
};
use crate::chain::ring::MemberObservation;
use crate::chain::status::OffOrder;
use crate::realtime::io::RealtimeThread;

/// A command of an operator.
#[derive(Debug)]
pub struct ChainRequest {
    /// The order to forward nothing on this host; `None`: forward again.
    pub off: Option<OffOrder>,
    /// The answer: an error, if the order could not be stored or the rules could not be changed.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// The commands. A restarted task continues with those that wait.
#[derive(Debug, Clone)]
pub struct ChainRequests(pub Arc<Mutex<mpsc::Receiver<ChainRequest>>>);

/// A channel for commands.
pub fn requests() -> (mpsc::Sender<ChainRequest>, ChainRequests) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, ChainRequests(Arc::new(Mutex::new(receiver))))
}

/// With whom heartbeats are exchanged.
#[derive(Debug, Clone)]
pub struct HeartbeatSettings {
    /// Our address in the list of members.
    pub own: IpAddr,
    /// The addresses of the other members.
    pub members: Vec<IpAddr>,
    /// The UDP port of all members.
    pub port: u16,
    /// The interval of our heartbeats.
    pub interval: Duration,
    /// The keys.
    pub keys: Keys,
    /// Where the kernel of a member is asked: the index of an interface, and the address of each member on it.
    pub neighbours: BTreeMap<IpAddr, (u32, IpAddr)>,
}

/// What our heartbeats say.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatContent {
    /// To every member.
    pub facts: Facts,
    /// To each member about itself.
    pub about: BTreeMap<IpAddr, AboutReceiver>,
    /// The states of our VIPs.
    pub vips: Vec<(IpAddr, VipState)>,
    /// Our intent.
    pub intent: Option<Intent>,
    /// The answers to the intents of the others.
    pub answers: BTreeMap<IpAddr, IntentAnswer>,
}

/// An order to the loop.
#[derive(Debug)]
pub enum HeartbeatOrder {
    /// With whom.
    Settings(Box<HeartbeatSettings>),
    /// What is said from now on; it is sent before its time.
    Content(Box<HeartbeatContent>),
}

/// What is known of one other member.
#[derive(Debug, Clone)]
pub struct MemberReport {
    /// Whether it lives, and what it said.
    pub observation: MemberObservation,
    /// When its last heartbeat counted.
    pub last_heartbeat: Option<Instant>,
    /// The states of its VIPs, as far as it has said them.
    pub vips: Arc<BTreeMap<IpAddr, VipState>>,
    /// Its intent.
    pub intent: Option<Intent>,
    /// Its answer to our intent.
    pub answer: Option<IntentAnswer>,
}

/// What the loop publishes at each change, and about once a second.
#[derive(Debug, Clone, Default)]
pub struct HeartbeatReport {
    /// The other members.
    pub members: BTreeMap<IpAddr, MemberReport>,
    /// The heartbeats that did not count, by reason.
    pub drops: BTreeMap<HeartbeatDropReason, u64>,
    /// The heartbeats that the kernel did not send.
    pub send_errors: u64,
    /// Why heartbeats cannot be exchanged.
    pub bind_error: Option<String>,
}

/// The connection to a running loop. When it is dropped, the loop ends.
#[derive(Debug)]
pub struct HeartbeatLoop {
    /// Orders.
    pub orders: mpsc::UnboundedSender<HeartbeatOrder>,
    /// Reports; `None` when the loop has ended.
    pub reports: mpsc::Receiver<HeartbeatReport>,
}

/// Starts the loop on the real-time thread.
///
/// # Errors
/// When the kernel makes no thread, or gives no random number.
pub fn start(
    thread: &RealtimeThread,
    settings: HeartbeatSettings,
    content: HeartbeatContent,
) -> io::Result<HeartbeatLoop> {
    let (orders, ordered) = mpsc::unbounded_channel();
    let (report, reports) = mpsc::channel(64);
    heartbeats::random_start()?; // each member gets one
    thread.run(move |_| heartbeats::run(settings, content, ordered, report))?;
    Ok(HeartbeatLoop { orders, reports })
}
