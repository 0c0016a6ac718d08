//! Wrong configurations, at least one for each rule; `bad.txt` has the printed errors.

use super::GOOD;

/// The good file with one or several words replaced.
pub(super) const BAD: &[(&str, &[(&str, &str)])] = &[
    ("an unknown key that is close", &[("settle =", "setle =")]),
    ("an unknown key of another table", &[("settle = \"1s\"", "interval = \"1s\"")]),
    ("an unknown key far from all", &[("settle =", "colour =")]),
    ("a synonym of a required key", &[("asn = 65000", "remote-as = 65000")]),
    ("a synonym of a check's kind", &[("http = ", "url = ")]),
    ("a word that announcer has nothing for", &[("port = 179", "maximum_prefix = 9")]),
    ("a word of other programs for BFD", &[("port = 179", "bfd_profile = \"fast\"")]),
    ("BFD that is neither on nor off", &[("port = 179", "bfd = \"on\"")]),
    ("BFD that is a number", &[("port = 179", "bfd = 1")]),
    ("BFD that is a list of tables", &[("[[service]]", "[[peer.bfd]]\n[[service]]")]),
    ("an interval of BFD without a unit", &[("[[service]]", "[peer.bfd]\ninterval = 300\n[[service]]")]),
    ("a short interval of BFD without a unit", &[("[[service]]", "[peer.bfd]\ninterval = 5\n[[service]]")]),
    (
        "an interval of BFD with nanoseconds",
        &[("[[service]]", "[peer.bfd]\ninterval = \"10ms 7ns\"\n[[service]]")],
    ),
    (
        "values of BFD",
        &[("[[service]]", "[peer.bfd]\ninterval = \"5ms\"\nmultiplier = 0\nmin_rx = 3\n[[service]]")],
    ),
    ("an unknown key of a long table", &[("rise = 2", "rising = 2")]),
    ("an unknown table", &[("[[peer]]", "[[neighbours]]")]),
    ("an unknown table that is close", &[("[bgp]", "[bpg]")]),
    ("a table below the wrong one", &[("[[service.check]]", "[[check]]")]),
    ("a table without brackets", &[("[bgp]", "peer = 1\n[bgp]"), ("[[peer]]", "[x]")]),
    ("one bracket for two", &[("[[peer]]", "[peer]")]),
    ("a table's header left out", &[("[[service]]\nname", "[[service.check]]\nname")]),
    ("two brackets for one", &[("[bgp]", "[[bgp]]")]),
    ("an array of other things", &[("[bgp]", "peer = [1]\n[bgp]"), ("[[peer]]", "[x]")]),
    ("an empty file", &[(GOOD, "")]),
    ("no table but one", &[(GOOD, "[bgp]\nasn = 1\n")]),
    ("empty tables", &[(GOOD, "service = []\nbgp = {}\n[[peer]]\n[[peer]]\n")]),
    ("an empty service and an empty check", &[("med = 100\n", "\n[[service]]\n[[service.check]]\n")]),
    (
        "a service without a check",
        &[("[[service.check]]", "[[service]]\nname = \"b\"\nvips = [\"192.0.2.1\"]\n[[service.check]]")],
    ),
    ("a service without VIPs", &[("vips = [\"192.0.2.80\", \"2001:db8::80\"]\n", "")]),
    ("no VIPs in a list", &[("[\"192.0.2.80\", \"2001:db8::80\"]", "[]")]),
    ("a VIP that is no list", &[("[\"192.0.2.80\", \"2001:db8::80\"]", "\"192.0.2.80\"")]),
    ("a VIP of another type", &[("\"192.0.2.80\"", "80"), ("\"2001:db8::80\"", "true")]),
    ("a VIP twice in a service", &[("2001:db8::80", "192.0.2.80")]),
    ("a VIP twice, spelt two ways", &[("192.0.2.80", "2001:DB8:0::0:80")]),
    (
        "a VIP in two services",
        &[(
            "[[service]]",
            "[[service]]\nname = \"a\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\nhttp = \"http://a\"\n[[service]]",
        )],
    ),
    ("loopback VIPs", &[("192.0.2.80", "127.0.0.53"), ("2001:db8::80", "::1")]),
    ("link-local VIPs", &[("192.0.2.80", "169.254.1.1"), ("2001:db8::80", "fe80::1")]),
    ("multicast VIPs", &[("192.0.2.80", "224.0.0.5"), ("2001:db8::80", "ff02::5")]),
    ("unspecified VIPs", &[("192.0.2.80", "0.0.0.0"), ("2001:db8::80", "::")]),
    ("nobody's VIPs", &[("192.0.2.80", "0.1.2.3"), ("2001:db8::80", "::192.0.2.1")]),
    ("a mapped VIP", &[("2001:db8::80", "::ffff:192.0.2.81")]),
    ("broadcast, reserved VIPs", &[("192.0.2.80", "255.255.255.255"), ("2001:db8::80", "240.0.0.1")]),
    ("a VIP that is a peer", &[("192.0.2.80", "10.0.1.1")]),
    ("a VIP that is the router id", &[("192.0.2.80", "10.0.1.11")]),
    ("a VIP that is a next hop", &[("2001:db8::80", "2001:db8:1::11")]),
    ("a VIP with a prefix length", &[("192.0.2.80", "192.0.2.80/32"), ("2001:db8::80", "2001:db8::/64")]),
    ("a VIP with a zone", &[("2001:db8::80", "fe80::1%eth0")]),
    ("VIPs that are none", &[("192.0.2.80", "www.example.com"), ("2001:db8::80", "192.0.2.080")]),
    ("an AS of 0", &[("asn = 65001", "asn = 0")]),
    ("AS_TRANS", &[("asn = 65000", "asn = 23456")]),
    ("an AS too large, a negative one", &[("asn = 65001", "asn = 4294967296"), ("asn = 65000", "asn = -1")]),
    ("an AS in quotes", &[("asn = 65001", "asn = \"65001\"")]),
    ("an AS with a dot", &[("asn = 65001", "asn = 1.10")]),
    ("no AS", &[("asn = 65000\n", "")]),
    ("a router that is learnt on no interface", &[("\"10.0.1.1\"", "\"router-advertisement\"")]),
    (
        "a router that is learnt, from an address that is not of the link",
        &[
            ("address = \"10.0.1.1\"", "interface = \"eth0\""),
            ("port = 179", "source_address = \"2001:db8:1::11\""),
        ],
    ),
    (
        "a router that is learnt, with keys of others",
        &[
            ("address = \"10.0.1.1\"", "interface = \"eth0\""),
            ("port = 179", "multihop = 2\ncapabilities = false"),
        ],
    ),
    ("a default route from a router that advertises none", &[("port = 179", "default_route = true")]),
    (
        "two routers that are learnt on one interface",
        &[(
            "address = \"10.0.1.1\"",
            "interface = \"eth0\"\nasn = 1\n[[peer]]\nname = \"r2\"\ninterface = \"eth0\"",
        )],
    ),
    (
        "no router id, and a router that is learnt alone",
        &[("router_id = \"10.0.1.11\"\n", ""), ("address = \"10.0.1.1\"", "interface = \"eth0\"")],
    ),
    ("a router id of zero", &[("10.0.1.11", "0.0.0.0")]),
    ("a router id of IPv6", &[("10.0.1.11", "2001:db8::1")]),
    (
        "a peer's name twice, its address too",
        &[("[[peer]]", "[[peer]]\nname = \"r1\"\naddress = \"10.0.1.1\"\nasn = 1\n[[peer]]")],
    ),
    (
        "a service's name twice",
        &[(
            "[[service]]",
            "[[service]]\nname = \"www\"\nvips = [\"192.0.2.1\"]\n[[service.check]]\nhttp = \"http://a\"\n[[service]]",
        )],
    ),
    ("names that are none", &[("\"r1\"", "\"r 1\""), ("\"www\"", "\"_all\"")]),
    ("a name of another type", &[("\"r1\"", "1")]),
    ("a loopback peer", &[("10.0.1.1\"", "127.0.0.1\"")]),
    ("a link-local peer without an interface", &[("10.0.1.1\"", "fe80::1\"")]),
    ("an unspecified peer", &[("10.0.1.1\"", "0.0.0.0\"")]),
    ("a multicast peer", &[("10.0.1.1\"", "ff02::1\"")]),
    ("a broadcast peer", &[("10.0.1.1\"", "255.255.255.255\"")]),
    ("a peer with a port", &[("10.0.1.1\"", "10.0.1.1:179\"")]),
    ("port 0", &[("port = 179", "port = 0")]),
    ("a port too large", &[("port = 179", "port = 0x1_0000")]),
    ("hold times that are forbidden", &[("\"9s\"", "\"2s\"")]),
    ("a hold time with a fraction", &[("\"9s\"", "\"9500ms\"")]),
    ("a hold time too long", &[("\"9s\"", "\"65536s\"")]),
    ("a hold time without a unit", &[("\"9s\"", "9")]),
    ("a period without a unit", &[("[bgp]", "[health]\nlistener_watch = 5\n[bgp]")]),
    ("a hold time that is not valid", &[("\"9s\"", "\"nine\"")]),
    ("a hold time in an array", &[("\"9s\"", "[\"9s\"]")]),
    ("settle too long", &[("settle = \"1s\"", "settle = \"2m\"")]),
    ("next hops that are none", &[("2001:db8:1::11", "fe80::1")]),
    ("a next hop of IPv4", &[("2001:db8:1::11", "10.0.1.11")]),
    ("a next hop that is the peer", &[("\"10.0.1.1\"", "\"2001:db8:1::11\"")]),
    ("a peer that is no word either", &[("10.0.1.1\"", "gateway\"")]),
    ("an AS that is no word either", &[("asn = 65000", "asn = \"extern\"")]),
    ("no families", &[("port = 179", "families = []")]),
    ("a family that is not valid", &[("port = 179", "families = [\"vpnv4\"]")]),
    ("interfaces that are none", &[("port = 179", "interface = \"eth0/1\""), ("settle", "interface")]),
    ("a source of the other family", &[("port = 179", "source_address = \"2001:db8:1::5\"")]),
    ("a source that is the peer", &[("port = 179", "source_address = \"10.0.1.1\"")]),
    ("a source that is a VIP", &[("port = 179", "source_address = \"192.0.2.80\"")]),
    ("no hops", &[("port = 179", "multihop = 0")]),
    ("TTL security of another type", &[("port = 179", "ttl_security = 255")]),
    ("IPv6 without capabilities", &[("port = 179", "families = [\"ipv4\", \"ipv6\"]\ncapabilities = false")]),
    ("no password file", &[("port = 179", "password_file = \"\"")]),
    ("a send hold time below the hold time", &[("port = 179", "send_hold_time = \"5s\"")]),
    ("a least hold time above the hold time", &[("port = 179", "min_hold_time = \"90s\"")]),
    ("a least hold time of zero", &[("port = 179", "min_hold_time = \"0s\"")]),
    ("a segment size that no path needs", &[("port = 179", "tcp_mss = 100")]),
    ("a restart time with a fraction", &[("settle = \"1s\"", "graceful_restart = \"1500ms\"")]),
    ("an origin that is not valid", &[("med = 100", "origin = \"IGP\"")]),
    ("too much prepending", &[("med = 100", "prepend = 11")]),
    (
        "extended and large communities that are none",
        &[("med = 100", "extended_communities = [\"65001:80\"]\nlarge_communities = [\"1:2\"]")],
    ),
    (
        "a prefix that contains every address, with host bits, that no host can have",
        &[("med = 100", "prefix = [\"0.0.0.0/0\", \"192.0.2.80/24\", \"127.0.0.0/8\", \"x\"]")],
    ),
    ("a prefix without the VIP", &[("med = 100", "prefix = \"198.51.100.0/24\"")]),
    (
        "a prefix of a family without VIPs",
        &[(", \"2001:db8::80\"", ""), ("med = 100", "prefix = \"2001:db8::/32\"")],
    ),
    ("two prefixes of a family", &[("med = 100", "prefix = [\"192.0.2.0/24\", \"192.0.2.0/25\"]")]),
    (
        "a prefix in two services",
        &[
            ("med = 100", "prefix = \"192.0.2.0/24\""),
            (
                "[[service]]",
                "[[service]]\nname = \"a\"\nvips = [\"192.0.2.1\"]\nprefix = \"192.0.2.0/24\"\n[[service.check]]\nhttp = \"http://a\"\n[[service]]",
            ),
        ],
    ),
    (
        "next hops of one family, self beside others",
        &[("med = 100", "next_hop = [\"10.0.1.11\", \"10.0.1.12\", \"self\"]")],
    ),
    ("a service's next hop that is a VIP", &[("med = 100", "next_hop = \"192.0.2.80\"")]),
    ("a bad value of flap_damping", &[("med = 100", "flap_damping = \"deprefer\"")]),
    ("flap damping of another type", &[("med = 100", "flap_damping = 1")]),
    ("a community that is not valid", &[("65001:80", "65536:80")]),
    ("a community without quotes", &[("\"65001:80\"", "6500180")]),
    ("a negative MED", &[("med = 100", "med = -1")]),
    (
        "probes too often, too rarely",
        &[("interval = \"1s\"", "interval = \"49ms\""), ("timeout = \"1s\"", "timeout = \"61s\"")],
    ),
    ("a timeout of nothing", &[("timeout = \"1s\"", "timeout = \"0s\"")]),
    ("rise and fall of none, of too many", &[("rise = 2", "rise = 0"), ("fall = 3", "fall = 101")]),
    ("another protocol", &[("http://www", "ftp://www")]),
    ("a URL without its protocol", &[("http://www", "www")]),
    ("a host and port alone", &[("http://www.example.com/healthz", "localhost:80")]),
    ("a URL without a host", &[("http://www.example.com/healthz", "http://")]),
    ("a URL with a user", &[("http://www", "http://me:secret@www")]),
    ("a URL with a fragment", &[("/healthz", "/#top")]),
    ("a URL with a blank", &[("/healthz", "/a b")]),
    ("a URL with port 0", &[(".com/", ".com:0/")]),
    ("no check's kind", &[("http = \"http://www.example.com/healthz\"\n", "")]),
    ("a check's kind misspelt", &[("http = ", "htttp = ")]),
    ("a check of two kinds", &[("rise = 2", "tls = \"www.example.com\"")]),
    (
        "keys of another kind",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "tls = \"www.example.com\"\nmethod = \"GET\"\nexpect_status = 200",
        )],
    ),
    (
        "values of DNS",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "dns = \"www..example.com\"\nrecord_type = \"a\"\ntransport = \"https\"\ndns_port = 0\nexpect_rcode = \"NOPE\"",
        )],
    ),
    (
        "keys of DNS that contradict each other",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "dns = \"www.example.com\"\nexpect_rcode = \"NXDOMAIN\"\nexpect_answer = [\"192.0.2.80\"]\nverify = \"off\"\ntls_name = \"dns\"",
        )],
    ),
    (
        "answers that no record can have",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "dns = \"www.example.com\"\nrecord_type = \"AAAA\"\nexpect_answer = [\"192.0.2.80\", \"2001:db8::80\"]",
        )],
    ),
    (
        "values of ICMP",
        &[("http = \"http://www.example.com/healthz\"", "icmp = 8973\ntarget = \"[2001:db8::1]:7\"")],
    ),
    (
        "a port for ICMP",
        &[("http = \"http://www.example.com/healthz\"", "icmp = 56\ntarget = \"[2001:db8::1]:7\"")],
    ),
    (
        "values of UDP",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "udp = 53\nsend_hex = \"0\"\nexpect_hex = \"xy\"\nexpect = \"(\"",
        )],
    ),
    (
        "two datagrams of UDP",
        &[("http = \"http://www.example.com/healthz\"", "udp = 53\nsend_hex = \"00\"\nsend = \"a\"")],
    ),
    (
        "values of NTP",
        &[("http = \"http://www.example.com/healthz\"", "ntp = 123\nmax_offset = \"0s\"\nmax_stratum = 16")],
    ),
    (
        "a gRPC server without a scheme",
        &[("http = \"http://www.example.com/healthz\"", "grpc = \"www.example.com:50051\"")],
    ),
    (
        "a gRPC server with a path",
        &[("http = \"http://www.example.com/healthz\"", "grpc = \"http://www.example.com/x\"")],
    ),
    (
        "a certificate of gRPC without TLS",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "grpc = \"http://www.example.com\"\nverify = \"off\"",
        )],
    ),
    ("a key of TLS alone", &[("rise = 2", "alpn = [\"h2\"]")]),
    (
        "certificates without TLS",
        &[("rise = 2", "verify = \"off\"\nca_file = \"ca\"\ncert_expires_within = \"1d\"")],
    ),
    (
        "an authority for nothing",
        &[("http://www", "https://www"), ("rise = 2", "verify = \"off\"\nca_file = \"ca\"")],
    ),
    ("two checks of one name", &[("rise = 2", "name = \"a\"\n[[service.check]]\ntls = \"a\"\nname = \"a\"")]),
    ("a slow answer that is a timeout", &[("rise = 2", "slow = \"1s\"")]),
    ("an effect of slow answers, of none", &[("rise = 2", "on_slow = \"deprefer\"")]),
    (
        "effects that are none",
        &[("rise = 2", "on_timeout = \"ignore\"\nslow = \"10ms\"\non_slow = \"withdraw\"")],
    ),
    (
        "a header field that is expected, and is none",
        &[("rise = 2", "expect_header = [\"x ready: yes\", \": yes\", \"x-ready: [\"]")],
    ),
    (
        "JSON that is none",
        &[("rise = 2", "expect_json = ['/status', 'status = 1', '/status = ok', '/a = ']")],
    ),
    ("JSON in the answer to a HEAD", &[("rise = 2", "method = \"HEAD\"\nexpect_json = '/a = 1'")]),
    ("a kept connection for a method that writes", &[("rise = 2", "method = \"POST\"\nreuse = true")]),
    ("a start period that is endless", &[("rise = 2", "start_period = \"2h\"")]),
    (
        "a client certificate without its key",
        &[("http://www", "https://www"), ("rise = 2", "client_certificate = \"/c.pem\"")],
    ),
    (
        "a client key without its certificate",
        &[("http://www", "https://www"), ("rise = 2", "client_key = \"/c.key\"")],
    ),
    (
        "a client certificate without TLS",
        &[("rise = 2", "client_certificate = \"/c.pem\"\nclient_key = \"/c.key\"")],
    ),
    ("a PROXY protocol that is none", &[("rise = 2", "send_proxy = true"), ("med = 100", "")]),
    ("a PROXY protocol of no version", &[("rise = 2", "send_proxy = \"v3\"")]),
    (
        "a PROXY protocol without a connection",
        &[
            ("rise = 2", "send_proxy = \"v2\""),
            ("http = \"http://www.example.com/healthz\"", "file = \"/run/up\""),
        ],
    ),
    ("a fast interval that is slower", &[("rise = 2", "fast_interval = \"2s\"")]),
    (
        "targets that are none",
        &[
            ("rise = 2", "target = \"localhost:80\""),
            (
                "[[service.check]]",
                "[[service.check]]\ntcp = 1\ntarget = \"unix:app.sock\"\n[[service.check]]\ntcp = 1\ntarget = \"unix:@app\"\n\
                 [[service.check]]\ntcp = 1\ntarget = \"/run/app.sock\"\n[[service.check]]\ntcp = 1\ntarget = \"unix:/run/\"\n\
                 [[service.check]]\nudp = 1\ntarget = \"unix:/run/app.sock\"\n[[service.check]]",
            ),
            (
                "[[service.check]]",
                "[[service.check]]\ntls = \"a\"\ntarget = \"0.0.0.0:80\"\n[[service.check]]",
            ),
            ("[[service.check]]", "[[service.check]]\ntls = \"a\"\ntarget = \"[::1]:0\"\n[[service.check]]"),
        ],
    ),
    ("a method in small letters", &[("rise = 2", "method = \"get\"")]),
    ("a method that asks for a tunnel", &[("rise = 2", "method = \"CONNECT\"")]),
    ("a HEAD with a body", &[("rise = 2", "method = \"HEAD\"\nexpect_body = \"ok\"")]),
    (
        "header fields that are none, or taken",
        &[("rise = 2", "headers = [\"Accept\", \"Host: a\", \"Content-Length: 1\", \"X: ü\", \"a b: c\"]")],
    ),
    ("a bad version of HTTP", &[("rise = 2", "http_version = \"3\"")]),
    ("a version without quotes", &[("rise = 2", "http_version = 1.1")]),
    (
        "statuses that are none",
        &[("rise = 2", "expect_status = [\"2xx\", \"299-200\", 99, \"100-200\", true]")],
    ),
    ("no statuses", &[("rise = 2", "expect_status = []")]),
    ("a regular expression that is not valid", &[("rise = 2", "expect_body = \"(\"")]),
    ("digests that are none", &[("rise = 2", "expect_digest = \"d41d8cd98f00b204e9800998ecf8427e\"")]),
    ("a body too long", &[("rise = 2", "max_body = 16777217")]),
    (
        "servers that are none",
        &[
            ("http = \"http://www.example.com/healthz\"", "tls = \"https://www.example.com/\""),
            (
                "[[service.check]]",
                "[[service.check]]\ntls = \"a:0\"\n[[service.check]]\ntls = \"a b\"\n[[service.check]]",
            ),
        ],
    ),
    (
        "a bad protocol, a bad value of verify",
        &[("http = \"http://www.example.com/healthz\"", "tls = \"a\"\nalpn = [\"\"]\nverify = \"yes\"")],
    ),
    (
        "programs that are none",
        &[
            ("http = \"http://www.example.com/healthz\"", "exec = [\"check-www\", \"-v\"]"),
            (
                "[[service.check]]",
                "[[service.check]]\nexec = []\n[[service.check]]\nexec = \"/bin/true\"\n[[service.check]]\nexec = \
                 [\"/bin/true\", 1, \"a\\u0000\"]\n[[service.check]]",
            ),
        ],
    ),
    (
        "a bad user, a bad value of exit_codes",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "exec = [\"/bin/true\"]\nuser = \"a:b\"\nexit_codes = \"unix\"",
        )],
    ),
    ("a file that is not absolute", &[("http = \"http://www.example.com/healthz\"", "file = \"www.up\"")]),
    (
        "a port that is not valid, and what goes with it",
        &[(
            "http = \"http://www.example.com/healthz\"",
            "tcp = 0\nsend = 1\nexpect = \"(\"\nuser = \"nobody\"",
        )],
    ),
    (
        "a target of a program",
        &[("http = \"http://www.example.com/healthz\"", "exec = [\"/bin/true\"]\ntarget = \"::1\"")],
    ),
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
    (
        "a weight out of bounds, and a file that is not absolute",
        &[("med = 100", "weight = 0\nweight_file = \"w\"")],
    ),
    ("a weight that is too large", &[("med = 100", "weight = 101")]),
    (
        "a weight and a link bandwidth",
        &[("med = 100", "weight = 7\nextended_communities = [\"rt:1:1\", \"bandwidth:1:1\"]")],
    ),
    (
        "the file of a weight and a transitive link bandwidth",
        &[("med = 100", "weight_file = \"/w\"\nextended_communities = [\"0x0004000100000000\"]")],
    ),
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
    // B20.
    (
        "an AS with a dot in quotes",
        &[("asn = 65001", "asn = \"65000.1\""), ("asn = 65000", "asn = \"65000.1\"")],
    ),
    ("a port that has a dot", &[("port = 179", "port = 1.10")]),
    (
        "addresses with a port, in brackets",
        &[
            ("\"10.0.1.1\"", "\"[2001:db8:1::1]:179\""),
            ("port = 179", "source_address = \"10.0.1.11:179\""),
            ("\"2001:db8::80\"", "\"[2001:db8::80]\", \"192.0.2.81:443\""),
        ],
    ),
    (
        "communities of an AS above 65535, of another kind",
        &[(
            "\"65001:80\"",
            "\"199999:666\", \"65000.1:666\", \"0.1:2\", \"65001:1:2\", \"rt:65001:80\", \"1:2; 3\"",
        )],
    ),
    (
        "extended and large communities with a dot, of another kind",
        &[(
            "med = 100",
            "extended_communities = [\"rt:65000.1:80\"]\nlarge_communities = [\"65000.1:1:2\", \"65001:80\"]",
        )],
    ),
    // H19.
    ("a variable for a host", &[("www.example.com", "$HOSTNAME")]),
    ("no host before the path", &[("http://www.example.com/healthz", "http:///healthz")]),
    ("one slash, none, a backslash", &[("http://www.example.com/healthz", "http:/www.example.com/healthz")]),
    (
        "hosts that are none",
        &[
            ("http://www.example.com/healthz", "http://${HOST}:80/"),
            (
                "[[service.check]]",
                "[[service.check]]\ntls = \"$HOSTNAME:443\"\n[[service.check]]\nhttp = \"http://a..b/\"\n[[service.check]]\nhttp = \"http:a\"\n[[service.check]]",
            ),
        ],
    ),
    // H18.
    (
        "a no-break space before a key, behind one",
        &[("settle =", "\u{a0}settle ="), ("port =", "port\u{a0}=")],
    ),
    ("a no-break space before a value", &[("\"1s\"", "\u{a0}\"1s\"")]),
    ("a no-break space before a header", &[("[[peer]]", "\u{a0}[[peer]]")]),
    (
        "a zero width space, a byte order mark within",
        &[("settle =", "settle\u{200b} ="), ("port =", "\u{feff}port =")],
    ),
    ("typographic quotation marks", &[("\"1s\"", "“1s”"), ("\"r1\"", "„r1“")]),
    (
        "too many communities of the last choice",
        &[(
            "[[service.check]]",
            "[service.deprefer]\ncommunities = [\"1:1\", \"1:2\", \"1:3\", \"1:4\", \"1:5\", \"1:6\", \"1:7\", \"1:8\", \"1:9\", \
             \"1:10\", \"1:11\", \"1:12\", \"1:13\", \"1:14\", \"1:15\", \"1:16\", \"1:17\"]\n[[service.check]]",
        )],
    ),
    ("more checks than the service has", &[("med = 100", "require = 2")]),
    (
        "a number of checks, and no check",
        &[
            ("med = 100", "require = 1"),
            ("[[service.check]]", "[[service]]\nname = \"b\"\nvips = [\"192.0.2.1\"]\n[[service.check]]"),
        ],
    ),
    (
        "an authority for nothing, of a handshake",
        &[("http = \"http://www.example.com/healthz\"", "tls = \"a\"\nverify = \"off\"\nca_file = \"ca\"")],
    ),
    (
        "users with a blank, with a control character",
        &[
            ("http = \"http://www.example.com/healthz\"", "exec = [\"/bin/true\"]\nuser = \"a b\""),
            (
                "[[service.check]]",
                "[[service.check]]\nexec = [\"/bin/true\"]\nuser = \"a\\u007f\"\n[[service.check]]",
            ),
        ],
    ),
    (
        "servers with a blank or a control character behind them",
        &[
            ("http = \"http://www.example.com/healthz\"", "tls = \"a \""),
            ("[[service.check]]", "[[service.check]]\ntls = \"a\\u0001\"\n[[service.check]]"),
        ],
    ),
    (
        "a VRF with a name that no device can have",
        &[("port = 179", "vrf = \"edge/1\""), ("med = 100", "vrf = \"\"")],
    ),
    ("lo as a VRF", &[("port = 179", "vrf = \"lo\""), ("med = 100", "vrf = \"lo\"")]),
    ("a VRF that is no text", &[("port = 179", "vrf = 10")]),
    ("a service in a VRF without a router", &[("med = 100", "vrf = \"edge\"")]),
    ("a service outside of the VRFs of all routers", &[("port = 179", "vrf = \"edge\"")]),
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
    ("a word of routers for a VRF", &[("port = 179", "routing-instance = \"edge\"")]),
    ("a device of VIPs", &[("med = 100", "device = \"edge\"")]),
];
