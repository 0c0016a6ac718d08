//! The stop: the routes go first, then connections may end, then the sessions, the chain, BFD and the VIPs.
//!
//! Waits for the director, for the routers, for tasks and for the clock, for each of them with a limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::chain::ChainStop;
use super::sessions::HANG_UP;
use super::signals::Signals;
use super::supervise::Supervisor;
use super::tasks::OwnedTask;
use crate::bfd::io::LONGEST_STOP;
use crate::bgp::io::peers::Peers;
use crate::chain::status::ChainStatus;
use crate::config::{ACKNOWLEDGE, Config, LONGEST_LEAVE};
use crate::daemon::{RUNNING, UNFINISHED, addresses};
use crate::director::ask::Ask;
use crate::drain::connections::{ConnectionWait, SilentConnections};
use crate::drain::io::connections;
use crate::files::io::{self as files, Files};
use crate::systemd::Notice;
use crate::systemd::io::Notifier;
use crate::takeover::io::descriptors::Descriptors;
use crate::vip;

/// A task that is stopped in order, and the channel that tells it to stop.
pub(in crate::daemon) struct StoppableTask<T> {
    /// The task.
    pub(in crate::daemon) task: OwnedTask,
    /// What it follows.
    pub(in crate::daemon) stop: watch::Sender<T>,
}

impl<T> StoppableTask<T> {
    /// Tells the task to stop, and waits until it has ended, for `limit` at most.
    async fn end(&mut self, stop: T, limit: Duration) {
        self.stop.send_replace(stop);
        let _ = timeout(limit, self.task.ended()).await; // what has not ended by then ends with the process
    }
}

/// What a stop needs.
pub(in crate::daemon) struct Stop {
    /// The questions to the director.
    pub(in crate::daemon) asks: mpsc::Sender<Ask>,
    /// The configuration.
    pub(in crate::daemon) configs: watch::Receiver<Arc<Config>>,
    /// The sessions.
    pub(in crate::daemon) peers: watch::Receiver<Peers>,
    /// The state of the chain.
    pub(in crate::daemon) chain_status: watch::Receiver<Arc<ChainStatus>>,
    /// The sessions' tasks, which hear the text of the shutdown.
    pub(in crate::daemon) sessions: StoppableTask<Option<String>>,
    /// The chain's task.
    pub(in crate::daemon) chain: StoppableTask<ChainStop>,
    /// BFD's task.
    pub(in crate::daemon) bfd: StoppableTask<bool>,
    /// The task that keeps the VIPs.
    pub(in crate::daemon) vips: StoppableTask<bool>,
    /// The way to files.
    pub(in crate::daemon) files: Files,
    /// The state directory.
    pub(in crate::daemon) state_dir: PathBuf,
    /// What the service manager stores for the next process.
    pub(in crate::daemon) descriptors: Descriptors,
    /// The messages to the service manager.
    pub(in crate::daemon) notifier: Notifier,
}

impl Stop {
    /// Withdraws everything, and ends what has a part in it, each at its time. `signal` is the name of the signal that requested the
    /// stop; a second one of `signals` ends the wait for routers and connections.
    pub(in crate::daemon) async fn run(
        mut self,
        signal: &str,
        signals: &mut Signals,
        supervisor: &mut Supervisor,
    ) {
        info!(signal, "stop was requested, withdrawing");
        self.notifier.send(&Notice::Stopping);
        // The next process must not continue these sessions, even if this stop is interrupted.
        self.descriptors.forget_all();
        self.notifier.send(&Notice::Status("stopping: the VIPs are withdrawn".to_owned()));
        let silent = self.chain_status.borrow().silent_connections();
        self.chain.stop.send_replace(ChainStop::Leaving);
        let (config, peers) = (self.configs.borrow().clone(), self.peers.borrow().clone());
        tokio::select! {
            () = withdraw(&self.asks, &peers, &config, silent) => {}
            () = signals.second() => warn!("second signal, not waiting for the routers"),
            () = supervisor.feed_while_stopping() => {} // never happens
        }
        self.sessions.end(Some(format!("announcer was stopped by {signal}")), HANG_UP * 2).await;
        self.chain.end(ChainStop::Leave, LONGEST_LEAVE * 2).await;
        // Only now: a router may end its session when BFD goes to AdminDown, and the withdraw came first.
        self.bfd.end(true, LONGEST_STOP * 2).await;
        // `dsr-setup watch` learns that this is a stop and no crash.
        self.vips.end(true, vip::io::LONGEST_STOP).await;
        // After an end with a Cease, no router keeps our routes, so the next start is not a restart (RFC 4724).
        let _ = self.files.run(&self.state_dir.join(RUNNING), files::remove).await;
        // And for the starter it is no crash.
        let _ = self.files.run(&self.state_dir.join(UNFINISHED), files::remove).await;
        self.descriptors.forget_all();
        self.descriptors.send_again();
        info!("announcer ended");
    }
}

/// Sends a request to the director; `None`: it has ended, or does not read its requests.
async fn send(asks: &mpsc::Sender<Ask>, ask: Ask) -> Option<()> {
    match timeout(ACKNOWLEDGE, asks.send(ask)).await {
        Ok(sent) => sent.ok(),
        Err(_) => {
            warn!("director took no request of the stop in time, its routes end with the sessions");
            None
        }
    }
}

/// Withdraws everything, and waits until the routers have followed. With `[drain]`, every VIP is first the last choice for
/// `prepare`, and afterwards connections may go on until `deadline`.
async fn withdraw(asks: &mpsc::Sender<Ask>, peers: &Peers, config: &Config, silent: SilentConnections) {
    let announcing = peers.announcing();
    let prepare = config.drain.as_ref().map_or(Duration::ZERO, |drain| drain.prepare);
    if announcing && !prepare.is_zero() && send(asks, Ask::Leave).await.is_some() {
        info!(prepare = %humantime::format_duration(prepare), "every VIP is the last choice before the withdraw");
        sleep(prepare).await;
    }
    let withdrawn = Instant::now();
    let (reply, generation) = oneshot::channel();
    let Some(()) = send(asks, Ask::Stop(reply)).await else { return };
    let generation = match timeout(ACKNOWLEDGE, generation).await {
        Ok(Ok(generation)) => generation,
        Ok(Err(_)) => return, // the director has ended
        Err(_) => return warn!("director did not withdraw in time, its routes end with the sessions"),
    };
    if timeout(ACKNOWLEDGE, peers.acknowledged(generation)).await.is_err() {
        warn!(peers = peers.unacknowledged(generation).join(", "), "withdraw was not acknowledged in time");
    }
    if !announcing {
        return;
    }
    sleep(config.bgp.settle).await;
    let Some(drain) = &config.drain else { return };
    let vips = addresses(config).into_iter().collect();
    let (followed, deadline) = (Instant::now(), withdrawn + drain.deadline);
    match connections::wait(vips, silent, followed, deadline, |_| {}).await {
        Ok((ConnectionWait::Drained | ConnectionWait::Waits, count)) => {
            info!(active = count.active, silent = count.silent, "no connection is served here any more");
        }
        Ok((ConnectionWait::Deadline, count)) => {
            warn!(
                active = count.active,
                silent = count.silent,
                "deadline has come, connections are still served here"
            );
        }
        Err(error) => warn!(%error, "connections cannot be seen, not waiting for them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::config::tests::GOOD;

    /// Withdraws with a director that hangs: it reads no request (`full`), or answers none.
    async fn withdraw_from_a_director_that_hangs(full: bool) {
        let config = parse("x", GOOD).unwrap_or_else(|errors| panic!("{errors}"));
        let (asks, _director) = mpsc::channel(1);
        if full {
            asks.send(Ask::Leave).await.unwrap();
        }
        withdraw(&asks, &Peers::default(), &config, SilentConnections::Moved).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_ever_for_the_director() {
        for full in [true, false] {
            let ended = timeout(ACKNOWLEDGE * 2, withdraw_from_a_director_that_hangs(full)).await;
            assert!(ended.is_ok(), "{full}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_stops_nobody() {
        let (stop, stop_seen) = watch::channel(false);
        let task = OwnedTask::new("test".into(), std::future::pending::<()>);
        let mut stoppable = StoppableTask { task, stop };
        stoppable.end(true, ACKNOWLEDGE).await;
        assert!(*stop_seen.borrow());
    }
}
