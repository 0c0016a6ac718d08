//! The daemon of an integration test. It runs in a folder and in a network namespace that belong to the test.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod pair;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use announcer::control::api::{Request, Response, Status};
use announcer::control::http::{self, HttpCall};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use until::until;

/// What stands before the services in most tests: `[bgp]` and one router.
pub const FIXTURE: &str = include_str!("../fixture.toml");
/// The longest time until a request is answered.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A running daemon; it is killed when this is dropped.
pub struct Daemon {
    pub child: Child,
    folder: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Writes the configuration, and starts the daemon without a log.
    pub fn start(folder: &Path, config: &str) -> Daemon {
        write_config(folder, config);
        Daemon::spawn(folder, run(folder, &[]).stderr(Stdio::null()))
    }

    /// Starts the daemon by a command that [`run`] has made.
    pub fn spawn(folder: &Path, command: &mut Command) -> Daemon {
        Daemon { child: command.spawn().unwrap(), folder: folder.to_owned() }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// A connection to its control socket.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(self.folder.join("socket"))?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        Ok(stream)
    }

    pub fn ask(&self, request: &Request) -> io::Result<Response> {
        ask(self.connect()?, request)
    }

    pub fn status(&self) -> io::Result<Status> {
        let Response::Status { status } = self.ask(&Request::Status)? else { panic!("no status") };
        Ok(*status)
    }

    /// Waits until the status matches, and returns it. Panics with `what` after `limit`.
    pub fn until_status(&self, limit: Duration, what: &str, matches: impl Fn(&Status) -> bool) -> Status {
        let matched = until(limit, || match self.status() {
            Ok(status) if matches(&status) => Ok(Box::new(status)),
            other => Err(format!("{other:?}")),
        });
        *matched.unwrap_or_else(|last| panic!("{what}: {last}"))
    }

    /// Waits until the first VIP of every service has this standing.
    pub fn until_all_are(&self, limit: Duration, standing: &str) -> Status {
        self.until_status(limit, standing, |status| {
            status.services.iter().all(|one| one.vips[0].standing == standing)
        })
    }

    /// Waits until its process has ended; whether it has ended without an error.
    pub fn until_ended(&mut self, limit: Duration) -> bool {
        until(limit, || self.child.try_wait().unwrap().ok_or(())).expect("the daemon ends").success()
    }
}

/// Sends a request on a connection, and reads the answer.
pub fn ask(mut stream: UnixStream, request: &Request) -> io::Result<Response> {
    stream.write_all(&text_of(request))?;
    let (status, body) = read_answer(stream)?;
    Ok(http::decode(request, status, &body)?)
}

/// A request as it is sent.
pub fn text_of(request: &Request) -> Vec<u8> {
    let HttpCall { method, target, body } = http::call(request);
    text_of_http(method, &target, &body)
}

/// A request with any method, target and body as it is sent.
pub fn text_of_http(method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads an answer until the connection ends: its status code and its body.
pub fn read_answer(mut stream: UnixStream) -> io::Result<(u16, Vec<u8>)> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.unwrap_or_else(|| panic!("{head}")), answer.split_off(end + 4)))
}

/// A router that keeps its sessions: OPEN, KEEPALIVEs (RFC 4271 §4), and nothing else.
pub fn router(listener: TcpListener) {
    for stream in listener.incoming() {
        std::thread::spawn(move || speak(stream.unwrap()));
    }
}

/// A BGP message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

fn speak(mut stream: TcpStream) -> io::Result<()> {
    // Version 4, AS 65000, hold time 90 s, 10.9.9.9, capabilities: IPv4 unicast, IPv6 unicast, four-octet AS.
    let capabilities = [1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, 0xfd, 0xe8];
    let open = [&[4, 0xfd, 0xe8, 0, 90, 10, 9, 9, 9, 20, 2, 18][..], &capabilities].concat();
    stream.write_all(&[message(1, &open), message(4, &[])].concat())?;
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

/// Writes the configuration of a daemon in this folder.
pub fn write_config(folder: &Path, config: &str) {
    std::fs::write(folder.join("announcer.toml"), config).unwrap();
}

/// A command for the daemon in this folder.
pub fn command(folder: &Path, words: &[&str]) -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_announcer")), folder, words)
}

/// The same with another program.
pub fn command_of(program: &Path, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .args(words);
    command
}

/// The command that runs the daemon in this folder, with further options.
pub fn run(folder: &Path, options: &[&str]) -> Command {
    let mut command = command(folder, &["run"]);
    command.arg("--config").arg(folder.join("announcer.toml")).args(options);
    command
}

/// Runs `test` on a thread in a new network namespace, whose `lo` is up. Threads that it starts are in the namespace too. Without
/// root it prints that the test is skipped.
pub fn in_new_netns(test: impl FnOnce(&Path) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        until::skipped("needs root to make a network namespace; run the tests with sudo");
        return;
    }
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        test(tempfile::tempdir().unwrap().path());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes the link between the daemon's host, 10.9.9.11, and a router of the test, 10.9.9.1, in the same namespace.
pub fn link_to_router() {
    for line in [
        "link add fe type veth peer name router",
        "address add 10.9.9.1/24 dev router",
        "address add 10.9.9.11/24 dev fe",
        "link set router up",
        "link set fe up",
    ] {
        ip(line);
    }
}

/// Runs ip(8) in the namespace of this thread.
pub fn ip(line: &str) {
    assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
}
