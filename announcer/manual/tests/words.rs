//! No document uses a name that was replaced, because a reader would find nothing with the old name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::path::{Path, PathBuf};

/// The old names, and the new names.
const REPLACED: &[(&str, &str)] = &[
    ("depreferred", "last choice"),
    ("Depreferred", "LastChoice"),
    ("withheld", "not announced, or not sent"),
    ("Withheld", "NotAnnounced, or NotSent"),
    ("`draining`", "`drained`"),
    ("announcer_peer_withheld", "announcer_peer_routes_not_sent"),
    ("announcer_verdict_to_wire_seconds", "announcer_update_delay_seconds"),
    ("announcer_leases_lapsed_total", "announcer_probe_loops_hung_total"),
    ("`not_looked_for`", "`addresses_not_read`"),
    ("`lo_not_read`", "`addresses_not_read`"),
    ("`lo_down`", "`device_down`"),
    ("`no_verdict`", "`checks_undecided`"),
    ("VipNowhere", "VipUnreachable"),
    ("RouterUntold", "RoutesNotSent"),
];

/// The files and folders with texts for operators, relative to the root of the repository.
const PLACES: &[&str] = &[
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "lab/README.md",
    "announcer/etc",
    "announcer/packaging",
];

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), found);
        }
    } else {
        found.push(path.to_owned());
    }
}

#[test]
fn no_document_has_a_name_that_was_replaced() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut all = Vec::new();
    for place in PLACES {
        files(&root.join(place), &mut all);
    }
    let mut found = Vec::new();
    for file in &all {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        for (number, line) in (1..).zip(text.lines()) {
            for (old, new) in REPLACED.iter().filter(|(old, _)| line.contains(old)) {
                found.push(format!("{}:{number}: `{old}` is `{new}` now", file.display()));
            }
        }
    }
    assert!(all.len() > 20 && found.is_empty(), "{} files\n{}", all.len(), found.join("\n"));
}
