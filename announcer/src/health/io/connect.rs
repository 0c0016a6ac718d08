//! A TCP connection from the VIP to the VIP, and what it means when there is none.
//!
//! Touches the network. The socket is bound to the VIP, so that a probe fails when the VIP is not on this host, and never
//! asks another host that has it. A fixed target is asked from wherever the kernel says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::error::Elapsed;

use crate::config::check::Place;
use crate::health::outcome::{Answer, Outcome, Reason, Shortage, Shown, Waiting, Warning};

/// Where a probe connects to, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    from: Option<IpAddr>,
    to: SocketAddr,
}

/// What ends a probe that did not pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It failed.
    Fail(Reason),
    /// The kernel gave up waiting.
    TimedOut(Waiting),
    /// We could not ask.
    Skip(Shortage),
}

/// What a probe that passed has seen.
pub type Passed = (Answer, Option<Warning>);

impl Route {
    /// To `target`, or to the VIP and from it; at `port`, unless the target has another.
    pub fn new(vip: IpAddr, target: Option<Place>, port: u16) -> Self {
        match target {
            Some(place) => Route { from: None, to: SocketAddr::new(place.ip, place.port.unwrap_or(port)) },
            None => Route { from: Some(vip), to: SocketAddr::new(vip, port) },
        }
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// What the kernel says, as what it means for a probe.
    pub async fn connect(&self) -> Result<TcpStream, Trouble> {
        self.try_connect().await.map_err(|error| {
            of_kernel(&error).unwrap_or_else(|| Trouble::Fail(Reason::Other(Shown::new(&error.to_string()))))
        })
    }

    async fn try_connect(&self) -> io::Result<TcpStream> {
        let socket = if self.to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        // What we send comes in pieces, and each is wanted at once.
        socket.set_nodelay(true)?;
        socket.connect(self.to).await
    }
}

/// What a probe saw that ended so, or did not end within `timeout` while it was `waiting` for something.
pub fn outcome(
    end: Result<Result<Passed, Trouble>, Elapsed>,
    waiting: Waiting,
    timeout: Duration,
    took: Duration,
) -> Outcome {
    let timed_out = |waiting| Outcome::Fail { reason: Reason::TimedOut { waiting, after: timeout }, took };
    match end {
        Ok(Ok((answer, warning))) => Outcome::Pass { answer, warning, took },
        Ok(Err(Trouble::Skip(shortage))) => Outcome::Skipped(shortage),
        Ok(Err(Trouble::Fail(reason))) => Outcome::Fail { reason, took },
        Ok(Err(Trouble::TimedOut(waiting))) => timed_out(waiting),
        Err(_) => timed_out(waiting),
    }
}

/// What an error of a system call means; none if it comes from elsewhere.
pub fn of_kernel(error: &io::Error) -> Option<Trouble> {
    let errno = Errno::from_raw(error.raw_os_error()?);
    if let Some(shortage) = Shortage::of(errno) {
        return Some(Trouble::Skip(shortage));
    }
    if errno == Errno::ETIMEDOUT {
        return Some(Trouble::TimedOut(Waiting::Connection));
    }
    let known = [
        (Errno::ECONNREFUSED, Reason::Refused),
        (Errno::ECONNRESET, Reason::Reset),
        (Errno::EPIPE, Reason::Closed),
        (Errno::EADDRNOTAVAIL, Reason::VipMissing), // from bind(2), see above
    ];
    let reason = known.into_iter().find(|(known, _)| *known == errno).map(|(_, reason)| reason);
    Some(Trouble::Fail(reason.unwrap_or(Reason::Os(errno))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_kernel_have_their_meaning() {
        let fail = |reason| Some(Trouble::Fail(reason));
        for (errno, want) in [
            (Errno::EMFILE, Some(Trouble::Skip(Shortage::Files))),
            (Errno::ENFILE, Some(Trouble::Skip(Shortage::Files))),
            (Errno::ENOMEM, Some(Trouble::Skip(Shortage::Memory))),
            (Errno::ENOBUFS, Some(Trouble::Skip(Shortage::Memory))),
            (Errno::EADDRINUSE, Some(Trouble::Skip(Shortage::Ports))),
            (Errno::EADDRNOTAVAIL, fail(Reason::VipMissing)),
            (Errno::ECONNREFUSED, fail(Reason::Refused)),
            (Errno::EPIPE, fail(Reason::Closed)),
            (Errno::EPERM, fail(Reason::Os(Errno::EPERM))),
            (Errno::ETIMEDOUT, Some(Trouble::TimedOut(Waiting::Connection))),
        ] {
            assert_eq!(of_kernel(&io::Error::from_raw_os_error(errno as i32)), want);
        }
        assert_eq!(of_kernel(&io::Error::other("no errno")), None);
    }
}
