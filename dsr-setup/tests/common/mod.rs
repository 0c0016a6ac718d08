//! Each test has its own network namespace, so that no test changes the host's.
#![allow(dead_code, unreachable_pub, unused_imports, unused_macros, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Trial};

/// Tests with their names, for [`run_tests`].
macro_rules! named {
    ($($test:path),* $(,)?) => { &[$((stringify!($test), $test as fn())),*] };
}
pub(crate) use named;

/// Runs tests that wait most of the time, `at_once` of them at the same time on any number of processors, and of `ignored` only those
/// that are asked for. The options are those of other tests. The first ones should be those that last longest.
pub fn run_tests(
    at_once: usize,
    tests: &[(&'static str, fn())],
    ignored: &[(&'static str, fn())],
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(at_once));
    let trial = |(name, test): &(&'static str, fn())| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
    };
    let ignored = ignored.iter().map(|test| trial(test).with_ignored_flag(true));
    libtest_mimic::run(&arguments, tests.iter().map(trial).chain(ignored).collect()).exit_code()
}

/// Whether tests that need a network namespace can run; prints a message if not.
pub fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        until::skipped("needs root to make a network namespace; run the tests with sudo");
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
