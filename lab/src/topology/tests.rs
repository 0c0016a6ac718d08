use expect_test::{Expect, expect};

use super::*;

const SMALL: &str = "\
name: small
mgmt: { network: none }
topology:
  defaults:
    kind: linux
    image: lab/node
    cap-add: [NET_ADMIN]
    cmd: sleep infinity
    sysctls: { net.ipv4.ip_forward: 0, net.ipv4.conf.all.rp_filter: 2 }
  nodes:
    a:
      sysctls: { net.ipv4.ip_forward: 1 }
      binds: [ nodes/a.conf:/etc/a.conf:ro, /srv:/srv ]
      exec:
        - ip address add 10.0.0.1/31 dev eth1
        - echo 'two words' \"and $HOME\"
    b:
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      mtu: 9000
";

#[test]
fn defaults_are_merged_and_commands_are_split_without_a_shell() {
    let topology = parse(SMALL, "small.clab.yml").unwrap().based(Path::new("/lab"));
    let a = &topology.nodes["a"];
    assert_eq!(a.cmd, ["sleep", "infinity"]);
    assert_eq!(a.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!(a.sysctls["net.ipv4.conf.all.rp_filter"], "2");
    assert_eq!(a.exec[1], ["echo", "two words", "and $HOME"]);
    assert_eq!(a.binds[0].source, Path::new("/lab/nodes/a.conf"));
    assert_eq!(a.binds[0].access, Access::ReadOnly);
    assert_eq!(a.binds[1].source, Path::new("/srv"));
    assert_eq!(a.binds[1].access, Access::ReadWrite);
    assert_eq!(topology.nodes["b"].sysctls["net.ipv4.ip_forward"], "0");
    let end = |node: &str| End { node: node.into(), interface: "eth1".into() };
    assert_eq!(topology.links, [Link { ends: [end("a"), end("b")], mtu: Some(9000) }]);
}

/// `SMALL` with one piece of it replaced, and what a person is told then.
fn told(from: &str, to: &str, want: Expect) {
    assert!(SMALL.contains(from), "`{from}` is not in the file");
    let error = parse(&SMALL.replacen(from, to, 1), "small.clab.yml").unwrap_err();
    want.assert_eq(&error.to_string());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    told("b:eth1", "c:eth1", expect![]);
    told("b:eth1", "b", expect![]);
    told("b:eth1", "a:eth1", expect![]);
    told("b:eth1", "b:lo", expect![]);
    told("\"a:eth1\", ", "", expect![]);
    told("'two words'", "'two words", expect![]);
    told("nodes/a.conf:/etc/a.conf:ro", "nodes/a.conf", expect![]);
    told("/etc/a.conf:ro", "/etc/a.conf:z", expect![]);
    told("/etc/a.conf:ro", "etc/../a.conf", expect![]);
    told("net.ipv4.ip_forward: 1", "kernel.panic: 1", expect![]);
    told("kind: linux", "kind: srl", expect![]);
    told("    kind: linux\n", "", expect![]);
    told("    cmd: sleep infinity\n", "", expect![]);
    told("name: small", "name: a/b", expect![]);
    told("image: lab/node", "exec: [ls]", expect![]);
}

#[test]
fn a_key_that_would_be_left_out_is_refused_and_marked() {
    told("    cmd: sleep", "    entrypoint: sleep", expect![]);
    told("mtu: 9000", "mtu: big", expect![]);
}

#[test]
fn text_that_is_no_topology_is_refused() {
    for text in ["", "[]", "name: a", "name: a\ntopology: {}", "name: a\ntopology: { nodes: {} }", "{", "\u{0}"] {
        assert!(parse(text, "x").is_err(), "{text:?}");
    }
}
