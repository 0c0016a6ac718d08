//! Dumps of TCP sockets by sock_diag(7).
//!
//! Touches netlink (NETLINK_SOCK_DIAG), and needs no privilege. The kernel makes each part of a dump within the call that receives the
//! part before, so that a call blocks only for as long as the kernel needs. [`ANSWER`] limits it all the same.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, IPPROTO_TCP, SockDiagMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use socket2::SockRef;

/// How long one part of a dump may take.
const ANSWER: Duration = Duration::from_secs(2);
/// The size of the largest part of a dump, in octets.
const PART: usize = 32 << 10;

/// Opens a socket for dumps.
///
/// # Errors
/// Those of the kernel.
pub fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    SockRef::from(&socket).set_read_timeout(Some(ANSWER))?;
    Ok(socket)
}

/// The request for a dump of the TCP sockets of a family (AF_INET or AF_INET6) that are in one of these states.
#[must_use]
pub fn request(family: u8, states: StateFlags, extensions: ExtensionFlags) -> Vec<u8> {
    let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions,
        states,
        socket_id: any,
    }));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

/// Sends a request, and gives each socket of the answer to `found`. If it fails halfway, the socket of netlink must not be used again: the
/// rest of the answer is still on its way.
///
/// # Errors
/// When the kernel refuses the request, does not answer in time, or answers something that is no message.
pub fn dump(socket: &Socket, request: &[u8], found: &mut impl FnMut(&InetResponse)) -> io::Result<()> {
    socket.send(request, 0)?;
    let mut part = Vec::with_capacity(PART);
    loop {
        part.clear();
        socket.recv(&mut part, 0)?;
        for message in messages(&part) {
            let code = match message?.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                    found(&socket);
                    continue;
                }
                NetlinkPayload::Done(done) => done.code,
                NetlinkPayload::Error(error) => error.raw_code(),
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | NetlinkPayload::InnerMessage(_) | _ => {
                    continue;
                }
            };
            return match code {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            };
        }
    }
}

/// The messages of one datagram, each aligned to four octets. The last one is an error if the rest is no message.
pub fn messages(mut octets: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<SockDiagMessage>>> {
    std::iter::from_fn(move || {
        if octets.is_empty() {
            return None;
        }
        let message = NetlinkMessage::deserialize(octets);
        let length = message.as_ref().map_or(octets.len(), |message| message.header.length as usize);
        octets = octets.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
        Some(message.map_err(io::Error::other))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_dump_is_whole_and_the_socket_can_be_used_again() {
        let listeners: Vec<TcpListener> =
            (0..300).map(|_| TcpListener::bind("127.80.3.1:0").unwrap()).collect();
        let own = |socket: &InetResponse| socket.header.socket_id.source_address.to_string() == "127.80.3.1";
        let (socket, request) =
            (open().unwrap(), request(AF_INET, StateFlags::LISTEN, ExtensionFlags::empty()));
        for _ in 0..2 {
            let mut count = 0;
            dump(&socket, &request, &mut |socket| count += usize::from(own(socket))).unwrap();
            assert_eq!(count, listeners.len());
        }
    }

    #[test]
    fn a_kernel_that_does_not_answer_is_not_waited_for_longer_than_the_limit() {
        let (socket, start) = (open().unwrap(), Instant::now());
        // A message of the type NLMSG_NOOP, which the kernel does not answer.
        let noop = [16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let error = dump(&socket, &noop, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!((ANSWER..ANSWER * 5).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[test]
    fn what_is_no_message_ends_the_walk() {
        for octets in [&[0; 3][..], &[0; 16], &[255; 40]] {
            let walked: Vec<_> = messages(octets).take(100).collect();
            assert!(walked.len() < 100 && walked.last().unwrap().is_err(), "{octets:?}");
        }
    }
}
