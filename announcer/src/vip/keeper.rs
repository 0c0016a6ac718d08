//! Decides when a VIP is put on its device (lo, or the device of a VRF) and when it is removed. Each device has its own keeper.
//!
//! Pure. Its input is the addresses on the device, the wanted VIPs, and what the routers have acknowledged. Its output is the steps
//! that are due now with the presence to report, and the time of the next steps. No other part decides about the device.
//!
//! ```text
//!              wanted                                        no longer wanted
//!   (nothing) ────────→ put on the device, looked after ──────────────────────────────→ leaving
//!                          ↑                                                              │
//!                          └───────────────────── wanted again ──────────────────────────┤
//!                                                                                         │
//!   removed, if it is ours ←── `settle` has passed ←── the routers acknowledged the withdraw
//! ```
//!
//! Each VIP leaves separately: `settle` after its own withdraw was acknowledged, also if other reloads happen in between. If the device
//! has a VIP with our mark at the start that no service names, the previous daemon has withdrawn it, at the latest by its end, and it
//! leaves `settle` after the start.

mod vip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dsr_setup::warning::{self, Warning};
use dsr_setup::{AddResult, Link, LoAddress, Loopback, MarkSupport, Owner, Sysctl};
use ipnet::IpNet;

use self::vip::{LeavingVip, WantedVip};
use super::{DeviceProblem, Presence, WantedVips};
use crate::model::Generation;

/// The wait before a failed operation is tried again.
pub const RETRY: Duration = Duration::from_secs(1);
/// How often the device is read without an event.
pub const LOOK: Duration = Duration::from_secs(10);
/// How long after a new or changed address the device is read, so that several changes are read together.
pub const GATHER: Duration = Duration::from_millis(100);
/// The longest wait for an acknowledgement. The session with a silent router ends long before.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A step to execute. The keeper needs the result before the next call of [`Keeper::steps`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperStep {
    /// Read all addresses on the device: then call [`Keeper::looked`] or [`Keeper::look_failed`].
    Look,
    /// Set the device up: then call [`Keeper::device_set_up`].
    SetDeviceUp,
    /// Put these VIPs on the device: then call [`Keeper::added`] for each.
    Add(Vec<IpAddr>),
    /// Restore the flags, lifetimes and marks of these VIPs.
    Mend(Vec<IpAddr>),
    /// Remove these addresses from the device: then call [`Keeper::removed`] for each.
    Remove(Vec<IpNet>),
    /// Record that these addresses are ours, because the kernel does not store the mark.
    Record(Vec<IpAddr>),
    /// Record that these addresses are no longer ours.
    Forget(Vec<IpAddr>),
    /// Report the presence of a VIP.
    Report(IpAddr, Presence),
    /// Wait until the routers have acknowledged this generation: then call [`Keeper::acknowledged`].
    Await(Generation),
}

/// The only owner of the addresses on the device.
#[derive(Debug)]
pub struct Keeper {
    device: String,
    wanted: WantedVips,
    vips: BTreeMap<IpAddr, WantedVip>,
    leaving: BTreeMap<IpAddr, LeavingVip>,
    /// The last read state of the device; `None` while it cannot be read.
    observed: Option<Loopback>,
    look_at: Instant,
    looked_at: Instant,
    /// If the device is down: when it is set up.
    set_up_at: Option<Instant>,
    /// Whether addresses with our mark that no service names still have to be searched.
    sweep: bool,
    /// The generations for which a wait was requested.
    awaited: BTreeSet<Generation>,
    /// Our addresses according to the state file; `None`: it was not read yet.
    recorded: Option<BTreeSet<IpAddr>>,
    record_error: Option<String>,
    sysctls: BTreeMap<Sysctl, i32>,
}

impl Keeper {
    /// A keeper of the device with this name, without facts.
    pub fn new(device: String, wanted: WantedVips, now: Instant) -> Self {
        Keeper {
            device,
            vips: wanted.vips.iter().map(|vip| (*vip, WantedVip::default())).collect(),
            wanted,
            leaving: BTreeMap::new(),
            observed: None,
            look_at: now,
            looked_at: now,
            set_up_at: None,
            sweep: true,
            awaited: BTreeSet::new(),
            recorded: None,
            record_error: None,
            sysctls: BTreeMap::new(),
        }
    }

    /// The VIPs that are wanted or may still be on the device: none of them is ever a next hop.
    pub fn held(&self) -> BTreeSet<IpAddr> {
        self.wanted.vips.iter().chain(self.leaving.keys()).copied().collect()
    }

    /// Why a VIP does not answer on the device; with the reason.
    fn problem(&self, reason: &str) -> DeviceProblem {
        DeviceProblem { device: self.device.clone(), reason: reason.to_owned() }
    }

    /// Whether a VIP is wanted.
    pub fn wants(&self, vip: IpAddr) -> bool {
        self.wanted.vips.contains(&vip)
    }

    /// Our addresses according to the state file.
    pub fn recorded(&self) -> BTreeSet<IpAddr> {
        self.recorded.clone().unwrap_or_default()
    }

    /// The warnings about the host. An address that is being corrected causes a warning only if a later read still shows the
    /// problem.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = self.record_error.clone().map(Warning::Record).into_iter().collect();
        if let Some(observed) = &self.observed {
            let tried = self.looked_at..self.looked_at + LOOK; // before the read: the next try is `LOOK` after it
            let is_mended = |at: Instant| at <= self.looked_at || !tried.contains(&at);
            let hidden = |vip: &IpAddr| self.vips.get(vip).and_then(|vip| vip.mend).is_some_and(is_mended);
            let vips = self.wanted.vips.iter().filter(|vip| !hidden(vip)).copied().collect();
            warnings.extend(warning::of_arp(observed, &self.sysctls, &self.wanted.vips));
            warnings.extend(warning::of_addresses(observed, &vips));
        }
        warnings
    }

    /// When the next steps are due without a new fact.
    pub fn deadline(&self) -> Instant {
        let trials = self.vips.values().filter_map(|vip| vip.removals.deadline());
        let first = trials.fold(self.look_at, Instant::min);
        if self.observed.is_none() {
            return first;
        }
        let settle = self.wanted.settle;
        let retries = self.vips.values().filter(|_| self.set_up_at.is_none()).filter_map(|vip| vip.retry);
        let mends = self.vips.values().filter_map(|vip| vip.mend);
        let due = self.leaving.values().map(|leaving| leaving.due(settle));
        self.set_up_at.into_iter().chain(retries).chain(mends).chain(due).fold(first, Instant::min)
    }

    /// The wanted VIPs or `settle` have changed.
    pub fn set_wanted(&mut self, wanted: WantedVips, now: Instant) {
        let before = std::mem::replace(&mut self.wanted, wanted);
        for vip in before.vips.difference(&self.wanted.vips) {
            let is_ours = self.vips.remove(vip).is_some_and(|vip| vip.is_ours);
            let generation = self.wanted.generation;
            let leaving = LeavingVip { generation, since: now, acknowledged: None, is_ours, retry: None };
            self.leaving.insert(*vip, leaving);
        }
        for vip in self.wanted.vips.iter() {
            let was_ours = self.leaving.remove(vip).is_some_and(|leaving| leaving.is_ours);
            let vip = self.vips.entry(*vip).or_default();
            vip.is_ours |= was_ours;
            vip.reported = None; // the director may have lost it
        }
        self.sweep = true;
        self.look_at = now;
    }

    /// The routers have acknowledged `generation`.
    pub fn acknowledged(&mut self, generation: Generation, now: Instant) {
        self.awaited.remove(&generation);
        for leaving in self.leaving.values_mut().filter(|leaving| leaving.generation <= generation) {
            leaving.acknowledged.get_or_insert(now);
        }
    }

    /// An address is gone from the device.
    pub fn gone(&mut self, vip: IpAddr, now: Instant) {
        if let Some(leaving) = self.leaving.get_mut(&vip) {
            leaving.is_ours = false; // if it comes back, another program has added it
        }
        if let Some(vip) = self.vips.get_mut(&vip) {
            vip.leave(now);
            self.look_at = now; // it may still exist with another prefix or scope
        }
    }

    /// An address was added to the device, or its flags or lifetime have changed.
    pub fn changed(&mut self, now: Instant) {
        self.look_at = self.look_at.min(now + GATHER);
    }

    /// An address was added to the device by any program. What could not be put there is tried again at once: IPv6 may have been
    /// switched on again, and the kernel adds ::1 then.
    pub fn arrived(&mut self, now: Instant) {
        for vip in self.vips.values_mut().filter(|vip| !vip.is_present) {
            vip.retry = vip.retry.map(|at| at.min(now));
        }
        self.changed(now);
    }

    /// The known state of the device may be out of date.
    pub fn look_again(&mut self, now: Instant) {
        self.look_at = now;
    }

    /// The device was set up or down.
    pub fn link(&mut self, link: Link, now: Instant) {
        match link {
            Link::Down => {
                self.vips.values_mut().for_each(|vip| vip.leave(now));
                self.set_up_at.get_or_insert(now);
            }
            Link::Up => self.look_at = now,
        }
    }

    /// Records the state file and the ARP settings. If the state file cannot be used, changes cannot be undone, and nothing else
    /// fails.
    pub fn host(&mut self, sysctls: BTreeMap<Sysctl, i32>, record: Result<BTreeSet<IpAddr>, String>) {
        self.sysctls = sysctls;
        match record {
            Ok(recorded) => {
                self.recorded = Some(recorded);
                self.record_error = None;
            }
            Err(error) => {
                self.recorded.get_or_insert_default();
                self.record_error = Some(error);
            }
        }
    }

    /// The device was read.
    pub fn looked(&mut self, observed: Loopback, now: Instant) {
        (self.look_at, self.looked_at) = (now + LOOK, now);
        match observed.link {
            Link::Down if self.set_up_at.is_none() => self.link(Link::Down, now),
            Link::Down => {}
            Link::Up => self.set_up_at = None,
        }
        let mut by_address: BTreeMap<IpAddr, Vec<&LoAddress>> = BTreeMap::new();
        for found in &observed.addresses {
            by_address.entry(found.net.addr()).or_default().push(found);
        }
        for (address, vip) in &mut self.vips {
            match by_address.get(address) {
                Some(found) if observed.link == Link::Up => vip.see(found, observed.marks, now),
                Some(_) => {}
                None => vip.leave(now),
            }
        }
        // If the kernel stores no marks, the state file has to be read first.
        if self.sweep && (observed.marks == MarkSupport::Kept || self.recorded.is_some()) {
            self.sweep = false;
            let unwanted =
                observed.ours().map(|net| net.addr()).filter(|address| !self.wanted.vips.contains(address));
            for address in unwanted {
                self.leaving.entry(address).or_insert(LeavingVip {
                    generation: self.wanted.generation,
                    since: now,
                    acknowledged: None,
                    is_ours: true,
                    retry: None,
                });
            }
        }
        self.observed = Some(observed);
    }

    /// The device could not be read; with the reason.
    pub fn look_failed(&mut self, why: &str, now: Instant) {
        (self.observed, self.look_at) = (None, now + RETRY);
        let problem = self.problem(why);
        for vip in self.vips.values_mut() {
            vip.removals.put(Err(Presence::Missing(problem.clone())), now);
        }
    }

    /// The device does not exist or is not a VRF, and so no VIP has to leave it any more.
    pub fn device_unusable(&mut self) {
        self.leaving.clear();
    }

    /// The device was set up, or could not be set up; with the reason.
    pub fn device_set_up(&mut self, done: Result<(), String>, now: Instant) {
        match done {
            Ok(()) => self.look_at = now,
            Err(why) => {
                let problem = self.problem(&why);
                for vip in self.vips.values_mut() {
                    vip.removals.put(Err(Presence::DeviceDown(problem.clone())), now);
                }
            }
        }
    }

    /// A VIP was put on the device, or could not be put there; with the reason.
    pub fn added(&mut self, vip: IpAddr, done: Result<AddResult, String>, now: Instant) {
        let done = done.map_err(|why| self.problem(&why));
        let Some(vip) = self.vips.get_mut(&vip) else { return };
        match done {
            Ok(ensured) => {
                vip.is_ours = ensured == AddResult::Added;
                vip.return_to(now);
            }
            Err(problem) => {
                vip.removals.put(Err(Presence::Missing(problem)), now);
                vip.retry = Some(now + RETRY);
            }
        }
        self.changed(now);
    }

    /// An address of ours was removed from the device, or could not be.
    pub fn removed(&mut self, address: IpAddr, is_removed: bool, now: Instant) {
        if is_removed {
            self.leaving.remove(&address);
        } else if let Some(leaving) = self.leaving.get_mut(&address) {
            leaving.retry = Some(now + RETRY);
        }
    }

    /// The steps that are due now, in this order. If there are none, wait until [`deadline`](Self::deadline) or for a new fact.
    pub fn steps(&mut self, now: Instant) -> Vec<KeeperStep> {
        let settle = self.wanted.settle;
        let is_due = |leaving: &LeavingVip| leaving.due(settle) <= now;
        let is_stale =
            self.leaving.values().any(|leaving| is_due(leaving) && self.looked_at < leaving.due(settle));
        if self.look_at <= now || (is_stale && self.observed.is_some()) {
            self.look_at = now + RETRY; // in case that no result is reported
            self.looked_at = now;
            return vec![KeeperStep::Look];
        }
        let mut steps = Vec::new();
        if self.observed.is_some() {
            if self.set_up_at.is_some_and(|at| at <= now) {
                self.set_up_at = Some(now + RETRY);
                return vec![KeeperStep::SetDeviceUp];
            }
            if self.set_up_at.is_none() {
                steps.extend(self.additions(now));
            }
            steps.extend(self.departures(now));
        }
        for leaving in self.leaving.values().filter(|leaving| leaving.acknowledged.is_none()) {
            if self.awaited.insert(leaving.generation) {
                steps.push(KeeperStep::Await(leaving.generation));
            }
        }
        for (address, vip) in &mut self.vips {
            let presence = vip.removals.presence(&self.device, now);
            if presence != Presence::Unknown && vip.reported.as_ref() != Some(&presence) {
                vip.reported = Some(presence.clone());
                steps.push(KeeperStep::Report(*address, presence));
            }
        }
        steps
    }

    /// The VIPs to put on the device or to correct there.
    fn additions(&mut self, now: Instant) -> Vec<KeeperStep> {
        let (mut add, mut mend) = (Vec::new(), Vec::new());
        for (address, vip) in &mut self.vips {
            if !vip.is_present && vip.retry.is_none_or(|at| at <= now) {
                vip.retry = Some(now + RETRY);
                add.push(*address);
            } else if vip.mend.is_some_and(|at| at <= now) {
                vip.mend = Some(now + LOOK);
                mend.push(*address);
            }
        }
        if !mend.is_empty() {
            self.changed(now);
        }
        let mut record = Vec::new();
        let keeps_no_marks =
            self.observed.as_ref().is_some_and(|observed| observed.marks == MarkSupport::NotKept);
        if let Some(recorded) = self.recorded.as_mut().filter(|_| keeps_no_marks) {
            record.extend(self.vips.iter().filter(|(_, vip)| vip.is_ours).map(|(address, _)| *address));
            record.retain(|address| recorded.insert(*address));
        }
        let mut steps = Vec::new();
        steps.extend((!add.is_empty()).then_some(KeeperStep::Add(add)));
        steps.extend((!mend.is_empty()).then_some(KeeperStep::Mend(mend)));
        steps.extend((!record.is_empty()).then_some(KeeperStep::Record(record)));
        steps
    }

    /// The VIPs to remove from the device. It was read after they became due.
    fn departures(&mut self, now: Instant) -> Vec<KeeperStep> {
        let settle = self.wanted.settle;
        let due: Vec<IpAddr> = (self.leaving.iter())
            .filter(|(_, leaving)| leaving.due(settle) <= now)
            .map(|(address, _)| *address)
            .collect();
        let (mut remove, mut forget) = (Vec::new(), Vec::new());
        for address in due {
            let Some(leaving) = self.leaving.get_mut(&address) else { continue };
            let addresses = self.observed.iter().flat_map(|observed| &observed.addresses);
            let found = addresses.filter(|found| found.net.addr() == address);
            let is_alone = found.clone().count() == 1;
            let is_ours = |found: &&LoAddress| found.owner == Owner::Ours || (leaving.is_ours && is_alone);
            let nets: Vec<IpNet> = found.filter(is_ours).map(|found| found.net).collect();
            if nets.is_empty() {
                self.leaving.remove(&address); // it is gone, or belongs to another program
            } else {
                leaving.retry = Some(now + RETRY);
                remove.extend(nets);
            }
            if self.recorded.as_mut().is_some_and(|recorded| recorded.remove(&address)) {
                forget.push(address);
            }
        }
        let mut steps = Vec::new();
        steps.extend((!remove.is_empty()).then_some(KeeperStep::Remove(remove)));
        steps.extend((!forget.is_empty()).then_some(KeeperStep::Forget(forget)));
        steps
    }
}

#[cfg(test)]
mod tests;
