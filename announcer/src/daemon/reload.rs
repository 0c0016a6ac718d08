//! A new configuration for a running daemon: read, judged, applied; or refused, and then nothing has changed.
//!
//! ```text
//! read and parse ─→ too much at once? ─→ director ─→ VIPs on lo ─→ sessions ─→ withdrawn, settled: old VIPs off lo
//!      └── error: the caller is told, the old configuration runs on ──┘
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{ACKNOWLEDGE, ReadError, Text, addresses};
use crate::bgp::io::peers::Peers;
use crate::config::{Config, Peer};
use crate::control::api::Response;
use crate::control::io::{Ask, Reload};
use crate::drain::io::blocking;
use crate::metrics::Reloads;
use crate::model::Generation;

/// Applies configurations, one at a time.
pub(super) struct Reloader {
    pub(super) file: PathBuf,
    pub(super) configs: watch::Sender<Arc<Config>>,
    pub(super) wanted: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    pub(super) peers: watch::Receiver<Peers>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) counts: watch::Sender<Reloads>,
}

/// For people and other hosts alone: no decision reads it.
pub(super) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Reloader {
    /// The configuration that runs.
    pub(super) fn config(&self) -> Arc<Config> {
        self.configs.borrow().clone()
    }

    /// By SIGHUP, which never forces.
    pub(super) async fn by_signal(&mut self) {
        match self.reload(false).await {
            Response::Done { notes } => info!(changes = notes.join(", "), "configuration was reloaded"),
            Response::Refused { message } | Response::Failed { message } | Response::Timeout { message } => {
                warn!(error = message, "configuration was not reloaded, the old one runs on");
            }
            Response::Status { .. } => {}
        }
    }

    /// By the control socket.
    pub(super) async fn by_request(&mut self, Reload { force, reply }: Reload) {
        let response = self.reload(force).await;
        if let Response::Done { notes } = &response {
            info!(changes = notes.join(", "), "configuration was reloaded");
        }
        let _ = reply.send(response); // who asked may be gone
    }

    async fn reload(&mut self, force: bool) -> Response {
        let response = self.apply(force).await;
        let applied = matches!(response, Response::Done { .. });
        self.counts.send_modify(|counts| counts.count(applied, unix_time()));
        response
    }

    async fn apply(&mut self, force: bool) -> Response {
        let file = self.file.clone();
        let read = move || Ok(Text::read(&file)?.parse_looking(|_| true)?);
        let config = match blocking(move || Ok::<Result<_, ReadError>, _>(read())).await {
            Ok(Ok(config)) => Arc::new(config),
            Ok(Err(e)) => return Response::Refused { message: e.to_string() },
            Err(e) => return Response::Failed { message: e.to_string() },
        };
        let old = self.config();
        if config == old {
            self.configs.send_replace(config); // sessions read their keys again
            return Response::Done { notes: vec!["nothing has changed".into()] };
        }
        let Some(announced) = self.announced().await else {
            return Response::Failed { message: "announcer is ending".into() };
        };
        if let Some(message) = too_much(&announced, &old, &config).filter(|_| !force) {
            return Response::Refused { message };
        }
        let (before, after) = (addresses(&old), addresses(&config));
        let (reply, applied) = oneshot::channel();
        if self.asks.send(Ask::Reload(config.clone(), reply)).await.is_err() {
            return Response::Failed { message: "announcer is ending".into() };
        }
        let Ok(generation) = applied.await else {
            return Response::Failed { message: "announcer is ending".into() };
        };
        // The director first: what is told of a VIP that it does not know is lost.
        self.wanted.send_modify(|wanted| *wanted = Arc::new(wanted.union(&after).copied().collect()));
        self.configs.send_replace(config.clone());
        if before.difference(&after).next().is_some() {
            self.remove_old(generation);
        }
        Response::Done { notes: notes(&old, &config) }
    }

    /// Takes VIPs that no service has any more off lo, once no router sends to them.
    fn remove_old(&self, generation: Generation) {
        let peers = self.peers.borrow().clone();
        let (configs, wanted) = (self.configs.clone(), self.wanted.clone());
        tokio::spawn(async move {
            let _ = timeout(ACKNOWLEDGE, peers.told(generation)).await; // a router that says nothing holds up nothing
            let settle = configs.borrow().bgp.settle;
            sleep(settle).await;
            wanted.send_replace(Arc::new(addresses(&configs.borrow())));
        });
    }

    /// The VIPs that are announced now.
    async fn announced(&self) -> Option<BTreeSet<IpAddr>> {
        let (reply, report) = oneshot::channel();
        self.asks.send(Ask::Report(reply)).await.ok()?;
        let report = report.await.ok()?;
        let told = report.vips().filter(|(_, vip)| vip.standing.is_told());
        Some(told.map(|(_, vip)| vip.address).collect())
    }
}

/// Why a reload wants `--force`.
fn too_much(announced: &BTreeSet<IpAddr>, old: &Config, new: &Config) -> Option<String> {
    if !announced.is_empty() && announced.is_disjoint(&addresses(new)) {
        return Some(
            "error: this would withdraw every VIP that is announced; `announcer reload --force` does it"
                .into(),
        );
    }
    let bgp = |of: &Config| (of.bgp.asn, of.bgp.graceful_restart);
    let goes_on = |peer: &Peer, next: &Peer| next.name == peer.name && peer.same_session(next);
    let kept = |peer: &Peer| bgp(old) == bgp(new) && new.peers.iter().any(|next| goes_on(peer, next));
    if !old.peers.iter().any(kept) {
        return Some(
            "error: this would end every session, by removing or changing each peer; `announcer reload --force` does \
             it, one session after the other"
                .into(),
        );
    }
    None
}

/// What is different, for the person who asked.
fn notes(old: &Config, new: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            notes.push(format!("{what} {}", names.join(", ")));
        }
    };
    let peers = |of: &Config, fits: &dyn Fn(&Peer) -> bool| -> Vec<String> {
        of.peers.iter().filter(|peer| fits(peer)).map(|peer| peer.name.to_string()).collect()
    };
    let find = |of: &Config, name: &str| of.peers.iter().find(|peer| peer.name.as_str() == name).cloned();
    note("new peer", peers(new, &|peer| find(old, peer.name.as_str()).is_none()));
    note("removed peer", peers(old, &|peer| find(new, peer.name.as_str()).is_none()));
    note(
        "changed peer",
        peers(new, &|peer| find(old, peer.name.as_str()).is_some_and(|other| other != *peer)),
    );
    let services = |of: &Config, other: &Config| -> Vec<String> {
        let known = |name: &str| other.services.iter().any(|service| service.name.as_str() == name);
        of.services.iter().map(|service| service.name.to_string()).filter(|name| !known(name)).collect()
    };
    note("new service", services(new, old));
    note("removed service", services(old, new));
    let changed = new
        .services
        .iter()
        .filter(|service| old.services.iter().any(|other| other.name == service.name && other != *service));
    note("changed service", changed.map(|service| service.name.to_string()).collect());
    if old.bgp.router_id != new.bgp.router_id {
        notes.push("`router_id` takes effect when announcer is started next".into());
    }
    if old.bgp.asn != new.bgp.asn {
        notes.push("changed AS: every session begins anew, one after the other".into());
    }
    if notes.is_empty() {
        notes.push("changed settings of `[bgp]`".into());
    }
    notes
}
