//! Values of `[[service]]`: VIPs, routes, weights.

use super::BadCase;

pub(super) const CASES: &[BadCase] = &[
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
    (
        "a service's name twice",
        &[(
            "[[service]]",
            "[[service]]\nname = \"www\"\nvips = [\"192.0.2.1\"]\n[[service.check]]\nhttp = \"http://a\"\n[[service]]",
        )],
    ),
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
    // B20.
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
    ("a service in a VRF without a router", &[("med = 100", "vrf = \"edge\"")]),
    ("a service outside of the VRFs of all routers", &[("port = 179", "vrf = \"edge\"")]),
    ("a device of VIPs", &[("med = 100", "device = \"edge\"")]),
];
