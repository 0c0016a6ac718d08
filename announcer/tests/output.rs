//! Each command with an output that cannot be written: a closed pipe ends it quietly, and a full disk is one line and exit code 1.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../../dsr-setup/output/tests/closed/mod.rs"]
mod closed;
mod daemon;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use daemon::{Daemon, FIXTURE, in_new_netns};

const PROGRAM: &str = env!("CARGO_BIN_EXE_announcer");
const SERVICE: &str = "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
                       [[service.check]]\ntcp = 8080\ninterval = \"50ms\"\n";

#[test]
fn help_may_be_cut() {
    closed::check_help(PROGRAM);
}

/// When a command prints something.
enum Prints {
    /// While the daemon runs.
    WithDaemon,
    /// While no daemon runs.
    Without,
}

/// What to type after each command so that it prints something, and when. A new command has to be added here.
fn words(command: &str) -> Option<(Prints, &'static [&'static str])> {
    use Prints::{WithDaemon, Without};
    Some(match command {
        "run" | "help" => return None, // prints nothing: its log is for standard error; its `--help` is checked
        "top" => return None,          // needs a terminal: tests/top.rs loses it
        "upgrade" => return None,      // needs an installation: tests/upgrade.rs
        "validate" => (Without, &["announcer.toml"]),
        "router-config" => (Without, &["announcer.toml", "--for", "frr"]),
        "check" => (WithDaemon, &["www", "--config", "announcer.toml"]),
        "status" | "recheck" | "reload" | "chain" => (WithDaemon, &[]),
        "history" => (WithDaemon, &["--json"]),
        "log" => (WithDaemon, &["debug", "--for", "1m"]),
        "explain" => (WithDaemon, &["192.0.2.80"]),
        "import" => (Without, &["exabgp", "www.conf", "--asn", "65001", "--router", "r1=10.0.1.1,65000"]),
        "drain" | "undrain" => (Without, &["www", "--config", "announcer.toml"]),
        other => panic!("add `{other}` to this table"),
    })
}

/// No address of the test's host is in it, so that it has no effect; `announcer chain` says so.
const CHAIN: &str =
    "[chain]\ninterface = \"lo\"\nmembers = [\"10.9.9.11\", \"10.9.9.12\"]\nkey_file = \"/nowhere/key\"\n";

#[test]
fn the_output_of_a_command_may_be_closed() {
    in_new_netns(every_command);
}

fn every_command(folder: &Path) {
    let _listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    daemon::write_config(folder, &format!("{FIXTURE}{SERVICE}"));
    std::fs::write(folder.join("www.conf"), "ip = 192.0.2.80\nwithdraw-on-down\n").unwrap();
    let run = |name: &str, words: &[&str]| -> Command {
        let mut command = daemon::command(folder, &[name]);
        command.args(words).current_dir(folder);
        command
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for name in closed::commands(PROGRAM) {
        match words(&name) {
            Some((Prints::WithDaemon, words)) => with.push((name, words)),
            Some((Prints::Without, words)) => without.push((name, words)),
            None => {}
        }
    }
    assert!(with.len() > 3 && without.len() > 1, "the commands were not found");
    for (name, words) in &without {
        closed::check(|| run(name, words), 0);
    }
    let daemon = Daemon::start(folder, &format!("{FIXTURE}{SERVICE}{CHAIN}"));
    daemon.until_all_are(Duration::from_secs(10), "announced");
    for (name, words) in &with {
        closed::check(|| run(name, words), 0);
    }
}
