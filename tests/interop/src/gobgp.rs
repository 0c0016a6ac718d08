//! GoBGP: `gobgpd.toml`, `gobgp`.

use anyhow::Result;
use lab::Node;
use serde_json::Value;

use crate::router::{FRONTEND, ROUTER, Route, Router, Setup, family, json, number, prefix};

/// GoBGP.
pub(crate) struct Gobgp;

impl Router for Gobgp {
    fn name(&self) -> &'static str {
        "GoBGP"
    }

    fn package(&self) -> &'static str {
        "gobgpd"
    }

    fn cannot(&self, case: &str) -> Option<&'static str> {
        if case.starts_with("unnumbered") {
            return Some("it sends no router advertisements");
        }
        if case.starts_with("BFD: ") {
            return Some("it has no BFD");
        }
        (case == "route refresh").then_some(
            "it never sends a ROUTE-REFRESH: `gobgp neighbor … softresetin` uses the routes that it has stored",
        )
    }

    fn files(&self, setup: &Setup) -> Vec<(&'static str, String)> {
        let Setup { router_asn, frontend_asn, .. } = setup;
        let password = setup.password.map(|key| format!("auth-password = \"{key}\"\n")).unwrap_or_default();
        let ttl = if setup.ttl_security {
            "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n"
        } else {
            ""
        };
        let mut text = format!(
            "[global.config]\nas = {router_asn}\nrouter-id = \"{ROUTER}\"\n[[neighbors]]\n[neighbors.config]\n\
             neighbor-address = \"{FRONTEND}\"\npeer-as = {frontend_asn}\n{password}\
             [neighbors.transport.config]\npassive-mode = true\nlocal-address = \"{ROUTER}\"\n{ttl}\
             [neighbors.timers.config]\nidle-hold-time-after-reset = 1\n"
        );
        for family in ["ipv4", "ipv6"] {
            text += &format!(
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}-unicast\"\n"
            );
        }
        vec![("etc/gobgpd.toml", text)]
    }

    fn start(&self) -> &'static str {
        "setsid gobgpd -t toml -f /etc/gobgpd.toml -l debug --api-hosts 127.0.0.1:50051 \
         >>/var/log/gobgpd.log 2>&1 </dev/null &"
    }

    fn processes(&self) -> &'static [&'static str] {
        &["gobgpd"]
    }

    fn established(&self, node: &Node) -> Result<bool> {
        let said = json(node, &["gobgp", "-j", "neighbor", FRONTEND])?;
        Ok(said["state"]["session_state"] == 6) // apipb.PeerState_ESTABLISHED
    }

    fn route(&self, node: &Node, vip: &str) -> Result<Option<Route>> {
        let prefix = prefix(vip);
        let said = json(node, &["gobgp", "-j", "global", "rib", "-a", family(vip)])?;
        Ok(said[&prefix][0]["attrs"].as_array().map(|attributes| read(attributes)))
    }

    fn refresh(&self) -> &'static [&'static [&'static str]] {
        &[]
    }

    fn log(&self) -> &'static str {
        "var/log/gobgpd.log"
    }
}

/// The path attributes, by their type codes.
fn read(attributes: &[Value]) -> Route {
    let mut route = Route::default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for attribute in attributes {
        match number(&attribute["type"]) {
            Some(1) => {
                let origins = ["igp", "egp", "incomplete"];
                let origin = number(&attribute["value"]).and_then(|code| usize::try_from(code).ok());
                route.origin = origin.and_then(|code| origins.get(code)).copied().unwrap_or("?").to_owned();
            }
            Some(2) => {
                let sequence = list(&attribute["as_paths"][0]["asns"]);
                route.as_path = sequence.iter().filter_map(number).collect();
            }
            Some(3 | 14) => route.next_hop = attribute["nexthop"].as_str().and_then(|ip| ip.parse().ok()),
            Some(4) => route.med = number(&attribute["metric"]),
            Some(5) => route.local_pref = number(&attribute["value"]),
            Some(8) => {
                let communities = list(&attribute["communities"]);
                let shown = |one: u32| format!("{}:{}", one >> 16, one & 0xffff);
                route.communities = communities.iter().filter_map(number).map(shown).collect();
            }
            Some(16) => {
                let extended = list(&attribute["value"]);
                let shown = |one: &Value| {
                    let kind = if one["subtype"] == 2 { "rt" } else { "?" };
                    format!("{kind}:{}", one["value"].as_str().unwrap_or_default())
                };
                route.extended = extended.iter().map(shown).collect();
            }
            Some(32) => {
                let large = list(&attribute["value"]);
                let shown = |one: &Value| {
                    ["ASN", "LocalData1", "LocalData2"].map(|part| one[part].to_string()).join(":")
                };
                route.large = large.iter().map(shown).collect();
            }
            Some(_) | None => {}
        }
    }
    route
}
