//! Values of the other tables: health, hooks, metrics, the status page and the chain.

use super::BadCase;

pub(super) const CASES: &[BadCase] = &[
    ("a period without a unit", &[("[bgp]", "[health]\nlistener_watch = 5\n[bgp]")]),
    ("a hook without a command, and one that is too slow", &[("[bgp]", "[hooks]\ntimeout = \"1h\"\n[bgp]")]),
    ("an empty command", &[("[bgp]", "[hooks]\non_change = []\n[bgp]")]),
    ("a command that is looked for", &[("[bgp]", "[hooks]\non_change = [\"hook\", \"x\"]\n[bgp]")]),
    ("a command with a NUL in it", &[("[bgp]", "[hooks]\non_change = [\"/hook\", \"\\u0000\"]\n[bgp]")]),
    ("a command in one string", &[("[bgp]", "[hooks]\non_change = \"/hook x\"\n[bgp]")]),
    (
        "hooks of a service and of a peer",
        &[
            (
                "[[service.check]]",
                "[service.hooks]\non_drain = [\"drained\"]\non_down = [\"/x\"]\n[[service.check]]",
            ),
            ("[[service]]", "[peer.hooks]\non_change = [\"hook\"]\non_drain = [\"/x\"]\n[[service]]"),
        ],
    ),
    (
        "hooks without a command",
        &[("med = 100", "med = 100\nhooks = true"), ("port = 179", "hooks = true\nport = 179")],
    ),
    ("a hook in a service", &[("med = 100", "med = 100\non_change = [\"/x\"]\non_drain = [\"/x\"]")]),
    ("metrics without an address", &[("[bgp]", "[metrics]\n[bgp]")]),
    ("metrics without a port", &[("[bgp]", "[metrics]\nlisten = \"127.0.0.1\"\n[bgp]")]),
    ("metrics at a VIP", &[("[bgp]", "[metrics]\nlisten = \"192.0.2.80:9179\"\n[bgp]")]),
    (
        "metrics for a host with a port",
        &[("[bgp]", "[metrics]\nlisten = \"127.0.0.1:1\"\nhosts = [\"fe1:9179\"]\n[bgp]")],
    ),
    ("the status page at a VIP", &[("[bgp]", "[status]\nlisten = \"192.0.2.80:9180\"\n[bgp]")]),
    (
        "the status page at the metrics' address",
        &[("[bgp]", "[metrics]\nlisten = \"[::1]:1\"\n[status]\nlisten = \"[::1]:1\"\n[bgp]")],
    ),
    ("metrics at port 0", &[("[bgp]", "[metrics]\nlisten = \"[::]:0\"\n[bgp]")]),
    (
        "a VRF with a chain",
        &[
            ("port = 179", "vrf = \"edge\""),
            ("med = 100", "vrf = \"edge\""),
            (
                "[[service]]",
                "[chain]\ninterface = \"eth0\"\nmembers = [\"10.0.1.11\", \"10.0.1.12\"]\nkey_file = \"/k\"\n[[service]]",
            ),
        ],
    ),
];
