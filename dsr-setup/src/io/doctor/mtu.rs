//! Sends echo requests of several sizes, which no router may fragment, to routers and clients.
//!
//! Touches raw sockets (raw(7)) and the clock, and blocks; needs CAP_NET_RAW. The packets have the host's own address, because the answer to one of
//! the VIP may go to another frontend.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use super::frames::{SHORTEST, is_late};
use super::{source_to, unseen};
use crate::doctor::observations::{MtuProbe, Observations, Question, Seen};
use crate::doctor::packet::{echo_reply, echo_request};
use crate::doctor::routing::{SIZES, SMALLEST};

/// The most hosts that are probed.
const MOST: usize = 8;
/// How often each size is sent, because one can be lost.
const ROUNDS: usize = 3;
/// The time for the answers to each round.
const PATIENCE: Duration = Duration::from_millis(350);
/// The longest answer that is read: the header of IPv4 and that of ICMP.
const HEAD: usize = 128;

/// The sizes that were answered, for each host.
pub(super) fn probe(seen: &Observations, question: &Question) -> Seen<Vec<MtuProbe>> {
    let mut probes = Vec::new();
    let targets = targets(seen, question);
    for is_ipv4 in [true, false] {
        let of_family: Vec<&(IpAddr, String, u32)> =
            targets.iter().filter(|(to, ..)| to.is_ipv4() == is_ipv4).collect();
        // Without the right, this says so even if there is nobody to probe.
        let socket = match EchoSocket::open(is_ipv4) {
            Ok(socket) => socket,
            Err(error) if !is_ipv4 && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
            Err(error) => return Err(unseen(&error)),
        };
        probes.extend(family(&socket, &of_family));
    }
    Ok(probes)
}

fn family(socket: &EchoSocket, targets: &[&(IpAddr, String, u32)]) -> Vec<MtuProbe> {
    let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or(0);
    // The sequence number says which size of which host was answered.
    let mut sent: BTreeMap<u16, (IpAddr, u32)> = BTreeMap::new();
    for (to, _, mtu) in targets {
        let sizes: BTreeSet<u32> =
            SIZES.into_iter().filter(|size| size < mtu).chain([SMALLEST, *mtu]).collect();
        for size in sizes {
            sent.insert(u16::try_from(sent.len()).unwrap_or(u16::MAX), (*to, size));
        }
    }
    let mut answered: BTreeMap<IpAddr, BTreeSet<u32>> = BTreeMap::new();
    let is_open = |answered: &BTreeMap<IpAddr, BTreeSet<u32>>, (to, size): &(IpAddr, u32)| {
        !answered.get(to).is_some_and(|sizes| sizes.contains(size))
    };
    for _ in 0..ROUNDS {
        for (sequence, what) in sent.iter().filter(|(_, what)| is_open(&answered, what)) {
            socket.send(what.0, identifier, *sequence, what.1);
        }
        let deadline = Instant::now() + PATIENCE;
        while sent.values().any(|what| is_open(&answered, what)) {
            let Ok(Some((octets, from))) = socket.next(deadline) else { break };
            if let Some((found, sequence)) = echo_reply(&octets, from.is_ipv4())
                && found == identifier
                && let Some((to, size)) = sent.get(&sequence)
                && *to == from
            {
                answered.entry(*to).or_default().insert(*size);
            }
        }
    }
    let probe = |(to, interface, mtu): &&(IpAddr, String, u32)| MtuProbe {
        to: *to,
        interface: interface.clone(),
        mtu: *mtu,
        answered: answered.get(to).cloned().unwrap_or_default(),
    };
    targets.iter().map(probe).collect()
}

/// Who is probed, by which interface and with which MTU: clients, routers, directors, and the gateways of default routes.
fn targets(seen: &Observations, question: &Question) -> Vec<(IpAddr, String, u32)> {
    let gateways = seen
        .routes
        .iter()
        .filter(|route| route.to.prefix_len() == 0)
        .flat_map(|route| route.hops.iter().filter_map(|(_, gateway)| *gateway));
    let named = question.clients.iter().chain(&question.routers).chain(&question.directors).copied();
    let is_plain = |to: &IpAddr| match to {
        IpAddr::V4(_) => true,
        // The destination of a link-local address also needs an interface.
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    let all: BTreeSet<IpAddr> = named.chain(gateways).filter(is_plain).collect();
    let target = |to: IpAddr| {
        let interface = seen.interfaces_to(to).into_iter().next()?.to_owned();
        let mtu = seen.link(&interface)?.mtu;
        // Beyond this size a packet of IP has no length.
        (mtu > SMALLEST && mtu <= 65_535 && !seen.holds(to)).then_some((to, interface, mtu))
    };
    all.into_iter().filter_map(target).take(MOST).collect()
}

/// Two raw sockets of one family: one sends packets with their header, and one receives.
struct EchoSocket {
    sender: Socket,
    receiver: Socket,
}

impl EchoSocket {
    fn open(is_ipv4: bool) -> io::Result<EchoSocket> {
        let (domain, protocol) = match is_ipv4 {
            true => (Domain::IPV4, Protocol::ICMPV4),
            false => (Domain::IPV6, Protocol::ICMPV6),
        };
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let sender = Socket::new(domain, Type::RAW, Some(raw))?;
        if is_ipv4 {
            sender.set_header_included_v4(true)?;
        } else {
            sender.set_header_included_v6(true)?;
        }
        let receiver = Socket::new(domain, Type::RAW, Some(protocol))?;
        Ok(EchoSocket { sender, receiver })
    }

    /// Sends a request. One that the kernel refuses, for example because it knows a smaller MTU, counts as not answered.
    fn send(&self, to: IpAddr, identifier: u16, sequence: u16, size: u32) {
        let packet = source_to(to).and_then(|from| echo_request(from, to, identifier, sequence, size));
        if let Some(packet) = packet {
            let _ = self.sender.send_to(&packet, &SocketAddr::new(to, 0).into());
        }
    }

    /// Waits for a message of ICMP until the deadline; `None`: none came.
    fn next(&self, deadline: Instant) -> io::Result<Option<(Vec<u8>, IpAddr)>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.receiver.set_read_timeout(Some(left.max(SHORTEST)))?;
            let mut octets = vec![0; HEAD];
            let received = recvfrom::<SockaddrStorage>(self.receiver.as_raw_fd(), &mut octets);
            let (length, from) = match received.map_err(io::Error::from) {
                Ok(received) => received,
                Err(error) if is_late(&error) => continue,
                Err(error) => return Err(error),
            };
            octets.truncate(length);
            let v4 = || Some(IpAddr::V4(from.as_ref()?.as_sockaddr_in()?.ip()));
            let v6 = || Some(IpAddr::V6(from.as_ref()?.as_sockaddr_in6()?.ip()));
            if let Some(from) = v4().or_else(v6) {
                return Ok(Some((octets, from)));
            }
        }
    }
}
