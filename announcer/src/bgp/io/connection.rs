//! A TCP connection to a peer: octets in, octets out, and how many of ours the peer's kernel has.
//!
//! Touches a socket. Nothing here waits: what would block is tried again when the socket is ready.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::bgp::io::dial::{DialSuccess, broken};
use crate::bgp::io::password::Md5Key;
use crate::bgp::io::sockopt;
use crate::bgp::outbox::Outbox;
use crate::bgp::path::{Address, ConnectionPath};
use crate::bgp::reason::TcpFailure;
use crate::bgp::stall::{self, Stall};
use crate::bgp::wire::Framer;

/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often the kernel is asked at first, and at most, whether octets were acknowledged.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// After so long without progress the kernel is asked why.
const STALLED: Duration = Duration::from_secs(1);
/// The most octets that are read at once: more than a session's peer sends in its hold time.
const MOST: usize = 1 << 20;

pub(super) struct Connection {
    stream: TcpStream,
    pub(super) framer: Framer,
    pub(super) outbox: Outbox,
    pub(super) local: SocketAddr,
    peer: SocketAddr,
    /// The key of its segments.
    pub(super) key: Option<Md5Key>,
    /// What it uses of the host's network.
    pub(super) used: ConnectionPath,
    /// The addresses of the interface.
    pub(super) addresses: Vec<Address>,
    /// How long the peer's kernel may acknowledge nothing.
    silence: Duration,
    /// Whether full segments seem to be lost on the way, and small ones not.
    pub(super) large_lost: bool,
    /// Since when octets wait without progress.
    waiting: Option<StallTimer>,
}

#[derive(Clone, Copy)]
struct StallTimer {
    since: Instant,
    ask: Instant,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadResult {
    /// The framer has more.
    Octets,
    /// There is nothing at present.
    Nothing,
}

/// What became of the octets that waited.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All are acknowledged.
    All,
    /// Some are.
    Some,
    /// None is.
    None,
    /// None is, and the peer is gone, or the path to it.
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
            silence,
            large_lost: false,
            waiting: None,
        }
    }

    pub(super) async fn readable(&self) {
        // An error shows again when it is read, and is handled there.
        let _ = self.stream.readable().await;
    }

    pub(super) async fn writable(&self) {
        let _ = self.stream.writable().await;
    }

    /// Reads what one read gives.
    pub(super) fn read(&mut self) -> Result<ReadResult, TcpFailure> {
        let mut octets = [0; 16 * 1024];
        match self.stream.try_read(&mut octets) {
            Ok(0) => Err(TcpFailure::Closed),
            Ok(count) => {
                self.framer.feed(octets.get(..count).unwrap_or_default());
                Ok(ReadResult::Octets)
            }
            Err(error) if again(&error) => Ok(ReadResult::Nothing),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Reads all that is there, whether or not the kernel has said that there is something: a process that stood still may
    /// judge by its clock before it has heard of its sockets.
    pub(super) fn read_all(&mut self) -> Result<ReadResult, TcpFailure> {
        let mut octets = [0; 16 * 1024];
        let mut count = 0;
        while count < MOST {
            match io::Read::read(&mut &*SockRef::from(&self.stream), &mut octets) {
                Ok(0) if count == 0 => return Err(TcpFailure::Closed),
                Ok(0) => break,
                Ok(read) => {
                    self.framer.feed(octets.get(..read).unwrap_or_default());
                    count += read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It shows again when it is read next.
                Err(_) if count > 0 => break,
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(if count == 0 { ReadResult::Nothing } else { ReadResult::Octets })
    }

    /// Gives the kernel what it takes. Returns whether octets wait for the peer.
    pub(super) fn write(&mut self) -> Result<bool, TcpFailure> {
        while !self.outbox.unsent().is_empty() {
            match self.stream.try_write(self.outbox.unsent()) {
                Ok(count) => self.outbox.took(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
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

    /// Asks the kernel how much the peer has; the longer nothing moves, the rarer.
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

    /// Whether the kernel dropped segments of the peer's that it should have liked (minimum TTL, key). Not to know is no.
    pub(super) fn drops(&self) -> bool {
        sockopt::drops(self.stream.as_fd()).is_ok_and(|count| count > 0)
    }

    /// Signs and demands another key from now on (RFC 2385).
    pub(super) fn set_key(&mut self, key: Md5Key) -> io::Result<()> {
        sockopt::set_key(self.stream.as_fd(), self.peer, &key)?;
        self.key = Some(key);
        Ok(())
    }

    /// How long the peer's kernel may be silent: as long as the peer, by the hold time that was agreed.
    pub(super) fn set_silence(&mut self, silence: Duration) -> io::Result<()> {
        self.silence = silence;
        sockopt::keep_alive(SockRef::from(&self.stream), silence)
    }

    /// Sends what is left, half-closes and drains, so that the peer reads our last words: a close with octets unread
    /// would be a reset.
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

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
