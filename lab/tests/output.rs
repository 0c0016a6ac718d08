//! Commands with an output that cannot be written: a closed pipe ends them quietly, and a full disk is one line and exit code 1.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../dsr-setup/output/tests/closed/mod.rs"]
mod closed;

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

#[test]
fn help_may_be_cut() {
    closed::check_help(PROGRAM);
}

/// The commands that print something without a lab, and their exit codes. A new command has to be added here.
fn words(command: &str) -> Option<(&'static [&'static str], i32)> {
    Some(match command {
        "up" | "down" | "exec" => return None, // they need a lab
        "flows" => return None, // it goes on until its standard input says `stop`: tests/tests/chain.rs
        "status" => (&["status"], 1),
        "director" => return None, // it goes on until a signal: tests/tests/topologies/l2.rs
        "generate" => (&["generate", "--frontends", "3", "--routers", "2"], 0),
        "load" => (&["load", "--rate", "1", "--seconds", "1", "--live", "http://127.0.0.1:1/"], 1),
        other => panic!("add `{other}` to this table"),
    })
}

#[test]
fn the_output_of_a_command_may_be_closed() {
    let all = closed::commands(PROGRAM);
    assert!(all.len() > 5, "the commands were not found");
    for name in &all {
        let Some((words, code)) = words(name) else { continue };
        let command = || {
            let mut command = Command::new(PROGRAM);
            command.args(words);
            command
        };
        if name == "load" {
            // Its exit code is about the connections, and nobody reads the result.
            assert_eq!(closed::to_closed_pipe(&mut command()), (Some(0), String::new()));
            assert_eq!(closed::to_full_disk(&mut command()), (Some(1), closed::FULL.into()));
        } else {
            let code =
                if name == "status" { command().output().unwrap().status.code().unwrap() } else { code };
            closed::check(command, code);
        }
    }
}
