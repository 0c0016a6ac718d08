use expect_test::expect;
use lab::topology::{Unknown, parse};

use super::*;
use crate::plan::plan;
use crate::plan::tests::{bird, configs, frr, routers};

fn both(plan: &Plan) -> (String, Files) {
    let each = |text: &str| plan.frontends.iter().map(|_| text.to_owned()).collect();
    let sources = Sources {
        name: "own-1".to_owned(),
        named: plan.frontends.iter().map(|_| vec![PathBuf::from("/etc/announcer/it's-$r1.key")]).collect(),
        configs: each("CONFIG"),
        webs: each("WEB"),
        routers: plan.routers.iter().map(|router| router.file.clone()).collect(),
    };
    (yaml(plan, &sources), files(plan, &sources))
}

#[test]
fn the_text_is_a_topology_with_a_cable_for_two_and_a_bridge_for_three() {
    let configs = configs(&[&["10.0.0.1", "10.2.1.0"], &["10.0.0.1"]]);
    let routers = routers(&[frr(&["bond0 10.0.0.1/24"], &["10.0.0.0/24"]), bird(&["10.2.1.1"])]);
    let plan = plan(&configs, &routers).unwrap();
    let (text, files) = both(&plan);
    let topology =
        parse(&text, "own", Unknown::Refused, &|_| None).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let links = topology.links.iter().map(|link| {
        let [a, b] = &link.ends;
        format!("{}:{} - {}:{}\n", a.node, a.interface, b.node, b.interface)
    });
    let nodes: Vec<&str> = topology.nodes.keys().map(String::as_str).collect();
    expect![[r#"
        client fe1 fe2 lan1 r1 r2
        client:eth1 - r1:to-client
        lan1:eth1 - r1:bond0
        lan1:eth2 - fe1:eth1
        lan1:eth3 - fe2:eth1
        r2:eth1 - fe1:eth2
    "#]]
    .assert_eq(&(nodes.join(" ") + "\n" + &links.collect::<String>()));
    let binds: Vec<String> = topology.nodes["fe1"]
        .binds
        .iter()
        .map(|bind| format!("{} {}", bind.source.display(), bind.target.display()))
        .collect();
    expect![[r#"
        fe1/announcer.toml /etc/announcer/announcer.toml
        /etc/announcer/it's-$r1.key /etc/announcer/it's-$r1.key
        fe1/nginx.conf /etc/nginx/nginx.conf
        fe1/scripts /lab"#]]
    .assert_eq(&binds.join("\n"));
    // Every file that is bound from the folder is written.
    for bind in topology.nodes.values().flat_map(|node| &node.binds).filter(|bind| bind.source.is_relative())
    {
        let source = bind.source.to_str().unwrap();
        assert!(files.iter().any(|(path, _)| path.starts_with(source)), "{source}");
    }
    let script = |path: &str| files.iter().find(|(known, _)| known == path).map(|(_, text)| text.as_str());
    expect![[r#"
        #!/bin/sh
        # boot: addresses, routes, VIPs, the web server, announcer.
        set -eu
        ip address replace 10.0.0.2/24 dev eth1
        ip address replace 2001:2:0:1::2/64 dev eth1
        ip address replace 10.2.1.1/31 dev eth2
        ip address replace 2001:2:0:2::1/64 dev eth2
        ip -4 route replace default via 10.0.0.1 dev eth1
        ip -6 route replace default via 2001:2:0:1::1 dev eth1
        dsr-setup apply
        /lab/web start
        /lab/announcer start
    "#]]
    .assert_eq(script("fe1/scripts/boot").unwrap());
    expect![[r##"
        #!/bin/sh
        # router start|restart: checks the configuration, and starts the router's programs.
        set -eu
        ip address replace 2001:2:0:1::1/64 dev bond0
        ip address replace 198.18.255.0/31 dev to-client
        ip address replace 2001:2:0:ffff::1/64 dev to-client
        vtysh -C -f /etc/frr/frr.conf
        /usr/lib/frr/frrinit.sh "$1"
        # For three minutes, zebra 8.4 uses a group of next hops again although the kernel has removed one of them, because its
        # link was down. After one second it makes a new group.
        vtysh -c 'configure terminal' -c 'zebra nexthop-group keep 1'
    "##]].assert_eq(script("r1/scripts/router").unwrap());
    expect![[r#"
        #!/bin/sh
        # router start|restart: checks the configuration, and starts the router's programs.
        set -eu
        ip address replace 10.2.1.0/31 dev eth1
        ip address replace 2001:2:0:2::2/64 dev eth1
        bird -p -c /etc/bird/bird.conf
        mkdir -p /run/bird
        exec bird -c /etc/bird/bird.conf
    "#]]
    .assert_eq(script("r2/scripts/router").unwrap());
}

#[test]
fn ipv4_replies_go_over_ipv6_where_a_link_has_no_ipv4() {
    let configs = configs(&[&["2001:db8:1::1"]]);
    let plan = plan(&configs, &routers(&[bird(&["2001:db8:1::2"])])).unwrap();
    let (_, files) = both(&plan);
    let (_, boot) = files.iter().find(|(path, _)| path == "fe1/scripts/boot").unwrap();
    assert!(boot.contains("ip -4 route replace default via inet6 2001:db8:1::1 dev eth1\n"), "{boot}");
    assert!(boot.contains("ip -6 route replace default via 2001:db8:1::1 dev eth1\n"), "{boot}");
}
