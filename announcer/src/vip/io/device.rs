//! Keeps the VIPs of one device, lo or that of a VRF.
//!
//! Touches the device by netlink, through the dsr-setup library, and the state file and the ARP settings through the door to the disk.
//! Only the [keeper](crate::vip::keeper) decides what is done, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use dsr_setup::io::device::{Device, DeviceError, DeviceKind};
use dsr_setup::{AddResult, Error, Link, Record, RemoveResult, Store, Sysctl, VipEvent, Vips};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use nix::errno::Errno;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::KeeperChannels;
use crate::files::io::Files;
use crate::model::Generation;
use crate::model::device::{LOOPBACK, create_vrf};
use crate::vip::keeper::{Keeper, KeeperStep, LOOK, RETRY};
use crate::vip::{DeviceProblem, Presence, WantedVips};

/// How long the kernel may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The ARP settings, which are read together.
const ARP_SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// The inputs and outputs of the keeper of one device.
pub(super) struct DeviceChannels {
    /// Its name.
    pub(super) device: String,
    /// The VIPs that have to be on it.
    pub(super) wanted: watch::Receiver<WantedVips>,
    /// The VIPs that are wanted or may still be on it.
    pub(super) held: watch::Sender<BTreeSet<IpAddr>>,
    /// The warnings about it, one sentence each.
    pub(super) warnings: watch::Sender<Vec<String>>,
    /// The channels that all devices share.
    pub(super) shared: KeeperChannels,
}

/// Keeps the VIPs on the device; never returns.
pub(super) async fn keep(mut setup: DeviceChannels) {
    let wanted = setup.wanted.borrow_and_update().clone();
    let host = host(setup.shared.files.clone(), setup.shared.state_dir.clone(), Duration::ZERO).boxed();
    let keeper = Keeper::new(setup.device.clone(), wanted, now());
    let acknowledgements = FuturesUnordered::new();
    let mut task = KeeperTask { setup, keeper, acknowledgements, host };
    loop {
        let Err(error) = task.run().await else { return };
        if is_own_fault(&error) {
            // The device could not be read, so the last known state is kept.
            warn!(device = task.setup.device, %error, "VIPs cannot be watched, trying again");
            task.keeper.look_again(now() + RETRY);
        } else {
            task.keeper.look_failed(&error.to_string(), now());
            if error.holds_no_vips() {
                task.keeper.device_unusable();
            }
            // Before the device was read, nothing is changed there.
            for step in task.keeper.steps(now()) {
                match step {
                    KeeperStep::Report(vip, presence) => task.report(vip, presence).await,
                    KeeperStep::Await(generation) => task.wait_for(generation),
                    KeeperStep::Look | KeeperStep::SetDeviceUp | KeeperStep::Add(_) | KeeperStep::Mend(_) => {
                    }
                    KeeperStep::Remove(_) | KeeperStep::Record(_) | KeeperStep::Forget(_) => {}
                }
            }
            task.publish();
        }
        sleep(RETRY).await;
    }
}

/// Why a device cannot be kept now.
#[derive(Debug, thiserror::Error)]
enum DeviceFault {
    /// The VRF does not exist; its name.
    #[error("the VRF `{0}` does not exist; {advice}", advice = create_vrf(.0))]
    Missing(String),
    /// The interface with this name is not a VRF.
    #[error("`{0}` is not a VRF: write the name of a VRF in `vrf`")]
    NoVrf(String),
    /// The kernel cannot be asked.
    #[error(transparent)]
    Kernel(#[from] Error),
}

impl DeviceFault {
    /// Whether no VIP of ours can be on the device.
    fn holds_no_vips(&self) -> bool {
        match self {
            DeviceFault::Missing(_) | DeviceFault::NoVrf(_) => true,
            DeviceFault::Kernel(_) => false,
        }
    }

    fn of_device(error: DeviceError) -> Self {
        match error {
            DeviceError::Missing(name) | DeviceError::NoSuchVrf(name) => DeviceFault::Missing(name),
            DeviceError::Kind(name) | DeviceError::NotVrf(name) => DeviceFault::NoVrf(name),
            DeviceError::Netlink(error) => DeviceFault::Kernel(error),
        }
    }
}

/// Whether the daemon may keep VIPs on a device: it is lo itself, or a VRF. On a dummy, which `dsr-setup` allows, the VIPs would be
/// in no VRF.
fn is_right(device: &Device) -> bool {
    match device.kind {
        DeviceKind::Loopback => device.name == LOOPBACK,
        DeviceKind::Vrf => true,
        DeviceKind::Dummy => false,
    }
}

/// The error when the kernel has not answered within [`ANSWER`].
fn late() -> Error {
    Error::Netlink(std::io::ErrorKind::TimedOut.into())
}

/// Whether we lacked a descriptor or memory, or the kernel was too busy to answer. Such an error proves nothing about the device.
fn is_own_fault(fault: &DeviceFault) -> bool {
    let DeviceFault::Kernel(error) = fault else { return false };
    if let Error::Netlink(error) = error
        && error.kind() == std::io::ErrorKind::TimedOut
    {
        return true;
    }
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    error.errno().is_some_and(|errno| ours.contains(&Errno::from_raw(errno)))
}

struct KeeperTask {
    setup: DeviceChannels,
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
    async fn run(&mut self) -> Result<(), DeviceFault> {
        let (connection, vips) = dsr_setup::connect()?;
        let _requests = NetlinkTask(tokio::spawn(connection));
        let vips = timeout(ANSWER, vips.on_device(&self.setup.device)).await.map_err(|_| late())?;
        let vips = vips.map_err(DeviceFault::of_device)?;
        if !is_right(vips.device()) {
            return Err(DeviceFault::NoVrf(self.setup.device.clone()));
        }
        let mut events = dsr_setup::watch_device(vips.device().index)?;
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
                    self.host = host(self.setup.shared.files.clone(), self.setup.shared.state_dir.clone(), LOOK).boxed();
                }
                () = sleep_until(deadline) => {}
            }
        }
    }

    fn hear(&mut self, event: VipEvent) {
        match event {
            VipEvent::Removed(vip) => {
                if self.keeper.wants(vip) {
                    warn!(%vip, device = self.setup.device, "VIP was removed by another program");
                }
                self.keeper.gone(vip, now());
            }
            VipEvent::Added(_) => self.keeper.arrived(now()),
            VipEvent::Link(link) => {
                if link == Link::Down {
                    warn!(device = self.setup.device, "device of the VIPs was set down by another program");
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
                answer.map_err(|_| late())??;
            }
        }
    }

    async fn carry_out(&mut self, vips: &Vips, step: KeeperStep) -> Result<(), Error> {
        match step {
            KeeperStep::Look => {
                let observed = vips.observe(&self.keeper.recorded()).await?;
                self.keeper.looked(observed, now());
            }
            KeeperStep::SetDeviceUp => {
                let done = vips.raise_lo().await.map_err(|error| error.to_string());
                if done.is_ok() {
                    info!(device = self.setup.device, "device of the VIPs was set up");
                }
                self.keeper.device_set_up(done, now());
            }
            KeeperStep::Add(wanted) => {
                for (vip, done) in vips.add(&wanted).await {
                    if matches!(done, Ok(AddResult::Added)) {
                        info!(%vip, device = self.setup.device, "VIP was put on its device");
                    }
                    self.keeper.added(vip, done.map_err(|error| error.to_string()), now());
                }
            }
            KeeperStep::Mend(changed) => {
                for (vip, done) in vips.mend(&changed).await {
                    let device = &self.setup.device;
                    match done {
                        Ok(()) => {
                            warn!(%vip, device, "VIP was changed by another program, and was corrected")
                        }
                        Err(error) => {
                            warn!(%vip, device, %error, "VIP was changed by another program, and could not be corrected")
                        }
                    }
                }
            }
            KeeperStep::Remove(nets) => {
                for net in nets {
                    let (vip, done) = (net.addr(), vips.remove(net).await);
                    match &done {
                        Ok(RemoveResult::Removed) => {
                            info!(%vip, device = self.setup.device, "VIP without a service was removed")
                        }
                        Ok(RemoveResult::Absent) => {}
                        Err(error) => {
                            let device = &self.setup.device;
                            warn!(%vip, device, %error, "VIP without a service could not be removed, trying again")
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
        let acknowledged = (self.setup.shared.acknowledged)(generation);
        self.acknowledgements.push(acknowledged.map(move |()| generation).boxed());
    }

    /// Writes the state file, outside the main thread, without waiting for it.
    fn record(&self, change: impl FnOnce(&mut Record) + Send + 'static) {
        let (files, store) = (self.setup.shared.files.clone(), Store::new(&self.setup.shared.state_dir));
        let device = self.setup.device.clone();
        tokio::spawn(async move {
            let path = store.path();
            let error = match files.run(&path, move |_| Ok(store.update(change))).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            warn!(file = %path.display(), device, error, "owner of an address was not recorded");
        });
    }

    async fn report(&mut self, vip: IpAddr, presence: Presence) {
        match &presence {
            Presence::Missing(DeviceProblem { device, reason }) => {
                warn!(%vip, device, reason, "VIP is not on its device")
            }
            Presence::DeviceDown(DeviceProblem { device, reason }) => {
                warn!(%vip, device, reason, "device of the VIPs is down")
            }
            Presence::Present | Presence::Unknown => {}
        }
        let _ = self.setup.shared.facts.send((vip, presence)).await; // an error means that the daemon is ending
    }

    fn publish(&self) {
        let held = self.keeper.held();
        let is_news = |known: &mut BTreeSet<IpAddr>| std::mem::replace(known, held.clone()) != held;
        self.setup.held.send_if_modified(is_news);
        let warnings: Vec<String> = self.keeper.warnings().iter().map(ToString::to_string).collect();
        let is_news = |known: &mut Vec<String>| std::mem::replace(known, warnings.clone()) != warnings;
        self.setup.warnings.send_if_modified(is_news);
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vips_are_kept_on_lo_and_on_vrfs_alone() {
        for (name, kind, want) in [
            ("lo", DeviceKind::Loopback, true),
            ("lo1", DeviceKind::Loopback, false),
            ("edge", DeviceKind::Vrf, true),
            ("edge", DeviceKind::Dummy, false),
        ] {
            assert_eq!(is_right(&Device { index: 7, name: name.into(), kind }), want, "{name} {kind:?}");
        }
    }

    /// `vrf = "eth0"` is a mistake that a reload corrects: then the keeper of eth0 ends. A kernel that does not answer proves nothing.
    #[test]
    fn no_vip_has_to_leave_an_interface_that_is_not_a_vrf() {
        for (fault, want) in [
            (DeviceFault::of_device(DeviceError::Missing("edge".into())), true),
            (DeviceFault::of_device(DeviceError::Kind("eth0".into())), true),
            (DeviceFault::Kernel(late()), false),
        ] {
            assert_eq!(fault.holds_no_vips(), want, "{fault}");
        }
    }
}
