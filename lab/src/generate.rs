//! Generates the topology `scale`: any number of frontends and routers, with the structure of `ecmp`.
//!
//! Pure. The file has to be in a folder of the lab's folder, as all topologies, because it mounts files of `../nodes`. Each node makes
//! its configuration from its number, with the scripts in `nodes/scale`.

use std::fmt::Write;
use std::ops::RangeInclusive;

/// The possible numbers of frontends: the number is one octet of an address.
pub const FRONTENDS: RangeInclusive<u16> = 1..=250;
/// The possible numbers of routers: the number is also one octet of an address, and 9 belongs to the client.
pub const ROUTERS: RangeInclusive<u16> = 1..=8;

const HEAD: &str = include_str!("generate/head.yml");
/// That a router has read its configuration to the end.
const HEALTHCHECK: &str = "      healthcheck:
        test: [CMD-SHELL, \"vtysh -c 'show running-config' | awk '/maximum-prefix/ { read++ } END { exit read != 2 }'\"]
        interval: 2
";

/// The text of the topology file, for numbers within [`FRONTENDS`] and [`ROUTERS`].
pub fn scale(frontends: u16, routers: u16) -> String {
    let mut text = format!(
        "# Written by `lab generate --frontends {frontends} --routers {routers}`; drawn and explained in ../README.md.\n{HEAD}"
    );
    let mut node = |name: &str, body: &str| {
        let _ = write!(text, "\n    {name}:\n{body}"); // writing to a string cannot fail
    };
    for r in 1..=routers {
        let body = format!(
            "      group: leaf\n      cmd: /scale/router {r} {frontends}\n{HEALTHCHECK}      \
             sysctls: {{ net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1 }}\n      binds:\n        \
             - ../nodes/scale:/scale:ro\n        - ../nodes/r1/frr.conf:/etc/lab/frr.conf:ro\n        \
             - ../nodes/r1/daemons:/etc/frr/daemons:ro\n        - ../nodes/r1/vtysh.conf:/etc/frr/vtysh.conf:ro\n        \
             - ../nodes/r1/nftables.conf:/etc/nftables.conf:ro\n      exec: [nft -f /etc/nftables.conf]\n"
        );
        node(&format!("r{r}"), &body);
    }
    let routers_healthy: String =
        (1..=routers).map(|r| format!("            - {{ node: r{r}, stage: healthy }}\n")).collect();
    for n in 1..=frontends {
        let body = format!(
            "      group: server\n      binds: [../nodes/fe:/lab:ro, \
             ../nodes/scale:/scale:ro, ../nodes/fe1/nginx.conf:/etc/lab/nginx.conf:ro]\n      \
             exec: [/scale/frontend {n} {routers}]\n      stages:\n        create:\n          wait-for:\n{routers_healthy}"
        );
        node(&format!("fe{n}"), &body);
    }
    let body = format!(
        "      group: dc-gw\n      sysctls: {{ net.ipv4.ip_local_port_range: 1024 65535 }}\n      \
         binds: [../nodes/scale:/scale:ro]\n      exec: [/scale/client {routers}]\n"
    );
    node("client", &body);

    text.push_str("\n  links: # an MTU, because containerlab's own is 9500\n");
    for r in 1..=routers {
        let _ = writeln!(text, "    - {{ endpoints: [\"client:eth{r}\", \"r{r}:eth1\"], mtu: 1500 }}");
    }
    for n in 1..=frontends {
        for r in 1..=routers {
            let _ =
                writeln!(text, "    - {{ endpoints: [\"fe{n}:eth{r}\", \"r{r}:eth{}\"], mtu: 1500 }}", n + 1);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{self, Unknown};

    #[test]
    fn every_size_is_a_topology_with_a_link_from_each_frontend_to_each_router() {
        for (frontends, routers) in [(1, 1), (3, 2), (100, 1), (250, 8)] {
            let topology =
                topology::parse(&scale(frontends, routers), "scale", Unknown::Refused, &|_| None).unwrap();
            let (f, r) = (usize::from(frontends), usize::from(routers));
            assert_eq!(topology.nodes.len(), f + r + 1);
            assert_eq!(topology.links.len(), f * r + r);
        }
    }
}
