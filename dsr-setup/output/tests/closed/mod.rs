//! Runs programs whose standard output cannot be written: a pipe whose reader has gone, and a full disk.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs::File;
use std::process::{Command, Stdio};

/// What a program says on standard error if the disk is full.
pub const FULL: &str = "error: standard output cannot be written: No space left on device (os error 28)\n";

/// Runs the command with a pipe whose reader has gone. Returns its exit code and its standard error.
pub fn to_closed_pipe(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    ended(command.stdout(writer))
}

/// Runs the command with a full disk as its standard output.
pub fn to_full_disk(command: &mut Command) -> (Option<i32>, String) {
    ended(command.stdout(File::options().write(true).open("/dev/full").unwrap()))
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let ended = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

/// The commands of a program, from its `--help`.
pub fn commands(program: &str) -> Vec<String> {
    let help = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    listed
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()))
        .map(str::to_owned)
        .collect()
}

/// Checks `--help` of the program and of each of its commands, and its `--version`.
pub fn check_help(program: &str) {
    let commands = commands(program);
    let of_commands =
        commands.iter().filter(|name| *name != "help").map(|name| vec![name.as_str(), "--help"]);
    for words in of_commands.chain([vec!["--help"], vec!["--version"]]) {
        let with = || {
            let mut command = Command::new(program);
            command.args(&words);
            command
        };
        assert_eq!(to_closed_pipe(&mut with()), (Some(0), String::new()), "{words:?} to a closed pipe");
        assert_eq!(to_full_disk(&mut with()), (Some(1), FULL.into()), "{words:?} to a full disk");
    }
}

/// Checks a command that prints something and ends with `code` if its output is read.
pub fn check(mut command: impl FnMut() -> Command, code: i32) {
    let shown = format!("{:?}", command());
    let normal = command().stdin(Stdio::null()).output().unwrap();
    assert_eq!(normal.status.code(), Some(code), "{shown}: {normal:?}");
    assert!(!normal.stdout.is_empty(), "{shown} prints nothing");
    let errors = String::from_utf8_lossy(&normal.stderr).into_owned();
    assert_eq!(to_closed_pipe(&mut command()), (Some(code), errors.clone()), "{shown} to a closed pipe");
    let (code, said) = to_full_disk(&mut command());
    assert_eq!(code, Some(1), "{shown} to a full disk: {said}");
    assert!(said.ends_with(FULL) && !said.contains("panicked"), "{shown} to a full disk: {said}");
}
