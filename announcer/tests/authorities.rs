//! Tests a `ca_file` that a check needs and that cannot be used: the start logs it and continues, and a reload is refused. The test
//! runs in its own network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use daemon::{Daemon, FIXTURE, command, in_new_netns, run, write_config};

const PATIENCE: Duration = Duration::from_secs(10);

fn call(folder: &Path, words: &[&str]) -> Output {
    command(folder, words).output().unwrap()
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap()
}

fn write(folder: &Path, service: &str) {
    let text = format!(
        "{FIXTURE}\
         [[service]]\nname = \"{service}\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\ntls = \"www.example.com\"\nverify = \"require\"\nca_file = \"{}\"\n",
        folder.join("ca.pem").display()
    );
    write_config(folder, &text);
}

#[test]
fn a_file_of_authorities_that_is_of_no_use_is_reported_and_stops_a_reload_alone() {
    in_new_netns(without_authorities);
}

fn without_authorities(folder: &Path) {
    let authorities = folder.join("ca.pem");
    write(folder, "old");
    let mut command = run(folder, &[]);
    command.env("NO_COLOR", "1").stderr(fs::File::create(folder.join("log")).unwrap());
    let daemon = Daemon::spawn(folder, &mut command);
    daemon.until_status(PATIENCE, "it answers", |_| true);
    let said = "there are no trusted certificates";
    assert!(log(folder).contains(said) && log(folder).contains("line=16"), "{}", log(folder));

    write(folder, "new");
    let services = || daemon.status().unwrap().services[0].name.clone();
    for useless in [None, Some("no certificate\n")] {
        if let Some(text) = useless {
            fs::write(&authorities, text).unwrap();
        }
        let refused = call(folder, &["reload", "--force"]);
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
    let done = call(folder, &["reload"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(services(), "new");
}
