//! Tests the log of a daemon: its formats, the journal, and a standard error that is not read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use announcer::control::api::Status;
use daemon::{Daemon, FIXTURE, in_new_netns, run, write_config};
use nix::sys::signal::Signal;
use until::assert_until;

const PATIENCE: Duration = Duration::from_secs(10);
const VIP: &str = "192.0.2.80";

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

/// Writes the configuration of a service that is healthy while the file `up` exists, and this file.
fn healthy_by_a_file(folder: &Path) {
    std::fs::write(folder.join("up"), "").unwrap();
    let text = format!(
        "{FIXTURE}\
         [[service]]\nname = \"www\"\nvips = [\"{VIP}\"]\n\
         [[service.check]]\nfile = \"{}\"\ninterval = \"50ms\"\n",
        folder.join("up").display()
    );
    write_config(folder, &text);
}

/// Runs a daemon until its VIP was announced and then withdrawn by a failure, and ends it.
fn announce_and_fail(folder: &Path, command: &mut Command) {
    healthy_by_a_file(folder);
    let mut daemon = Daemon::spawn(folder, command.stdout(Stdio::null()).stdin(Stdio::null()));
    daemon.until_all_are(PATIENCE, "announced");
    std::fs::remove_file(folder.join("up")).unwrap();
    daemon.until_all_are(PATIENCE, "not_announced");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.until_ended(PATIENCE));
}

/// The log of such a daemon, whose standard error is a file.
fn log_in_a_file(folder: &Path, options: &[&str]) -> String {
    let file = folder.join("log");
    let mut command = run(folder, options);
    command.env_remove("JOURNAL_STREAM").env_remove("NO_COLOR").stderr(std::fs::File::create(&file).unwrap());
    announce_and_fail(folder, &mut command);
    std::fs::read_to_string(file).unwrap()
}

/// `device:inode` of a descriptor, as in `JOURNAL_STREAM`.
fn stream(of: impl AsFd) -> String {
    let status = nix::sys::stat::fstat(of).unwrap();
    format!("{}:{}", status.st_dev, status.st_ino)
}

#[test]
fn a_file_gets_lines_without_escape_codes_and_with_quoted_values() {
    in_new_netns(|folder| {
        let log = log_in_a_file(folder, &[]);
        assert!(!log.contains('\u{1b}'), "{log:?}");
        let start = log.lines().filter(|line| line.contains("first probes ended announced=1")).count();
        assert_eq!(start, 1, "{log}");
        assert!(!log.contains("VIP was announced"), "a start is one line: {log}");
        let line = log.lines().find(|line| line.contains("last VIP was withdrawn")).expect(&log);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        let want = format!("ERROR last VIP was withdrawn service=www vip={VIP} reason=\"not announced, ");
        assert!(rest.starts_with(&want) && rest.ends_with('"'), "{line}");
    });
}

#[test]
fn a_terminal_gets_colours_unless_it_must_not() {
    in_new_netns(|folder| {
        for (no_color, coloured) in [(None, true), (Some(""), true), (Some("1"), false)] {
            let pty = nix::pty::openpty(None, None).unwrap();
            let mut terminal = std::fs::File::from(pty.master);
            let reader = std::thread::spawn(move || {
                let mut log = Vec::new();
                let _ = terminal.read_to_end(&mut log); // EIO when the daemon has closed the other end
                String::from_utf8_lossy(&log).into_owned()
            });
            let mut command = run(folder, &[]);
            command.env_remove("JOURNAL_STREAM").env_remove("NO_COLOR").stderr(pty.slave);
            command.envs(no_color.map(|value| ("NO_COLOR", value)));
            announce_and_fail(folder, &mut command);
            drop(command);
            let log = reader.join().unwrap();
            assert!(log.contains("last VIP was withdrawn"), "{log}");
            assert_eq!(log.contains("\u{1b}[31mERROR\u{1b}[0m"), coloured, "{no_color:?} {log:?}");
            assert_eq!(log.contains('\u{1b}'), coloured, "{no_color:?} {log:?}");
        }
    });
}

#[test]
fn the_level_of_one_router_s_session_is_chosen() {
    in_new_netns(|folder| {
        let log = log_in_a_file(folder, &["--log", "error,[peer{name=r1}]=debug"]);
        assert!(log.lines().any(|line| line.contains(" WARN try failed peer=r1 ")), "{log}");
        // The session itself may also have something to say at the level `INFO`, for example when it ends.
        let others = log.lines().any(|line| line.contains(" INFO ") && !line.contains("peer=r1"));
        assert!(!others && log.contains("last VIP was withdrawn"), "{log}");
        let log = log_in_a_file(folder, &["--log", "error,[peer{name=r2}]=debug"]);
        assert!(!log.contains("try failed"), "{log}");
        let log = log_in_a_file(folder, &["--log", "off"]);
        assert_eq!(log, "");
    });
}

#[test]
fn json_is_one_object_a_line() {
    in_new_netns(|folder| {
        let log = log_in_a_file(folder, &["--log-format", "json", "--log", "debug"]);
        let lines: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        for line in &lines {
            assert!(humantime::parse_rfc3339(line["time"].as_str().unwrap()).is_ok(), "{line}");
            assert!(line["level"].is_string() && line["fields"].is_object(), "{line}");
        }
        let failed = lines.iter().find(|line| line["message"] == "last VIP was withdrawn").expect(&log);
        assert_eq!(
            (&failed["level"], &failed["target"]),
            (&"error".into(), &"announcer::daemon::io::direct".into())
        );
        assert_eq!((&failed["fields"]["service"], &failed["fields"]["vip"]), (&"www".into(), &VIP.into()));
        assert!(lines.iter().any(|line| line["fields"]["peer"] == "r1"), "{log}");
        assert!(lines.iter().any(|line| line["fields"]["announced"] == 1), "numbers are numbers: {log}");
    });
}

/// The daemon with a standard error that is the journal's stream, and a socket of the journal at `path`.
fn under_the_journal(folder: &Path, path: &Path, options: &[&str]) -> (std::io::PipeReader, Command) {
    let (reader, stderr) = std::io::pipe().unwrap();
    let mut command = run(folder, &["--journal-socket", path.to_str().unwrap()]);
    command.args(options).env("JOURNAL_STREAM", stream(&stderr)).stderr(OwnedFd::from(stderr));
    (reader, command)
}

#[test]
fn the_journal_gets_priorities_and_fields() {
    in_new_netns(|folder| {
        let path = folder.join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        // The kernel keeps few datagrams, so they have to be read while the daemon runs.
        let reader = std::thread::spawn(move || {
            let (mut records, mut datagram) = (Vec::new(), vec![0; 1 << 16]);
            loop {
                let size = journal.recv(&mut datagram).unwrap();
                records.push(String::from_utf8(datagram[..size].to_vec()).unwrap());
                if records.last().unwrap().starts_with("MESSAGE=announcer ended") {
                    return records;
                }
            }
        });
        let (mut stderr, mut command) = under_the_journal(folder, &path, &[]);
        announce_and_fail(folder, &mut command);
        drop(command);
        let records = reader.join().unwrap();
        let failed =
            records.iter().find(|record| record.starts_with("MESSAGE=last VIP was withdrawn ")).unwrap();
        for field in ["PRIORITY=3", "SYSLOG_IDENTIFIER=announcer", "SERVICE=www", &format!("VIP={VIP}")] {
            assert!(failed.lines().any(|line| line == field), "{field}: {failed}");
        }
        let started = records.iter().find(|record| record.starts_with("MESSAGE=announcer started ")).unwrap();
        assert!(started.lines().any(|line| line == "PRIORITY=6"), "{started}");
        let tried = records.iter().find(|record| record.starts_with("MESSAGE=try failed peer=r1 ")).unwrap();
        assert!(tried.contains("\nPRIORITY=4\n") && tried.contains("\nPEER=r1\n"), "{tried}");
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        assert_eq!(log, "", "no line twice");
    });
}

#[test]
fn without_the_journal_s_socket_lines_have_a_priority_and_no_time() {
    in_new_netns(|folder| {
        for (options, start) in
            [(&[][..], "<3>last VIP was withdrawn service=www"), (&["--log-format", "json"], "<3>{\"time\":")]
        {
            let (mut stderr, mut command) = under_the_journal(folder, &folder.join("missing"), options);
            announce_and_fail(folder, &mut command);
            drop(command);
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            let line = log.lines().find(|line| line.contains("last VIP was withdrawn")).expect(&log);
            assert!(line.starts_with(start), "{line}");
        }
    });
}

#[test]
fn a_mistake_of_the_configuration_is_an_error_in_the_journal() {
    in_new_netns(|folder| {
        write_config(folder, "[bgp]\nasn = 0\n");
        let (mut stderr, mut command) = under_the_journal(folder, &folder.join("missing"), &[]);
        assert_eq!(command.status().unwrap().code(), Some(2));
        drop(command);
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        assert!(log.starts_with("<3>error: ") && log.lines().all(|line| line.starts_with("<3>")), "{log}");
    });
}

// A journal that stands still must stop nothing, as a standard error that nobody reads.
#[test]
fn a_journal_that_reads_nothing_stops_nothing() {
    in_new_netns(|folder| {
        let path = folder.join("journal");
        let _journal = UnixDatagram::bind(&path).unwrap();
        let (_stderr, mut command) = under_the_journal(folder, &path, &["--log", "trace"]);
        announce_and_fail(folder, &mut command);
    });
}

#[test]
fn the_level_of_a_running_daemon_changes_for_some_time() {
    in_new_netns(|folder| {
        healthy_by_a_file(folder);
        let file = folder.join("log");
        let mut command = run(folder, &["--log", "warn"]);
        command.env_remove("JOURNAL_STREAM").stderr(std::fs::File::create(&file).unwrap());
        let daemon = Daemon::spawn(folder, &mut command);
        daemon.until_all_are(PATIENCE, "announced");
        let log = |words: &[&str]| {
            let output = daemon::command(folder, &[&["log"], words].concat()).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8(text).unwrap())
        };
        for (words, want) in [
            (&["inof"][..], "error: `inof`: `inof` is not a level; "),
            (
                &["announcer::bpg=debug"],
                "error: `announcer::bpg=debug`: there is no module `announcer::bpg` ",
            ),
            (&["debug", "--for", "25h"], "error: the level can be changed for at most 24h"),
        ] {
            let (code, said) = log(words);
            assert!(code == Some(2) && said.starts_with(want), "{code:?} {said}");
        }
        let warns = |status: &Status| status.warnings.iter().any(|line| line.contains("the log level is"));
        assert!(!warns(&daemon.status().unwrap()));
        let (code, said) = log(&["debug", "--for", "2s"]);
        assert!(code == Some(0) && said.starts_with("the log level is `debug` until 20"), "{said}");
        daemon.until_status(PATIENCE, "the change ends", |status| !warns(status));
        let (code, said) = log(&["debug"]);
        assert!(code == Some(0) && warns(&daemon.status().unwrap()), "{said}");
        assert_until(PATIENCE, "a line of the level debug", || {
            std::fs::read_to_string(&file).unwrap().contains(" DEBUG ")
        });
        let (code, said) = log(&["warn"]);
        assert!(code == Some(0) && said == "the log level is `warn`, that of the start\n", "{said}");
        assert!(!warns(&daemon.status().unwrap()));
    });
}

// At the first line that did not fit into the pipe, the daemon stood still: no KEEPALIVE, no `status`, and no end by SIGTERM.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    in_new_netns(without_a_reader);
}

fn without_a_reader(folder: &Path) {
    healthy_by_a_file(folder);
    let (mut reader, stderr) = full_pipe();
    let mut command = run(folder, &["--log", "trace"]);
    command.stdout(stderr.try_clone().unwrap()).stderr(stderr).stdin(Stdio::null());
    let mut daemon = Daemon::spawn(folder, &mut command);
    drop(command); // it has the other end of the pipe
    daemon.until_all_are(PATIENCE, "announced");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.until_ended(PATIENCE));
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.starts_with("xxx"), "the pipe was full");
}
