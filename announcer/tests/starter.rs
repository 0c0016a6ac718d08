//! The starter of the unit (packaging/start.in), with a root folder, a clock and programs of the test: when it runs the previous
//! program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// What happens on the host. Times are seconds since the boot.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Another program is installed.
    Install,
    /// `announcer upgrade` keeps the running program, and replaces it.
    Upgrade(u64),
    /// The former process has crashed, and systemd starts this program.
    Crash(u64, Program),
    /// The former process was stopped, and systemd starts this program.
    Stop(u64, Program),
    /// The host boots again.
    Boot,
    /// This file, below the state directory or the folder of the previous program, has this text.
    Text(&'static str, &'static str),
    /// This file is gone.
    Gone(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Installed,
    Previous,
}

use Program::{Installed, Previous};
use Step::{Boot, Crash, Gone, Install, Stop, Text, Upgrade};

struct Host {
    root: tempfile::TempDir,
    installations: usize,
}

impl Host {
    fn new() -> Host {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "lib/previous", "proc/sys/kernel/random", "state"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let host = Host { root, installations: 0 };
        let text = include_str!("../packaging/start.in");
        let path = |name: &str| host.path(name).display().to_string();
        let text = text.replace("@BINDIR@", &path("bin")).replace("@LIBDIR@", &path("lib"));
        let text = text.replace("\nproc=/proc\n", &format!("\nproc={}\n", path("proc")));
        host.write("lib/start", &text);
        host.write("proc/sys/kernel/random/boot_id", "boot-1\n");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let (path, new) = (self.path(name), self.path("new"));
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Runs the starter by a shell, and returns which program it has run. The programs print what they have got.
    fn start(&self, shell: &[&str], time: u64) -> Program {
        self.write("proc/uptime", &format!("{time}.25 {time}.00\n"));
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .arg(self.path("lib/start"))
            .args(["run", "a b"])
            .env("STATE_DIRECTORY", format!("{}:/nonsuch", self.path("state").display()))
            .output()
            .unwrap();
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let installed = self.path("bin/announcer").display().to_string();
        let (program, rolled_back) = match said.lines().next() {
            Some("installed") => (Installed, ""),
            Some("previous") => (Previous, "yes"),
            other => panic!("{other:?} {errors}"),
        };
        let want = format!("run|a b|{installed}|{rolled_back}");
        assert_eq!(said.lines().nth(1), Some(want.as_str()), "its arguments and variables");
        assert_eq!(errors.is_empty(), program == Installed, "{errors}");
        program
    }

    fn program(&self, name: &str, says: &str) {
        let text = format!(
            "#!/bin/sh\necho {says}\necho \"$1|$2|$ANNOUNCER_INSTALLED|$ANNOUNCER_ROLLED_BACK\"\n#{}\n",
            self.installations
        );
        self.write(name, &text);
    }

    fn step(&mut self, shell: &[&str], step: Step) -> Option<(Program, Program)> {
        match step {
            Install => {
                self.installations += 1;
                self.program("bin/announcer", "installed");
            }
            Upgrade(time) => {
                self.program("lib/previous/announcer", "previous");
                let boot = fs::read_to_string(self.path("proc/sys/kernel/random/boot_id")).unwrap();
                self.write("lib/previous/upgraded", &format!("{} {time}\n", boot.trim()));
            }
            Crash(time, want) => return Some((self.start(shell, time), want)),
            Stop(time, want) => {
                let _ = fs::remove_file(self.path("state/unfinished")); // as the daemon does
                return Some((self.start(shell, time), want));
            }
            Boot => self.write("proc/sys/kernel/random/boot_id", "boot-2\n"),
            Text(name, text) => self.write(name, text),
            Gone(name) => {
                let path = self.path(name);
                if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
            }
        }
        None
    }
}

const CASES: &[(&str, &[Step])] = &[
    (
        "two crashes after an upgrade in place, also seconds apart",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1002, Installed),
            Crash(1003, Previous),
        ],
    ),
    (
        "a program that hangs is killed after 30 s",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1031, Installed),
            Crash(1092, Previous),
        ],
    ),
    (
        "two crashes after an upgrade by a restart",
        &[
            Install,
            Stop(10, Installed),
            Upgrade(20),
            Install,
            Stop(1000, Installed),
            Crash(1001, Installed),
            Crash(1002, Previous),
        ],
    ),
    (
        "it stays: over crashes, stops and boots",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1002, Installed),
            Crash(1003, Previous),
            Crash(1004, Previous),
            Crash(9000, Previous),
            Stop(9001, Previous),
            Boot,
            Stop(5, Previous),
        ],
    ),
    (
        "until the program on disk changes",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1002, Installed),
            Crash(1003, Previous),
            Install,
            Stop(1004, Installed),
            Crash(1200, Installed),
        ],
    ),
    (
        "or the next upgrade",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1002, Installed),
            Crash(1003, Previous),
            Upgrade(1100),
            Stop(1200, Installed),
        ],
    ),
    (
        "a program that ran for a while is no new one",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1200, Installed),
            Crash(1300, Installed),
            Crash(1301, Installed),
            Crash(1302, Installed),
        ],
    ),
    (
        "stops are no crashes",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Stop(1002, Installed),
            Stop(1003, Installed),
            Stop(1004, Installed),
        ],
    ),
    (
        "a crash, a stop and a crash",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1002, Installed),
            Stop(1003, Installed),
            Crash(1004, Previous),
        ],
    ),
    (
        "a boot is no crash",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1002, Installed),
            Boot,
            Crash(1003, Installed),
            Crash(1004, Installed),
        ],
    ),
    (
        "without an upgrade",
        &[
            Install,
            Stop(10, Installed),
            Crash(500, Installed),
            Crash(501, Installed),
            Crash(502, Installed),
            Crash(503, Installed),
        ],
    ),
    (
        "without a previous program",
        &[Install, Stop(10, Installed), Crash(11, Installed), Crash(12, Installed), Crash(13, Installed)],
    ),
    (
        "the previous program is gone",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Gone("lib/previous/announcer"),
            Crash(1002, Installed),
            Crash(1003, Installed),
            Crash(1004, Installed),
        ],
    ),
    (
        "the previous program is removed while it runs",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Crash(1002, Installed),
            Crash(1003, Previous),
            Gone("lib/previous"),
            Crash(1004, Installed),
        ],
    ),
    (
        "without a state directory",
        &[
            Install,
            Gone("state"),
            Crash(10, Installed),
            Crash(11, Installed),
            Crash(12, Installed),
            Crash(13, Installed),
        ],
    ),
    (
        "without a clock",
        &[
            Install,
            Stop(10, Installed),
            Install,
            Upgrade(1000),
            Gone("proc/sys"),
            Crash(1002, Installed),
            Crash(1003, Installed),
            Crash(1004, Installed),
        ],
    ),
    (
        "files that are empty",
        &[
            Install,
            Stop(10, Installed),
            Upgrade(20),
            Text("state/starts", ""),
            Text("lib/previous/upgraded", ""),
            Crash(30, Installed),
            Text("state/starts", ""),
            Crash(31, Installed),
            Text("state/starts", ""),
            Crash(32, Installed),
        ],
    ),
    (
        "files that make no sense",
        &[
            Install,
            Stop(10, Installed),
            Upgrade(20),
            Text("lib/previous/upgraded", "boot-1 99999999999999999999 $(reboot) `reboot`\n"),
            Crash(30, Installed),
            Text("state/starts", "boot-1 -1 08 x\n\n'\"\n"),
            Crash(31, Installed),
            Text("state/starts", "* * * *"),
            Crash(32, Installed),
        ],
    ),
    (
        "the state says `previous` about another program",
        &[Install, Upgrade(5), Text("state/starts", "boot-1 1 previous x\n"), Crash(10, Installed)],
    ),
];

#[test]
fn a_new_program_that_crashes_twice_is_replaced_by_the_previous_one() {
    let shells: [&[&str]; 4] = [&["sh"], &["dash"], &["bash", "--posix"], &["busybox", "sh"]];
    for shell in shells.into_iter().filter(|shell| is_there(shell[0])) {
        for (what, steps) in CASES {
            let mut host = Host::new();
            for (number, step) in steps.iter().enumerate() {
                if let Some((got, want)) = host.step(shell, *step) {
                    assert_eq!(got, want, "{shell:?}, {what}, step {number}: {step:?}");
                }
            }
        }
    }
}

fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&paths).any(|folder| folder.join(program).exists())
}

/// The shell ends with 126 or 127 if the program cannot be executed, which systemd answers with the next start.
#[test]
fn a_program_that_cannot_be_executed_is_replaced_too() {
    let mut host = Host::new();
    for step in [Install, Stop(10, Installed), Upgrade(1000)] {
        host.step(&["sh"], step);
    }
    for (time, program) in [(1001, b"\x7fELF no program".as_slice()), (1002, b"")] {
        fs::write(host.path("text"), program).unwrap();
        fs::rename(host.path("text"), host.path("bin/announcer")).unwrap();
        assert!(!runs(&host, time), "it cannot be executed");
    }
    // The last one is empty and not executable; it has not changed since.
    assert_eq!(host.start(&["sh"], 1003), Previous);
}

fn runs(host: &Host, time: u64) -> bool {
    host.write("proc/uptime", &format!("{time}.25 {time}.00\n"));
    let mut command = Command::new("sh");
    command.arg(host.path("lib/start")).env("STATE_DIRECTORY", host.path("state"));
    command.output().unwrap().status.success()
}

/// The unit's starter is in the sandbox, with descriptors of the store.
#[test]
fn descriptors_are_passed_on() {
    let host = Host::new();
    host.write("bin/announcer", "#!/bin/sh\nread -r line <&3 && echo \"$line\" \"$LISTEN_FDS\" \"$$\"\n");
    fs::write(host.path("stored"), "stored\n").unwrap();
    let line = "exec 3<stored; LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; echo $$; exec sh lib/start run";
    let output = Command::new("sh").args(["-c", line]).current_dir(host.root.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (pid, rest) = said.split_once('\n').unwrap();
    assert_eq!(rest, format!("stored 1 {pid}\n"), "{output:?}");
}
