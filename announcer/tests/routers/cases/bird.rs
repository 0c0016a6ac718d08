//! BIRD.

use super::{Case, Software, USUAL};

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

pub(super) const CASES: &[Case] = &[
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
];
