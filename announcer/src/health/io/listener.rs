//! Checks every few milliseconds whether a socket listens on each watched VIP and port, and reports when none does.
//!
//! Touches netlink (sock_diag(7)), through [`diag`], the clock, and the VIPs of this host: one connection for each listener that
//! went away. [`watch`](crate::health::watch) decides what follows. A query never waits: the kernel answers within the call.

pub mod diag;
mod scopes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::health::ListenerFact;
use crate::health::watch::{
    ConnectAnswer, DisarmReason, LookMethod, LookResult, Period, VipPort, Watch, WatchAction, WatchPlan,
};

use diag::Diag;
use scopes::VrfScopes;

#[cfg(test)]
mod tests;

/// How long a confirming connect may take. On this host an answer takes microseconds.
const PATIENCE: Duration = Duration::from_millis(50);
/// The wait before a failed operation is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The cost of a wake-up, in addition to the query itself.
const WAKE: Duration = Duration::from_micros(20);

/// The state of the watch itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenerReport {
    /// The time between two queries, in steps of a millisecond; zero: nothing is watched.
    pub period: Duration,
    /// How many VIPs and ports are watched.
    pub pairs: usize,
    /// How the kernel is asked; none while nothing is watched.
    pub how: Option<LookMethod>,
    /// The pairs that are up and that only probes check, and why.
    pub disarmed: Vec<(VipPort, DisarmReason)>,
    /// Why the watch cannot see listeners now.
    pub blind: Option<String>,
}

/// Watches the wanted pairs, until the sender of the wanted pairs or a receiver of the results was dropped.
pub async fn run(
    mut wanted: watch::Receiver<Arc<WatchPlan>>,
    facts: mpsc::Sender<ListenerFact>,
    report: watch::Sender<ListenerReport>,
) {
    let mut watcher = Watcher::new(&wanted.borrow_and_update().clone());
    let mut confirming = FuturesUnordered::new();
    loop {
        report.send_if_modified(|published| {
            let now = watcher.report();
            let news = *published != now;
            *published = now;
            news
        });
        let actions = tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                watcher.set(&wanted.borrow_and_update().clone());
                continue;
            }
            Some((pair, answer)) = confirming.next() => watcher.answered(pair, answer),
            () = sleep_until(watcher.next), if watcher.is_on() => watcher.look(),
            () = facts.closed() => return,
        };
        let mut changes = Vec::new();
        for action in actions {
            match action {
                WatchAction::Report { pair, listening } => changes.push((pair, listening)),
                WatchAction::Connect(pair) => match ConfirmingConnect::start(pair, watcher.vrfs.of(pair.0)) {
                    ConfirmingConnect::Answered(answer) => {
                        changes.extend(watcher.answered(pair, answer).into_iter().filter_map(tell))
                    }
                    ConfirmingConnect::UnderWay(socket) => confirming.push(later(pair, socket)),
                },
            }
        }
        for ((vip, port), listening) in changes {
            let at = Instant::now().into_std();
            if facts.send(ListenerFact { vip, port, listening, at }).await.is_err() {
                return;
            }
        }
    }
}

/// The pairs on which nothing listens, by one query and one connection for each that the kernel does not know. If the listeners cannot
/// be read, there are none. `vrfs` are the VRFs of the VIPs that are in one.
pub async fn gone(pairs: &[VipPort], vrfs: BTreeMap<IpAddr, String>) -> BTreeSet<VipPort> {
    if pairs.is_empty() {
        return BTreeSet::new();
    }
    let mut vrfs = VrfScopes::new(vrfs);
    let looked = Diag::open().and_then(|mut diag| diag.look_up(pairs, vrfs.now()));
    let looked = looked.unwrap_or_else(|error| {
        warn!(%error, "listeners cannot be read, only probes notice a crash");
        Vec::new()
    });
    let missing = pairs.iter().zip(looked).filter(|(_, look)| *look == LookResult::Nothing);
    let answers = missing.map(async |(pair, _)| match ConfirmingConnect::start(*pair, vrfs.of(pair.0)) {
        ConfirmingConnect::Answered(answer) => (*pair, answer),
        ConfirmingConnect::UnderWay(socket) => later(*pair, socket).await,
    });
    let answers = futures_util::future::join_all(answers).await;
    answers
        .into_iter()
        .filter(|(_, answer)| *answer == ConnectAnswer::Refused)
        .map(|(pair, _)| pair)
        .collect()
}

/// Of each pair on which something listens, whether it listens on a wildcard (`false`: on the VIP itself).
pub fn on_wildcard(pairs: &[VipPort]) -> BTreeMap<VipPort, bool> {
    let found = Diag::open().and_then(|mut diag| diag.listening_addresses(pairs)).unwrap_or_default();
    let known =
        pairs.iter().zip(found).filter_map(|(pair, address)| Some((*pair, address?.is_unspecified())));
    known.collect()
}

fn tell(action: WatchAction) -> Option<(VipPort, bool)> {
    match action {
        WatchAction::Report { pair, listening } => Some((pair, listening)),
        WatchAction::Connect(_) => None,
    }
}

/// The state machine, the socket to the kernel, and the schedule.
struct Watcher {
    watch: Watch,
    every: Duration,
    period: Period,
    diag: Option<Diag>,
    vrfs: VrfScopes,
    next: Instant,
    blind: Option<String>,
}

impl Watcher {
    fn new(wanted: &WatchPlan) -> Self {
        let (watch, every) = (Watch::default(), Duration::ZERO);
        let mut watcher = Watcher {
            watch,
            every,
            period: Period::new(every),
            diag: None,
            vrfs: VrfScopes::default(),
            next: Instant::now(),
            blind: None,
        };
        watcher.set(wanted);
        watcher
    }

    fn set(&mut self, wanted: &WatchPlan) {
        self.watch.set(&wanted.pairs);
        self.vrfs.set(&wanted.vrfs);
        if wanted.every != self.every {
            self.every = wanted.every;
            self.period = Period::new(wanted.every);
            self.next = Instant::now();
        }
        if !self.is_on() {
            (self.diag, self.blind) = (None, None);
        }
    }

    fn is_on(&self) -> bool {
        !self.every.is_zero() && self.watch.pairs().len() > 0
    }

    fn how(&self) -> LookMethod {
        LookMethod::of(self.watch.pairs().len())
    }

    /// Queries every pair once.
    fn look(&mut self) -> Vec<WatchAction> {
        let began = busy();
        let sights = match self.sights() {
            Ok(sights) => {
                if self.blind.take().is_some() {
                    info!("listeners can be read again");
                }
                sights
            }
            Err((error, again)) => {
                let why = error.to_string();
                if self.blind.as_ref() != Some(&why) {
                    warn!(error = why, "listeners cannot be read, only probes notice a crash");
                }
                (self.blind, self.diag) = (Some(why), None);
                self.next = Instant::now() + again;
                return Vec::new();
            }
        };
        let now = Instant::now();
        let actions = self.watch.look(&sights, now.into_std());
        self.period.measured(busy().saturating_sub(began) + WAKE);
        // Missed queries are not repeated, and no query is later than the end of a grace.
        let next = (self.next + self.period.get()).max(now);
        self.next = self.watch.deadline().map_or(next, |ends| next.min(ends.into()));
        actions
    }

    /// The kernel's answer for each pair; an error has the time until the next try.
    fn sights(&mut self) -> Result<Vec<LookResult>, (diag::DiagError, Duration)> {
        let diag = match &mut self.diag {
            Some(diag) => diag,
            none => none.insert(Diag::open().map_err(|error| (error, RETRY))?),
        };
        let pairs: Vec<VipPort> = self.watch.pairs().collect();
        let scopes = self.vrfs.now();
        let once_more = |error| (error, self.period.get());
        match LookMethod::of(pairs.len()) {
            LookMethod::Lookups => diag.look_up(&pairs, scopes).map_err(once_more),
            LookMethod::Dump => {
                // A dump in several parts may miss a socket while other sockets change. So a result with consequences is checked by
                // a look-up.
                let mut sights = diag.dump(&pairs, scopes).map_err(once_more)?;
                let doubtful = self.watch.doubtful(&sights);
                let again: Vec<VipPort> =
                    doubtful.iter().filter_map(|place| pairs.get(*place).copied()).collect();
                let looked = diag.look_up(&again, scopes).map_err(once_more)?;
                for (place, sight) in doubtful.into_iter().zip(looked) {
                    sights[place] = sight;
                }
                Ok(sights)
            }
        }
    }

    fn answered(&mut self, pair: VipPort, answer: ConnectAnswer) -> Vec<WatchAction> {
        match answer {
            ConnectAnswer::Refused => {}
            ConnectAnswer::Accepted | ConnectAnswer::Unanswered => {
                debug!(vip = %pair.0, port = pair.1, ?answer, "listener is gone, watched only by probes");
            }
        }
        self.watch.answered(pair, answer).into_iter().collect()
    }

    fn report(&self) -> ListenerReport {
        if !self.is_on() {
            return ListenerReport::default();
        }
        ListenerReport {
            period: Duration::from_millis((self.period.get().as_micros() as u64).div_ceil(1000)),
            pairs: self.watch.pairs().len(),
            how: Some(self.how()),
            disarmed: self.watch.disarmed(),
            blind: self.blind.clone(),
        }
    }
}

/// The CPU time of this thread so far.
fn busy() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// A connection that confirms a missing listener.
enum ConfirmingConnect {
    Answered(ConnectAnswer),
    UnderWay(Socket),
}

impl ConfirmingConnect {
    /// It goes from the VIP to the VIP and in the VRF, like the probes. On loopback, the answer usually arrives within the call.
    fn start((vip, port): VipPort, vrf: Option<&str>) -> ConfirmingConnect {
        let to = SocketAddr::new(vip, port);
        let begin = || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            // The connection is closed with a reset, so that the server does not have to handle it.
            socket.set_linger(Some(Duration::ZERO))?;
            if let Some(vrf) = vrf {
                socket.bind_device(Some(vrf.as_bytes()))?;
            }
            socket.bind(&SocketAddr::new(vip, 0).into())?;
            Ok::<Socket, std::io::Error>(socket)
        };
        // An error on our side, such as a missing descriptor or VIP, proves nothing about the server.
        let Ok(socket) = begin() else { return ConfirmingConnect::Answered(ConnectAnswer::Unanswered) };
        match socket.connect(&to.into()) {
            Ok(()) => ConfirmingConnect::Answered(met(&socket)),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => match socket.take_error() {
                Ok(None) if socket.peer_addr().is_ok() => ConfirmingConnect::Answered(met(&socket)),
                Ok(None) => ConfirmingConnect::UnderWay(socket),
                Ok(Some(error)) | Err(error) => ConfirmingConnect::Answered(failed(&error)),
            },
            Err(error) => ConfirmingConnect::Answered(failed(&error)),
        }
    }
}

/// Whether a server accepted the connection. A TCP socket can connect to itself if its own port is the requested one; that does not
/// count.
fn met(socket: &Socket) -> ConnectAnswer {
    match (socket.local_addr(), socket.peer_addr()) {
        (Ok(own), Ok(other)) if own.as_socket() == other.as_socket() => ConnectAnswer::Refused,
        (Ok(_), Ok(_)) => ConnectAnswer::Accepted,
        (Err(_), _) | (_, Err(_)) => ConnectAnswer::Unanswered,
    }
}

fn failed(error: &std::io::Error) -> ConnectAnswer {
    if error.kind() == std::io::ErrorKind::ConnectionRefused {
        ConnectAnswer::Refused
    } else {
        ConnectAnswer::Unanswered
    }
}

/// Waits for the answer to a running connect.
async fn later(pair: VipPort, socket: Socket) -> (VipPort, ConnectAnswer) {
    let answer = async {
        let stream = TcpStream::from_std(socket.into())?;
        stream.writable().await?;
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(met(&SockRef::from(&stream))),
        }
    };
    let answer = match timeout(PATIENCE, answer).await {
        Ok(answer) => answer.unwrap_or_else(|error| failed(&error)),
        Err(_) => ConnectAnswer::Unanswered,
    };
    (pair, answer)
}
