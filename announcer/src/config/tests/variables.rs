//! Tests `${NAME}` in values.

use super::super::diff::{Difference, differences};
use super::super::sources::{Variable, Variables};
use super::*;

/// The line of `GOOD` with the URL.
const URL: &str = "http = \"http://www.example.com/healthz\"";

/// The variables of the tests; the token is a credential.
fn variables(token: &str) -> Variables {
    let environment =
        |(name, value): (&str, &str)| (name.to_owned(), Variable::Environment(value.to_owned()));
    let all = [
        ("ASN", "65009"),
        ("VIP", "192.0.2.99"),
        ("HOLD", "30s"),
        ("YES", "true"),
        ("N", "42"),
        ("RANGE", "200-204"),
    ];
    let credentials =
        [("TOKEN", token), ("CRED_ASN", "65009"), ("BLANK", "s3cret s3cret"), ("HASH", "s3cret#s3cret")]
            .map(|(name, value)| (name.to_owned(), Variable::Credential(value.to_owned())));
    all.map(environment).into_iter().chain(credentials).collect()
}

fn with(text: &str, token: &str) -> Result<Config, ConfigErrors> {
    let text = text.to_owned().into_bytes();
    let sources = Sources::of_octets([("announcer.toml".to_owned(), text)]).with_variables(variables(token));
    parse_sources(&sources, |_| Ok(()))
}

/// `GOOD` with a line of it replaced.
fn good(from: &str, to: &str) -> Config {
    assert!(GOOD.contains(from), "{from}");
    with(&GOOD.replacen(from, to, 1), "s3cret").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn a_variable_is_read_as_what_it_spells() {
    for (from, to, same) in [
        ("asn = 65001", "asn = \"${ASN}\"", "asn = 65009"),
        ("asn = 65000", "asn = \"${NONE:-65009}\"", "asn = 65009"),
        ("\"192.0.2.80\"", "\"${VIP}\"", "\"192.0.2.99\""),
        ("\"9s\"", "\"${HOLD}\"", "\"30s\""),
        ("med = 100", "backup = \"${YES}\"", "backup = true"),
        ("med = 100", "med = \"${N}0\"", "med = 420"),
        ("name = \"www\"", "name = \"${N}\"", "name = \"42\""),
        ("rise = 2", "rise = \"${NONE:-5}\"", "rise = 5"),
        ("rise = 2", "expect_status = [\"${RANGE}\", \"4${N}\"]", "expect_status = [\"200-204\", 442]"),
        ("rise = 2", "body = \"$${N}\"", "body = '$${N}'"),
        ("[bgp]", "# ${NONE} in a comment\n[bgp]", "[bgp]"),
    ] {
        let same = with(&GOOD.replacen(from, same, 1), "").unwrap();
        let config = good(from, to);
        assert_eq!(config, same, "{to}");
        assert_eq!(with(&canonical(&config), "").unwrap(), config, "{to}");
    }
    // Without a substitution, a number stays a number.
    assert!(with(&GOOD.replacen("rise = 2", "rise = \"2\"", 1), "").is_err());
}

#[test]
fn what_is_wrong_with_a_variable_is_reported_at_its_place() {
    let mut out = String::new();
    for (from, to) in [
        ("asn = 65001", "asn = \"${NONE}\""),
        ("asn = 65001", "asn = \"${HOLD}\""),
        ("asn = 65001", "asn = \"${NONE:-70000000000}\""),
        ("\"192.0.2.80\"", "\"${N}\""),
        ("\"9s\"", "\"${N}\""),
        ("name = \"www\"", "name = \"${NONE}\""),
        ("rise = 2", "rise = \"${NONE:-05}\""),
        ("rise = 2", "rise = \"${HOLD}\""),
        ("med = 100", "backup = \"${HOLD}\""),
        ("rise = 2", "body = \"${HOME\""),
        ("\"2001:db8::80\"", "\"${VIP}\", \"${VIP}\""),
        ("asn = 65001", "asn = \"${CRED_ASN}\""),
        ("name = \"www\"", "name = \"${TOKEN}\""),
        (URL, "http = \"http://${TOKEN}/\""),
        (URL, "exec = [\"${TOKEN}\"]"),
        ("rise = 2", "headers = [\"${TOKEN}\"]"),
        ("rise = 2", "headers = \"${TOKEN}\""),
        (URL, "http = \"http://www.example.com/${BLANK}\""),
        (URL, "http = \"http://www.example.com/?t=${HASH}\""),
        (URL, "http = \"http://www.example.com/#${TOKEN}\""),
        (URL, "http = \"http://www.example.com${TOKEN}\""),
        (URL, "http = \"ftp://www.example.com/${TOKEN}\""),
        (URL, "http = \"http://u:${TOKEN}@www.example.com/\""),
        (URL, "http = \"${TOKEN}\""),
    ] {
        let errors = with(&GOOD.replacen(from, to, 1), "s3cret").unwrap_err();
        assert!(!errors.to_string().contains("s3cret"), "{errors}");
        out += &format!("{to}\n");
        for e in errors.iter() {
            out += &format!("  {}:{}: {}\n      {}\n", e.line, e.column, e.message, e.help);
        }
    }
    expect_file!["variables.txt"].assert_eq(&out);
}

#[test]
fn a_credential_is_never_shown() {
    let lines = "http = \"https://www.example.com/h?token=${TOKEN}\"\nheaders = [\"Authorization: Bearer ${TOKEN}\"]\nbody = \"${TOKEN} ${N}\"";
    let checks = format!(
        "{lines}\n[[service.check]]\ntcp = 25\nsend = \"AUTH ${{TOKEN}}\"\n[[service.check]]\nexec = [\"/bin/check\", \"-p${{TOKEN}}\"]"
    );
    let text = GOOD.replacen(URL, &checks, 1) + "[hooks]\non_change = [\"/bin/hook\", \"${TOKEN}\"]\n";
    let config = with(&text, "s3cret").unwrap_or_else(|errors| panic!("{errors}"));
    let ProbeConfig::Http(http) = &config.services[0].checks[0].probe else { panic!() };
    assert_eq!(http.url.as_str(), "https://www.example.com/h?token=s3cret");
    assert_eq!(http.headers[0].value, "Bearer s3cret");
    assert_eq!(http.body.as_ref().map(|body| body.as_str()), Some("s3cret 42"));
    let requests = config.services[0].checks.iter().map(|check| check.probe.request("192.0.2.80"));
    let requests: Vec<String> = requests.collect();
    assert_eq!(requests[0], "GET https://www.example.com/h?token=${TOKEN} at 192.0.2.80");
    let written = canonical(&config);
    for shown in [requests.join(" "), written.clone(), format!("{config:?}"), config.warnings().join(" ")] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert!(written.contains("body = \"${TOKEN} 42\""), "{written}");
    assert_eq!(with(&written, "s3cret").unwrap(), config, "it can be read with the same credentials");

    // Another credential is another configuration, and the difference names the key alone.
    let other = with(&text, "0ther").unwrap();
    assert_ne!(config, other);
    let lines: Vec<String> = differences(&config, &other).iter().flat_map(Difference::lines).collect();
    let all = lines.join("\n");
    assert!(!all.contains("s3cret") && !all.contains("0ther"), "{all}");
    assert_eq!(
        lines,
        [
            "www: check http: body: the credential changed",
            "www: check http: headers: the credential changed",
            "www: check http: http: the credential changed",
            "www: check tcp: send: the credential changed",
            "www: check exec: exec: the credential changed",
            "[hooks]: on_change: the credential changed",
        ]
    );
    // A value that is shown differently is printed as ever, beside the one that is not.
    let more = text.replacen(
        "\"Authorization: Bearer ${TOKEN}\"",
        "\"Authorization: Bearer ${TOKEN}\", \"A: ${TOKEN}\"",
        1,
    );
    let lines: Vec<String> =
        differences(&config, &with(&more, "0ther").unwrap()).iter().flat_map(Difference::lines).collect();
    assert_eq!(
        lines[1..3],
        ["www: check http: headers: the credential changed", "www: check http: + headers A: ${TOKEN}"]
    );
    assert_eq!(differences(&config, &config), []);
}
