//! Joins the state that outlives the process with the sessions and the director: what this process takes over from the one before it,
//! and what it stores for the one after it.
//!
//! ```text
//! key in the state          value                                  written before
//! session.N                 SessionSnapshot                        the session is used
//! session.N.out             StoredOctets                           they are given to the kernel
//! session.N.prefixes        prefixes as text, appended             they are advertised
//! vip.ADDRESS               VipSnapshot                            the Loc-RIB that follows from it is published
//! bfd                       the sessions of BFD (SavedSession)      (soon after a change; BFD itself finds out what is old)
//! ```
//!
//! The descriptors are `state`, `session-N` for the connection of `session.N`, and `bfd-…` for the sockets of BFD.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::bfd;
use crate::bfd::io::{BfdThread, MainTurns, SavedSession};
use crate::bgp::io::network::addresses_on;
use crate::bgp::io::resume::{StoredSession, refuse};
use crate::bgp::notification::{self, Notification};
use crate::bgp::resume::{SessionSettings, SessionSnapshot, StoredOctets};
use crate::config::{Config, ServiceConfig};
use crate::director::resume::{FoundFacts, KernelFacts, VipSnapshot, present_vips};
use crate::health::io::listener;
use crate::health::watch::VipPort;
use crate::model::RouterId;
use crate::monotonic::io::uptime;
use crate::realtime::io::RealtimeThread;
use crate::takeover::Start;
use crate::takeover::io::descriptors::{Descriptors, Inherited};
use crate::takeover::io::exec::without_signals;
use crate::takeover::io::state_log::StateLog;
use crate::takeover::repeats::{TakeoverDecision, Takeovers};
use crate::takeover::state::Entries;

pub(in crate::daemon) use store::Takeover;
use store::{BFD, StoredFacts, descriptor_name, forget_session, slot_of};

/// The name of the state's descriptor.
const STATE: &str = "state";
/// How long the kernel may take to answer for the VIPs. What it has not answered by then counts as gone.
const KERNEL: Duration = Duration::from_secs(1);

/// What the former process has left, before the configuration is read.
#[derive(Debug)]
pub struct Found {
    /// How this process began.
    pub(in crate::daemon) how: Start,
    /// When the former program was left, by CLOCK_MONOTONIC; only after an upgrade.
    pub(in crate::daemon) left: Option<Duration>,
    state: Option<StateLog>,
    sessions: BTreeMap<u32, StoredSession>,
    vips: BTreeMap<IpAddr, VipSnapshot>,
    /// The thread that sends BFD packets and heartbeats.
    pub(in crate::daemon) realtime: RealtimeThread,
    /// BFD on it, which has sent the first packets already.
    bfd: Option<StartedBfd>,
    /// Connections of which the state says nothing.
    orphans: Vec<OwnedFd>,
    /// The names of all inherited descriptors.
    names: BTreeSet<String>,
    /// Why sessions do not continue.
    alert: Option<String>,
    /// The takeovers so far.
    takeovers: Takeovers,
}

impl Found {
    /// Reads what the former process has left. The takeover is counted before anything else in the state is read.
    pub fn read(inherited: Inherited) -> Found {
        let Inherited { how, left, mut descriptors } = inherited;
        let names = descriptors.keys().cloned().collect();
        let (mut state, mut alert) = (None, None);
        let mut entries = Entries::new();
        let mut takeovers = Takeovers::default();
        match descriptors.remove(STATE).map(|file| open(file, how, &mut takeovers)) {
            Some(Ok((file, found))) => (state, entries) = (Some(file), found),
            Some(Err(why)) => alert = Some(why),
            None if descriptors.is_empty() => {}
            None => alert = Some("the former process has left connections and no state".into()),
        }
        // The routers must hear of BFD before the configuration is read.
        let of_bfd =
            entries.get(BFD).and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default();
        let sockets = descriptors.extract_if(.., |name, _| name.starts_with("bfd-")).collect();
        let realtime = RealtimeThread::default();
        let bfd = StartedBfd::new(&realtime, bfd::io::InheritedBfd { sockets, sessions: of_bfd });
        let (mut sessions, mut orphans) = (BTreeMap::new(), Vec::new());
        for (name, socket) in descriptors {
            match slot_of(&name).and_then(|slot| Some((slot, StoredFacts::read(&entries, slot)?))) {
                Some((slot, StoredFacts { snapshot, octets, prefixes })) => {
                    sessions.insert(slot, StoredSession { snapshot, octets, prefixes, socket });
                }
                None => orphans.push(socket),
            }
        }
        let vips = entries.iter().filter_map(|(key, value)| {
            let address = key.strip_prefix("vip.")?.parse().ok()?;
            Some((address, serde_json::from_slice(value).ok()?))
        });
        Found {
            how,
            left,
            vips: vips.collect(),
            realtime,
            bfd,
            state,
            sessions,
            orphans,
            names,
            alert,
            takeovers,
        }
    }

    /// From the former program's last turn to the start of the thread of BFD.
    pub(in crate::daemon) fn bfd_pause(&self) -> Option<Duration> {
        Some(self.bfd.as_ref()?.at.saturating_sub(self.left?))
    }

    /// Whether a former process has left something.
    pub fn continues(&self) -> bool {
        self.how != Start::Cold
    }

    /// The router id of the sessions, which the next ones keep.
    pub(in crate::daemon) fn router_id(&self) -> Option<RouterId> {
        self.sessions.values().next().map(|session| session.snapshot.settings.router_id)
    }

    /// The facts that the director begins with. The kernel is asked about each VIP.
    pub(in crate::daemon) async fn facts(&self, config: &Config) -> FoundFacts {
        if self.vips.is_empty() {
            return FoundFacts::default();
        }
        let kernel = timeout(KERNEL, ask_kernel(config, &self.vips)).await.unwrap_or_default();
        FoundFacts { vips: self.vips.clone(), kernel }
    }

    /// Prepares the sessions that fit the configuration to continue, and ends the others with a Cease. Returns the thread of BFD too, if it
    /// runs.
    ///
    /// # Errors
    /// When there is no memory for the state.
    pub(in crate::daemon) async fn take_over(
        self,
        config: &Config,
        router_id: Option<RouterId>,
        descriptors: Descriptors,
        may_send: watch::Receiver<bool>,
    ) -> std::io::Result<(Takeover, Option<StartedBfd>)> {
        let Found {
            how,
            left: _,
            state,
            sessions,
            vips: _,
            realtime: _,
            bfd,
            orphans,
            names,
            alert,
            takeovers,
        } = self;
        if let Some(alert) = &alert {
            error!(reason = alert, "sessions of the former process do not continue");
        }
        let reset = Notification::reset("announcer started again and could not continue the session");
        for socket in orphans {
            refuse(socket, &StoredOctets::default(), &reset);
        }
        let mut not_continued = alert;
        let mut resumed = BTreeMap::new();
        let mut kept = BTreeSet::from([STATE.to_owned()]);
        for (slot, session) in sessions {
            let name = session.snapshot.peer.clone();
            let octets = session.octets.clone();
            let refused = match fits(&session.snapshot, config, router_id) {
                Err(why) => Some((session.socket, why)),
                Ok(()) => match session.resume().await {
                    Ok(session) => {
                        info!(peer = %name, "session of the former process was found");
                        kept.insert(descriptor_name(slot));
                        resumed.insert(name.clone(), (slot, session));
                        None
                    }
                    Err((socket, error)) => {
                        warn!(peer = %name, %error, "session of the former process does not continue");
                        not_continued.get_or_insert(format!("the session with {name}: {error}"));
                        Some((socket, Notification::bare(notification::ADMINISTRATIVE_RESET)))
                    }
                },
            };
            if let Some((socket, why)) = refused {
                info!(peer = %name, notification = %why, "session of the former process was ended");
                refuse(socket, &octets, &why);
            }
        }
        let cold = state.is_none();
        let file = match state {
            Some(file) => file,
            None => {
                let file = StateLog::create()?;
                // After too many crashes, each further one within a minute starts cold too.
                file.write_takeovers(&takeovers)?;
                file
            }
        };
        // systemd keeps several descriptors of one name. So the old one is forgotten before another one gets its name.
        if cold && names.contains(STATE) {
            descriptors.forget(STATE);
        }
        descriptors.keep(STATE, file.descriptor()?.as_fd())?;
        let (of_bfd, names): (BTreeSet<String>, BTreeSet<String>) =
            names.into_iter().partition(|name| name.starts_with("bfd-"));
        // If BFD does not continue, its old sockets in systemd's store would keep the ports taken.
        let of_bfd = if bfd.is_some() {
            of_bfd
        } else {
            of_bfd.iter().for_each(|name| descriptors.forget(name));
            BTreeSet::new()
        };
        for name in names.difference(&kept) {
            descriptors.forget(name);
            forget_session(&file, name);
        }
        for (slot, session) in resumed.values() {
            descriptors.keep(&descriptor_name(*slot), session.socket())?;
        }
        if how != Start::Cold {
            info!(sessions = resumed.len(), "state of the former process was taken over");
        }
        let takeover = Takeover::new(file, descriptors, resumed, not_continued, may_send, of_bfd);
        Ok((takeover, bfd))
    }
}

/// Opens the state, after the takeover was counted in it.
fn open(file: OwnedFd, how: Start, takeovers: &mut Takeovers) -> Result<(StateLog, Entries), String> {
    if how == Start::Crash {
        let counted = StateLog::count_takeover(file.as_fd(), |all| all.crashed(uptime()));
        let (all, decision) = counted.map_err(|error| error.to_string())?;
        *takeovers = all;
        if decision == TakeoverDecision::StartCold {
            return Err(format!(
                "the daemon has crashed too often within a minute ({} times in all)",
                takeovers.count
            ));
        }
    }
    StateLog::open(file).map_err(|error| error.to_string())
}

/// Whether a session can continue under the configuration.
///
/// # Errors
/// The NOTIFICATION that ends it.
fn fits(
    snapshot: &SessionSnapshot,
    config: &Config,
    router_id: Option<RouterId>,
) -> Result<(), Notification> {
    let bare = |kind| Err(Notification::bare(kind));
    let Some(peer) = config.peers.iter().find(|peer| peer.name == snapshot.peer) else {
        return bare(notification::PEER_DECONFIGURED);
    };
    let Some(router_id) = router_id else { return bare(notification::OTHER_CONFIGURATION_CHANGE) };
    let wanted = SessionSettings::new(config.bgp.asn, router_id, config.bgp.graceful_restart, peer);
    if snapshot.settings.allow(&wanted) { Ok(()) } else { bare(notification::OTHER_CONFIGURATION_CHANGE) }
}

/// Asks the kernel which VIPs are on the host, and on which of their ports nothing listens.
async fn ask_kernel(config: &Config, vips: &BTreeMap<IpAddr, VipSnapshot>) -> KernelFacts {
    let mut devices = BTreeMap::new();
    for device in config.services.iter().map(ServiceConfig::device).collect::<BTreeSet<_>>() {
        match addresses_on(device).await {
            Ok(addresses) => drop(devices.insert(device.to_owned(), addresses)),
            Err(error) => warn!(device, %error, "addresses cannot be read"),
        }
    }
    let present = present_vips(config, &devices);
    // A gap that `listener_grace` allows may end soon. The listener watch and the probes decide there.
    let watched = config.vips().filter(|(vip, service)| {
        !config.health.listener_watch.is_zero()
            && service.listener_grace.is_zero()
            && vips.get(vip).is_some_and(VipSnapshot::is_up)
    });
    let pairs: BTreeSet<VipPort> = watched
        .flat_map(|(vip, service)| service.checks.iter().filter_map(move |check| Some((vip, check.port()?))))
        .collect();
    let vrfs = config.vips().filter_map(|(vip, service)| Some((vip, service.vrf.clone()?))).collect();
    KernelFacts { present, gone: listener::gone(&pairs.into_iter().collect::<Vec<_>>(), vrfs).await }
}

/// The thread of BFD, with the sessions of the former process.
#[derive(Debug)]
pub(in crate::daemon) struct StartedBfd {
    pub(in crate::daemon) thread: BfdThread,
    pub(in crate::daemon) turns: MainTurns,
    pub(in crate::daemon) sessions: Vec<SavedSession>,
    /// When it was started, by CLOCK_MONOTONIC.
    at: Duration,
}

impl StartedBfd {
    /// Starts the thread, if there are sessions.
    fn new(realtime: &RealtimeThread, inherited: bfd::io::InheritedBfd) -> Option<Self> {
        if inherited.sessions.is_empty() {
            return None;
        }
        let (turns, sessions) = (MainTurns::new(), inherited.sessions.clone());
        // Without the thread, the keeper of BFD tries again.
        let thread = without_signals(|| bfd::io::start(realtime, turns.clone(), inherited)).ok()?;
        Some(StartedBfd { thread, turns, sessions, at: uptime() })
    }
}
