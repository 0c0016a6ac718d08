//! A TCP connection from the VIP to the VIP, and what it means when there is none.
//!
//! Touches the network. The socket is bound to the VIP, so that a probe fails when the VIP is not on this host, and never
//! asks another host that has it. A fixed target is asked from wherever the kernel says.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::trouble::{Trouble, of_kernel};
use crate::config::check::Place;
use crate::health::outcome::{Reason, Shortage, Shown};

/// Where a probe connects to, and from where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    from: Option<IpAddr>,
    to: SocketAddr,
}

impl Route {
    /// To `target`, or to the VIP and from it; at `port`, unless the target has another.
    pub(super) fn new(vip: IpAddr, target: Option<Place>, port: u16) -> Self {
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
    pub(super) async fn connect(&self) -> Result<TcpStream, Trouble> {
        self.try_connect().await.map_err(|error| match of_kernel(&error) {
            // A socket that is bound to no VIP misses none: no port was free.
            Some(Trouble::Fail(Reason::VipMissing)) if self.from.is_none() => Trouble::Skip(Shortage::Ports),
            Some(trouble) => trouble,
            None => Trouble::Fail(Reason::Other(Shown::new(&error.to_string()))),
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
