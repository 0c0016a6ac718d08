//! Sends a test packet: a SYN over lo, which the rules take away and send to the next member.
//!
//! Touches a TCP socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::chain::rules::TEST_PORT;

/// Sends a SYN to this port of a VIP of this host. It is the only packet: the socket is closed at once. If the rules are not in the
/// kernel, the server of this host gets it, as from a check that opens a connection.
///
/// # Errors
/// If the kernel sends nothing: without the VIP on lo, or if another program has the port of test packets.
pub fn send(vip: IpAddr, port: u16) -> io::Result<()> {
    let to = SocketAddr::new(vip, port);
    let socket =
        Socket::new(Domain::for_address(to), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    // Without the VIP on this host, the packet would go to a router.
    socket.bind_device(Some(b"lo"))?;
    socket.set_reuse_address(true)?;
    let any: IpAddr = match vip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, TEST_PORT).into())?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}
