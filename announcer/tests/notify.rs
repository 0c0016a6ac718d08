//! What systemd hears from the daemon (sd_notify(3)), with the test in the place of systemd: ready, reloading, stopping, `STATUS=` and
//! the signs of life for the watchdog, also while files hang.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use announcer::control::api::{Request, Response};
use daemon::{Daemon, FIXTURE, in_new_netns, run, write_config};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use until::until;

const PATIENCE: Duration = Duration::from_secs(20);

/// systemd's side of the socket, and everything that it has received.
struct Manager {
    socket: UnixDatagram,
    received: Vec<String>,
}

impl Manager {
    fn new(folder: &Path) -> Manager {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Manager { socket, received: Vec::new() }
    }

    fn receive(&mut self) {
        let mut octets = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut octets) {
            self.received.push(String::from_utf8(octets[..length].to_vec()).unwrap());
        }
    }

    /// Waits for a message that begins so, and forgets everything up to it.
    fn until(&mut self, begin: &str) -> String {
        let found = until(PATIENCE, || {
            self.receive();
            self.received.iter().position(|message| message.starts_with(begin)).ok_or(())
        });
        let at = found.unwrap_or_else(|()| panic!("no {begin} in {:?}", self.received));
        self.received.drain(..=at).next_back().unwrap()
    }

    /// The longest time without a sign of life during `time`.
    fn longest_pause(&mut self, time: Duration) -> Duration {
        let (begin, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
        while begin.elapsed() < time {
            self.received.clear();
            self.receive();
            longest = longest.max(last.elapsed());
            if self.received.iter().any(|message| message == "WATCHDOG=1") {
                last = Instant::now();
            }
        }
        longest
    }
}

fn start(folder: &Path, config: &str) -> Daemon {
    write_config(folder, config);
    let mut command = run(folder, &[]);
    command.stderr(Stdio::null()).env("NOTIFY_SOCKET", folder.join("notify"));
    // WATCHDOG_PID would be the number of the daemon, which is not known before its start.
    Daemon::spawn(folder, command.env("WATCHDOG_USEC", "30000000"))
}

#[test]
fn systemd_hears_of_the_start_the_reloads_and_the_stop() {
    in_new_netns(start_reload_stop);
}

fn start_reload_stop(folder: &Path) {
    let mut manager = Manager::new(folder);
    let program = folder.join("environment");
    // Both VIPs are checked, at times at once: each run has a file of its own.
    fs::write(&program, "#!/bin/sh\nenv >\"$1.$$\" && mv \"$1.$$\" \"$1\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // The programs run as `nobody`, and the hook as the daemon.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let program_as = |file: &str| format!("[{:?}, {:?}]", program, folder.join(file));
    let services = format!(
        "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"192.0.2.81\"]\n[[service.check]]\nexec = {}\ninterval = \"100ms\"\n",
        program_as("check")
    );
    let config = format!("{FIXTURE}{services}[hooks]\non_change = {}\n", program_as("hook"));
    let mut daemon = start(folder, &config);
    manager.until("READY=1");
    // The control socket answers at once, and VIPs were looked for.
    let status = daemon.status().expect("ready, so it answers");
    assert!(
        status.services[0].vips.iter().all(|vip| !vip.reason.text.contains("were not read yet")),
        "{status:?}"
    );
    manager.until("STATUS=2 of 2 VIPs, 0 of 1 router");
    manager.until("WATCHDOG=1");

    for file in ["check", "hook"] {
        let environment = until(PATIENCE, || fs::read_to_string(folder.join(file)));
        let environment = environment.unwrap();
        assert!(environment.contains("PATH="), "{environment}");
        assert!(
            !environment.contains("NOTIFY") && !environment.contains("WATCHDOG"),
            "{file}: {environment}"
        );
    }

    // A reload, and one that is refused.
    let one_vip = config.replace(", \"192.0.2.81\"", "");
    for (config, is_refused, vips) in [(one_vip.as_str(), false, "STATUS=1 of 1 VIP"), ("x", true, "")] {
        write_config(folder, config);
        let answer = daemon.ask(&Request::Reload { force: false, dry_run: false }).unwrap();
        assert_eq!(matches!(answer, Response::Error(_)), is_refused, "{answer:?}");
        let reloading = manager.until("RELOADING=1\nMONOTONIC_USEC=");
        assert!(reloading.rsplit('=').next().unwrap().parse::<u64>().unwrap() > 0);
        manager.until("READY=1");
        manager.until(vips);
    }

    daemon.signal(Signal::SIGTERM);
    manager.until("STOPPING=1");
    manager.until("STATUS=stopping");
    daemon.until_ended(PATIENCE);
    manager.receive();
    assert!(!manager.received.iter().any(|message| message.contains("READY=1")), "{:?}", manager.received);
}

/// After a crash systemd passes what it has stored. A descriptor of which nothing is continued is closed, here and in the store; those
/// of another process are left alone.
#[test]
fn what_the_former_process_has_stored_is_taken_or_removed() {
    in_new_netns(stored);
}

fn stored(folder: &Path) {
    for (pid, how) in [("$$", "crash"), ("1", "cold")] {
        let mut manager = Manager::new(folder);
        write_config(folder, FIXTURE);
        let daemon = run(folder, &[]);
        let mut command = Command::new("sh");
        let line = format!(
            "exec 3<\"$0\"; LISTEN_PID={pid} LISTEN_FDS=1 LISTEN_FDNAMES=of-no-version; \
             export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; exec \"$@\""
        );
        command.arg("-c").arg(line).arg(folder.join("announcer.toml")).arg(daemon.get_program());
        command.args(daemon.get_args()).stderr(Stdio::null()).env("NOTIFY_SOCKET", folder.join("notify"));
        let mut daemon = Daemon::spawn(folder, &mut command);
        if how == "crash" {
            manager.until("FDSTOREREMOVE=1\nFDNAME=of-no-version");
        }
        manager.until("READY=1");
        assert_eq!(daemon.status().unwrap().start.how, how);
        let file = fs::read_link(format!("/proc/{}/fd/3", daemon.pid())).unwrap_or_default();
        assert_eq!(file == folder.join("announcer.toml"), how == "cold", "{}", file.display());
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.until_ended(PATIENCE));
        fs::remove_file(folder.join("notify")).unwrap();
    }
}

#[test]
fn a_file_that_hangs_or_a_slow_client_does_not_starve_the_watchdog() {
    in_new_netns(hanging);
}

fn hanging(folder: &Path) {
    let mut manager = Manager::new(folder);
    // open(2) of a FIFO does not hang the daemon, so its folder hangs: this is what a dead file server does.
    let up = folder.join("up");
    fs::write(&up, "").unwrap();
    let services = format!(
        "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n[[service.check]]\nfile = {up:?}\ninterval = \"100ms\"\n\
         [[service]]\nname = \"loop\"\nvips = [\"192.0.2.81\"]\n[[service.check]]\nexec = [\"/bin/sleep\", \"1000\"]\n\
         interval = \"100ms\"\n"
    );
    let daemon =
        start(folder, &format!("{FIXTURE}{services}[hooks]\non_change = [\"/bin/sleep\", \"1000\"]\n"));
    manager.until("READY=1");
    let hang = nix::sys::fanotify::Fanotify::init(
        nix::sys::fanotify::InitFlags::FAN_CLASS_CONTENT,
        nix::sys::fanotify::EventFFlags::O_RDONLY,
    )
    .unwrap();
    let mask = nix::sys::fanotify::MaskFlags::FAN_OPEN_PERM | nix::sys::fanotify::MaskFlags::FAN_ONDIR;
    for file in ["up", "announcer.toml", "state", "state/drain"] {
        let path = folder.join(file);
        let add = nix::sys::fanotify::MarkFlags::FAN_MARK_ADD;
        hang.mark(add, mask, nix::fcntl::AT_FDCWD, Some(&path)).unwrap();
    }
    nix::unistd::mkfifo(&folder.join("state/drain/www"), Mode::from_bits_truncate(0o600)).unwrap();
    daemon.signal(Signal::SIGHUP);
    let slow: Vec<_> = (0..100).map(|_| daemon.connect()).collect();
    let pause = manager.longest_pause(Duration::from_secs(14));
    assert!(pause < Duration::from_secs(5), "{pause:?} without a sign of life");
    drop((slow, hang));
}
