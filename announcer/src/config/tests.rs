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
mod edges;
mod encoding;
mod folder;
mod generated;
mod messages;
mod peer;
mod variables;
mod warnings;
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
    for (title, changes) in bad::BAD.into_iter().flatten() {
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
