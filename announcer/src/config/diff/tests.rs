//! Tests the differences of two configurations.

use super::*;
use crate::config::parse;

const OLD: &str = r#"
[bgp]
asn = 65001

[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000

[[peer]]
name = "r2"
address = "10.0.1.2"
asn = 65000

[[service]]
name = "www"
vips = ["192.0.2.80"]

[[service.check]]
name = "site"
http = "http://www.example.com/"

[[service.check]]
name = "port"
tcp = 80

[[service]]
name = "mail"
vips = ["192.0.2.25"]

[[service.check]]
tcp = 25
"#;

/// The differences after a change of the text `OLD`.
fn texts(change: impl Fn(&str) -> String) -> Vec<String> {
    let parsed = |text: &str| parse("x", text).unwrap_or_else(|errors| panic!("{errors}"));
    let found = differences(&parsed(OLD), &parsed(&change(OLD)));
    found.iter().flat_map(Difference::lines).collect()
}

// W18: a reload that added `[hooks]`, `[health]` or `[metrics]` was called "changed settings of `[bgp]`".
#[test]
fn every_table_and_key_that_differs_is_named() {
    let append = |text: &'static str| move |old: &str| format!("{old}\n{text}\n");
    let replace = |from: &'static str, to: &'static str| move |old: &str| old.replacen(from, to, 1);
    type Edit = Box<dyn Fn(&str) -> String>;
    let table: Vec<(&str, Edit, &[&str])> = vec![
        ("nothing", Box::new(str::to_owned), &[]),
        ("a comment", Box::new(append("# more")), &[]),
        ("a default written out", Box::new(append("[health]\nlistener_watch = \"5ms\"")), &[]),
        ("hooks", Box::new(append("[hooks]\non_change = [\"/bin/true\"]")), &["[hooks] added"]),
        ("metrics", Box::new(append("[metrics]\nlisten = \"127.0.0.1:9179\"")), &["[metrics] added"]),
        ("drain", Box::new(append("[drain]\ndeadline = \"20s\"")), &["[drain] added"]),
        ("dsr", Box::new(append("[dsr]\ndirectors = [\"10.0.1.5\"]")), &["[dsr] added"]),
        ("status", Box::new(append("[status]\nlisten = \"127.0.0.1:9180\"")), &["[status] added"]),
        (
            "health",
            Box::new(append("[health]\nlistener_watch = \"10ms\"")),
            &["[health]: listener_watch 5ms -> 10ms"],
        ),
        (
            "bgp",
            Box::new(replace("asn = 65001", "asn = 65002\nrouter_id = \"10.0.0.1\"")),
            &["[bgp]: asn 65001 -> 65002", "[bgp]: + router_id 10.0.0.1"],
        ),
        ("a peer's key", Box::new(replace("asn = 65000", "asn = 65000\nmed = 7")), &["r1: + med 7"]),
        ("a peer's name", Box::new(replace("\"r2\"", "\"r3\"")), &["+ peer r3", "- peer r2"]),
        (
            "a service's key below",
            Box::new(replace("[[service.check]]", "[service.deprefer]\nprepend = 5\n[[service.check]]")),
            &["www: deprefer.prepend 3 -> 5"],
        ),
        ("a check's key", Box::new(replace("tcp = 80", "tcp = 81")), &["www: check port: tcp 80 -> 81"]),
        (
            "a check's name",
            Box::new(replace("name = \"port\"", "name = \"gate\"")),
            &["www: + check gate", "www: - check port"],
        ),
        (
            "VIPs",
            Box::new(replace(
                "\"192.0.2.25\"",
                "\"192.0.2.25\", \"192.0.2.26\", \"192.0.2.27\", \"192.0.2.28\"",
            )),
            &["mail: + VIP 192.0.2.26", "mail: + VIP 192.0.2.27", "mail: + VIP 192.0.2.28"],
        ),
    ];
    for (what, change, want) in table {
        assert_eq!(texts(change), want, "{what}");
    }
}

#[test]
fn a_long_value_is_cut_and_cannot_move_the_cursor() {
    let change =
        ValueChange::Value { key: "k".into(), before: None, after: Some(short(&"x".repeat(61).into())) };
    assert_eq!(KeyChange::from(change).to_string(), format!("+ k {}…", "x".repeat(60)));
    assert_eq!(short(&"a\u{1b}[2Jb".into()), "a [2Jb");
    assert_eq!(short(&"".into()), "\"\"");
}

#[test]
fn another_order_is_one_line_and_no_change_of_the_tables() {
    let (head, _) = OLD.split_once("[[peer]]").unwrap();
    let peer =
        |name: &str, ip: u8| format!("[[peer]]\nname = \"{name}\"\naddress = \"10.0.1.{ip}\"\nasn = 65000\n");
    let check = |name: &str, port: u16| format!("[[service.check]]\nname = \"{name}\"\ntcp = {port}\n");
    let service = |name: &str, ip: u8, checks: &[String]| {
        format!("[[service]]\nname = \"{name}\"\nvips = [\"192.0.2.{ip}\"]\n{}", checks.concat())
    };
    let (r1, r2) = (peer("r1", 1), peer("r2", 2));
    let (plain, tls) = (check("plain", 80), check("tls", 443));
    let www = service("www", 80, &[plain.clone(), tls.clone()]);
    let (mail, api) = (service("mail", 25, &[check("smtp", 25)]), service("api", 81, &[check("api", 81)]));
    let text = |parts: &[&String]| parts.iter().fold(head.to_owned(), |text, part| text + part);
    let parsed = |text: &str| parse("x", text).unwrap_or_else(|errors| panic!("{errors}"));
    let old = parsed(&text(&[&r1, &r2, &www, &mail]));
    for (new, want) in [
        (text(&[&r1, &r2, &www, &mail]), &[][..]),
        (text(&[&r2, &r1, &www, &mail]), &["the order of the peers changed"]),
        (text(&[&r1, &r2, &mail, &www]), &["the order of the services changed"]),
        (
            text(&[&r1, &r2, &service("www", 80, &[tls, plain]), &mail]),
            &["www: the order of the checks changed"],
        ),
        // What is added or removed is not another order.
        (text(&[&r1, &r2, &api, &www, &mail]), &["+ service api"]),
        (text(&[&r1, &r2, &mail]), &["- service www"]),
        (text(&[&r1, &r2, &mail, &api, &www]), &["+ service api", "the order of the services changed"]),
    ] {
        let found = differences(&old, &parsed(&new));
        assert_eq!(found.iter().flat_map(Difference::lines).collect::<Vec<_>>(), want, "{new}");
    }
}
