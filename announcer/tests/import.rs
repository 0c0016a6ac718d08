//! `announcer import`: what the samples in import/tests/samples become is what the daemon accepts, and no input makes it panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use announcer::config::ProbeConfig;
use import::{Files, Given, ImportError, Imported, Input, Router};
use proptest::prelude::*;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("import/tests/samples")
}

/// The folders with samples, in order.
fn folders() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(samples()).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn each_result_is_a_configuration_that_the_daemon_accepts() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let text = fs::read_to_string(folder.join("announcer.toml")).unwrap();
        if let Err(errors) = announcer::config::parse(&folder.display().to_string(), &text) {
            wrong.push(errors.to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The arguments with which the samples were translated: import/tests/samples.rs.
const GIVEN: &[&str] =
    &["--asn", "65001", "--router", "r1=10.0.1.1,65000", "--router", "r2=2001:db8:1::1,65000"];

fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_announcer"));
    command.current_dir(folder).arg("import").args(words).output().unwrap()
}

#[test]
fn the_command_prints_what_was_recorded_and_says_what_is_lost() {
    let vips = ["--vips", "nginx=203.0.113.80,203.0.113.81"];
    let local = ["--local", "10.0.1.11"];
    let with = |words: &[&'static str], more: &[&'static str]| [words, more].concat();
    for (name, words, code) in [
        ("exabgp-5", vec!["exabgp", "exabgp.conf"], 1),
        ("exabgp-withdraw", vec!["exabgp", "exabgp.conf"], 0),
        ("exabgp-example", with(&["exabgp", "exabgp.conf"], &vips), 0),
        ("exabgp-options", with(&["exabgp", "www.conf", "pool.conf"], GIVEN), 1),
        (
            "healthchecker-bird",
            vec!["anycast-healthchecker", "anycast-healthchecker.conf", "--bird", "bird.conf"],
            1,
        ),
        ("anycastd-sample", vec!["anycastd", "anycastd.yaml"], 0),
        ("anycastd-json", vec!["anycastd", "anycastd.json"], 1),
        ("keepalived-direct", with(&with(&["keepalived", "keepalived.conf"], &local), GIVEN), 1),
        ("keepalived-vrrp", with(&["keepalived", "keepalived.conf"], GIVEN), 1),
    ] {
        let folder = samples().join(name);
        let ended = run(&folder, &words);
        assert_eq!(ended.status.code(), Some(code), "{name}: {ended:?}");
        let want = fs::read_to_string(folder.join("announcer.toml")).unwrap();
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), want, "{name}");
        let said = String::from_utf8(ended.stderr).unwrap();
        let notes = fs::read_to_string(folder.join("notes.txt")).unwrap();
        for note in notes.lines() {
            let is_loss = note.contains(": dropped `") || note.contains(": missing `");
            assert_eq!(said.lines().any(|line| line == note), is_loss, "{name}: {note}");
        }
    }
}

#[test]
fn a_value_that_is_missing_is_said_and_the_result_is_refused_until_it_is_there() {
    let ended = run(&samples().join("keepalived-vrrp"), &["keepalived", "keepalived.conf"]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    for line in [
        "keepalived.conf:1: missing `asn`: the AS of this host is not in the configuration: give it by `--asn`",
        "keepalived.conf:1: missing `peer`: no router is in the configuration: give each by `--router NAME=ADDRESS,ASN`",
        "`announcer validate` refuses the result as it stands:",
    ] {
        assert!(said.lines().any(|one| one == line), "{line}\n{said}");
    }
    assert!(String::from_utf8(ended.stdout).unwrap().contains("\n[bgp]\n# asn = …\n"));
}

#[test]
fn vips_of_an_unknown_healthcheck_are_said() {
    let ended =
        run(&samples().join("exabgp-withdraw"), &["exabgp", "exabgp.conf", "--vips", "www=192.0.2.80"]);
    let want = "exabgp.conf:1: missing `--vips`: there is no healthcheck `www`, only: service_ip\n";
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().starts_with(want));
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    for (words, text, want) in [
        (&["exabgp", "f"][..], "neighbor 10.0.0.1 {\n", "error: f:1: the block `neighbor` has no `}`\n"),
        (
            &["exabgp", "f"],
            "process a {\n run exabgp healthcheck -F /no/such/file;\n}\n",
            "error: f:2: `/no/such/file` cannot be read: cannot read `/no/such/file`: No such file or directory\n",
        ),
        (
            &["anycast-healthchecker", "f"],
            "[a]\nx\n",
            "error: f:2: `x` is neither `name = value` nor a section\n",
        ),
        (&["anycastd", "f"], "- a\n", "error: f:1: it is not a map of options\n"),
        (&["keepalived", "f"], "a {\n}\n}\n", "error: f:3: `}` without `{`\n"),
        (&["keepalived", "missing"], "", "error: cannot read `missing`: No such file or directory\n"),
    ] {
        fs::write(dir.path().join("f"), text).unwrap();
        let ended = run(dir.path(), words);
        assert_eq!(
            (ended.status.code(), String::from_utf8(ended.stderr).unwrap(), ended.stdout.is_empty()),
            (Some(2), want.to_owned(), true),
            "{words:?}"
        );
    }
}

#[test]
fn the_files_of_a_folder_are_read_in_order_and_the_main_file_first() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checks.d");
    fs::create_dir(&folder).unwrap();
    fs::write(dir.path().join("checks.conf"), "[DEFAULT]\ncheck_disabled = false\ncheck_cmd = /bin/true\n")
        .unwrap();
    for (name, text) in [
        ("b.conf", "[b]\nip_prefix = 192.0.2.2/32\n"),
        ("a.conf", "[a]\nip_prefix = 192.0.2.1/32\n"),
        ("c.bak", "[c]\nip_prefix = 192.0.2.3/32\n"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let ended = run(dir.path(), &[&["anycast-healthchecker", "checks.d"], GIVEN].concat());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let text = String::from_utf8(ended.stdout).unwrap();
    let comments: Vec<&str> = text.lines().filter(|line| line.starts_with("# From")).collect();
    assert_eq!(
        comments,
        ["# From checks.d/a.conf:1, section `[a]`.", "# From checks.d/b.conf:1, section `[b]`."]
    );
}

/// The systems.
#[derive(Debug, Clone, Copy)]
enum System {
    Exabgp,
    Healthchecker,
    Anycastd,
    Keepalived,
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str, _: &str) -> Result<Vec<Input>, String> {
        Err("there is none".into())
    }
}

fn translate(system: System, text: &str) -> Result<Imported, ImportError> {
    let input = Input { name: "f".into(), text: text.into() };
    let router = import::Router { name: "r1".into(), address: "10.9.9.9".parse().unwrap(), asn: 65000 };
    let given = Given { asn: Some(65001), routers: vec![router], ..Given::default() };
    match system {
        System::Exabgp => import::exabgp::import(&[input], &NoFiles, &given),
        System::Healthchecker => {
            import::anycast_healthchecker::import(std::slice::from_ref(&input), &[], &given)?;
            import::anycast_healthchecker::import(
                std::slice::from_ref(&input),
                std::slice::from_ref(&input),
                &given,
            )
        }
        System::Anycastd => import::anycastd::import(&input, &given),
        System::Keepalived => import::keepalived::import(&input, &NoFiles, &given),
    }
}

/// The text of a sample, in which some pieces are removed, doubled or replaced by others.
fn mutated() -> impl Strategy<Value = (System, String)> {
    let texts: Vec<(System, String)> = folders()
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter_map(|path| {
            let name = path.to_str().unwrap().rsplit("samples/").next().unwrap().to_owned();
            let system = match name.split('-').next().unwrap() {
                "exabgp" => System::Exabgp,
                "healthchecker" => System::Healthchecker,
                "anycastd" => System::Anycastd,
                _ => System::Keepalived,
            };
            let is_input = path.is_file() && !name.ends_with(".toml") && !name.ends_with(".txt");
            is_input.then(|| (system, fs::read_to_string(path).unwrap()))
        })
        .collect();
    let odd = prop::sample::select(vec![
        "",
        "0",
        "-1",
        "255",
        "65536",
        "4294967295",
        "99999999999999999999",
        "0.0.0.0",
        "127.0.0.1",
        "::",
        "ff02::1",
        "10.0.1.1/0",
        "2001:db8::/32",
        "{",
        "}",
        ";",
        "\"",
        "'",
        "[",
        "]",
        "%",
        "$VIP",
        "é",
        "\u{0}",
        "a b",
        "auto",
        "true",
        "1e308",
        "NaN",
        "inf",
        "@x",
        "#",
        "!",
        "\\",
        "\n",
        "include f",
    ]);
    let edit = (any::<prop::sample::Index>(), odd, 0..3_u8);
    (prop::sample::select(texts), prop::collection::vec(edit, 0..6)).prop_map(|((system, text), edits)| {
        let mut words: Vec<String> =
            text.split_inclusive([' ', '\n', '\t', ';', ',']).map(str::to_owned).collect();
        for (place, odd, kind) in edits {
            let place = place.index(words.len());
            let end: String =
                words[place].chars().last().filter(|c| c.is_whitespace() || *c == ';').into_iter().collect();
            match kind {
                0 => words[place] = format!("{odd}{end}"),
                1 => words[place] = words[place].repeat(2),
                _ => words[place].clear(),
            }
        }
        (system, words.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic((system, text) in mutated()) {
        if let Ok(imported) = translate(system, &text) {
            // The text is TOML whatever stands in the input.
            let parsed: Result<toml::Table, _> = toml::from_str(&imported.toml);
            prop_assert!(parsed.is_ok(), "{parsed:?}\n{}", imported.toml);
        }
    }

    #[test]
    fn a_command_is_the_same_in_the_daemon(text in "[!-~]([ -~]{0,40}[!-~])?|[a-z$]\\{[A-Z:-]{0,9}\\}[$]{0,3}\\{x\\}") {
        let input = Input { name: "www.conf".to_owned(), text: format!("ip = 203.0.113.1\ncommand = {text}\n") };
        let router = Router { name: "r1".to_owned(), address: "10.0.1.1".parse().unwrap(), asn: 65000 };
        let given = Given { asn: Some(65001), routers: vec![router], ..Given::default() };
        let imported = import::exabgp::import(&[input], &NoFiles, &given).unwrap();
        let config = announcer::config::parse("announcer.toml", &imported.toml).unwrap_or_else(|e| panic!("{text}: {e}"));
        let ProbeConfig::Exec(exec) = &config.services[0].checks[0].probe else { panic!("{text}") };
        prop_assert_eq!(exec.command[2].as_str(), text);
    }

    #[test]
    fn random_text_is_read_or_refused(text in "[ -~\n]{0,200}|[a-z{};=\\[\\]:\"' \n-]{0,80}") {
        for system in [System::Exabgp, System::Healthchecker, System::Anycastd, System::Keepalived] {
            let _ = translate(system, &text);
        }
    }
}
