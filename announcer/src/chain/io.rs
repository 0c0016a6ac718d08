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
pub mod test_packets;
pub mod vxlan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use self::neighbours::AskedNeighbour;
use crate::chain::contact::ContactReport;
use crate::chain::guard::{CapacityNeed, SaidVips};
use crate::chain::heartbeat::{
    AboutReceiver, Facts, HeartbeatDropReason, Intent, IntentAnswer, IntentKind, Keys, MemberVipState,
};
use crate::chain::member::Said;
use crate::chain::ring::MemberObservation;
use crate::chain::status::OffOrder;
use crate::chain::test_packets::TestPacketReport;
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

/// How long a question to the guard of capacity may take. It takes 3 heartbeats, and those before it as long.
const LONGEST_QUESTION: Duration = Duration::from_secs(20);

/// What follows from the answer of the guard of capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardPurpose {
    /// The VIPs are withdrawn if they may be. The members hear the intent, and their answers are waited for.
    Withdraw,
    /// Nothing: it is only said what the answer would be, from what the members say now. No intent is sent.
    DryRun,
}

/// A question to the guard of capacity: whether VIPs may be withdrawn.
#[derive(Debug)]
pub struct GuardRequest {
    /// Why.
    pub kind: IntentKind,
    /// What follows from the answer.
    pub purpose: GuardPurpose,
    /// The VIPs, and what they need. Those that are not announced now are not counted.
    pub needs: BTreeMap<IpAddr, CapacityNeed>,
    /// For how long the VIPs may still be announced after the permit was dropped.
    pub hold: Duration,
    /// The answer; or why not, as a sentence.
    pub reply: oneshot::Sender<Result<GuardPermit, String>>,
}

/// That VIPs may be withdrawn now. It is dropped when they were, or when that has failed.
#[derive(Debug)]
pub struct GuardPermit {
    _held: Option<oneshot::Sender<()>>,
}

impl GuardPermit {
    /// A permit, and what resolves when it was dropped.
    pub fn new() -> (GuardPermit, oneshot::Receiver<()>) {
        let (held, dropped) = oneshot::channel();
        (GuardPermit { _held: Some(held) }, dropped)
    }

    /// A permit for nothing: nobody has to know when it is dropped.
    pub fn unneeded() -> GuardPermit {
        GuardPermit { _held: None }
    }
}

/// The questions. A restarted task continues with those that wait.
#[derive(Debug, Clone)]
pub struct GuardRequests(pub Arc<Mutex<mpsc::Receiver<GuardRequest>>>);

/// A channel for questions.
pub fn guard_requests() -> (mpsc::Sender<GuardRequest>, GuardRequests) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, GuardRequests(Arc::new(Mutex::new(receiver))))
}

/// Asks whether VIPs may be withdrawn. If none of them needs anything, nobody is asked.
///
/// # Errors
/// Why not, as a sentence without a full stop at the end.
pub async fn permitted(
    requests: &mpsc::Sender<GuardRequest>,
    kind: IntentKind,
    needs: BTreeMap<IpAddr, CapacityNeed>,
    hold: Duration,
) -> Result<GuardPermit, String> {
    asked(requests, kind, GuardPurpose::Withdraw, needs, hold).await
}

/// Asks whether VIPs could be withdrawn now, without telling the members.
///
/// # Errors
/// Why not, as a sentence without a full stop at the end.
pub async fn would_be_permitted(
    requests: &mpsc::Sender<GuardRequest>,
    kind: IntentKind,
    needs: BTreeMap<IpAddr, CapacityNeed>,
) -> Result<(), String> {
    asked(requests, kind, GuardPurpose::DryRun, needs, Duration::ZERO).await.map(drop)
}

async fn asked(
    requests: &mpsc::Sender<GuardRequest>,
    kind: IntentKind,
    purpose: GuardPurpose,
    needs: BTreeMap<IpAddr, CapacityNeed>,
    hold: Duration,
) -> Result<GuardPermit, String> {
    if needs.is_empty() {
        return Ok(GuardPermit::unneeded());
    }
    let late = || "the other members of the chain could not be asked in time".to_owned();
    let (reply, answer) = oneshot::channel();
    let asked = async {
        requests.send(GuardRequest { kind, purpose, needs, hold, reply }).await.map_err(|_| late())?;
        answer.await.map_err(|_| late())?
    };
    timeout(LONGEST_QUESTION, asked).await.unwrap_or_else(|_| Err(late()))
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
    /// Where the kernel of a member is asked.
    pub neighbours: BTreeMap<IpAddr, AskedNeighbour>,
}

/// What our heartbeats say.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartbeatContent {
    /// To every member.
    pub facts: Facts,
    /// The test packets that this host has counted.
    pub test_packets: TestPacketReport,
    /// To each member about itself.
    pub about: BTreeMap<IpAddr, AboutReceiver>,
    /// The states of our VIPs.
    pub vips: Vec<(IpAddr, MemberVipState)>,
    /// Our intent.
    pub intent: Option<Intent>,
    /// The answers to the intents of the others.
    pub answers: BTreeMap<IpAddr, IntentAnswer>,
    /// The members that hear that we have left, whatever the facts say: lists no longer have both of us.
    pub left: BTreeSet<IpAddr>,
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
    /// The states of its VIPs, as far as it has said them, and its intent.
    pub vips: SaidVips,
    /// Its answer to our intent.
    pub answer: Option<IntentAnswer>,
    /// The test packets that it has counted, as it said last.
    pub test_packets: TestPacketReport,
    /// What is known of it if it is not heard.
    pub contact: ContactReport,
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

/// Starts the loop on the real-time thread. `former`: the members of the ring that a former process or loop has left in the kernel, with
/// what they said last.
///
/// # Errors
/// When the kernel makes no thread, or gives no random number.
pub fn start(
    thread: &RealtimeThread,
    settings: HeartbeatSettings,
    content: HeartbeatContent,
    former: BTreeMap<IpAddr, Said>,
) -> io::Result<HeartbeatLoop> {
    let (orders, ordered) = mpsc::unbounded_channel();
    let (report, reports) = mpsc::channel(64);
    heartbeats::random_start()?; // each member gets one
    thread.run(move |_| heartbeats::run(settings, content, former, ordered, report))?;
    Ok(HeartbeatLoop { orders, reports })
}
