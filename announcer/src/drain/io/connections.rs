//! Asks the kernel for the TCP connections of VIPs with sock_diag(7), and waits until none of them is served here any more.
//!
//! Touches netlink (NETLINK_SOCK_DIAG) and the clock, and needs no privilege. The kernel filters by the local address, so that the
//! cost of an answer depends on the connections of these VIPs. A dump runs on a thread of its own, because it reads the kernel's
//! whole table.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dsr_setup::io::sock_diag;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6};
use tokio::time::sleep;

use crate::drain::connections::{
    ConnectionCount, ConnectionWait, MOST_FILTERED, SilentConnections, VipConnection, decide, filter,
};

/// The time between two dumps.
const EVERY: Duration = Duration::from_millis(500);
/// `INET_DIAG_REQ_BYTECODE` of linux/inet_diag.h.
const BYTECODE: u16 = 1;
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
    let socket = sock_diag::open()?;
    let mut found = |socket: &InetResponse| connection(socket).into_iter().for_each(&mut *found);
    for vips in vips.chunks(MOST_FILTERED) {
        if vips.iter().any(IpAddr::is_ipv4) {
            sock_diag::dump(&socket, &request(AF_INET, vips), &mut found)?;
        }
        // IPv6 sockets may serve IPv4 too.
        match sock_diag::dump(&socket, &request(AF_INET6, vips), &mut found) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {} // a host without IPv6
            other => other?,
        }
    }
    Ok(())
}

/// A request for the connections of these VIPs, with the kernel's filter as its only attribute.
fn request(family: u8, vips: &[IpAddr]) -> Vec<u8> {
    let mut octets = sock_diag::request(family, STATES, ExtensionFlags::INFO);
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
