//! `announcer-lab test --config … --router …` with files of the lab itself: it plays every scenario, and refuses what it cannot do.
//!
//! Touches the program, and the labs that it makes. The labs need root, and what `make build` builds.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use until::until;

/// A file below the folder `lab`.
fn file(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).canonicalize().unwrap().display().to_string()
}

/// The program, in the folder of the clone.
fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_announcer-lab"));
    command.args(words).current_dir(file("..")).env_remove("LAB_NAME").env_remove("LAB_ENGINE");
    command
}

fn run(words: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = program(words).output().unwrap();
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// Prints that a test is skipped, if it cannot run.
fn skipped(test: &str) -> bool {
    let root = Uid::effective().is_root();
    if !root {
        until::skipped(format_args!("{test} needs root: make test"));
    }
    !root
}

/// A file for one test, with this text.
fn written(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The lines of the scenarios: name, node, and whether it is `ok`.
fn results(said: &str) -> Vec<&str> {
    let (_, lines) = said.split_once("\n\n").unwrap_or_else(|| panic!("no header: {said}"));
    lines.lines().map(|line| line.get(..17).unwrap_or(line).trim_end()).collect()
}

#[test]
fn every_scenario_is_played_with_frr() {
    if skipped("every_scenario_is_played_with_frr") {
        return;
    }
    let (config, router) = (file("nodes/fe1/announcer.toml"), file("nodes/r1/frr.conf"));
    let (code, said) = run(&["test", "--config", &config, "--router", &router]);
    let wanted = [
        "start        ok",
        "crash   fe1  ok",
        "hang    fe1  ok",
        "drain   fe1  ok",
        "reboot  fe1  ok",
        "router  r1   ok",
    ];
    assert_eq!(results(&said), wanted, "{said}");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("peer `r2`: 10.2.1.0 is not on a link of any --router file"), "{said}");
    // While the only frontend is withdrawn, requests are lost; while it is announced, they are answered.
    let drain = said.lines().find(|line| line.starts_with("drain")).unwrap();
    let (lost, sent) = drain.rsplit_once("; ").unwrap().1.split_once(" of ").unwrap();
    let sent: u64 = sent.split(' ').next().unwrap().parse().unwrap();
    assert!((1..sent).contains(&lost.parse::<u64>().unwrap()), "{drain}");
}

#[test]
fn a_chosen_scenario_is_played_with_bird() {
    if skipped("a_chosen_scenario_is_played_with_bird") {
        return;
    }
    let (config, router) = (file("nodes/fe1/announcer.toml"), file("nodes/r1/bird.conf"));
    let (code, said) = run(&["test", "crash", "--config", &config, "--router", &router]);
    assert_eq!(results(&said), ["start        ok", "crash   fe1  ok"], "{said}");
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_route_that_the_router_refuses_is_a_failure_that_shows_the_status() {
    if skipped("a_route_that_the_router_refuses_is_a_failure_that_shows_the_status") {
        return;
    }
    let text = fs::read_to_string(file("nodes/r1/bird.conf")).unwrap();
    assert!(text.contains("192.0.2.0/24+"));
    let router = written(&text.replace("192.0.2.0/24+", "198.51.100.0/24+"));
    let path = router.path().display().to_string();
    let (code, said) = run(&[
        "test",
        "crash",
        "--patience",
        "5",
        "--config",
        &file("nodes/fe1/announcer.toml"),
        "--router",
        &path,
    ]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("FAILED: expected a route to 192.0.2.80 over fe1 (10.1.1.1")
            && said.contains("in the FIB of r1"),
        "{said}"
    );
    assert!(said.contains("192.0.2.80: sent to 1 of 2 routers"), "no status: {said}");
    assert!(
        !said.lines().any(|line| line.starts_with("crash ")),
        "a scenario was played nevertheless: {said}"
    );
}

#[test]
fn what_the_router_says_about_its_file_is_passed_on() {
    if skipped("what_the_router_says_about_its_file_is_passed_on") {
        return;
    }
    for (name, from, to, said_by_it) in [
        ("nodes/r1/bird.conf", "merge paths", "merge path", "syntax error"),
        ("nodes/r1/frr.conf", "maximum-paths", "maximum-pathes", "Unknown command"),
    ] {
        let text = fs::read_to_string(file(name)).unwrap();
        assert!(text.contains(from));
        let router = written(&text.replace(from, to));
        let path = router.path().display().to_string();
        let (code, said) = run(&["test", "--config", &file("nodes/fe1/announcer.toml"), "--router", &path]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("{path}: ")) && said.contains("does not start with it:"), "{said}");
        assert!(said.contains(said_by_it), "{said}");
    }
}

#[test]
fn an_interrupt_ends_the_lab_and_leaves_nothing() {
    if skipped("an_interrupt_ends_the_lab_and_leaves_nothing") {
        return;
    }
    let (config, router) = (file("nodes/fe1/announcer.toml"), file("nodes/r1/bird.conf"));
    for up in [false, true] {
        let said = written("");
        let mut child = program(&["test", "--config", &config, "--router", &router])
            .stdout(said.reopen().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lab = PathBuf::from(format!("/run/announcer-lab/own-{}", child.id()));
        let ready = until(Duration::from_secs(60), || {
            let text = fs::read_to_string(said.path()).unwrap();
            let there = if up { text.contains("start        ok") } else { lab.join("lab.json").exists() };
            if there { Ok(()) } else { Err(text) }
        });
        assert_eq!(ready, Ok(()));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
        let status = until(Duration::from_secs(60), || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) | Err(_) => Err("it did not end"),
        });
        assert_eq!(status.unwrap().code(), Some(130));
        let text = fs::read_to_string(said.path()).unwrap();
        assert!(!text.contains("FAILED"), "{text}");
        assert!(!lab.exists(), "{} is left", lab.display());
    }
}

#[test]
fn files_that_do_not_fit_are_refused_before_anything_starts() {
    let (config, router) = (file("nodes/fe1/announcer.toml"), file("nodes/r1/frr.conf"));
    let secret = fs::read_to_string(&config)
        .unwrap()
        .replace("asn = 65000", "asn = 65000\npassword_file = \"/none/key\"");
    let secure = fs::read_to_string(&config).unwrap().replace("http://", "https://");
    let elsewhere = fs::read_to_string(&config).unwrap().replace("10.1.1.0", "10.77.1.0");
    let wrong = fs::read_to_string(&config).unwrap().replace("asn = 65001", "asn = \"x\"");
    for (text, sentences) in [
        (secret, vec!["peer `r1`: `password_file`: /none/key does not exist on this host"]),
        (
            secure,
            vec!["service `www`, check `http`: the web server of the lab has no certificate", "with --web"],
        ),
        (elsewhere, vec!["peer `r1`: 10.77.1.0 is not on a link of any --router file"]),
        (wrong, vec!["error: ", "asn"]),
    ] {
        let config = written(&text);
        let path = config.path().display().to_string();
        let (code, said) = run(&["test", "--config", &path, "--router", &router]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&path) && sentences.iter().all(|sentence| said.contains(sentence)), "{said}");
    }
    let (code, said) = run(&["test", "--config", &config, "--router", &config]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has neither `router bgp` (FRR) nor `protocol bgp` (BIRD)"), "{said}");
    let (code, said) = run(&["test", "explode", "--config", &config, "--router", &router]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("write crash, hang, drain, reboot, router"), "{said}");
    let (code, said) = run(&["test", "--config", &config]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--router"), "{said}");
}

#[test]
fn without_files_it_runs_the_program_of_the_projects_own_scenarios() {
    let (code, said) = run(&["list"]);
    assert_eq!(code, Some(0), "{said}");
    let names: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["crash", "hang", "drain", "reboot", "router"]);
    let with = |program: &str, words: &[&str]| {
        let mut command = self::program(&[&["test"], words].concat());
        let output = command.env("ANNOUNCER_LAB_E2E", program).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(with("/bin/echo", &["crash", "drain"]), (Some(0), "crash\ndrain\n".to_owned()));
    assert_eq!(with("/bin/false", &["crash"]).0, Some(1));
    let (code, said) = with("/none/e2e", &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("/none/e2e is missing, which plays the scenarios of the project"), "{said}");
}
