//! FRR.

use super::{Case, Software, USUAL};

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

pub(super) const CASES: &[Case] = &[
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
];
