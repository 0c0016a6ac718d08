//! OpenBGPD: `bgpd.conf`, `bgpctl`.

use anyhow::Result;
use lab::Node;

use crate::router::{FRONTEND, ROUTER, Route, Router, Setup, json, number, prefix, strings};

/// OpenBGPD, its portable edition.
pub(crate) struct Openbgpd;

impl Router for Openbgpd {
    fn name(&self) -> &'static str {
        "OpenBGPD"
    }

    fn package(&self) -> &'static str {
        "openbgpd"
    }

    fn cannot(&self, case: &str) -> Option<&'static str> {
        if case.starts_with("unnumbered") {
            return Some("it sends no router advertisements, and has no neighbour without an address");
        }
        if case.starts_with("BFD: ") {
            return Some("it has no BFD");
        }
        case.starts_with("MD5").then_some(
            "it sets keys through PF_KEY, which it does not have on Linux (its log: `PF_KEY not available`): it listens without \
             a key, and the kernel drops signed packets",
        )
    }

    fn files(&self, setup: &Setup) -> Vec<(&'static str, String)> {
        let Setup { router_asn, frontend_asn, .. } = setup;
        let password = setup.password.map(|key| format!("  tcp md5sig password {key}\n")).unwrap_or_default();
        let ttl = if setup.ttl_security { "  ttl-security yes\n" } else { "" };
        let text = format!(
            "AS {router_asn}\nrouter-id {ROUTER}\nfib-update no\nneighbor {FRONTEND} {{\n  \
             remote-as {frontend_asn}\n  local-address {ROUTER}\n  passive\n  announce IPv4 unicast\n  \
             announce IPv6 unicast\n{password}{ttl}}}\nallow from any\n"
        );
        vec![("etc/bgpd.conf", text)]
    }

    fn start(&self) -> &'static str {
        "mkdir -p /run/openbgpd && bgpd -n -f /etc/bgpd.conf && \
         { setsid bgpd -d -v -f /etc/bgpd.conf >>/var/log/openbgpd.log 2>&1 </dev/null & }"
    }

    fn processes(&self) -> &'static [&'static str] {
        &["bgpd"]
    }

    fn established(&self, node: &Node) -> Result<bool> {
        let said = json(node, &["bgpctl", "-j", "show", "neighbor", FRONTEND])?;
        Ok(said["neighbors"][0]["state"] == "Established")
    }

    fn route(&self, node: &Node, vip: &str) -> Result<Option<Route>> {
        let said = json(node, &["bgpctl", "-j", "show", "rib", "detail"])?;
        let routes = said["rib"].as_array().into_iter().flatten();
        let prefix = prefix(vip);
        let found = routes.into_iter().find(|route| route["prefix"] == prefix.as_str());
        Ok(found.map(|route| {
            let path = route["aspath"].as_str().unwrap_or_default();
            let extended = strings(&route["extended_communities"]);
            Route {
                as_path: path.split_whitespace().filter_map(|asn| asn.parse().ok()).collect(),
                next_hop: route["exit_nexthop"].as_str().and_then(|ip| ip.parse().ok()),
                origin: route["origin"].as_str().unwrap_or_default().to_lowercase(),
                med: number(&route["metric"]),
                local_pref: number(&route["localpref"]),
                communities: strings(&route["communities"]),
                extended: extended.iter().map(|one| one.replace(' ', ":")).collect(),
                large: strings(&route["large_communities"]),
            }
        }))
    }

    fn refresh(&self) -> &'static [&'static [&'static str]] {
        &[&["bgpctl", "neighbor", "10.1.0.1", "refresh"]]
    }

    fn log(&self) -> &'static str {
        "var/log/openbgpd.log"
    }
}
