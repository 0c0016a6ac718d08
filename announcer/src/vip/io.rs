//! Keeps the VIPs on lo, and tells whether each is there.
//!
//! Touches lo by netlink, through the dsr-setup library. A VIP that disappears is put back at once, and what is made of it
//! is decided by [`stay`](super::stay); one that no longer has a service, and that is ours, is removed once the routers had
//! time to stop sending to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dsr_setup::{Ensured, Error, Link, Store, VipEvent, Vips};
use nix::errno::Errno;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::vip::Presence;
use crate::vip::stay::Stay;

/// Before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often lo is looked at though no event came.
const AUDIT: Duration = Duration::from_secs(60);

/// What to look after.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The VIPs that have to be on lo; one that is no longer among them is removed at once, if it is ours.
    pub vips: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// How long after the start those are removed that never were among them: nobody announces them, but a router's FIB
    /// may still follow.
    pub settle: Duration,
    /// Where dsr-setup records whose address is whose, for kernels that cannot.
    pub state_dir: PathBuf,
}

/// Looks after the VIPs for ever. Each change of a VIP's presence is told once.
pub async fn keep(wanted: Wanted, told: mpsc::Sender<(IpAddr, Presence)>) {
    let mut keeper = Keeper { wanted, known: BTreeMap::new(), stays: BTreeMap::new(), told };
    loop {
        let Err(e) = keeper.run().await else { return };
        if is_own_fault(&e) {
            // We could not look: what was there is there, as far as anyone knows.
            warn!(error = %e, "VIPs are not watched, tried again");
            sleep(RETRY).await;
            continue;
        }
        let missing = Presence::Missing(e.to_string());
        let vips = keeper.wanted.vips.borrow().clone();
        for vip in vips.iter() {
            keeper.tell(*vip, missing.clone()).await;
        }
        sleep(RETRY).await;
    }
}

/// Whether we had no descriptor or no memory left: that says nothing of lo.
fn is_own_fault(error: &Error) -> bool {
    let ours = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    error.errno().is_some_and(|errno| ours.contains(&Errno::from_raw(errno)))
}

struct Keeper {
    wanted: Wanted,
    known: BTreeMap<IpAddr, Presence>,
    stays: BTreeMap<IpAddr, Stay>,
    told: mpsc::Sender<(IpAddr, Presence)>,
}

/// The netlink connection's task, which ends with it.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Keeper {
    async fn run(&mut self) -> Result<(), Error> {
        let mut events = dsr_setup::watch()?;
        let (connection, vips) = dsr_setup::connect(Store::new(&self.wanted.state_dir))?;
        let _requests = Connection(tokio::spawn(connection));

        if vips.observe().await?.link == Link::Down {
            vips.raise_lo().await?;
            info!("lo was set up");
        }
        let mut all_there = self.audit(&vips).await?;
        let mut tidy = Some(Instant::now() + self.wanted.settle);
        loop {
            let pause = if all_there { AUDIT } else { RETRY };
            let trial = self.stays.values().filter_map(Stay::deadline).min().map(Instant::from_std);
            let event = tokio::select! {
                event = timeout(pause, events.next()) => event,
                () = sleep_until(tidy.unwrap_or_else(Instant::now)), if tidy.is_some() => {
                    self.tidy(&vips).await?;
                    tidy = None;
                    continue;
                }
                () = sleep_until(trial.unwrap_or_else(Instant::now)), if trial.is_some() => {
                    self.tell_those_that_stayed().await;
                    continue;
                }
                changed = self.wanted.vips.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.known.clear(); // whoever decides may have forgotten
                    let wanted = self.wanted.vips.borrow().clone();
                    self.stays.retain(|vip, _| wanted.contains(vip));
                    all_there = self.audit(&vips).await?;
                    if tidy.is_none() {
                        self.tidy(&vips).await?;
                    }
                    continue;
                }
            };
            all_there = match event {
                Ok(Ok(VipEvent::Removed(vip))) if self.wanted.vips.borrow().contains(&vip) => {
                    warn!(%vip, "VIP was removed from lo by someone else");
                    self.stays.entry(vip).or_default().removed(now());
                    self.put(&vips, vip).await && all_there
                }
                Ok(Ok(VipEvent::Added(_) | VipEvent::Removed(_))) => all_there,
                Ok(Ok(VipEvent::Overrun)) | Err(_) => self.audit(&vips).await?,
                Ok(Err(e)) => return Err(e),
            };
        }
    }

    /// Removes what is ours and has no service.
    async fn tidy(&mut self, vips: &Vips) -> Result<(), Error> {
        let wanted = self.wanted.vips.borrow().clone();
        for vip in vips.ours().await?.into_iter().filter(|vip| !wanted.contains(vip)) {
            vips.remove_if_ours(vip).await?;
            self.known.remove(&vip);
            info!(%vip, "VIP without a service was removed from lo");
        }
        Ok(())
    }

    /// Looks at lo in full and puts there what is missing; whether all is there now.
    async fn audit(&mut self, vips: &Vips) -> Result<bool, Error> {
        let lo = vips.observe().await?;
        let mut all_there = true;
        let wanted = self.wanted.vips.borrow_and_update().clone();
        for vip in wanted.iter() {
            let stay = self.stays.entry(*vip).or_default();
            if lo.holds(*vip) {
                stay.seen(now());
                let presence = stay.presence(now());
                self.tell(*vip, presence).await;
            } else {
                stay.removed(now());
                all_there &= self.put(vips, *vip).await;
            }
        }
        Ok(all_there)
    }

    /// Puts a VIP on lo; whether it is there now.
    async fn put(&mut self, vips: &Vips, vip: IpAddr) -> bool {
        let done = match vips.ensure(vip).await {
            Ok(ensured) => {
                if ensured == Ensured::Added {
                    info!(%vip, "VIP was put on lo");
                }
                Ok(())
            }
            Err(e) => Err(e.to_string()),
        };
        let there = done.is_ok();
        let stay = self.stays.entry(vip).or_default();
        stay.put(done, now());
        let presence = stay.presence(now());
        self.tell(vip, presence).await;
        there
    }

    async fn tell_those_that_stayed(&mut self) {
        let stays = self.stays.iter_mut().map(|(vip, stay)| (*vip, stay.presence(now())));
        for (vip, presence) in stays.collect::<Vec<_>>() {
            self.tell(vip, presence).await;
        }
    }

    async fn tell(&mut self, vip: IpAddr, presence: Presence) {
        if self.known.get(&vip) == Some(&presence) {
            return;
        }
        if let Presence::Missing(why) = &presence {
            warn!(%vip, reason = why, "VIP is not on lo");
        }
        self.known.insert(vip, presence.clone());
        let _ = self.told.send((vip, presence)).await; // the daemon is ending
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
