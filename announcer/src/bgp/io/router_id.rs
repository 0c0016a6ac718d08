//! Publishes the router id: the configured one, or the source address towards a router.
//!
//! Touches rtnetlink, through [`dial`] and [`path`]. [`bgp::router_id`](crate::bgp::router_id) decides what follows from the
//! answers.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::bgp::discovery::LearntRouters;
use crate::bgp::io::peers::Peers;
use crate::bgp::io::{dial, path};
use crate::bgp::path::Network;
use crate::bgp::router_id::{Candidate, Identity, SourceLookup, Usage, candidates, choose};
use crate::config::Config;
use crate::model::PeerName;

/// The time between two queries for a route while the router id is not known.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Publishes the current router id; never returns.
pub async fn follow(
    mut configs: watch::Receiver<Arc<Config>>,
    mut network: watch::Receiver<Arc<Network>>,
    peers: watch::Receiver<Peers>,
    publish: watch::Sender<Identity>,
) {
    loop {
        let config = configs.borrow_and_update().clone();
        network.mark_unchanged();
        let vips: BTreeSet<IpAddr> = config.vips().map(|(vip, _)| vip).collect();
        let now = publish.borrow().clone();
        let usage = || if peers.borrow().have_spoken() { Usage::InUse } else { Usage::Unused };
        let settled = config.bgp.router_id.is_some() || (now.id.is_some() && usage() == Usage::InUse);
        let found = if settled { vec![] } else { look(&config, &vips).await };
        // A session may have started during the queries.
        let next = choose(config.bgp.router_id, &now, usage(), &found, &vips);
        publish.send_if_modified(|known| {
            if *known == next {
                return false;
            }
            match (&next.id, &next.waits) {
                (Some(id), _) if known.id != next.id => info!(router_id = %id, "router id was chosen"),
                (None, Some(why)) => warn!(reason = why, "router id is not known"),
                (Some(_), _) | (None, None) => {}
            }
            *known = next.clone();
            true
        });
        tokio::select! {
            changed = configs.changed() => if changed.is_err() { return },
            changed = network.changed() => if changed.is_err() { return },
            () = sleep(LOOK_AGAIN), if next.id.is_none() => {}
        }
    }
}

/// Queries each candidate, up to the first that can be used.
async fn look(config: &Config, vips: &BTreeSet<IpAddr>) -> Vec<(PeerName, SourceLookup)> {
    let mut found = Vec::new();
    for candidate in candidates(config) {
        let (name, seen) = match candidate {
            Candidate::Configured(name, source) => (name, SourceLookup::Source(source)),
            Candidate::Towards(name) => {
                let seen = towards(config, &name, vips).await;
                (name, seen)
            }
        };
        let done = matches!(&seen, SourceLookup::Source(IpAddr::V4(ip)) if !vips.contains(&IpAddr::V4(*ip)));
        found.push((name, seen));
        if done {
            break;
        }
    }
    found
}

async fn towards(config: &Config, name: &PeerName, vips: &BTreeSet<IpAddr>) -> SourceLookup {
    let Some(peer) = config.peers.iter().find(|peer| peer.name == *name) else {
        return SourceLookup::NoWay("it is not configured".into());
    };
    let (address, route) = match dial::locate(peer, None, &LearntRouters::default()).await {
        Ok(found) => found,
        Err(failure) => return SourceLookup::NoWay(failure.to_string()),
    };
    let end = SocketAddr::new(address, peer.port);
    match path::source(end, peer.device(), route, vips).await {
        Ok((Some(source), _)) => SourceLookup::Source(source),
        Ok((None, _)) => SourceLookup::Vip(route.source),
        Err(error) => SourceLookup::NoWay(error.to_string()),
    }
}
