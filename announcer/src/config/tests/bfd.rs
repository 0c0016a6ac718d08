//! Tests `bfd` and `[peer.bfd]`.

use super::*;

fn with(peer: &str, below: &str) -> Config {
    let text = GOOD.replace("port = 179", &format!("port = 179\n{peer}")) + below;
    let config = parse("announcer.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parse("again", &canonical(&config)).unwrap(), config);
    config
}

#[test]
fn bfd_is_off_on_with_the_defaults_or_on_with_its_own_values() {
    // The key in `[[peer]]`, a table below the services, and the interval in milliseconds, the multiplier, and strict.
    for (peer, below, want) in [
        ("", "", None),
        ("bfd = false", "", None),
        ("bfd = true", "", Some((300, 3, false))),
        ("bfd = { interval = \"50ms\", strict = true }", "", Some((50, 3, true))),
        ("bfd = { interval = \"10ms 1us\" }", "", Some((10, 3, false))),
        ("", "[defaults.peer]\nbfd = true", Some((300, 3, false))),
        ("bfd = false", "[defaults.peer]\nbfd = true", None),
        ("", "[defaults.peer.bfd]\ninterval = \"1s\"", Some((1000, 3, false))),
        ("bfd = false", "[defaults.peer.bfd]\ninterval = \"1s\"", None),
        ("bfd = true", "[defaults.peer.bfd]\ninterval = \"1s\"", Some((1000, 3, false))),
        (
            "bfd = { multiplier = 5 }",
            "[defaults.peer.bfd]\ninterval = \"1s\"\nmultiplier = 9",
            Some((1000, 5, false)),
        ),
        ("bfd = { multiplier = 1 }", "[defaults.peer]\nbfd = false", Some((300, 1, false))),
    ] {
        let got = with(peer, below).peers[0].bfd.clone();
        let got = got.map(|bfd| (bfd.interval.as_millis(), bfd.multiplier, bfd.strict));
        assert_eq!(got, want, "{peer} {below}");
    }
}

#[test]
fn a_change_of_bfd_keeps_the_session_and_is_told() {
    let (off, on, fast) =
        (with("", ""), with("bfd = true", ""), with("bfd = { interval = \"50ms\", strict = true }", ""));
    for (old, new, want) in [
        (&off, &on, vec!["r1: + bfd { interval = \"300ms\", multiplier = 3, strict = false }"]),
        (&on, &fast, vec!["r1: bfd.interval 300ms -> 50ms", "r1: bfd.strict false -> true"]),
        (&on, &off, vec!["r1: - bfd { interval = \"300ms\", multiplier = 3, strict = false }"]),
    ] {
        assert!(old.peers[0].same_session(&new.peers[0]));
        let lines: Vec<String> = diff::differences(old, new).iter().flat_map(|one| one.lines()).collect();
        assert_eq!(lines, want);
    }
}

#[test]
fn bfd_that_is_no_faster_than_the_hold_timer_is_noted() {
    for (interval, multiplier, noted) in
        [("3s", 3, true), ("2s", 5, true), ("2s", 4, false), ("300ms", 3, false)]
    {
        let config = with(&format!("bfd = {{ interval = \"{interval}\", multiplier = {multiplier} }}"), "");
        let said = config.choices().iter().any(|text| text.contains("no sooner than `hold_time` 9s"));
        assert_eq!(said, noted, "{interval} {multiplier}");
    }
}
