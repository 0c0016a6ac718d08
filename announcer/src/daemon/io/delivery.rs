//! Watches how far the routes of the VIPs have got: it logs when no router has acknowledged them, and publishes the warnings.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info};

use crate::bgp::io::peers::Peers;
use crate::delivery::{DeliveryAlarm, DeliveryNews};
use crate::director::ask::{Ask, ask};
use crate::rib::LocRib;

/// The least time between two looks, so that a host that announces thousands of VIPs one after the other does little work for it.
const PAUSE: Duration = Duration::from_millis(100);

/// The inputs and the output of the task.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct DeliveryChannels {
    pub(in crate::daemon) asks: mpsc::Sender<Ask>,
    pub(in crate::daemon) ribs: watch::Receiver<Arc<LocRib>>,
    pub(in crate::daemon) peers: watch::Receiver<Peers>,
    pub(in crate::daemon) warnings: watch::Sender<Vec<String>>,
}

/// Runs until the director ends.
pub(in crate::daemon) async fn watch(mut channels: DeliveryChannels) {
    let mut alarm = DeliveryAlarm::default();
    let mut peers = channels.peers.borrow_and_update().clone();
    loop {
        channels.ribs.borrow_and_update();
        let Some(figures) = ask(&channels.asks, Ask::Figures).await else { return };
        let routers = peers.routers();
        alarm.observe(&figures, &routers, Instant::now().into_std()).iter().for_each(log);
        drop(figures);
        channels.warnings.send_if_modified(|published| {
            let warnings = alarm.warnings();
            let news = *published != warnings;
            *published = warnings;
            news
        });
        sleep(PAUSE).await;
        let deadline = alarm.deadline();
        tokio::select! {
            changed = channels.peers.changed() => {
                if changed.is_err() {
                    return;
                }
                peers = channels.peers.borrow_and_update().clone();
            }
            changed = channels.ribs.changed() => if changed.is_err() { return },
            () = peers.routers_changed(&routers) => {}
            () = sleep_until(deadline.map_or_else(Instant::now, Instant::from_std)), if deadline.is_some() => {}
        }
    }
}

fn log(news: &DeliveryNews) {
    match news {
        DeliveryNews::NoRouterLeft { vips } => {
            error!(vips, "no router left: no session is established, announced VIPs are sent to no router");
        }
        DeliveryNews::Lost { service, first, vips } => {
            error!(service = service.as_str(), vip = %first, vips, "announced VIPs are sent to no router");
        }
        DeliveryNews::SentAgain { vips } => info!(vips, "announced VIPs were sent to a router again"),
    }
}

#[cfg(test)]
mod tests;
