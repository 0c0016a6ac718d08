//! Asks the kernel for listening TCP sockets with sock_diag(7), as `ss` does.
//!
//! Touches netlink (NETLINK_SOCK_DIAG), and needs no privilege. The kernel processes each request within the call that sends it,
//! and each part of a dump within the call that receives the part before. So no call here waits.
//!
//! ```text
//! look-up: inet_diag_req_v2{ source VIP:port, destination 0, interface lo or the VRF }
//!                                                             → the socket that a SYN from this host would meet, or ENOENT
//! dump:    inet_diag_req_v2{ states LISTEN }                  → every socket that listens, in parts, and NLMSG_DONE
//! ```
//!
//! In a VRF, the kernel also reports a socket that is bound to no device, even if `tcp_l3mdev_accept` is 0 and the socket would not get
//! the SYN. So the device in the answer is compared ([`ListenerScope`](crate::health::watch::ListenerScope)).

use std::io;
use std::net::IpAddr;

use dsr_setup::io::sock_diag;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage, TCP_LISTEN};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::health::watch::{Listener, ListenerScopes, LookResult, ServedPorts, VipPort};

/// INET_DIAG_NOCOOKIE: whichever socket it is.
const ANY_SOCKET: [u8; 8] = [0xff; 8];
/// The number of requests in one send; their answers fit into the socket's buffer.
const BATCH: usize = 64;
/// The size of that buffer in octets. The kernel limits it to net.core.rmem_max.
const BUFFER: i32 = 1 << 20;
/// The size of the largest part of a dump, in octets.
const PART: usize = 32 << 10;

/// Why the listeners cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// The socket cannot be opened, or the kernel returns an error.
    #[error("sock_diag: {0}")]
    Socket(#[from] io::Error),
    /// The kernel has no tcp_diag.
    #[error("the kernel's module `tcp_diag` is not loaded, and could not be")]
    NoTcp,
    /// The answer is not a valid message.
    #[error("sock_diag: the kernel's answer was not understood")]
    Garbled,
}

/// The answer to one question.
#[derive(Debug, Clone, Copy)]
enum SocketAnswer {
    /// A socket listens, at this address.
    Listener(IpAddr),
    /// None.
    Nothing,
    /// It is not known.
    Unknown,
}

/// A socket for queries.
pub struct Diag {
    socket: Socket,
    sequence: u32,
    requests: Vec<u8>,
    part: Vec<u8>,
}

impl Diag {
    /// Opens the socket and makes one query. This distinguishes a kernel without tcp_diag from a host without listeners: for a
    /// look-up, both return ENOENT.
    ///
    /// # Errors
    /// When the listeners cannot be seen this way.
    pub fn open() -> Result<Diag, DiagError> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.set_cap_ack(true)?;
        socket.set_rx_buf_sz(BUFFER)?;
        let mut diag = Diag { socket, sequence: 0, requests: Vec::new(), part: Vec::with_capacity(PART) };
        match diag.listeners(SocketId::new_v4(), &mut |_| {}) {
            Err(DiagError::Socket(error)) if error.raw_os_error() == Some(libc::ENOENT) => {
                Err(DiagError::NoTcp)
            }
            other => other.map(|()| diag),
        }
    }

    /// Asks for each pair which socket would get a connection; if the answer is missing, the result is unknown.
    ///
    /// # Errors
    /// When the query fails.
    pub fn look_up(
        &mut self,
        pairs: &[VipPort],
        scopes: &ListenerScopes,
    ) -> Result<Vec<LookResult>, DiagError> {
        let found = self.sockets(pairs, scopes)?;
        Ok(found
            .into_iter()
            .map(|found| match found {
                SocketAnswer::Listener(_) => LookResult::Listens,
                SocketAnswer::Nothing => LookResult::Nothing,
                SocketAnswer::Unknown => LookResult::Unknown,
            })
            .collect())
    }

    /// Asks for each pair at which address the socket listens that would get a connection; `None`: nothing listens, or it is not known.
    ///
    /// # Errors
    /// When the query fails.
    pub fn listening_addresses(&mut self, pairs: &[VipPort]) -> Result<Vec<Option<IpAddr>>, DiagError> {
        let found = self.sockets(pairs, &ListenerScopes::default())?;
        Ok(found
            .into_iter()
            .map(|found| match found {
                SocketAnswer::Listener(address) => Some(address),
                SocketAnswer::Nothing | SocketAnswer::Unknown => None,
            })
            .collect())
    }

    fn sockets(
        &mut self,
        pairs: &[VipPort],
        scopes: &ListenerScopes,
    ) -> Result<Vec<SocketAnswer>, DiagError> {
        let mut all = vec![SocketAnswer::Unknown; pairs.len()];
        for (pairs, all) in pairs.chunks(BATCH).zip(all.chunks_mut(BATCH)) {
            self.requests.clear();
            let first = self.sequence.wrapping_add(1);
            for (vip, port) in pairs {
                let any = if vip.is_ipv4() { SocketId::new_v4() } else { SocketId::new_v6() };
                // Without its VRF, the answer is dropped below.
                let interface_id = scopes.of(*vip).unwrap_or_default().device;
                let socket = SocketId { source_address: *vip, source_port: *port, interface_id, ..any };
                self.request(socket, NLM_F_REQUEST);
            }
            self.socket.send(&self.requests, libc::MSG_DONTWAIT)?;
            // Each request has one answer, in the same order, and all answers are available.
            for _ in pairs {
                if !self.receive()? {
                    break;
                }
                for message in messages(&self.part) {
                    let message = message?;
                    let place = message.header.sequence_number.wrapping_sub(first);
                    let place = usize::try_from(place).ok();
                    let Some((found, (vip, _))) =
                        place.and_then(|place| Some((all.get_mut(place)?, pairs.get(place)?)))
                    else {
                        continue;
                    };
                    let Some(scope) = scopes.of(*vip) else { continue };
                    *found = match message.payload {
                        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket))
                            if socket.header.state == TCP_LISTEN =>
                        {
                            let SocketId { source_address, interface_id, .. } = socket.header.socket_id;
                            match scope.reaches(interface_id) {
                                true => SocketAnswer::Listener(source_address),
                                false => SocketAnswer::Nothing,
                            }
                        }
                        NetlinkPayload::Error(error) if error.raw_code() == -libc::ENOENT => {
                            SocketAnswer::Nothing
                        }
                        NetlinkPayload::Done(_)
                        | NetlinkPayload::Error(_)
                        | NetlinkPayload::Noop
                        | NetlinkPayload::Overrun(_)
                        | NetlinkPayload::InnerMessage(_)
                        | _ => SocketAnswer::Unknown,
                    };
                }
            }
        }
        Ok(all)
    }

    /// Dumps all listening sockets; returns which of the pairs they serve.
    ///
    /// # Errors
    /// When the query fails or the dump is incomplete. Then nothing is known about any pair.
    pub fn dump(&mut self, pairs: &[VipPort], scopes: &ListenerScopes) -> Result<Vec<LookResult>, DiagError> {
        let mut served = ServedPorts::new(pairs.iter().copied(), scopes);
        if pairs.iter().any(|(vip, _)| vip.is_ipv4()) {
            self.listeners(SocketId::new_v4(), &mut |listener| served.add(listener))?;
        }
        // The IPv6 sockets are always needed, because they may accept IPv4 too.
        match self.listeners(SocketId::new_v6(), &mut |listener| served.add(listener)) {
            Err(DiagError::Socket(error)) if error.raw_os_error() == Some(libc::ENOENT) => {} // a host without IPv6
            other => other?,
        }
        Ok(served.take())
    }

    fn listeners(&mut self, any: SocketId, found: &mut impl FnMut(Listener)) -> Result<(), DiagError> {
        self.requests.clear();
        self.request(any, NLM_F_REQUEST | NLM_F_DUMP);
        self.socket.send(&self.requests, libc::MSG_DONTWAIT)?;
        loop {
            if !self.receive()? {
                return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
            }
            for message in messages(&self.part) {
                let message = message?;
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                let code = match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                        listener(&socket).into_iter().for_each(&mut *found);
                        continue;
                    }
                    NetlinkPayload::Done(done) => done.code,
                    NetlinkPayload::Error(error) => error.raw_code(),
                    NetlinkPayload::Noop
                    | NetlinkPayload::Overrun(_)
                    | NetlinkPayload::InnerMessage(_)
                    | _ => continue,
                };
                return match code {
                    0 => Ok(()),
                    code => Err(io::Error::from_raw_os_error(code.saturating_neg()).into()),
                };
            }
        }
    }

    /// Appends a request for the listeners that `socket` describes.
    fn request(&mut self, socket: SocketId, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(SockDiagMessage::InetRequest(InetRequest {
            family: if socket.source_address.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id: SocketId { cookie: ANY_SOCKET, ..socket },
        }));
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let at = self.requests.len();
        self.requests.resize(at + message.buffer_len(), 0);
        message.serialize(&mut self.requests[at..]);
    }

    /// Receives an available message; returns whether there was one.
    fn receive(&mut self) -> Result<bool, DiagError> {
        self.part.clear();
        match self.socket.recv(&mut self.part, libc::MSG_DONTWAIT) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The messages of one datagram.
pub(super) fn messages(
    octets: &[u8],
) -> impl Iterator<Item = Result<NetlinkMessage<SockDiagMessage>, DiagError>> {
    sock_diag::messages(octets).map(|message| message.map_err(|_| DiagError::Garbled))
}

/// The listener that an answer describes; `None`: it is none.
fn listener(socket: &InetResponse) -> Option<Listener> {
    let SocketId { source_address: address, source_port: port, interface_id: bound_to, .. } =
        socket.header.socket_id;
    let v6only = socket.nlas.iter().any(|attribute| matches!(attribute, Nla::SkV6Only(true)));
    (socket.header.state == TCP_LISTEN).then_some(Listener { address, port, v6only, bound_to })
}
