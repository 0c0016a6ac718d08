//! The alerts, their tests, the runbook and the dashboard belong together, and name only metrics that there are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use announcer::metrics;

/// Metrics that rules name before the daemon has them. A rule for one of them never fires.
const COMING: &[&str] = &["announcer_drain_end_timestamp_seconds"];

/// The tests of the rules; those that last a day are apart.
const TESTS: [&str; 2] = ["announcer.test.yml", "announcer.days.test.yml"];

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(docs(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// The name of each alert, and the text of its rule.
fn alerts() -> Vec<(String, String)> {
    let rules = read("alerts/announcer.rules.yml");
    let alert = |text: &str| {
        let (name, rule) = text.split_once('\n').unwrap();
        (name.to_owned(), rule.to_owned())
    };
    rules.split("- alert: ").skip(1).map(alert).collect()
}

/// What stands in the first line that begins with this key.
fn value<'a>(rule: &'a str, key: &str) -> &'a str {
    let found = rule.lines().find_map(|line| line.trim().strip_prefix(key));
    found.unwrap_or_else(|| panic!("there is no `{key}` in\n{rule}")).trim()
}

/// Runs promtool, in docs/alerts.
fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(docs("alerts")).output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}; `make needs` installs it"));
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "promtool {}\n{said}", arguments.join(" "));
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    promtool(&["check", "rules", "announcer.rules.yml"]);
    promtool(&["test", "rules", TESTS[0], TESTS[1]]);
}

#[test]
fn each_alert_is_tested_both_ways() {
    let tests = TESTS.map(|name| read(&format!("alerts/{name}"))).concat();
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for case in tests.split("alertname: ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let quiet = value(rest, "exp_alerts:") == "[]";
        if quiet {
            rests.insert(name)
        } else {
            fires.insert(name)
        };
    }
    let names = alerts();
    let names: BTreeSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.len() > 15, "{names:?}");
    assert_eq!((&fires, &rests), (&names, &names));
}

#[test]
fn each_alert_has_its_severity_its_summary_and_its_section_in_the_runbook() {
    let runbook = read("runbook.md");
    let sections: Vec<(&str, &str)> =
        runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let alerts = alerts();
    let names: Vec<&str> = alerts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(sections.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names, "in the same order");
    for ((name, rule), (_, section)) in alerts.iter().zip(&sections) {
        let severity = value(rule, "labels: {severity: ").trim_end_matches('}');
        let wait = value(rule, "for: ");
        assert!(["page", "ticket"].contains(&severity), "{name}");
        assert!(section.contains(&format!("A {severity}, after {wait}.")), "{name}: {section}");
        assert!(value(rule, "summary: ").len() > 20, "{name}");
        let link = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(value(rule, "runbook_url: "), link);
        let commands = section.split("```").nth(1).unwrap_or_default();
        assert_eq!(commands.lines().filter(|line| !line.is_empty() && *line != "sh").count(), 3, "{name}");
    }
}

#[test]
fn no_alert_waits_for_less_than_two_scrapes() {
    for (name, rule) in alerts() {
        let wait = humantime::parse_duration(value(&rule, "for: ")).unwrap();
        assert!(wait.as_secs() >= 30, "{name}: a scrape is made every 15 s");
    }
}

/// Checks that a text names only metrics that there are; returns how often it names one.
fn names_only_metrics(place: &str, text: &str) -> usize {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: Vec<&str> = words.filter(|word| word.starts_with("announcer_")).collect();
    for word in &named {
        let is_known = metrics::ALL.iter().any(|metric| match metric.kind {
            metrics::MetricKind::Histogram => {
                ["_bucket", "_sum", "_count"].iter().any(|end| word.strip_suffix(end) == Some(metric.name))
            }
            metrics::MetricKind::Gauge | metrics::MetricKind::Counter => metric.name == *word,
        });
        assert!(is_known || COMING.contains(word), "{place} names {word}");
    }
    named.len()
}

#[test]
fn rules_and_their_tests_name_only_metrics_that_there_are() {
    assert!(names_only_metrics("the rules", &read("alerts/announcer.rules.yml")) > 20);
    let tests = TESTS.map(|name| read(&format!("alerts/{name}"))).concat();
    assert!(names_only_metrics("their tests", &tests) > 100);
}

/// The values of a key, wherever it is in a value of JSON.
fn all<'a>(json: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match json {
        serde_json::Value::Object(fields) => {
            found.extend(fields.get(key).and_then(serde_json::Value::as_str));
            fields.values().for_each(|value| all(value, key, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| all(value, key, found)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_begins_with_vips_by_host_and_asks_for_metrics_that_there_are() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/announcer.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<&str> = (panels.iter())
        .filter(|panel| panel["type"] == "row")
        .map(|panel| panel["title"].as_str().unwrap())
        .collect();
    assert_eq!(rows, ["VIP by host", "Routers", "Probes", "Changes"]);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has its own id");
    let mut queries = Vec::new();
    all(&dashboard, "expr", &mut queries);
    let panels = panels.iter().filter(|panel| panel["type"] != "row").count();
    assert!(queries.len() >= panels && panels > 8, "each panel asks for something");
    let mut variables = Vec::new();
    all(&dashboard, "query", &mut variables);
    assert!(names_only_metrics("the dashboard", &queries.concat()) >= queries.len());
    assert_eq!(names_only_metrics("a variable", &variables.join(" ")), 2);

    // promtool knows rules, and an expression is one.
    let rule = |query: &&str| format!("      - record: a:b\n        expr: '{}'\n", query.replace('\'', "''"));
    let rules: String = queries.iter().map(rule).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yml");
    std::fs::write(&file, format!("groups:\n  - name: dashboard\n    rules:\n{rules}")).unwrap();
    promtool(&["check", "rules", "--lint=none", file.to_str().unwrap()]);
}
