//! A host in a network namespace of its own, on which the tests run the program. It is no part of `common`, which the tests of
//! announcer also have: cargo tells only the tests of this package where the program is.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::path::PathBuf;

use tempfile::TempDir;

use crate::common::{Netns, text};

pub const VIPS: [&str; 2] = ["192.0.2.80", "2001:db8::80"];

/// A namespace with its own state folder.
pub struct Host {
    pub netns: Netns,
    pub dir: TempDir,
}

/// Exit code, standard output, standard error.
pub type CommandOutput = (i32, String, String);

impl Host {
    pub fn new() -> Host {
        Host { netns: Netns::new(), dir: TempDir::new().unwrap() }
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Runs dsr-setup inside, behind `wrapper`.
    pub fn wrapped(&self, wrapper: &[&str], args: &[&str]) -> CommandOutput {
        let line: Vec<&str> = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_dsr-setup")]).collect();
        let output =
            self.netns.command(&line).args(args).arg("--state-dir").arg(self.state_dir()).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    pub fn plan(&self) -> CommandOutput {
        self.wrapped(&[], &[&["plan"], &VIPS[..]].concat())
    }

    pub fn check(&self) -> CommandOutput {
        self.wrapped(&[], &[&["check"], &VIPS[..]].concat())
    }

    pub fn apply(&self) -> CommandOutput {
        self.wrapped(&[], &[&["apply"], &VIPS[..]].concat())
    }

    pub fn remove(&self, args: &[&str]) -> CommandOutput {
        let socket = self.socket();
        self.wrapped(&[], &[&["remove", "--socket", socket.to_str().unwrap()], args].concat())
    }

    pub fn lo(&self) -> String {
        self.netns.run("ip -o addr show dev lo")
    }
}

pub fn done(stdout: &str) -> CommandOutput {
    (0, stdout.into(), String::new())
}
