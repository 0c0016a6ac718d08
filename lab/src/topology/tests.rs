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
    assert_eq!(topology.management, Management::None);
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
}

/// `SMALL` with one part replaced, and the expected message.
fn assert_refused(from: &str, to: &str, want: Expect) {
    assert!(SMALL.contains(from), "`{from}` is not in the file");
    let error = parse(&SMALL.replacen(from, to, 1), "small.clab.yml").unwrap_err();
    want.assert_eq(&error.to_string());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_refused("b:eth1", "c:eth1", expect!["small.clab.yml:19:18: `c:eth1`: there is no node `c`"]);
    assert_refused(
        "b:eth1",
        "b",
        expect!["small.clab.yml:19:18: `b` is not an end of a link: write `NODE:INTERFACE`"],
    );
    assert_refused("b:eth1", "a:eth1", expect!["small.clab.yml:19:18: `a:eth1` already has a link"]);
    assert_refused(
        "b:eth1",
        "b:lo",
        expect![
            "small.clab.yml:19:18: `lo` is not a name for an interface: write at most 15 letters and digits"
        ],
    );
    assert_refused(
        "\"a:eth1\", ",
        "",
        expect![[r#"small.clab.yml:19:18: a link has two ends, not 1: `["a:eth1", "b:eth1"]`"#]],
    );
    assert_refused(
        "'two words'",
        "'two words",
        expect![[r#"small.clab.yml:16:11: `echo 'two words "and $HOME"` has a quote that is not closed"#]],
    );
    assert_refused(
        "nodes/a.conf:/etc/a.conf:ro",
        "nodes/a.conf",
        expect![
            "small.clab.yml:13:16: `nodes/a.conf` is not a bind: write `SOURCE:TARGET` or `SOURCE:TARGET:ro`"
        ],
    );
    assert_refused(
        "/etc/a.conf:ro",
        "/etc/a.conf:z",
        expect!["small.clab.yml:13:16: bind option `z` is not supported: write `ro` or `rw`"],
    );
    assert_refused(
        "/etc/a.conf:ro",
        "etc/../a.conf",
        expect!["small.clab.yml:13:16: `etc/../a.conf` must be absolute, and without `..`"],
    );
    assert_refused(
        "net.ipv4.ip_forward: 1",
        "kernel.panic: 1",
        expect![
            "small.clab.yml:12:32: sysctl `kernel.panic` is not allowed: only those below `net.` belong to a node"
        ],
    );
    assert_refused(
        "kind: linux",
        "kind: srl",
        expect!["small.clab.yml:5:11: kind `srl` is not supported: this engine knows `linux`"],
    );
    assert_refused(
        "    kind: linux\n",
        "",
        expect!["small.clab.yml: node `a` has no kind: write `kind: linux`"],
    );
    assert_refused(
        "    cmd: sleep infinity\n",
        "",
        expect!["small.clab.yml: node `a` has no `cmd`: write `cmd: sleep infinity`"],
    );
    assert_refused(
        "name: small",
        "name: a/b",
        expect!["small.clab.yml:1:7: `a/b` is not a lab name: write letters, digits, `-`, `.` and `_`"],
    );
    assert_refused(
        "image: lab/node",
        "exec: [ls]",
        expect!["small.clab.yml: `exec` in `defaults` is not supported: write it at each node"],
    );
}

#[test]
fn a_key_that_would_be_left_out_is_refused_and_marked() {
    assert_refused(
        "    cmd: sleep",
        "    entrypoint: sleep",
        expect![[r#"
            error: line 8 column 5: unknown field `entrypoint`, expected one of kind, cmd, exec, binds, sysctls, env, image, image-pull-policy, restart-policy, network-mode, privileged, cap-add, labels, group
              --> small.clab.yml:8:5
               |
             6 |     image: lab/node
             7 |     cap-add: [NET_ADMIN]
             8 |     entrypoint: sleep infinity
               |     ^ unknown field `entrypoint`, expected one of kind, cmd, exec, binds, sysctls, env, image, image-pull-policy, restart-policy, network-mode, privileged, cap-add, labels, group
             9 |     sysctls: { net.ipv4.ip_forward: 0, net.ipv4.conf.all.rp_filter: 2…
            10 |   nodes:
               |"#]],
    );
    assert_refused(
        "mtu: 9000",
        "mtu: big",
        expect![[r#"
        error: line 20 column 12: invalid u32
          --> small.clab.yml:20:12
           |
        18 |   links:
        19 |     - endpoints: ["a:eth1", "b:eth1"]
        20 |       mtu: big
           |            ^ invalid u32"#]],
    );
}

#[test]
fn text_that_is_no_topology_is_refused() {
    for text in
        ["", "[]", "name: a", "name: a\ntopology: {}", "name: a\ntopology: { nodes: {} }", "{", "\u{0}"]
    {
        assert!(parse(text, "x").is_err(), "{text:?}");
    }
}
