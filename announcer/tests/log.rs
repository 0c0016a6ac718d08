//! Tests a daemon whose standard error is not read: the log must not stop anything else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use announcer::control::api::{Request, Response, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use until::until;

const FIXTURE: &str = include_str!("fixture.toml");
const PATIENCE: Duration = Duration::from_secs(10);

/// The daemon; ends when it is dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status; an error if it does not come in time.
fn status(folder: &std::path::Path) -> std::io::Result<Status> {
    let mut stream = UnixStream::connect(folder.join("socket"))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    writeln!(stream, "{}", serde_json::to_string(&Request::Status).unwrap())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let Response::Status { status } = serde_json::from_str(&answer)? else { panic!("{answer}") };
    Ok(*status)
}

/// A pipe that is full: the next write blocks until it is read.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = |on| {
        let set = if on { nix::fcntl::OFlag::O_NONBLOCK } else { nix::fcntl::OFlag::empty() };
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(set)).unwrap();
    };
    flags(true);
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    flags(false);
    writer.flush().unwrap();
    (reader, writer)
}

fn without_a_reader() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = folder.join("announcer.toml");
    std::fs::write(folder.join("up"), "").unwrap();
    let text = format!(
        "{FIXTURE}\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\nfile = \"{}\"\ninterval = \"50ms\"\n",
        folder.join("up").display()
    );
    std::fs::write(&config, text).unwrap();
    let (mut reader, stderr) = full_pipe();
    let child = Command::new(env!("CARGO_BIN_EXE_announcer"))
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--state-dir")
        .arg(folder)
        .args(["run", "--log", "trace", "--config"])
        .arg(&config)
        .stdout(stderr.try_clone().unwrap())
        .stderr(stderr)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut daemon = Daemon(child);
    let announced = until(PATIENCE, || match status(folder) {
        Ok(status) if status.services[0].vips[0].standing == "announced" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    announced.expect("the daemon works although its log is not read");
    kill(Pid::from_raw(i32::try_from(daemon.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = until(PATIENCE, || daemon.0.try_wait().unwrap().ok_or("it runs"));
    assert!(ended.expect("SIGTERM ends it although its log is not read").success());
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.starts_with("xxx"), "the pipe was full");
}

// At the first line that did not fit into the pipe, the daemon stood still: no KEEPALIVE, no `status`, and no end by SIGTERM.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    // It runs on a separate thread, and only this thread is in the namespace.
    if let Err(panic) = std::thread::spawn(without_a_reader).join() {
        std::panic::resume_unwind(panic);
    }
}
