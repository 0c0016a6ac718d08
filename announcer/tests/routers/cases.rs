//! The states of routers, and the expected reasons and hints.

/// The software of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Software {
    None,
    Frr,
    Bird,
    Gobgp,
    Openbgpd,
    Exabgp,
}

/// A state of a router. In commands, `@fe`, `@near` and `@far` run the rest of the line in that namespace.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) software: Software,
    /// Whether it runs behind another router.
    pub(crate) far: bool,
    /// Its configuration; `@own` is its address.
    pub(crate) config: &'static str,
    /// Commands before it starts.
    pub(crate) before: &'static str,
    /// Commands after the session is Established; empty: do not wait for it.
    pub(crate) then: &'static str,
    /// Our `[bgp]`.
    pub(crate) bgp: &'static str,
    /// Our `[[peer]]` tables.
    pub(crate) ours: &'static str,
    /// Texts that the reason has to contain; empty: a session is expected.
    pub(crate) reason: &'static [&'static str],
    /// Texts that the hint has to contain.
    pub(crate) hint: &'static [&'static str],
}

const NEAR: &str = "[[peer]]\nname = \"r\"\naddress = \"10.9.0.2\"\nasn = 65000\n";
const USUAL: Case = Case {
    name: "",
    software: Software::None,
    far: false,
    config: "",
    before: "true",
    then: "",
    bgp: "asn = 65001",
    ours: NEAR,
    reason: &[],
    hint: &[],
};

macro_rules! near {
    ($keys:literal) => {
        concat!("[[peer]]\nname = \"r\"\naddress = \"10.9.0.2\"\nasn = 65000\n", $keys, "\n")
    };
}
macro_rules! far {
    ($keys:literal) => {
        concat!("[[peer]]\nname = \"r\"\naddress = \"10.9.8.2\"\nasn = 65000\n", $keys, "\n")
    };
}
/// FRR's configuration around lines of `router bgp`.
macro_rules! frr {
    ($asn:literal, $lines:literal) => {
        concat!(
            "router bgp ",
            $asn,
            "\n bgp router-id 10.9.0.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n",
            $lines,
            "\n"
        )
    };
}
macro_rules! bird {
    ($global:literal, $lines:literal) => {
        concat!(
            "log stderr all;\nrouter id 10.9.0.2;\n",
            $global,
            "protocol device {}\nprotocol bgp fe {\n  passive on;\n",
            $lines,
            "\n}\n"
        )
    };
}
macro_rules! gobgp {
    ($asn:literal, $neighbor:literal, $peer_as:literal, $more:literal) => {
        concat!(
            "[global.config]\nas = ",
            $asn,
            "\nrouter-id = \"10.9.0.2\"\n[[neighbors]]\n[neighbors.config]\n\
             neighbor-address = \"",
            $neighbor,
            "\"\npeer-as = ",
            $peer_as,
            "\n",
            "[neighbors.transport.config]\npassive-mode = true\n",
            $more,
            "\n"
        )
    };
}
macro_rules! openbgpd {
    ($asn:literal, $neighbor:literal, $lines:literal) => {
        concat!(
            "AS ",
            $asn,
            "\nrouter-id 10.9.0.2\nfib-update no\nsocket \"@dir/bgpd.sock\"\nneighbor ",
            $neighbor,
            " {\n  passive\n  announce IPv4 unicast\n  announce IPv6 unicast\n",
            $lines,
            "\n}\nallow from any\n"
        )
    };
}
macro_rules! exabgp {
    ($asn:literal, $neighbor:literal, $peer_as:literal, $more:literal) => {
        concat!(
            "neighbor ",
            $neighbor,
            " {\n  router-id 10.9.0.2;\n  local-address 10.9.0.2;\n  local-as ",
            $asn,
            ";\n  peer-as ",
            $peer_as,
            ";\n  passive true;\n",
            $more,
            "\n}\n"
        )
    };
}

pub(crate) const CASES: &[Case] = &[
    // No router, and filters on the way.
    Case {
        name: "no host has the address",
        ours: "[[peer]]\nname = \"r\"\naddress = \"10.9.0.77\"\nasn = 65000\n",
        reason: &["unreachable"],
        hint: &["neither ARP nor ND", "cable"],
        ..USUAL
    },
    Case {
        name: "the BGP daemon is off",
        reason: &["connection refused"],
        hint: &["BGP daemon runs", "10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "the BGP daemon is off, and a key is set here",
        ours: near!("password_file = \"@dir/key\""),
        reason: &["no answer to our SYN"],
        hint: &["key in `password_file`", "BGP daemon runs"],
        ..USUAL
    },
    Case {
        name: "a firewall refuses with RST, and a key is set here",
        before: "@near nft 'add table ip f; add chain ip f i { type filter hook input priority 0; }; add rule ip f i tcp dport 179 reject with tcp reset'",
        ours: near!("password_file = \"@dir/key\""),
        reason: &["no answer to our SYN"],
        hint: &["unsigned answer"],
        ..USUAL
    },
    Case {
        name: "the router's firewall rejects with icmp-host-prohibited",
        before: "@near nft 'add table ip f; add chain ip f i { type filter hook input priority 0; }; add rule ip f i tcp dport 179 reject with icmp type host-prohibited'",
        reason: &["unreachable"],
        hint: &["it answers ARP or ND", "firewall"],
        ..USUAL
    },
    Case {
        name: "an access list rejects with icmp-admin-prohibited on the way",
        before: "@near nft 'add table ip f; add chain ip f i { type filter hook forward priority 0; }; add rule ip f i tcp dport 179 reject with icmp type admin-prohibited'",
        ours: far!(""),
        reason: &["unreachable"],
        hint: &["the next router on the way answers", "access list"],
        ..USUAL
    },
    Case {
        name: "an access list rejects with icmp-net-prohibited",
        before: "@near nft 'add table ip f; add chain ip f i { type filter hook input priority 0; }; add rule ip f i tcp dport 179 reject with icmp type net-prohibited'",
        reason: &["unreachable"],
        hint: &["it answers ARP or ND", "firewall"],
        ..USUAL
    },
    Case {
        name: "an access list drops",
        before: "@near nft 'add table ip f; add chain ip f i { type filter hook input priority 0; }; add rule ip f i tcp dport 179 drop'",
        reason: &["no answer to our SYN"],
        hint: &["access lists", "a password for 10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "this host's own filter drops what it sends",
        before: "@fe nft 'add table ip f; add chain ip f o { type filter hook output priority 0; }; add rule ip f o tcp dport 179 drop'",
        reason: &["no answer to our SYN"],
        hint: &["this host's own packet filter first"],
        ..USUAL
    },
    Case {
        name: "this host's own filter rejects what it sends",
        before: "@fe nft 'add table ip f; add chain ip f o { type filter hook output priority 0; }; add rule ip f o tcp dport 179 reject with icmp type admin-prohibited'",
        reason: &["unreachable"],
        hint: &["this host itself", "this host's own packet filter first"],
        ..USUAL
    },
    Case {
        name: "a route of type prohibit",
        before: "@fe ip route replace prohibit 10.9.77.1",
        ours: "[[peer]]\nname = \"r\"\naddress = \"10.9.77.1\"\nasn = 65000\n",
        reason: &["no route to the peer"],
        hint: &["`ip route get`"],
        ..USUAL
    },
    Case {
        name: "a source address that the host lacks",
        ours: near!("source_address = \"10.9.0.99\""),
        reason: &["10.9.0.99 cannot be used"],
        hint: &["put 10.9.0.99 on an interface"],
        ..USUAL
    },
    // FRR.
    Case {
        name: "FRR has no such neighbour",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.9 remote-as 65001"),
        reason: &["the peer"],
        hint: &["no neighbour 10.9.0.1", "`source_address`"],
        ..USUAL
    },
    Case {
        name: "FRR expects another AS of us",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65009\n neighbor 10.9.0.1 passive"),
        reason: &["NOTIFICATION: OPEN Message Error/Bad Peer AS"],
        hint: &["our OPEN has AS 65001", "remote-as"],
        ..USUAL
    },
    Case {
        name: "FRR has another AS",
        software: Software::Frr,
        config: frr!(65009, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        reason: &["its OPEN has AS 65009, we expect AS 65000"],
        hint: &["`asn = 65009`"],
        ..USUAL
    },
    Case {
        name: "FRR has `local-as` for us",
        software: Software::Frr,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 local-as 64999\n neighbor 10.9.0.1 passive"
        ),
        reason: &["its OPEN has AS 64999"],
        hint: &["`local-as`", "`asn = 64999`"],
        ..USUAL
    },
    Case {
        name: "FRR is in a confederation",
        software: Software::Frr,
        config: frr!(
            65000,
            " bgp confederation identifier 64500\n neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"
        ),
        reason: &["its OPEN has AS 64500"],
        hint: &["confederation", "`asn = 64500`"],
        ..USUAL
    },
    Case {
        name: "FRR has a password, and we none",
        software: Software::Frr,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 password other-horse\n neighbor 10.9.0.1 passive"
        ),
        reason: &["no answer to our SYN"],
        hint: &["a password for 10.9.0.1", "`password_file`"],
        ..USUAL
    },
    Case {
        name: "FRR has another password, and our key ends with a blank",
        software: Software::Frr,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 password correct-horse\n neighbor 10.9.0.1 passive"
        ),
        ours: near!("password_file = \"@dir/odd.key\""),
        reason: &["no answer to our SYN"],
        hint: &["seems to contain a blank at its end"],
        ..USUAL
    },
    Case {
        name: "FRR takes one prefix (`maximum-prefix 1`)",
        software: Software::Frr,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive\n address-family ipv4 unicast\n  neighbor 10.9.0.1 maximum-prefix 1 force"
        ),
        reason: &["Maximum Number of Prefixes Reached (IPv4, at most 1)", "since then"],
        hint: &["more IPv4 prefixes than the 1 that", "`maximum-prefix`"],
        ..USUAL
    },
    Case {
        name: "FRR: `neighbor … shutdown message`",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        then: "vtysh --vty_socket @dir/frr -c 'configure terminal' -c 'router bgp 65000' -c 'neighbor 10.9.0.1 shutdown message new cable'",
        reason: &["Administrative Shutdown (\"new cable\")", "since then"],
        hint: &["operator shut this neighbour down"],
        ..USUAL
    },
    Case {
        name: "FRR: `no neighbor`",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        then: "vtysh --vty_socket @dir/frr -c 'configure terminal' -c 'router bgp 65000' -c 'no neighbor 10.9.0.1'",
        reason: &["Peer De-configured", "since then"],
        hint: &["no neighbour 10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "FRR: `bgp minimum-holdtime 20`",
        software: Software::Frr,
        config: frr!(
            65000,
            " bgp minimum-holdtime 20\n neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"
        ),
        reason: &["Unacceptable Hold Time"],
        hint: &["raise `hold_time`", "more than 9 s"],
        ..USUAL
    },
    Case {
        name: "FRR: `local-role provider strict-mode`",
        software: Software::Frr,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive\n neighbor 10.9.0.1 local-role provider strict-mode"
        ),
        reason: &["Role Mismatch"],
        hint: &["BGP role"],
        ..USUAL
    },
    Case {
        name: "FRR has IPv6 alone for us, and we offer IPv4 alone",
        software: Software::Frr,
        config: frr!(
            65000,
            " no bgp default ipv4-unicast\n neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive\n address-family ipv6 unicast\n  neighbor 10.9.0.1 activate"
        ),
        ours: near!("families = [\"ipv4\"]"),
        reason: &["Unsupported Capability"],
        hint: &["IPv4"],
        ..USUAL
    },
    Case {
        name: "FRR sends its usual TTL, and `ttl_security` is set here",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        ours: near!("ttl_security = true"),
        reason: &["dropped"],
        hint: &["TTL 255"],
        ..USUAL
    },
    Case {
        name: "FRR is two hops away without `ebgp-multihop`",
        software: Software::Frr,
        far: true,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        ours: far!(""),
        reason: &["the peer"],
        hint: &["`ebgp-multihop`"],
        ..USUAL
    },
    Case {
        name: "FRR is two hops away, and `multihop` here is too small for `ttl_security`",
        software: Software::Frr,
        far: true,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive\n neighbor 10.9.0.1 ttl-security hops 2"
        ),
        ours: far!("ttl_security = true"),
        reason: &["s"],
        hint: &["raise `multihop` (now 1)"],
        ..USUAL
    },
    Case {
        name: "FRR is two peers of the file",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        ours: concat!(
            "[[peer]]\nname = \"r\"\naddress = \"10.9.0.2\"\nasn = 65000\n",
            "[[peer]]\nname = \"r2\"\naddress = \"default-gateway\"\nasn = 65000\n"
        ),
        reason: &["the peer"],
        hint: &["is the same router"],
        ..USUAL
    },
    Case {
        name: "FRR's bgpd stands still",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        then: "kill -STOP $(cat @dir/frr/bgpd.pid)",
        reason: &["no OPEN for 4 s"],
        hint: &["its BGP daemon sent nothing"],
        ..USUAL
    },
    Case {
        name: "FRR takes our OPEN without capabilities",
        software: Software::Frr,
        config: frr!(65000, " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive"),
        ours: near!("capabilities = false"),
        ..USUAL
    },
    Case {
        name: "FRR with `bfd`, and no BFD here",
        software: Software::Frr,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive\n neighbor 10.9.0.1 bfd"
        ),
        // Its bfdd has the peer, hears nothing from it, and never ends the session.
        then: "sleep 5
            vtysh --vty_socket @dir/frr -c 'show bfd peers' | grep -q 'Status: down' &&
            vtysh --vty_socket @dir/frr -c 'show bgp neighbors 10.9.0.1 json' | grep -q '\"connectionsDropped\":0'",
        ..USUAL
    },
    Case {
        name: "FRR knows AS numbers of two octets alone, and ours has four",
        software: Software::Frr,
        config: frr!(
            65000,
            " neighbor 10.9.0.1 remote-as 65009\n neighbor 10.9.0.1 passive\n neighbor 10.9.0.1 dont-capability-negotiate"
        ),
        bgp: "asn = 4200000001",
        reason: &["Bad Peer AS"],
        hint: &["AS_TRANS", "`remote-as 23456`"],
        ..USUAL
    },
    Case {
        name: "FRR has an AS of four octets and negotiates no capability",
        software: Software::Frr,
        config: frr!(
            4200000000,
            " neighbor 10.9.0.1 remote-as 65001\n neighbor 10.9.0.1 passive\n neighbor 10.9.0.1 dont-capability-negotiate"
        ),
        reason: &["its OPEN has AS 23456"],
        hint: &["AS_TRANS"],
        ..USUAL
    },
    // BIRD.
    Case {
        name: "BIRD has no such neighbour",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.9 as 65001;\n  ipv4 { import all; export none; };"
        ),
        reason: &["the peer"],
        hint: &["no neighbour 10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "BIRD expects another AS of us, and waits 60 s after the error",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.1 as 65009;\n  ipv4 { import all; export none; };"
        ),
        reason: &["NOTIFICATION: OPEN Message Error/Bad Peer AS", "since then"],
        hint: &["our OPEN has AS 65001"],
        ..USUAL
    },
    Case {
        name: "BIRD has another AS",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65009;\n  neighbor 10.9.0.1 as 65001;\n  ipv4 { import all; export none; };"
        ),
        reason: &["its OPEN has AS 65009", "since then"],
        hint: &["`asn = 65009`"],
        ..USUAL
    },
    Case {
        name: "BIRD has IPv6 alone for us, and we offer IPv4 alone",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.1 as 65001;\n  ipv6 { import all; export none; };"
        ),
        ours: near!("families = [\"ipv4\"]"),
        reason: &["Unsupported Capability"],
        hint: &["IPv4"],
        ..USUAL
    },
    Case {
        name: "BIRD: `import limit 1 action disable`",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.1 as 65001;\n  ipv4 { import all; import limit 1 action disable; export none; };"
        ),
        reason: &["Maximum Number of Prefixes Reached"],
        hint: &["`maximum-prefix`"],
        ..USUAL
    },
    Case {
        name: "BIRD: `birdc disable`",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.1 as 65001;\n  ipv4 { import all; export none; };"
        ),
        then: "birdc -s @dir/bird.ctl disable fe '\"new cable\"'",
        reason: &["Administrative Shutdown (\"new cable\")", "since then"],
        hint: &["operator shut this neighbour down"],
        ..USUAL
    },
    Case {
        name: "BIRD has a password, and we none",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.1 as 65001;\n  password \"x\";\n  ipv4 { import all; export none; };"
        ),
        reason: &["no answer to our SYN"],
        hint: &["a password for 10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "BIRD with `capabilities off`, and our OPEN has some",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.1 as 65001;\n  capabilities off;\n  ipv4 { import all; export none; };"
        ),
        ..USUAL
    },
    Case {
        name: "BIRD takes our OPEN without capabilities",
        software: Software::Bird,
        config: bird!(
            "",
            "  local 10.9.0.2 as 65000;\n  neighbor 10.9.0.1 as 65001;\n  ipv4 { import all; export none; };"
        ),
        ours: near!("capabilities = false"),
        ..USUAL
    },
    // GoBGP.
    Case {
        name: "GoBGP has no such neighbour",
        software: Software::Gobgp,
        config: gobgp!(65000, "10.9.0.9", 65001, ""),
        reason: &["the peer"],
        hint: &["no neighbour 10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "GoBGP expects another AS of us, and holds still for 30 s",
        software: Software::Gobgp,
        config: gobgp!(65000, "10.9.0.1", 65009, ""),
        reason: &["Bad Peer AS", "since then"],
        hint: &["our OPEN has AS 65001"],
        ..USUAL
    },
    Case {
        name: "GoBGP has another AS",
        software: Software::Gobgp,
        config: gobgp!(65009, "10.9.0.1", 65001, ""),
        reason: &["its OPEN has AS 65009"],
        hint: &["`asn = 65009`"],
        ..USUAL
    },
    Case {
        name: "GoBGP takes our OPEN without capabilities",
        software: Software::Gobgp,
        config: gobgp!(65000, "10.9.0.1", 65001, ""),
        ours: near!("capabilities = false"),
        ..USUAL
    },
    Case {
        name: "GoBGP: `gobgp neighbor … shutdown`",
        software: Software::Gobgp,
        config: gobgp!(65000, "10.9.0.1", 65001, ""),
        then: "@near gobgp neighbor 10.9.0.1 shutdown",
        reason: &["Administrative Shutdown"],
        hint: &["operator shut this neighbour down"],
        ..USUAL
    },
    // OpenBGPD.
    Case {
        name: "OpenBGPD has no such neighbour",
        software: Software::Openbgpd,
        config: openbgpd!(65000, "10.9.0.9", "  remote-as 65001"),
        reason: &["the peer"],
        hint: &["no neighbour 10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "OpenBGPD expects another AS of us",
        software: Software::Openbgpd,
        config: openbgpd!(65000, "10.9.0.1", "  remote-as 65009"),
        reason: &["Bad Peer AS"],
        hint: &["our OPEN has AS 65001"],
        ..USUAL
    },
    Case {
        name: "OpenBGPD takes one prefix (`max-prefix 1`)",
        software: Software::Openbgpd,
        config: openbgpd!(65000, "10.9.0.1", "  remote-as 65001\n  max-prefix 1"),
        reason: &["Maximum Number of Prefixes Reached"],
        hint: &["`maximum-prefix`"],
        ..USUAL
    },
    Case {
        name: "OpenBGPD: `min-holdtime 20`",
        software: Software::Openbgpd,
        config: openbgpd!(65000, "10.9.0.1", "  remote-as 65001\n  holdtime min 20"),
        reason: &["Unacceptable Hold Time"],
        hint: &["raise `hold_time`"],
        ..USUAL
    },
    // ExaBGP.
    Case {
        name: "ExaBGP expects another AS of us",
        software: Software::Exabgp,
        config: exabgp!(65000, "10.9.0.1", 65009, "  family { ipv4 unicast; ipv6 unicast; }"),
        reason: &["NOTIFICATION: OPEN Message Error"],
        hint: &["our OPEN has AS 65001"],
        ..USUAL
    },
    Case {
        name: "ExaBGP has another AS",
        software: Software::Exabgp,
        config: exabgp!(65009, "10.9.0.1", 65001, "  family { ipv4 unicast; ipv6 unicast; }"),
        reason: &["its OPEN has AS 65009"],
        hint: &["`asn = 65009`"],
        ..USUAL
    },
    Case {
        name: "ExaBGP has no such neighbour",
        software: Software::Exabgp,
        config: exabgp!(65000, "10.9.0.9", 65001, "  family { ipv4 unicast; }"),
        reason: &["the peer"],
        hint: &["10.9.0.1"],
        ..USUAL
    },
    Case {
        name: "ExaBGP takes our OPEN without capabilities",
        software: Software::Exabgp,
        config: exabgp!(65000, "10.9.0.1", 65001, "  family { ipv4 unicast; }"),
        ours: near!("capabilities = false"),
        ..USUAL
    },
];
