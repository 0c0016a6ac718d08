//! FRR: `frr.conf`, `vtysh`.

use anyhow::Result;
use lab::Node;

use crate::router::{FRONTEND, ROUTER, Route, Router, Setup, family, json, number, prefix};

/// FRR, started by its own script.
pub(crate) struct Frr;

const DAEMONS: &str = "bgpd=yes\nvtysh_enable=yes\nzebra_options=\"-A 127.0.0.1\"\nbgpd_options=\"-A 127.0.0.1\"\n\
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
        let mut text = format!(
            "frr defaults traditional\nlog file /var/log/frr/frr.log informational\n\
             service integrated-vtysh-config\nrouter bgp {router_asn}\n bgp router-id {ROUTER}\n \
             bgp log-neighbor-changes\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
             neighbor {FRONTEND} remote-as {frontend_asn}\n neighbor {FRONTEND} passive\n"
        );
        if let Some(password) = setup.password {
            text += &format!(" neighbor {FRONTEND} password {password}\n");
        }
        if setup.ttl_security {
            text += &format!(" neighbor {FRONTEND} ttl-security hops 1\n");
        }
        for family in ["ipv4", "ipv6"] {
            text += &format!(
                " address-family {family} unicast\n  neighbor {FRONTEND} activate\n exit-address-family\n"
            );
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
        &["watchfrr", "bgpd", "staticd", "zebra"]
    }

    fn established(&self, node: &Node) -> Result<bool> {
        let said = json(node, &["vtysh", "-c", "show bgp neighbors 10.1.0.1 json"])?;
        Ok(said[FRONTEND]["bgpState"] == "Established")
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

    fn log(&self) -> &'static str {
        "var/log/frr/frr.log"
    }
}
