//! Asks the kernel for the TCP connections of VIPs with sock_diag(7), and waits until none of them is served here any more.
//!
//! Touches netlink (NETLINK_SOCK_DIAG) and the clock, and needs no privilege. The kernel filters by the local address, so that the
//! cost of an answer depends on the connections of these VIPs. A dump runs on a thread of its own, because it reads the kernel's
//! whole table.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use tokio::time::sleep;

use crate::drain::connections::{
    ConnectionCount, ConnectionWait, MOST_FILTERED, SilentConnections, VipConnection, decide, filter,
};

/// The time between two dumps.
const EVERY: Duration = Duration::from_millis(500);
/// `INET_DIAG_REQ_BYTECODE` of linux/inet_diag.h.
const BYTECODE: u16 = 1;
/// The size of the largest part of a dump, in octets.
const PART: usize = 32 << 10;
/// Where `tcpi_last_data_recv` and `tcpi_last_ack_recv` are in `tcp_info` of linux/tcp.h: milliseconds, 4 octets each.
const LAST_DATA: usize = 52;
const LAST_ACKNOWLEDGEMENT: usize = 56;

/// The states in which a connection may still have data for its client.
const STATES: StateFlags = StateFlags::ESTABLISHED
    .union(StateFlags::FIN_WAIT1)
    .union(StateFlags::CLOSE_WAIT)
    .union(StateFlags::LAST_ACK)
    .union(StateFlags::CLOSING);

/// The connections of these VIPs, one after the other. Blocks.
///
/// # Errors
/// When the kernel does not answer, for example because it has no `tcp_diag`.
pub fn visit(vips: &[IpAddr], found: &mut impl FnMut(VipConnection)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    for vips in vips.chunks(MOST_FILTERED) {
        if vips.iter().any(IpAddr::is_ipv4) {
            dump(&socket, AF_INET, vips, found)?;
        }
        // IPv6 sockets may serve IPv4 too.
        match dump(&socket, AF_INET6, vips, found) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {} // a host without IPv6
            other => other?,
        }
    }
    Ok(())
}

fn dump(
    socket: &Socket,
    family: u8,
    vips: &[IpAddr],
    found: &mut impl FnMut(VipConnection),
) -> io::Result<()> {
    socket.send(&request(family, vips), 0)?;
    let mut part = Vec::with_capacity(PART);
    loop {
        part.clear();
        socket.recv(&mut part, 0)?;
        let mut rest = part.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
            let code = match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                    connection(&socket).into_iter().for_each(&mut *found);
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

/// A request for the connections of these VIPs, with the kernel's filter as its only attribute.
fn request(family: u8, vips: &[IpAddr]) -> Vec<u8> {
    let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: STATES,
        socket_id: any,
    }));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    let code = filter(vips);
    octets.extend(u16::try_from(4 + code.len()).unwrap_or(u16::MAX).to_ne_bytes());
    octets.extend(BYTECODE.to_ne_bytes());
    octets.extend(code);
    let length = u32::try_from(octets.len()).unwrap_or(u32::MAX).to_ne_bytes();
    octets[..4].copy_from_slice(&length);
    octets
}

/// The connection that an answer describes.
fn connection(socket: &InetResponse) -> Option<VipConnection> {
    let SocketId { source_address, destination_address, .. } = socket.header.socket_id;
    let info = socket
        .nlas
        .iter()
        .find_map(|attribute| if let Nla::TcpInfo(octets) = attribute { Some(octets) } else { None })?;
    let millis = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
    let silent_for = millis(LAST_DATA)?.min(millis(LAST_ACKNOWLEDGEMENT)?);
    Some(VipConnection {
        local: source_address.to_canonical(),
        remote: destination_address.to_canonical(),
        silent_for: Duration::from_millis(silent_for.into()),
    })
}

/// Waits until no connection of these VIPs is served here any more, or until the deadline. `followed` is when the routers had
/// followed the withdraw. `news` gets each count.
///
/// # Errors
/// When the connections cannot be seen.
pub async fn wait(
    vips: Vec<IpAddr>,
    silent: SilentConnections,
    followed: Instant,
    deadline: Instant,
    mut news: impl FnMut(ConnectionCount),
) -> io::Result<(ConnectionWait, ConnectionCount)> {
    let vips = Arc::new(vips);
    loop {
        let asked = Arc::clone(&vips);
        let counted = tokio::task::spawn_blocking(move || {
            let mut count = ConnectionCount::default();
            visit(&asked, &mut |connection| count.add(connection, followed.elapsed())).map(|()| count)
        });
        let count = counted.await.map_err(io::Error::other)??;
        news(count);
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        match decide(count, silent, now.saturating_duration_since(followed), left) {
            ConnectionWait::Waits => sleep(EVERY.min(left)).await,
            end @ (ConnectionWait::Drained | ConnectionWait::Deadline) => return Ok((end, count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    /// A connection from 127.0.0.1 to this address.
    fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        client.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        client.connect(&listener.local_addr().unwrap().into()).unwrap();
        (client.into(), listener.accept().unwrap().0)
    }

    fn of(vips: &[&str]) -> Vec<VipConnection> {
        let vips: Vec<IpAddr> = vips.iter().map(|vip| vip.parse().unwrap()).collect();
        let mut all = Vec::new();
        visit(&vips, &mut |connection| all.push(connection)).unwrap();
        all
    }

    #[test]
    fn the_kernel_returns_the_connections_of_a_vip_and_when_they_last_received_something() {
        let listener = TcpListener::bind("127.80.1.2:0").unwrap();
        let (mut client, mut server) = connect(&listener);
        let found = of(&["127.80.1.9", "127.80.1.2", "2001:db8::80"]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].local.to_string(), found[0].remote.to_string()),
            ("127.80.1.2".into(), "127.0.0.1".into())
        );
        std::thread::sleep(Duration::from_millis(300));
        let before = of(&["127.80.1.2"])[0].silent_for;
        assert!(before >= Duration::from_millis(200), "{before:?}");
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert!(of(&["127.80.1.2"])[0].silent_for < before);
        assert_eq!(of(&["127.80.1.9"]), []);
        drop((client, server));
        let mut tries = 0;
        while !of(&["127.80.1.2"]).is_empty() {
            tries += 1;
            assert!(tries < 1000, "a closed connection stays");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
