//! Generates the topologies `scale` and `lan`, with any number of frontends and routers.
//!
//! Pure. The file has to be in a folder of the lab's folder, as all topologies, because it mounts files of `../nodes`. Each node makes
//! its configuration from its number, with the scripts in `nodes/scale` and `nodes/lan`.

use std::fmt::Write;
use std::ops::RangeInclusive;

/// The possible numbers of frontends of `scale`: the number is one octet of an address.
pub const FRONTENDS: RangeInclusive<u16> = 1..=250;
/// The possible numbers of frontends of `lan`: ten more than the number is one octet of an address.
pub const LAN_FRONTENDS: RangeInclusive<u16> = 1..=240;
/// The possible numbers of routers: the number is also one octet of an address, and 9 belongs to the client.
pub const ROUTERS: RangeInclusive<u16> = 1..=8;

const HEAD: &str = include_str!("generate/head.yml");
/// That a router has read its configuration to the end.
const HEALTHCHECK: &str = "      healthcheck:
        test: [CMD-SHELL, \"vtysh -c 'show running-config' | awk '/maximum-prefix/ { read++ } END { exit read != 2 }'\"]
        interval: 2
";

/// The binds of these folders of `../nodes`, each as a folder of its name.
fn binds(folders: &[&str]) -> String {
    let binds: Vec<String> = folders.iter().map(|folder| format!("../nodes/{folder}:/{folder}:ro")).collect();
    binds.join(", ")
}

/// A topology file that is being written.
struct Text(String);

impl Text {
    /// The head of the file: `arguments` are those of `lab generate`.
    fn new(name: &str, arguments: &str) -> Text {
        Text(format!(
            "# Written by `lab generate {arguments}`; drawn and explained in ../README.md.\nname: {name}\n\n{HEAD}"
        ))
    }

    fn node(&mut self, name: &str, body: &str) {
        let _ = write!(self.0, "\n    {name}:\n{body}"); // writing to a string cannot fail
    }

    /// A router whose first process is `command`; `folder` of `../nodes` has its scripts.
    fn router(&mut self, r: u16, command: &str, folder: &str) {
        let body = format!(
            "      group: leaf\n      cmd: {command}\n{HEALTHCHECK}      \
             sysctls: {{ net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1 }}\n      binds:\n        \
             - ../nodes/{folder}:/{folder}:ro\n        - ../nodes/r1/frr.conf:/etc/lab/frr.conf:ro\n        \
             - ../nodes/r1/daemons:/etc/frr/daemons:ro\n        - ../nodes/r1/vtysh.conf:/etc/frr/vtysh.conf:ro\n        \
             - ../nodes/r1/nftables.conf:/etc/nftables.conf:ro\n      exec: [nft -f /etc/nftables.conf]\n"
        );
        self.node(&format!("r{r}"), &body);
    }

    /// A frontend that `command` configures when all routers are healthy; `folders` of `../nodes` have its scripts.
    fn frontend(&mut self, n: u16, routers: u16, command: &str, folders: &[&str]) {
        let binds = binds(folders);
        let mut body = format!(
            "      group: server\n      binds: [../nodes/fe:/lab:ro, \
             {binds}, ../nodes/fe1/nginx.conf:/etc/lab/nginx.conf:ro]\n      \
             exec: [{command}]\n      stages:\n        create:\n          wait-for:\n"
        );
        for r in 1..=routers {
            let _ = writeln!(body, "            - {{ node: r{r}, stage: healthy }}");
        }
        self.node(&format!("fe{n}"), &body);
    }

    /// The client, with a link to each router.
    fn client(&mut self, routers: u16) {
        let binds = binds(&["scale"]);
        let body = format!(
            "      group: dc-gw\n      sysctls: {{ net.ipv4.ip_local_port_range: 1024 65535 }}\n      \
             binds: [{binds}]\n      exec: [/scale/client {routers}]\n"
        );
        self.node("client", &body);
    }

    /// Begins the links, with those from the client to the routers.
    fn links(&mut self, routers: u16) {
        self.0.push_str("\n  links: # an MTU, because containerlab's own is 9500\n");
        for r in 1..=routers {
            self.link(&format!("client:eth{r}"), &format!("r{r}:eth1"));
        }
    }

    fn link(&mut self, a: &str, b: &str) {
        let _ = writeln!(self.0, "    - {{ endpoints: [\"{a}\", \"{b}\"], mtu: 1500 }}");
    }
}

/// The text of the topology file `scale`, which has the structure of `ecmp`: a link from each frontend to each router. The numbers are
/// within [`FRONTENDS`] and [`ROUTERS`].
pub fn scale(frontends: u16, routers: u16) -> String {
    let mut text = Text::new("scale", &format!("--frontends {frontends} --routers {routers}"));
    for r in 1..=routers {
        text.router(r, &format!("/scale/router {r} {frontends}"), "scale");
    }
    for n in 1..=frontends {
        text.frontend(n, routers, &format!("/scale/frontend {n} {routers}"), &["scale"]);
    }
    text.client(routers);
    text.links(routers);
    for n in 1..=frontends {
        for r in 1..=routers {
            text.link(&format!("fe{n}:eth{r}"), &format!("r{r}:eth{}", n + 1));
        }
    }
    text.0
}

/// The text of the topology file `lan`: all frontends and routers have one link each to the node `lan`, which is a bridge. The numbers
/// are within [`LAN_FRONTENDS`] and [`ROUTERS`].
///
/// The bridge is a Linux node that makes `br0` itself, and not containerlab's kind `bridge`, which wants a bridge that is already on
/// the host.
pub fn lan(frontends: u16, routers: u16) -> String {
    let mut text = Text::new("lan", &format!("--lan --frontends {frontends} --routers {routers}"));
    for r in 1..=routers {
        text.router(r, &format!("/lan/router {r}"), "lan");
    }
    let mut body = String::from(
        "      group: switch\n      exec:\n        - ip link add br0 type bridge\n        - ip link set br0 up\n",
    );
    for port in 1..=routers + frontends {
        let _ = writeln!(body, "        - ip link set eth{port} master br0");
    }
    text.node("lan", &body);
    for n in 1..=frontends {
        text.frontend(n, routers, &format!("/lan/frontend {n} {routers}"), &["lan", "scale"]);
    }
    text.client(routers);
    text.links(routers);
    for r in 1..=routers {
        text.link(&format!("r{r}:eth2"), &format!("lan:eth{r}"));
    }
    for n in 1..=frontends {
        text.link(&format!("fe{n}:eth1"), &format!("lan:eth{}", routers + n));
    }
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{self, Topology, Unknown};

    fn read(text: &str) -> Topology {
        topology::parse(text, "generated", Unknown::Refused, &|_| None).unwrap()
    }

    #[test]
    fn every_size_is_a_topology_with_a_link_from_each_frontend_to_each_router() {
        for (frontends, routers) in [(1, 1), (3, 2), (100, 1), (250, 8)] {
            let topology = read(&scale(frontends, routers));
            let (f, r) = (usize::from(frontends), usize::from(routers));
            assert_eq!(topology.nodes.len(), f + r + 1);
            assert_eq!(topology.links.len(), f * r + r);
        }
    }

    #[test]
    fn a_lan_has_one_link_for_each_frontend_and_router_and_each_port_is_in_the_bridge() {
        for (frontends, routers) in [(1, 1), (4, 2), (240, 8)] {
            let topology = read(&lan(frontends, routers));
            let (f, r) = (usize::from(frontends), usize::from(routers));
            assert_eq!(topology.nodes.len(), f + r + 2);
            assert_eq!(topology.links.len(), f + r + r);
            let ports = topology.links.iter().flat_map(|link| &link.ends).filter(|end| end.node == "lan");
            for port in ports {
                let joined = ["ip", "link", "set", &port.interface, "master", "br0"].map(String::from);
                assert!(topology.nodes["lan"].exec.contains(&joined.to_vec()), "{port:?}");
            }
        }
    }
}
