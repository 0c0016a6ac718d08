//! Warnings about keys that have no effect with these routers.
//!
//! Pure. LOCAL_PREF is sent only inside of an AS (RFC 4271 §5.1.5), and our AS is in AS_PATH only outside of it (§5.1.2).

use super::super::file::Config;
use super::super::peer::PeerConfig;
use crate::model::PeerAsn;

/// `local_pref` of `[[service]]` and of `[service.deprefer]` if the file does not have it: it was not written on purpose.
const LOCAL_PREF: [u32; 2] = [100, 0];
/// The same for `prepend`.
const PREPEND: [u8; 2] = [0, 3];

impl Config {
    /// Whether a router is in our AS.
    pub(super) fn is_internal(&self, peer: &PeerConfig) -> bool {
        match peer.asn {
            PeerAsn::Internal => true,
            PeerAsn::External => false,
            PeerAsn::Is(asn) => asn == self.bgp.asn,
        }
    }

    /// Adds a sentence for each key that no router of its table can see.
    pub(super) fn without_effect(&self, warnings: &mut Vec<String>) {
        const PREPEND_HELP: &str = "write `local_pref`, or remove it";
        const LOCAL_PREF_HELP: &str = "write `prepend` or `med`, or remove it";
        for peer in &self.peers {
            let name = &peer.name;
            let internal = self.is_internal(peer);
            if internal && peer.overrides.prepend.is_some_and(|times| times > 0) {
                warnings.push(format!(
                    "peer `{name}`: `prepend` has no effect, because the router is in our AS; {PREPEND_HELP}"
                ));
            }
            if !internal && peer.overrides.local_pref.is_some() {
                warnings.push(format!(
                    "peer `{name}`: `local_pref` has no effect, because the router is not in our AS; {LOCAL_PREF_HELP}"
                ));
            }
        }
        for service in &self.services {
            let (own, deprefer) = (&service.attributes, &service.deprefer);
            let mut none = |table: &str, key: &str, why: &str, help: &str| {
                let name = &service.name;
                warnings.push(format!(
                    "service `{name}`: `{key}`{table} has no effect, because {why} in our AS; {help}"
                ));
            };
            const BELOW: &str = " of `[service.deprefer]`";
            let mut peers = self.routers_of(service);
            if peers.clone().all(|peer| self.is_internal(peer)) {
                let why = "each of its routers is";
                if own.prepend != PREPEND[0] {
                    none("", "prepend", why, PREPEND_HELP);
                }
                if !PREPEND.contains(&deprefer.prepend) {
                    none(BELOW, "prepend", why, PREPEND_HELP);
                }
            } else if !peers.any(|peer| self.is_internal(peer)) {
                let why = "none of its routers is";
                if own.local_pref.is_some_and(|preference| preference != LOCAL_PREF[0]) {
                    none("", "local_pref", why, LOCAL_PREF_HELP);
                }
                if deprefer.local_pref.is_some_and(|preference| preference != LOCAL_PREF[1]) {
                    none(BELOW, "local_pref", why, LOCAL_PREF_HELP);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use crate::config::tests::GOOD;

    #[test]
    fn a_key_that_no_router_can_see_is_warned_of() {
        const INSIDE: &str = "asn = 65001\n";
        const OUTSIDE: &str = "asn = 65000\n";
        for (peer, service, deprefer, want) in [
            (OUTSIDE, "", "", None),
            (INSIDE, "", "", None),
            (OUTSIDE, "prepend = 2", "prepend = 5", None),
            (INSIDE, "local_pref = 200", "local_pref = 50", None),
            (
                INSIDE,
                "prepend = 2",
                "",
                Some(
                    "service `www`: `prepend` has no effect, because each of its routers is in our AS; write `local_pref`",
                ),
            ),
            (
                "asn = \"internal\"\n",
                "",
                "prepend = 5",
                Some("service `www`: `prepend` of `[service.deprefer]` has no effect"),
            ),
            (
                OUTSIDE,
                "local_pref = 200",
                "",
                Some(
                    "service `www`: `local_pref` has no effect, because none of its routers is in our AS; write `prepend`",
                ),
            ),
            (
                "asn = \"external\"\n",
                "",
                "local_pref = 50",
                Some("service `www`: `local_pref` of `[service.deprefer]` has no effect"),
            ),
            (
                "asn = 65001\nprepend = 1\n",
                "",
                "",
                Some(
                    "peer `r1`: `prepend` has no effect, because the router is in our AS; write `local_pref`",
                ),
            ),
            (
                "asn = 65000\nlocal_pref = 100\n",
                "",
                "",
                Some(
                    "peer `r1`: `local_pref` has no effect, because the router is not in our AS; write `prepend`",
                ),
            ),
            ("asn = 65001\nprepend = 0\n", "", "", None),
            // The other router sees it.
            (
                "asn = 65000\n[[peer]]\nname = \"r2\"\naddress = \"10.0.1.2\"\nasn = 65001\n",
                "prepend = 2\nlocal_pref = 200",
                "prepend = 5\nlocal_pref = 50",
                None,
            ),
        ] {
            let text = GOOD.replacen("asn = 65000\n", peer, 1).replacen(
                "[[service.check]]",
                &format!("{service}\n[service.deprefer]\n{deprefer}\n[[service.check]]"),
                1,
            );
            let warnings = parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")).warnings();
            match want {
                None => assert_eq!(warnings, [""; 0], "{peer} {service} {deprefer}"),
                Some(want) => {
                    assert!(warnings.len() == 1 && warnings[0].starts_with(want), "{warnings:?}");
                }
            }
        }
    }
}
