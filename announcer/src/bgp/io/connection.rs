//! A TCP connection to a peer: octets in, octets out, and how many of our octets the peer's kernel has acknowledged.
//!
//! Touches a socket. No function here blocks. An operation that would block is tried again when the socket is ready.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::bgp::io::dial::{DialSuccess, tcp_failure};
use crate::bgp::io::password::Md5Key;
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
/// The most octets that are read at once: more than a session's peer sends in its hold time.
const MOST: usize = 1 << 20;

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
    /// How long the peer's kernel may acknowledge nothing.
    silence: Duration,
    /// Whether full segments seem to be lost on the way, while small ones arrive.
    pub(super) large_lost: bool,
    /// Since when octets wait without progress.
    waiting: Option<StallTimer>,
}

#[derive(Clone, Copy)]
struct StallTimer {
    since: Instant,
    ask: Instant,
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadResult {
    /// The framer has new octets.
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
            silence,
            large_lost: false,
            waiting: None,
        }
    }

    pub(super) async fn readable(&self) {
        // The next read returns the same error, and handles it.
        let _ = self.stream.readable().await;
    }

    pub(super) async fn writable(&self) {
        let _ = self.stream.writable().await;
    }

    /// Makes one read.
    pub(super) fn read(&mut self) -> Result<ReadResult, TcpFailure> {
        let mut octets = [0; 16 * 1024];
        match self.stream.try_read(&mut octets) {
            Ok(0) => Err(TcpFailure::Closed),
            Ok(count) => {
                self.framer.feed(octets.get(..count).unwrap_or_default());
                Ok(ReadResult::Octets)
            }
            Err(error) if again(&error) => Ok(ReadResult::Nothing),
            Err(error) => Err(tcp_failure(&error)),
        }
    }

    /// Reads all available octets, even if the socket was not reported as readable. After a process was stopped, its timers may be
    /// handled before the readiness of its sockets is known.
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
                // The next read returns the error again.
                Err(_) if count > 0 => break,
                Err(error) => return Err(tcp_failure(&error)),
            }
        }
        Ok(if count == 0 { ReadResult::Nothing } else { ReadResult::Octets })
    }

    /// Writes as many octets as the kernel accepts. Returns whether octets wait for the peer.
    pub(super) fn write(&mut self) -> Result<bool, TcpFailure> {
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

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
