//! Tests a daemon that is stopped for some seconds, as by SIGSTOP or on a host without processor time: it does not blame its web
//! server for that. The test runs in its own network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use announcer::control::api::Status;
use daemon::{Daemon, FIXTURE, in_new_netns};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(15);

/// A web server that needs half a second for each answer, and gives none while it hangs.
fn serve(port: u16, hangs: &Arc<AtomicBool>) {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let hangs = hangs.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, hangs) = (stream.unwrap(), hangs.clone());
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                std::thread::sleep(Duration::from_millis(500));
                while hangs.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(100));
                }
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            });
        }
    });
}

/// The standing of each service's VIP, with its reason.
fn standings(status: &Status) -> Vec<(&str, &str)> {
    status
        .services
        .iter()
        .map(|one| (one.vips[0].standing.as_str(), one.vips[0].reason.text.as_str()))
        .collect()
}

// The time limits of the probes in flight ended while the daemon was stopped. Their answers were there, but counted as missing.
#[test]
fn a_daemon_that_stood_still_withdraws_nothing() {
    in_new_netns(stands_still);
}

fn stands_still(folder: &Path) {
    let hangs = Arc::new(AtomicBool::new(false));
    serve(8080, &hangs);
    let program = folder.join("ask");
    // A program that needs half a second, and ends only after the server has answered.
    let check = "#!/bin/bash\nexec 3<>/dev/tcp/192.0.2.81/8080; echo >&3; read -r line <&3\n";
    std::fs::write(&program, check).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    let pace = "interval = \"100ms\"\ntimeout = \"1s\"\nfall = 3\n";
    let text = format!(
        "{FIXTURE}\
         [[service]]\nname = \"http\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\nhttp = \"http://www.example.com:8080/\"\n{pace}\
         [[service]]\nname = \"exec\"\nvips = [\"192.0.2.81\"]\n\
         [[service.check]]\nexec = [\"{}\"]\n{pace}\
         [[service]]\nname = \"tcp\"\nvips = [\"192.0.2.82\"]\n\
         [[service.check]]\ntcp = 8080\nsend = \"x\"\nexpect = \"200\"\n{pace}",
        program.display()
    );
    let daemon = Daemon::start(folder, &text);
    daemon.until_all_are(PATIENCE, "announced");
    for stopped in [1_000, 1_200, 4_000, 4_000].map(Duration::from_millis) {
        daemon.signal(Signal::SIGSTOP);
        std::thread::sleep(stopped);
        daemon.signal(Signal::SIGCONT);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            let status = daemon.status().unwrap();
            let standings = standings(&status);
            assert!(
                standings.iter().all(|(standing, _)| *standing == "announced"),
                "stopped for {stopped:?}: {standings:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // A server that hangs is still noticed, also after the process stood still.
    hangs.store(true, Ordering::Relaxed);
    daemon.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    daemon.signal(Signal::SIGCONT);
    daemon.until_all_are(PATIENCE, "not_announced");
    // The probes that were in flight are not counted as failed.
    let warnings = daemon.status().unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.starts_with("announcer stood still: ")), "{warnings:?}");
}
