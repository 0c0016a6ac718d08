//! `peers` of a service: the routers that get its routes.
//!
//! Pure. [`Recipients::include`](crate::model::Recipients::include) decides for every route and every router; it is used when routes
//! are sent, and by all that say of a router which routes it should have.

use std::collections::BTreeSet;
use std::sync::Arc;

use toml::Spanned;

use super::error::{Fault, unique};
use super::table::table;
use super::value::word;
use super::written::{WrittenList, all, list};
use crate::model::{PeerName, Recipients};

table! {
    struct Written {
        peers: one_or_set PeerName, optional "[\"r1\"]", word,
            "the names of the routers that get its routes; without it, those of its VRF do, or those in no VRF";
    }
}

impl Written {
    pub(super) fn used(&self) -> Option<Recipients> {
        Some(match &self.peers {
            None => Recipients::All,
            Some(_) => Recipients::Only(Arc::new(all(&self.peers))),
        })
    }
}

impl From<&Recipients> for Written {
    fn from(used: &Recipients) -> Self {
        let peers: WrittenList<PeerName> = match used {
            Recipients::All | Recipients::SameVrf(_) => None,
            Recipients::Only(names) => list(names.iter()),
        };
        Written { peers }
    }
}

/// Checks that the routers exist, each named once. `known`: the names of all peers; `None`: one of them could not be read.
pub(super) fn judge(written: &Written, known: Option<&BTreeSet<&str>>, faults: &mut Vec<Fault>) {
    let Some(peers) = &written.peers else { return };
    // Wrong values are not in the list, and have their own error.
    let is_marked = |fault: &Fault| peers.span().contains(&fault.span.start);
    if peers.get_ref().is_empty() && !faults.iter().any(is_marked) {
        let help = "write at least one, as in `peers = [\"r1\"]`, or remove it: then each router of its VRF gets its routes, or each router in no VRF";
        faults.push(Fault::new(peers.span(), "`peers` is empty", help));
    }
    unique(peers.get_ref(), "name each router once", faults);
    let Some(known) = known.filter(|known| !known.is_empty()) else { return };
    for name in peers.get_ref().iter().filter(|name| !known.contains(name.get_ref().as_str())) {
        faults.push(unknown(name, known));
    }
}

/// How many names of routers are listed, if none is near.
const LISTED: usize = 10;

fn unknown(name: &Spanned<PeerName>, known: &BTreeSet<&str>) -> Fault {
    let written = name.get_ref().as_str();
    let far = |other: &&&str| strsim::osa_distance(written, other);
    let near = known.iter().filter(|other| far(other) <= 1.max(other.len() / 3)).min_by_key(far);
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let listed: Vec<String> = known.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
            let more = if known.len() > LISTED { ", or another one" } else { "" };
            format!("write the name of a `[[peer]]`: {}{more}", listed.join(", "))
        }
    };
    Fault::new(name.span(), format!("no `[[peer]]` has the name `{written}`"), help).absence()
}

#[cfg(test)]
mod tests {
    use crate::config::diff::{Difference, differences};
    use crate::config::tests::GOOD;
    use crate::config::{ConfigError, canonical, parse};

    const TWO: &str = "[[peer]]\nname = \"r2\"\naddress = \"10.0.1.2\"\nasn = 65000\n\n[[service]]";

    fn text(peers: &str) -> String {
        GOOD.replacen("[[service]]", TWO, 1).replacen("med = 100", peers, 1)
    }

    #[test]
    fn a_service_names_the_routers_that_get_its_routes() {
        for (peers, want) in [
            ("", vec!["r1", "r2"]),
            ("peers = [\"r1\"]", vec!["r1"]),
            ("peers = \"r2\"", vec!["r2"]),
            ("peers = [\"r2\", \"r1\"]", vec!["r1", "r2"]),
        ] {
            let config = parse("x", &text(peers)).unwrap_or_else(|errors| panic!("{errors}"));
            let routers = config.routers_of(&config.services[0]);
            assert_eq!(routers.map(|peer| peer.name.as_str()).collect::<Vec<_>>(), want, "{peers}");
            assert_eq!(parse("x", &canonical(&config)).unwrap(), config);
        }
    }

    #[test]
    fn a_router_that_does_not_exist_is_refused_with_the_nearest_name() {
        for (peers, message, help) in [
            ("peers = []", "`peers` is empty", "write at least one"),
            ("peers = [\"r3\"]", "no `[[peer]]` has the name `r3`", "did you mean `r1`?"),
            (
                "peers = [\"leaf-left\"]",
                "no `[[peer]]` has the name `leaf-left`",
                "write the name of a `[[peer]]`: `r1`, `r2`",
            ),
            ("peers = [\"r1\", \"r1\"]", "`r1` is named twice", "name each router once"),
            ("peers = [1]", "each of `peers` must be a string, not an integer", "write it as in"),
        ] {
            let errors = parse("x", &text(peers)).unwrap_err();
            let found: Vec<ConfigError<'_>> = errors.iter().collect();
            assert_eq!(found.len(), 1, "{errors}");
            assert!(found[0].message == message && found[0].help.starts_with(help), "{errors}");
        }
        // The name may be in the line that could not be read.
        let broken = text("peers = [\"r2\"]").replacen("name = \"r2\"", "name = r2", 1);
        assert_eq!(parse("x", &broken).unwrap_err().len(), 1);
    }

    #[test]
    fn another_list_is_a_difference_of_the_service() {
        let lines = |before: &str, after: &str| -> Vec<String> {
            let [before, after] = [before, after].map(|peers| parse("x", &text(peers)).unwrap());
            differences(&before, &after).iter().flat_map(Difference::lines).collect()
        };
        assert_eq!(lines("", "peers = [\"r1\"]"), ["www: + peers [\"r1\"]"]);
        assert_eq!(lines("peers = [\"r1\"]", "peers = [\"r2\"]"), ["www: - peer r1", "www: + peer r2"]);
    }

    #[test]
    fn a_service_that_nobody_touched_has_no_difference_when_a_router_comes_into_a_vrf() {
        let before = parse("x", &text("")).unwrap();
        let with_vrf = text("").replacen("name = \"r2\"", "name = \"r2\"\nvrf = \"edge\"", 1);
        let after = parse("x", &with_vrf).unwrap();
        assert_eq!(after.routers_of(&after.services[0]).count(), 1);
        let lines: Vec<String> = differences(&before, &after).iter().flat_map(Difference::lines).collect();
        assert!(!lines.is_empty() && !lines.iter().any(|line| line.contains("www")), "{lines:?}");
        assert_eq!(parse("x", &canonical(&after)).unwrap(), after);
    }

    #[test]
    fn a_family_that_none_of_its_routers_has_is_warned_of() {
        let text = text("peers = [\"r1\"]").replacen("port = 179", "families = [\"ipv4\"]", 1);
        let warnings = parse("x", &text).unwrap().warnings();
        assert_eq!(
            warnings,
            [
                "service `www`: no router gets a route to 2001:db8::80: `families` of each of its peers lacks IPv6"
            ]
        );
    }
}
