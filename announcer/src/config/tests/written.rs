//! Tests the sample and the canonical text of a configuration.

use super::*;

#[test]
fn every_key_has_an_example_that_is_good_and_a_place_in_the_sample() {
    parse("announcer.toml", SAMPLE).unwrap_or_else(|errors| panic!("{errors}"));
    let key = |line: &str| {
        line.split_once(" = ").is_some_and(|(name, _)| FILE.all().iter().any(|s| s.key(name).is_some()))
    };
    let header = |line: &str| FILE.all().iter().any(|s| s.header == line);
    let open = |line: &'static str| {
        line.strip_prefix('#')
            .filter(|rest| {
                key(rest) || header(rest) || rest.starts_with("[[") || rest.starts_with("[defaults.")
            })
            .unwrap_or(line)
    };
    let all: String = SAMPLE.lines().map(|line| format!("{}\n", open(line))).collect();
    // `[chain]` allows no `vrf` in a service.
    let (head, services) = all.split_once("\n[[service]]").unwrap();
    let without = services.lines().filter(|line| !line.starts_with("vrf = ")).collect::<Vec<_>>().join("\n");
    assert!(without.len() < services.len());
    let allowed = format!("{head}\n[[service]]{without}\n");
    let config = parse("announcer.toml", &allowed).unwrap_or_else(|errors| panic!("{errors}"));
    let written = canonical(&config);
    for section in FILE.all() {
        // The canonical text has no defaults: each table has all its keys.
        let is_defaults = section.keys().any(|key| matches!(key.need, Need::Defaults(_)));
        assert!(all.contains(section.header) || is_defaults, "{}", section.header);
        assert!(written.contains(section.header) != is_defaults, "{}", section.header);
        for key in section.keys() {
            let (here, sample) = match key.need {
                // Not every check has these keys.
                Need::Default(value) if section.header == "[[service.check]]" => (value, all.as_str()),
                Need::Default(value) | Need::Required(value)
                    if SAMPLE.contains(&format!("\n{}\n", section.header)) =>
                {
                    (value, SAMPLE)
                }
                Need::Default(value) | Need::Required(value) => (value, all.as_str()),
                Need::OneOf(value) | Need::Optional(value) => (value, all.as_str()),
                Need::Table(_) | Need::OptionalTable(_) | Need::Tables(_) | Need::OptionalTables(_) => {
                    continue;
                }
                Need::Defaults(_) => {
                    assert!(all.contains(&format!("\n[defaults.{}]\n", key.name)), "{}", key.name);
                    continue;
                }
            };
            let here = here.trim_end_matches(']');
            assert!(sample.contains(&format!("\n{} = {here}", key.name)), "{}", key.name);
            assert!(written.contains(&format!("\n{} = {here}", key.name)), "{}", key.name);
        }
    }
}

#[test]
fn a_canonical_configuration_writes_every_default_out() {
    let config = parse("x", SAMPLE).unwrap();
    expect![[r#"
        [bgp]
        asn = 65001
        settle = "1s"

        [[peer]]
        name = "r1"
        address = "10.0.1.1"
        port = 179
        asn = 65000
        hold_time = "9s"
        send_hold_time = "8m"
        families = ["ipv4", "ipv6"]
        capabilities = true
        default_route = false
        multihop = 1
        ttl_security = false

        [[service]]
        name = "www"
        vips = ["192.0.2.80", "2001:db8::80"]
        prefix = []
        announce_delay = "0s"
        flap_damping = true
        listener_grace = "0s"
        require = "all"
        on_failure = "withdraw"
        backup = false
        ports = []
        next_hop = "self"
        origin = "igp"
        local_pref = 100
        prepend = 0
        communities = []
        extended_communities = []
        large_communities = []

        [service.deprefer]
        prepend = 3
        local_pref = 0
        communities = []

        [[service.check]]
        http = "http://www.example.com/healthz"
        method = "GET"
        headers = []
        http_version = "auto"
        reuse = false
        expect_status = "200-299"
        expect_header = []
        expect_json = []
        max_body = 65536
        name = "http"
        interval = "1s"
        fast_interval = "1s"
        timeout = "1s"
        rise = 2
        fall = 3
        start_period = "0s"

        [health]
        listener_watch = "5ms"

        [log]
        level = "info"
        format = "text"
    "#]]
    .assert_eq(&canonical(&config));
}
