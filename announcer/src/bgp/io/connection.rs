//! A TCP connection to a peer: octets in, octets out, and how many of our octets the peer's kernel has acknowledged.
//!
//! Touches a socket. No function here blocks. An operation that would block is tried again when the socket is ready.
//!
//! A message is taken out of the kernel only after it was handled, and a part of a message stays there. Octets are stored before they
//! are given to the kernel. So another process can continue the connection, whenever this one ends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::bgp::io::dial::{DialSuccess, tcp_failure};
use crate::bgp::io::password::Md5Key;
use crate::bgp::io::resume::{ResumedPosition, ResumedSession, SessionStore};
use crate::bgp::io::sockopt;
use crate::bgp::outbox::Outbox;
use crate::bgp::path::{Address, ConnectionPath};
use crate::bgp::reason::TcpFailure;
use crate::bgp::stall::{self, Stall};
use crate::bgp::wire::Framer;

/// How long the orderly end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// The shortest and the longest time between two queries whether the peer has acknowledged octets.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// After this time without progress, the kernel is asked for the reason.
const STALLED: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    stream: TcpStream,
    pub(super) framer: Framer,
    pub(super) outbox: Outbox,
    pub(super) local: SocketAddr,
    peer: SocketAddr,
    /// The key that signs its segments.
    pub(super) key: Option<Md5Key>,
    /// The parts of the host's network that it uses.
    pub(super) used: ConnectionPath,
    /// The addresses of the interface.
    pub(super) addresses: Vec<Address>,
    /// Whether its router was among those that advertise themselves when this was last looked for.
    pub(super) router_heard: bool,
    /// How long the peer's kernel may acknowledge nothing.
    silence: Duration,
    /// Whether full segments seem to be lost on the way, while small ones arrive.
    pub(super) large_lost: bool,
    /// Since when octets wait without progress.
    waiting: Option<StallTimer>,
    /// Where octets are stored before they are given to the kernel, and the offset up to which they are; `None`: the session is not
    /// established, so no other process can continue it.
    stored: Option<(Arc<dyn SessionStore>, u64)>,
}

#[derive(Clone, Copy)]
struct StallTimer {
    since: Instant,
    ask: Instant,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadResult {
    /// The framer has octets that were not in messages yet.
    Octets,
    /// No octets are available now.
    Nothing,
}

/// The progress of the octets that waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All are acknowledged.
    All,
    /// Some are.
    Some,
    /// None is.
    None,
    /// None is acknowledged, and the peer or the path to it is lost.
    Lost,
}

impl Connection {
    pub(super) fn new(dialed: DialSuccess) -> Self {
        let DialSuccess { stream, local, peer, used, addresses, silence, key, kept: _, clues: _ } = dialed;
        let (framer, outbox) = (Framer::default(), Outbox::default());
        Connection {
            stream,
            framer,
            outbox,
            local,
            peer,
            key,
            used,
            addresses,
            router_heard: false,
            silence,
            large_lost: false,
            waiting: None,
            stored: None,
        }
    }

    /// The connection of a session that another process began.
    pub(super) fn resumed(session: ResumedSession, silence: Duration, pinned: bool) -> io::Result<Self> {
        let ResumedSession { snapshot, stream, addresses, position, .. } = session;
        let ResumedPosition { given, queued, unsent } = position;
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream)?;
        let local = stream.local_addr()?;
        Ok(Connection {
            framer: Framer::default(),
            outbox: Outbox::resumed(given, queued, unsent),
            local,
            peer: snapshot.remote,
            key: None,
            used: ConnectionPath {
                peer: snapshot.remote.ip(),
                local: local.ip(),
                interface: snapshot.interface,
                own: snapshot.own,
                assigned: false, // not known yet: the network may be published without its addresses first
                pinned,
            },
            addresses,
            router_heard: false,
            silence,
            large_lost: false,
            waiting: None,
            stored: None,
            stream,
        })
    }

    /// The peer's end.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// From now on, octets are stored before they are given to the kernel. Those that wait are stored.
    pub(super) fn store(&mut self, store: Arc<dyn SessionStore>) {
        let end = self.outbox.written() + self.outbox.unsent().len() as u64;
        self.stored = Some((store, end));
    }

    /// The socket, so that the next process can get it.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) async fn readable(&self) {
        // The next read returns the same error, and handles it.
        let _ = self.stream.readable().await;
    }

    pub(super) async fn writable(&self) {
        let _ = self.stream.writable().await;
    }

    /// Makes one read: the framer gets what the kernel has, up to a limit. It stays in the kernel until [`taken`](Self::taken).
    pub(super) fn read(&mut self) -> Result<ReadResult, TcpFailure> {
        let mut octets = [0; 16 * 1024];
        let stream = &self.stream;
        match stream.try_io(Interest::READABLE, || peek(stream.as_fd(), &mut octets)) {
            Ok(count) => self.peeked(octets.get(..count).unwrap_or_default()),
            Err(error) if again(&error) => Ok(ReadResult::Nothing),
            Err(error) => Err(tcp_failure(&error)),
        }
    }

    /// The same, even if the socket was not reported as readable. After a process was stopped, its timers may be handled before the
    /// readiness of its sockets is known.
    pub(super) fn read_now(&mut self) -> Result<ReadResult, TcpFailure> {
        let mut octets = [0; 16 * 1024];
        loop {
            match peek(self.stream.as_fd(), &mut octets) {
                Ok(count) => return self.peeked(octets.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(ReadResult::Nothing),
                Err(error) => return Err(tcp_failure(&error)),
            }
        }
    }

    fn peeked(&mut self, octets: &[u8]) -> Result<ReadResult, TcpFailure> {
        if octets.is_empty() {
            return Err(TcpFailure::Closed);
        }
        self.framer.replace(octets);
        Ok(ReadResult::Octets)
    }

    /// The messages of the last read were handled: their octets are taken out of the kernel. Returns their number. If it is zero, only
    /// a part of a message has arrived, and more octets have to come first.
    pub(super) fn taken(&mut self) -> Result<usize, TcpFailure> {
        let count = self.framer.used();
        if count == 0 {
            return self.wait_for_more().map(|()| 0);
        }
        let mut taken = 0;
        let mut nowhere = [0; 16 * 1024];
        while taken < count {
            let rest = nowhere.get_mut(..count - taken).unwrap_or_default();
            // For TCP, MSG_TRUNC drops the octets (tcp(7)).
            match rustix::net::recv(&self.stream, rest, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
                Ok((_, 0)) => break,
                Ok((_, dropped)) => taken += dropped,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(tcp_failure(&error.into())),
            }
        }
        self.framer.replace(&[]);
        Ok(count)
    }

    /// Only a part of a message is there. A connection that has ended gets no more.
    fn wait_for_more(&mut self) -> Result<(), TcpFailure> {
        if !sockopt::tcp_info(self.stream.as_fd()).is_ok_and(|info| info.established) {
            let error = SockRef::from(&self.stream).take_error().ok().flatten();
            return Err(error.map_or(TcpFailure::Closed, |error| tcp_failure(&error)));
        }
        // The part keeps the socket readable, so the readiness is cleared by hand. The next octets set it again.
        let wait = || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) };
        let _ = self.stream.try_io(Interest::READABLE, wait);
        Ok(())
    }

    /// Writes as many octets as the kernel accepts. Returns whether octets wait for the peer.
    pub(super) fn write(&mut self) -> Result<bool, TcpFailure> {
        let end = self.outbox.written() + self.outbox.unsent().len() as u64;
        if let Some((store, stored)) = self.stored.as_mut().filter(|(_, stored)| end > *stored) {
            store.outgoing(self.outbox.written(), self.outbox.unsent());
            *stored = end;
        }
        while !self.outbox.unsent().is_empty() {
            match self.stream.try_write(self.outbox.unsent()) {
                Ok(count) => self.outbox.took(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(tcp_failure(&error)),
            }
        }
        if self.outbox.outstanding() > 0 && self.waiting.is_none() {
            let since = Instant::now();
            self.waiting = Some(StallTimer { since, ask: since + POLL.0 });
        }
        Ok(self.waiting.is_some())
    }

    /// When to ask the kernel for progress.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        self.waiting.map(|waiting| waiting.ask)
    }

    /// Asks the kernel how much the peer has acknowledged. The longer there is no progress, the longer the time to the next query.
    pub(super) fn ask(&mut self) -> io::Result<Progress> {
        let moved = self.outbox.acknowledge(sockopt::unacknowledged(self.stream.as_fd())?) > 0;
        self.large_lost &= !moved;
        let waits = self.outbox.outstanding();
        if waits == 0 {
            self.waiting = None;
            return Ok(Progress::All);
        }
        let now = Instant::now();
        let since = self.waiting.filter(|_| !moved).map_or(now, |waiting| waiting.since);
        let waited = now.duration_since(since);
        let pause = (waited / 8).clamp(POLL.0, POLL.1);
        self.waiting = Some(StallTimer { since, ask: now + pause });
        if waited >= STALLED {
            let info = sockopt::tcp_info(self.stream.as_fd())?;
            self.large_lost = stall::large_segments_lost(&info, waits, waited);
            if stall::judge(&info, waited, self.silence) == Stall::Lost {
                return Ok(Progress::Lost);
            }
        }
        Ok(if moved { Progress::Some } else { Progress::None })
    }

    /// Whether the kernel dropped segments of the peer because of the minimum TTL or the key. If this is not known, the result is
    /// false.
    pub(super) fn drops(&self) -> bool {
        sockopt::drops(self.stream.as_fd()).is_ok_and(|count| count > 0)
    }

    /// From now on, signs with another key and requires it (RFC 2385).
    pub(super) fn set_key(&mut self, key: Md5Key) -> io::Result<()> {
        sockopt::set_key(self.stream.as_fd(), self.peer, &key)?;
        self.key = Some(key);
        Ok(())
    }

    /// Sets how long the peer's kernel may acknowledge nothing. The negotiated hold time decides it.
    pub(super) fn set_silence(&mut self, silence: Duration) -> io::Result<()> {
        self.silence = silence;
        sockopt::keep_alive(SockRef::from(&self.stream), silence)
    }

    /// Sends the remaining octets, half-closes, and reads until the end, so that the peer can read our last message. A close with
    /// unread octets would be a reset.
    pub(super) async fn farewell(mut self) {
        let goodbye = async move {
            self.stream.write_all(self.outbox.unsent()).await?;
            self.stream.shutdown().await?;
            let mut rest = [0; 4096];
            while self.stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // The session is over either way.
        let _ = tokio::time::timeout(FAREWELL, goodbye).await;
    }

    /// Drops the connection with a reset: the kernel forgets what waits.
    pub(super) fn abort(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// Copies what the kernel has, and leaves it there.
fn peek(socket: BorrowedFd<'_>, octets: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::net::recv(socket, octets, RecvFlags::PEEK | RecvFlags::DONTWAIT)?.1)
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
