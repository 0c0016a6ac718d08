//! Continues a session of the process before this one.
//!
//! Touches the session's socket and rtnetlink. What the former process gave to the kernel is known from the kernel alone: it may have
//! ended between any two instructions.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use socket2::SockRef;
use tokio::sync::watch;

use crate::bgp::io::{path, sockopt};
use crate::bgp::path::Address;
use crate::bgp::resume::{SessionSnapshot, StoredOctets};

/// Where a session stores what the next process needs. Each call is finished before what it describes has an effect.
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// The session is established; `offset` and `octets` are as in [`outgoing`](Self::outgoing). The router has no routes of it.
    fn established(&self, snapshot: &SessionSnapshot, offset: u64, octets: &[u8], socket: BorrowedFd<'_>);
    /// These octets follow those that the kernel was given, which are `offset`.
    fn outgoing(&self, offset: u64, octets: &[u8]);
    /// The router may get these prefixes.
    fn prefixes(&self, prefixes: &[IpNet]);
    /// The session has ended.
    fn ended(&self);
}

/// Stores nothing.
#[derive(Debug)]
pub struct NoStore;

impl SessionStore for NoStore {
    fn established(&self, _: &SessionSnapshot, _: u64, _: &[u8], _: BorrowedFd<'_>) {}
    fn outgoing(&self, _: u64, _: &[u8]) {}
    fn prefixes(&self, _: &[IpNet]) {}
    fn ended(&self) {}
}

/// A session of the former process, as it was stored.
#[derive(Debug)]
pub struct StoredSession {
    /// Its facts.
    pub snapshot: SessionSnapshot,
    /// The octets that waited.
    pub octets: StoredOctets,
    /// The prefixes that the router may have.
    pub prefixes: BTreeSet<IpNet>,
    /// Its connection.
    pub socket: OwnedFd,
}

/// A session that continues.
#[derive(Debug)]
pub struct ResumedSession {
    pub(super) snapshot: SessionSnapshot,
    pub(super) prefixes: BTreeSet<IpNet>,
    pub(super) stream: TcpStream,
    pub(super) addresses: Vec<Address>,
    pub(super) position: ResumedPosition,
    pub(super) heard: Instant,
}

impl ResumedSession {
    /// Its connection.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What the kernel has of our octets, and what has to follow.
#[derive(Debug)]
pub(super) struct ResumedPosition {
    pub(super) given: u64,
    pub(super) queued: u64,
    pub(super) unsent: Vec<u8>,
}

/// A session for the one task that continues it. A task that is started again after a panic gets none, and dials.
#[derive(Debug, Clone, Default)]
pub struct ResumeSlot(Arc<Mutex<Option<ResumedSession>>>);

impl ResumeSlot {
    /// With a session.
    pub fn with(session: Option<ResumedSession>) -> Self {
        ResumeSlot(Arc::new(Mutex::new(session)))
    }

    /// The session, once.
    pub fn take(&self) -> Option<ResumedSession> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What connects a session with the processes before and after this one.
#[derive(Debug, Clone)]
pub struct Continuation {
    /// Where it stores what the next process needs.
    pub store: Arc<dyn SessionStore>,
    /// The session of the former process that continues.
    pub resume: ResumeSlot,
    /// Whether a session that continues may send: the kernel was asked about each VIP, and the loops of this process turn.
    pub may_send: watch::Receiver<bool>,
}

impl Continuation {
    /// Of a session that ends with the process.
    pub fn none() -> Self {
        let (_, may_send) = watch::channel(true);
        Continuation { store: Arc::new(NoStore), resume: ResumeSlot::default(), may_send }
    }
}

impl StoredSession {
    /// Prepares the session to continue.
    ///
    /// # Errors
    /// Why it cannot, and its socket: the connection has ended, or the kernel was given other octets than were stored.
    pub async fn resume(self) -> Result<ResumedSession, (OwnedFd, io::Error)> {
        let StoredSession { snapshot, octets, prefixes, socket } = self;
        let prepared = async {
            let info = sockopt::tcp_info(socket.as_fd())?;
            if !info.established {
                return Err(io::Error::other("its connection has ended"));
            }
            let sent = sockopt::sent(socket.as_fd())?;
            let unsent = octets.unsent(sent.given).ok_or_else(|| {
                io::Error::other(format!(
                    "the kernel was given {} octets, which does not fit to what was stored",
                    sent.given
                ))
            })?;
            let position =
                ResumedPosition { given: sent.given, queued: sent.queued, unsent: unsent.to_vec() };
            let heard = tokio::time::Instant::now().into_std();
            let heard = heard.checked_sub(info.last_data).unwrap_or(heard);
            Ok((position, heard, path::addresses(snapshot.interface).await?))
        };
        match prepared.await {
            Ok((position, heard, addresses)) => {
                Ok(ResumedSession { snapshot, prefixes, stream: socket.into(), addresses, position, heard })
            }
            Err(error) => Err((socket, error)),
        }
    }
}

/// Ends the connection of a session that does not continue: the octets that complete the last message, then a NOTIFICATION. Without
/// stored octets, the NOTIFICATION may follow half a message; then the router ends the session because of that.
pub fn refuse(socket: OwnedFd, octets: &StoredOctets, notification: &crate::bgp::notification::Notification) {
    let mut last = match sockopt::sent(socket.as_fd()) {
        Ok(sent) => octets.unsent(sent.given).unwrap_or_default().to_vec(),
        Err(_) => Vec::new(),
    };
    crate::bgp::wire::notification(&mut last, notification);
    let stream = TcpStream::from(socket);
    let socket = SockRef::from(&stream);
    // The session is over either way. Nothing waits: a router that takes no octets sees only the end of the connection.
    let _ = socket.set_nonblocking(true);
    let _ = io::Write::write(&mut &stream, &last);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    // A close with unread octets would be a reset, and the router might not read the NOTIFICATION.
    let mut rest = [0; 4096];
    while matches!(io::Read::read(&mut &stream, &mut rest), Ok(1..)) {}
}
