//! Tests a daemon that is stopped for some seconds, as by SIGSTOP or on a host without processor time: it does not blame its web
//! server for that. The test runs in its own network namespace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use announcer::control::api::{Request, Response, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use until::until;

const FIXTURE: &str = include_str!("fixture.toml");
const PATIENCE: Duration = Duration::from_secs(15);

/// The daemon; ends when it is dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

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

fn status(folder: &Path) -> std::io::Result<Status> {
    let mut stream = UnixStream::connect(folder.join("socket"))?;
    writeln!(stream, "{}", serde_json::to_string(&Request::Status).unwrap())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let Response::Status { status } = serde_json::from_str(&answer)? else { panic!("{answer}") };
    Ok(*status)
}

/// The standing of each service's VIP, with its reason.
fn standings(status: &Status) -> Vec<(&str, &str)> {
    status.services.iter().map(|one| (one.vips[0].standing.as_str(), one.vips[0].reason.as_str())).collect()
}

fn until_all_are(folder: &Path, standing: &str) {
    let fitted = until(PATIENCE, || match status(folder) {
        Ok(status) if standings(&status).iter().all(|(word, _)| *word == standing) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    fitted.unwrap_or_else(|last| panic!("{standing}: {last}"));
}

fn stands_still() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let hangs = Arc::new(AtomicBool::new(false));
    serve(8080, &hangs);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let program = folder.join("ask");
    // A program that needs half a second, and ends only after the server has answered.
    let check = "#!/bin/bash\nexec 3<>/dev/tcp/192.0.2.81/8080; echo >&3; read -r line <&3\n";
    std::fs::write(&program, check).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
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
    std::fs::write(folder.join("announcer.toml"), text).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_announcer"))
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--state-dir")
        .arg(folder)
        .args(["run", "--config"])
        .arg(folder.join("announcer.toml"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Daemon(child);
    until_all_are(folder, "announced");
    for _ in 0..2 {
        daemon.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_secs(4));
        daemon.signal(Signal::SIGCONT);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            let status = status(folder).unwrap();
            let standings = standings(&status);
            assert!(standings.iter().all(|(standing, _)| *standing == "announced"), "{standings:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let warnings = status(folder).unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.starts_with("announcer stood still: ")), "{warnings:?}");
    // A server that hangs is still noticed, also after the process stood still.
    hangs.store(true, Ordering::Relaxed);
    daemon.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    daemon.signal(Signal::SIGCONT);
    until_all_are(folder, "not_announced");
}

// The time limits of the probes in flight ended while the daemon was stopped. Their answers were there, but counted as missing.
#[test]
fn a_daemon_that_stood_still_withdraws_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    // It runs on a separate thread. Only this thread and the threads that it starts are in the namespace.
    if let Err(panic) = std::thread::spawn(stands_still).join() {
        std::panic::resume_unwind(panic);
    }
}
