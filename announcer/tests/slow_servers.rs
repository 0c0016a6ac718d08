//! Tests servers that are slow on all frontends at the same time, with two daemons and BIRD, each in its own network namespace: the route
//! never leaves the router's kernel (`on_timeout`, `slow`, `on_slow`). Needs root, iproute2 and BIRD, and is skipped without them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use announcer::control::api::Status;
use daemon::{Daemon, in_new_netns, ip};
use until::{assert_until, until};

const PATIENCE: Duration = Duration::from_secs(20);
const VIP: &str = "192.0.2.80";
/// The delay that means that the server closes its connections without an answer.
const DEAD: u64 = u64::MAX;

const SERVICE: &str = "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\nflap_damping = false\non_timeout = \"deprefer\"\n\
    [[service.check]]\nhttp = \"http://www.example.com/\"\ninterval = \"100ms\"\ntimeout = \"500ms\"\nslow = \"150ms\"\non_slow = \"deprefer\"\n";

/// A process that is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A frontend: a daemon, and a server that answers after this many milliseconds.
struct Frontend {
    daemon: Daemon,
    delay: Arc<AtomicU64>,
}

impl Frontend {
    /// Starts it in the namespace of this thread, on the link that the router has made.
    fn start(folder: &Path, number: u8) -> Frontend {
        ip("link set lo up");
        ip(&format!("address add 10.9.{number}.2/24 dev fe"));
        ip("link set fe up");
        let delay = Arc::new(AtomicU64::new(0));
        let (listener, millis) = (TcpListener::bind("0.0.0.0:80").unwrap(), delay.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, delay) = (stream.unwrap(), millis.load(Ordering::Relaxed));
                if delay == DEAD {
                    continue;
                }
                std::thread::spawn(move || {
                    // The probe may have ended.
                    let _ = stream.read(&mut [0; 1024]);
                    std::thread::sleep(Duration::from_millis(delay));
                    let _ =
                        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                });
            }
        });
        let config = format!(
            "[bgp]\nasn = 65001\nrouter_id = \"10.9.{number}.2\"\nsettle = \"0s\"\n\
             [[peer]]\nname = \"r1\"\naddress = \"10.9.{number}.1\"\nasn = 65000\nfamilies = [\"ipv4\"]\n{SERVICE}"
        );
        Frontend { daemon: Daemon::start(folder, &config), delay }
    }

    fn answers_after(&self, millis: u64) {
        self.delay.store(millis, Ordering::Relaxed);
    }

    /// Waits until the VIP has this standing for this reason; returns the sentence.
    fn until(&self, standing: &str, reason: &str) -> String {
        let of = |status: &Status| status.services[0].vips[0].clone();
        let status = self.daemon.until_status(PATIENCE, &format!("{standing} {reason}"), |status| {
            (&*of(status).standing, &*of(status).reason.code) == (standing, reason)
        });
        of(&status).reason.text
    }
}

/// Starts BIRD in the namespace of this thread. It spreads over all frontends, and its kernel forwards.
fn bird(folder: &Path) -> Process {
    let session = |number: u8| {
        format!(
            "protocol bgp fe{number} {{ local 10.9.{number}.1 as 65000; neighbor 10.9.{number}.2 as 65001; passive on; \
             ipv4 {{ import all; export none; }}; }}\n"
        )
    };
    let config = format!(
        "router id 10.9.1.1;\nprotocol device {{ }}\nprotocol kernel {{ ipv4 {{ export all; }}; merge paths on; }}\n{}{}",
        session(1),
        session(2)
    );
    std::fs::write(folder.join("bird.conf"), config).unwrap();
    let mut command = Command::new("/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(folder.join("bird.conf")).arg("-s").arg(folder.join("bird.ctl"));
    Process(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Follows the routes of the kernel of this namespace.
fn follow() -> (Process, Arc<Mutex<String>>) {
    let mut monitor = Command::new("ip").args(["monitor", "route"]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut output, seen) = (monitor.stdout.take().unwrap(), Arc::new(Mutex::new(String::new())));
    let changes = seen.clone();
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut part) {
            changes.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..length]));
        }
    });
    (Process(monitor), seen)
}

/// Waits until the route goes over this many frontends.
fn until_next_hops(count: usize) {
    let seen = until(PATIENCE, || {
        let output = Command::new("ip").args(["route", "show", VIP]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.matches("via").count() == count { Ok(()) } else { Err(text) }
    });
    assert_eq!(seen, Ok(()), "{count} next hops");
}

#[test]
fn servers_that_are_slow_everywhere_lose_no_route() {
    if !Path::new("/usr/sbin/bird").exists() {
        until::skipped("BIRD is not installed");
        return;
    }
    in_new_netns(|folder| {
        let frontends = [1, 2].map(|number: u8| {
            let own = folder.join(number.to_string());
            std::fs::create_dir(&own).unwrap();
            let (says, said) = mpsc::channel();
            let (goes, go) = mpsc::channel::<()>();
            let thread = std::thread::spawn(move || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                says.send(nix::unistd::gettid()).unwrap();
                go.recv().unwrap();
                Frontend::start(&own, number)
            });
            let namespace = said.recv().unwrap();
            ip(&format!("link add to{number} type veth peer name fe netns {namespace}"));
            ip(&format!("address add 10.9.{number}.1/24 dev to{number}"));
            ip(&format!("link set to{number} up"));
            goes.send(()).unwrap();
            thread.join().unwrap()
        });
        let (_monitor, changes) = follow();
        let _bird = bird(folder);
        let all = |standing, reason| frontends.each_ref().map(|one| one.until(standing, reason));
        all("announced", "healthy");
        until_next_hops(2);

        frontends.iter().for_each(|one| one.answers_after(250));
        for why in all("last_choice", "slow") {
            assert!(why.contains("of 3 probes were slow (last: HTTP 200 after 2"), "{why}");
        }
        until_next_hops(2);
        frontends.iter().for_each(|one| one.answers_after(2_000));
        for why in all("last_choice", "unhealthy") {
            assert!(why.contains("no answer within 500 ms"), "{why}");
        }
        until_next_hops(2);

        // What fails otherwise is dead, and timeouts do not bring it back.
        frontends[0].answers_after(DEAD);
        frontends[0].until("not_announced", "unhealthy");
        until_next_hops(1);
        frontends[0].answers_after(2_000);
        assert_until(PATIENCE, "its probes time out", || {
            let status = frontends[0].daemon.status().unwrap();
            status.services[0].vips[0].reason.text.contains("no answer within")
        });
        frontends[0].until("not_announced", "unhealthy");

        frontends.iter().for_each(|one| one.answers_after(0));
        all("announced", "healthy");
        until_next_hops(2);
        let changes = changes.lock().unwrap();
        assert!(changes.contains(VIP), "{changes}");
        assert!(!changes.lines().any(|line| line.starts_with("Deleted") && line.contains(VIP)), "{changes}");
    });
}
