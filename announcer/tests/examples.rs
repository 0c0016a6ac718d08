//! `announcer validate` accepts the configurations of `docs/examples` without a warning, and the table there lists each of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
}

/// The names of the examples, without `.toml`.
fn names() -> BTreeSet<String> {
    let paths = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let examples = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    examples.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The result of `announcer validate`: whether the file is valid, and the text on standard error. The programs that the examples
/// name are not on every host, so that their absence is left out.
fn validate(file: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_announcer")).arg("validate").arg(file).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text.lines().filter(|line| !line.contains("does not exist; install it"));
    (output.status.success(), lines.map(|line| format!("{line}\n")).collect())
}

#[test]
fn no_example_has_a_mistake_or_a_warning() {
    assert!(names().len() >= 6, "the examples were not found");
    for name in names() {
        let found = validate(&folder().join(&name).with_extension("toml"));
        assert_eq!(found, (true, String::new()), "docs/examples/{name}.toml");
    }
}

/// What twelve services share is written once, and reaches each of them.
#[test]
fn the_services_of_many_services_have_the_defaults() {
    let text = fs::read_to_string(folder().join("many-services.toml")).unwrap();
    let config = announcer::config::parse("many-services.toml", &text).unwrap();
    assert_eq!((config.services.len(), config.peers.len()), (12, 2));
    for key in ["communities", "interval", "fast_interval", "timeout", "verify", "expect_status"] {
        assert_eq!(text.lines().filter(|line| line.starts_with(&format!("{key} = "))).count(), 1, "{key}");
    }
    for service in &config.services {
        assert_eq!(service.attributes.communities.len(), 1, "{}", service.name);
        assert!(service.checks.iter().all(|check| check.interval.as_secs() == 2), "{}", service.name);
    }
    let delays: Vec<u64> = config.services.iter().map(|service| service.announce_delay.as_secs()).collect();
    assert_eq!(delays, [3, 3, 3, 3, 3, 3, 3, 30, 3, 3, 3, 3]);
    assert!(config.peers.iter().all(|peer| peer.ttl_security && peer.asn.to_string() == "65000"));
}

/// The examples that were there before `[defaults]`, variables and `conf.d` say what they said: no key is read from elsewhere.
#[test]
fn an_older_file_is_read_as_before() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/announcer.toml");
    let old = ["nginx", "dual-stack", "checks", "ibgp", "rack", "operations"];
    let files = old.map(|name| folder().join(name).with_extension("toml")).into_iter().chain([sample]);
    let mut written = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let config = announcer::config::parse("x", &text).unwrap();
        written += &format!(
            "# {}\n{}",
            file.file_name().unwrap().to_str().unwrap(),
            announcer::config::canonical(&config)
        );
    }
    expect_test::expect_file!["canonical.txt"].assert_eq(&written);
}

#[test]
fn the_table_of_the_examples_lists_each_of_them() {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| [")?.split_once(".toml]"));
    assert_eq!(rows.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>(), names());
}

/// Tests the check itself, which has to be able to fail.
#[test]
fn a_mistake_and_a_warning_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.toml");
    let example = fs::read_to_string(self::folder().join("nginx.toml")).unwrap();
    fs::write(&file, example.replace("vips = ", "vip = ")).unwrap();
    let (is_good, stderr) = validate(&file);
    assert!(!is_good && stderr.contains("unknown key `vip`"), "{stderr}");
    fs::write(&file, example.replace("www.example.com/", "localhost/")).unwrap();
    let (is_good, stderr) = validate(&file);
    assert!(is_good && stderr.starts_with("warning: "), "{stderr}");
}
