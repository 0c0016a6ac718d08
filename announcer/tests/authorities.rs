//! Tests a `ca_file` that a check needs and that cannot be used: the start logs it and continues, and a reload is refused. The test
//! runs in its own network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use until::until;

const FIXTURE: &str = include_str!("fixture.toml");
const ANNOUNCER: &str = env!("CARGO_BIN_EXE_announcer");

/// The daemon and its folder; it ends when it is dropped.
struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(ANNOUNCER);
        command.env("NO_COLOR", "1");
        command.arg("--socket").arg(folder.join("socket")).arg("--state-dir").arg(folder);
        command.arg("run").arg("--config").arg(folder.join("announcer.toml"));
        let daemon = Daemon { child: command.stderr(log).spawn().unwrap(), folder: folder.to_owned() };
        let answers = || if daemon.ask(&["status"]).status.success() { Ok(()) } else { Err(daemon.log()) };
        until(Duration::from_secs(10), answers).unwrap_or_else(|log| panic!("{log}"));
        daemon
    }

    fn ask(&self, words: &[&str]) -> Output {
        Command::new(ANNOUNCER).arg("--socket").arg(self.folder.join("socket")).args(words).output().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

fn write_config(folder: &Path, service: &str) {
    let text = format!(
        "{FIXTURE}\
         [[service]]\nname = \"{service}\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\ntls = \"www.example.com\"\nverify = \"require\"\nca_file = \"{}\"\n",
        folder.join("ca.pem").display()
    );
    fs::write(folder.join("announcer.toml"), text).unwrap();
}

fn without_authorities() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authorities = folder.join("ca.pem");
    write_config(folder, "old");
    let daemon = Daemon::start(folder);
    let said = "there are no trusted certificates";
    assert!(daemon.log().contains(said) && daemon.log().contains("line=16"), "{}", daemon.log());

    write_config(folder, "new");
    let services = || {
        let status = String::from_utf8(daemon.ask(&["status", "--json"]).stdout).unwrap();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["services"][0]["name"].as_str().unwrap().to_owned()
    };
    for useless in [None, Some("no certificate\n")] {
        if let Some(text) = useless {
            fs::write(&authorities, text).unwrap();
        }
        let refused = daemon.ask(&["reload", "--force"]);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && message.contains(said), "{message}");
        assert!(
            message.contains("announcer.toml:16:11") && message.contains("certificates in PEM"),
            "{message}"
        );
        assert_eq!(services(), "old");
    }

    let key = rcgen::generate_simple_self_signed(["ca.example.com".to_owned()]).unwrap();
    fs::write(&authorities, key.cert.pem()).unwrap();
    let done = daemon.ask(&["reload"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(services(), "new");
}

#[test]
fn a_file_of_authorities_that_is_of_no_use_is_reported_and_stops_a_reload_alone() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    // It runs on a separate thread, and only this thread is in the namespace.
    if let Err(panic) = std::thread::spawn(without_authorities).join() {
        std::panic::resume_unwind(panic);
    }
}
