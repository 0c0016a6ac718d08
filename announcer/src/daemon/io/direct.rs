//! The director's task: it passes every fact to the director, publishes the decisions, and runs the wanted probes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until};

use super::chain::vip_state;
use super::tasks::OwnedTask;
use crate::bfd::io::MainTurns;
use crate::chain::heartbeat::MemberVipState;
use crate::config::Config;
use crate::director::ask::Ask;
use crate::director::burst::{Burst, Spacing};
use crate::director::changes::{ChangeLine, StartLog, StartSummary, lines};
use crate::director::preview::Refusal;
use crate::director::{Director, Fact, StandingChange, VipNumbers};
use crate::drain;
use crate::health::io::probe;
use crate::health::io::prober::Prober;
use crate::health::watch::WatchPlan;
use crate::health::{ListenerFact, Pace, ProbeFact, Target};
use crate::history::io::ChangeBatch;
use crate::hook::drains::DrainsInForce;
use crate::log::at_level;
use crate::metrics::Tally;
use crate::model::Generation;
use crate::page::samples::Samples;
use crate::rib::LocRib;
use crate::vip::Presence;
use crate::watchdog::{TURN, Turns};
use crate::weight::FileWeights;

/// The inputs of the director's task.
pub(in crate::daemon) struct DirectorInputs {
    pub(in crate::daemon) asked: mpsc::Receiver<Ask>,
    pub(in crate::daemon) probed: mpsc::Receiver<ProbeFact>,
    pub(in crate::daemon) listening: mpsc::Receiver<ListenerFact>,
    pub(in crate::daemon) vips: mpsc::Receiver<(IpAddr, Presence)>,
    pub(in crate::daemon) drains: mpsc::Receiver<drain::io::DrainFact>,
    /// The VIPs that enough other members of the chain announce.
    pub(in crate::daemon) enough_others: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    /// The weights of the services with a file.
    pub(in crate::daemon) weights: watch::Receiver<Arc<FileWeights>>,
}

/// The counters of facts and changes.
pub(in crate::daemon) struct ChangeObservers {
    /// For metrics.
    pub(in crate::daemon) tally: watch::Sender<Tally>,
    /// For the status page.
    pub(in crate::daemon) samples: watch::Sender<Samples>,
    /// For the hooks.
    pub(in crate::daemon) hooks: mpsc::Sender<Vec<StandingChange>>,
    /// For the hooks: the drains whose routes are decided.
    pub(in crate::daemon) drains: watch::Sender<Arc<DrainsInForce>>,
    /// For the history.
    pub(in crate::daemon) history: mpsc::Sender<ChangeBatch>,
    /// For the chain: the states of all VIPs; empty while no chain is configured.
    pub(in crate::daemon) states: watch::Sender<Arc<Vec<(IpAddr, MemberVipState)>>>,
    /// For systemd.
    pub(in crate::daemon) numbers: watch::Sender<VipNumbers>,
    /// The turns of the director's loop, for the watchdog.
    pub(in crate::daemon) turns: Turns,
    /// The turns of the main thread, for BFD.
    pub(in crate::daemon) main_turns: MainTurns,
}

impl ChangeObservers {
    /// `known`: when the fact was known that led to new routes, if it did.
    async fn changed(&mut self, changes: Vec<StandingChange>, known: Option<Instant>) {
        if changes.is_empty() {
            return;
        }
        self.tally.send_modify(|tally| changes.iter().for_each(|change| tally.changed(change)));
        // The tasks of the history and of the hooks receive them at once, also while a hook runs. They end with the daemon.
        let _ = self.history.send(ChangeBatch { changes: changes.clone(), known }).await;
        let _ = self.hooks.send(changes).await;
    }
}

/// The channel for the generation in which an order holds.
enum GenerationReply {
    Plain(oneshot::Sender<Generation>),
    Reload(oneshot::Sender<Result<Generation, Refusal>>),
}

impl GenerationReply {
    /// The requester may have ended.
    fn answer(self, generation: Generation) {
        match self {
            GenerationReply::Plain(reply) => {
                let _ = reply.send(generation);
            }
            GenerationReply::Reload(reply) => {
                let _ = reply.send(Ok(generation));
            }
        }
    }
}

/// Stores the director's facts for the next process.
pub(in crate::daemon) type DirectorStore = Box<dyn Fn(&mut Director) + Send>;

/// Runs for ever. Facts that wait at the same time are processed together.
pub(in crate::daemon) async fn direct(
    mut director: Director,
    mut probes: ProbeLoops,
    mut inputs: DirectorInputs,
    rib: watch::Sender<Arc<LocRib>>,
    watched: watch::Sender<Arc<WatchPlan>>,
    mut observers: ChangeObservers,
    store: DirectorStore,
) {
    let (mut probed, mut listening, mut vips) = (Vec::new(), Vec::new(), Vec::new());
    let mut start = StartLog::new(Instant::now());
    let (mut burst, mut plans, mut recounted) = (Burst::default(), Spacing::default(), false);
    // The drains that are not published yet.
    let mut drained = None;
    observers.numbers.send_replace(director.numbers());
    loop {
        observers.turns.turned(tokio::time::Instant::now().into_std());
        observers.main_turns.turned();
        let (mut facts, mut changes) = (Vec::new(), Vec::new());
        let mut applied = None;
        let (mut report, mut figures) = (None, None);
        let plan = plans.next().filter(|_| director.is_unwatched());
        let deadlines = [director.deadline(), start.deadline(), burst.deadline(), plan];
        let deadline = deadlines.into_iter().flatten().min();
        tokio::select! {
            biased;
            Some(asked) = inputs.asked.recv() => match asked {
                // The answer names the generation of the Loc-RIB that has these decisions, so they are published before it.
                Ask::Report(reply) => report = Some(reply),
                Ask::Figures(reply) => figures = Some(reply),
                Ask::Recheck(services) => facts.push(Fact::Recheck(services)),
                Ask::Leave => facts.push(Fact::Leave),
                Ask::Stop(reply) => {
                    facts.push(Fact::Stop);
                    applied = Some(GenerationReply::Plain(reply));
                }
                // The requester may have ended, here and below.
                Ask::Preview { config, reply } => drop(reply.send(director.would(&config, Instant::now())).ok()),
                Ask::Reload { config, force, reply } => {
                    let now = Instant::now();
                    // A reload of thousands of VIPs takes the main thread for long on a busy host. Each part of it is a turn for BFD.
                    let refusal = if force { None } else { director.would(&config, now).refusal() };
                    observers.main_turns.turned();
                    match refusal {
                        Some(refusal) => drop(reply.send(Err(refusal)).ok()),
                        None => {
                            changes = director.reload(config.clone(), probes.prober.issued(), now);
                            observers.main_turns.turned();
                            probes.apply(&config, &director);
                            observers.main_turns.turned();
                            observers.tally.send_modify(|tally| tally.reload(&config));
                            observers.samples.send_modify(|samples| samples.reload(&config));
                            applied = Some(GenerationReply::Reload(reply));
                            recounted = true;
                        }
                    }
                }
            },
            _ = inputs.listening.recv_many(&mut listening, 1024) => {}
            Some(drain::io::DrainFact { drains, forgiven, renewed, applied: waits }) = inputs.drains.recv() => {
                // First, so that a VIP whose drain has ended is not announced before its checks have passed anew.
                if !renewed.is_empty() {
                    facts.push(Fact::Renew(renewed, probes.prober.issued()));
                }
                // The flaps are forgotten first, so that the VIPs of an undrain are announced at once.
                if !forgiven.is_empty() {
                    facts.push(Fact::Forgive(forgiven));
                }
                drained = Some(drains.clone());
                facts.push(Fact::Drains(drains));
                applied = waits.map(GenerationReply::Plain);
            }
            Ok(()) = inputs.enough_others.changed() => {
                facts.push(Fact::EnoughOthers(inputs.enough_others.borrow_and_update().clone()));
            }
            Ok(()) = inputs.weights.changed() => {
                facts.push(Fact::Weights(inputs.weights.borrow_and_update().clone()));
            }
            _ = inputs.vips.recv_many(&mut vips, 1024) => {}
            _ = inputs.probed.recv_many(&mut probed, 1024) => {}
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
            () = sleep(TURN) => {}
        }
        recounted |= !vips.is_empty();
        facts.extend(listening.drain(..).map(|fact| Fact::Listening(fact, probes.prober.issued())));
        facts.extend(vips.drain(..).map(|(vip, presence)| Fact::Vip(vip, presence)));
        if !probed.is_empty() {
            observers.tally.send_modify(|tally| probed.iter().for_each(|probed| tally.probed(probed)));
            observers.samples.send_if_modified(|samples| {
                let mut news = false;
                for probed in &probed {
                    news |= samples.probed(probed);
                }
                news
            });
        }
        facts.extend(probed.drain(..).map(Fact::Probed));
        let now = Instant::now();
        changes.extend(director.expire(now));
        changes.extend(facts.into_iter().flat_map(|fact| director.handle(fact, now)));
        // Before the routes that follow from it are published: the next process must not announce what this one has withdrawn.
        store(&mut director);
        if plans.is_due(now)
            && let Some(wanted) = director.take_watched()
        {
            plans.published(now, director.vip_count());
            watched.send_if_modified(|published| {
                let news = **published != wanted;
                if news {
                    *published = Arc::new(wanted);
                }
                news
            });
        }
        let awaited = applied.is_some() || report.is_some() || figures.is_some();
        let Some(mut changes) = burst.add(changes, now, director.vip_count(), awaited) else { continue };
        let decided = director.rib();
        let generation = decided.generation;
        let caused = decided.caused;
        let is_new = rib.send_if_modified(|published| {
            let news = published.generation != generation;
            *published = decided;
            news
        });
        if let Some(drains) = drained.take() {
            observers.drains.send_replace(Arc::new(DrainsInForce { drains, generation }));
        }
        if let Some(reply) = report {
            let _ = reply.send(director.report());
        }
        if let Some(reply) = figures {
            let _ = reply.send(director.figures(now));
        }
        if std::mem::take(&mut recounted) || !changes.is_empty() {
            if director.config().chain.is_some() {
                let states = director.standings().map(|(vip, standing)| (vip, vip_state(standing))).collect();
                observers.states.send_replace(Arc::new(states));
            }
            let numbers = director.numbers();
            observers.numbers.send_if_modified(|known| std::mem::replace(known, numbers) != numbers);
        }
        observers.changed(changes.clone(), caused.filter(|_| is_new)).await;
        start.filter(&mut changes);
        if !changes.is_empty() {
            lines(&changes, director.advertised()).iter().for_each(log);
        }
        start.summary(&director, now).iter().for_each(log_start);
        if let Some(applied) = applied {
            applied.answer(generation);
        }
        director.take_paced().into_iter().for_each(|key| probes.pace(key, &director));
    }
}

fn log(line: &ChangeLine) {
    let ChangeLine { level, message, service, vips, reason } = line;
    match vips.as_slice() {
        [vip] => at_level!(*level, service, %vip, reason, "{message}"),
        vips => {
            let vips = vips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            at_level!(*level, service, vips, reason, "{message}");
        }
    }
}

fn log_start(summary: &StartSummary) {
    let StartSummary { level, announced, last_choice, drained, not_announced, why } = summary;
    at_level!(*level, announced, last_choice, drained, not_announced, why, "first probes ended");
}

/// The probe loops, one per VIP and check.
pub(in crate::daemon) struct ProbeLoops {
    running: BTreeMap<(IpAddr, usize), (Target, watch::Sender<Pace>, OwnedTask)>,
    prober: Prober,
    facts: mpsc::Sender<ProbeFact>,
}

impl ProbeLoops {
    /// None yet.
    pub(in crate::daemon) fn new(prober: Prober, facts: mpsc::Sender<ProbeFact>) -> Self {
        ProbeLoops { running: BTreeMap::new(), prober, facts }
    }

    /// Runs the probe loops of `config`. A loop with the same target continues.
    pub(in crate::daemon) fn apply(&mut self, config: &Config, director: &Director) {
        let mut before = std::mem::take(&mut self.running);
        for (vip, service) in config.vips() {
            for (check, config) in service.checks.iter().enumerate() {
                let target = Target::new(service, vip, check, config);
                let kept = before.remove(&(vip, check)).filter(|(running, ..)| *running == target);
                let one = kept.unwrap_or_else(|| self.start(target, director));
                self.running.insert((vip, check), one);
                self.pace((vip, check), director);
            }
        }
    }

    fn start(&self, target: Target, director: &Director) -> (Target, watch::Sender<Pace>, OwnedTask) {
        let pace = director.pace(target.vip, target.check);
        let (pace, paced) =
            watch::channel(pace.unwrap_or(Pace { interval: target.config.interval, rechecks: 0 }));
        let (prober, facts, running) = (self.prober.clone(), self.facts.clone(), target.clone());
        let name = format!("probe of {}", target.vip);
        let kept = OwnedTask::new(name, move || {
            probe::run(prober.clone(), running.clone(), paced.clone(), facts.clone())
        });
        (target, pace, kept)
    }

    /// Publishes the current pace to a loop.
    fn pace(&self, key: (IpAddr, usize), director: &Director) {
        if let (Some((_, pace_tx, _)), Some(pace)) = (self.running.get(&key), director.pace(key.0, key.1)) {
            pace_tx.send_if_modified(|current| std::mem::replace(current, pace) != pace);
        }
    }
}

#[cfg(test)]
mod tests;
