//! Replaces the program of a running daemon: by SIGUSR2, by `announcer upgrade`, and by programs that cannot take over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use announcer::control::api::Status;
use daemon::{Daemon, FIXTURE, command_of, in_new_netns, write_config};
use nix::sys::signal::Signal;
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);

const SERVICE: &str = "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\ntcp = 80\ninterval = \"100ms\"\n";

/// An installation in a folder of its own, and its daemon.
struct Host {
    folder: PathBuf,
    daemon: Daemon,
}

impl Host {
    /// Installs the program, and starts it.
    fn new(folder: &Path) -> Host {
        fs::create_dir(folder.join("bin")).unwrap();
        install(&folder.join("bin/announcer"), Path::new(env!("CARGO_BIN_EXE_announcer")));
        let host = Host::starts(folder, SERVICE, Command::new(folder.join("bin/announcer")));
        host.daemon.until_status(PATIENCE, "it runs", |_| true);
        host
    }

    /// Starts the daemon with these services, by the start of a command.
    fn starts(folder: &Path, services: &str, command: Command) -> Host {
        write_config(folder, &format!("{FIXTURE}{services}"));
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = with_paths(command, folder, &["run", "--config"]);
        command.arg(folder.join("announcer.toml")).stderr(log);
        Host { folder: folder.to_owned(), daemon: Daemon::spawn(folder, &mut command) }
    }

    fn installed(&self) -> PathBuf {
        self.folder.join("bin/announcer")
    }

    fn previous(&self) -> PathBuf {
        self.folder.join("lib/announcer/previous/announcer")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn call(&self, words: &[&str]) -> Output {
        program(&self.folder, words).output().unwrap()
    }

    /// Waits until a program runs that has begun by an upgrade, later than the one of this status.
    fn until_upgraded(&self, gap_before: Option<f64>) -> Status {
        self.daemon.until_status(PATIENCE, "upgrade", |status| {
            status.start.how == "upgrade"
                && status.start.gap_ms.is_some()
                && status.start.gap_ms != gap_before
        })
    }

    fn runs(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.daemon.pid())).unwrap()
    }
}

fn program(folder: &Path, words: &[&str]) -> Command {
    command_of(&folder.join("bin/announcer"), folder, words)
}

fn with_paths(mut command: Command, folder: &Path, words: &[&str]) -> Command {
    command
        .arg("--socket")
        .arg(folder.join("socket"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .args(words);
    command
}

/// Puts a program in its place in one step, as packages do.
fn install(target: &Path, source: &Path) {
    let new = target.with_extension("new");
    // Not in this process: a daemon that another test starts would inherit a file that is open for writing (ETXTBSY).
    assert!(Command::new("cp").arg(source).arg(&new).status().unwrap().success());
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, target).unwrap();
}

fn install_text(target: &Path, octets: &[u8]) {
    let source = target.with_extension("text");
    fs::write(&source, octets).unwrap();
    install(target, &source);
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn sigusr2_replaces_the_program_and_keeps_the_process_and_the_drains() {
    in_new_netns(|folder| {
        let host = Host::new(folder);
        let drained = host.call(&["drain", "www", "--reason", "a test"]);
        assert!(drained.status.success(), "{}", text(&drained));
        let pid = host.daemon.pid();
        for _ in 0..2 {
            let gap = host.daemon.status().unwrap().start.gap_ms;
            install(&host.installed(), Path::new(env!("CARGO_BIN_EXE_announcer")));
            host.daemon.signal(Signal::SIGUSR2);
            let status = host.until_upgraded(gap);
            assert_eq!(i32::try_from(status.pid).unwrap(), pid.as_raw());
            let drain = status.drains.values().next().expect("the drain");
            assert_eq!(drain.reason.as_deref(), Some("a test"));
            assert_eq!(status.start.installed.as_deref(), host.installed().to_str());
            assert_eq!(host.runs(), host.installed(), "and not the file that was replaced");
        }
    });
}

#[test]
fn the_command_replaces_the_program_and_goes_back() {
    in_new_netns(|folder| {
        let mut host = Host::new(folder);
        let former = fs::metadata(host.installed()).unwrap().len();
        // Another file of the same program, which is longer.
        let mut longer = fs::read(env!("CARGO_BIN_EXE_announcer")).unwrap();
        longer.extend_from_slice(b"another build");
        install_text(&host.installed(), &longer);
        let done = host.call(&["upgrade"]);
        assert!(done.status.success(), "{}\n{}", text(&done), host.log());
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let version = env!("CARGO_PKG_VERSION");
        assert!(said.starts_with(&format!("version {version} runs, after a pause of ")), "{said}");
        assert!(said.ends_with(&format!(" ms; before: version {version}\n")), "{said}");
        assert_eq!(fs::metadata(host.previous()).unwrap().len(), former);
        assert_eq!(host.runs(), host.installed());
        // Once more: what runs is installed, so the previous one stays the previous one.
        assert!(host.call(&["upgrade"]).status.success());
        assert_eq!(fs::metadata(host.previous()).unwrap().len(), former);
        let marker = fs::read_to_string(host.previous().with_file_name("upgraded")).unwrap();
        assert_eq!(marker.split(' ').count(), 2, "{marker}");

        let back = host.call(&["upgrade", "--previous", "--json"]);
        assert!(back.status.success(), "{}", text(&back));
        let back: serde_json::Value = serde_json::from_slice(&back.stdout).unwrap();
        assert_eq!(back["pid"], host.daemon.child.id());
        assert_eq!(host.runs(), host.previous());
        // The next upgrade runs the installed program, and not the one that runs.
        assert!(host.call(&["upgrade"]).status.success());
        assert_eq!(host.runs(), host.installed());
        assert_eq!(fs::metadata(host.previous()).unwrap().len(), former);
        host.daemon.signal(Signal::SIGTERM);
        assert!(host.daemon.until_ended(PATIENCE), "{}", host.log());
    });
}

/// An ELF file for a machine that this is not.
fn other_machine() -> Vec<u8> {
    let mut octets = fs::read("/proc/self/exe").unwrap();
    octets.truncate(64 * 1024);
    let machine = u16::from_le_bytes([octets[18], octets[19]]);
    let other: u16 = if machine == 0xf3 { 0x3e } else { 0xf3 }; // RISC-V, or x86-64
    octets[18..20].copy_from_slice(&other.to_le_bytes());
    octets
}

#[test]
fn a_program_that_cannot_take_over_is_refused_and_the_old_one_goes_on() {
    in_new_netns(|folder| {
        let host = Host::new(folder);
        // The command of the former program: the installed one does not work.
        let command = folder.join("command/bin/announcer");
        fs::create_dir_all(command.parent().unwrap()).unwrap();
        let before = host.daemon.status().unwrap();
        let cases: [(&str, Vec<u8>, &str); 6] = [
            (
                "exits at once",
                b"#!/bin/sh\nexit 0\n".to_vec(),
                "it ended with exit code 0 and did not say that it takes over; it said nothing",
            ),
            ("fails", b"#!/bin/sh\necho no >&2\nexit 3\n".to_vec(), "exit code 3; it said: no"),
            (
                "text",
                b"no program".to_vec(),
                "it is not a program for this machine, and its first line names no interpreter",
            ),
            ("another machine", other_machine(), "it is not a program for this machine"),
            ("no interpreter", b"#!/does/not/exist\n".to_vec(), "names the interpreter `/does/not/exist`"),
            ("hangs", b"#!/bin/sh\nexec sleep 1000\n".to_vec(), "it did not answer within 10s"),
        ];
        for (what, octets, want) in cases {
            install_text(&host.installed(), &octets);
            let error = upgrade_refused(&host);
            assert!(error.contains(want), "{what}: {error}");
            assert!(error.ends_with("; the running program goes on"), "{what}: {error}");
            until(PATIENCE, || if host.log().contains(want) { Ok(()) } else { Err(host.log()) }).unwrap();
            let status = host.daemon.status().unwrap();
            assert_eq!((status.pid, &status.start), (before.pid, &before.start), "{what}");
        }
        fs::remove_file(host.installed()).unwrap();
        let error = upgrade_refused(&host);
        assert!(error.contains("cannot be used: "), "{error}");
        // A program that works, and a configuration that it refuses.
        install(&host.installed(), Path::new(env!("CARGO_BIN_EXE_announcer")));
        write_config(folder, &format!("{FIXTURE}{SERVICE}unknown = 1\n"));
        let refused = host.call(&["upgrade"]);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(
            text(&refused).contains("does not take over: exit code 2; it said: error: "),
            "{}",
            text(&refused)
        );
        assert!(!host.previous().with_file_name("upgraded").exists(), "there was no upgrade");
        let status = host.daemon.status().unwrap();
        assert_eq!((status.pid, &status.start), (before.pid, &before.start));
        // And afterwards all is well.
        write_config(folder, &format!("{FIXTURE}{SERVICE}"));
        assert!(host.call(&["upgrade"]).status.success());
    });
}

/// Requests an upgrade, and returns the text of the refusal.
fn upgrade_refused(host: &Host) -> String {
    use announcer::control::api::{Request, Response};
    use announcer::takeover::successor::Successor;
    let stream = host.daemon.connect().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = Request::Upgrade { successor: Successor::Installed, force: false };
    let answer = daemon::ask(stream, &request).unwrap();
    let Response::Error(error) = answer else { panic!("{answer:?}") };
    error.text
}

/// A line of `/proc/PID/status`.
fn of_process(pid: nix::unistd::Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    value.trim_start_matches(':').trim().to_owned()
}

/// The daemon runs as under the unit: a user without rights, with one ambient capability, and without new privileges.
#[test]
fn the_capabilities_and_the_signals_are_the_same_after_an_upgrade() {
    in_new_netns(|folder| {
        fs::create_dir(folder.join("bin")).unwrap();
        install(&folder.join("bin/announcer"), Path::new(env!("CARGO_BIN_EXE_announcer")));
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
        command.args(["--bounding-set", "-all,+net_admin", "--inh-caps", "-all,+net_admin"]);
        command.args(["--ambient-caps", "-all,+net_admin"]).arg(folder.join("bin/announcer"));
        let mut host = Host::starts(folder, SERVICE, command);
        // The control socket refuses root of the test as little as an operator.
        host.daemon.until_status(PATIENCE, "it runs", |_| true);
        let names =
            ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs"];
        let all = |pid| names.map(|name| format!("{name}: {}", of_process(pid, name)));
        let pid = host.daemon.pid();
        let before = all(pid);
        assert!(before.contains(&"CapEff: 0000000000001000".to_owned()), "{before:?}");
        assert!(before.contains(&"CapAmb: 0000000000000000".to_owned()), "{before:?}");
        let mut gap = None;
        for _ in 0..2 {
            host.daemon.signal(Signal::SIGUSR2);
            gap = host.until_upgraded(gap).start.gap_ms;
            assert_eq!(all(pid), before, "{}", host.log());
        }
        host.daemon.signal(Signal::SIGTERM);
        assert!(host.daemon.until_ended(PATIENCE), "{}", host.log());
    });
}

/// A program of a check that runs during an upgrade is a child of the new program, which did not start it.
#[test]
fn programs_of_before_an_upgrade_leave_no_zombies() {
    in_new_netns(|folder| {
        let mut host = Host::new(folder);
        let service = "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\n\
                       exec = [\"/bin/sleep\", \"2\"]\ninterval = \"1m\"\ntimeout = \"5s\"\n";
        write_config(folder, &format!("{FIXTURE}{service}"));
        host.daemon.signal(Signal::SIGHUP);
        let pid = host.daemon.pid();
        // Each thread has the children that it has started.
        let children = || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let of_task =
                |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
            tasks.map(|task| of_task(task.unwrap())).collect::<String>()
        };
        until(PATIENCE, || if children().is_empty() { Err(()) } else { Ok(()) }).unwrap();
        let before: Vec<String> = children().split_whitespace().map(str::to_owned).collect();
        host.daemon.signal(Signal::SIGUSR2);
        host.until_upgraded(None);
        let left = || children().split_whitespace().any(|child| before.iter().any(|one| one == child));
        assert!(!before.is_empty());
        until(PATIENCE, || if left() { Err(children()) } else { Ok(()) }).unwrap();
        host.daemon.signal(Signal::SIGTERM);
        assert!(host.daemon.until_ended(PATIENCE));
    });
}

/// `exec` would wait for the thread that hangs in the file system, and meanwhile nothing would be sent.
#[test]
fn an_upgrade_does_not_wait_for_a_file_system_that_hangs() {
    use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
    in_new_netns(|folder| {
        let host = Host::new(folder);
        let drains = folder.join("state/drain");
        let hang = Fanotify::init(InitFlags::FAN_CLASS_CONTENT, EventFFlags::O_RDONLY).unwrap();
        let mask = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR;
        hang.mark(MarkFlags::FAN_MARK_ADD, mask, nix::fcntl::AT_FDCWD, Some(&drains)).unwrap();
        fs::write(drains.join("www"), "").unwrap(); // the daemon reads the folder now
        let hangs = |status: &Status| status.warnings.iter().any(|warning| warning.contains("state/drain"));
        host.daemon.until_status(PATIENCE, "it hangs", hangs);
        let error = upgrade_refused(&host);
        assert!(error.contains(&format!("the file system of `{}` hangs", drains.display())), "{error}");
        drop(hang);
        host.daemon.until_status(PATIENCE, "it answers", |status| !hangs(status));
        host.daemon.signal(Signal::SIGUSR2);
        host.until_upgraded(None);
    });
}

/// A stop and an upgrade at the same time are a stop.
#[test]
fn no_stop_is_lost_in_an_upgrade() {
    in_new_netns(|folder| {
        fs::create_dir(folder.join("bin")).unwrap();
        install(&folder.join("bin/announcer"), Path::new(env!("CARGO_BIN_EXE_announcer")));
        for delay in (0..400).step_by(20) {
            let mut host = Host::starts(folder, SERVICE, Command::new(folder.join("bin/announcer")));
            host.daemon.until_status(PATIENCE, "it runs", |_| true);
            host.daemon.signal(Signal::SIGUSR2);
            std::thread::sleep(Duration::from_millis(delay));
            host.daemon.signal(Signal::SIGTERM);
            assert!(host.daemon.until_ended(PATIENCE), "after {delay} ms: {}", host.log());
            assert!(host.log().contains("announcer ended"), "after {delay} ms: {}", host.log());
        }
    });
}

#[test]
fn only_root_may_upgrade() {
    in_new_netns(|folder| {
        let host = Host::new(folder);
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(host.installed())
            .arg("upgrade")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert_eq!(text(&refused), "error: only root may do this: write `sudo announcer upgrade`\n");
    });
}

/// The hook is run for one change at a time. An upgrade waits for the others, because the next program does not know of them.
#[test]
fn no_run_of_the_hook_is_lost() {
    in_new_netns(|folder| {
        let log = folder.join("hooks");
        let hook = folder.join("hook");
        fs::write(&hook, format!("#!/bin/sh\nsleep 1\necho $ANNOUNCER_VIP >>{}\n", log.display())).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        let vips = ["192.0.2.80", "192.0.2.81", "192.0.2.82"];
        let service = SERVICE.replace("\"192.0.2.80\"", &vips.map(|vip| format!("\"{vip}\"")).join(", "));
        let hooks = format!("[hooks]\non_change = [\"{}\"]\n", hook.display());
        fs::create_dir(folder.join("bin")).unwrap();
        install(&folder.join("bin/announcer"), Path::new(env!("CARGO_BIN_EXE_announcer")));
        write_config(folder, &format!("{FIXTURE}{hooks}{service}"));
        let mut command = program(folder, &["run", "--config"]);
        command.arg(folder.join("announcer.toml")).stderr(fs::File::create(folder.join("log")).unwrap());
        let daemon = Daemon::spawn(folder, &mut command);
        let host = Host { folder: folder.to_owned(), daemon };
        host.daemon.until_all_are(PATIENCE, "not_announced");
        let done = host.call(&["upgrade"]);
        assert!(done.status.success(), "{}\n{}", text(&done), host.log());
        let mut told: Vec<String> =
            fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect();
        told.sort();
        assert_eq!(told, vips, "{}", host.log());
    });
}
