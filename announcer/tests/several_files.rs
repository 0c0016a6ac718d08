//! A configuration of several files: the main file, and those of `conf.d` beside it. The tests run in their own network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use announcer::config;
use announcer::control::api::{Request, Response, Status};
use daemon::{Daemon, FIXTURE, in_new_netns, run, write_config};
use nix::sys::signal::Signal;
use until::{assert_until, until};

const PATIENCE: Duration = Duration::from_secs(20);

fn service(name: &str, vip: &str) -> String {
    format!(
        "[[service]]\nname = \"{name}\"\nvips = [\"{vip}\"]\n[[service.check]]\nexec = [\"/bin/true\"]\ninterval = \"100ms\"\n"
    )
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder.join("conf.d")).unwrap();
    fs::write(folder.join("conf.d").join(name), text).unwrap();
}

fn reload(daemon: &Daemon, dry_run: bool) -> Result<Vec<String>, String> {
    let answer = daemon.ask(&Request::Reload { force: false, dry_run }).unwrap();
    if let Response::Error(error) = answer {
        return Err(error.text);
    }
    let Response::Done { notes } = answer else { panic!("{answer:?}") };
    Ok(notes)
}

fn vips(status: &Status) -> Vec<String> {
    let all = status.services.iter().flat_map(|service| &service.vips);
    all.map(|vip| vip.address.to_string()).collect()
}

fn last_good(folder: &Path) -> PathBuf {
    folder.join("state/last-good.toml")
}

/// The result of `announcer validate`: its exit code, standard output and standard error.
fn validate(folder: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_announcer"));
    let output =
        command.current_dir(folder).args(["validate", "announcer.toml"]).args(options).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn everything_sees_all_files() {
    in_new_netns(all_files);
}

fn all_files(folder: &Path) {
    write_config(folder, &format!("{FIXTURE}{}", service("www", "192.0.2.80")));
    write(folder, "b.toml", &service("api", "192.0.2.81"));
    write(folder, "b.toml.dpkg-old", "no TOML");
    write(folder, ".c.toml.swp", "no TOML");
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut daemon = Daemon::spawn(folder, run(folder, &["--fallback"]).stderr(log));
    let status = daemon.until_all_are(PATIENCE, "announced");
    assert_eq!(vips(&status), ["192.0.2.80", "192.0.2.81"]);

    // The watcher of the files sees a new file, a changed one, and one that is wrong.
    let warned = |has: &str| {
        daemon.until_status(PATIENCE, has, |status| {
            status.warnings.iter().any(|warning| warning.contains(has))
        });
    };
    write(folder, "a.toml", &service("mail", "192.0.2.25"));
    warned("announcer.toml` differs from the running configuration");
    assert_eq!(reload(&daemon, true).unwrap()[0], "+ service mail");
    assert_eq!(reload(&daemon, false).unwrap()[0], "+ service mail");
    daemon.until_status(PATIENCE, "no warning", |status| {
        status.warnings.iter().all(|w| !w.contains("differs"))
    });
    assert_eq!(
        vips(&daemon.until_all_are(PATIENCE, "announced")),
        ["192.0.2.80", "192.0.2.25", "192.0.2.81"]
    );
    write(folder, "a.toml", &service("mail", "192.0.2.80"));
    warned("conf.d/a.toml` has 1 error and is not used");
    let error = reload(&daemon, false).unwrap_err();
    assert!(error.contains("`192.0.2.80` is named twice"), "{error}");
    assert!(error.contains("conf.d/a.toml:3:9") && error.contains("announcer.toml:"), "{error}");
    let (code, _, stderr) = validate(folder, &[]);
    assert!(code == Some(2) && stderr.contains("--> conf.d/a.toml:3:9"), "{stderr}");
    let (_, stdout, _) = validate(folder, &["--json"]);
    assert!(stdout.contains("\"file\": \"conf.d/a.toml\""), "{stdout}");

    // One copy has what all files say.
    let stored = until(PATIENCE, || {
        let text = fs::read_to_string(last_good(folder)).unwrap_or_default();
        let (_, rest) = text.split_once('\n').unwrap_or_default();
        config::parse("copy", rest).ok().filter(|config| config.services.len() == 3).ok_or(())
    });
    stored.unwrap_or_else(|()| panic!("{:?}", fs::read_to_string(last_good(folder))));
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.until_ended(PATIENCE));

    // The copy runs, without the VIP that no file mentions any more.
    let log = fs::File::create(folder.join("log")).unwrap();
    let daemon = Daemon::spawn(folder, run(folder, &["--fallback"]).stderr(log));
    let status = daemon.until_all_are(PATIENCE, "announced");
    assert_eq!(vips(&status), ["192.0.2.80", "192.0.2.81"]);
    let log = fs::read_to_string(folder.join("log")).unwrap();
    assert!(
        log.contains("conf.d/a.toml` had 1 error at the start")
            && log.contains("its VIP 192.0.2.25 is left out"),
        "{log}"
    );
    fs::remove_file(folder.join("conf.d/a.toml")).unwrap();
    reload(&daemon, false).unwrap();
    let (code, stdout, _) = validate(folder, &[]);
    assert_eq!((code, stdout.contains("and 1 file of `conf.d`: good")), (Some(0), true), "{stdout}");
}

#[test]
fn the_last_good_configuration_has_the_vips_of_ranges_and_of_variables() {
    in_new_netns(ranges);
}

fn ranges(folder: &Path) {
    let list = "192.0.2.80-192.0.2.83\", \"${NET}.84\", \"${NET}.85-${NET}.86";
    let want: Vec<String> = (80..=86).map(|octet| format!("192.0.2.{octet}")).collect();
    write_config(folder, FIXTURE);
    write(folder, "a.toml", &service("www", list));
    let start = || {
        let log = fs::File::create(folder.join("log")).unwrap();
        Daemon::spawn(folder, run(folder, &["--fallback"]).env("NET", "192.0.2").stderr(log))
    };
    let mut daemon = start();
    daemon.until_all_are(PATIENCE, "announced");
    assert_until(PATIENCE, "the copy", || last_good(folder).exists());
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.until_ended(PATIENCE));

    // The mistake is in another file, and the VIPs are where they were.
    write(folder, "z.toml", "[[service]]\nname = \"typo\n");
    let mut daemon = start();
    assert_eq!(vips(&daemon.until_all_are(PATIENCE, "announced")), want);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.until_ended(PATIENCE));

    // Now three of them are mentioned by no file.
    write(folder, "a.toml", &service("www", &list.replace("2.83", "2.82").replace("84\", ", "84\"] # ")));
    let daemon = start();
    let left: Vec<String> = want
        .iter()
        .filter(|vip| !vip.ends_with('3') && !vip.ends_with('5') && !vip.ends_with('6'))
        .cloned()
        .collect();
    assert_eq!(vips(&daemon.until_all_are(PATIENCE, "announced")), left);
}

#[test]
fn variables_come_from_the_environment_and_from_credentials_and_credentials_are_not_shown() {
    in_new_netns(variables);
}

fn variables(folder: &Path) {
    fs::create_dir(folder.join("credentials")).unwrap();
    let credential = |text: &str| fs::write(folder.join("credentials/TOKEN"), text).unwrap();
    credential("s3cret\n");
    let with = |command: &mut Command, environment: &[(&str, &str)]| {
        command.env("CREDENTIALS_DIRECTORY", folder.join("credentials")).envs(environment.iter().copied());
    };
    write_config(
        folder,
        &format!("{FIXTURE}hold_time = \"${{HOLD:-12s}}\"\n[defaults.check]\nfall = \"${{FALL}}\"\n"),
    );
    let check = "[[service]]\nname = \"www\"\nvips = [\"${VIP}\"]\n[[service.check]]\nexec = [\"/bin/true\", \"${TOKEN}\"]\n\
                 [[service.check]]\nfile = \"/nonexistent/${FALL}\"\non_failure = \"warn\"\n";
    write(folder, "a.toml", check);
    let environment = [("VIP", "192.0.2.99"), ("FALL", "7"), ("TOKEN", "from the environment")];

    let effective = |environment: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_announcer"));
        command.current_dir(folder).args(["validate", "--effective", "announcer.toml"]);
        with(&mut command, environment);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, stdout, stderr) = effective(&environment);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for has in ["hold_time = \"12s\"", "fall = 7", "192.0.2.99", "exec = [\"/bin/true\", \"${TOKEN}\"]"] {
        assert!(stdout.contains(has), "{has}: {stdout}");
    }
    assert!(!stdout.contains("s3cret") && !stdout.contains("from the environment"), "{stdout}");
    let (code, _, stderr) = effective(&environment[1..]);
    assert!(code == Some(2) && stderr.contains("`VIP` is not set\n --> conf.d/a.toml:3:9"), "{stderr}");

    let log = fs::File::create(folder.join("log")).unwrap();
    let mut command = run(folder, &["--fallback", "--log", "debug"]);
    with(&mut command, &environment);
    let daemon = Daemon::spawn(folder, command.stderr(log));
    let status = daemon.until_all_are(PATIENCE, "announced");
    assert_eq!(vips(&status), ["192.0.2.99"]);
    let kept = until(PATIENCE, || {
        fs::read_to_string(last_good(folder)).ok().filter(|text| text.contains("${TOKEN}")).ok_or(())
    });
    let kept = kept.expect("the copy is stored");
    // The credential was changed: the reload names the key alone.
    credential("0ther");
    let notes = reload(&daemon, false).unwrap().join("\n");
    assert!(notes.starts_with("www: ") && notes.ends_with("the credential changed"), "{notes}");
    let vip = daemon.ask(&Request::Explain { vip: "192.0.2.99".parse().unwrap(), peer: None }).unwrap();
    let log = fs::read_to_string(folder.join("log")).unwrap();
    for shown in [kept, notes, format!("{status:?}"), format!("{vip:?}"), log] {
        assert!(!shown.contains("s3cret") && !shown.contains("0ther"), "{shown}");
    }
}

#[test]
fn a_folder_or_a_file_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_config(folder, &format!("{FIXTURE}{}", service("www", "192.0.2.80")));
    write(folder, "a.toml", &service("api", "192.0.2.81"));
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    assert_eq!(validate(folder, &[]).0, Some(0));
    for (path, good, bad) in [("conf.d", 0o755, 0o777), ("conf.d/a.toml", 0o644, 0o646)] {
        mode(path, bad);
        let (code, _, stderr) = validate(folder, &[]);
        let want = format!("cannot read the configuration `{path}`: others can write it");
        assert!(code == Some(2) && stderr.contains(&want), "{stderr}");
        mode(path, good);
    }
    fs::remove_file(folder.join("conf.d/a.toml")).unwrap();
    fs::create_dir(folder.join("conf.d/a.toml")).unwrap();
    let (code, _, stderr) = validate(folder, &[]);
    assert!(code == Some(2) && stderr.contains("`conf.d/a.toml`: it is not a regular file"), "{stderr}");
    fs::remove_dir_all(folder.join("conf.d")).unwrap();
    assert_eq!(validate(folder, &[]).0, Some(0));
    std::os::unix::fs::symlink("gone", folder.join("conf.d")).unwrap();
    let (code, _, stderr) = validate(folder, &[]);
    let want = "`conf.d`: it is a symbolic link that leads nowhere";
    assert!(code == Some(2) && stderr.contains(want), "{stderr}");
}
