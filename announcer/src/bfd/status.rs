//! What is known of the BFD sessions, for people and for metrics.
//!
//! Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::bfd::fsm::{DownCause, Settings};
use crate::bfd::packet::{Diag, DropReason, State};
use crate::model::{Liveness, PeerName};

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
    /// How many hops away the router may be: 1 is RFC 5881 (port 3784), more is RFC 5883 (port 4784).
    pub hops: u8,
}

/// How the thread is scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheduling {
    /// SCHED_RR: packets leave on time on a busy host too.
    RealTime,
    /// Like every other process, because the kernel has refused SCHED_RR for this reason.
    Ordinary(Refusal),
}

/// Why the kernel has refused SCHED_RR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The process does not have CAP_SYS_NICE.
    NoCapability,
    /// sched_setscheduler itself is forbidden, for example by `SystemCallFilter=` or `RestrictRealtime=`.
    Filter,
    /// The process has CAP_SYS_NICE and may call sched_setscheduler. A kernel with RT_GROUP_SCHED refuses it outside of the root
    /// control group.
    ControlGroup,
    /// Another error.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoCapability => {
                f.write_str("the process has no CAP_SYS_NICE; the unit of this version gives it")
            }
            Refusal::Filter => f.write_str(
                "a filter of the service manager forbids it; the unit needs `RestrictRealtime=no` and `SystemCallFilter=sched_setscheduler`",
            ),
            Refusal::ControlGroup => f.write_str(
                "the kernel refused it although the process has CAP_SYS_NICE; a kernel with RT_GROUP_SCHED refuses it outside of the root control group",
            ),
            Refusal::Other(error) => f.write_str(error),
        }
    }
}

/// The status of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    /// Its ends.
    pub ends: Ends,
    /// What is configured.
    pub settings: Settings,
    /// Our state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// The router's state, as it said last.
    pub remote_state: State,
    /// The interval between our packets, before jitter.
    pub interval: Duration,
    /// The interval of the router's packets, as agreed; `None`: it has sent none.
    pub remote_interval: Option<Duration>,
    /// After how long without a packet we declare the router down.
    pub detection_time: Option<Duration>,
    /// After how long without a packet the router declares us down.
    pub remote_detection_time: Option<Duration>,
    /// Our last diagnostic.
    pub diag: Diag,
    /// The router's last diagnostic.
    pub remote_diag: Diag,
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
pub struct BfdStatus {
    /// How the thread is scheduled; `None`: no peer has BFD.
    pub scheduling: Option<Scheduling>,
    /// Since when packets are withheld because the main thread does not turn.
    pub withheld: Option<Instant>,
    /// The ports that could not be opened, each with the error.
    pub closed_ports: BTreeMap<String, String>,
    /// The packets that were dropped, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// The peers with BFD.
    pub peers: BTreeMap<PeerName, PeerStatus>,
}

/// BFD with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Whether BGP waits for it.
    pub strict: bool,
    /// Whether the router is behind another router, although `multihop` is 1: its packets would be dropped.
    pub too_far: bool,
    /// The session, or why there is none.
    pub session: Result<SessionReport, String>,
}

impl SessionReport {
    /// Why the last session went down, and when; `None`: it has not.
    pub fn last_down(&self, now: Instant) -> Option<String> {
        let (cause, at) = self.last_down?;
        let age = Duration::from_secs(now.saturating_duration_since(at).as_secs());
        Some(format!("{cause}, {} ago", humantime::format_duration(age)))
    }
}

impl PeerStatus {
    /// Why BFD with the peer is not up, as the end of a sentence; `None`: it is up.
    pub fn why_not_up(&self, now: Instant) -> Option<String> {
        let session = match &self.session {
            Ok(session) if session.state == State::Up => return None,
            Ok(session) => session,
            Err(why) => return Some(why.clone()),
        };
        if let Some(error) = &session.error {
            return Some(error.clone());
        }
        if self.too_far {
            return Some(
                "the router is behind another router; write how many hops away it is in `multihop`, and configure BFD for several hops there"
                    .to_owned(),
            );
        }
        Some(match (session.received, session.last_down(now), session.remote_state) {
            (0, _, _) => "the router has sent no BFD packet; configure BFD for this host there".to_owned(),
            (_, Some(why), _) => why,
            (_, None, remote) => format!("it is {} here and {remote} at the router", session.state),
        })
    }
}

impl BfdStatus {
    /// The shortest time after which a router declares us down, of the sessions that are up.
    pub fn shortest_remote_detection(&self) -> Option<Duration> {
        let sessions = self.peers.values().filter_map(|peer| peer.session.as_ref().ok());
        sessions.filter(|one| one.state == State::Up).filter_map(|one| one.remote_detection_time).min()
    }

    /// The warnings for an operator, one sentence each.
    pub fn warnings(&self, now: Instant) -> Vec<String> {
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
            let effect = match peer.strict {
                true => "it is not dialled (`strict = true`)",
                false => "the hold time alone detects a dead host",
            };
            warnings.extend(
                peer.why_not_up(now)
                    .map(|why| format!("peer `{name}`: BFD is not up, so that {effect}: {why}")),
            );
        }
        warnings
    }

    /// What it says of a peer.
    pub fn liveness(&self, peer: &PeerName) -> Liveness {
        let session = self.peers.get(peer).and_then(|peer| peer.session.as_ref().ok());
        session.map_or_else(Liveness::default, |session| Liveness {
            up: session.state == State::Up,
            losses: session.losses,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A session that is up.
    pub(crate) fn up(now: Instant) -> SessionReport {
        SessionReport {
            ends: Ends {
                local: "10.0.1.11".parse().unwrap(),
                peer: "10.0.1.1".parse().unwrap(),
                interface: 2,
                device: None,
                hops: 1,
            },
            settings: Settings { interval: SECOND, multiplier: 3 },
            state: State::Up,
            since: now,
            remote_state: State::Up,
            interval: SECOND,
            remote_interval: Some(SECOND),
            detection_time: Some(SECOND * 3),
            remote_detection_time: Some(SECOND * 3),
            diag: Diag::NONE,
            remote_diag: Diag::NONE,
            last_down: None,
            was_up: true,
            flaps: 0,
            losses: 0,
            sent: 9,
            received: 9,
            unsent: 0,
            error: None,
        }
    }

    #[test]
    fn bfd_that_is_not_up_is_warned_of_with_its_cause() {
        let now = Instant::now();
        let down = |session: SessionReport| SessionReport { state: State::Down, ..session };
        let lost = (DownCause::Silence(SECOND), now);
        for (session, want) in [
            (Ok(up(now)), None),
            (Ok(SessionReport { received: 0, ..down(up(now)) }), Some("has sent no BFD packet")),
            (
                Ok(SessionReport { last_down: Some(lost), ..down(up(now)) }),
                Some("no packet arrived for 1s, 2s ago"),
            ),
            (Ok(SessionReport { error: Some("refused".into()), ..down(up(now)) }), Some("refused")),
            (Ok(down(up(now))), Some("it is Down here and Up at the router")),
            (Err("no route".to_owned()), Some("no route")),
        ] {
            let peer = |strict| PeerStatus { strict, too_far: false, session: session.clone() };
            assert_eq!(peer(false).why_not_up(now).is_some(), want.is_some());
            for (strict, effect) in [(false, "the hold time alone"), (true, "it is not dialled")] {
                let status = BfdStatus {
                    peers: [("r1".parse().unwrap(), peer(strict))].into(),
                    ..BfdStatus::default()
                };
                let warnings = status.warnings(now + SECOND * 2);
                match want {
                    None => assert_eq!(warnings, [""; 0]),
                    Some(want) => {
                        assert!(warnings[0].contains(want) && warnings[0].contains(effect), "{warnings:?}");
                    }
                }
            }
        }
        let far = PeerStatus { strict: false, too_far: true, session: Ok(down(up(now))) };
        assert!(far.why_not_up(now).unwrap().contains("`multihop`"));
    }

    #[test]
    fn what_the_kernel_refuses_is_warned_of() {
        let status = BfdStatus {
            scheduling: Some(Scheduling::Ordinary(Refusal::ControlGroup)),
            withheld: Some(Instant::now()),
            closed_ports: [("UDP port 3784 for IPv4".into(), "another program has it".into())].into(),
            ..BfdStatus::default()
        };
        let [port, withheld, scheduling] = &status.warnings(Instant::now())[..] else { panic!() };
        assert_eq!(port, "BFD cannot receive: UDP port 3784 for IPv4: another program has it");
        assert!(withheld.contains("withheld"));
        assert!(scheduling.contains("RT_GROUP_SCHED"));
        let fine = BfdStatus { scheduling: Some(Scheduling::RealTime), ..BfdStatus::default() };
        assert_eq!(fine.warnings(Instant::now()), [""; 0]);
    }

    #[test]
    fn only_a_session_that_was_lost_counts_as_a_loss() {
        let now = Instant::now();
        let name: PeerName = "r1".parse().unwrap();
        let of = |session| {
            let peer = PeerStatus { strict: false, too_far: false, session };
            BfdStatus { peers: [(name.clone(), peer)].into(), ..BfdStatus::default() }.liveness(&name)
        };
        assert_eq!(of(Ok(up(now))), Liveness { up: true, losses: 0 });
        let lost = SessionReport { state: State::Down, flaps: 5, losses: 2, ..up(now) };
        assert_eq!(of(Ok(lost)), Liveness { up: false, losses: 2 });
        assert_eq!(of(Err(String::new())), Liveness::default());
        assert_eq!(BfdStatus::default().liveness(&name), Liveness::default());
    }
}
