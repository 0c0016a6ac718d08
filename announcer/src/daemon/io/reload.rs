//! Reloads the configuration of a running daemon: reads it, checks it and applies it. If it is refused, nothing changes.
//!
//! ```text
//! read and parse ─→ sessions? ─→ director judges and applies ─→ VIPs wanted on lo ─→ sessions
//!      └── error: the caller gets it, the old configuration runs on ──┘
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::bgp::io::peers::Peers;
use crate::bgp::plan::interruption;
use crate::bgp::router_id::Identity;
use crate::chain::guard;
use crate::chain::heartbeat::IntentKind;
use crate::chain::io::{GuardPermit, GuardRequest, permitted, would_be_permitted};
use crate::config::Config;
use crate::config::io::{LoadedText, load, off_thread};
use crate::config::kind::certificate::CheckFiles;
use crate::control::api::{ErrorCode, Response};
use crate::control::changes::{changes, would};
use crate::control::io::Reload;
use crate::control::request::ReloadMode;
use crate::daemon::addresses;
use crate::director::Preview;
use crate::director::ask::{Ask, ask};
use crate::fallback::Fallback;
use crate::files::io::Files;
use crate::health::io::trust;
use crate::memory::io::Trimmer;
use crate::metrics::Reloads;
use crate::rib::LocRib;
use crate::systemd::io::Notifier;
use crate::vip::WantedDevices;

/// Applies configurations, one at a time.
pub(in crate::daemon) struct Reloader {
    pub(in crate::daemon) files: Files,
    pub(in crate::daemon) trimmer: Trimmer,
    pub(in crate::daemon) file: PathBuf,
    pub(in crate::daemon) configs: watch::Sender<Arc<Config>>,
    pub(in crate::daemon) wanted: watch::Sender<WantedDevices>,
    pub(in crate::daemon) asks: mpsc::Sender<Ask>,
    /// The guard of capacity.
    pub(in crate::daemon) guard: mpsc::Sender<GuardRequest>,
    pub(in crate::daemon) identity: watch::Receiver<Identity>,
    pub(in crate::daemon) peers: watch::Receiver<Peers>,
    pub(in crate::daemon) ribs: watch::Receiver<Arc<LocRib>>,
    pub(in crate::daemon) counts: watch::Sender<Reloads>,
    pub(in crate::daemon) notifier: Notifier,
    /// The text of the applied configuration; none while nothing is stored.
    pub(in crate::daemon) applied: watch::Sender<Option<Arc<str>>>,
    /// Whether these texts are stored, for a start with a wrong file.
    pub(in crate::daemon) stores: bool,
    pub(in crate::daemon) fallback: watch::Sender<Option<Fallback>>,
    /// The keys of `[log]` that have no effect, each with the option of the command line that comes first.
    pub(in crate::daemon) log_options: Vec<(&'static str, &'static str)>,
}

/// How long the other members consider the VIPs as withdrawn after a reload, if they are still announced.
const HOLD: Duration = Duration::from_secs(2);
/// The way out of a refusal.
const FORCE: &str = "`announcer reload --force` makes the reload anyway";

/// The VIPs of both configurations that are announced now.
fn sent(old: &Config, new: &Config, rib: &LocRib) -> Vec<IpAddr> {
    let stays: BTreeSet<IpAddr> = new.vips().map(|(vip, _)| vip).collect();
    let sent = old
        .vips()
        .filter(|(vip, service)| rib.routes.get(&service.prefix_of(*vip)).is_some() && stays.contains(vip));
    sent.map(|(vip, _)| vip).collect()
}

/// The VIPs that a reload would withdraw.
fn withdrawn(preview: &Preview) -> BTreeSet<IpAddr> {
    preview.vips.iter().filter(|vip| vip.is_withdrawn()).map(|vip| vip.vip).collect()
}

/// The wall clock, only for people and other hosts. No decision uses it.
pub(in crate::daemon) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Reloader {
    /// Serves requests for ever, one at a time; a file that hangs delays a request only up to a time limit.
    pub(in crate::daemon) async fn serve(self, mut requests: mpsc::Receiver<Reload>) {
        while let Some(Reload { mode, reply }) = requests.recv().await {
            let notice = (mode != ReloadMode::DryRun).then(|| self.notifier.reloading());
            let response = self.apply(mode).await.unwrap_or_else(|response| response);
            drop(notice); // before the requester is answered, which is the end of the unit's ExecReload
            self.trimmer.soon();
            let applied = matches!(response, Response::Done { .. });
            if mode != ReloadMode::DryRun {
                self.counts.send_modify(|counts| counts.count(applied, unix_time()));
            }
            match &response {
                _ if mode == ReloadMode::DryRun => {}
                Response::Done { notes } => {
                    info!(changes = notes.join(", "), "configuration was reloaded");
                }
                Response::Error(error) => {
                    warn!(error = error.text, "configuration was not reloaded, the old one stays in use");
                }
                Response::Status { .. }
                | Response::Vip(_)
                | Response::Peer(_)
                | Response::History(_)
                | Response::Waits(_)
                | Response::Chain(_)
                | Response::Site(_)
                | Response::OpenApi => {}
            }
            if let Some(reply) = reply {
                let _ = reply.send(response); // the requester may have ended
            }
        }
    }

    /// Applies the configuration, unless `mode` only asks what would change. An error is a response too.
    async fn apply(&self, mode: ReloadMode) -> Result<Response, Response> {
        let ending = || Response::error(ErrorCode::Ending, "announcer is ending");
        let refused = |text: String| Response::error(ErrorCode::Refused, text);
        let wrong = |text: String| Response::error(ErrorCode::WrongConfiguration, text);
        let look = |files: &CheckFiles| trust::check(files).map_err(|finding| finding.to_string());
        let (config, text) =
            load(&self.files, &self.file, look).await.map_err(|error| wrong(error.to_string()))?;
        let (config, old) = (Arc::new(config), self.configs.borrow().clone());
        if config == old {
            if mode != ReloadMode::DryRun {
                self.configs.send_replace(config); // the sessions read their keys again
                self.applied(text);
            }
            return Ok(Response::Done { notes: vec!["nothing has changed".into()] });
        }
        let (before, after) = (old.clone(), config.clone());
        let in_use = self.identity.borrow().id;
        let log_options = self.log_options.clone();
        let notes = off_thread(move || changes(&before, &after, in_use, &log_options));
        let notes = notes.await.map_err(|error| Response::error(ErrorCode::Failed, error.to_string()))?;
        let interruption = || {
            let (established, sent) =
                (self.peers.borrow().established(), sent(&old, &config, &self.ribs.borrow()));
            interruption(&old, &config, in_use, &established, &sent)
        };
        match mode {
            ReloadMode::DryRun => {
                let preview = ask(&self.asks, |reply| Ask::Preview { config: config.clone(), reply }).await;
                let preview = preview.ok_or_else(ending)?;
                let needs = guard::needs(&old, &withdrawn(&preview));
                let capacity = would_be_permitted(&self.guard, IntentKind::Reload, needs).await.err();
                return Ok(Response::Done { notes: would(notes, &preview, interruption(), capacity) });
            }
            ReloadMode::Careful => {
                if let Some(interruption) = interruption() {
                    return Err(refused(format!("error: {interruption}; {FORCE}")));
                }
            }
            ReloadMode::Forced => {}
        }
        let force = mode == ReloadMode::Forced;
        let permit = if force { GuardPermit::unneeded() } else { self.capacity(&old, &config).await? };
        let applied = ask(&self.asks, |reply| Ask::Reload { config: config.clone(), force, reply }).await;
        let generation =
            applied.ok_or_else(ending)?.map_err(|refusal| refused(format!("error: {refusal}; {FORCE}")))?;
        drop(permit);
        // The director comes first: facts about a VIP that it does not know are lost.
        self.wanted.send_replace(WantedDevices::new(&config, generation));
        self.configs.send_replace(config.clone());
        self.applied(text);
        Ok(Response::Done { notes })
    }

    /// Asks the other members of the chain whether the VIPs may be withdrawn that this configuration would withdraw.
    async fn capacity(&self, old: &Arc<Config>, new: &Arc<Config>) -> Result<GuardPermit, Response> {
        if guard::needs(old, &addresses(old)).is_empty() {
            return Ok(GuardPermit::unneeded());
        }
        let preview = ask(&self.asks, |reply| Ask::Preview { config: new.clone(), reply }).await;
        let preview = preview.ok_or_else(|| Response::error(ErrorCode::Ending, "announcer is ending"))?;
        if preview.refusal().is_some() {
            return Ok(GuardPermit::unneeded()); // the director refuses it
        }
        permitted(&self.guard, IntentKind::Reload, guard::needs(old, &withdrawn(&preview)), HOLD)
            .await
            .map_err(|why| Response::error(ErrorCode::Refused, format!("error: {why}; {FORCE}")))
    }

    /// The configuration with this text is applied. A fallback has ended.
    fn applied(&self, LoadedText { text, digest }: LoadedText) {
        self.counts.send_modify(|counts| counts.config = digest);
        if self.stores {
            self.applied.send_replace(Some(text));
        }
        self.fallback.send_replace(None);
    }
}
