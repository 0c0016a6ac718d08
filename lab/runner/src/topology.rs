//! The topology file of a plan, and the scripts of its nodes.
//!
//! Pure. The folder of the topology file has a folder for each node with the files that are listed in [`Files`].

use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use announcer::model::Family;
use ipnet::IpNet;

use crate::plan::{Owner, Plan, Port};
use crate::router_file::Daemon;

/// The client's node.
pub(crate) const CLIENT: &str = "client";
/// The command that starts a router.
pub(crate) const START_ROUTER: &str = "/lab/router start";
/// The interface of the first router that leads to the client.
const TO_CLIENT: &str = "to-client";
/// The addresses between the first router and the client, the router's first; from the ranges for benchmarks (RFC 2544, RFC 5180).
const CLIENT_LINK: [(&str, &str); 2] =
    [("198.18.255.0/31", "198.18.255.1/31"), ("2001:2:0:ffff::1/64", "2001:2:0:ffff::2/64")];

const HEAD: &str = include_str!("topology/head.yml");
const WEB: &str = include_str!("../../nodes/fe/web");
const ANNOUNCER: &str = include_str!("../../nodes/fe/announcer");
const DAEMONS: &str = include_str!("../../nodes/r1/daemons");
const VTYSH: &str = include_str!("../../nodes/r1/vtysh.conf");

/// A file to write: its path below the folder of the topology, and its text. Scripts are those without a dot in their names.
pub(crate) type Files = Vec<(String, String)>;

/// What stands in the topology beside the plan.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The lab's name.
    pub(crate) name: String,
    /// The files of the host that each frontend gets under the same paths.
    pub(crate) named: Vec<Vec<PathBuf>>,
    /// The texts of the configurations, in the order of the frontends.
    pub(crate) configs: Vec<String>,
    /// The texts of nginx.conf, in the order of the frontends.
    pub(crate) webs: Vec<String>,
    /// The texts of the routers' files.
    pub(crate) routers: Vec<String>,
}

/// The text of the topology file.
pub(crate) fn yaml(plan: &Plan, sources: &Sources) -> String {
    let mut text = format!("# Written by announcer-lab.\nname: {}\n{HEAD}\n  nodes:\n", sources.name);
    // Writing to a string cannot fail.
    for router in &plan.routers {
        let name = &router.name;
        let (target, more, test) = match router.daemon {
            Daemon::Frr => (
                "/etc/frr/frr.conf",
                format!(
                    "        - {name}/daemons.txt:/etc/frr/daemons:ro\n        - {name}/vtysh.conf:/etc/frr/vtysh.conf:ro\n"
                ),
                "vtysh -c 'show bgp summary'",
            ),
            Daemon::Bird => {
                ("/etc/bird/bird.conf", String::new(), "birdc show status | grep -q 'up and running'")
            }
        };
        let _ = write!(
            text,
            "    {name}:\n      healthcheck:\n        test: [CMD-SHELL, \"{test}\"]\n        interval: 2\n      sysctls:\n        \
             net.ipv4.ip_forward: 1\n        net.ipv6.conf.all.forwarding: 1\n      binds:\n        - {name}/scripts:/lab:ro\n        \
             - {name}/router.conf:{target}:ro\n{more}      exec:\n        - {START_ROUTER}\n"
        );
    }
    for (frontend, named) in plan.frontends.iter().zip(&sources.named) {
        let name = &frontend.name;
        let _ = write!(
            text,
            "    {name}:\n      binds:\n        - {name}/scripts:/lab:ro\n        \
             - {name}/announcer.toml:/etc/announcer/announcer.toml:ro\n        - {name}/nginx.conf:/etc/nginx/nginx.conf:ro\n",
        );
        for path in named {
            let path = path.display();
            let _ = writeln!(text, "        - {}", quoted(&format!("{path}:{path}:ro")));
        }
        text.push_str("      exec:\n        - mount -o remount,rw /proc/sys\n        - /lab/boot\n      stages:\n        create:\n          wait-for:\n");
        for router in &plan.routers {
            let _ = writeln!(text, "            - {{ node: {}, stage: healthy }}", router.name);
        }
    }
    let mut links = vec![(format!("{CLIENT}:eth1"), format!("{}:{TO_CLIENT}", plan.routers[0].name))];
    let _ = write!(
        text,
        "    {CLIENT}:\n      sysctls:\n        net.ipv4.ip_local_port_range: 1024 65535\n      exec:\n"
    );
    for (router, client) in CLIENT_LINK {
        let via = router.split('/').next().unwrap_or_default();
        let family = if via.contains(':') { "-6" } else { "-4" };
        let _ = write!(
            text,
            "        - ip address add {client} dev eth1\n        - ip {family} route replace default via {via}\n"
        );
    }
    for (number, segment) in plan.segments.iter().enumerate() {
        let end = |port: &Port| format!("{}:{}", plan.name(port.owner), port.interface);
        match segment.ports.as_slice() {
            [one, other] => links.push((end(one), end(other))),
            ports => {
                let name = format!("lan{}", number + 1);
                let _ = write!(
                    text,
                    "    {name}:\n      exec:\n        - ip link add br0 type bridge\n        - ip link set br0 up\n"
                );
                for (index, port) in ports.iter().enumerate() {
                    let _ = writeln!(text, "        - ip link set eth{} master br0", index + 1);
                    links.push((format!("{name}:eth{}", index + 1), end(port)));
                }
            }
        }
    }
    text.push_str("\n  links: # an MTU, because containerlab's own is 9500\n");
    for (one, other) in links {
        let _ = writeln!(text, "    - {{ endpoints: [\"{one}\", \"{other}\"], mtu: 1500 }}");
    }
    text
}

/// The text as a quoted word of YAML; a `$` is no variable.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace('$', "$$"))
}

/// The files of all nodes.
pub(crate) fn files(plan: &Plan, sources: &Sources) -> Files {
    let mut files = Files::new();
    for (index, router) in plan.routers.iter().enumerate() {
        let mut add = |path: &str, text: String| files.push((format!("{}/{path}", router.name), text));
        add("router.conf", sources.routers.get(index).cloned().unwrap_or_default());
        add("scripts/router", router_script(plan, index));
        match router.daemon {
            Daemon::Frr => {
                add("daemons.txt", DAEMONS.to_owned());
                add("vtysh.conf", VTYSH.to_owned());
            }
            Daemon::Bird => {}
        }
    }
    for (index, frontend) in plan.frontends.iter().enumerate() {
        let mut add = |path: &str, text: String| files.push((format!("{}/{path}", frontend.name), text));
        add("announcer.toml", sources.configs.get(index).cloned().unwrap_or_default());
        add("nginx.conf", sources.webs.get(index).cloned().unwrap_or_default());
        add("scripts/announcer", ANNOUNCER.to_owned());
        add("scripts/web", WEB.to_owned());
        add("scripts/boot", boot_script(plan, index));
    }
    files
}

/// The addresses that the lab gives to a node, with their interfaces.
fn given(plan: &Plan, owner: Owner) -> Vec<(IpNet, &str)> {
    let ports = plan.segments.iter().filter_map(|segment| segment.port(owner));
    ports.flat_map(|port| port.by_lab.iter().map(|net| (*net, port.interface.as_str()))).collect()
}

fn add_addresses(script: &mut String, addresses: &[(IpNet, &str)]) {
    for (net, interface) in addresses {
        let _ = writeln!(script, "ip address replace {net} dev {interface}");
    }
}

/// `/lab/router start|restart` of a router.
fn router_script(plan: &Plan, index: usize) -> String {
    let mut addresses = given(plan, Owner::Router(index));
    if index == 0 {
        let client = CLIENT_LINK.iter().filter_map(|(router, _)| router.parse().ok());
        addresses.extend(client.map(|net| (net, TO_CLIENT)));
    }
    let mut script = "#!/bin/sh\n# router start|restart: checks the configuration, and starts the router's programs.\nset -eu\n".to_owned();
    add_addresses(&mut script, &addresses);
    script.push_str(match plan.routers[index].daemon {
        Daemon::Frr => {
            "vtysh -C -f /etc/frr/frr.conf\n/usr/lib/frr/frrinit.sh \"$1\"\n\
             # For three minutes, zebra 8.4 uses a group of next hops again although the kernel has removed one of them, because its\n\
             # link was down. After one second it makes a new group.\n\
             vtysh -c 'configure terminal' -c 'zebra nexthop-group keep 1'\n"
        }
        Daemon::Bird => {
            "bird -p -c /etc/bird/bird.conf\nmkdir -p /run/bird\nexec bird -c /etc/bird/bird.conf\n"
        }
    });
    script
}

/// `/lab/boot` of a frontend: everything from its addresses to the daemon, as a host does it that starts.
fn boot_script(plan: &Plan, index: usize) -> String {
    let owner = Owner::Frontend(index);
    let mut script =
        "#!/bin/sh\n# boot: addresses, routes, VIPs, the web server, announcer.\nset -eu\n".to_owned();
    add_addresses(&mut script, &given(plan, owner));
    for family in [Family::V4, Family::V6] {
        if let Some(route) = default_route(plan, index, family) {
            let _ = writeln!(script, "{route}");
        }
    }
    script + "dsr-setup apply\n/lab/web start\n/lab/announcer start\n"
}

/// The default route of a frontend: over its first router, because the client is behind that one. An IPv4 route may lead over IPv6.
fn default_route(plan: &Plan, frontend: usize, family: Family) -> Option<String> {
    let sessions = &plan.frontends.get(frontend)?.sessions;
    let session = sessions.iter().min_by_key(|session| session.router)?;
    let segment = &plan.segments[session.segment];
    let interface = &segment.port(Owner::Frontend(frontend))?.interface;
    let router = segment.port(Owner::Router(session.router))?;
    let of = |family: Family| {
        router.addresses().map(|net| net.addr()).find(|address| Family::of(*address) == family)
    };
    let command = match family {
        Family::V4 => "ip -4",
        Family::V6 => "ip -6",
    };
    let via = match (family, of(family), of(Family::V6)) {
        (_, Some(address), _) => address.to_string(),
        (Family::V4, None, Some(IpAddr::V6(address))) => format!("inet6 {address}"),
        (Family::V4 | Family::V6, None, _) => return None,
    };
    Some(format!("{command} route replace default via {via} dev {interface}"))
}

#[cfg(test)]
mod tests;
