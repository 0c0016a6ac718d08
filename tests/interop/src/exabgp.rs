//! ExaBGP, passive: `exabgp.conf`. It passes received routes as JSON to a program, which stores them in a file.

use std::fs;

use anyhow::Result;
use lab::Node;
use serde_json::Value;

use crate::router::{FRONTEND, ROUTER, Route, Router, Setup, family, number, prefix};

/// ExaBGP.
pub(crate) struct Exabgp;

/// The program to which ExaBGP passes routes. The program ends when ExaBGP ends. Its standard output stays open, because otherwise
/// ExaBGP treats it as dead. Its input is also written to the log: ExaBGP logs only that a session has ended, and passes the reason
/// only to the program.
const WATCH: &str = "#!/bin/sh\nwhile read -r line; do\n\tprintf '%s\\n' \"$line\" >>/var/log/exabgp.json\n\t\
                     printf '%s\\n' \"$line\" >>/var/log/exabgp.log\ndone\n";

/// The script that starts ExaBGP: it makes the pipes of `exabgpcli`, and listens on the router's address.
const START: &str = "#!/bin/sh\nset -e\nchmod 755 /etc/exabgp/watch.sh\nmkdir -p /run/exabgp\n\
    for pipe in in out; do [ -p /run/exabgp/exabgp.$pipe ] || mkfifo /run/exabgp/exabgp.$pipe; done\n\
    export exabgp_tcp_bind=10.1.0.0 exabgp_tcp_port=179 exabgp_daemon_user=root exabgp_daemon_daemonize=false \
    exabgp_log_destination=stdout exabgp_log_all=true\n\
    exec setsid exabgp /etc/exabgp/exabgp.conf >>/var/log/exabgp.log 2>&1 </dev/null\n";

impl Router for Exabgp {
    fn name(&self) -> &'static str {
        "ExaBGP"
    }

    fn package(&self) -> &'static str {
        "exabgp"
    }

    fn cannot(&self, case: &str) -> Option<&'static str> {
        if case.starts_with("unnumbered") {
            return Some("it sends no router advertisements, and has no neighbour without an address");
        }
        if case.starts_with("BFD: ") {
            return Some("it has no BFD");
        }
        if case.starts_with("GTSM") {
            Some(
                "it answers with TTL 64 if it listens: `outgoing-ttl` is set only on the connections that it opens, and here \
                 announcer opens all of them",
            )
        } else if case.starts_with("the text") {
            Some(
                "it treats any text in a Cease as a malformed message (`can not decode update message of type \"3\"`): \
                 its decoder formats octets with a string, an error in Python 3",
            )
        } else {
            None
        }
    }

    fn files(&self, setup: &Setup) -> Vec<(&'static str, String)> {
        let Setup { router_asn, frontend_asn, .. } = setup;
        let password = setup.password.map(|key| format!("  md5-password \"{key}\";\n")).unwrap_or_default();
        let ttl = if setup.ttl_security { "  outgoing-ttl 255;\n  incoming-ttl 255;\n" } else { "" };
        let text = format!(
            "process watch {{\n  run /etc/exabgp/watch.sh;\n  encoder json;\n}}\nneighbor {FRONTEND} {{\n  \
             router-id {ROUTER};\n  local-address {ROUTER};\n  local-as {router_asn};\n  peer-as {frontend_asn};\n  \
             passive true;\n{password}{ttl}  family {{ ipv4 unicast; ipv6 unicast; }}\n  \
             capability {{ route-refresh; }}\n  \
             api {{ processes [ watch ]; neighbor-changes; receive {{ parsed; update; }} }}\n}}\n"
        );
        vec![
            ("etc/exabgp/watch.sh", WATCH.to_owned()),
            ("etc/exabgp/start.sh", START.to_owned()),
            ("etc/exabgp/exabgp.conf", text),
        ]
    }

    fn start(&self) -> &'static str {
        "rm -f /var/log/exabgp.json; sh /etc/exabgp/start.sh >/dev/null 2>&1 </dev/null &"
    }

    fn processes(&self) -> &'static [&'static str] {
        &["exabgp", "watch.sh"]
    }

    fn established(&self, node: &Node) -> Result<bool> {
        let mut states = events(node)?.into_iter().filter(|event| event["type"] == "state");
        Ok(states.next_back().is_some_and(|event| event["neighbor"]["state"] == "up"))
    }

    fn route(&self, node: &Node, vip: &str) -> Result<Option<Route>> {
        let (family, prefix) = (format!("{} unicast", family(vip)), prefix(vip));
        let mut route = None;
        for event in events(node)? {
            let neighbor = &event["neighbor"];
            if event["type"] == "state" && neighbor["state"] != "up" {
                route = None;
            }
            let update = &neighbor["message"]["update"];
            let gone = update["withdraw"][&family].as_array().into_iter().flatten();
            if gone.into_iter().any(|one| one["nlri"] == prefix.as_str()) {
                route = None;
            }
            for (next_hop, prefixes) in update["announce"][&family].as_object().into_iter().flatten() {
                if prefixes.as_array().into_iter().flatten().any(|one| one["nlri"] == prefix.as_str()) {
                    route = Some(read(&update["attribute"], next_hop));
                }
            }
        }
        Ok(route)
    }

    fn refresh(&self) -> &'static [&'static [&'static str]] {
        &[
            &["timeout", "5", "exabgpcli", "announce", "route-refresh", "ipv4", "unicast"],
            &["timeout", "5", "exabgpcli", "announce", "route-refresh", "ipv6", "unicast"],
        ]
    }

    fn log(&self) -> &'static str {
        "var/log/exabgp.log"
    }
}

/// The messages that ExaBGP has passed to its program since its start.
fn events(node: &Node) -> Result<Vec<Value>> {
    let text = fs::read_to_string(node.root().join("var/log/exabgp.json"))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Reads the attributes of one announcement.
fn read(attribute: &Value, next_hop: &str) -> Route {
    let list = |name: &str| attribute[name].as_array().cloned().unwrap_or_default();
    let joined = |one: &Value| {
        let parts = one.as_array().into_iter().flatten();
        parts.map(Value::to_string).collect::<Vec<_>>().join(":")
    };
    let extended = |one: &Value| one["string"].as_str().unwrap_or_default().replace("target:", "rt:");
    Route {
        as_path: list("as-path").iter().filter_map(number).collect(),
        next_hop: next_hop.parse().ok(),
        origin: attribute["origin"].as_str().unwrap_or_default().to_owned(),
        med: number(&attribute["med"]),
        local_pref: number(&attribute["local-preference"]),
        communities: list("community").iter().map(joined).collect(),
        extended: list("extended-community").iter().map(extended).collect(),
        large: list("large-community").iter().map(joined).collect(),
    }
}
