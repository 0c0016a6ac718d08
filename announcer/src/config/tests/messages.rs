//! Tests how errors are printed: all at once, each with its place, and without characters that move a cursor.

use super::*;

#[test]
fn five_errors_are_reported_at_once() {
    let text = r#"[bgp]
asn = 0
setle = "1s"

[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000
hold_time = "2s"

[[service]]
name = "www"
vips = ["192.0.2.80", "10.0.1.1", "192.0.2.80"]

[[service.check]]
http = "http://www.example.com/healthz"
"#;
    check(
        text,
        expect![[r#"
            error: AS 0 is reserved
             --> announcer.toml:2:7
              |
            2 | asn = 0
              |       ^
              |
              = help: write the AS number, 1 to 4294967295

            error: unknown key `setle` in `[bgp]`
             --> announcer.toml:3:1
              |
            3 | setle = "1s"
              | ^^^^^
              |
              = help: did you mean `settle`?

            error: `hold_time` must be zero or at least `3s`
             --> announcer.toml:9:13
              |
            9 | hold_time = "2s"
              |             ^^^^
              |
              = help: RFC 4271 section 4.2 forbids 1 and 2 seconds; the default is `9s`

            error: the VIP `10.0.1.1` is also a peer's address
              --> announcer.toml:13:23
               |
             7 | address = "10.0.1.1"
               |           ---------- the peer's address
            ...
            13 | vips = ["192.0.2.80", "10.0.1.1", "192.0.2.80"]
               |                       ^^^^^^^^^^
               |
               = help: write an address that every frontend shares and nothing else uses

            error: `192.0.2.80` is named twice
              --> announcer.toml:13:35
               |
            13 | vips = ["192.0.2.80", "10.0.1.1", "192.0.2.80"]
               |         ------------              ^^^^^^^^^^^^
               |         |
               |         first named here
               |
               = help: name each VIP once"#]],
    );
}

#[test]
fn syntax_errors_are_reported_at_once_and_what_can_still_be_judged() {
    check(
        r#"[bgp]
asn = 65o01
router_id = 10.0.1.11
settle = "1s

[[peer]]
name = "r1"
name = "r2"
address "10.0.1.1"
asn = 65000
hold_time = "2s"

[[service]
name = "www"
vips = [192.0.2.80, 192.0.2.81]
med = -1
"#,
        expect![[r#"
            error: `65o01` is not a TOML value
             --> announcer.toml:2:7
              |
            2 | asn = 65o01
              |       ^^^^^
              |
              = help: if it is text, write `"65o01"`

            error: `10.0.1.11` is not a TOML value
             --> announcer.toml:3:13
              |
            3 | router_id = 10.0.1.11
              |             ^^^^^^^^^
              |
              = help: if it is text, write `"10.0.1.11"`

            error: invalid basic string
             --> announcer.toml:4:13
              |
            4 | settle = "1s
              |             ^
              |
              = help: here TOML expects `"`

            error: this key was given before
             --> announcer.toml:8:1
              |
            8 | name = "r2"
              | ^^^^
              |
              = help: write each key once in its table, and `[[…]]` for tables that may come more than once

            error: key with no value
             --> announcer.toml:9:9
              |
            9 | address "10.0.1.1"
              |         ^
              |
              = help: here TOML expects `=`

            error: `hold_time` must be zero or at least `3s`
              --> announcer.toml:11:13
               |
            11 | hold_time = "2s"
               |             ^^^^
               |
               = help: RFC 4271 section 4.2 forbids 1 and 2 seconds; the default is `9s`

            error: unclosed array table
              --> announcer.toml:13:11
               |
            13 | [[service]
               |           ^
               |
               = help: here TOML expects `]`"#]],
    );
}

#[test]
fn an_array_that_nothing_closes_is_reported_once() {
    check(
        "[[service]]\nvips = [\n  \"192.0.2.80\",\nmed = 1\n\n[[service.check]]\nhttp = \"http://a\"\nrise = 1\n",
        expect![[r#"
            error: this array is not closed
             --> announcer.toml:2:8
              |
            2 | vips = [
              |        ^
              |
              = help: write `]` after its last value"#]],
    );
}

#[test]
fn columns_count_characters() {
    // A mark of byte order, line ends of Windows, tabs, letters of several bytes.
    let text =
        "\u{feff}[bgp]\r\n\tasn = 0 # für uns\r\nü = \"日本\"\r\n\"日本\" = 1\r\nrouter_id = \"日本\"; 1\r\n";
    check(
        text,
        expect![[r#"
            error: AS 0 is reserved
             --> announcer.toml:2:8
              |
            2 |     asn = 0 # für uns
              |           ^
              |
              = help: write the AS number, 1 to 4294967295

            error: invalid unquoted key
             --> announcer.toml:3:1
              |
            3 | ü = "日本"
              | ^
              |
              = help: here TOML expects letters, numbers, `-`, `_`

            error: unknown key `日本` in `[bgp]`
             --> announcer.toml:4:1
              |
            4 | "日本" = 1
              | ^^^^^^
              |
              = help: write one of `asn`, `router_id`, `settle`, `graceful_restart`

            error: unexpected key or value
             --> announcer.toml:5:17
              |
            5 | router_id = "日本"; 1
              |                   ^
              |
              = help: here TOML expects newline, `#`"#]],
    );
    let columns: Vec<_> = parse("x", text).unwrap_err().iter().map(|e| (e.line, e.column)).collect();
    assert_eq!(columns, [(2, 8), (3, 1), (4, 1), (5, 17)]);
    let first = printed("\u{feff}x = 1");
    assert!(first.starts_with("  1:1: unknown key `x`"), "{first}");
}

#[test]
fn what_is_not_printable_reaches_no_terminal() {
    let text = "[bgp]\nasn = 1\nrouter_id = \"\\u001b[31m\"\n\"\\u001b]0;x\" = 1\n# \u{202e}\nsettle = \"\u{85}\u{9b}31m\"\n";
    let printed = parse("announcer.toml", text).unwrap_err().to_string();
    assert!(!printed.contains(|c: char| c.is_control() && c != '\n'), "{printed:?}");
}

#[test]
fn many_errors_are_counted() {
    let text: String = (0..1000).map(|i| format!("a{i} = 1\n")).collect();
    let errors = parse("x", &text).unwrap_err();
    assert_eq!(errors.len(), 1002);
    assert!(errors.to_string().ends_with("\nerror: 902 more errors"), "{errors}");
    assert!(errors.styled().contains("\u{1b}["));
}
