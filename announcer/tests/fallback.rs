//! A start with a wrong configuration runs the last good one, if it may.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use announcer::control::api::{Request, Response, Status};
use daemon::{Daemon, FIXTURE, in_new_netns, run, write_config};
use nix::sys::signal::Signal;
use until::{assert_until, until};

const PATIENCE: Duration = Duration::from_secs(20);

const SERVICES: &str = "[metrics]\nlisten = \"127.0.0.1:9179\"\n\
    [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n[[service.check]]\nexec = [\"/bin/true\"]\ninterval = \"100ms\"\n\
    [[service]]\nname = \"api\"\nvips = [\"192.0.2.81\"]\n[[service.check]]\nexec = [\"/bin/true\"]\ninterval = \"100ms\"\n";

fn good() -> String {
    format!("{FIXTURE}{SERVICES}")
}

fn copy(folder: &Path) -> PathBuf {
    folder.join("state/last-good.toml")
}

/// Runs the daemon with its log in a file.
fn start(folder: &Path, options: &[&str]) -> Daemon {
    let log = fs::File::create(folder.join("log")).unwrap();
    Daemon::spawn(folder, run(folder, options).stderr(log))
}

/// The exit code and standard error of a start that fails.
fn refused(folder: &Path, options: &[&str]) -> (Option<i32>, String) {
    let output = limited(&mut run(folder, options)).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A start that does not fail would last for ever.
fn limited(command: &mut Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.arg("10").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    limited
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.until_ended(PATIENCE));
}

fn fallback_metric() -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9179").unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find(|line| line.starts_with("announcer_fallback_config "));
    line.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn vips(status: &Status) -> Vec<String> {
    status
        .services
        .iter()
        .flat_map(|service| service.vips.iter().map(|vip| vip.address.to_string()))
        .collect()
}

fn warned(status: &Status) -> bool {
    status.warnings.iter().any(|warning| warning.contains("the last good configuration runs"))
}

#[test]
fn a_wrong_file_runs_the_last_good_configuration_until_a_reload_is_good() {
    in_new_netns(wrong_file);
}

fn wrong_file(folder: &Path) {
    // Each successful start and reload writes the copy.
    write_config(folder, &good());
    let daemon = start(folder, &["--fallback"]);
    let stored = |has: &str| {
        let read = || fs::read_to_string(copy(folder)).ok().filter(|text| text.ends_with(has)).ok_or(());
        until(PATIENCE, read).unwrap_or_else(|()| panic!("{:?} is not stored", has))
    };
    stored(&good());
    assert_eq!(fs::metadata(copy(folder)).unwrap().permissions().mode() & 0o7777, 0o600);
    daemon.until_all_are(PATIENCE, "announced");
    assert_eq!(fallback_metric(), "announcer_fallback_config 0");
    let changed = good() + "# changed\n";
    write_config(folder, &changed);
    daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap();
    let before = stored(&changed);
    write_config(folder, &changed.replace("asn = 65001", "asn = 0"));
    let Response::Error(_) = daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap() else {
        panic!()
    };
    stop(daemon);
    assert_eq!(stored(&changed), before, "a reload that was refused stores nothing");

    // A typo, and a VIP that is not mentioned any more.
    let wrong = changed.replace("asn = 65001", "asn = 0").replace("2001:db8::80", "2001:DB8:0::80");
    let wrong = wrong.replace("vips = [\"192.0.2.81\"]", "vips = [] # 192.0.2.81");
    write_config(folder, &wrong);
    let daemon = start(folder, &["--fallback"]);
    let status = daemon.until_all_are(PATIENCE, "announced");
    assert_eq!(vips(&status), ["192.0.2.80", "2001:db8::80"]);
    assert!(warned(&status), "{:?}", status.warnings);
    assert!(status.warnings.iter().any(|warning| warning.contains("its VIP 192.0.2.81 is left out")));
    assert_eq!(fallback_metric(), "announcer_fallback_config 1");
    let log = fs::read_to_string(folder.join("log")).unwrap();
    for has in ["AS 0 is reserved", "the last good configuration runs", "192.0.2.81 is left out"] {
        assert!(log.contains(has), "{has}: {log}");
    }
    assert_eq!(
        fs::read_to_string(copy(folder)).unwrap(),
        before,
        "a fallback is no new last good configuration"
    );

    // A reload with a wrong file changes nothing, and one with a good file ends the fallback.
    daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap();
    let status = daemon.status().unwrap();
    assert!(warned(&status) && fallback_metric().ends_with(" 1"), "{:?}", status.warnings);
    let corrected = good() + "# corrected\n";
    write_config(folder, &corrected);
    let Response::Done { .. } = daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap() else {
        panic!()
    };
    let status = daemon.until_status(PATIENCE, "all VIPs", |status| vips(status).len() == 3);
    assert!(!warned(&status), "{:?}", status.warnings);
    assert_eq!(fallback_metric(), "announcer_fallback_config 0");
    stored(&corrected);
    stop(daemon);
}

#[test]
fn a_file_of_the_folder_that_cannot_be_read_runs_the_last_good_configuration_with_each_vip() {
    in_new_netns(unreadable);
}

fn unreadable(folder: &Path) {
    const API: &str = "[[service]]\nname = \"api\"\nvips = [\"192.0.2.81\"]\n[[service.check]]\nexec = [\"/bin/true\"]\ninterval = \"100ms\"\n";
    let main = good().replace(API, "");
    let (others, api, more) =
        (folder.join("conf.d"), folder.join("conf.d/api.toml"), folder.join("conf.d/q.toml"));
    let restore = || {
        write_config(folder, &main);
        let _ = fs::remove_file(&others); // it can be a link
        let _ = fs::remove_dir_all(&others);
        fs::create_dir(&others).unwrap();
        fs::write(&api, API).unwrap();
    };
    restore();
    let daemon = start(folder, &["--fallback"]);
    daemon.until_all_are(PATIENCE, "announced");
    assert_until(PATIENCE, "the copy", || copy(folder).exists());
    stop(daemon);
    let stored = fs::read_to_string(copy(folder)).unwrap();
    let all = ["192.0.2.80", "2001:db8::80", "192.0.2.81"];
    let stays = "its VIP 192.0.2.81 stays, because it can be in";
    let (link, nowhere) =
        (std::os::unix::fs::symlink::<&str, &Path>, "it is a symbolic link that leads nowhere");
    let break_it = |what: &str| match what {
        "one more link" => link("gone", &more).unwrap(),
        "one more folder" => fs::create_dir(&more).unwrap(),
        "one more FIFO" => nix::unistd::mkfifo(&more, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        "its permissions" => fs::set_permissions(&api, fs::Permissions::from_mode(0o666)).unwrap(),
        "the whole folder" => {
            fs::remove_dir_all(&others).unwrap();
            link("gone", &others).unwrap();
        }
        "a link, and another mistake" => {
            write_config(folder, &main.replace("asn = 65001", "asn = 0"));
            fs::remove_file(&api).unwrap();
            link("gone", &api).unwrap();
        }
        other => panic!("{other}"),
    };
    for (what, file, why, kept) in [
        ("one more link", "conf.d/q.toml", nowhere, false),
        ("one more folder", "conf.d/q.toml", "it is not a regular file", false),
        ("one more FIFO", "conf.d/q.toml", "it is not a regular file", false),
        ("its permissions", "conf.d/api.toml", "others can write it", true),
        ("the whole folder", "conf.d", nowhere, true),
        ("a link, and another mistake", "conf.d/api.toml", nowhere, true),
    ] {
        restore();
        break_it(what);
        let (code, said) = refused(folder, &[]);
        assert!(code == Some(2) && said.contains(&format!("{file}`: {why}")), "{what}: {code:?} {said}");
        let daemon = start(folder, &["--fallback"]);
        let status = daemon.until_all_are(PATIENCE, "announced");
        assert_eq!(vips(&status), all, "{what}");
        let warning =
            status.warnings.iter().find(|warning| warning.contains("the last good configuration runs"));
        let warning = warning.unwrap_or_else(|| panic!("{what}: {:?}", status.warnings));
        assert!(warning.contains(&format!("{file}`")) && !warning.contains("left out"), "{what}: {warning}");
        assert_eq!(warning.contains(stays), kept, "{what}: {warning}");
        let log = fs::read_to_string(folder.join("log")).unwrap();
        assert!(log.contains("configuration cannot be read") && log.contains(why), "{what}: {log}");
        assert_eq!(log.contains("AS 0 is reserved"), what.contains("another mistake"), "{what}: {log}");
        assert_eq!(fs::read_to_string(copy(folder)).unwrap(), stored, "{what}");
        restore();
        let Response::Done { .. } = daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap()
        else {
            panic!("{what}")
        };
        assert!(!warned(&daemon.status().unwrap()), "{what}");
        stop(daemon);
    }
}

#[test]
fn a_copy_is_used_only_under_the_unit_and_only_if_it_is_good_and_of_this_machine() {
    in_new_netns(refusals);
}

fn refusals(folder: &Path) {
    // By hand, nothing is stored.
    write_config(folder, &good());
    let daemon = start(folder, &[]);
    daemon.until_all_are(PATIENCE, "announced");
    stop(daemon);
    assert!(!copy(folder).exists());
    let config = folder.join("announcer.toml");
    let wrong = good().replace("asn = 65001", "asn = 0");
    write_config(folder, &wrong);
    let (code, said) = refused(folder, &["--fallback"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("AS 0 is reserved") && said.contains("last-good.toml` is not used: "), "{said}");

    write_config(folder, &good());
    let daemon = start(folder, &["--fallback"]);
    assert_until(PATIENCE, "the copy", || copy(folder).exists());
    stop(daemon);
    let stored = fs::read_to_string(copy(folder)).unwrap();
    let machine = fs::read_to_string("/etc/machine-id").unwrap();
    let other = stored.replace(machine.trim(), "0123456789abcdef0123456789abcdef");
    let broken = |text: &str| {
        let (head, old) = stored.split_once('\n').unwrap();
        format!(
            "{}\n{text}",
            head.replace(&format!("Length {}", old.len()), &format!("Length {}", text.len()))
        )
    };
    let not_used = "is not used: ";
    for (file, stored, options, wants) in [
        (Some(&wrong), &stored, &[][..], &["AS 0 is reserved"][..]),
        (None, &stored, &["--fallback"], &["cannot read the configuration"]),
        (Some(&wrong), &other, &["--fallback"], &["AS 0 is reserved", not_used, "another machine"]),
        (
            Some(&wrong),
            &broken("[bgp]\nx"),
            &["--fallback"],
            &["AS 0 is reserved", not_used, "last-good.toml:3"],
        ),
        (
            Some(&wrong),
            &stored.trim_end().to_owned(),
            &["--fallback"],
            &["AS 0 is reserved", not_used, "it is not complete"],
        ),
        (Some(&wrong), &String::new(), &["--fallback"], &["AS 0 is reserved", not_used, "first line"]),
    ] {
        match file {
            Some(text) => fs::write(&config, text).unwrap(),
            None => fs::remove_file(&config).unwrap(),
        }
        fs::write(copy(folder), stored).unwrap();
        let (code, said) = refused(folder, options);
        assert_eq!(code, Some(2), "{said}");
        assert!(wants.iter().all(|want| said.contains(want)), "{wants:?}: {said}");
        assert_eq!(said.contains(not_used), wants.contains(&not_used), "{said}");
    }
    // A file that every user of the host can write is not a typo.
    fs::write(&config, &wrong).unwrap();
    fs::write(copy(folder), &stored).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let (code, said) = refused(folder, &["--fallback"]);
    assert!(code == Some(2) && said.contains("others can write it"), "{code:?} {said}");
}
