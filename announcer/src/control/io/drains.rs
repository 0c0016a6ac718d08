//! Orders to drain and undrain: passes them to the owner of the drain folder, and waits for their effect.
//!
//! Touches the clock and, for connections, netlink. A client that leaves ends its wait and not the drain.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::ControlContext;
use crate::bgp::fsm::StateName;
use crate::bgp::plan::without_router;
use crate::chain::guard;
use crate::chain::heartbeat::IntentKind;
use crate::chain::io::{GuardPermit, permitted};
use crate::control::orders::{DrainJob, DrainWait, WaitStatus, undrain_notes};
use crate::director::Standing;
use crate::director::ask::{Ask, ask};
use crate::drain::connections::ConnectionWait;
use crate::drain::ends::ClockState;
use crate::drain::io::{AppliedChange, DrainError, DrainRequest, connections};
use crate::drain::progress::{DrainLimits, DrainProgress, DrainResult, DrainStep};
use crate::drain::{self, DrainChange, DrainTarget, Operator};
use crate::model::{Generation, PeerName};

/// The time between two looks at something that does not report its changes, and between two reports of progress.
const LOOK: Duration = Duration::from_millis(250);
/// How long the other members consider the VIPs as withdrawn after an order was done, if they are still announced.
const HOLD: Duration = Duration::from_secs(2);
/// How long the log waits for the effect of an order.
const EFFECT: Duration = Duration::from_secs(600);

/// The waits that run now, by their numbers.
pub(super) type Waits = watch::Sender<BTreeMap<u64, WaitStatus>>;

/// Why an order was not done, or not as a whole, as a sentence.
#[derive(Debug)]
pub(super) enum DrainFailure {
    /// It was refused, and nothing has changed.
    Refused(String),
    /// The daemon could not do it.
    Failed(String),
    /// It was done, but its effect did not come in time.
    Timeout(String),
}

impl From<DrainError> for DrainFailure {
    fn from(error: DrainError) -> Self {
        match error {
            DrainError::Refused(_) => DrainFailure::Refused(format!("error: {error}")),
            DrainError::Folder(..) | DrainError::Unconfirmed(..) | DrainError::Ending => {
                DrainFailure::Failed(error.to_string())
            }
        }
    }
}

/// Does an order, and waits for its effect if that was requested. Returns notes for the operator.
pub(super) async fn answer(
    job: DrainJob,
    context: &ControlContext,
    waits: &Waits,
) -> Result<Vec<String>, DrainFailure> {
    let DrainJob { change: order, force, wait } = job;
    let owner = order.owner().clone();
    let targets = order.targets().to_vec();
    let (is_drain, is_timed) = match &order {
        DrainChange::Drain { drain, .. } => (true, drain.until.is_some()),
        DrainChange::Extend { .. } => (false, true),
        DrainChange::Withdraw { .. } | DrainChange::Undrain { .. } => (false, false),
    };
    if let Some(why) = last_router(&targets, context).filter(|_| is_drain && !force) {
        refused(&owner, "drain", &why);
        return Err(DrainFailure::Refused(format!("error: {why}")));
    }
    let permit = capacity(&order, force, context).await?;
    let applied = change(order, context).await?;
    drop(permit);
    let mut notes = Vec::new();
    if is_timed && drain::io::clock().state == ClockState::Unsynchronised {
        notes.push(
            "the clock of this host is not synchronised: until it is, the drain does not end by itself"
                .into(),
        );
    }
    match wait {
        None | Some(DrainWait::Returned(_)) if !is_drain => {
            let (config, drains) = (context.configs.borrow().clone(), context.drains.borrow().drains.clone());
            if !is_timed {
                notes.extend(undrain_notes(&targets, &applied.plan, &drains, &config));
            }
            if let Some(DrainWait::Returned(limit)) = wait {
                returned(&targets, limit, context).await.map_err(|why| {
                    let all: Vec<String> = std::iter::once(why).chain(notes.iter().cloned()).collect();
                    DrainFailure::Timeout(all.join("\n"))
                })?;
                notes.push("every VIP is announced, and every connected router has acknowledged it".into());
            }
        }
        None | Some(DrainWait::Returned(_)) => {}
        Some(DrainWait::Drained(limits)) => {
            let entry = WaitEntry::new(waits, &targets, &owner);
            let result =
                drained(targets, owner, applied.generation, limits, context, &|step| entry.news(&step)).await;
            match result.is_success() {
                true => notes.push(result.to_string()),
                false => return Err(DrainFailure::Timeout(result.to_string())),
            }
        }
    }
    Ok(notes)
}

/// Asks the other members of the chain whether the VIPs of a drain may be withdrawn here.
async fn capacity(
    order: &DrainChange,
    force: bool,
    context: &ControlContext,
) -> Result<GuardPermit, DrainFailure> {
    let prepare = match order {
        DrainChange::Drain { prepare, .. } if !force => *prepare,
        DrainChange::Drain { .. }
        | DrainChange::Withdraw { .. }
        | DrainChange::Undrain { .. }
        | DrainChange::Extend { .. } => return Ok(GuardPermit::unneeded()),
    };
    let config = context.configs.borrow().clone();
    let covered = |service: &str, vip| order.targets().iter().any(|target| target.covers(service, vip));
    let vips =
        config.vips().filter(|(vip, of)| covered(of.name.as_str(), *vip)).map(|(vip, _)| vip).collect();
    let needs = guard::needs(&config, &guard::withdrawn_together(&config, &vips));
    permitted(&context.guard, IntentKind::Drain, needs, prepare + HOLD).await.map_err(|why| {
        let why = format!("{why}; `--force` drains nevertheless");
        refused(order.owner(), "drain", &why);
        DrainFailure::Refused(format!("error: {why}"))
    })
}

/// Logs an order that was refused before it reached the owner of the drain folder.
pub(super) fn refused(owner: &Operator, order: &str, why: &str) {
    warn!(operator = %owner, uid = owner.uid, order, error = why, "order was refused");
}

/// A wait in the list of those that run. It leaves the list when it is dropped, also if its client has left.
struct WaitEntry<'a> {
    waits: &'a Waits,
    number: u64,
    what: String,
    by: String,
}

impl<'a> WaitEntry<'a> {
    fn new(waits: &'a Waits, targets: &[DrainTarget], owner: &Operator) -> Self {
        let what = targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let by = owner.to_string();
        let mut number = 0;
        waits.send_modify(|waits| {
            number = waits.keys().last().map_or(0, |last| last + 1);
            waits.insert(
                number,
                WaitStatus { what: what.clone(), by: by.clone(), text: String::new(), left_ms: 0 },
            );
        });
        WaitEntry { waits, number, what, by }
    }

    fn news(&self, progress: &DrainProgress) {
        let left_ms = u64::try_from(progress.left.as_millis()).unwrap_or(u64::MAX);
        let status =
            WaitStatus { what: self.what.clone(), by: self.by.clone(), text: progress.to_string(), left_ms };
        self.waits.send_modify(|waits| drop(waits.insert(self.number, status)));
    }
}

impl Drop for WaitEntry<'_> {
    fn drop(&mut self) {
        self.waits.send_modify(|waits| drop(waits.remove(&self.number)));
    }
}

/// Makes a change. The log gets its effect later.
///
/// # Errors
/// See [`DrainError`].
async fn change(change: DrainChange, context: &ControlContext) -> Result<AppliedChange, DrainError> {
    let (reply, changed) = oneshot::channel();
    let order = change.clone();
    if context.drain_requests.send(DrainRequest { change, reply }).await.is_err() {
        return Err(DrainError::Ending);
    }
    let applied = changed.await.unwrap_or(Err(DrainError::Ending))?;
    tokio::spawn(log_effect(order, applied.generation, context.clone()));
    Ok(applied)
}

/// Logs when the routers have followed a drain, and when the VIPs of an undrain are back.
async fn log_effect(order: DrainChange, generation: Generation, context: ControlContext) {
    let what = order.targets().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let operator = order.owner().to_string();
    match order {
        DrainChange::Drain { prepare, .. } => {
            let mut generation = generation;
            if !prepare.is_zero() {
                info!(operator, what, "drain is prepared, its VIPs are the last choice");
                sleep(prepare + LOOK).await; // the owner of the folder withdraws then
                let Some(report) = ask(&context.asks, Ask::Report).await else { return };
                generation = report.generation;
            }
            let peers = context.peers.borrow().clone();
            match timeout(EFFECT, peers.acknowledged(generation)).await {
                Ok(()) => {
                    let settle = context.configs.borrow().bgp.settle;
                    sleep(settle).await;
                    info!(operator, what, "drain has settled, the routers have followed the withdraw");
                }
                Err(_) => {
                    let peers = peers.unacknowledged(generation).join(", ");
                    warn!(operator, what, peers, "drain was not acknowledged");
                }
            }
        }
        DrainChange::Undrain { targets, .. } => match returned(&targets, EFFECT, &context).await {
            Ok(()) => info!(operator, what, "undrain has returned every VIP"),
            Err(reason) => warn!(operator, what, reason, "undrain has not returned every VIP"),
        },
        DrainChange::Withdraw { .. } | DrainChange::Extend { .. } => {}
    }
}

/// Why a drain of routers is refused unless it is forced: no other router would be sent these VIPs. `None`: it is not refused.
fn last_router(targets: &[DrainTarget], context: &ControlContext) -> Option<String> {
    let asked: BTreeSet<PeerName> = targets.iter().filter_map(peer).collect();
    if asked.is_empty() {
        return None;
    }
    let config = context.configs.borrow().clone();
    let drains = context.drains.borrow().drains.clone();
    let vips: Vec<IpAddr> = (config.vips())
        .filter(|(vip, service)| drains.of_vip(&service.name, *vip).is_empty())
        .map(|(vip, _)| vip)
        .collect();
    let recipients = config.recipients();
    let lost = without_router(&context.peers.borrow().established(), &asked, &vips, &recipients);
    let (first, more) = (lost.first()?, lost.len() - 1);
    let more = if more == 0 { String::new() } else { format!(" and {more} more VIPs") };
    let names: Vec<&str> = asked.iter().map(PeerName::as_str).collect();
    Some(format!(
        "no other router would be sent {first}{more}: the sessions with the other routers are down, or do not carry it; \
         `announcer drain {} --force` drains anyway",
        names.iter().map(|name| format!("--peer {name}")).collect::<Vec<_>>().join(" ")
    ))
}

fn peer(target: &DrainTarget) -> Option<PeerName> {
    match target {
        DrainTarget::Peer(name) => name.parse().ok(),
        DrainTarget::Vip(_) | DrainTarget::Service(_) | DrainTarget::Family(_) | DrainTarget::All => None,
    }
}

/// Waits for a drain: its preparation, the routers' acknowledgement, `settle`, and the connections. `news` gets each step.
async fn drained(
    targets: Vec<DrainTarget>,
    owner: Operator,
    mut generation: Generation,
    limits: DrainLimits,
    context: &ControlContext,
    news: &(dyn Fn(DrainProgress) + Sync),
) -> DrainResult {
    let vips: Vec<IpAddr> = {
        let config = context.configs.borrow();
        let covered = |service: &str, vip| targets.iter().any(|target| target.covers(service, vip));
        config.vips().filter(|(vip, of)| covered(of.name.as_str(), *vip)).map(|(vip, _)| vip).collect()
    };
    let of_routers = targets.iter().all(|target| peer(target).is_some());
    if !limits.prepare.is_zero() && !of_routers {
        let until = Instant::now() + limits.prepare;
        watched(sleep(limits.prepare), until, news, || DrainStep::Prepare).await;
        match change(DrainChange::Withdraw { targets, owner }, context).await {
            Ok(applied) => generation = applied.generation,
            Err(error) => return DrainResult::Unseen(error.to_string()),
        }
    }
    let withdrawn = Instant::now();
    let peers = context.peers.borrow().clone();
    if peers.count().1 == 0 && peers.unacknowledged(generation).is_empty() {
        return DrainResult::NoRouter;
    }
    let until = withdrawn + limits.timeout;
    let acknowledged = timeout(limits.timeout, peers.acknowledged(generation));
    let step = || DrainStep::Acknowledge(peers.unacknowledged(generation));
    if watched(acknowledged, until, news, step).await.is_err() {
        return DrainResult::NotAcknowledged(peers.unacknowledged(generation));
    }
    let settle = context.configs.borrow().bgp.settle;
    watched(sleep(settle), Instant::now() + settle, news, || DrainStep::Settle).await;
    if of_routers {
        return DrainResult::Routers;
    }
    let (followed, deadline) = (Instant::now(), withdrawn + limits.deadline);
    let silent = context.chain.borrow().silent_connections();
    let waited = connections::wait(vips, silent, followed, deadline, |count| {
        let left = deadline.saturating_duration_since(Instant::now());
        news(DrainProgress { step: DrainStep::Connections(count), left });
    });
    match waited.await {
        Ok((ConnectionWait::Drained | ConnectionWait::Waits, count)) => DrainResult::Drained(count),
        Ok((ConnectionWait::Deadline, count)) => DrainResult::Deadline(count),
        Err(error) => DrainResult::Unseen(error.to_string()),
    }
}

/// Waits for a future, and reports the step that it belongs to.
async fn watched<T>(
    future: impl Future<Output = T>,
    until: Instant,
    news: &(dyn Fn(DrainProgress) + Sync),
    step: impl Fn() -> DrainStep,
) -> T {
    let mut future = pin!(future);
    loop {
        news(DrainProgress { step: step(), left: until.saturating_duration_since(Instant::now()) });
        tokio::select! {
            done = &mut future => return done,
            () = sleep(LOOK) => {}
        }
    }
}

/// Waits until each VIP of these targets is announced, and acknowledged by every connected router.
///
/// # Errors
/// Why not, as a sentence, after the limit; or at once, if another drain withdraws a VIP.
async fn returned(targets: &[DrainTarget], limit: Duration, context: &ControlContext) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let ending = || "announcer is ending".to_owned();
    loop {
        let report = ask(&context.asks, Ask::Report).await.ok_or_else(ending)?;
        let covered = |service: &str, vip| targets.iter().any(|target| target.covers(service, vip));
        let missing: Vec<_> = (report.vips())
            .filter(|(service, vip)| covered(service.as_str(), vip.address) && !vip.standing.is_advertised())
            .map(|(_, vip)| (vip.address, vip.standing.clone()))
            .collect();
        let peers = context.peers.borrow().clone();
        let down = peers.iter().find_map(|(configured, status)| {
            let is_asked = targets.contains(&DrainTarget::Peer(configured.name.to_string()));
            let is_down = status.state != StateName::Established;
            (is_asked && is_down).then(|| format!("the session with {} is {}", configured.name, status.state))
        });
        let is_over = Instant::now() >= deadline;
        match (missing.first(), down) {
            (None, None) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let acknowledged = timeout(left, peers.acknowledged(report.generation)).await;
                return acknowledged.map_err(|_| {
                    format!(
                        "not acknowledged by {} in time",
                        peers.unacknowledged(report.generation).join(", ")
                    )
                });
            }
            (Some((vip, standing @ Standing::Drained(_))), _) => return Err(format!("{vip} is {standing}")),
            (Some((vip, standing)), _) if is_over => {
                let more = missing.len() - 1;
                let more = if more == 0 { String::new() } else { format!(", and {more} more VIPs") };
                return Err(format!("{vip} is {standing}{more}"));
            }
            (None, Some(down)) if is_over => return Err(down),
            (_, _) => sleep_until((Instant::now() + LOOK).min(deadline).into()).await,
        }
    }
}
