//! Sockets for whole packets (packet(7)).
//!
//! Touches the network and the clock, and blocks; needs CAP_NET_RAW. A socket that receives sees the packets of all interfaces, also those that this host sends.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// ETH_P_ALL of linux/if_ether.h, in the order of the network.
const ALL: i32 = 0x0300;
/// The longest packet that is read; the rest of a longer one is cut off.
const LONGEST: usize = 2048;
/// The size of a buffer of the kernel, in octets.
const BUFFER: usize = 4 << 20;

/// The shortest time limit of a read: zero means none.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

/// The layer at which packets are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// With their Ethernet header.
    Frame,
    /// Without it: packets of IP.
    Packet,
}

/// A packet that was seen.
#[derive(Debug)]
pub(super) struct Received {
    /// Its octets.
    pub octets: Vec<u8>,
    /// The number of the interface.
    pub interface: u32,
    /// Whether this host sends it.
    pub is_outgoing: bool,
}

/// Receives packets.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: Socket,
}

impl Receiver {
    /// Opens the socket. An empty filter lets everything pass.
    pub(super) fn open(layer: Layer, filter: &[SockFilter]) -> io::Result<Receiver> {
        let kind = match layer {
            Layer::Frame => Type::RAW,
            Layer::Packet => Type::DGRAM,
        };
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(ALL)))?;
        if !filter.is_empty() {
            socket.attach_filter(filter)?;
        }
        let _ = socket.set_recv_buffer_size(BUFFER); // it only has to be large under load
        Ok(Receiver { socket })
    }

    /// Waits for a packet until the deadline; `None`: none came.
    pub(super) fn next(&self, deadline: Instant) -> io::Result<Option<Received>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left.max(SHORTEST)))?;
            let mut octets = vec![0; LONGEST];
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut octets).map_err(io::Error::from) {
                Ok((length, from)) => {
                    octets.truncate(length);
                    let interface = from.map_or(0, |from| from.ifindex());
                    return Ok(Some(Received {
                        octets,
                        interface: u32::try_from(interface).unwrap_or(0),
                        is_outgoing: from.is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING),
                    }));
                }
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a read ended by its time limit or by a signal.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Sends frames by any interface.
#[derive(Debug)]
pub(super) struct Sender {
    places: BTreeMap<String, LinkAddr>,
}

impl Sender {
    /// Reads the addresses that name interfaces.
    pub(super) fn open() -> io::Result<Sender> {
        let all = nix::ifaddrs::getifaddrs()?;
        let place = |interface: nix::ifaddrs::InterfaceAddress| {
            let address = interface.address?;
            Some((interface.interface_name, *address.as_link_addr()?))
        };
        Ok(Sender { places: all.filter_map(place).collect() })
    }

    /// Sends a frame by this interface.
    pub(super) fn send(&self, interface: &str, frame: &[u8]) -> io::Result<()> {
        let Some(place) = self.places.get(interface) else {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        };
        // Protocol 0: the socket receives nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        nix::sys::socket::bind(socket.as_raw_fd(), place)?;
        socket.send(frame).map(drop)
    }
}
