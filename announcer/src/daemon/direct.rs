//! The director's task: feeds it every fact, publishes what it decides, and keeps the probes that it wants.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tracing::info;

use super::tasks::Kept;
use crate::config::Config;
use crate::control::io::Ask;
use crate::director::{Change, Director, Fact, Standing};
use crate::drain::Drains;
use crate::health::io::probe;
use crate::health::io::prober::Prober;
use crate::health::watch::Wanted;
use crate::health::{Listening, Pace, Probed, Target};
use crate::hook::Queue;
use crate::metrics::Tally;
use crate::rib::LocRib;
use crate::vip::Presence;

/// What the director's task hears.
pub(super) struct Hears {
    pub(super) asked: mpsc::Receiver<Ask>,
    pub(super) probed: mpsc::Receiver<Probed>,
    pub(super) listening: mpsc::Receiver<Listening>,
    pub(super) vips: mpsc::Receiver<(IpAddr, Presence)>,
    pub(super) drained: mpsc::Receiver<Drains>,
}

/// What is told of facts and changes beside what they lead to.
pub(super) struct Counts {
    /// For metrics.
    pub(super) tally: Tally,
    /// For the hook.
    pub(super) hooks: watch::Sender<Queue>,
}

impl Counts {
    fn changed(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        changes.iter().for_each(|change| self.tally.changed(change));
        self.hooks.send_modify(|queue| changes.iter().for_each(|change| queue.changed(change)));
    }
}

/// Runs for ever. Facts that wait together are decided together.
pub(super) async fn direct(
    mut director: Director,
    mut probes: Probes,
    mut hears: Hears,
    rib: watch::Sender<Arc<LocRib>>,
    watched: watch::Sender<Arc<Wanted>>,
    mut counts: Counts,
) {
    let (mut probed, mut listening, mut vips) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let (mut facts, mut changes, mut reply) = (Vec::new(), Vec::new(), None);
        let deadline = director.deadline();
        tokio::select! {
            biased;
            Some(asked) = hears.asked.recv() => match asked {
                Ask::Report(reply) => { let _ = reply.send(director.report()); } // who asked may be gone
                Ask::Recheck(services) => facts.push(Fact::Recheck(services)),
                Ask::Count(reply) => {
                    let _ = reply.send((director.figures(Instant::now()), counts.tally.clone())); // as above
                }
                Ask::Stop(asker) => { facts.push(Fact::Stop); reply = Some(asker); }
                Ask::Drains(drains, forgiven, asker) => {
                    facts.push(Fact::Drains(drains));
                    facts.extend(forgiven.map(Fact::Forgive));
                    reply = Some(asker);
                }
                Ask::Reload(config, asker) => {
                    changes = director.reload(config.clone(), probes.prober.issued(), Instant::now());
                    probes.apply(&config, &director);
                    counts.tally.reload(&config);
                    reply = Some(asker);
                }
            },
            _ = hears.listening.recv_many(&mut listening, 1024) => {}
            Some(drains) = hears.drained.recv() => facts.push(Fact::Drains(drains)),
            _ = hears.vips.recv_many(&mut vips, 1024) => {}
            _ = hears.probed.recv_many(&mut probed, 1024) => {}
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
        }
        facts.extend(listening.drain(..).map(|fact| Fact::Listening(fact, probes.prober.issued())));
        facts.extend(vips.drain(..).map(|(vip, presence)| Fact::Vip(vip, presence)));
        probed.iter().for_each(|probed| counts.tally.probed(probed));
        facts.extend(probed.drain(..).map(Fact::Probed));
        let now = Instant::now();
        changes.extend(director.expire(now));
        changes.extend(facts.into_iter().flat_map(|fact| director.handle(fact, now)));
        let decided = director.rib();
        let generation = decided.generation;
        rib.send_if_modified(|told| {
            let news = told.generation != generation;
            *told = decided;
            news
        });
        changes.iter().for_each(log);
        counts.changed(&changes);
        if let Some(reply) = reply {
            let _ = reply.send(generation); // who asked may be gone
        }
        if let Some(wanted) = director.take_watched() {
            watched.send_if_modified(|told| {
                let news = **told != wanted;
                if news {
                    *told = Arc::new(wanted);
                }
                news
            });
        }
        director.take_paced().into_iter().for_each(|key| probes.pace(key, &director));
    }
}

fn log(change: &Change) {
    let (service, vip) = (change.service.as_str(), change.vip);
    match &change.standing {
        Standing::Announced => info!(service, %vip, "VIP was announced"),
        Standing::Depreferred(_) => info!(service, %vip, reason = %change.standing, "VIP was depreferred"),
        Standing::Draining(_) => info!(service, %vip, reason = %change.standing, "VIP was drained"),
        Standing::Withheld(_) => info!(service, %vip, reason = %change.standing, "VIP was withheld"),
    }
}

/// The probe loops, one a VIP and check.
pub(super) struct Probes {
    running: BTreeMap<(IpAddr, usize), (Target, watch::Sender<Pace>, Kept)>,
    prober: Prober,
    facts: mpsc::Sender<Probed>,
}

impl Probes {
    /// None yet.
    pub(super) fn new(prober: Prober, facts: mpsc::Sender<Probed>) -> Self {
        Probes { running: BTreeMap::new(), prober, facts }
    }

    /// Runs what `config` wants: a loop whose target is the same goes on undisturbed.
    pub(super) fn apply(&mut self, config: &Config, director: &Director) {
        let mut before = std::mem::take(&mut self.running);
        for (vip, service) in config.vips() {
            for (check, config) in service.checks.iter().enumerate() {
                let target = Target { service: service.name.clone(), vip, check, config: config.clone() };
                let kept = before.remove(&(vip, check)).filter(|(running, ..)| *running == target);
                let one = kept.unwrap_or_else(|| self.start(target, director));
                self.running.insert((vip, check), one);
                self.pace((vip, check), director);
            }
        }
    }

    fn start(&self, target: Target, director: &Director) -> (Target, watch::Sender<Pace>, Kept) {
        let pace = director.pace(target.vip, target.check);
        let (pace, paced) =
            watch::channel(pace.unwrap_or(Pace { interval: target.config.interval, kick: 0 }));
        let (prober, facts, running) = (self.prober.clone(), self.facts.clone(), target.clone());
        let name = format!("probe of {}", target.vip);
        let kept = Kept::new(name, move || {
            probe::run(prober.clone(), running.clone(), paced.clone(), facts.clone())
        });
        (target, pace, kept)
    }

    /// Tells a loop how fast it has to be now.
    fn pace(&self, key: (IpAddr, usize), director: &Director) {
        if let (Some((_, told, _)), Some(pace)) = (self.running.get(&key), director.pace(key.0, key.1)) {
            told.send_if_modified(|told| std::mem::replace(told, pace) != pace);
        }
    }
}

#[cfg(test)]
mod tests;
