//! What the kernel knows of listening TCP sockets: sock_diag(7), as `ss` asks it.
//!
//! Touches netlink (NETLINK_SOCK_DIAG), and needs no privilege. The kernel works each request off within the call that
//! sends it, and each part of a dump within the call that receives the one before: nothing here ever waits.
//!
//! ```text
//! look-up: inet_diag_req_v2{ source VIP:port, destination 0 } → the socket that a SYN from anywhere would meet, or ENOENT
//! dump:    inet_diag_req_v2{ states LISTEN }                  → every socket that listens, in parts, and NLMSG_DONE
//! ```

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::health::watch::{Listener, Pair, Served, Sight};

/// Message type of request and answer.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The state TCP_LISTEN.
const LISTEN: u8 = 10;
/// Attribute INET_DIAG_SKV6ONLY.
const SKV6ONLY: u16 = 11;
/// Loopback's index: what is asked of a VIP on this host, as the probes do, comes in by it. A socket that is bound to
/// another interface is not met.
const LOOPBACK: u32 = 1;
/// Octets of a netlink header, of a request behind it, of an answer.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const ANSWER: usize = 72;
/// Requests in one send: their answers fit into the socket's buffer.
const BATCH: usize = 64;
/// Octets of that buffer; the kernel caps it at net.core.rmem_max.
const BUFFER: i32 = 1 << 20;
/// Octets of the largest part of a dump that the kernel makes.
const PART: usize = 32 << 10;

/// Why the listeners cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such socket, or the kernel refuses.
    #[error("sock_diag: {0}")]
    Socket(#[from] io::Error),
    /// The kernel has no tcp_diag.
    #[error("the kernel's module `tcp_diag` is not loaded, and could not be")]
    NoTcp,
    /// What came is none of its messages.
    #[error("sock_diag: the kernel's answer was not understood")]
    Garbled,
}

/// A socket to ask.
pub struct Diag {
    socket: Socket,
    sequence: u32,
    out: Vec<u8>,
    part: Vec<u8>,
}

impl Diag {
    /// Opens it, and asks once, so that a kernel that cannot answer is distinguished from one where nothing listens: to a look-up
    /// both say ENOENT.
    ///
    /// # Errors
    /// When the listeners cannot be seen this way.
    pub fn open() -> Result<Diag, Error> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.set_cap_ack(true)?;
        socket.set_rx_buf_sz(BUFFER)?;
        let mut diag = Diag { socket, sequence: 0, out: Vec::new(), part: Vec::with_capacity(PART) };
        match diag.listeners(libc::AF_INET, &mut |_| {}) {
            Err(Error::Socket(error)) if error.raw_os_error() == Some(libc::ENOENT) => Err(Error::NoTcp),
            other => other.map(|()| diag),
        }
    }

    /// Asks for each pair which socket a connection would meet; for those whose answer is missing, that is unknown.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn look_up(&mut self, pairs: &[Pair]) -> Result<Vec<Sight>, Error> {
        let mut sights = vec![Sight::Unknown; pairs.len()];
        for (pairs, sights) in pairs.chunks(BATCH).zip(sights.chunks_mut(BATCH)) {
            self.out.clear();
            let first = self.sequence.wrapping_add(1);
            for pair in pairs {
                self.request(Some(*pair), family(pair.0), NLM_F_REQUEST);
            }
            self.socket.send(&self.out, libc::MSG_DONTWAIT)?;
            // Each request has one answer, in its order, and all of them are there.
            for _ in pairs {
                if !self.receive()? {
                    break;
                }
                for message in messages(&self.part) {
                    let message = message?;
                    let place = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                    let Some(sight) = sights.get_mut(place) else { continue };
                    *sight = match message.kind {
                        SOCK_DIAG_BY_FAMILY if message.body.get(1) == Some(&LISTEN) => Sight::Listens,
                        NLMSG_ERROR if message.error() == libc::ENOENT => Sight::Nothing,
                        _ => Sight::Unknown,
                    };
                }
            }
        }
        Ok(sights)
    }

    /// Dumps all sockets that listen; which of the pairs they serve.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or the dump broke off: then it says nothing of any pair.
    pub fn dump(&mut self, pairs: &[Pair]) -> Result<Vec<Sight>, Error> {
        let mut served = Served::new(pairs.iter().copied());
        if pairs.iter().any(|(vip, _)| vip.is_ipv4()) {
            self.listeners(libc::AF_INET, &mut |listener| served.add(listener))?;
        }
        // Those of IPv6 in any case: they may take IPv4 too.
        match self.listeners(libc::AF_INET6, &mut |listener| served.add(listener)) {
            Err(Error::Socket(error)) if error.raw_os_error() == Some(libc::ENOENT) => {} // a host without IPv6
            other => other?,
        }
        Ok(served.take())
    }

    fn listeners(&mut self, family: i32, found: &mut impl FnMut(Listener)) -> Result<(), Error> {
        self.out.clear();
        self.request(None, family, NLM_F_REQUEST | NLM_F_DUMP);
        self.socket.send(&self.out, libc::MSG_DONTWAIT)?;
        loop {
            if !self.receive()? {
                return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
            }
            for message in messages(&self.part) {
                let message = message?;
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    SOCK_DIAG_BY_FAMILY => listener(message.body).into_iter().for_each(&mut *found),
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match message.error() {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(code).into()),
                        };
                    }
                    _ => {}
                }
            }
        }
    }

    /// Appends a request, `inet_diag_req_v2` behind a header.
    fn request(&mut self, pair: Option<Pair>, family: i32, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut octets = [0; HEADER + REQUEST];
        let mut put = |at: usize, field: &[u8]| octets[at..at + field.len()].copy_from_slice(field);
        put(0, &((HEADER + REQUEST) as u32).to_ne_bytes());
        put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(6, &flags.to_ne_bytes());
        put(8, &self.sequence.to_ne_bytes());
        put(16, &[family as u8, libc::IPPROTO_TCP as u8]);
        put(20, &(1_u32 << LISTEN).to_ne_bytes());
        if let Some((vip, port)) = pair {
            put(24, &port.to_be_bytes());
            match vip {
                IpAddr::V4(ip) => put(28, &ip.octets()),
                IpAddr::V6(ip) => put(28, &ip.octets()),
            }
            put(60, &LOOPBACK.to_ne_bytes());
        }
        put(64, &[0xff; 8]); // INET_DIAG_NOCOOKIE: whichever socket it is
        self.out.extend_from_slice(&octets);
    }

    /// Receives what is there; whether anything is.
    fn receive(&mut self) -> Result<bool, Error> {
        self.part.clear();
        match self.socket.recv(&mut self.part, libc::MSG_DONTWAIT) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn family(vip: IpAddr) -> i32 {
    if vip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// A netlink message.
pub(super) struct Message<'a> {
    kind: u16,
    sequence: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// The error that it carries as its first field; 0: none.
    pub(super) fn error(&self) -> i32 {
        self.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code).saturating_neg())
    }
}

/// The messages of one datagram, each aligned to four octets.
pub(super) fn messages(mut octets: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Error>> {
    std::iter::from_fn(move || {
        if octets.is_empty() {
            return None;
        }
        let message = message(octets);
        let length = message.as_ref().map_or(octets.len(), |message| HEADER + message.body.len());
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn message(octets: &[u8]) -> Result<Message<'_>, Error> {
    let length = u32_at(octets, 0).and_then(|length| usize::try_from(length).ok());
    let kind = octets.get(4..6).and_then(|kind| kind.first_chunk());
    let body = length.and_then(|length| octets.get(HEADER..length));
    match (kind, u32_at(octets, 8), body) {
        (Some(kind), Some(sequence), Some(body)) => {
            Ok(Message { kind: u16::from_ne_bytes(*kind), sequence, body })
        }
        (None, ..) | (_, None, _) | (.., None) => Err(Error::Garbled),
    }
}

/// An answer, `inet_diag_msg` and its attributes; `None`: no listener that the probes could meet.
pub(super) fn listener(body: &[u8]) -> Option<Listener> {
    let (family, state) = (i32::from(*body.first()?), *body.get(1)?);
    let port = u16::from_be_bytes(*body.get(4..6)?.first_chunk()?);
    let address = match family {
        libc::AF_INET => IpAddr::from(*body.get(8..12)?.first_chunk::<4>()?),
        libc::AF_INET6 => Ipv6Addr::from(*body.get(8..24)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    let device = u32_at(body, 40)?;
    let v6only = attribute(body.get(ANSWER..)?, SKV6ONLY).is_some_and(|value| value.first() == Some(&1));
    (state == LISTEN && [0, LOOPBACK].contains(&device)).then_some(Listener { address, port, v6only })
}

/// The value of the first attribute of a kind.
fn attribute(mut octets: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*octets.first_chunk()?));
        let kind = u16::from_ne_bytes(*octets.get(2..)?.first_chunk()?);
        let value = octets.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        octets = octets.get(length.next_multiple_of(4)..)?;
    }
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().map(|field| u32::from_ne_bytes(*field))
}
