//! The options of ExaBGP's configuration, versions 3.4 to 5.

use crate::row::{Block, dropped, translated, unneeded};

pub(super) const FILE: Block = Block {
    title: "the file",
    rows: &[
        translated(&["neighbor"], "`[[peer]]`"),
        translated(&["template", "group"], "the options of the neighbors that have it"),
        translated(&["process"], "`[[service]]`, if it runs the healthcheck"),
    ],
};

pub(super) const TEMPLATE: Block = Block {
    title: "`template`",
    rows: &[translated(&["neighbor"], "the options of the neighbors that inherit it")],
};

pub(super) const PROCESS: Block = Block {
    title: "`process`",
    rows: &[
        translated(
            &["run"],
            "`[[service]]`, if it runs the healthcheck; announcer runs no other program that announces",
        ),
        unneeded(
            &["encoder", "respawn", "parse-routes", "peer-updates", "receive-routes", "neighbor-changes"],
            "announcer has no API of ExaBGP",
        ),
        unneeded(&["receive", "send"], "announcer has no API of ExaBGP"),
    ],
};

pub(super) const NEIGHBOR: Block = Block {
    title: "`neighbor`",
    rows: &[
        translated(&["inherit"], "the options of the template"),
        translated(&["description"], "a comment"),
        translated(&["router-id"], "`router_id`, one for the host"),
        translated(&["hold-time"], "`hold_time`"),
        translated(&["local-address"], "`source_address`"),
        translated(&["peer-address"], "`address`"),
        translated(&["local-as"], "`asn` of `[bgp]`, one for the host"),
        translated(&["peer-as"], "`asn`"),
        translated(&["connect"], "`port`"),
        translated(
            &["passive", "listen"],
            "nothing if announcer may connect; it never waits for a connection",
        ),
        translated(&["incoming-ttl", "ttl-security"], "`ttl_security` and `multihop`"),
        translated(
            &["outgoing-ttl"],
            "nothing if it is 255; announcer sends 255 with `ttl_security`, else the TTL of the host",
        ),
        translated(&["md5-password", "md5"], "`password_file`, to which the user has to write the key"),
        translated(&["md5-base64"], "nothing: the user decodes the key"),
        translated(&["md5-ip"], "nothing if it is `local-address`"),
        translated(&["source-interface"], "`interface`"),
        translated(&["family"], "`families`"),
        translated(&["capability"], "see below"),
        translated(&["api", "process"], "`[[service]]`, if it runs the healthcheck"),
        translated(&["static", "announce"], "`[[service]]`, always announced"),
        translated(&["route"], "as in `static`"),
        // These are of ExaBGP 3.4, where the block of capabilities is optional.
        translated(&["graceful-restart"], "`graceful_restart`"),
        unneeded(&["asn4", "route-refresh"], "announcer always has them"),
        unneeded(
            &["group-updates", "auto-flush", "adj-rib-out", "adj-rib-in", "manual-eor"],
            "announcer decides by itself when and how it sends routes",
        ),
        unneeded(&["host-name", "domain-name"], "announcer does not send its name"),
        unneeded(&["rate-limit"], "announcer ignores received routes"),
        dropped(&["add-path"], "announcer has no ADD-PATH"),
        dropped(&["nexthop"], "announcer does not have next hops of another family (RFC 8950)"),
        dropped(&["multi-session"], "announcer has one session for each router"),
        dropped(
            &["flow", "l2vpn", "operational", "local-link-local", "tcp-ao"],
            "announcer announces VIPs alone, by IPv4 and IPv6 unicast",
        ),
    ],
};

pub(super) const CAPABILITY: Block = Block {
    title: "`capability`",
    rows: &[
        translated(&["graceful-restart"], "`graceful_restart`, one for the host"),
        translated(
            &["asn4"],
            "nothing, unless it is off: `capabilities` is only for routers that refuse all",
        ),
        unneeded(&["route-refresh"], "announcer always has it"),
        unneeded(&["extended-message"], "announcer's messages fit into 4,096 octets"),
        unneeded(&["software-version"], "announcer does not send its version"),
        dropped(&["add-path"], "announcer has no ADD-PATH"),
        dropped(
            &["nexthop", "link-local-nexthop", "link-local-prefer"],
            "announcer does not have such next hops",
        ),
        dropped(&["multi-session", "operational", "aigp", "paths-limit"], "announcer does not have it"),
    ],
};

pub(super) const API: Block = Block {
    title: "`api`",
    rows: &[
        translated(&["processes"], "`peers` of the services, unless all routers have the same"),
        translated(&["processes-match"], "as `processes`"),
        unneeded(
            &["receive", "send", "neighbor-changes", "negotiated", "fsm", "signal"],
            "announcer has no API of ExaBGP",
        ),
    ],
};

pub(super) const ROUTE: Block = Block {
    title: "`route`",
    rows: &[
        translated(&["next-hop"], "`next_hop`"),
        translated(&["med"], "`med`"),
        translated(&["local-preference"], "`local_pref`"),
        translated(&["origin"], "`origin`"),
        translated(&["community"], "`communities`"),
        translated(&["large-community"], "`large_communities`"),
        translated(&["extended-community"], "`extended_communities`, route targets and sites of origin"),
        translated(&["as-path"], "`prepend`, if the path consists of this host's own AS"),
        unneeded(&["name"], "it names the route for ExaBGP's API"),
        dropped(
            &["withdraw", "watchdog"],
            "a program of ExaBGP's API announces the route; announcer announces it always",
        ),
        dropped(&["split"], "announcer announces the prefix itself"),
        dropped(
            &[
                "path-information",
                "rd",
                "route-distinguisher",
                "label",
                "bgp-prefix-sid",
                "bgp-prefix-sid-srv6",
                "attribute",
            ],
            "announcer does not have this attribute",
        ),
        dropped(
            &["atomic-aggregate", "aggregator", "originator-id", "cluster-list", "aigp"],
            "announcer does not have this attribute",
        ),
    ],
};
