//! Socket options, and the one number that no safe interface gives.
//!
//! Touches sockets. The crate's only `unsafe`.

#![allow(unsafe_code, reason = "the kernel's count of unacknowledged octets has no safe interface")]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::Socket;

/// Network control (RFC 4594 §3.2), as routers mark their own.
const CS6: u32 = 0xc0;
/// Lets a peer with GTSM believe that we are its neighbour, and harms no other (RFC 5082).
const TTL: u32 = 255;

/// Prepares a socket to dial `peer`, before the SYN that all of it has to be on.
pub(super) fn prepare(socket: &Socket, peer: IpAddr, hold_time: Duration) -> io::Result<()> {
    match peer {
        IpAddr::V4(_) => {
            socket.set_ttl_v4(TTL)?;
            socket.set_tos_v4(CS6)?;
        }
        IpAddr::V6(_) => {
            socket.set_unicast_hops_v6(TTL)?;
            socket.set_tclass_v6(CS6)?;
        }
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let timeout = (!hold_time.is_zero()).then_some(hold_time);
    socket.set_tcp_user_timeout(timeout)
}

/// How many octets of ours the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7)).
pub(super) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut octets: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, so open; TIOCOUTQ (SIOCOUTQ's other name) writes one int to the pointer, which
    // is valid and ours alone.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(octets).unwrap_or(0))
}
