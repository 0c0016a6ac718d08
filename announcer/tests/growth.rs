//! Tests that a daemon with many services does not grow when its status is read often (case B16). The test runs in its own network
//! namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use daemon::{Daemon, FIXTURE, in_new_netns};

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICES: u8 = 250;
/// How often the status is read.
const TIMES: usize = 300;
/// The most that the daemon may have grown afterwards. One reply is a few hundred kB.
const MOST_KIB: u64 = 16 * 1024;

/// The memory of a process in KiB, without its share of what other processes use too.
fn pss(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn a_status_that_is_read_often_takes_no_memory() {
    in_new_netns(read_often);
}

fn read_often(folder: &Path) {
    let file = folder.join("up");
    std::fs::write(&file, "").unwrap();
    let mut text = FIXTURE.to_owned();
    for number in 0..SERVICES {
        write!(
            text,
            "[[service]]\nname = \"s{number}\"\nvips = [\"192.0.2.{number}\"]\n\
             [[service.check]]\nfile = \"{}\"\ninterval = \"10s\"\n",
            file.display()
        )
        .unwrap();
    }
    let daemon = Daemon::start(folder, &text);
    daemon.until_all_are(PATIENCE, "announced");
    let before = pss(&daemon);
    for _ in 0..TIMES {
        assert_eq!(daemon.status().unwrap().services.len(), usize::from(SERVICES));
    }
    let after = pss(&daemon);
    println!("PSS {before} KiB, after {TIMES} times {after} KiB");
    assert!(after < before + MOST_KIB, "PSS grew from {before} to {after} KiB");
}
