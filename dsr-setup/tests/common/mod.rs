//! Each test has its own network namespace, so that no test changes the host's.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Whether tests that need a network namespace can run; prints a message if not.
pub fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: needs root to make a network namespace; run the tests with sudo");
    }
    is_root
}

/// A network namespace, kept by a process that ends when this is dropped, or when the test dies.
pub struct Netns {
    keeper: Child,
}

impl Netns {
    pub fn new() -> Netns {
        let mut keeper = Command::new("unshare");
        let mut keeper =
            keeper.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // The echo shows that `cat` runs, and so that the namespace exists.
        keeper.stdin.as_mut().unwrap().write_all(b"ready\n").unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Netns { keeper }
    }

    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// A command line that runs inside.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg("--").args(args);
        command
    }

    /// Runs a command line that must succeed; its standard output.
    pub fn run(&self, line: &str) -> String {
        let args: Vec<&str> = line.split_whitespace().collect();
        let output = self.command(&args).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub fn sysctl(&self, name: &str) -> String {
        self.run(&format!("cat /proc/sys/net/ipv4/conf/{name}")).trim().to_owned()
    }

    pub fn set_sysctl(&self, name: &str, value: i32) {
        let script = format!("echo {value} > /proc/sys/net/ipv4/conf/{name}");
        assert!(self.command(&["sh", "-c", &script]).status().unwrap().success());
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs `body` on a thread in a new network namespace, whose `lo` is up.
pub fn inside_new_netns(body: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(body());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs ip(8) in the calling thread's namespace; its standard output.
pub fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", text(&output.stderr));
    text(&output.stdout)
}
