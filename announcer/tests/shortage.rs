//! Tests a daemon without free descriptors: nothing is withdrawn, and `status` and metrics show it. The test runs in its own
//! network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use announcer::control::api::{Request, Response, Status};
use daemon::{Daemon, FIXTURE, in_new_netns, run, write_config};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use until::until;

const VIP: &str = "192.0.2.80";
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a daemon that may raise its limit of 32 descriptors.
fn start(folder: &Path) -> Daemon {
    let text = format!(
        "{FIXTURE}\
         [[service]]\nname = \"www\"\nvips = [\"{VIP}\"]\n\
         [[service.check]]\ntcp = 8080\ninterval = \"50ms\"\n\
         [[service.check]]\nexec = [\"/bin/true\"]\ninterval = \"50ms\"\n"
    );
    write_config(folder, &text);
    let daemon = run(folder, &[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 32; exec \"$0\" \"$@\""]).arg(daemon.get_program()).args(daemon.get_args());
    Daemon::spawn(folder, shell.stderr(Stdio::null()))
}

/// Changes its limit of descriptors; returns the old limit.
fn limit(daemon: &Daemon, current: Option<u64>) -> Option<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum; // it has inherited this from us
    prlimit(Some(Pid::from_child(&daemon.child)), Resource::Nofile, Rlimit { current, maximum })
        .unwrap()
        .current
}

/// The number of probes that were skipped because of missing descriptors, from the warning in status.
fn skipped(status: &Status) -> u32 {
    let said = "announcer is out of file descriptors: ";
    let count = status.warnings.iter().find_map(|warning| warning.strip_prefix(said)?.split(' ').next());
    count.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_daemon_without_descriptors_withdraws_nothing_and_says_so() {
    in_new_netns(without_descriptors);
}

fn without_descriptors(folder: &Path) {
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    let daemon = start(folder);
    let status = daemon.until_all_are(PATIENCE, "announced");
    assert_eq!(skipped(&status), 0, "{:?}", status.warnings);

    // Later none can be opened.
    let connect = || until(PATIENCE, || daemon.connect()).unwrap();
    let connections = [connect(), connect()];
    std::thread::sleep(Duration::from_millis(200)); // until they are accepted
    let limit_before = limit(&daemon, Some(3));
    assert!(limit_before.is_none_or(|limit| limit > 32), "it was not raised: {limit_before:?}");
    let mut before = 0;
    for connection in connections {
        std::thread::sleep(Duration::from_millis(1000));
        let Response::Status { status } = daemon::ask(connection, &Request::Status).unwrap() else {
            panic!("no status")
        };
        assert_eq!(status.services[0].vips[0].standing, "announced", "{:?}", status.services);
        // Two checks, 20 times a second each.
        assert!(skipped(&status) >= before + 20, "{:?}", status.warnings);
        before = skipped(&status);
    }

    // Their results count again as soon as descriptors are free.
    limit(&daemon, limit_before);
    drop(listener);
    let status = daemon.until_all_are(PATIENCE, "not_announced");
    assert!(skipped(&status) >= before);
}
