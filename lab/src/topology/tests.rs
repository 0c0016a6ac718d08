use expect_test::{Expect, expect};

use super::*;

const SMALL: &str = "\
name: small
mgmt: { skip-when-unused: true }
topology:
  defaults:
    kind: linux
    network-mode: none
    cmd: sleep infinity
  kinds:
    linux:
      image: ${IMAGE:=lab/node}
      cap-add: [NET_ADMIN]
      sysctls: { net.ipv4.ip_forward: 0, net.ipv4.conf.all.rp_filter: 2 }
  nodes:
    a:
      sysctls: { net.ipv4.ip_forward: 1 }
      binds: [ nodes/a.conf:/etc/a.conf:ro, /srv:/srv ]
      exec:
        - ip address add 10.0.0.1/31 dev eth1
        - echo 'two words' \"and $$HOME\"
    b:
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      mtu: 9000
";

fn read(text: &str, unknown: Unknown) -> Result<Topology, TopologyError> {
    parse(text, "small.clab.yml", unknown, &|_| None)
}

#[test]
fn the_levels_are_merged_and_commands_are_split_without_a_shell() {
    let topology = read(SMALL, Unknown::Refused).unwrap().based(Path::new("/lab"));
    let a = &topology.nodes["a"];
    assert_eq!(topology.management, Management::Unused);
    assert_eq!(a.image.as_deref(), Some("lab/node"));
    assert_eq!(a.cmd, ["sleep", "infinity"]);
    assert_eq!(a.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(a.sysctls["net.ipv4.conf.all.rp_filter"], "2");
    assert_eq!(a.exec[1], ["echo", "two words", "and $HOME"]);
    assert_eq!(a.binds[0].source, Path::new("/lab/nodes/a.conf"));
    assert_eq!(a.binds[0].access, Access::ReadOnly);
    assert_eq!(a.binds[1].source, Path::new("/srv"));
    assert_eq!(a.binds[1].access, Access::ReadWrite);
    assert_eq!(topology.nodes["b"].sysctls["net.ipv4.ip_forward"], "0");
    let end = |node: &str| LinkEnd { node: node.into(), interface: "eth1".into() };
    assert_eq!(topology.links, [Link { ends: [end("a"), end("b")], mtu: Some(9000) }]);
    let variable = |name: &str| (name == "IMAGE").then(|| "registry/lab:1".to_string());
    let other = parse(SMALL, "small.clab.yml", Unknown::HandedOn, &variable).unwrap();
    assert_eq!(other.nodes["b"].image.as_deref(), Some("registry/lab:1"));
}

#[test]
fn a_group_is_stronger_than_a_kind_and_weaker_than_a_node() {
    let text = "
name: levels
topology:
  defaults: { kind: linux, cmd: one, env: { A: 1, B: 1, C: 1, D: 1 }, exec: [x] }
  kinds: { linux: { cmd: two, env: { B: 2, C: 2, D: 2 }, binds: [/a:/t, /b:/u], exec: [x, y] } }
  groups: { routers: { cmd: three, env: { C: 3, D: 3 }, binds: [/c:/t:ro], network-mode: none } }
  nodes:
    r: { group: routers, env: { D: 4 }, exec: [z, y] }
    s:
";
    let topology = read(text, Unknown::Refused).unwrap();
    let r = &topology.nodes["r"];
    assert_eq!((r.cmd[0].as_str(), topology.nodes["s"].cmd[0].as_str()), ("three", "two"));
    let env: Vec<&str> = r.env.values().map(String::as_str).collect();
    assert_eq!(env, ["1", "2", "3", "4"]);
    assert_eq!(r.exec.concat(), ["x", "y", "z"]);
    let sources: Vec<(&Path, Access)> = r.binds.iter().map(|b| (b.source.as_path(), b.access)).collect();
    assert_eq!(sources, [(Path::new("/c"), Access::ReadOnly), (Path::new("/b"), Access::ReadWrite)]);
    // `s` has no network mode, so containerlab would give it a management network.
    assert_eq!(topology.management, Management::Used);
}

#[test]
fn a_shared_network_health_waits_and_delays_are_read() {
    let text = "
name: shared
prefix: ''
topology:
  kinds: { linux: { cmd: sleep 9, network-mode: none } }
  defaults: { kind: linux }
  nodes:
    fe: { healthcheck: { test: [CMD-SHELL, 'a | b'], interval: 1 } }
    web: { network-mode: 'container:fe', startup-delay: 2 }
    client:
      healthcheck: { test: [CMD, 'true'], timeout: 3, retries: 9 }
      stages: { configure: { wait-for: [{ node: fe, stage: healthy }, { node: web, stage: create }] } }
  links: [{ type: veth, endpoints: [{ node: fe, interface: eth1 }, { node: client, interface: eth1 }] }]
";
    let topology = read(text, Unknown::Refused).unwrap();
    let (fe, web, client) = (&topology.nodes["fe"], &topology.nodes["web"], &topology.nodes["client"]);
    assert_eq!((topology.prefix.as_deref(), topology.links.len()), (Some(""), 1));
    let check = |test: &[&str], timeout| Healthcheck {
        test: test.iter().map(ToString::to_string).collect(),
        timeout,
    };
    assert_eq!(fe.healthcheck, Some(check(&["/bin/sh", "-c", "a | b"], 30)));
    assert_eq!(client.healthcheck, Some(check(&["true"], 3)));
    assert_eq!((&web.network, web.startup_delay), (&Network::Of("fe".to_string()), 2));
    let wait = |node: &str, until| Wait { stage: Stage::Configure, node: node.to_string(), until };
    assert_eq!(client.waits, [wait("fe", Stage::Healthy), wait("web", Stage::Create)]);
    assert_eq!(topology.management, Management::Unused);
}

/// `SMALL` with one part replaced, and the expected message.
fn assert_refused(from: &str, to: &str, want: Expect) {
    assert!(SMALL.contains(from), "`{from}` is not in the file");
    let error = read(&SMALL.replacen(from, to, 1), Unknown::Refused).unwrap_err();
    want.assert_eq(&error.to_string());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (from, to, want) in [
        ("b:eth1", "c:eth1", expect!["small.clab.yml:22:18: `c:eth1`: there is no node `c`"]),
        ("b:eth1", "b", expect!["small.clab.yml:22:18: `b` is not an end of a link: write `NODE:INTERFACE`"]),
        ("b:eth1", "a:eth1", expect!["small.clab.yml:22:18: `a:eth1` already has a link"]),
        (
            "b:eth1",
            "b:lo",
            expect![
                "small.clab.yml:22:18: `lo` is not a name for an interface: write at most 15 letters and digits"
            ],
        ),
        (
            "\"a:eth1\", ",
            "",
            expect![[r#"small.clab.yml:22:18: a link has two ends, not 1: `["a:eth1", "b:eth1"]`"#]],
        ),
        (
            "'two words'",
            "'two words",
            expect![[
                r#"small.clab.yml:19:11: `echo 'two words "and $HOME"` has a quote that is not closed"#
            ]],
        ),
        (
            "nodes/a.conf:/etc/a.conf:ro",
            "nodes/a.conf",
            expect![
                "small.clab.yml:16:16: `nodes/a.conf` is not a bind: write `SOURCE:TARGET` or `SOURCE:TARGET:ro`"
            ],
        ),
        (
            "/etc/a.conf:ro",
            "/etc/a.conf:z",
            expect!["small.clab.yml:16:16: bind option `z` is not supported: write `ro` or `rw`"],
        ),
        (
            "/etc/a.conf:ro",
            "etc/../a.conf",
            expect!["small.clab.yml:16:16: `etc/../a.conf` must be absolute, and without `..`"],
        ),
        (
            "nodes/a.conf",
            "__clabNodeDir__/a.conf",
            expect![
                "small.clab.yml:16:16: `__clabNodeDir__/a.conf` is not supported by the engine `netns`: write a path below the folder of this file, or start the lab with `--engine containerlab`"
            ],
        ),
        (
            "net.ipv4.ip_forward: 1",
            "kernel.panic: 1",
            expect![
                "small.clab.yml:15:18: sysctl `kernel.panic` is not allowed: only those below `net.` belong to a node"
            ],
        ),
        (
            "kind: linux",
            "kind: nokia_srlinux",
            expect![
                "small.clab.yml:5:11: kind `nokia_srlinux` is not supported by the engine `netns`: write `kind: linux`, or start the lab with `--engine containerlab`"
            ],
        ),
        (
            "    kind: linux\n",
            "",
            expect![[r#"
            small.clab.yml:13:5: node `a` has no kind: write `kind: linux`
            small.clab.yml:19:5: node `b` has no kind: write `kind: linux`"#]],
        ),
        (
            "    cmd: sleep infinity\n",
            "",
            expect![[r#"
            small.clab.yml:13:5: node `a` has no `cmd`: write `cmd: sleep infinity`
            small.clab.yml:19:5: node `b` has no `cmd`: write `cmd: sleep infinity`"#]],
        ),
        (
            "name: small",
            "name: a/b",
            expect!["small.clab.yml:1:7: `a/b` is not a lab name: write letters, digits, `-`, `.` and `_`"],
        ),
        (
            "    b:\n",
            "    b: { network-mode: host }\n",
            expect![
                "small.clab.yml:20:24: network mode `host` is not supported by the engine `netns`: write `none` or `container:NODE`, or start the lab with `--engine containerlab`"
            ],
        ),
        (
            "    b:\n",
            "    b: { network-mode: 'container:a' }\n",
            expect!["small.clab.yml:22:18: `b` has the network of `a`: write the link at `a`"],
        ),
        (
            "    b:\n",
            "    b: { network-mode: 'container:x' }\n",
            expect![[r#"
            small.clab.yml:20:5: `b` shares the network of `x`, but there is no node `x`
            small.clab.yml:22:18: `b` has the network of `x`: write the link at `x`"#]],
        ),
        (
            "    b:\n",
            "    b: { healthcheck: { test: 'true' } }\n",
            expect![
                "small.clab.yml:20:23: this health check has no test: write `test: [CMD, PROGRAM, ARGUMENT]` or `test: [CMD-SHELL, SCRIPT]`"
            ],
        ),
        (
            "    b:\n",
            "    b: { stages: { exit: { wait-for: [] } } }\n",
            expect![
                "small.clab.yml:20:20: stage `exit` is not supported by the engine `netns`: write one of create, create-links, configure, healthy, or start the lab with `--engine containerlab`"
            ],
        ),
        (
            "    b:\n",
            "    b: { stages: { configure: { exec: [] } } }\n",
            expect![
                "small.clab.yml:20:33: `exec` of a stage is not supported by the engine `netns`: write the command in the node's `exec`, or start the lab with `--engine containerlab`"
            ],
        ),
        (
            "    b:\n",
            "    b: { stages: { create: { wait-for: [{ node: a, stage: healthy }] } } }\n",
            expect!["small.clab.yml:20:5: `b` waits until `a` is healthy, but `a` has no `healthcheck`"],
        ),
        (
            "    b:\n",
            "    b: { network-mode: 'container:a', stages: { create: { wait-for: [{ node: b, stage: healthy }] } } }\n",
            expect![[r#"
                small.clab.yml:20:5: `b` waits until `b` is healthy, but `b` has no `healthcheck`
                small.clab.yml:20:5: these wait for each other: b (create), b (healthy), b (configure), b (create-links)
                small.clab.yml:22:18: `b` has the network of `a`: write the link at `a`"#]],
        ),
        ("mtu: 9000", "mtu: big", expect!["small.clab.yml:23:12: this is not a number: write digits alone"]),
        (
            "mtu: 9000",
            "type: macvlan",
            expect![
                "small.clab.yml:23:13: a link of type `macvlan` is not supported by the engine `netns`: write a link between two nodes, or start the lab with `--engine containerlab`"
            ],
        ),
        (
            "${IMAGE:=lab/node}",
            "${IMAGE",
            expect![
                "small.clab.yml:10:14: `${` has no `}`: write `${NAME}` or `${NAME:=DEFAULT}`; a `$` is written `$$`"
            ],
        ),
    ] {
        assert_refused(from, to, want);
    }
}

#[test]
fn every_key_that_netns_cannot_do_is_refused_by_its_name_and_the_others_are_not() {
    assert_refused(
        "    b:\n",
        "    b: { ports: ['80:80'], labels: { x: y }, group: web, mgmt-ipv4: 10.0.0.9, security-opts: [x], pigeon: 1 }\n",
        expect![[r#"
            small.clab.yml:20:10: `ports` of node `b` is not supported by the engine `netns`: no port of the host leads to a node, so use `lab exec NODE -- CMD`, or start the lab with `--engine containerlab`
            small.clab.yml:20:99: `pigeon` of node `b` is not supported by the engine `netns`: leave it out, or start the lab with `--engine containerlab`"#]],
    );
    assert_refused(
        "      cap-add: [NET_ADMIN]\n",
        "      entrypoint: tini\n",
        expect![
            "small.clab.yml:11:7: `entrypoint` of kind `linux` is not supported by the engine `netns`: write the program and its arguments in `cmd`, or start the lab with `--engine containerlab`"
        ],
    );
    assert_refused(
        "  links:\n",
        "  settings: {}\n  links:\n",
        expect![
            "small.clab.yml:21:3: `settings` is not supported by the engine `netns`: leave it out, or start the lab with `--engine containerlab`"
        ],
    );
    // The settings of a kind that no node has do not matter.
    let text = SMALL.replace("  kinds:\n", "  kinds:\n    nokia_srlinux: { type: ixrd3, license: x }\n");
    assert_eq!(read(&text, Unknown::Refused).unwrap().nodes.len(), 2);
}

#[test]
fn containerlab_gets_what_this_reader_does_not_know() {
    let text = "
name: mine
prefix: other
settings: { certificate-authority: {} }
topology:
  defaults: { kind: nokia_srlinux, image: ${SRL:=ghcr.io/nokia/srlinux:24.10} }
  nodes:
    r1: { startup-config: r1.cli, ports: ['80:80'], healthcheck: {}, binds: ['__clabNodeDir__/x:/x', ./y:/y] }
    fe: { kind: linux, network-mode: none, exec: ['a \"quote'], user: me, stages: { exit: {} } }
  links:
    - endpoints: ['r1:e1-1', 'fe:eth1']
    - { type: host, endpoint: { node: fe, interface: eth2 }, host-interface: x }
";
    let topology = read(text, Unknown::HandedOn).unwrap();
    assert_eq!((topology.name.as_str(), topology.prefix.as_deref()), ("mine", Some("other")));
    assert_eq!(topology.nodes["r1"].image.as_deref(), Some("ghcr.io/nokia/srlinux:24.10"));
    assert_eq!(topology.management, Management::Used);
    assert!(read(text, Unknown::Refused).is_err());
    for text in ["", "[]", "name: a", "name: a/b\ntopology: { nodes: { a: } }", "name: a\ntopology: {}"] {
        assert!(read(text, Unknown::HandedOn).is_err(), "{text:?}");
    }
}

#[test]
fn text_that_is_no_topology_is_refused() {
    for text in
        ["", "[]", "name: a", "name: a\ntopology: {}", "name: a\ntopology: { nodes: {} }", "{", "\u{0}"]
    {
        assert!(read(text, Unknown::Refused).is_err(), "{text:?}");
    }
}
