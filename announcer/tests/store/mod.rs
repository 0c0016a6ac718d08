//! systemd's file descriptor store (sd_notify(3), FDSTORE=1), with the test in the place of systemd.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use until::until;

use crate::daemon::Daemon;

/// The first descriptor that the shell moves: it must not be one that the daemon gets.
const MOVED: i32 = 700;

/// A service manager that stores descriptors.
pub struct Store {
    folder: PathBuf,
    socket: UnixDatagram,
    pub stored: BTreeMap<String, OwnedFd>,
    /// Whether READY=1 was received since the last start.
    ready: bool,
}

impl Store {
    pub fn new(folder: &Path) -> Store {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Store { folder: folder.to_owned(), socket, stored: BTreeMap::new(), ready: false }
    }

    /// Handles all messages that have arrived.
    pub fn receive(&mut self) {
        loop {
            let mut text = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let Ok(received) = recvmsg(&self.socket, &mut parts, &mut control, flags) else { return };
            let mut descriptors = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            self.message(std::str::from_utf8(&text[..received.bytes]).unwrap(), descriptors);
        }
    }

    fn message(&mut self, text: &str, descriptors: Vec<OwnedFd>) {
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        for line in text.lines() {
            match line {
                "READY=1" => self.ready = true,
                "FDSTORE=1" => {
                    let mut descriptors = descriptors.iter();
                    let (Some(one), None) = (descriptors.next(), descriptors.next()) else {
                        panic!("{text}")
                    };
                    // Not a number that a program could get by accident.
                    let one = fcntl_dupfd_cloexec(one, 800).unwrap();
                    self.stored.insert(name.expect("a name").to_owned(), one);
                }
                "FDSTOREREMOVE=1" => drop(self.stored.remove(name.expect("a name"))),
                _ => {}
            }
        }
    }

    /// Starts the daemon with what is stored, as systemd does after a crash, and waits until it is ready.
    pub fn start(&mut self) -> Daemon {
        let daemon = self.spawn();
        self.until_ready();
        daemon
    }

    /// Starts the daemon with what is stored.
    pub fn spawn(&mut self) -> Daemon {
        self.receive();
        self.ready = false;
        // Through a shell, since LISTEN_PID is the number of the daemon. First all descriptors are moved out of the way.
        let mut script = String::new();
        for (at, descriptor) in self.stored.values().enumerate() {
            fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
            let from = descriptor.as_raw_fd();
            script.push_str(&format!("exec {}<&{from} {from}<&-\n", MOVED + at as i32));
        }
        for at in 0..self.stored.len() {
            let from = MOVED + at as i32;
            script.push_str(&format!("exec {}<&{from} {from}<&-\n", 3 + at));
        }
        let names: Vec<&str> = self.stored.keys().map(String::as_str).collect();
        if !names.is_empty() {
            let (count, names) = (names.len(), names.join(":"));
            script.push_str(&format!("export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}\n"));
        }
        script.push_str("exec \"$@\"\n");
        let log = std::fs::File::options().append(true).create(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new("bash");
        command.arg("-c").arg(&script).arg("bash").arg(env!("CARGO_BIN_EXE_announcer"));
        command.arg("--socket").arg(self.folder.join("socket"));
        command.arg("--state-dir").arg(self.folder.join("state"));
        command.arg("run").arg("--config").arg(self.folder.join("announcer.toml"));
        command.env("NOTIFY_SOCKET", self.folder.join("notify")).stderr(log).stdin(Stdio::null());
        let daemon = Daemon::spawn(&self.folder, &mut command);
        for descriptor in self.stored.values() {
            fcntl_setfd(descriptor, FdFlags::CLOEXEC).unwrap();
        }
        daemon
    }

    pub fn until_ready(&mut self) {
        let ready = until(Duration::from_secs(20), || {
            self.receive();
            if self.ready { Ok(()) } else { Err(()) }
        });
        ready.unwrap_or_else(|()| panic!("the daemon is not ready: {}", self.log()));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Ends the daemon by SIGKILL, and waits until its process is gone.
    pub fn kill(&mut self, daemon: Daemon) {
        drop(daemon);
        self.receive();
    }

    /// Writes to the state, as a damage would.
    pub fn damage(&self, at: u64, octets: &[u8]) {
        let path = format!("/proc/self/fd/{}", self.stored["state"].as_raw_fd());
        let mut file = std::fs::File::options().write(true).open(path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(at)).unwrap();
        file.write_all(octets).unwrap();
    }
}
