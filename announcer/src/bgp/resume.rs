//! What the next process needs to continue an established session, so that the router notices nothing.
//!
//! Pure. The octets are exact: what was given to the kernel is known from the kernel, and what waits was stored before. The routes are
//! not: only the prefixes that the router may have are stored. The next process announces all wanted routes again, which changes
//! nothing at a router that has them, and withdraws the rest. So a version with other attributes needs no other state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bgp::open::NegotiatedSession;
use crate::config::PeerConfig;
use crate::model::{Asn, PeerName, RouterId};

/// An established session. It does not change while the session lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// The name of the router in the configuration.
    pub peer: PeerName,
    /// The settings that the session depends on.
    pub settings: SessionSettings,
    /// The router's end of the connection.
    pub remote: SocketAddr,
    /// The index of the outgoing interface.
    pub interface: u32,
    /// Whether our address is on that interface.
    pub own: bool,
    /// When it came up, since the host's start (CLOCK_MONOTONIC).
    pub established: Duration,
    /// The negotiated values of both OPENs.
    pub negotiated: NegotiatedSession,
}

/// The settings that a session depends on. If one of them has changed, the session cannot continue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSettings {
    /// Our AS.
    pub asn: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
    /// `graceful_restart`.
    pub graceful_restart: Option<Duration>,
    /// Those of the peer: [`PeerConfig::session_settings`].
    pub peer: BTreeMap<String, Option<String>>,
}

/// Keys whose absence in a stored session means the default: older versions did not have the key.
const DEFAULT_IF_ABSENT: [&str; 1] = ["vrf"];

impl SessionSettings {
    /// The settings of a session with a peer.
    pub fn new(
        asn: Asn,
        router_id: RouterId,
        graceful_restart: Option<Duration>,
        peer: &PeerConfig,
    ) -> SessionSettings {
        SessionSettings { asn, router_id, graceful_restart, peer: peer.session_settings() }
    }

    /// Whether a session with these settings can continue under `wanted`. A key that only one of both versions of the program knows
    /// does not count, because what the other one did is not known; but see [`DEFAULT_IF_ABSENT`].
    pub fn allow(&self, wanted: &SessionSettings) -> bool {
        let SessionSettings { asn, router_id, graceful_restart, peer } = self;
        let set = |of: &SessionSettings, key: &str| of.peer.get(key).cloned().flatten();
        let same = |key: &&str| set(self, key) == set(wanted, key);
        (asn, router_id, graceful_restart) == (&wanted.asn, &wanted.router_id, &wanted.graceful_restart)
            && peer.iter().all(|(key, value)| wanted.peer.get(key).is_none_or(|wanted| wanted == value))
            && DEFAULT_IF_ABSENT.iter().all(same)
    }
}

/// The octets of a session that were not given to the kernel when they were stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredOctets {
    /// How many octets of the connection the kernel had before them.
    pub offset: u64,
    /// They.
    pub octets: Vec<u8>,
}

impl StoredOctets {
    /// As octets: the offset, then they.
    pub fn to_octets(offset: u64, octets: &[u8]) -> Vec<u8> {
        [&offset.to_le_bytes(), octets].concat()
    }

    /// From octets; `None`: they are too short.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let (offset, octets) = octets.split_first_chunk()?;
        Some(StoredOctets { offset: u64::from_le_bytes(*offset), octets: octets.to_vec() })
    }

    /// The octets that still have to be sent, if the kernel has been given `given` octets of the connection; `None`: that does not fit
    /// to what was stored.
    pub fn unsent(&self, given: u64) -> Option<&[u8]> {
        self.octets.get(usize::try_from(given.checked_sub(self.offset)?).ok()?..)
    }
}

/// Prefixes as text, each followed by a space, so that more can be appended.
pub fn prefixes_to_text(prefixes: &[IpNet]) -> String {
    prefixes.iter().map(|prefix| format!("{prefix} ")).collect()
}

/// Prefixes from that text; `None`: it has something else.
pub fn prefixes_from_text(text: &[u8]) -> Option<BTreeSet<IpNet>> {
    std::str::from_utf8(text).ok()?.split_ascii_whitespace().map(|prefix| prefix.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with_services;

    fn settings(peer: &str) -> SessionSettings {
        let text =
            format!(with_services!("{}"), "").replacen("[[peer]]\n", &format!("[[peer]]\n{peer}\n"), 1);
        let config = crate::config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"));
        let router_id = RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 0, 1)).unwrap();
        SessionSettings::new(config.bgp.asn, router_id, None, &config.peers[0])
    }

    #[test]
    fn a_session_continues_if_nothing_that_it_depends_on_has_changed() {
        let plain = settings("");
        for (peer, want) in [
            ("", true),
            ("os = \"frr\"", true),
            ("med = 7", true),
            ("tcp_mss = 1340", false),
            ("ttl_security = true", false),
            ("password_file = \"/etc/key\"", false),
            ("vrf = \"edge\"", false),
        ] {
            assert_eq!(plain.allow(&settings(peer)), want, "{peer}");
            assert_eq!(settings(peer).allow(&plain), want, "from {peer}");
        }
        let key = |path: &str| settings(&format!("password_file = \"{path}\""));
        assert!(key("/etc/a").allow(&key("/etc/b")));
        let mut newer = plain.clone();
        newer.peer.insert("a_new_key".into(), Some("1".into()));
        assert!(newer.allow(&plain) && plain.allow(&newer), "a key that the other version does not know");
        // A version without VRFs had the session in no VRF.
        let mut older = plain.clone();
        assert_eq!(older.peer.remove("vrf"), Some(None));
        assert!(older.allow(&plain) && plain.allow(&older));
        assert!(!older.allow(&settings("vrf = \"edge\"")));
        newer.router_id = RouterId::try_from(std::net::Ipv4Addr::new(10, 0, 0, 2)).unwrap();
        assert!(!newer.allow(&plain));
    }

    #[test]
    fn the_octets_that_the_kernel_has_not_are_sent() {
        let stored = StoredOctets::from_octets(&StoredOctets::to_octets(100, b"abcde")).unwrap();
        for (given, want) in
            [(99, None), (100, Some(&b"abcde"[..])), (103, Some(b"de")), (105, Some(b"")), (106, None)]
        {
            assert_eq!(stored.unsent(given), want, "{given}");
        }
        assert_eq!(StoredOctets::from_octets(&[1; 7]), None);
    }

    #[test]
    fn prefixes_are_appended() {
        let all: Vec<IpNet> = vec!["192.0.2.1/32".parse().unwrap(), "2001:db8::1/128".parse().unwrap()];
        let text = [prefixes_to_text(&all[..1]), prefixes_to_text(&all)].concat();
        assert_eq!(prefixes_from_text(text.as_bytes()), Some(all.into_iter().collect()));
        assert_eq!(prefixes_from_text(b""), Some(BTreeSet::new()));
        assert_eq!(prefixes_from_text(b"192.0.2.1/32 x "), None);
        assert_eq!(prefixes_from_text(&[0xff]), None);
    }
}
