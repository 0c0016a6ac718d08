//! Decides when a VIP is put on lo, when it leaves, and what is known of it.
//!
//! Pure. Its input is what is on lo, which VIPs are wanted, and what the routers have acknowledged; its output is the steps
//! that are to be done now, and with the time at which it wants to be asked again. Nothing else decides about lo.
//!
//! ```text
//!              wanted                                        no longer wanted
//!   (nothing) ────────→ put on lo, looked after ──────────────────────────────────────→ leaving
//!                          ↑                                                              │
//!                          └───────────────────── wanted again ──────────────────────────┤
//!                                                                                         │
//!   removed, if it is ours ←── `settle` has passed ←── the routers acknowledged the withdraw
//! ```
//!
//! Each VIP leaves by itself: `settle` after its own withdraw was acknowledged, whatever is reloaded meanwhile. A VIP of ours
//! that nobody wants when the daemon starts was withdrawn by the daemon before it, at the latest by its end, and leaves
//! `settle` after the start.

mod vip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dsr_setup::warning::{self, Warning};
use dsr_setup::{AddResult, Link, LoAddress, Loopback, MarkSupport, Owner, Sysctl};
use ipnet::IpNet;

use self::vip::{LeavingVip, WantedVip};
use super::{Presence, WantedVips};
use crate::model::Generation;

/// Before what failed is tried again.
pub const RETRY: Duration = Duration::from_secs(1);
/// How often lo is looked at though no event came.
pub const LOOK: Duration = Duration::from_secs(10);
/// How long after an address came or changed lo is looked at: a few that come together are looked at together.
pub const GATHER: Duration = Duration::from_millis(100);
/// How long an acknowledgement is waited for. The session with a router that is silent ends long before.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Something to do. The result has to be given to the keeper before it is asked for the next steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperStep {
    /// Look at lo in full: [`Keeper::looked`] or [`Keeper::look_failed`].
    Look,
    /// Set lo up: [`Keeper::raised`].
    RaiseLo,
    /// Put these VIPs on lo: [`Keeper::added`] for each.
    Add(Vec<IpAddr>),
    /// Give these VIPs their flags, lifetimes and mark again.
    Mend(Vec<IpAddr>),
    /// Remove these addresses from lo: [`Keeper::removed`] for each.
    Remove(Vec<IpNet>),
    /// Record that these addresses are ours, since the kernel does not keep the mark.
    Record(Vec<IpAddr>),
    /// Record that these addresses are ours no longer.
    Forget(Vec<IpAddr>),
    /// Tell what is known of a VIP.
    Report(IpAddr, Presence),
    /// Say when the routers have acknowledged this generation: [`Keeper::acknowledged`].
    Await(Generation),
}

/// The only owner of what is on lo.
#[derive(Debug)]
pub struct Keeper {
    wanted: WantedVips,
    vips: BTreeMap<IpAddr, WantedVip>,
    leaving: BTreeMap<IpAddr, LeavingVip>,
    /// lo as it was seen last; `None` while it cannot be looked at.
    lo: Option<Loopback>,
    look_at: Instant,
    looked_at: Instant,
    /// lo is down, and when it is set up.
    raise_at: Option<Instant>,
    /// Whether addresses of ours that nobody wants are still to be looked for.
    sweep: bool,
    /// The generations whose acknowledgement was asked for.
    awaited: BTreeSet<Generation>,
    /// The addresses that the state file calls ours; `None`: it was not read yet.
    recorded: Option<BTreeSet<IpAddr>>,
    record_error: Option<String>,
    sysctls: BTreeMap<Sysctl, i32>,
}

impl Keeper {
    /// Nothing is known yet.
    pub fn new(wanted: WantedVips, now: Instant) -> Self {
        Keeper {
            vips: wanted.vips.iter().map(|vip| (*vip, WantedVip::default())).collect(),
            wanted,
            leaving: BTreeMap::new(),
            lo: None,
            look_at: now,
            looked_at: now,
            raise_at: None,
            sweep: true,
            awaited: BTreeSet::new(),
            recorded: None,
            record_error: None,
            sysctls: BTreeMap::new(),
        }
    }

    /// The VIPs that are wanted or may still be on lo: none of them is ever a next hop.
    pub fn held(&self) -> BTreeSet<IpAddr> {
        self.wanted.vips.iter().chain(self.leaving.keys()).copied().collect()
    }

    /// Whether a VIP is wanted.
    pub fn wants(&self, vip: IpAddr) -> bool {
        self.wanted.vips.contains(&vip)
    }

    /// The addresses that the state file calls ours.
    pub fn recorded(&self) -> BTreeSet<IpAddr> {
        self.recorded.clone().unwrap_or_default()
    }

    /// What is on the host and harms it. What is being mended is none of it, unless a look after that shows it still.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = self.record_error.clone().map(Warning::Record).into_iter().collect();
        if let Some(lo) = &self.lo {
            let tried = self.looked_at..self.looked_at + LOOK; // before the look: the next try is `LOOK` after it
            let is_mended = |at: Instant| at <= self.looked_at || !tried.contains(&at);
            let hidden = |vip: &IpAddr| self.vips.get(vip).and_then(|vip| vip.mend).is_some_and(is_mended);
            let vips = self.wanted.vips.iter().filter(|vip| !hidden(vip)).copied().collect();
            warnings.extend(warning::of_arp(lo, &self.sysctls, &self.wanted.vips));
            warnings.extend(warning::of_addresses(lo, &vips));
        }
        warnings
    }

    /// When the next steps are due though nothing is heard.
    pub fn deadline(&self) -> Instant {
        let trials = self.vips.values().filter_map(|vip| vip.removals.deadline());
        let first = trials.fold(self.look_at, Instant::min);
        if self.lo.is_none() {
            return first;
        }
        let settle = self.wanted.settle;
        let retries = self.vips.values().filter(|_| self.raise_at.is_none()).filter_map(|vip| vip.retry);
        let mends = self.vips.values().filter_map(|vip| vip.mend);
        let due = self.leaving.values().map(|leaving| leaving.due(settle));
        self.raise_at.into_iter().chain(retries).chain(mends).chain(due).fold(first, Instant::min)
    }

    /// Other VIPs are wanted, or `settle` is another.
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
            vip.reported = None; // whoever decides may have forgotten
        }
        self.sweep = true;
        self.look_at = now;
    }

    /// The routers have acknowledged what `generation` has to say.
    pub fn acknowledged(&mut self, generation: Generation, now: Instant) {
        self.awaited.remove(&generation);
        for leaving in self.leaving.values_mut().filter(|leaving| leaving.generation <= generation) {
            leaving.acknowledged.get_or_insert(now);
        }
    }

    /// An address is gone from lo.
    pub fn gone(&mut self, vip: IpAddr, now: Instant) {
        if let Some(leaving) = self.leaving.get_mut(&vip) {
            leaving.is_ours = false; // should it come back, it is somebody else's
        }
        if let Some(vip) = self.vips.get_mut(&vip) {
            vip.leave(now);
            self.look_at = now; // it may be there in another form
        }
    }

    /// An address came to lo, or changed in its flags or lifetime.
    pub fn changed(&mut self, now: Instant) {
        self.look_at = self.look_at.min(now + GATHER);
    }

    /// What is known of lo may be out of date.
    pub fn look_again(&mut self, now: Instant) {
        self.look_at = now;
    }

    /// lo was set up or down.
    pub fn link(&mut self, link: Link, now: Instant) {
        match link {
            Link::Down => {
                self.vips.values_mut().for_each(|vip| vip.leave(now));
                self.raise_at = Some(self.raise_at.unwrap_or(now).max(now));
            }
            Link::Up => self.look_at = now,
        }
    }

    /// What the state file and the ARP settings say. A state file that cannot be used costs what it is for.
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

    /// lo was looked at.
    pub fn looked(&mut self, lo: Loopback, now: Instant) {
        (self.look_at, self.looked_at) = (now + LOOK, now);
        match lo.link {
            Link::Down if self.raise_at.is_none() => self.link(Link::Down, now),
            Link::Down => {}
            Link::Up => self.raise_at = None,
        }
        let mut by_address: BTreeMap<IpAddr, Vec<&LoAddress>> = BTreeMap::new();
        for on_lo in &lo.addresses {
            by_address.entry(on_lo.net.addr()).or_default().push(on_lo);
        }
        for (address, vip) in &mut self.vips {
            match by_address.get(address) {
                Some(found) if lo.link == Link::Up => vip.see(found, lo.marks, now),
                Some(_) => {}
                None => vip.leave(now),
            }
        }
        // Where the kernel keeps no marks, the state file has to be read before.
        if self.sweep && (lo.marks == MarkSupport::Kept || self.recorded.is_some()) {
            self.sweep = false;
            let unwanted =
                lo.ours().map(|net| net.addr()).filter(|address| !self.wanted.vips.contains(address));
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
        self.lo = Some(lo);
    }

    /// lo could not be looked at, and why.
    pub fn look_failed(&mut self, why: &str, now: Instant) {
        (self.lo, self.look_at) = (None, now + RETRY);
        for vip in self.vips.values_mut() {
            vip.removals.put(Err(Presence::Missing(why.to_owned())), now);
        }
    }

    /// lo was set up, or could not be, and why.
    pub fn raised(&mut self, done: Result<(), String>, now: Instant) {
        match done {
            Ok(()) => self.look_at = now,
            Err(why) => {
                for vip in self.vips.values_mut() {
                    vip.removals.put(Err(Presence::LoDown(why.clone())), now);
                }
            }
        }
    }

    /// A VIP was put on lo, or could not be, and why.
    pub fn added(&mut self, vip: IpAddr, done: Result<AddResult, String>, now: Instant) {
        let Some(vip) = self.vips.get_mut(&vip) else { return };
        match done {
            Ok(ensured) => {
                vip.is_ours = ensured == AddResult::Added;
                vip.return_to(now);
            }
            Err(why) => {
                vip.removals.put(Err(Presence::Missing(why)), now);
                vip.retry = Some(now + RETRY);
            }
        }
        self.changed(now);
    }

    /// An address of ours was removed from lo, or could not be.
    pub fn removed(&mut self, address: IpAddr, is_removed: bool, now: Instant) {
        if is_removed {
            self.leaving.remove(&address);
        } else if let Some(leaving) = self.leaving.get_mut(&address) {
            leaving.retry = Some(now + RETRY);
        }
    }

    /// What is to be done now, in this order; nothing: wait until [`deadline`](Self::deadline) or for news.
    pub fn steps(&mut self, now: Instant) -> Vec<KeeperStep> {
        let settle = self.wanted.settle;
        let is_due = |leaving: &LeavingVip| leaving.due(settle) <= now;
        let is_stale =
            self.leaving.values().any(|leaving| is_due(leaving) && self.looked_at < leaving.due(settle));
        if self.look_at <= now || (is_stale && self.lo.is_some()) {
            self.look_at = now + RETRY; // should nobody say what was seen
            self.looked_at = now;
            return vec![KeeperStep::Look];
        }
        let mut steps = Vec::new();
        if self.lo.is_some() {
            if self.raise_at.is_some_and(|at| at <= now) {
                self.raise_at = Some(now + RETRY);
                return vec![KeeperStep::RaiseLo];
            }
            if self.raise_at.is_none() {
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
            let presence = vip.removals.presence(now);
            if presence != Presence::Unknown && vip.reported.as_ref() != Some(&presence) {
                vip.reported = Some(presence.clone());
                steps.push(KeeperStep::Report(*address, presence));
            }
        }
        steps
    }

    /// What is put on lo, or mended there.
    fn additions(&mut self, now: Instant) -> Vec<KeeperStep> {
        let (mut add, mut mend) = (Vec::new(), Vec::new());
        for (address, vip) in &mut self.vips {
            if !vip.on_lo && vip.retry.is_none_or(|at| at <= now) {
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
        let keeps_no_marks = self.lo.as_ref().is_some_and(|lo| lo.marks == MarkSupport::NotKept);
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

    /// What leaves lo. It was looked at since it is due.
    fn departures(&mut self, now: Instant) -> Vec<KeeperStep> {
        let settle = self.wanted.settle;
        let due: Vec<IpAddr> = (self.leaving.iter())
            .filter(|(_, leaving)| leaving.due(settle) <= now)
            .map(|(address, _)| *address)
            .collect();
        let (mut remove, mut forget) = (Vec::new(), Vec::new());
        for address in due {
            let Some(leaving) = self.leaving.get_mut(&address) else { continue };
            let on_lo =
                self.lo.iter().flat_map(|lo| &lo.addresses).filter(|on_lo| on_lo.net.addr() == address);
            let is_alone = on_lo.clone().count() == 1;
            let is_ours = |on_lo: &&LoAddress| on_lo.owner == Owner::Ours || (leaving.is_ours && is_alone);
            let nets: Vec<IpNet> = on_lo.filter(is_ours).map(|on_lo| on_lo.net).collect();
            if nets.is_empty() {
                self.leaving.remove(&address); // it is gone, or somebody else's
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
