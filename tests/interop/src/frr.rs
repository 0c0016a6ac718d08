//! FRR: `frr.conf`, `vtysh`.

use anyhow::{Result, ensure};
use lab::Node;

use crate::bfd::INTERVAL;
use crate::router::{BfdEnds, FRONTEND, ROUTER, Route, Router, Setup, family, json, number, prefix};

/// FRR, started by its own script.
pub(crate) struct Frr;

const DAEMONS: &str = "bgpd=yes\nbfdd=yes\nbfdd_options=\"-A 127.0.0.1\"\nvtysh_enable=yes\nzebra_options=\"-A 127.0.0.1\"\nbgpd_options=\"-A 127.0.0.1\"\n\
                       staticd_options=\"-A 127.0.0.1\"\n";

impl Router for Frr {
    fn name(&self) -> &'static str {
        "FRR"
    }

    fn package(&self) -> &'static str {
        "frr"
    }

    fn cannot(&self, _: &str) -> Option<&'static str> {
        None
    }

    fn files(&self, setup: &Setup) -> Vec<(&'static str, String)> {
        let Setup { router_asn, frontend_asn, .. } = setup;
        let neighbor = if setup.unnumbered { "eth1" } else { FRONTEND };
        let (head, kind) = match setup.unnumbered {
            true => ("interface eth1\n ipv6 nd ra-lifetime 0\nexit\n", "interface v6only "),
            false => ("", ""),
        };
        let mut text = format!(
            "frr defaults traditional\nlog file /var/log/frr/frr.log informational\n\
             service integrated-vtysh-config\n{head}router bgp {router_asn}\n bgp router-id {ROUTER}\n \
             bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
             neighbor {neighbor} {kind}remote-as {frontend_asn}\n neighbor {neighbor} passive\n"
        );
        if let Some(password) = setup.password {
            text += &format!(" neighbor {FRONTEND} password {password}\n");
        }
        if setup.ttl_security {
            text += &format!(" neighbor {FRONTEND} ttl-security hops 1\n");
        }
        if setup.bfd == BfdEnds::Both {
            text += &format!(" neighbor {FRONTEND} bfd\n neighbor {FRONTEND} bfd profile FRONTENDS\n");
        }
        for family in ["ipv4", "ipv6"] {
            text += &format!(
                " address-family {family} unicast\n  neighbor {neighbor} activate\n exit-address-family\n"
            );
        }
        if setup.bfd == BfdEnds::Both {
            text += &format!("exit\nbfd\n profile FRONTENDS\n  detect-multiplier 3\n{}", intervals(INTERVAL));
        }
        vec![
            ("etc/frr/daemons", DAEMONS.to_owned()),
            ("etc/frr/vtysh.conf", "service integrated-vtysh-config\n".to_owned()),
            ("etc/frr/frr.conf", text),
        ]
    }

    fn start(&self) -> &'static str {
        "/usr/lib/frr/frrinit.sh start"
    }

    fn processes(&self) -> &'static [&'static str] {
        &["watchfrr", "bfdd", "bgpd", "staticd", "zebra"]
    }

    fn established(&self, node: &Node) -> Result<bool> {
        let said = json(node, &["vtysh", "-c", "show bgp neighbors json"])?;
        let mut neighbors = said.as_object().into_iter().flatten();
        Ok(neighbors.any(|(_, neighbor)| neighbor["bgpState"] == "Established"))
    }

    fn route(&self, node: &Node, vip: &str) -> Result<Option<Route>> {
        let command = format!("show bgp {} unicast {} json", family(vip), prefix(vip));
        let said = json(node, &["vtysh", "-c", &command])?;
        let path = &said["paths"][0];
        if path.is_null() {
            return Ok(None);
        }
        let sequence = path["aspath"]["segments"][0]["list"].as_array().into_iter().flatten();
        let words = |name: &str| {
            let text = path[name]["string"].as_str().unwrap_or_default();
            text.to_lowercase().split_whitespace().map(str::to_owned).collect()
        };
        Ok(Some(Route {
            as_path: sequence.filter_map(number).collect(),
            next_hop: path["nexthops"][0]["ip"].as_str().and_then(|ip| ip.parse().ok()),
            origin: path["origin"].as_str().unwrap_or_default().to_lowercase(),
            med: number(&path["metric"]),
            local_pref: number(&path["locPrf"]),
            communities: words("community"),
            extended: words("extendedCommunity"),
            large: words("largeCommunity"),
        }))
    }

    fn refresh(&self) -> &'static [&'static [&'static str]] {
        &[
            &["vtysh", "-c", "clear bgp ipv4 unicast 10.1.0.1 soft in"],
            &["vtysh", "-c", "clear bgp ipv6 unicast 10.1.0.1 soft in"],
        ]
    }

    fn bfd_up(&self, node: &Node) -> Result<bool> {
        let said = node.must(&["vtysh", "-c", "show bfd peer 10.1.0.1"])?;
        Ok(said.contains("Status: up"))
    }

    fn bfd_interval(&self, node: &Node, ms: u32) -> Result<()> {
        let lines = intervals(ms);
        profile(node, &lines.lines().collect::<Vec<_>>())
    }

    fn bfd_switch(&self, node: &Node, on: bool) -> Result<()> {
        profile(node, &[if on { "no shutdown" } else { "shutdown" }])
    }

    fn log(&self) -> &'static str {
        "var/log/frr/frr.log"
    }
}

/// The lines of a profile for an interval of both directions, in milliseconds.
fn intervals(ms: u32) -> String {
    format!("  receive-interval {ms}\n  transmit-interval {ms}\n")
}

/// Changes the profile of BFD.
fn profile(node: &Node, lines: &[&str]) -> Result<()> {
    let all = ["configure terminal", "bfd", "profile FRONTENDS"].iter().chain(lines);
    let words = all.flat_map(|line| ["-c", line.trim()]);
    let said = node.must(&std::iter::once("vtysh").chain(words).collect::<Vec<_>>())?;
    ensure!(!said.contains('%'), "{said}");
    Ok(())
}
