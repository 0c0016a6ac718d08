//! Keeps the VIPs on this host, and reports whether each is there: those of lo, and those of each VRF on its device.
//!
//! Touches the devices by netlink, in [`device`], one task for each device, and the locks of the keepers.
//!
//! ```text
//! watch<WantedDevices> ─→ keep ─ watch<WantedVips> ─→ device::keep of lo, of each VRF ─→ mpsc<(VIP, Presence)>
//!                          ↑──── watch<held>, watch<warnings> ──────────┘
//!                          └──→ watch<held>, watch<warnings> of all devices together
//! ```

mod device;
mod lock;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all, select_all};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::warn;

use self::device::DeviceChannels;
use self::lock::LockTask;
use crate::files::io::Files;
use crate::model::Generation;
use crate::vip::{Presence, WantedDevices, WantedVips};

/// The longest time that the end of [`keep`] takes at a stop.
pub const LONGEST_STOP: Duration = Duration::from_secs(2);

/// Returns a future that ends when the routers have acknowledged a generation.
pub type Acknowledgement = Arc<dyn Fn(Generation) -> BoxFuture<'static, ()> + Send + Sync>;

/// The inputs and outputs of the task.
#[derive(Clone)]
pub struct KeeperChannels {
    /// The VIPs that have to be on this host.
    pub wanted: watch::Receiver<WantedDevices>,
    /// Waits until the routers have acknowledged a withdraw.
    pub acknowledged: Acknowledgement,
    /// The VIPs that are wanted or may still be on this host.
    pub held: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    /// Each change of a VIP's presence, once.
    pub facts: mpsc::Sender<(IpAddr, Presence)>,
    /// The warnings about the host, one sentence each.
    pub warnings: watch::Sender<Vec<String>>,
    /// The door to the disk.
    pub files: Files,
    /// Whether the daemon is stopped by order. Then the VIPs stay as they are, and the locks of the keepers are freed.
    pub stop: watch::Receiver<bool>,
    /// The directory of the state file, in which dsr-setup records its addresses for kernels without marks.
    pub state_dir: PathBuf,
}

impl fmt::Debug for KeeperChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
}

/// Keeps the VIPs on their devices until the daemon is stopped.
pub async fn keep(mut setup: KeeperChannels) {
    let (mut stop, mut devices) = (setup.stop.clone(), Devices::default());
    tokio::select! {
        () = keep_devices(&mut setup, &mut devices) => {}
        _ = stop.wait_for(|is_stopped| *is_stopped) => {}
    }
    join_all(devices.0.into_values().map(|device| device.lock.stop())).await;
}

/// The keepers, by the names of their devices.
#[derive(Default)]
struct Devices(BTreeMap<String, DeviceKeeper>);

/// The keeper of one device, which ends when this is dropped.
struct DeviceKeeper {
    wanted: watch::Sender<WantedVips>,
    held: watch::Receiver<BTreeSet<IpAddr>>,
    warnings: watch::Receiver<Vec<String>>,
    lock: LockTask,
    task: JoinSet<()>,
}

/// Keeps the VIPs; returns when nothing can be wanted any more.
async fn keep_devices(setup: &mut KeeperChannels, devices: &mut Devices) {
    loop {
        let wanted = setup.wanted.borrow_and_update().clone();
        devices.follow(&wanted, setup);
        loop {
            devices.publish(setup);
            tokio::select! {
                changed = setup.wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = devices.changed() => devices.forget(&wanted),
            }
        }
    }
}

impl Devices {
    /// Ends the keepers of devices that are no longer named and that the last VIP has left. That frees their locks.
    fn forget(&mut self, wanted: &WantedDevices) {
        self.0.retain(|name, keeper| wanted.needs(name, &keeper.held.borrow()));
    }

    /// Starts a keeper for each new device, and gives each its VIPs.
    fn follow(&mut self, wanted: &WantedDevices, setup: &KeeperChannels) {
        self.forget(wanted);
        for (name, keeper) in &self.0 {
            keeper.wanted.send_replace(wanted.of(name));
        }
        for name in wanted.devices.keys() {
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), DeviceKeeper::start(name, wanted.of(name), setup));
            }
        }
    }

    /// Publishes what the keepers say, together.
    fn publish(&self, setup: &KeeperChannels) {
        // While a keeper waits for its lock, it does not follow the VIPs that are wanted.
        let held_by = |keeper: &DeviceKeeper| &*keeper.held.borrow() | &*keeper.wanted.borrow().vips;
        let held: BTreeSet<IpAddr> = self.0.values().flat_map(held_by).collect();
        setup.held.send_if_modified(|known| {
            let is_news = **known != held;
            if is_news {
                *known = Arc::new(held);
            }
            is_news
        });
        let mut warnings: Vec<String> = Vec::new();
        for warning in self.0.values().flat_map(|keeper| keeper.warnings.borrow().clone()) {
            // The settings of the host concern every device.
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        setup.warnings.send_if_modified(|known| {
            let is_news = *known != warnings;
            warnings.iter().filter(|warning| !known.contains(warning)).for_each(|warning| warn!("{warning}"));
            *known = warnings;
            is_news
        });
    }

    /// Waits until a keeper has something new to say. A keeper that has panicked ends this task too, which is then started again.
    async fn changed(&mut self) {
        let news = self.0.values_mut().map(|keeper| {
            Box::pin(async {
                tokio::select! {
                    Ok(()) = keeper.held.changed() => {}
                    Ok(()) = keeper.warnings.changed() => {}
                    Some(Err(error)) = keeper.task.join_next() => {
                        if let Ok(panic) = error.try_into_panic() {
                            std::panic::resume_unwind(panic);
                        }
                    }
                    else => std::future::pending().await,
                }
            })
        });
        select_all(news).await;
    }
}

impl DeviceKeeper {
    /// Starts the task and that of the lock. The VIPs are kept when the attempt to take the lock has ended. Nobody else waits for that.
    fn start(name: &str, wanted: WantedVips, setup: &KeeperChannels) -> DeviceKeeper {
        let (lock, is_ready) = LockTask::start(name);
        // Until the keeper has said which it holds: those that are wanted.
        let (held, held_seen) = watch::channel((*wanted.vips).clone());
        let (warnings, warnings_seen) = watch::channel(Vec::new());
        let (wanted, wanted_heard) = watch::channel(wanted);
        let mut task = JoinSet::new();
        let channels = DeviceChannels {
            device: name.to_owned(),
            wanted: wanted_heard,
            held,
            warnings,
            shared: setup.clone(),
        };
        task.spawn(async move {
            // An error means that the daemon is stopped.
            if is_ready.await.is_ok() {
                device::keep(channels).await;
            }
        });
        DeviceKeeper { wanted, held: held_seen, warnings: warnings_seen, lock, task }
    }
}
