//! The socket on which systemd hears its services (sd_notify(3)).
//!
//! Touches the environment, a unix socket and CLOCK_MONOTONIC. Nothing waits: if systemd does not read, the message is not sent, and
//! the caller sends it again later. The programs of checks and hooks do not inherit the environment of the daemon
//! ([`program::io`](crate::program::io)), so they do not know the socket.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use tracing::{debug, warn};

use super::{Notice, NotifyAddress, StoreLimit, watchdog};
use crate::monotonic::io::uptime;

/// Sends messages to systemd. Clones send to the same socket. Without systemd it sends nothing.
#[derive(Debug, Clone)]
pub struct Notifier(Arc<NotifierInner>);

#[derive(Debug)]
struct NotifierInner {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    store: StoreLimit,
    /// Whether the start was reported as done.
    ready: AtomicBool,
}

impl Notifier {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`, `FDSTORE`).
    pub fn from_environment() -> Self {
        let value = |name: &str| std::env::var(name).ok();
        let (usec, pid) = (value("WATCHDOG_USEC"), value("WATCHDOG_PID"));
        let watchdog = watchdog(usec.as_deref(), pid.as_deref(), std::process::id());
        let Some(address) = value("NOTIFY_SOCKET") else { return Notifier::none() };
        match open(&address) {
            Ok(socket) => {
                Notifier::with(Some(socket), watchdog, StoreLimit::parse(true, value("FDSTORE").as_deref()))
            }
            Err(error) => {
                warn!(address, %error, "systemd does not get the state of this daemon");
                Notifier::none()
            }
        }
    }

    /// Sends to `address`, in the form of `NOTIFY_SOCKET`. `watchdog`: the time after which a daemon without a sign of life is
    /// restarted.
    ///
    /// # Errors
    /// When this kind of address is not supported, or no socket can be made.
    pub fn new(address: &str, watchdog: Option<Duration>) -> std::io::Result<Self> {
        Ok(Notifier::with(Some(open(address)?), watchdog, StoreLimit::Unknown))
    }

    /// Sends nothing: there is no systemd.
    pub fn none() -> Self {
        Notifier::with(None, None, StoreLimit::NoManager)
    }

    fn with(
        socket: Option<(UnixDatagram, SocketAddr)>,
        watchdog: Option<Duration>,
        store: StoreLimit,
    ) -> Self {
        Notifier(Arc::new(NotifierInner { socket, watchdog, store, ready: AtomicBool::new(false) }))
    }

    /// How many descriptors systemd stores for this process.
    pub fn store(&self) -> StoreLimit {
        self.0.store
    }

    /// After how long without a sign of life systemd restarts the daemon; `None`: never.
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.watchdog
    }

    /// Sends a message; `false`: systemd does not read now. Without systemd, nothing has to be sent.
    pub fn send(&self, notice: &Notice) -> bool {
        let Some((socket, address)) = &self.0.socket else { return true };
        let sent = socket.send_to_addr(notice.to_text().as_bytes(), address);
        if let Err(error) = &sent {
            debug!(?notice, %error, "notice was not sent to systemd");
        }
        sent.is_ok()
    }

    /// Sends a message with a descriptor, of which systemd gets a copy; `false`: systemd does not read now.
    pub fn send_with(&self, notice: &Notice, descriptor: BorrowedFd<'_>) -> bool {
        let Some((socket, address)) = &self.0.socket else { return true };
        let sent = send_descriptor(socket, address, &notice.to_text(), descriptor);
        if let Err(error) = &sent {
            debug!(?notice, %error, "descriptor was not sent to systemd");
        }
        sent.is_ok()
    }

    /// Whether systemd has the notice that the start, and each reload since, is done.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    /// The start is done; `false`: systemd does not read now.
    pub fn started(&self) -> bool {
        let sent = self.send(&Notice::Ready);
        if sent {
            self.0.ready.store(true, Ordering::Relaxed);
        }
        sent
    }

    /// A reload begins. Before the start is done, systemd does not get a notice of it: the end of the reload would be the end of the start.
    pub fn reloading(&self) -> ReloadNotice<'_> {
        let sent = self.is_ready() && self.send(&Notice::Reloading(uptime()));
        ReloadNotice { notifier: self, sent }
    }
}

/// A reload that systemd knows of. When this is dropped, the reload is over.
#[derive(Debug)]
#[must_use]
pub struct ReloadNotice<'a> {
    notifier: &'a Notifier,
    /// Whether systemd got the notice of its beginning.
    sent: bool,
}

impl Drop for ReloadNotice<'_> {
    fn drop(&mut self) {
        if self.sent && !self.notifier.send(&Notice::Ready) {
            // The next message that systemd reads is this one.
            self.notifier.0.ready.store(false, Ordering::Relaxed);
        }
    }
}

fn open(value: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let unsupported = || std::io::Error::other("this kind of address is not supported");
    let address = match NotifyAddress::parse(value).ok_or_else(unsupported)? {
        NotifyAddress::Path(path) => SocketAddr::from_pathname(path)?,
        NotifyAddress::Abstract(name) => SocketAddr::from_abstract_name(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Sends a datagram with a descriptor (unix(7), SCM_RIGHTS).
fn send_descriptor(
    socket: &UnixDatagram,
    address: &SocketAddr,
    text: &str,
    descriptor: BorrowedFd<'_>,
) -> nix::Result<()> {
    let address = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => UnixAddr::new(path)?,
        (None, Some(name)) => UnixAddr::new_abstract(name)?,
        (None, None) => return Err(Errno::EINVAL),
    };
    let rights = [descriptor.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    let octets = [IoSlice::new(text.as_bytes())];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg(socket.as_raw_fd(), &octets, &control, flags, Some(&address)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(value: &str) -> Notifier {
        Notifier::new(value, None).unwrap()
    }

    fn received(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut octets = [0; 512];
        std::iter::from_fn(|| {
            let length = socket.recv(&mut octets).ok()?;
            Some(String::from_utf8(octets[..length].to_vec()).unwrap())
        })
        .collect()
    }

    #[test]
    fn messages_reach_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("announcer-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, value) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))] {
            let notifier = notifier(&value);
            assert!(notifier.send(&Notice::Alive));
            assert_eq!(received(&socket), ["WATCHDOG=1"], "{value}");
        }
        assert!(open("vsock:1:2").is_err());
    }

    #[test]
    fn systemd_gets_the_notice_of_a_reload_only_after_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = notifier(path.to_str().unwrap());
        drop(notifier.reloading());
        assert_eq!(received(&socket), Vec::<String>::new());
        assert!(notifier.started());
        drop(notifier.reloading());
        let all = received(&socket);
        let [ready, reloading, again] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((ready.as_str(), again.as_str()), ("READY=1", "READY=1"));
        let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(at.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn a_manager_that_does_not_read_or_is_gone_delays_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = notifier(path.to_str().unwrap());
        assert!((0..100_000).any(|_| !notifier.send(&Notice::Alive)), "the queue is full at last");
        assert!(!notifier.started(), "it is sent again later");
        drop(socket);
        assert!(!notifier.send(&Notice::Alive));
        let none = Notifier::none();
        assert!(none.started());
    }
}
