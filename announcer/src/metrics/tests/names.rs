//! The names of the metrics and their texts.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// The rules of promtool (promlint of client_golang), so that they are checked without promtool too.
#[test]
fn names_follow_the_conventions() {
    let text = text(scrape());
    let mut names = BTreeSet::new();
    for metric in ALL {
        let Metric { name, kind, labels, help } = metric;
        assert!(names.insert(name), "{name} is there twice");
        let word =
            |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(word(name) && (name.starts_with("announcer_") || name.starts_with("process_")), "{name}");
        assert!(
            labels.iter().all(|label| word(label) && !label.starts_with("__") && *label != "le"),
            "{name}"
        );
        assert!(!help.is_empty() && !help.contains(['\n', '\\']), "{name}: {help}");
        assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
        for suffix in ["_count", "_sum", "_bucket", "_gauge", "_counter", "_histogram"] {
            assert!(!name.ends_with(suffix), "{name} ends as another type's samples do");
        }
        let parts: Vec<&str> = name.split('_').collect();
        for unit in [
            "ms",
            "s",
            "us",
            "sec",
            "millis",
            "milliseconds",
            "micros",
            "minutes",
            "kb",
            "kilobytes",
            "percent",
        ] {
            assert!(!parts.contains(&unit), "{name} is in no base unit");
        }
        if *kind == MetricKind::Histogram {
            assert!(name.ends_with("_seconds"), "{name}");
        }
        let typed = format!("# TYPE {name} {}\n", kind.word());
        let expected = usize::from(![START, RESIDENT, VIRTUAL, MAX_FILES].iter().any(|m| m.name == *name));
        assert_eq!(text.matches(&typed).count(), expected, "{name}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.strip_suffix(suffix));
        assert!(names.contains(&sample) || names.contains(&family.unwrap_or(sample)), "{line}");
    }
}

/// Runs promtool itself, if it is installed.
#[test]
fn promtool_finds_nothing() {
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        return; // the rules above are checked without it
    };
    promtool.stdin.take().unwrap().write_all(text(scrape()).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_label_cannot_break_out_of_its_quotes() {
    let mut scrape = scrape();
    scrape.peers[0].downs = [("a\"} 1\nb", 1)].into();
    assert!(text(scrape).contains(r#"announcer_peer_down_total{peer="r1",reason="a\"} 1\nb"} 1"#));
}

#[test]
fn every_standing_is_one_of_the_words() {
    let all = [
        Standing::Announced,
        Standing::LastChoice(LastChoiceReason::Backup),
        Standing::Drained(Drain::default().into()),
        Standing::NotAnnounced(NotAnnouncedReason::Stopping),
        Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor("lo".into())),
    ];
    for standing in &all {
        match standing {
            Standing::Announced
            | Standing::LastChoice(_)
            | Standing::Drained(_)
            | Standing::NotAnnounced(_) => {}
        }
    }
    assert_eq!(all.each_ref().map(Standing::word), Standing::WORDS);
}
