//! GoBGP, OpenBGPD and ExaBGP.

use super::{Case, Software, USUAL};

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

pub(super) const CASES: &[Case] = &[
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
