//! Lists the TCP sockets that listen, with their queues, by sock_diag(7), as `ss -ltn` does.
//!
//! Touches netlink (NETLINK_SOCK_DIAG), and needs no privilege. Blocks only for as long as the kernel needs to answer.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::doctor::observations::{ListeningSocket, Seen, Unseen};

/// The size of the largest part of a dump, in octets.
const PART: usize = 32 << 10;

/// The sockets that listen.
pub(super) fn listeners() -> Seen<Vec<ListeningSocket>> {
    let mut found = Vec::new();
    let dumped = dump(AF_INET, &mut found).and_then(|()| match dump(AF_INET6, &mut found) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()), // a host without IPv6
        other => other,
    });
    match dumped {
        Ok(()) => Ok(found),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            Err(Unseen("the kernel's module `tcp_diag` is not loaded, and could not be".into()))
        }
        Err(error) => Err(Unseen(format!("sock_diag: {error}"))),
    }
}

fn dump(family: u8, found: &mut Vec<ListeningSocket>) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id: any,
    }));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);
    socket.send(&request, 0)?;
    let mut part = Vec::with_capacity(PART);
    loop {
        part.clear();
        socket.recv(&mut part, 0)?;
        let mut rest = part.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = (message.header.length as usize).max(1).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            let code = match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                    found.push(listener(&socket));
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

fn listener(socket: &InetResponse) -> ListeningSocket {
    let SocketId { source_address: address, source_port: port, .. } = socket.header.socket_id;
    ListeningSocket {
        address,
        port,
        is_v6_only: socket.nlas.iter().any(|attribute| matches!(attribute, Nla::SkV6Only(true))),
        queue: socket.header.recv_queue,
        backlog: socket.header.send_queue,
    }
}
