//! The stop: the routes go first, then connections may end.
//!
//! Waits for the director, for the routers and for the clock.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::bgp::io::peers::Peers;
use crate::config::{ACKNOWLEDGE, Config};
use crate::daemon::addresses;
use crate::director::ask::Ask;
use crate::drain::connections::{ConnectionWait, SilentConnections};
use crate::drain::io::connections;

/// Withdraws everything, and waits until the routers have followed. With `[drain]`, every VIP is first the last choice for
/// `prepare`, and afterwards connections may go on until `deadline`.
pub(in crate::daemon) async fn withdraw(
    asks: &mpsc::Sender<Ask>,
    peers: &Peers,
    config: &Config,
    silent: SilentConnections,
) {
    let announcing = peers.announcing();
    let prepare = config.drain.as_ref().map_or(Duration::ZERO, |drain| drain.prepare);
    if announcing && !prepare.is_zero() && asks.send(Ask::Leave).await.is_ok() {
        info!(prepare = %humantime::format_duration(prepare), "every VIP is the last choice before the withdraw");
        sleep(prepare).await;
    }
    let withdrawn = Instant::now();
    let (reply, generation) = oneshot::channel();
    if asks.send(Ask::Stop(reply)).await.is_err() {
        return;
    }
    let Ok(generation) = generation.await else { return };
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
