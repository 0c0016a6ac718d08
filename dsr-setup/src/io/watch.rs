//! `dsr-setup watch`: repairs what has drifted, until it is stopped.
//!
//! Touches the host through [`Host`], the kernel's events, the lock of the keeper, and signals. What is repaired, and when, is decided in
//! [`crate::watch()`].

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, sleep_until};

use self::tunnels::TunnelKeeper;
use super::device::DeviceName;
use super::events::{Events, VipEvent, watch_device};
use super::lock::{self, Attempt, HolderEnd, KeeperLock, LockHolder, Role};
use super::{Error, Host, StepResult};
use crate::plan::{Forwarding, HostState, Link, MarkSupport, Step};
use crate::tunnel::TunnelKind;
use crate::watch::{Duty, REST, Repair, Watcher};

mod tunnels;

/// How often the whole host is read. The kernel reports no changes of the settings.
const LOOK: Duration = Duration::from_secs(2);
/// How long after an address was added or an interface has changed the host is read, so that several changes are read together.
const GATHER: Duration = Duration::from_millis(100);
/// The wait before what has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often to try for the lock while a process that does not count has it.
const RECLAIM: Duration = Duration::from_secs(10);

/// The VIPs, and whether the chain forwards packets.
pub type Wanted = (BTreeSet<IpAddr>, Forwarding);

/// The lock, from this process's side.
enum Lock {
    Held(KeeperLock),
    /// Another program keeps the VIPs.
    Taken(LockHolder),
    /// The lock cannot be used, and the VIPs are kept without it.
    Without,
}

/// Waits for the device with this name, which may be created later. Returns it with the signals, so that none is lost before [`keep`] waits
/// for them. `None`: SIGTERM or SIGINT came first.
///
/// # Errors
/// When the signals are not available.
pub async fn appeared(host: &Host, device: &DeviceName) -> Result<Option<(Host, Signals)>, Error> {
    let mut signals = Signals::new()?;
    let mut said = None;
    loop {
        match host.clone().on(device).await {
            Ok(host) => return Ok(Some((host, signals))),
            Err(error) => {
                let error = error.to_string();
                if said.as_ref() != Some(&error) {
                    output::note(format_args!("warning: {error}; its VIPs are put there when it exists"));
                    said = Some(error);
                }
            }
        }
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(None),
            _ = signals.interrupt.recv() => return Ok(None),
            // The configuration is read when the interface is there.
            _ = signals.hangup.recv() => {}
            () = sleep(RETRY) => {}
        }
    }
}

/// What has happened.
enum Happened {
    Event(Result<VipEvent, Error>),
    /// A daemon wants the lock.
    Wanted(UnixStream),
    /// The holder has ended.
    Ended(HolderEnd),
    /// It is time to look, or to try for the lock.
    Time,
    Reload,
    Stop,
}

/// The signals.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Error> {
        let of = |kind| signal(kind).map_err(Error::Netlink);
        Ok(Signals {
            hangup: of(SignalKind::hangup())?,
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }
}

/// Keeps the VIPs that `read` returns, and the tunnels, until SIGTERM or SIGINT. `read` is called again at SIGHUP, and when the daemon has ended; if it
/// fails then, the VIPs stay what they were.
///
/// # Errors
/// When the kernel's events are not available at the start.
pub async fn keep<F: Display>(
    (host, signals): (Host, Signals),
    name: &DeviceName,
    wanted: Wanted,
    tunnels: BTreeSet<TunnelKind>,
    read: impl Fn() -> Result<Wanted, F>,
) -> Result<(), Error> {
    let device = host.vips().device().clone();
    let events = watch_device(device.index)?;
    let (vips, forwarding) = wanted;
    let watcher = Watcher::new(vips, forwarding);
    let lock = Lock::Without;
    let now = Instant::now();
    let mut task = WatchTask {
        host,
        name: name.clone(),
        device: device.name,
        watcher,
        lock,
        signals,
        events,
        look_at: now,
        reclaim_at: now,
        said: BTreeSet::new(),
        said_of_lock: None,
        tunnels: TunnelKeeper::new(tunnels),
    };
    task.claim().await;
    task.run(read).await
}

struct WatchTask {
    host: Host,
    name: DeviceName,
    device: String,
    watcher: Watcher,
    lock: Lock,
    signals: Signals,
    events: Events,
    look_at: Instant,
    reclaim_at: Instant,
    /// The errors since the last time that all was well, which are not said again.
    said: BTreeSet<String>,
    /// The last one about the lock.
    said_of_lock: Option<String>,
    tunnels: TunnelKeeper,
}

impl WatchTask {
    async fn run<F: Display>(&mut self, read: impl Fn() -> Result<Wanted, F>) -> Result<(), Error> {
        let mut last: Option<HostState> = None;
        loop {
            if self.look_at <= Instant::now() {
                self.look_at = Instant::now() + LOOK;
                last = self.look().await;
                self.tunnels.look(&self.host, self.watcher.vips()).await;
            }
            match self.wait().await {
                Happened::Event(event) => {
                    let mut next = Some(event);
                    while let Some(event) = next {
                        self.hear(event).await;
                        // Events that are already available are processed together.
                        next = self.events.next().now_or_never();
                    }
                    if let Some(known) = last.take() {
                        last = self.look_at_addresses(known).await;
                    }
                }
                Happened::Wanted(daemon) => {
                    if let Lock::Held(held) = std::mem::replace(&mut self.lock, Lock::Without) {
                        held.give_away(daemon);
                    }
                    // It needs a moment to take it.
                    self.reclaim_at = Instant::now() + GATHER;
                    self.wait_for_daemon().await;
                }
                Happened::Ended(end) => self.take_over(end, &read).await,
                Happened::Time => {
                    if matches!(self.lock, Lock::Without) && self.reclaim_at <= Instant::now() {
                        self.claim().await;
                    }
                }
                Happened::Reload => self.reload(&read),
                Happened::Stop => return Ok(()),
            }
        }
    }

    /// Waits for the next thing to do.
    async fn wait(&mut self) -> Happened {
        let now = Instant::now();
        let mut due = self.watcher.deadline(now).map_or(self.look_at, |rest| rest.min(self.look_at));
        if matches!(self.lock, Lock::Without) {
            due = due.min(self.reclaim_at);
        }
        let due = tokio::time::Instant::from_std(due.max(now));
        let of_lock = async {
            match &mut self.lock {
                Lock::Held(held) => Happened::Wanted(held.serve().await),
                Lock::Taken(holder) => Happened::Ended(holder.ended().await),
                Lock::Without => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.events.next() => Happened::Event(event),
            of_lock = of_lock => of_lock,
            _ = self.signals.terminate.recv() => Happened::Stop,
            _ = self.signals.interrupt.recv() => Happened::Stop,
            _ = self.signals.hangup.recv() => Happened::Reload,
            () = sleep_until(due) => {
                if self.watcher.deadline(now).is_some() {
                    self.look_at = Instant::now();
                }
                Happened::Time
            }
        }
    }

    async fn hear(&mut self, event: Result<VipEvent, Error>) {
        let now = Instant::now();
        match event {
            Ok(VipEvent::Removed(vip)) => self.watcher.removed(vip, now),
            Ok(VipEvent::Added(_) | VipEvent::Link(Link::Up)) => {
                self.look_at = self.look_at.min(now + GATHER)
            }
            Ok(VipEvent::Link(Link::Down) | VipEvent::Overrun) => self.look_at = now,
            Err(error) => {
                self.say(error.to_string());
                sleep(RETRY).await;
                self.look_at = now;
            }
        }
    }

    fn duty(&self) -> Duty {
        match self.lock {
            Lock::Held(_) | Lock::Without => Duty::All,
            Lock::Taken(_) => Duty::Settings,
        }
    }

    /// The device may have been made again: then it has another index, and its events are others.
    async fn follow_device(&mut self) -> Result<(), String> {
        let found = self.host.clone().on(&self.name).await.map_err(|error| error.to_string())?;
        if found.vips().device() != self.host.vips().device() {
            self.events = watch_device(found.vips().device().index).map_err(|error| error.to_string())?;
            output::note(format_args!("{} was made again", self.device));
            self.host = found;
        }
        Ok(())
    }

    /// Reads the whole host, and repairs.
    async fn look(&mut self) -> Option<HostState> {
        if let Err(error) = self.follow_device().await {
            self.say(error);
            self.look_at = Instant::now() + RETRY;
            return None;
        }
        match self.host.observe().await {
            Ok(mut observed) => {
                self.repair(&mut observed).await;
                Some(observed)
            }
            Err(error) => {
                self.say(format!("the host cannot be read: {error}"));
                self.look_at = Instant::now() + RETRY;
                None
            }
        }
    }

    /// Reads the addresses alone, which is quick, and repairs.
    async fn look_at_addresses(&mut self, mut known: HostState) -> Option<HostState> {
        match self.host.vips().observe(&BTreeSet::new()).await {
            // Without marks, the state file says whose an address is.
            Ok(lo) if lo.marks == MarkSupport::Kept || lo.addresses.is_empty() => {
                known.lo = lo;
                self.repair(&mut known).await;
                Some(known)
            }
            Ok(_) | Err(_) => self.look().await,
        }
    }

    /// Repairs what is due. A setting that was repaired has its new value in `observed` afterwards.
    async fn repair(&mut self, observed: &mut HostState) {
        let repairs = self.watcher.repairs(observed, self.duty(), Instant::now());
        let mut has_failed = false;
        for Repair { step, since } in repairs {
            let was = step.drift(&self.device, "was");
            match self.host.carry_out(&step).await {
                Ok(done) => {
                    let now = Instant::now();
                    self.watcher.repaired(&step, now);
                    let after =
                        since.map(|since| format!(" within {:.1} ms", (now - since).as_secs_f64() * 1000.0));
                    output::note(format_args!("{was}: repaired{}", after.unwrap_or_default()));
                    if let StepResult::NotRecorded(error) = done {
                        self.say(format!("{error}; `dsr-setup remove` will not undo this"));
                    }
                    self.said_again(&step, now);
                    if let Step::Set { sysctl, change } = &step {
                        observed.sysctls.insert(sysctl.clone(), change.set);
                    }
                    self.look_at = self.look_at.min(now + GATHER); // whether it has stayed
                }
                Err(error) => {
                    self.say(format!("{was}, and cannot be repaired: {error}"));
                    self.look_at = Instant::now() + RETRY;
                    has_failed = true;
                    // No VIP is added without the settings, but one VIP does not need the other one.
                    if step.vip().is_none() {
                        return;
                    }
                }
            }
        }
        if !has_failed && self.watcher.deadline(Instant::now()).is_none() {
            self.said.clear();
        }
    }

    /// Says that a VIP is left alone for some time.
    fn said_again(&mut self, step: &Step, now: Instant) {
        if let Step::Add(vip) = step
            && self.watcher.rests(*vip, now)
        {
            self.say(format!(
                "another program removes {vip} from {} again and again: it is put back once more in {} s",
                self.device,
                REST.as_secs()
            ));
        }
    }

    /// Says an error, once.
    fn say(&mut self, error: String) {
        if !self.said.contains(&error) {
            output::note(format_args!("warning: {error}"));
            self.said.insert(error);
        }
    }

    /// Tries to hold the lock.
    async fn claim(&mut self) {
        self.look_at = Instant::now();
        self.reclaim_at = Instant::now() + RECLAIM;
        self.lock = match lock::attempt(&self.device, Role::Watch).await {
            Ok(Attempt::Held(held)) => {
                let count = self.watcher.vips().len();
                output::note(format_args!(
                    "keeps {count} VIP{} on {}",
                    if count == 1 { "" } else { "s" },
                    self.device
                ));
                Lock::Held(held)
            }
            Ok(Attempt::Taken(holder)) => {
                output::note(format_args!(
                    "{} keeps the VIPs on {}: only the settings are repaired until it ends",
                    holder.name(),
                    self.device
                ));
                Lock::Taken(holder)
            }
            Ok(Attempt::Unusable(why)) => self.without_lock(why),
            Err(error) => self.without_lock(format!("the lock of the keeper cannot be made: {error}")),
        };
    }

    /// Says once why there is no lock.
    fn without_lock(&mut self, why: String) -> Lock {
        if self.said_of_lock.as_ref() != Some(&why) {
            output::note(format_args!("warning: {why}: the VIPs are kept without the lock"));
            self.said_of_lock = Some(why);
        }
        Lock::Without
    }

    /// After the lock was given away: waits until the daemon has it. If it has ended meanwhile, this process takes the lock again.
    async fn wait_for_daemon(&mut self) {
        for _ in 0..20 {
            match lock::holder(&self.device, Role::Watch).await {
                Ok(Some(_)) | Err(_) => break,
                Ok(None) => sleep(Duration::from_millis(5)).await,
            }
        }
        self.claim().await;
    }

    /// The program that kept the VIPs has ended.
    async fn take_over<F: Display>(&mut self, end: HolderEnd, read: &impl Fn() -> Result<Wanted, F>) {
        let Lock::Taken(holder) = &self.lock else { return };
        let (name, role) = (holder.name(), holder.role);
        self.reload(read);
        match (end, role) {
            (HolderEnd::Stopped, Role::Daemon) => {
                if let Ok(lo) = self.host.vips().observe(&BTreeSet::new()).await {
                    self.watcher.keep_what_is_there(&lo);
                }
                output::note(format_args!("{name} was stopped; what it has removed is not put back"));
            }
            (HolderEnd::Gone, Role::Daemon) => {
                output::note(format_args!("{name} has ended, and was not stopped"))
            }
            (HolderEnd::Stopped | HolderEnd::Gone, Role::Watch | Role::Question) => {
                output::note(format_args!("{name} has ended"));
            }
        }
        self.claim().await;
    }

    /// Reads the configuration again.
    fn reload<F: Display>(&mut self, read: &impl Fn() -> Result<Wanted, F>) {
        match read() {
            Ok((vips, forwarding)) => self.watcher.set_vips(vips, forwarding),
            Err(error) => output::note(format_args!("warning: {error}; the VIPs stay what they were")),
        }
        self.look_at = Instant::now();
    }
}
