//! Compares `docs/rfc.md` with the sources: each named item and test has to exist, and each row has a test or says that it is open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// The sections, and the least number of rows of each, so that no row is lost.
const SECTIONS: &[(&str, usize)] = &[
    ("Answers to errors", 18),
    ("The machine", 12),
    ("Extensions", 26),
    ("BFD", 15),
    ("Outages to be immune to", 11),
];

/// Where a module's path may begin, below the repository.
const ROOTS: &[&str] = &["announcer/src", "announcer", ""];

struct Row {
    section: String,
    /// The cells before the last two.
    rule: String,
    code: String,
    tests: String,
}

impl Row {
    fn is_open(&self) -> bool {
        self.tests == "open" || self.tests.starts_with("open:")
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rows(text: &str) -> Vec<Row> {
    let mut section = "";
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        }
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else { continue };
        if cells.starts_with('-') {
            continue;
        }
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let [rule @ .., code, tests] = cells.as_slice() else { panic!("{line}") };
        if *tests == "tests" {
            continue; // the table's head
        }
        let (code, tests) = ((*code).to_owned(), (*tests).to_owned());
        rows.push(Row { section: section.to_owned(), rule: rule.join(" | "), code, tests });
    }
    rows
}

/// The texts `module::item` between backticks.
fn names(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|span| span.rsplit_once("::")).collect()
}

/// The sources of a module: its file, and those below its folder.
fn sources(module: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ROOTS {
        let path = repository().join(root).join(module);
        found.extend(fs::read_to_string(path.with_extension("rs")));
        below(&path, &mut found);
    }
    found
}

fn below(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// Whether a text contains a whole word outside of comments.
fn has_word(text: &str, word: &str) -> bool {
    let part_of = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(part_of) && !line[at + word.len()..].starts_with(part_of))
    })
}

/// Whether a text has a test of this name: a function under `#[test]` and its like, or a named trial.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = |line: &str| {
        ["fn ", "async fn "].iter().any(|word| {
            line.strip_prefix(word)
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('('))
        })
    };
    let tested = |at: usize| {
        let attributes =
            lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        attributes.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    };
    let trial = format!("(\"{name}\",");
    lines.iter().enumerate().any(|(at, line)| (begins(line) && tested(at)) || line.starts_with(&trial))
}

/// All mistakes in the page.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let rows = rows(text);
    for (section, least) in SECTIONS {
        let count = rows.iter().filter(|row| row.section == *section).count();
        if count < *least {
            faults.push(format!("{section}: {count} rows, there were {least}"));
        }
    }
    for row in &rows {
        for (module, item) in names(&row.code) {
            if !sources(module).iter().any(|text| has_word(text, item)) {
                faults.push(format!("{}: no `{item}` in {module}", row.rule));
            }
        }
        if row.is_open() {
            continue;
        }
        let tests = names(&row.tests);
        if tests.is_empty() || names(&row.code).is_empty() {
            faults.push(format!("{}: names no code, or no test, and is not open", row.rule));
        }
        for (module, name) in tests {
            if !sources(module).iter().any(|text| has_test(text, name)) {
                faults.push(format!("{}: no test `{name}` in {module}", row.rule));
            }
        }
    }
    faults
}

#[test]
fn each_row_has_code_and_tests_that_exist() {
    let text = fs::read_to_string(repository().join("docs/rfc.md")).unwrap();
    let faults = faults(&text);
    assert!(faults.is_empty(), "docs/rfc.md:\n{}", faults.join("\n"));
    for row in rows(&text).iter().filter(|row| row.is_open()) {
        println!("open: {}", row.rule);
    }
}

#[test]
fn what_does_not_exist_is_seen() {
    let page = |code: &str, tests: &str| {
        let found =
            faults(&format!("## Else\n| what | code | tests |\n|---|---|---|\n| it | {code} | {tests} |\n"));
        found.into_iter().filter(|fault| !fault.contains("there were")).collect::<Vec<_>>()
    };
    let (code, test) = ("`bgp/fsm::step`", "`tests/rfc::what_does_not_exist_is_seen`");
    assert_eq!(page(code, test), [""; 0]);
    assert_eq!(page(code, "open"), [""; 0]);
    assert_eq!(page("`bgp/fsm::leap`", test), ["it: no `leap` in bgp/fsm"]);
    assert_eq!(page("`bgp/fms::step`", test), ["it: no `step` in bgp/fms"]);
    assert_eq!(page(code, "`tests/rfc::faults`"), ["it: no test `faults` in tests/rfc"]);
    assert_eq!(page(code, "later"), ["it: names no code, or no test, and is not open"]);
    assert_eq!(page("", test), ["it: names no code, or no test, and is not open"]);
    assert_eq!(faults("").len(), SECTIONS.len());
}
