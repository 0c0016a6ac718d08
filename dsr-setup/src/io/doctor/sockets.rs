//! Lists the TCP sockets that listen, with their queues, as `ss -ltn` does.
//!
//! Touches netlink by [`sock_diag`], and needs no privilege. Blocks only for as long as the kernel needs to answer.

use std::io;

use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6};

use crate::doctor::observations::{ListeningSocket, Seen, Unseen};
use crate::io::sock_diag;

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
    let request = sock_diag::request(family, StateFlags::LISTEN, ExtensionFlags::empty());
    sock_diag::dump(&sock_diag::open()?, &request, &mut |socket| found.push(listener(socket)))
}

fn listener(socket: &InetResponse) -> ListeningSocket {
    let SocketId { source_address: address, source_port: port, interface_id, .. } = socket.header.socket_id;
    ListeningSocket {
        address,
        port,
        device: Some(interface_id).filter(|index| *index != 0),
        is_v6_only: socket.nlas.iter().any(|attribute| matches!(attribute, Nla::SkV6Only(true))),
        queue: socket.header.recv_queue,
        backlog: socket.header.send_queue,
    }
}
