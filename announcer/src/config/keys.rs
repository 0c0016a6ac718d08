//! Every table and key of the configuration, with its default: the one list that the reader, its messages and the
//! documentation go by.
//!
//! Pure.

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// As it is written: `[bgp]`, `[[peer]]`; empty for the file itself.
    pub header: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// Its keys, in the order in which they are documented.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Whether it has to be there.
    pub need: Need,
    /// What it says, with its bounds.
    pub doc: &'static str,
}

/// Whether a key has to be there. Values are in TOML, quotes included.
#[derive(Debug)]
pub enum Need {
    /// It has to be, as in this example.
    Required(&'static str),
    /// It may be, as in this example; the key's doc says what holds without it.
    Optional(&'static str),
    /// Without it, this value holds.
    Default(&'static str),
    /// One key of this need has to be there, and no more; as in this example.
    OneOf(&'static str),
    /// A table that has to be there once.
    Table(&'static Section),
    /// A table that may be there once; without it, its keys' defaults hold.
    OptionalTable(&'static Section),
    /// A table that has to be there at least once.
    Tables(&'static Section),
}

/// The whole file.
pub const FILE: Section = Section {
    header: "",
    doc: "What announcer does on this host.",
    keys: &[
        table("bgp", &BGP),
        tables("peer", &PEER),
        tables("service", &SERVICE),
        optional_table("health", &HEALTH),
        optional_table("hooks", &HOOKS),
        optional_table("metrics", &METRICS),
    ],
};

/// `[health]`.
pub const HEALTH: Section = Section {
    header: "[health]",
    doc: "How health is watched.",
    keys: &[default(
        "listener_watch",
        "\"5ms\"",
        "how often the kernel is asked whether anything listens where the checks ask; up to `20ms` apart where that would take \
         more than 5 % of a core; zero (never), or 1ms to 1s",
    )],
};

/// `[bgp]`.
pub const BGP: Section = Section {
    header: "[bgp]",
    doc: "This host, as a BGP speaker.",
    keys: &[
        required("asn", "65001", "the AS of this host; on the router: `neighbor … remote-as 65001`"),
        optional(
            "router_id",
            "\"10.0.1.11\"",
            "the BGP identifier; without it, the IPv4 source address towards the first peer",
        ),
        default("settle", "\"1s\"", "how long a router's FIB may follow its BGP; 0s to 1m"),
        optional(
            "graceful_restart",
            "\"10s\"",
            "how long routers keep our routes when the daemon dies (RFC 4724), and so when the host does; off without \
             it; 1s to 1h8m15s",
        ),
    ],
};

/// `[[peer]]`.
pub const PEER: Section = Section {
    header: "[[peer]]",
    doc: "A router that is dialled.",
    keys: &[
        required("name", "\"r1\"", "what logs, status and metrics call it: letters, digits, `.`, `_`, `-`"),
        required(
            "address",
            "\"10.0.1.1\"",
            "where it listens: IPv4, IPv6 (link-local with `interface`), or `default-gateway`",
        ),
        default("port", "179", "where it listens; 1 to 65535"),
        required(
            "asn",
            "65000",
            "the AS of the router, there `router bgp 65000`; or `external`, or `internal`",
        ),
        default("hold_time", "\"9s\"", "silence that ends the session; zero (never), or 3s to 65535s"),
        optional(
            "send_hold_time",
            "\"8m\"",
            "how long it may take no octet (RFC 9687); without it, 8m or twice `hold_time`; 3s to 1day",
        ),
        default("families", "[\"ipv4\", \"ipv6\"]", "what the session carries, whatever it runs over"),
        optional("interface", "\"eth0\"", "the interface that the session is bound to"),
        optional(
            "source_address",
            "\"10.0.1.11\"",
            "our end of the session; without it, the kernel's choice",
        ),
        default("multihop", "1", "how many hops away the router may be under `ttl_security`; 1 to 255"),
        default(
            "ttl_security",
            "false",
            "drop what has come further than `multihop` (RFC 5082); the router has to send TTL 255",
        ),
        optional(
            "password_file",
            "\"/etc/announcer/r1.key\"",
            "the file of the TCP MD5 key (RFC 2385), not readable by others; a relative path is below \
             `$CREDENTIALS_DIRECTORY`",
        ),
        optional("next_hop_v4", "\"10.0.1.11\"", "the next hop of IPv4 routes; without it, the service's"),
        optional(
            "next_hop_v6",
            "\"2001:db8:1::11\"",
            "the next hop of IPv6 routes; without it, the service's",
        ),
        optional("origin", "\"incomplete\"", "replaces the services'"),
        optional("med", "100", "replaces the services'; 0 to 4294967295"),
        optional("local_pref", "100", "replaces the services'; 0 to 4294967295"),
        optional("prepend", "2", "replaces the services'; 0 to 10"),
        optional("communities", "[\"65001:80\"]", "replaces the services'; at most 255"),
        optional("extended_communities", "[\"rt:65001:80\"]", "replaces the services'; at most 31"),
        optional("large_communities", "[\"65001:1:2\"]", "replaces the services'; at most 64"),
    ],
};

/// `[[service]]`.
pub const SERVICE: Section = Section {
    header: "[[service]]",
    doc: "VIPs that stand and fall with the same checks.",
    keys: &[
        required("name", "\"www\"", "what logs, status and drains call it: letters, digits, `.`, `_`, `-`"),
        required("vips", "[\"192.0.2.80\"]", "the addresses that are announced, IPv4 or IPv6; at least one"),
        optional(
            "prefix",
            "[\"192.0.2.0/24\"]",
            "what is announced for the VIPs, one for each family at most, and while each VIP of the family is well; \
             without it, the VIPs themselves",
        ),
        default("next_hop", "\"self\"", "`self`, or an address for each family, as in `[\"10.0.1.11\"]`"),
        default("origin", "\"igp\"", "`igp`, `egp` or `incomplete`"),
        optional("med", "100", "the MED that they carry; 0 to 4294967295"),
        default("local_pref", "100", "on iBGP, the preference that they carry; 0 to 4294967295"),
        default("prepend", "0", "on eBGP, how many times our AS is prepended once more; 0 to 10"),
        optional(
            "communities",
            "[\"65001:80\"]",
            "communities (RFC 1997) that they carry, well-known ones by name, such as `no-export`; at most 255",
        ),
        optional(
            "extended_communities",
            "[\"rt:65001:80\"]",
            "extended communities (RFC 4360): `rt:…`, `soo:…`, `bandwidth:AS:OCTETS_PER_SECOND`; at most 31",
        ),
        optional("large_communities", "[\"65001:1:2\"]", "large communities (RFC 8092); at most 64"),
        default(
            "announce_delay",
            "\"0s\"",
            "how long a VIP has to be healthy before it is announced; 0s to 1h",
        ),
        default(
            "flap_damping",
            "true",
            "whether a VIP's third return within a minute waits 10s, the next twice as long, up to 5m",
        ),
        default(
            "listener_grace",
            "\"0s\"",
            "how long nothing may listen before that counts; `50ms` for servers that stop listening for a moment when they \
             are reloaded (haproxy with `noreuseport`); 0s to 10s",
        ),
        default(
            "require",
            "\"all\"",
            "how many of the checks have to pass: `all`, `any`, or a number of 1 to as many as there are",
        ),
        default(
            "on_failure",
            "\"withdraw\"",
            "what is done when too few pass: `withdraw`; `deprefer`, announced with the attributes of `[service.deprefer]`; \
             `warn`, announced as ever",
        ),
        default(
            "backup",
            "false",
            "whether its VIPs are depreferred while all is well, so that others come first",
        ),
        optional_table("deprefer", &DEPREFER),
        tables("check", &CHECK),
    ],
};

/// `[service.deprefer]`.
pub const DEPREFER: Section = Section {
    header: "[service.deprefer]",
    doc: "How a VIP is announced that should be the last choice of the routers.",
    keys: &[
        default("prepend", "3", "on eBGP, how many times more our AS is prepended; 0 to 10"),
        default("local_pref", "0", "on iBGP, the preference that replaces the service's; 0 to 4294967295"),
        optional("med", "200", "the MED that replaces the service's; routers do not compare it between ASes"),
        optional("communities", "[\"65001:666\"]", "communities that are added; at most 16"),
    ],
};

/// `[[service.check]]`.
pub const CHECK: Section = Section {
    header: "[[service.check]]",
    doc: "What is asked of each VIP of the service.",
    keys: &[
        one_of(
            "http",
            "\"http://www.example.com/healthz\"",
            "a request as a client of that URL sends it; `https://` too",
        ),
        one_of(
            "tls",
            "\"www.example.com:443\"",
            "a TLS handshake as with that server; the port is 443 without it",
        ),
        one_of("tcp", "25", "a TCP connection to that port, and what is said over it; 1 to 65535"),
        one_of(
            "exec",
            "[\"/usr/local/bin/check-www\"]",
            "a program by its absolute path, with its arguments, and no shell; its exit code counts",
        ),
        one_of("file", "\"/run/www.up\"", "a file that has to be there, by its absolute path"),
        optional(
            "name",
            "\"site\"",
            "what logs, status and metrics call it: letters, digits, `.`, `_`, `-`; without it, its kind, and `http-2` \
             where `http` is taken",
        ),
        optional(
            "target",
            "\"127.0.0.1:8080\"",
            "the address that is asked, with a port if it has another one; without it, each VIP",
        ),
        default("interval", "\"1s\"", "from the start of one probe to the start of the next; 50ms to 1h"),
        optional(
            "fast_interval",
            "\"250ms\"",
            "the interval while passes or failures add up to another verdict; without it, `interval`; 50ms to 1h",
        ),
        default("timeout", "\"1s\"", "for a whole probe; 1ms to 1m"),
        default("rise", "2", "passes in a row that make a VIP healthy; 1 to 100"),
        default("fall", "3", "failures in a row that make a VIP unhealthy; 1 to 100"),
        optional(
            "on_failure",
            "\"deprefer\"",
            "what its failure does; without it, the service's `on_failure`",
        ),
        default("method", "\"GET\"", "http: the method of the request"),
        optional("headers", "[\"accept: text/plain\"]", "http: more header fields of the request"),
        optional("body", "\"ping\"", "http: the body of the request"),
        default(
            "http_version",
            "\"auto\"",
            "http: `1.1`, `2` (without TLS too, by prior knowledge), or `auto`: what the server chooses by ALPN, and 1.1 \
             without TLS",
        ),
        default(
            "expect_status",
            "\"200-299\"",
            "http: the statuses that pass, as in `[\"200-299\", 401]`; 200 to 599",
        ),
        optional("expect_body", "\"^ok\"", "http: a regular expression that has to be found in the body"),
        optional(
            "expect_digest",
            "\"2ef7bde608ce5404e97d5f042f95f89f1c232871\"",
            "http: the SHA-1 or SHA-256 of the body, in hexadecimal",
        ),
        default(
            "max_body",
            "65536",
            "http: how many octets of the body are read; one with an `expect_digest` has no more; 1 to 16777216",
        ),
        optional(
            "alpn",
            "[\"h2\", \"http/1.1\"]",
            "tls: the protocols that are offered (RFC 7301); the server has to choose one",
        ),
        default(
            "verify",
            "\"warn\"",
            "https, tls: what a certificate does whose chain, name or dates are wrong: `warn`, `require` (the probe \
             fails) or `off`",
        ),
        optional(
            "ca_file",
            "\"/etc/announcer/ca.pem\"",
            "https, tls: whose certificates are trusted, in PEM; without it, those whom the host trusts. With `verify = \
             \"require\"` a file of no use is told at the start and stops a reload",
        ),
        default(
            "cert_expires_within",
            "\"14days\"",
            "https, tls: warn of a certificate that ends within this time, and never fail; 0s (never) to 10years",
        ),
        optional("send", "\"PING\"", "tcp: what is sent once connected; a line ends with `\\r\\n`"),
        optional(
            "expect",
            "\"^220 \"",
            "tcp: a regular expression that has to be found in the first 16 KiB that come; without it, the connection is \
             enough",
        ),
        optional(
            "user",
            "\"nobody\"",
            "exec: whose rights the program has; without it, the daemon's user, or `nobody` if that is root",
        ),
        default(
            "exit_codes",
            "\"zero\"",
            "exec: `zero`: 0 passes; or `nagios`: 0 passes, 1 (WARNING) passes with a warning; all others fail",
        ),
    ],
};

/// `[hooks]`.
pub const HOOKS: Section = Section {
    header: "[hooks]",
    doc: "A command that is told when the standing of a VIP has changed; without the table, none is.",
    keys: &[
        required(
            "on_change",
            "[\"/usr/local/bin/hook\", \"web\"]",
            "the program's whole path, and its arguments; run without a shell, one run at a time",
        ),
        default("timeout", "\"10s\"", "how long a run may take before it is killed; 100ms to 5m"),
    ],
};

/// `[metrics]`.
pub const METRICS: Section = Section {
    header: "[metrics]",
    doc: "Figures for Prometheus; without the table, there are none.",
    keys: &[required(
        "listen",
        "\"127.0.0.1:9179\"",
        "address and port of `/metrics`, as in `[::1]:9179` too; whoever can connect can read",
    )],
};

const fn required(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { name, need: Need::Required(example), doc }
}

const fn one_of(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { name, need: Need::OneOf(example), doc }
}

const fn optional(name: &'static str, example: &'static str, doc: &'static str) -> Key {
    Key { name, need: Need::Optional(example), doc }
}

const fn default(name: &'static str, value: &'static str, doc: &'static str) -> Key {
    Key { name, need: Need::Default(value), doc }
}

const fn table(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::Table(section), doc: section.doc }
}

const fn optional_table(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::OptionalTable(section), doc: section.doc }
}

const fn tables(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::Tables(section), doc: section.doc }
}

impl Section {
    /// Its key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Itself and the tables in it, in the order in which they are documented.
    pub fn all(&'static self) -> Vec<&'static Section> {
        let below = self.keys.iter().filter_map(Key::section).flat_map(Section::all);
        std::iter::once(self).chain(below).collect()
    }
}

impl Key {
    /// The table that it opens, if it opens one.
    pub fn section(&self) -> Option<&'static Section> {
        match self.need {
            Need::Table(section) | Need::OptionalTable(section) | Need::Tables(section) => Some(section),
            Need::Required(_) | Need::OneOf(_) | Need::Optional(_) | Need::Default(_) => None,
        }
    }

    /// A good value, in TOML: the default if it has one.
    pub fn example(&self) -> Option<&'static str> {
        match self.need {
            Need::Required(value) | Need::OneOf(value) | Need::Optional(value) | Need::Default(value) => {
                Some(value)
            }
            Need::Table(_) | Need::OptionalTable(_) | Need::Tables(_) => None,
        }
    }

    /// As a person looks for it: `asn`, `[[peer]]`.
    pub fn shown(&self) -> &'static str {
        self.section().map_or(self.name, |section| section.header)
    }
}
