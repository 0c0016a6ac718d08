//! Configurations that are allowed and probably a mistake, each with its warning.

use super::{GOOD, canonical, parse};

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
