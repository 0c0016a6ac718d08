//! What is known of the BFD sessions, for people and for metrics.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::bfd::fsm::{BfdSettings, DownCause};
use crate::bfd::packet::{BfdState, Diagnostic, DropReason};
use crate::model::{Family, Liveness, PeerName};
use crate::realtime::Scheduling;

/// The device of a VRF. A socket is bound to its index: when the VRF is created again under its name, the socket receives nothing more, and
/// the kernel gives no error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VrfDevice {
    /// Its name, which is that of the VRF.
    pub name: String,
    /// Its index.
    pub index: u32,
}

/// The two ends of a session. They identify it: with other ends it is another session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Our address, which is on this host.
    pub local: IpAddr,
    /// The router's address.
    pub peer: IpAddr,
    /// The index of the interface towards the router: the scope of a link-local address.
    pub interface: u32,
    /// The name of the interface that the socket is bound to, if the configuration names one.
    pub device: Option<String>,
    /// The VRF in which its packets arrive: the kernel gives them only to a socket that is bound to its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<VrfDevice>,
    /// How many hops away the router may be: 1 is RFC 5881 (port 3784), more is RFC 5883 (port 4784).
    pub hops: u8,
    /// The lowest TTL of the router's packets: 255 on the same link. RFC 5883 has no rule for several hops, and BIRD sends 64 there.
    pub least_ttl: u8,
}

impl Ends {
    /// The name of its VRF.
    pub fn vrf_name(&self) -> Option<&str> {
        self.vrf.as_ref().map(|vrf| vrf.name.as_str())
    }

    /// The port to which the router sends, as the thread names it.
    fn port(&self) -> String {
        let number = if self.hops > 1 { 4784 } else { 3784 };
        port_name(number, Family::of(self.peer), self.vrf.as_ref())
    }
}

/// A port to which routers send: `UDP port 3784 for IPv4`, or `UDP port 3784 for IPv4 in VRF edge`.
pub(super) fn port_name(number: u16, family: Family, vrf: Option<&VrfDevice>) -> String {
    let inside = vrf.map_or(String::new(), |vrf| format!(" in VRF {}", vrf.name));
    format!("UDP port {number} for {family}{inside}")
}

/// The status of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdSessionReport {
    /// Its ends.
    pub ends: Ends,
    /// What is configured.
    pub settings: BfdSettings,
    /// Our state.
    pub state: BfdState,
    /// Since when.
    pub since: Instant,
    /// The router's state, as it said last.
    pub remote_state: BfdState,
    /// The interval between our packets, before jitter.
    pub interval: Duration,
    /// The interval of the router's packets, as agreed; `None`: it has sent none.
    pub remote_interval: Option<Duration>,
    /// After how long without a packet we declare the router down.
    pub detection_time: Option<Duration>,
    /// After how long without a packet the router declares us down.
    pub remote_detection_time: Option<Duration>,
    /// Our last diagnostic.
    pub diag: Diagnostic,
    /// The router's last diagnostic.
    pub remote_diag: Diagnostic,
    /// Why the session has left Up or Init last, and when.
    pub last_down: Option<(DownCause, Instant)>,
    /// Whether the session has been Up since it was wanted.
    pub was_up: bool,
    /// How often it has left Up.
    pub flaps: u64,
    /// How often it has left Up because the path or the router was lost.
    pub losses: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets received for it.
    pub received: u64,
    /// Packets that the kernel refused to send.
    pub unsent: u64,
    /// Why the socket could not be opened, or why the last packet was not sent.
    pub error: Option<String>,
}

/// BFD of this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BfdReport {
    /// How the thread is scheduled; `None`: no peer has BFD.
    pub scheduling: Option<Scheduling>,
    /// Since when packets are withheld because the main thread does not turn.
    pub withheld: Option<Instant>,
    /// The ports that could not be opened, such as `UDP port 3784 for IPv4`, each with the error.
    pub closed_ports: BTreeMap<String, String>,
    /// The packets that were dropped, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// The peers with BFD.
    pub peers: BTreeMap<PeerName, BfdPeerReport>,
}

/// BFD with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdPeerReport {
    /// Whether BGP waits for it.
    pub strict: bool,
    /// Whether the router is behind another router, although `multihop` is 1: its packets would be dropped.
    pub too_far: bool,
    /// The session, or why there is none.
    pub session: Result<BfdSessionReport, String>,
}

impl BfdSessionReport {
    /// Why the last session went down, and when; `None`: it has not.
    pub fn last_down(&self, now: Instant) -> Option<String> {
        let (cause, at) = self.last_down?;
        let age = Duration::from_secs(now.saturating_duration_since(at).as_secs());
        Some(format!("{cause}, {} ago", humantime::format_duration(age)))
    }
}

impl BfdSessionReport {
    /// The warning that it is up and notices a dead host later than BGP's hold time, or not at all.
    fn slow(&self, name: &PeerName, hold_time: Option<Duration>) -> Option<String> {
        let Some(time) = self.remote_detection_time else {
            return Some(format!(
                "peer `{name}`: the router wants no BFD packets, so that it does not notice by BFD that this host is dead"
            ));
        };
        let hold = hold_time.filter(|hold| time >= *hold)?;
        let [time, hold] = [time, hold].map(humantime::format_duration);
        Some(format!(
            "peer `{name}`: the router notices by BFD after {time} that this host is dead, no sooner than by the hold time of {hold}"
        ))
    }
}

impl BfdPeerReport {
    /// The session if it is up.
    fn up(&self) -> Option<&BfdSessionReport> {
        self.session.as_ref().ok().filter(|session| session.state == BfdState::Up)
    }
}

impl BfdReport {
    /// Why BFD with a peer of it is not up, as the end of a sentence; `None`: it is up.
    pub fn why_not_up(&self, peer: &BfdPeerReport, now: Instant) -> Option<String> {
        let session = match &peer.session {
            Ok(session) if session.state == BfdState::Up => return None,
            Ok(session) => session,
            Err(why) => return Some(why.clone()),
        };
        if let Some(error) = &session.error {
            return Some(error.clone());
        }
        if peer.too_far {
            return Some(
                "the router is behind another router; write how many hops away it is in `multihop`, and configure BFD for several hops there"
                    .to_owned(),
            );
        }
        let port = session.ends.port();
        if let Some(error) = self.closed_ports.get(&port) {
            return Some(format!("this host cannot receive: {port}: {error}"));
        }
        Some(match (session.last_down(now), session.received) {
            (Some(why), _) => why,
            (None, 0) if session.was_up || session.flaps > 0 => {
                "BFD was up before, and no packet of the router has arrived since announcer started"
                    .to_owned()
            }
            (None, 0) => self.nothing_received(&port),
            (None, _) => format!("it is {} here and {} at the router", session.state, session.remote_state),
        })
    }

    /// What is known of a session that has had no packet yet. A dropped packet belongs to no session, so that its sender is not known.
    fn nothing_received(&self, port: &str) -> String {
        let dropped = self.drops.iter().filter(|(_, count)| **count > 0);
        let dropped: Vec<String> = dropped.map(|(why, count)| format!("{count} ({why})")).collect();
        match dropped.is_empty() {
            true => format!(
                "no BFD packet of the router has arrived; see whether BFD for this host is configured there, and whether a firewall drops {port}"
            ),
            false => format!(
                "no BFD packet of the router was accepted; of the packets of all senders, these were dropped: {}",
                dropped.join(", ")
            ),
        }
    }

    /// The shortest time after which a router declares us down, of the sessions that are up.
    pub fn shortest_remote_detection(&self) -> Option<Duration> {
        let sessions = self.peers.values().filter_map(|peer| peer.session.as_ref().ok());
        sessions.filter(|one| one.state == BfdState::Up).filter_map(|one| one.remote_detection_time).min()
    }

    /// The warnings for an operator, one sentence each. `established` has the peers with a BGP session, each with the session's hold
    /// time; `None`: it has none.
    pub fn warnings(&self, established: &BTreeMap<PeerName, Option<Duration>>, now: Instant) -> Vec<String> {
        let mut warnings = Vec::new();
        for (port, error) in &self.closed_ports {
            warnings.push(format!("BFD cannot receive: {port}: {error}"));
        }
        if self.withheld.is_some() {
            warnings.push("BFD packets are withheld: the main thread does not turn".to_owned());
        }
        if let Some(Scheduling::Ordinary(why)) = &self.scheduling {
            warnings.push(format!(
                "BFD has no real-time scheduling, and may lose sessions on a busy host: {why}"
            ));
        }
        for (name, peer) in &self.peers {
            let effect = match peer.strict && !established.contains_key(name) {
                true => "it is not dialled (`strict = true`)",
                false => "the hold time alone detects a dead host",
            };
            let hold_time = established.get(name).copied().flatten();
            warnings.extend(peer.up().and_then(|session| session.slow(name, hold_time)));
            warnings.extend(
                self.why_not_up(peer, now)
                    .map(|why| format!("peer `{name}`: BFD is not up, so that {effect}: {why}")),
            );
        }
        warnings
    }

    /// What it says of a peer.
    pub fn liveness(&self, peer: &PeerName) -> Liveness {
        let session = self.peers.get(peer).and_then(|peer| peer.session.as_ref().ok());
        session.map_or_else(Liveness::default, |session| Liveness {
            up: session.state == BfdState::Up,
            losses: session.losses,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
