use std::net::Ipv4Addr;

use expect_test::{Expect, expect, expect_file};

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::endpoint::{ProbeTarget, TargetAddress};
use super::keys::Need;
use super::kind::certificate::{CertificateConfig, Verify};
use super::kind::http::{HttpConfig, HttpVersion, Statuses};
use super::*;
use crate::log::format::LogFormat;
use crate::model::{Asn, Attributes, Deprefer, Family, Overrides, PeerAsn, RouterId};

mod bad;
mod bfd;
mod chain;
mod defaults;
mod encoding;
mod folder;
mod generated;
mod messages;
mod variables;
mod written;

/// A good configuration. Each line occurs once, so that a case can replace one.
pub(crate) const GOOD: &str = r#"[bgp]
asn = 65001
router_id = "10.0.1.11"
settle = "1s"

[[peer]]
name = "r1"
address = "10.0.1.1"
port = 179
asn = 65000
hold_time = "9s"
next_hop_v6 = "2001:db8:1::11"

[[service]]
name = "www"
vips = ["192.0.2.80", "2001:db8::80"]
communities = ["65001:80"]
med = 100

[[service.check]]
http = "http://www.example.com/healthz"
interval = "1s"
timeout = "1s"
rise = 2
fall = 3
"#;

const SAMPLE: &str = include_str!("../../etc/announcer.toml");

/// A configuration of the router `r1` and these services. They are a literal, so that the result is a literal too.
macro_rules! with_services {
    ($services:literal) => {
        concat!(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture.toml")), $services)
    };
}
pub(crate) use with_services;

/// A check with these lines, and otherwise with the defaults.
pub(crate) fn a_check(lines: &str) -> CheckConfig {
    let (above, _) = GOOD.split_once("[[service.check]]").unwrap();
    let text = format!("{above}[[service.check]]\n{lines}\n");
    parse("check", &text).unwrap_or_else(|errors| panic!("{errors}")).services.remove(0).checks.remove(0)
}

fn check(text: &str, want: Expect) {
    want.assert_eq(&parse("announcer.toml", text).unwrap_err().to_string());
}

/// The place and the message of each error, one line each.
fn printed(text: &str) -> String {
    match parse("announcer.toml", text) {
        Ok(_) => "  good\n".into(),
        Err(errors) => {
            let line =
                |e: ConfigError<'_>| format!("  {}:{}: {}\n      {}\n", e.line, e.column, e.message, e.help);
            errors.iter().map(line).collect()
        }
    }
}

#[test]
fn a_good_file_is_read_as_it_says() {
    let config = parse("announcer.toml", GOOD).unwrap();
    let probe = ProbeConfig::Http(HttpConfig {
        url: url::Url::parse("http://www.example.com/healthz").unwrap().into(),
        version: HttpVersion::Auto,
        method: http::Method::GET,
        headers: vec![],
        body: None,
        expect_status: vec![Statuses { first: 200, last: 299 }],
        expect_header: vec![],
        expect_body: None,
        expect_json: vec![],
        expect_digest: None,
        max_body: 65536,
        reuse: false,
        certificate: CertificateConfig {
            verify: Verify::Warn,
            ca_file: None,
            expires_within: Duration::from_secs(14 * 86_400),
            client_certificate: None,
            client_key: None,
        },
        proxy: proxy::ProxyConfig { send_proxy: None },
    });
    let second = Duration::from_secs(1);
    assert_eq!(
        config,
        Config {
            bgp: BgpConfig {
                asn: Asn::try_from(65001).unwrap(),
                router_id: Some(RouterId::try_from(Ipv4Addr::new(10, 0, 1, 11)).unwrap()),
                settle: second,
                graceful_restart: None,
            },
            peers: vec![PeerConfig {
                vrf: None,
                name: "r1".parse().unwrap(),
                address: PeerAddress::Ip("10.0.1.1".parse().unwrap()),
                port: 179,
                asn: PeerAsn::Is(Asn::try_from(65000).unwrap()),
                hold_time: second * 9,
                send_hold_time: second * 480,
                min_hold_time: None,
                tcp_mss: None,
                families: [Family::V4, Family::V6].into(),
                capabilities: true,
                interface: None,
                default_route: false,
                source_address: None,
                multihop: 1,
                ttl_security: false,
                password_file: None,
                os: None,
                bfd: None,
                hooks: None,
                overrides: Overrides {
                    next_hop_v6: Some("2001:db8:1::11".parse().unwrap()),
                    ..Overrides::default()
                },
            }],
            services: vec![ServiceConfig {
                vrf: None,
                name: "www".parse().unwrap(),
                vips: vec!["192.0.2.80".parse().unwrap(), "2001:db8::80".parse().unwrap()],
                prefixes: [].into(),
                recipients: crate::model::Recipients::All,
                attributes: Attributes {
                    communities: ["65001:80".parse().unwrap()].into(),
                    med: Some(100),
                    local_pref: Some(100),
                    ..Attributes::default()
                },
                announce_delay: Duration::ZERO,
                flap_damping: FlapDamping::Deprefer,
                listener_grace: Duration::ZERO,
                require: Require::All,
                on_failure: OnFailure::Withdraw,
                on_timeout: None,
                ports: std::collections::BTreeSet::new(),
                min_announcers: None,
                weight: None,
                weight_file: None,
                backup: false,
                deprefer: Deprefer { prepend: 3, local_pref: Some(0), ..Deprefer::default() },
                hooks: None,
                checks: vec![CheckConfig {
                    name: "http".into(),
                    probe,
                    target: None,
                    interval: second,
                    fast_interval: second,
                    timeout: second,
                    rise: 2,
                    fall: 3,
                    start_period: Duration::ZERO,
                    on_failure: None,
                    on_timeout: None,
                    slow: None,
                }],
            }],
            health: HealthConfig { listener_watch: Duration::from_millis(5) },
            hooks: None,
            metrics: None,
            chain: None,
            dsr: None,
            drain: None,
            status: None,
            log: LogConfig { level: "info".into(), format: LogFormat::Text },
        }
    );
}

#[test]
fn every_rule_is_reported() {
    let mut out = String::new();
    for (title, changes) in bad::BAD {
        let text = changes.iter().fold(GOOD.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{title}: {from}");
            text.replacen(from, to, 1)
        });
        out += &format!("{title}\n{}", printed(&text));
    }
    assert!(!out.contains("  good\n"), "{out}");
    expect_file!["tests/bad.txt"].assert_eq(&out);
}

#[test]
fn documented_bounds_are_the_ones_that_are_checked() {
    for (section, name, value) in [
        ("[bgp]", "settle", "\"1h\""),
        ("[drain]", "prepare", "\"2h\""),
        ("[drain]", "deadline", "\"2days\""),
        ("[[peer]]", "port", "0"),
        ("[bgp]", "graceful_restart", "\"2h\""),
        ("[[peer]]", "send_hold_time", "\"1s\""),
        ("[[peer]]", "min_hold_time", "\"2s\""),
        ("[[peer]]", "tcp_mss", "535"),
        ("[[peer]]", "multihop", "0"),
        ("[[peer]]", "prepend", "11"),
        ("[[peer]]", "local_pref", "-1"),
        ("[[service]]", "prepend", "11"),
        ("[[service]]", "med", "-1"),
        ("[[service]]", "listener_grace", "\"11s\""),
        ("[[service.check]]", "interval", "\"2h\""),
        ("[[service.check]]", "timeout", "\"1h\""),
        ("[[service.check]]", "rise", "0"),
        ("[[service.check]]", "fall", "0"),
        ("[[service.check]]", "fast_interval", "\"2h\""),
        ("[[service.check]]", "max_body", "0"),
        ("[[service.check]]", "tcp", "65536"),
    ] {
        let printed = printed(&format!("[[service]]\n{section}\n{name} = {value}\n"));
        let section = FILE.all().into_iter().find(|all| all.header == section).unwrap();
        let doc = section.key(name).unwrap().doc;
        let bounds = doc.rsplit("; ").next().unwrap();
        assert!(
            printed.replace('`', "").replace("a number of ", "").contains(&format!("write {bounds}")),
            "{name}: {printed}"
        );
    }
}

#[test]
fn the_edges_of_what_a_vip_may_be() {
    let takes = |vip: &str| printed(&GOOD.replace("192.0.2.80", vip)) == "  good\n";
    for good in
        ["1.0.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "223.255.255.255"]
    {
        assert!(takes(good), "{good}");
    }
    for good in ["::1:0:0:0", "fc00::1", "fe7f::1", "fec0::1", "feff::1", "64:ff9b::1"] {
        assert!(takes(good), "{good}");
    }
    for bad in
        ["0.255.255.255", "127.0.0.0", "127.255.255.255", "169.254.255.255", "239.255.255.255", "240.0.0.0"]
    {
        assert!(!takes(bad), "{bad}");
    }
    for bad in ["::ffff:ffff", "::ffff:0.0.0.0", "fe80::", "febf:ffff::1", "ff00::", "ffff::1"] {
        assert!(!takes(bad), "{bad}");
    }
}

#[test]
fn communities_leave_room_for_vips() {
    let of = |count: usize| {
        let all: Vec<String> = (0..count).map(|i| format!("\"1:{i}\"")).collect();
        printed(&GOOD.replace("\"65001:80\"", &all.join(", ")))
    };
    assert_eq!(of(255), "  good\n");
    assert!(of(256).contains("17:15: 256 communities are too many"), "{}", of(256));
    for (key, each, most) in [("extended_communities", "rt:1:", 31), ("large_communities", "1:1:", 64)] {
        for (place, count) in [("med = 100", most), ("med = 100", most + 1), ("port = 179", most + 1)] {
            let all: Vec<String> = (0..count).map(|i| format!("\"{each}{i}\"")).collect();
            let printed = printed(&GOOD.replace(place, &format!("{place}\n{key} = [{}]", all.join(", "))));
            assert_eq!(printed.contains("are too many"), count > most, "{printed}");
        }
    }
    for (count, is_good) in [(16, true), (17, false)] {
        let all: Vec<String> = (0..count).map(|i| format!("\"1:{i}\"")).collect();
        let last_choice = format!("[service.deprefer]\ncommunities = [{}]", all.join(", "));
        let printed =
            printed(&GOOD.replace("[[service.check]]", &format!("{last_choice}\n[[service.check]]")));
        assert_eq!(printed == "  good\n", is_good, "{printed}");
    }
}

#[test]
fn the_edges_of_what_a_protocol_of_a_handshake_may_be() {
    let (most, too_long) = ("x".repeat(255), "x".repeat(256));
    for (name, is_good) in
        [(most.as_str(), true), (&too_long, false), ("", false), ("!~", true), ("h 2", false), ("hü", false)]
    {
        let tls = format!("tls = \"a\"\nalpn = [\"{name}\"]");
        let printed = printed(&GOOD.replace("http = \"http://www.example.com/healthz\"", &tls));
        assert_eq!(printed == "  good\n", is_good, "{printed}");
    }
}

#[test]
fn each_kind_of_check_has_its_port_and_its_request() {
    for (lines, port, request) in [
        ("http = \"http://www.example.com/x\"", Some(80), "GET http://www.example.com/x at 192.0.2.80"),
        ("http = \"https://a/\"\nmethod = \"HEAD\"", Some(443), "HEAD https://a/ at 192.0.2.80"),
        ("tls = \"a\"", Some(443), "for a TLS handshake as with a:443 at 192.0.2.80"),
        ("tls = \"a:8443\"", Some(8443), "for a TLS handshake as with a:8443 at 192.0.2.80"),
        ("tcp = 25", Some(25), "for a connection to TCP port 25 at 192.0.2.80"),
        ("tcp = 25\ntarget = \"unix:/run/app.sock\"", None, "for a connection to TCP port 25 at 192.0.2.80"),
        ("exec = [\"/bin/check\", \"-v\"]", None, "`/bin/check -v`"),
        ("icmp = 56", None, "for an echo of 56 octets at 192.0.2.80"),
        ("udp = 53", None, "for an answer to a datagram to UDP port 53 at 192.0.2.80"),
        ("ntp = 123", None, "for the time by NTP at UDP port 123 of 192.0.2.80"),
        (
            "grpc = \"https://a:50051\"",
            Some(50051),
            "whether the gRPC server https://a:50051 serves at 192.0.2.80",
        ),
        (
            "grpc = \"http://a\"\ngrpc_service = \"x.Y\"",
            Some(80),
            "whether the gRPC service `x.Y` of http://a:80 serves at 192.0.2.80",
        ),
        ("dns = \"a.example\"", None, "by UDP for the A records of a.example at 192.0.2.80, port 53"),
        (
            "dns = \".\"\nrecord_type = \"SOA\"\ntransport = \"tls\"",
            Some(853),
            "by TLS for the SOA records of . at 192.0.2.80, port 853",
        ),
        ("file = \"/run/up\"", None, "for the file `/run/up`"),
    ] {
        let check = a_check(lines);
        assert_eq!((check.port(), check.probe.request("192.0.2.80").as_str()), (port, request), "{lines}");
    }
    let at = "unix:/run/app.sock";
    assert_eq!(a_check("tcp = 25").probe.request(at), "for a connection at unix:/run/app.sock");
}

#[test]
fn two_patterns_are_equal_if_their_texts_are() {
    let check = |expect: &str| a_check(&format!("tcp = 25\nexpect = \"{expect}\""));
    assert_eq!(check("^220 "), check("^220 "));
    assert_ne!(check("^220 "), check("^250 "));
}

/// Only a check that always fails without its `ca_file` needs that file.
#[test]
fn a_file_is_looked_at_where_its_check_can_only_fail_without_it() {
    let (http, https) = ("http = \"http://a/\"", "http = \"https://a/\"");
    let (tls, ca) = ("tls = \"a\"", "ca_file = \"/ca\"");
    for (kind, keys, places) in [
        (https, format!("verify = \"require\"\n{ca}"), vec![(23, 11)]),
        (tls, format!("verify = \"require\"\n{ca}"), vec![(23, 11)]),
        (https, format!("verify = \"warn\"\n{ca}"), vec![]),
        (tls, ca.to_owned(), vec![]),
        (https, "client_certificate = \"/c\"\nclient_key = \"/k\"".to_owned(), vec![(22, 22)]),
        (tls, "verify = \"require\"".to_owned(), vec![]),
        (http, String::new(), vec![]),
        // These keys are wrong with `http://`, so the file does not matter.
        (http, format!("verify = \"require\"\n{ca}"), vec![(22, 1), (23, 1)]),
    ] {
        let text = GOOD.replace("http = \"http://www.example.com/healthz\"", &format!("{kind}\n{keys}"));
        let found = parse_sources(&Sources::one("x", &text), |file| {
            Err(format!("`{}` is empty", file.path().display()))
        });
        let found = found.map_or_else(
            |errors| errors.iter().map(|error| (error.line, error.column)).collect(),
            |_| Vec::new(),
        );
        assert_eq!(found, places, "{kind} {keys}");
        assert_eq!(parse("x", &text).is_ok(), kind != http || keys.is_empty(), "{kind} {keys}");
    }
}

#[test]
fn what_is_unusual_and_good() {
    for (from, to) in [
        ("\"9s\"", "\"0s\""),
        ("\"9s\"", "\"3s\""),
        ("\"9s\"", "\"18h12m15s\""),
        ("\"10.0.1.1\"", "\"169.254.10.1\""),
        ("\"10.0.1.1\"", "\"2001:db8:1::1\""),
        ("192.0.2.80", "10.9.9.9"),
        ("2001:db8::80", "fd00::80"),
        ("http://www.example.com/healthz", "http://192.0.2.80:8080/?a=b"),
        ("asn = 65000", "asn = 65001"),
        ("asn = 65000", "asn = 4_200_000_000"),
        ("communities = [\"65001:80\"]", "communities = []"),
        ("\"10.0.1.1\"", "\"default-gateway\""),
        ("\"10.0.1.1\"", "\"fe80::1\"\ninterface = \"eth0\""),
        ("\"10.0.1.1\"", "\"router-advertisement\"\ninterface = \"eth0\""),
        ("address = \"10.0.1.1\"", "interface = \"eth0\"\ndefault_route = true"),
        (
            "address = \"10.0.1.1\"",
            "interface = \"eth0\"\nsource_address = \"fe80::11\"\nttl_security = true",
        ),
        ("asn = 65000", "asn = \"external\""),
        ("asn = 65000", "asn = \"internal\""),
        ("port = 179", "families = [\"ipv6\"]"),
        ("port = 179", "source_address = \"10.0.1.11\""),
        ("port = 179", "ttl_security = true\nmultihop = 3"),
        ("port = 179", "capabilities = false"),
        ("port = 179", "capabilities = false\nfamilies = [\"ipv4\"]"),
        ("port = 179", "password_file = \"r1.key\""),
        ("port = 179", "send_hold_time = \"9s\""),
        ("port = 179", "min_hold_time = \"9s\""),
        ("med = 100", "require = 1"),
        (
            "port = 179",
            "med = 0\ncommunities = []\nprepend = 10\norigin = \"egp\"\nnext_hop_v4 = \"10.0.1.11\"",
        ),
        ("settle = \"1s\"", "graceful_restart = \"4095s\""),
        ("med = 100", "prefix = \"192.0.2.0/24\""),
        ("med = 100", "prefix = [\"192.0.2.0/24\", \"2001:db8::/64\"]"),
        ("med = 100", "next_hop = \"10.0.1.11\""),
        ("med = 100", "next_hop = [\"10.0.1.11\", \"2001:db8:1::11\"]"),
        ("med = 100", "next_hop = [\"self\"]"),
        ("\"65001:80\"", "\"no-export\", \"graceful-shutdown\", \"blackhole\""),
        ("rise = 2", "target = \"127.0.0.1\""),
        ("rise = 2", "target = \"[::1]:8080\"\nfast_interval = \"50ms\""),
        ("rise = 2", "method = \"PURGE\"\nbody = \"ü\"\nhttp_version = \"2\"\nmax_body = 16777216"),
        ("rise = 2", "expect_status = [\"200-299\", 401, \"404\"]\nexpect_body = 'a\\.b'"),
        ("rise = 2", "headers = [\"X-Probe: a: b\", \"User-Agent: x\"]\nexpect_status = 301"),
        (
            "http://www.example.com/healthz\"",
            "https://[2001:db8::1]:8443/\"\nverify = \"require\"\nca_file = \"ca\"",
        ),
        (
            "http = \"http://www.example.com/healthz\"",
            "tls = \"[2001:db8::1]\"\nalpn = [\"h2\"]\nverify = \"off\"",
        ),
        (
            "http = \"http://www.example.com/healthz\"",
            "tcp = 6379\nsend = \"PING\\r\\n\"\nexpect = '^\\+PONG\\r\\n'",
        ),
        ("http = \"http://www.example.com/healthz\"", "tcp = 65535\ntarget = \"127.0.0.1:1\""),
        (
            "http = \"http://www.example.com/healthz\"",
            "exec = [\"/a b\", \"\", \"ü\"]\nuser = \"www-data\"\nexit_codes = \"nagios\"",
        ),
        ("http = \"http://www.example.com/healthz\"", "file = \"/run/a b\""),
        ("http = \"http://www.example.com/healthz\"", "tls = \"localhost:1\"\ncert_expires_within = \"0s\""),
    ] {
        assert_eq!(printed(&GOOD.replacen(from, to, 1)), "  good\n", "{to}");
    }
    let inline = "bgp = { asn = 1 }\npeer = [{ name = 'a', address = '10.0.0.1', asn = 2 }]\n[[service]]\n\
                  name = 's'\nvips = ['192.0.2.1']\ncheck = [{ http = 'http://a' }]";
    let config = parse("x", inline).unwrap();
    let check = &config.services[0].checks[0];
    assert_eq!((config.peers[0].port, config.peers[0].hold_time), (179, Duration::from_secs(9)));
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(1), Duration::from_secs(1)));
    assert_eq!((check.rise, check.fall, config.bgp.settle), (2, 3, Duration::from_secs(1)));
}

#[test]
fn what_is_said_can_change_on_a_session_and_what_it_runs_on_cannot() {
    let of = |from: &str, to: &str| parse("x", &GOOD.replacen(from, to, 1)).unwrap().peers.remove(0);
    let keyed = |file: &str| of("port = 179", &format!("password_file = \"{file}\""));
    let before = of("", "");
    for (from, to) in [
        ("port = 179", "med = 7"),
        ("port = 179", "communities = []"),
        ("port = 179", "os = \"eos\""),
        ("2001:db8:1::11", "2001:db8:1::12"),
    ] {
        assert!(before.same_session(&of(from, to)), "{to}");
        assert_ne!(before, of(from, to));
    }
    assert!(keyed("a").same_session(&keyed("b")), "the key is changed on the live socket");
    for (from, to) in [
        ("179", "180"),
        ("asn = 65000", "asn = \"external\""),
        ("9s", "12s"),
        ("10.0.1.1\"", "10.0.1.2\""),
        ("port = 179", "ttl_security = true"),
        ("port = 179", "families = [\"ipv4\"]"),
        ("port = 179", "password_file = \"a\""),
        ("port = 179", "capabilities = false"),
    ] {
        assert!(!before.same_session(&of(from, to)), "{to}");
    }
    assert!(!keyed("a").same_session(&before));
}

// B1
#[test]
fn a_vip_that_no_session_carries_is_warned_of_and_one_that_another_carries_is_not() {
    let of = |families: &[&str]| {
        let mut text = String::from("[bgp]\nasn = 65001\n");
        for (n, families) in families.iter().enumerate() {
            text += &format!(
                "[[peer]]\nname = \"r{n}\"\naddress = \"10.0.1.{}\"\nasn = 65000\nfamilies = {families}\n",
                n + 1
            );
        }
        text += "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n[[service.check]]\ntcp = 80\n";
        parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")).warnings()
    };
    assert_eq!(of(&["[\"ipv4\"]", "[\"ipv6\"]"]), [""; 0]);
    assert_eq!(
        of(&["[\"ipv4\"]", "[\"ipv4\"]"]),
        ["service `www`: no router gets a route to 2001:db8::80: `families` of each peer lacks IPv6"]
    );
}

#[test]
fn a_depreference_that_routers_would_not_see_is_warned_of() {
    let warned = |peer: &str, service: &str, deprefer: &str| {
        let text = GOOD.replacen("asn = 65000", &format!("asn = {peer}"), 1);
        let text = text.replacen(
            "[[service.check]]",
            &format!("{service}\n[service.deprefer]\n{deprefer}\n[[service.check]]"),
            1,
        );
        parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")).warnings()
    };
    const DEPREFER: &str = "on_failure = \"deprefer\"";
    for (peer, service, deprefer, want) in [
        ("65000", DEPREFER, "", None),
        ("65000", "", "prepend = 0\nmed = 9", None),
        ("65000", DEPREFER, "prepend = 0\nmed = 9", Some("MED alone")),
        ("65000", "backup = true", "prepend = 0", Some("cannot see")),
        ("\"internal\"", DEPREFER, "prepend = 0", None),
        ("\"internal\"", DEPREFER, "local_pref = 100", Some("not below the 100")),
    ] {
        let warnings = warned(peer, service, deprefer);
        match want {
            None => assert_eq!(warnings, [""; 0], "{peer} {service} {deprefer}"),
            Some(want) => assert!(warnings.len() == 1 && warnings[0].contains(want), "{warnings:?}"),
        }
    }
}

// H14: no probe went to an address in the URL, and no message said so.
#[test]
fn an_address_in_the_url_that_is_not_asked_is_warned_of() {
    let warned = |check: &str| {
        let text = GOOD.replacen("http = \"http://www.example.com/healthz\"", check, 1);
        parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")).warnings()
    };
    let want = |host: &str, port: u16, target: &str, kind: &str| {
        format!(
            "service `www`, check `{kind}`: `{host}` is not probed: each VIP is, at port {port}; to probe it, write `target = \"{target}\"`"
        )
    };
    for (check, want) in [
        ("http = \"http://www.example.com:8080/x\"", None),
        ("http = \"http://192.0.2.80:8080/x\"", None),
        ("http = \"https://[2001:db8::80]/\"", None),
        ("http = \"http://127.0.0.1:8080/x\"\ntarget = \"127.0.0.1\"", None),
        ("tcp = 25", None),
        ("http = \"http://127.0.0.1:8080/x\"", Some(want("127.0.0.1", 8080, "127.0.0.1:8080", "http"))),
        ("http = \"http://[::1]/\"", Some(want("[::1]", 80, "[::1]:80", "http"))),
        ("http = \"http://localhost:8080/\"", Some(want("localhost", 8080, "127.0.0.1:8080", "http"))),
        ("tls = \"10.0.0.7:8443\"", Some(want("10.0.0.7", 8443, "10.0.0.7:8443", "tls"))),
    ] {
        assert_eq!(warned(check), want.into_iter().collect::<Vec<_>>(), "{check}");
    }
}

// H16: a template without services was refused.
#[test]
fn without_a_service_nothing_is_announced_and_that_is_warned_of() {
    let (above, _) = GOOD.split_once("[[service]]").unwrap();
    for text in [above.to_owned(), format!("service = []\n{above}")] {
        let config = parse("x", &text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.services, []);
        assert_eq!(
            config.warnings(),
            ["no service is configured: nothing is announced; add a `[[service]]`"]
        );
        assert_eq!(parse("x", &canonical(&config)).unwrap(), config);
    }
}

// B20: what the help says to write is accepted.
#[test]
fn an_as_in_another_notation_is_refused_and_the_help_is_accepted() {
    let reserved = ("AS 0 is reserved", "write the AS number, 1 to 4294967295");
    let trans = ("AS 23456 is AS_TRANS, which no network has", "write the real AS number");
    let dot = "`asn` must be one number, without a dot";
    let quotes = "`asn` must be an integer, not a string";
    let parts =
        "write a number of 1 to 4294967295; in an AS with a dot (RFC 5396) each part is at most 65535";
    for (written, (message, help)) in [
        ("\"0.0\"", reserved),
        ("0.0", reserved),
        ("\"0\"", reserved),
        ("\"AS0\"", reserved),
        ("\"0.23456\"", trans),
        ("0.23456", trans),
        ("\"23456\"", trans),
        ("\"AS65000\"", (quotes, "write `65000`, without quotes")),
        ("\"as 65000\"", (quotes, "write `65000`, without quotes")),
        ("\"ASN65000\"", (quotes, "write `65000`, without quotes")),
        ("\"65000 \"", (quotes, "write `65000`, without quotes")),
        ("\" 65000\"", (quotes, "write `65000`, without quotes")),
        ("\"AS1.10\"", (dot, "write `65546`, which is the same AS (RFC 5396)")),
        ("1.10", (dot, "write `65546`, which is the same AS (RFC 5396)")),
        ("65.000", (dot, "write `65000`, or `4259840` if the dot is that of RFC 5396")),
        ("65536.1", (dot, parts)),
        ("1e3", (dot, parts)),
    ] {
        for replaced in ["asn = 65001", "asn = 65000"] {
            let text = GOOD.replace(replaced, &format!("asn = {written}"));
            let errors = parse("x", &text).unwrap_err();
            let found: Vec<(&str, &str)> = errors.iter().map(|error| (error.message, error.help)).collect();
            assert_eq!(found, [(message, help)], "{replaced}: {written}");
            if let Some(number) = help.strip_prefix("write `").and_then(|help| help.split('`').next()) {
                parse("x", &GOOD.replace(replaced, &format!("asn = {number}"))).unwrap();
            }
        }
    }
    // Where a word may stand, the message names the words.
    for written in ["\"AS\"", "\"extern\"", "\"65536.1\"", "\"\u{e9}S1\"", "\"\""] {
        let errors = parse("x", &GOOD.replace("asn = 65000", &format!("asn = {written}"))).unwrap_err();
        let help: Vec<&str> = errors.iter().map(|error| error.help).collect();
        assert_eq!(
            help,
            ["write a number of 1 to 4294967295, `\"external\"` or `\"internal\"`"],
            "{written}"
        );
    }
}

#[test]
fn two_interfaces_may_have_two_routers_with_one_address() {
    let peer = |line: &str| {
        let text = GOOD.replace("port = 179", line).replace("med = 100", "peers = [\"r1\"]");
        parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")).peers.remove(0)
    };
    let (eth0, eth1) = ("interface = \"eth0\"", "interface = \"eth1\"");
    for (one, other, want) in [
        ("", "", true),
        (eth0, eth0, true),
        (eth0, "", true), // the route of the other may be the same
        (eth0, eth1, false),
        ("port = 179", "port = 1179", false),
        ("vrf = \"edge\"", "vrf = \"edge\"", true),
        ("vrf = \"edge\"", "vrf = \"red\"", false),
        ("vrf = \"edge\"", "", false),
    ] {
        assert_eq!(peer(one).same_place(&peer(other)), want, "{one} {other}");
        assert_eq!(peer(other).same_place(&peer(one)), want, "{one} {other}");
    }
}
