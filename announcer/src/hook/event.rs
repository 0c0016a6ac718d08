//! What hooks report: the events, which hooks are run for each, and the environment of a run.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::secret::SecretText;
use crate::config::{Config, HookOwner, HooksConfig};
use crate::director::StandingChange;
use crate::drain::DrainTarget;
use crate::model::{PeerName, ServiceName};

#[cfg(test)]
mod tests;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSource {
    /// The standing of a VIP.
    Vip {
        /// Its service.
        service: ServiceName,
        /// Which.
        vip: IpAddr,
    },
    /// The session with a router.
    Session(PeerName),
    /// A drain.
    Drain {
        /// What it withdraws.
        target: DrainTarget,
        /// The services with a VIP that it withdraws.
        services: Vec<ServiceName>,
    },
}

/// What one hook reports on its own: of several changes of one subject, only the last is reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookSubject {
    /// A VIP.
    Vip(IpAddr),
    /// The session of a router.
    Session(PeerName),
    /// The drain of a target.
    Drain(DrainTarget),
}

/// A change that hooks report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEvent {
    /// What has changed.
    pub source: EventSource,
    /// Its new state as one word: a standing as in `status`; `up` or `down`; or `begun`, `drained` or `ended`.
    pub state: &'static str,
    /// Its state before.
    pub before: &'static str,
    /// The reason as one word, as in metrics; empty for a drain.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
}

impl HookEvent {
    /// Of a VIP.
    pub fn of_standing(change: &StandingChange) -> Self {
        HookEvent {
            source: EventSource::Vip { service: change.service.clone(), vip: change.vip },
            state: change.standing.word(),
            before: change.before.word(),
            reason: change.standing.label(),
            message: change.standing.to_string(),
        }
    }

    /// Of a session. `lost`: why it went down, as a word and as a sentence; `None`: it came up.
    pub fn of_session(peer: PeerName, lost: Option<(&'static str, String)>) -> Self {
        let (state, before) = if lost.is_some() { (DOWN, UP) } else { (UP, DOWN) };
        let (reason, message) = lost.unwrap_or(("established", "the session is established".to_owned()));
        HookEvent { source: EventSource::Session(peer), state, before, reason, message }
    }

    /// Its subject.
    pub fn subject(&self) -> HookSubject {
        match &self.source {
            EventSource::Vip { vip, .. } => HookSubject::Vip(*vip),
            EventSource::Session(peer) => HookSubject::Session(peer.clone()),
            EventSource::Drain { target, .. } => HookSubject::Drain(target.clone()),
        }
    }
}

/// The state of a session that is established.
const UP: &str = "up";
/// The state of any other session.
const DOWN: &str = "down";

/// The data that one run of a hook reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCall {
    /// The event.
    pub event: HookEvent,
    /// The state that the last run of this hook reported, or the state before the event if there was no such run.
    pub previous: &'static str,
}

impl HookCall {
    /// The environment of a run of this owner's hook, in addition to `PATH`.
    pub fn environment(&self, owner: &HookOwner) -> Vec<(&'static str, String)> {
        let HookEvent { source, state, before: _, reason, message } = &self.event;
        let state = (*state).to_owned();
        let mut environment = match source {
            EventSource::Vip { service, vip } => vec![
                ("ANNOUNCER_EVENT", "standing".to_owned()),
                ("ANNOUNCER_SERVICE", service.to_string()),
                ("ANNOUNCER_VIP", vip.to_string()),
                ("ANNOUNCER_STANDING", state),
                ("ANNOUNCER_REASON", (*reason).to_owned()),
            ],
            EventSource::Session(peer) => vec![
                ("ANNOUNCER_EVENT", "session".to_owned()),
                ("ANNOUNCER_PEER", peer.to_string()),
                ("ANNOUNCER_SESSION", state),
                ("ANNOUNCER_REASON", (*reason).to_owned()),
            ],
            EventSource::Drain { target, services: _ } => {
                let service = match owner {
                    HookOwner::Service(name) => Some(("ANNOUNCER_SERVICE", name.to_string())),
                    HookOwner::Host | HookOwner::Peer(_) => None,
                };
                let rest = [
                    ("ANNOUNCER_EVENT", "drain".to_owned()),
                    ("ANNOUNCER_TARGET", target.arguments()),
                    ("ANNOUNCER_DRAIN", state),
                ];
                rest.into_iter().chain(service).collect()
            }
        };
        environment.push(("ANNOUNCER_MESSAGE", message.replace('\0', " ")));
        environment.push(("ANNOUNCER_PREVIOUS", self.previous.to_owned()));
        environment
    }
}

/// The hooks of a configuration.
#[derive(Debug, Clone, Default)]
pub struct HookTable(BTreeMap<HookOwner, HooksConfig>);

/// A program that a hook runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCommand {
    /// Its absolute path and its arguments.
    pub words: Vec<SecretText>,
    /// How long a run may take.
    pub timeout: Duration,
}

impl HookTable {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        HookTable(config.all_hooks().map(|(owner, hooks)| (owner, hooks.clone())).collect())
    }

    /// The owners whose hooks are run for an event. This is the only place that decides it.
    pub fn owners(&self, event: &HookEvent) -> Vec<HookOwner> {
        let wanted = match &event.source {
            EventSource::Vip { service, .. } => vec![HookOwner::Host, HookOwner::Service(service.clone())],
            EventSource::Session(peer) => vec![HookOwner::Peer(peer.clone())],
            EventSource::Drain { services, .. } => {
                let services = services.iter().cloned().map(HookOwner::Service);
                std::iter::once(HookOwner::Host).chain(services).collect()
            }
        };
        wanted.into_iter().filter(|owner| self.command(owner, event).is_some()).collect()
    }

    /// The program that the hook of an owner runs for an event; `None`: it runs none.
    pub fn command(&self, owner: &HookOwner, event: &HookEvent) -> Option<HookCommand> {
        let hooks = self.0.get(owner)?;
        let words = match event.source {
            EventSource::Vip { .. } | EventSource::Session(_) => &hooks.on_change,
            EventSource::Drain { .. } => &hooks.on_drain,
        };
        (!words.is_empty()).then(|| HookCommand { words: words.clone(), timeout: hooks.timeout })
    }

    /// Whether an owner has hooks.
    pub fn has(&self, owner: &HookOwner) -> bool {
        self.0.contains_key(owner)
    }
}
