use crate::config::parse;
use crate::config::tests::GOOD;

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
