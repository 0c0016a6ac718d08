//! Tests a daemon whose standard error is not read: the log must not stop anything else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod daemon;

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use daemon::{Daemon, FIXTURE, in_new_netns, run, write_config};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(10);

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

// At the first line that did not fit into the pipe, the daemon stood still: no KEEPALIVE, no `status`, and no end by SIGTERM.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    in_new_netns(without_a_reader);
}

fn without_a_reader(folder: &Path) {
    std::fs::write(folder.join("up"), "").unwrap();
    let text = format!(
        "{FIXTURE}\
         [[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n\
         [[service.check]]\nfile = \"{}\"\ninterval = \"50ms\"\n",
        folder.join("up").display()
    );
    write_config(folder, &text);
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
