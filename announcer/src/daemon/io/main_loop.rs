//! The main loop: it handles signals, reports to systemd, and runs the reloads and the upgrades, until a signal stops the daemon.
//!
//! Touches signals, and systemd's socket through the supervisor.

use std::pin::pin;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::info;

use super::signals::Signals;
use super::stop::Stop;
use super::supervise::Supervisor;
use crate::control::io::{Reload, UpgradeRequest};
use crate::control::request::ReloadMode;
use crate::director::ask::Ask;
use crate::takeover::successor::Successor;

/// The senders of requests to the daemon itself. While one of them exists, reloads and upgrades are served.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct RequestSenders {
    /// The task that reloads.
    pub(in crate::daemon) reloads: mpsc::Sender<Reload>,
    /// The task that replaces the program.
    pub(in crate::daemon) upgrades: mpsc::Sender<UpgradeRequest>,
}

impl RequestSenders {
    /// The channels of requests. Returns their other ends too, for the reloader and for the upgrader.
    pub(in crate::daemon) fn new() -> (Self, mpsc::Receiver<Reload>, mpsc::Receiver<UpgradeRequest>) {
        let (reloads, reloads_heard) = mpsc::channel(4);
        let (upgrades, upgrades_heard) = mpsc::channel(4);
        (RequestSenders { reloads, upgrades }, reloads_heard, upgrades_heard)
    }
}

/// Runs until a signal requests the stop, and then stops. `reloading` and `upgrading` serve the requests; they exist until the stop
/// has ended, because other tasks end when what a reload publishes is dropped.
///
/// # Errors
/// When the director has ended, without which the daemon cannot continue.
pub(in crate::daemon) async fn run(
    mut signals: Signals,
    mut supervisor: Supervisor,
    mut directing: JoinHandle<()>,
    requests: RequestSenders,
    reloading: impl Future<Output = ()>,
    upgrading: impl Future<Output = ()>,
    stop: Stop,
) -> anyhow::Result<()> {
    // A reload is one of these futures, so that signals are handled while it waits for a file.
    let mut reloading = pin!(reloading);
    let mut upgrading = pin!(upgrading);
    let name = loop {
        tokio::select! {
            name = signals.next() => match name {
                // If requests are already waiting, the last of them reads the file later than now.
                "SIGHUP" => drop(requests.reloads.try_send(Reload { mode: ReloadMode::Careful, reply: None })),
                "SIGUSR1" => {
                    info!("SIGUSR1 requested a probe of every check, probing now");
                    let _ = stop.asks.try_send(Ask::Recheck(None)); // if the queue is full, the probes run soon anyway
                }
                "SIGUSR2" => {
                    info!("SIGUSR2 requested an upgrade; the program that runs is not kept for a rollback, only `announcer upgrade` does that");
                    let request = UpgradeRequest { successor: Successor::Installed, force: false, reply: None };
                    let _ = requests.upgrades.try_send(request); // if requests are already waiting, the program is replaced anyway
                }
                "SIGALRM" => info!(signal = "SIGALRM", "signal has no meaning, ignored"),
                name => break name,
            },
            late = supervisor.wait() => {
                supervisor.turn(late);
                stop.descriptors.send_again();
            }
            () = &mut reloading => {} // never happens: a sender is kept here
            () = &mut upgrading => {} // never happens: a sender is kept here
            ended = &mut directing => anyhow::bail!("the director ended: {ended:?}"),
        }
    };
    stop.run(name, &mut signals, &mut supervisor).await;
    Ok(())
}
