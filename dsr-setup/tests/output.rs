//! Each command with an output that cannot be written: a closed pipe ends it quietly, and a full disk is one line and exit code 1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../output/tests/closed/mod.rs"]
mod closed;

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dsr-setup");

#[test]
fn help_may_be_cut() {
    closed::check_help(PROGRAM);
}

/// Each command, in its own network namespace, in a way in which it prints something; with its exit code.
fn words(command: &str) -> Option<(&'static str, i32)> {
    Some(match command {
        "help" => return None,
        "watch" => return None, // it prints on standard error, and does not end
        "plan" => ("exec \"$0\" plan 192.0.2.80 --state-dir \"$1\"", 1),
        "check" => ("exec \"$0\" check 192.0.2.80 --state-dir \"$1\"", 1),
        "apply" => ("exec \"$0\" apply 192.0.2.80 --state-dir \"$1\"", 0),
        "remove" => (
            "\"$0\" apply 192.0.2.80 --state-dir \"$1\" > \"$1\"/steps; \
             exec \"$0\" remove --socket /nonexistent --state-dir \"$1\"",
            0,
        ),
        "doctor" => ("exec \"$0\" doctor --vip 192.0.2.80 --state-dir \"$1\"", 1),
        "order" => ("exec \"$0\" order caddy.service --units-dir \"$1\"", 0),
        "persist" => ("exec \"$0\" persist --for networkd --vip 192.0.2.80", 0),
        other => panic!("add `{other}` to this table"),
    })
}

#[test]
fn the_output_of_a_command_may_be_closed() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let all = closed::commands(PROGRAM);
    assert!(all.len() > 4, "the commands were not found");
    for (shell, code) in all.iter().filter_map(|name| words(name)) {
        let mut folders = Vec::new();
        let command = || {
            let folder = tempfile::tempdir().unwrap();
            let mut command = Command::new("unshare");
            command.args(["-n", "sh", "-c", shell, PROGRAM]).arg(folder.path());
            folders.push(folder);
            command
        };
        closed::check(command, code);
    }
}
