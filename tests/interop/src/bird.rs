//! BIRD 2: `bird.conf`, `birdc`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use lab::Node;

use crate::bfd::INTERVAL;
use crate::router::{BfdEnds, FRONTEND, ROUTER, Route, Router, Setup, prefix};

/// BIRD 2.
pub(crate) struct Bird;

impl Router for Bird {
    fn name(&self) -> &'static str {
        "BIRD"
    }

    fn package(&self) -> &'static str {
        "bird2"
    }

    fn cannot(&self, case: &str) -> Option<&'static str> {
        case.starts_with("BFD: switched off").then_some(
            "`birdc disable` of its BFD sends no AdminDown: its packets end, as if it had died, and announcer ends the session \
             and opens it again without BFD",
        )
    }

    fn files(&self, setup: &Setup) -> Vec<(&'static str, String)> {
        let Setup { router_asn, frontend_asn, .. } = setup;
        let password = setup.password.map(|key| format!("  password \"{key}\";\n")).unwrap_or_default();
        let ttl = if setup.ttl_security { "  ttl security on;\n" } else { "" };
        let (options, protocol) = match setup.bfd {
            BfdEnds::Both => (format!("  {}\n", options(INTERVAL)), "protocol bfd bfd1 {}\n"),
            BfdEnds::None | BfdEnds::OnlyOurs => (String::new(), ""),
        };
        let (head, local, neighbor, extended) = match setup.unnumbered {
            true => (
                "protocol radv { interface \"eth1\" { max ra interval 10; default lifetime 0; }; }\n",
                String::new(),
                format!("range fe80::/10 as {frontend_asn};\n  interface \"eth1\";\n  dynamic name \"fe\""),
                "extended next hop yes; ",
            ),
            false => ("", format!("{ROUTER} "), format!("{FRONTEND} as {frontend_asn}"), ""),
        };
        let name = if setup.unnumbered { "unnumbered" } else { "fe" };
        let text = format!(
            "log \"/var/log/bird.log\" all;\nrouter id {ROUTER};\nprotocol device {{}}\n{protocol}{head}protocol bgp {name} {{\n  \
             local {local}as {router_asn};\n  neighbor {neighbor};\n  passive on;\n  \
             error wait time 1,3;\n{options}{password}{ttl}  ipv4 {{ {extended}import all; export none; }};\n  \
             ipv6 {{ import all; export none; }};\n}}\n"
        );
        vec![("etc/bird/bird.conf", text)]
    }

    fn start(&self) -> &'static str {
        "mkdir -p /run/bird && bird"
    }

    fn processes(&self) -> &'static [&'static str] {
        &["bird"]
    }

    fn established(&self, node: &Node) -> Result<bool> {
        Ok(node.must(&["birdc", "show", "protocols", "\"fe*\""])?.contains("Established"))
    }

    fn route(&self, node: &Node, vip: &str) -> Result<Option<Route>> {
        let said = node.exec(&["birdc", "show", "route", "all", &prefix(vip)])?.stdout;
        // Without a route, birdc prints a sentence that has no attribute.
        Ok(said.contains("BGP.").then(|| read(&said)))
    }

    fn refresh(&self) -> &'static [&'static [&'static str]] {
        &[&["birdc", "reload", "in", "fe"]]
    }

    fn bfd_up(&self, node: &Node) -> Result<bool> {
        let said = node.must(&["birdc", "show", "bfd", "sessions"])?;
        Ok(said.lines().any(|line| line.contains(FRONTEND) && line.contains(" Up ")))
    }

    fn bfd_interval(&self, node: &Node, ms: u32) -> Result<()> {
        let file = node.root().join("etc/bird/bird.conf");
        let text = fs::read_to_string(&file)?;
        let lines = text.lines().map(|line| match line.trim().starts_with("bfd {") {
            true => format!("  {}\n", options(ms)),
            false => format!("{line}\n"),
        });
        fs::write(&file, lines.collect::<String>())?;
        node.must(&["birdc", "configure"])?;
        Ok(())
    }

    fn bfd_switch(&self, node: &Node, on: bool) -> Result<()> {
        node.must(&["birdc", if on { "enable" } else { "disable" }, "bfd1"])?;
        Ok(())
    }

    fn log(&self) -> &'static str {
        "var/log/bird.log"
    }
}

/// The options of BFD for an interval of both directions, in milliseconds.
fn options(ms: u32) -> String {
    format!("bfd {{ interval {ms} ms; multiplier 3; }};")
}

/// Reads `birdc show route all` of one route: one line per attribute.
fn read(said: &str) -> Route {
    let mut route = Route::default();
    for line in said.lines() {
        let Some((name, value)) = line.trim().strip_prefix("BGP.").and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        let value = value.trim();
        match name {
            "origin" => route.origin = value.to_lowercase(),
            "as_path" => {
                route.as_path = value.split_whitespace().filter_map(|asn| asn.parse().ok()).collect()
            }
            // A link-local address follows the global one, if there is one.
            "next_hop" => route.next_hop = value.split_whitespace().next().and_then(|ip| ip.parse().ok()),
            "med" => route.med = value.parse().ok(),
            "local_pref" => route.local_pref = value.parse().ok(),
            "community" => route.communities = tuples(value),
            "ext_community" => route.extended = tuples(value),
            "large_community" => route.large = tuples(value),
            _ => {}
        }
    }
    route
}

/// `(65001,80) (rt, 65001, 80)`, each as `65001:80`.
fn tuples(text: &str) -> BTreeSet<String> {
    let inner = text.split(['(', ')']).filter(|one| !one.trim().is_empty());
    inner.map(|one| one.split(',').map(str::trim).collect::<Vec<_>>().join(":")).collect()
}
