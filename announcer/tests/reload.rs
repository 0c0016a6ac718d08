//! Tests that a daemon refuses a reload by the sessions that are established, and not by those in its file. The test runs in its own
//! network namespace, with a router that is part of the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use announcer::control::api::{Request, Response, Status};
use until::until;

const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon; ends when it is dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
    [&[0xff; 16][..], &length, &[kind], body].concat()
}

/// A router that keeps its session: OPEN, KEEPALIVEs (RFC 4271 §4), and nothing else.
fn router(listener: TcpListener) {
    for stream in listener.incoming() {
        std::thread::spawn(move || speak(stream.unwrap()));
    }
}

fn speak(mut stream: TcpStream) -> std::io::Result<()> {
    // Version 4, AS 65000, hold time 90 s, 10.9.9.9, capabilities: IPv4 unicast, IPv6 unicast, four-octet AS.
    let capabilities = [1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, 0xfd, 0xe8];
    let open = [&[4, 0xfd, 0xe8, 0, 90, 10, 9, 9, 9, 20, 2, 18][..], &capabilities].concat();
    stream.write_all(&[message(1, &open), message(4, &[])].concat())?;
    while stream.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

fn ask(folder: &Path, request: &Request) -> std::io::Result<Response> {
    let mut stream = UnixStream::connect(folder.join("socket"))?;
    writeln!(stream, "{}", serde_json::to_string(request).unwrap())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Waits until the status matches.
fn until_status(folder: &Path, what: &str, fits: impl Fn(&Status) -> bool) {
    let fitted = until(PATIENCE, || match ask(folder, &Request::Status) {
        Ok(Response::Status { status }) if fits(&status) => Ok(()),
        other => Err(other),
    });
    fitted.unwrap_or_else(|last| panic!("{what}: {last:?}"));
}

fn only_one_session_is_up() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    for line in [
        "link set lo up",
        "link add fe type veth peer name router",
        "address add 10.9.9.1/24 dev router",
        "address add 10.9.9.11/24 dev fe",
        "link set router up",
        "link set fe up",
    ] {
        assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "ip {line}");
    }
    let listener = TcpListener::bind("10.9.9.1:1179").unwrap();
    std::thread::spawn(move || router(listener));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("up"), "").unwrap();
    let write = |peers: &str| {
        let text = format!(
            "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\nsettle = \"0s\"\n{peers}\
             [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
             [[service.check]]\nfile = \"{}\"\ninterval = \"100ms\"\n",
            folder.join("up").display()
        );
        std::fs::write(folder.join("announcer.toml"), text).unwrap();
    };
    let r1 = "[[peer]]\nname = \"r1\"\naddress = \"10.9.9.1\"\nport = 1179\nasn = 65000\n";
    let r2 = "[[peer]]\nname = \"r2\"\naddress = \"10.9.9.2\"\nasn = 65000\n"; // there is no such host
    write(&format!("{r1}{r2}"));
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
    let _daemon = Daemon(child);
    until_status(folder, "r1 has the VIP", |status| {
        status.peers.first().is_some_and(|r1| r1.advertised == 1)
    });

    let reload = |force| ask(folder, &Request::Reload { force }).unwrap();
    for (peers, want) in [
        (r2.to_owned(), "r1 would be removed"),
        (format!("{r1}families = [\"ipv6\"]\n{r2}"), "`families` of r1 would lack IPv4"),
        (format!("{r1}hold_time = \"30s\"\n{r2}"), "the session with r1 would restart"),
    ] {
        write(&peers);
        let Response::Refused { message } = reload(false) else { panic!("{want}: it was made") };
        let want = format!(
            "error: this would end every established session that carries a route to 192.0.2.80: {want};"
        );
        assert!(message.starts_with(&want), "{message}");
    }
    // What is down carries nothing.
    write(r1);
    assert!(matches!(reload(false), Response::Done { .. }));
    write(r2);
    assert!(matches!(reload(true), Response::Done { .. }));
    until_status(folder, "r1 is gone", |status| status.peers.len() == 1 && status.peers[0].name == "r2");
    // None is established.
    write("[[peer]]\nname = \"r3\"\naddress = \"10.9.9.3\"\nasn = 65000\n");
    assert!(matches!(reload(false), Response::Done { .. }));
}

// The sessions of the file that are down counted as if they had the VIP, so the reload was made, and no router had it.
#[test]
fn a_reload_that_takes_the_only_session_that_is_up_needs_force() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root to make a network namespace");
        return;
    }
    // It runs on a separate thread. Only this thread and the threads that it starts are in the namespace.
    if let Err(panic) = std::thread::spawn(only_one_session_is_up).join() {
        std::panic::resume_unwind(panic);
    }
}
