//! No router, and filters on the way.

use super::{Case, USUAL};

pub(super) const CASES: &[Case] = &[
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
];
