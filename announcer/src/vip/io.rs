//! Keeps the VIPs on lo, and reports whether each is there.
//!
//! Touches lo by netlink, through the dsr-setup library, and the state file and the ARP settings through the door to the disk. Only
//! the [keeper](super::keeper) decides what is done, and when.

mod lock;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dsr_setup::{AddResult, Error, Link, Record, RemoveResult, Store, Sysctl, VipEvent, Vips};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use nix::errno::Errno;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use self::lock::LockTask;
use crate::files::io::Files;
use crate::model::Generation;
use crate::vip::keeper::{Keeper, KeeperStep, LOOK, RETRY};
use crate::vip::{Presence, WantedVips};

/// How long the kernel may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest time that the end of [`keep`] takes at a stop.
pub const LONGEST_STOP: Duration = Duration::from_secs(2);
/// The ARP settings, which are read together.
const ARP_SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// Returns a future that ends when the routers have acknowledged a generation.
pub type Acknowledgement = Arc<dyn Fn(Generation) -> BoxFuture<'static, ()> + Send + Sync>;

/// The inputs and outputs of the task.
#[derive(Clone)]
pub struct KeeperChannels {
    /// The VIPs that have to be on lo.
    pub wanted: watch::Receiver<WantedVips>,
    /// Waits until the routers have acknowledged a withdraw.
    pub acknowledged: Acknowledgement,
    /// The VIPs that are wanted or may still be on lo.
    pub held: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    /// Each change of a VIP's presence, once.
    pub facts: mpsc::Sender<(IpAddr, Presence)>,
    /// The warnings about the host, one sentence each.
    pub warnings: watch::Sender<Vec<String>>,
    /// The door to the disk.
    pub files: Files,
    /// Whether the daemon is stopped by order. Then the VIPs stay as they are, and the lock of the keeper is freed.
    pub stop: watch::Receiver<bool>,
    /// The directory of the state file, in which dsr-setup records its addresses for kernels without marks.
    pub state_dir: PathBuf,
}

impl fmt::Debug for KeeperChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}

/// Keeps the VIPs on lo until the daemon is stopped.
pub async fn keep(setup: KeeperChannels) {
    let lock = LockTask::start().await;
    let mut stop = setup.stop.clone();
    tokio::select! {
        () = keep_with_lock(setup) => {}
        _ = stop.wait_for(|is_stopped| *is_stopped) => {}
    }
    lock.stop().await;
}

/// Keeps the VIPs on lo; never returns.
async fn keep_with_lock(mut setup: KeeperChannels) {
    let wanted = setup.wanted.borrow_and_update().clone();
    let host = host(setup.files.clone(), setup.state_dir.clone(), Duration::ZERO).boxed();
    let (keeper, acknowledgements) = (Keeper::new(wanted, now()), FuturesUnordered::new());
    let mut task = KeeperTask { setup, keeper, acknowledgements, host };
    loop {
        let Err(error) = task.run().await else { return };
        if is_own_fault(&error) {
            // lo could not be read, so the last known state is kept.
            warn!(%error, "VIPs are not watched, trying again");
            task.keeper.look_again(now() + RETRY);
        } else {
            task.keeper.look_failed(&error.to_string(), now());
            // Before lo was read, nothing is changed there.
            for step in task.keeper.steps(now()) {
                match step {
                    KeeperStep::Report(vip, presence) => task.report(vip, presence).await,
                    KeeperStep::Await(generation) => task.wait_for(generation),
                    KeeperStep::Look | KeeperStep::RaiseLo | KeeperStep::Add(_) | KeeperStep::Mend(_) => {}
                    KeeperStep::Remove(_) | KeeperStep::Record(_) | KeeperStep::Forget(_) => {}
                }
            }
        }
        sleep(RETRY).await;
    }
}

/// Whether we lacked a descriptor or memory, or the kernel was too busy to answer. Such an error proves nothing about lo.
fn is_own_fault(error: &Error) -> bool {
    if let Error::Netlink(error) = error
        && error.kind() == std::io::ErrorKind::TimedOut
    {
        return true;
    }
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    error.errno().is_some_and(|errno| ours.contains(&Errno::from_raw(errno)))
}

struct KeeperTask {
    setup: KeeperChannels,
    keeper: Keeper,
    acknowledgements: FuturesUnordered<BoxFuture<'static, Generation>>,
    host: Pin<Box<dyn Future<Output = HostFiles> + Send>>,
}

/// The facts about the host that are read from files.
struct HostFiles {
    sysctls: Result<BTreeMap<Sysctl, i32>, String>,
    record: Result<BTreeSet<IpAddr>, String>,
}

/// Reads them after `pause`, off the main thread.
async fn host(files: Files, state_dir: PathBuf, pause: Duration) -> HostFiles {
    sleep(pause).await;
    let sysctls = files.run(Path::new(ARP_SETTINGS), |_| Ok(dsr_setup::read_sysctls())).await;
    let sysctls = match sysctls {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(error) => Err(format!("`{ARP_SETTINGS}`: {error}")),
    };
    let store = Store::new(&state_dir);
    let path = store.path();
    let record = match files.run(&path, move |_| Ok(store.load())).await {
        Ok(Ok(Record { addresses, changes: _ })) => Ok(addresses),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("`{}`: {error}", path.display())),
    };
    HostFiles { sysctls, record }
}

/// The netlink connection's task, which ends with it.
struct NetlinkTask(JoinHandle<()>);

impl Drop for NetlinkTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KeeperTask {
    async fn run(&mut self) -> Result<(), Error> {
        let mut events = dsr_setup::watch()?;
        let (connection, vips) = dsr_setup::connect()?;
        let _requests = NetlinkTask(tokio::spawn(connection));
        self.keeper.look_again(now()); // events in between were missed
        loop {
            self.work(&vips).await?;
            self.publish();
            let deadline = Instant::from_std(self.keeper.deadline());
            tokio::select! {
                event = events.next() => {
                    self.hear(event?);
                    // Events that are already available are processed together.
                    while let Some(event) = events.next().now_or_never() {
                        self.hear(event?);
                    }
                }
                changed = self.setup.wanted.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let wanted = self.setup.wanted.borrow_and_update().clone();
                    self.keeper.set_wanted(wanted, now());
                }
                Some(generation) = self.acknowledgements.next(), if !self.acknowledgements.is_empty() => {
                    self.keeper.acknowledged(generation, now());
                }
                HostFiles { sysctls, record } = &mut self.host => {
                    let sysctls = sysctls.unwrap_or_else(|error| {
                        warn!(error, "ARP settings cannot be read");
                        BTreeMap::new()
                    });
                    self.keeper.host(sysctls, record);
                    self.host = host(self.setup.files.clone(), self.setup.state_dir.clone(), LOOK).boxed();
                }
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn hear(&mut self, event: VipEvent) {
        match event {
            VipEvent::Removed(vip) => {
                if self.keeper.wants(vip) {
                    warn!(%vip, "VIP was removed from lo by another program");
                }
                self.keeper.gone(vip, now());
            }
            VipEvent::Added(_) => self.keeper.arrived(now()),
            VipEvent::Link(link) => {
                if link == Link::Down {
                    warn!("lo was set down by another program");
                }
                self.keeper.link(link, now());
            }
            VipEvent::Overrun => self.keeper.look_again(now()),
        }
    }

    /// Executes all steps that are due now.
    async fn work(&mut self, vips: &Vips) -> Result<(), Error> {
        loop {
            let steps = self.keeper.steps(now());
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                let answer = timeout(ANSWER, self.carry_out(vips, step)).await;
                answer.map_err(|_| Error::Netlink(std::io::ErrorKind::TimedOut.into()))??;
            }
        }
    }

    async fn carry_out(&mut self, vips: &Vips, step: KeeperStep) -> Result<(), Error> {
        match step {
            KeeperStep::Look => {
                let lo = vips.observe(&self.keeper.recorded()).await?;
                self.keeper.looked(lo, now());
            }
            KeeperStep::RaiseLo => {
                let done = vips.raise_lo().await.map_err(|error| error.to_string());
                if done.is_ok() {
                    info!("lo was set up");
                }
                self.keeper.raised(done, now());
            }
            KeeperStep::Add(wanted) => {
                for (vip, done) in vips.add(&wanted).await {
                    if matches!(done, Ok(AddResult::Added)) {
                        info!(%vip, "VIP was put on lo");
                    }
                    self.keeper.added(vip, done.map_err(|error| error.to_string()), now());
                }
            }
            KeeperStep::Mend(changed) => {
                for (vip, done) in vips.mend(&changed).await {
                    match done {
                        Ok(()) => warn!(%vip, "VIP was changed on lo by another program, and was corrected"),
                        Err(error) => {
                            warn!(%vip, %error, "VIP was changed on lo by another program, and could not be corrected")
                        }
                    }
                }
            }
            KeeperStep::Remove(nets) => {
                for net in nets {
                    let (vip, done) = (net.addr(), vips.remove(net).await);
                    match &done {
                        Ok(RemoveResult::Removed) => info!(%vip, "VIP without a service was removed from lo"),
                        Ok(RemoveResult::Absent) => {}
                        Err(error) => {
                            warn!(%vip, %error, "VIP without a service could not be removed from lo, trying again")
                        }
                    }
                    self.keeper.removed(vip, done.is_ok(), now());
                }
            }
            KeeperStep::Record(vips) => self.record(move |record| record.addresses.extend(vips)),
            KeeperStep::Forget(vips) => {
                self.record(move |record| record.addresses.retain(|vip| !vips.contains(vip)))
            }
            KeeperStep::Report(vip, presence) => self.report(vip, presence).await,
            KeeperStep::Await(generation) => self.wait_for(generation),
        }
        Ok(())
    }

    fn wait_for(&mut self, generation: Generation) {
        let acknowledged = (self.setup.acknowledged)(generation);
        self.acknowledgements.push(acknowledged.map(move |()| generation).boxed());
    }

    /// Writes the state file, outside the main thread, without waiting for it.
    fn record(&self, change: impl FnOnce(&mut Record) + Send + 'static) {
        let (files, store) = (self.setup.files.clone(), Store::new(&self.setup.state_dir));
        tokio::spawn(async move {
            let path = store.path();
            let error = match files.run(&path, move |_| Ok(store.update(change))).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            warn!(file = %path.display(), error, "owner of an address on lo was not recorded");
        });
    }

    async fn report(&mut self, vip: IpAddr, presence: Presence) {
        match &presence {
            Presence::Missing(why) => warn!(%vip, reason = why, "VIP is not on lo"),
            Presence::LoDown(why) => warn!(%vip, reason = why, "lo is down"),
            Presence::Present | Presence::Unknown => {}
        }
        let _ = self.setup.facts.send((vip, presence)).await; // an error means that the daemon is ending
    }

    fn publish(&self) {
        let held = self.keeper.held();
        self.setup.held.send_if_modified(|known| {
            let is_news = **known != held;
            if is_news {
                *known = Arc::new(held);
            }
            is_news
        });
        let warnings: Vec<String> = self.keeper.warnings().iter().map(ToString::to_string).collect();
        self.setup.warnings.send_if_modified(|known| {
            let is_news = *known != warnings;
            warnings.iter().filter(|warning| !known.contains(warning)).for_each(|warning| warn!("{warning}"));
            *known = warnings;
            is_news
        });
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
