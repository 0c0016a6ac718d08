//! Tests `[chain]`, and the keys of services that belong to it.

use super::*;

const CHAIN: &str = "[chain]\ninterface = \"eth0\"\nmembers = [\"10.0.1.11\", \"10.0.1.12\", \"10.0.1.13\"]\nkey_file = \"/etc/k\"\n";

fn with(service: &str, chain: &str) -> Result<Config, ConfigErrors> {
    parse("announcer.toml", &(GOOD.replacen("vips =", &format!("{service}\nvips ="), 1) + chain))
}

#[test]
fn a_chain_has_its_defaults() {
    let config = with("", CHAIN).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parse("again", &canonical(&config)).unwrap(), config);
    let chain = config.chain.unwrap();
    assert_eq!(chain.heartbeat, Duration::from_millis(100));
    assert_eq!((chain.port, chain.budget, chain.vxlan, chain.forward), (9181, 1000, None, true));
    assert_eq!(chain.members.len(), 3);
    assert_eq!(with("", "").unwrap().chain, None);
}

#[test]
fn the_ports_of_flows_are_those_of_the_checks_unless_they_are_written() {
    for (service, want) in [("", vec![80]), ("ports = 443", vec![443]), ("ports = [443, 80]", vec![80, 443])]
    {
        let config = with(service, CHAIN).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.services[0].flow_ports().into_iter().collect::<Vec<_>>(), want, "{service}");
    }
}

#[test]
fn what_is_wrong_with_a_chain_is_said() {
    let many: Vec<String> = (1..=33).map(|n| format!("\"10.0.1.{n}\"")).collect();
    let many = format!("members = [{}]", many.join(", "));
    const MEMBERS: &str = "members = [\"10.0.1.11\", \"10.0.1.12\", \"10.0.1.13\"]";
    for (service, replaced, by, message) in [
        ("", MEMBERS, "members = [\"10.0.1.11\"]", "a chain has 2 to 32 members, and this one has 1"),
        ("", MEMBERS, many.as_str(), "a chain has 2 to 32 members, and this one has 33"),
        ("", "10.0.1.12", "10.0.1.11", "`10.0.1.11` is named twice"),
        ("", "10.0.1.12", "2001:db8:1::12", "the members of a chain have addresses of one family"),
        ("", "10.0.1.12", "192.0.2.80", "the member `192.0.2.80` is also a VIP"),
        ("", "10.0.1.12", "127.0.0.1", "`127.0.0.1` is a loopback address"),
        ("", "/etc/k", "k", "`k` is not an absolute path"),
        ("min_announcers = 4", "x", "x", "`min_announcers` is 4, and the chain has 3 members"),
        ("", "[chain]", "[chain]\nvxlan = 0", "`vxlan` must be 1 to 16777215"),
        ("", "[chain]", "[chain]\nheartbeat = \"10ms\"", "`heartbeat` must be at least `20ms`"),
    ] {
        let errors = with(service, &CHAIN.replace(replaced, by)).expect_err(message);
        let found: Vec<ConfigError<'_>> = errors.iter().collect();
        assert_eq!(
            found.iter().map(|error| error.message.to_string()).collect::<Vec<_>>(),
            [message.to_owned()],
            "{errors}"
        );
    }
    let errors = with("min_announcers = 2", "").unwrap_err();
    assert!(errors.to_string().contains("`min_announcers` needs `[chain]`"), "{errors}");
}
