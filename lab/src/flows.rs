//! A client with long-lived connections (flows) and, beside them, new connections at a steady rate: which of them a change of the
//! frontends breaks, refuses or delays, phase by phase.
//!
//! Pure, but for the mutex between the client and the thread that begins phases; the client itself is in `run`. Each flow is one
//! TCP connection with a request from time to time (HTTP keep-alive); one that breaks is counted and opened again. Each new connection
//! is one request of `load`. What happens counts in the phase in which its request was sent, or, without a request, in which it was
//! seen. A request that was sent just before a phase began, and had no answer by then, counts in that phase: the host that should answer may
//! have died at its beginning.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::load::{self, Counts, Outcome};

mod answer;
mod run;
mod sources;

pub use run::run;

/// An answer that takes longer than this is delayed.
pub const DELAYED: Duration = Duration::from_millis(200);
/// The name of the phase from the start to the first mark.
pub const FIRST_PHASE: &str = "start";

/// What the client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The new connections: target, rate, how long the client runs, and the time limit of one connection. A rate of 0: none.
    pub new: load::Plan,
    /// The number of flows.
    pub flows: u32,
    /// The time between two requests of a flow.
    pub every: Duration,
    /// After this time without an answer, a flow is silent: it is broken.
    pub silence: Duration,
    /// The addresses that flows come from. Empty: the kernel chooses.
    ///
    /// A server remembers a connection that it has ended for a minute (TIME-WAIT, RFC 9293 section 3.6.1), and the one that a break
    /// has left for longer. If the same address and port come to another frontend then, the old one may answer in its place. From
    /// these addresses, each port is used once before one is used again: an address is enough for 64,000 connections.
    pub flow_sources: Vec<IpAddr>,
    /// The same for new connections: 2,000 a second need two addresses for a minute.
    pub new_sources: Vec<IpAddr>,
    /// The octets of a request of a flow.
    request: String,
}

impl Plan {
    /// 1,000 flows with a request a second each, and 2,000 new connections a second, to `url`, as [`load::Plan::new`] wants it.
    ///
    /// # Errors
    /// What to write instead.
    pub fn new(url: &str, lasts: Duration) -> Result<Plan, String> {
        let mut new = load::Plan::new(url, 2000, lasts)?;
        new.patience = Duration::from_secs(5);
        let request = new.keep_alive();
        let second = Duration::from_secs(1);
        Ok(Plan {
            new,
            flows: 1000,
            every: second,
            silence: second * 5,
            flow_sources: Vec::new(),
            new_sources: Vec::new(),
            request,
        })
    }

    /// The address that is connected to.
    pub fn target(&self) -> SocketAddr {
        self.new.target()
    }
}

/// How a flow broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Break {
    /// RST.
    Reset,
    /// FIN, without the header `Connection: close` before.
    Closed,
    /// No answer in time.
    Silent,
    /// Another answer than 2xx, or an error of the kernel.
    Other,
}

/// A flow that broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// When the SYN of its connection was sent, in milliseconds since the start.
    pub opened_ms: u64,
    /// When it was seen, in milliseconds since the start.
    pub at_ms: u64,
    /// How it broke.
    pub how: Break,
    /// The frontend that had answered it, `?` before the first answer.
    pub frontend: String,
}

/// What happened to the flows in one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Connections that were opened, and answered once.
    pub opened: u64,
    /// Connections that were not: each is tried again.
    pub not_opened: u64,
    /// Answers.
    pub answered: u64,
    /// Connections that a server ended with `Connection: close`, or that were [renewed](Control::renew): they are not broken, and
    /// opened again.
    pub ended: u64,
    /// Each answer that took longer than [`DELAYED`]: how long, in milliseconds since its request.
    pub delays_ms: Vec<u64>,
    /// The slowest answer, in microseconds since its request.
    pub slowest_us: u64,
    /// The flows that broke.
    pub broken: Vec<Broken>,
}

/// A new connection that got no answer of 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When its SYN was sent, in milliseconds since the start.
    pub at_ms: u64,
    /// How it ended.
    pub how: String,
}

/// What happened to the new connections that were opened in one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    /// Connections that were not opened, because those of two seconds had not ended yet: the load has a limit.
    pub skipped: u64,
    /// How they ended.
    #[serde(flatten)]
    pub counts: Counts,
    /// Each answer of 2xx that took longer than [`DELAYED`]: how long, in milliseconds from the SYN to the end of the answer.
    pub delays_ms: Vec<u64>,
    /// The slowest of all answers of 2xx, in microseconds.
    pub slowest_us: u64,
    /// Those without an answer of 2xx.
    pub lost: Vec<Lost>,
}

/// What happened from one mark to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// When it began, in milliseconds since the start.
    pub began_ms: u64,
    /// How long it lasted, in milliseconds.
    pub lasted_ms: u64,
    /// The long-lived connections.
    pub flows: Flows,
    /// The new ones.
    pub new: New,
    /// The longest time for which the client itself was late, in microseconds: delays below that may be its own.
    pub late_us: u64,
}

/// All phases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In the order of time.
    pub phases: Vec<Phase>,
}

impl Flows {
    /// How many broke that this frontend had answered.
    pub fn broken_of(&self, frontend: &str) -> usize {
        self.broken.iter().filter(|broken| broken.frontend == frontend).count()
    }

    /// How many broke, by the way they broke.
    pub fn ways(&self) -> BTreeMap<Break, usize> {
        let mut ways = BTreeMap::new();
        for broken in &self.broken {
            *ways.entry(broken.how).or_default() += 1;
        }
        ways
    }
}

impl Report {
    /// The first phase of this name.
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

/// The table, a line for each phase.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.phases.iter().map(|phase| phase.name.chars().count()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "{:width$} {:>6} | flows: {:>7} {:>6} {:>5} {:>6} {:>6} {:>7} {:>7} | new: {:>7} {:>7} {:>7} {:>5} {:>7} {:>5} {:>7} {:>7} | {:>6}",
            "phase",
            "s",
            "answers",
            "broken",
            "reset",
            "closed",
            "silent",
            "delayed",
            "max ms",
            "opened",
            "skipped",
            "refused",
            "reset",
            "no answ",
            "other",
            "delayed",
            "max ms",
            "late ms"
        )?;
        for Phase { name, lasted_ms, flows, new, late_us, .. } in &self.phases {
            let (ways, counts) = (flows.ways(), &new.counts);
            let way = |how: Break| ways.get(&how).copied().unwrap_or(0);
            writeln!(
                f,
                "{name:width$} {:>6.1} | {:>14} {:>6} {:>5} {:>6} {:>6} {:>7} {:>7} | {:>12} {:>7} {:>7} {:>5} {:>7} {:>5} {:>7} {:>7} | {:>7}",
                *lasted_ms as f64 / 1000.0,
                flows.answered,
                flows.broken.len(),
                way(Break::Reset),
                way(Break::Closed),
                way(Break::Silent),
                flows.delays_ms.len(),
                flows.slowest_us / 1000,
                counts.answered() + counts.lost(),
                new.skipped,
                counts.refused,
                counts.reset,
                counts.timed_out,
                counts.other + counts.status.values().sum::<u64>(),
                new.delays_ms.len(),
                new.slowest_us / 1000,
                late_us / 1000,
            )?;
        }
        Ok(())
    }
}

/// Begins phases and ends the client, from any thread. All clones are of the same client.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// Each with the moment at which it began.
    phases: Mutex<Vec<(Instant, Phase)>>,
    is_stopped: AtomicBool,
    open: AtomicU64,
    /// How often [`Control::renew`] was called.
    renewals: AtomicU64,
}

impl Default for Control {
    fn default() -> Control {
        Control::new()
    }
}

impl Control {
    /// That of a client that is not running yet; the first phase begins now.
    pub fn new() -> Control {
        let start = Instant::now();
        let shared = Shared {
            start,
            phases: Mutex::new(Vec::new()),
            is_stopped: AtomicBool::new(false),
            open: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
        };
        let control = Control(Arc::new(shared));
        control.begin(FIRST_PHASE, start);
        control
    }

    /// Begins a phase, now.
    pub fn mark(&self, name: &str) {
        self.begin(name, Instant::now());
    }

    /// Ends the client: open flows are closed, and connections without an answer are waited for.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Closes every flow instead of its next request, and opens it again. Without this, a frontend that returns finds only flows that
    /// survived its leaving, because the routers' old order of next hops returns with it.
    pub fn renew(&self) {
        self.0.renewals.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of flows that are open, and were answered.
    pub fn open_flows(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Milliseconds since the start, as in the reports.
    pub fn now_ms(&self) -> u64 {
        self.since_start(Instant::now())
    }

    /// What happened so far.
    pub fn report(&self) -> Report {
        let now = self.since_start(Instant::now());
        let mut phases: Vec<Phase> = self.phases().iter().map(|(_, phase)| phase.clone()).collect();
        let ends: Vec<u64> = phases.iter().skip(1).map(|phase| phase.began_ms).chain([now]).collect();
        for (phase, end) in phases.iter_mut().zip(ends) {
            phase.lasted_ms = end.saturating_sub(phase.began_ms);
        }
        Report { phases }
    }

    fn begin(&self, name: &str, at: Instant) {
        let phase = Phase { name: name.to_owned(), began_ms: self.since_start(at), ..Phase::default() };
        self.phases().push((at, phase));
    }

    fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::Relaxed)
    }

    fn renewals(&self) -> u64 {
        self.0.renewals.load(Ordering::Relaxed)
    }

    /// Milliseconds.
    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.0.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn phases(&self) -> MutexGuard<'_, Vec<(Instant, Phase)>> {
        self.0.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records in the phase of a moment.
    fn at(&self, at: Instant, record: impl FnOnce(&mut Phase)) {
        let mut phases = self.phases();
        let found = phases.iter_mut().rev().find(|(began, _)| *began <= at);
        if let Some((_, phase)) = found {
            record(phase);
        }
    }

    /// Records in the phase of a request: that in which it was sent; or the next one, if that began within [`DELAYED`] and before the end.
    fn at_request(&self, sent: Instant, ended: Instant, record: impl FnOnce(&mut Phase)) {
        let next = self.phases().iter().map(|(began, _)| *began).find(|began| *began > sent);
        let waits = next.filter(|began| *began <= ended && *began < sent + DELAYED);
        self.at(waits.unwrap_or(sent), record);
    }

    /// Records the answer to a request of a flow.
    fn answered(&self, asked: Instant, took: Duration) {
        self.at_request(asked, asked + took, |Phase { flows, .. }| {
            flows.answered += 1;
            flows.delays_ms.extend(delay(took));
            flows.slowest_us = flows.slowest_us.max(micros(took));
        });
    }

    /// Records that a flow broke, whose SYN was sent at `opened`: it counts in the phase of `cause`, a request or the break itself.
    fn broke(&self, opened: Instant, cause: Instant, how: Break, frontend: &str) {
        let now = Instant::now();
        let (opened_ms, at_ms) = (self.since_start(opened), self.since_start(now));
        let broken = Broken { opened_ms, at_ms, how, frontend: frontend.to_owned() };
        self.at_request(cause, now, |phase| phase.flows.broken.push(broken));
    }

    /// Records the end of a new connection.
    fn ended(&self, begun: Instant, took: Duration, outcome: &Outcome) {
        let at_ms = self.since_start(begun);
        self.at_request(begun, begun + took, |Phase { new, .. }| {
            new.counts.add(outcome);
            let how = match outcome {
                Outcome::Ok(_) => {
                    new.delays_ms.extend(delay(took));
                    new.slowest_us = new.slowest_us.max(micros(took));
                    return;
                }
                Outcome::Status(status) => format!("status {status}"),
                Outcome::Refused => "refused".to_owned(),
                Outcome::Reset => "reset".to_owned(),
                Outcome::TimedOut => "no answer".to_owned(),
                Outcome::Other => "other".to_owned(),
            };
            new.lost.push(Lost { at_ms, how });
        });
    }
}

/// The milliseconds of an answer that is delayed.
fn delay(took: Duration) -> Option<u64> {
    (took > DELAYED).then(|| micros(took) / 1000)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
