//! Tests a daemon without free descriptors: nothing is withdrawn, and `status` and metrics show it. The test runs in its own
//! network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use announcer::control::api::{Request, Response, Status};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use until::until;

const FIXTURE: &str = include_str!("fixture.toml");
const VIP: &str = "192.0.2.80";
const PATIENCE: Duration = Duration::from_secs(10);

/// The daemon; ends when it is dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn start(folder: &Path) -> Daemon {
        let config = folder.join("announcer.toml");
        let text = format!(
            "{FIXTURE}\
             [[service]]\nname = \"www\"\nvips = [\"{VIP}\"]\n\
             [[service.check]]\ntcp = 8080\ninterval = \"50ms\"\n\
             [[service.check]]\nexec = [\"/bin/true\"]\ninterval = \"50ms\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let daemon = Command::new("sh")
            .args([
                "-c",
                "ulimit -Sn 32; exec \"$0\" --socket \"$1/socket\" --state-dir \"$1\" run --config \"$2\"",
            ])
            .args([Path::new(env!("CARGO_BIN_EXE_announcer")), folder, &config])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Daemon(daemon)
    }

    /// Changes its limit of descriptors; returns the old limit.
    fn limit(&self, current: Option<u64>) -> Option<u64> {
        let maximum = getrlimit(Resource::Nofile).maximum; // it has inherited this from us
        prlimit(Some(Pid::from_child(&self.0)), Resource::Nofile, Rlimit { current, maximum })
            .unwrap()
            .current
    }
}

/// A connection to the daemon that is opened in advance, because later none can be opened.
fn connect(folder: &Path) -> UnixStream {
    until(PATIENCE, || UnixStream::connect(folder.join("socket"))).unwrap()
}

fn ask(mut stream: UnixStream) -> Status {
    let request = serde_json::to_string(&Request::Status).unwrap();
    writeln!(stream, "{request}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    let answer: Response = serde_json::from_str(&answer).unwrap();
    let Response::Status { status } = answer else { panic!("{answer:?}") };
    *status
}

/// Requests the status until the VIP has this standing.
fn until_it_is(folder: &Path, standing: &str) -> Status {
    let fitted = until(PATIENCE, || {
        let status = ask(connect(folder));
        if status.services[0].vips[0].standing == standing { Ok(status) } else { Err(status.services) }
    });
    fitted.unwrap_or_else(|services| panic!("{services:?}"))
}

/// The number of probes that were skipped because of missing descriptors, from the warning in status.
fn not_asked(status: &Status) -> u32 {
    let said = "announcer is out of file descriptors: ";
    let count = status.warnings.iter().find_map(|warning| warning.strip_prefix(said)?.split(' ').next());
    count.map_or(0, |count| count.parse().unwrap())
}

fn without_descriptors() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let listener = TcpListener::bind("0.0.0.0:8080").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let daemon = Daemon::start(folder);
    let status = until_it_is(folder, "announced");
    assert_eq!(not_asked(&status), 0, "{:?}", status.warnings);

    let asker = [connect(folder), connect(folder)];
    std::thread::sleep(Duration::from_millis(200)); // until they are accepted
    let limit = daemon.limit(Some(3));
    assert!(limit.is_none_or(|limit| limit > 32), "it was not raised: {limit:?}");
    let mut before = 0;
    for asker in asker {
        std::thread::sleep(Duration::from_millis(1000));
        let status = ask(asker);
        assert_eq!(status.services[0].vips[0].standing, "announced", "{:?}", status.services);
        // Two checks, 20 times a second each.
        assert!(not_asked(&status) >= before + 20, "{:?}", status.warnings);
        before = not_asked(&status);
    }

    // Their results count again as soon as descriptors are free.
    daemon.limit(limit);
    drop(listener);
    let status = until_it_is(folder, "not_announced");
    assert!(not_asked(&status) >= before);
}

#[test]
fn a_daemon_without_descriptors_withdraws_nothing_and_says_so() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    // It runs on a separate thread, and only this thread is in the namespace.
    if let Err(panic) = std::thread::spawn(without_descriptors).join() {
        std::panic::resume_unwind(panic);
    }
}
