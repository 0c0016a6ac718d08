//! The hooks of a running daemon: each runs for its own service, router or drain alone, without capabilities, and one that hangs delays no
//! other. The daemon runs as in its unit: as an ordinary user with CAP_NET_ADMIN. Needs root and setpriv(1), and is skipped without.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use daemon::{Daemon, in_new_netns, link_to_router, router, write_config};
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);
/// The user and the group `nobody`.
const USER: u32 = 65534;

/// Reports one run as a line: the hook, the event, its subject, its state, the state before, and the effective capabilities.
const HOOK: &str = "#!/bin/sh\n\
    read -r _ caps <<E\n$(grep ^CapEff /proc/self/status)\nE\n\
    echo \"$1: $ANNOUNCER_EVENT $ANNOUNCER_VIP$ANNOUNCER_PEER$ANNOUNCER_TARGET \
    $ANNOUNCER_STANDING$ANNOUNCER_SESSION$ANNOUNCER_DRAIN after $ANNOUNCER_PREVIOUS, $caps\" >>$2\n";

fn own(path: &Path) {
    nix::unistd::chown(path, Some(USER.into()), Some(USER.into())).unwrap();
}

fn config(folder: &Path, out: &Path) -> String {
    let (hook, log) = (folder.join("hook").display().to_string(), out.join("log").display().to_string());
    let run = |name: &str| format!("[\"{hook}\", \"{name}\", \"{log}\"]");
    let check = format!(
        "[[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\nrise = 1\n",
        folder.join("up").display()
    );
    format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"2s\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\nhold_time = \"90s\"\n[peer.hooks]\non_change = {}\n\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[service.hooks]\non_change = {}\non_drain = {}\n{check}\
         [[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\n\
         [service.hooks]\non_change = [\"/bin/sleep\", \"600\"]\ntimeout = \"3s\"\n{check}\
         [hooks]\non_change = {}\non_drain = {}\n",
        run("router"),
        run("www"),
        run("www-drain"),
        run("all"),
        run("drain")
    )
}

/// The daemon in this folder, as an ordinary user.
fn start(folder: &Path) -> Daemon {
    let program = folder.join("announcer");
    fs::copy(env!("CARGO_BIN_EXE_announcer"), &program).unwrap(); // the user may not reach the build folder
    let mut command = Command::new("setpriv");
    let user = USER.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.args(["--inh-caps", "+net_admin", "--ambient-caps", "+net_admin"]).arg(program);
    command.arg("--socket").arg(folder.join("socket")).arg("--state-dir").arg(folder.join("state"));
    command.args(["run", "--config"]).arg(folder.join("announcer.toml"));
    command.stdin(Stdio::null()).stderr(fs::File::create(folder.join("stderr")).unwrap());
    Daemon::spawn(folder, &mut command)
}

/// The lines of one hook, without the capabilities; all of them have none.
fn lines(out: &Path, hook: &str) -> Vec<String> {
    let text = fs::read_to_string(out.join("log")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix(hook)?.strip_prefix(": ")?.split_once(", "));
    lines
        .map(|(line, capabilities)| {
            assert_eq!(capabilities, "0000000000000000", "{line}");
            line.to_owned()
        })
        .collect()
}

fn until_lines((folder, out): (&Path, &Path), hook: &str, want: &[&str]) {
    let seen = until(PATIENCE, || {
        let seen = lines(out, hook);
        if seen == want { Ok(()) } else { Err(seen) }
    });
    let stderr = fs::read_to_string(folder.join("stderr")).unwrap();
    assert_eq!(seen, Ok(()), "{hook}: {want:?}\n{stderr}");
}

fn announcer(folder: &Path, words: &[&str]) {
    let output = daemon::command(folder, words).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_hook_runs_for_its_own_events_without_capabilities() {
    in_new_netns(|folder| {
        link_to_router();
        let listener = TcpListener::bind("10.9.9.1:1179").unwrap();
        std::thread::spawn(|| router(listener));
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        // In the folder of the configuration and the state, programs cannot write.
        let elsewhere = tempfile::tempdir().unwrap();
        let out = elsewhere.path();
        fs::write(folder.join("hook"), HOOK).unwrap();
        fs::set_permissions(folder.join("hook"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("up"), "").unwrap();
        write_config(folder, &config(folder, out));
        own(folder);
        own(out);
        let daemon = start(folder);
        daemon.until_all_are(PATIENCE, "announced");
        // The hook of `mail` hangs, and no other waits for it.
        until_lines((folder, out), "www", &["standing 192.0.2.80 announced after starting"]);
        until_lines((folder, out), "router", &["session r1 up after down"]);
        let all = || lines(out, "all").len();
        assert_eq!(until(PATIENCE, || if all() == 2 { Ok(()) } else { Err(all()) }), Ok(()));

        announcer(folder, &["drain", "mail", "--reason", "disk"]);
        let of_mail = ["drain mail begun after ended", "drain mail drained after begun"];
        until_lines((folder, out), "drain", &of_mail);
        announcer(folder, &["undrain", "mail"]);
        let of_mail = [of_mail[0], of_mail[1], "drain mail ended after drained"];
        until_lines((folder, out), "drain", &of_mail);
        assert_eq!(lines(out, "www-drain"), [""; 0], "it is not its drain");
        announcer(folder, &["drain", "--all"]);
        until_lines(
            (folder, out),
            "www-drain",
            &["drain --all begun after ended", "drain --all drained after begun"],
        );
        until_lines(
            (folder, out),
            "www",
            &["standing 192.0.2.80 announced after starting", "standing 192.0.2.80 drained after announced"],
        );
        let killed = until(PATIENCE, || {
            let log = fs::read_to_string(folder.join("stderr")).unwrap();
            let found = log
                .lines()
                .any(|line| line.contains("hook took too long and was killed") && line.contains("mail"));
            if found { Ok(()) } else { Err(log) }
        });
        assert_eq!(killed, Ok(()));
        assert_eq!(lines(out, "router"), ["session r1 up after down"]);
    });
}
