//! Packets that no TCP stack sends: the client makes them for a raw socket, and sees what comes back.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::{CLIENT_V4, CLIENT_V6, PATIENCE, PORT, Site};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// A TCP segment without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The client's port.
    pub port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// The DSCP, 0 to 63; of one that arrived, 0.
    pub dscp: u8,
}

/// A segment that arrived from the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    pub segment: Segment,
    /// How many octets of data it has.
    pub length: u32,
}

/// The client's raw socket, which sends to a VIP and gets a copy of everything that comes from there.
pub struct Raw {
    socket: Socket,
    vip: IpAddr,
}

impl Raw {
    pub fn new(site: &Site, vip: IpAddr, protocol: Protocol) -> Raw {
        site.client.run(move || {
            let socket = Socket::new(Domain::for_address(SocketAddr::new(vip, 0)), Type::RAW, Some(protocol));
            let socket = socket.unwrap();
            socket.set_recv_buffer_size(4 << 20).unwrap();
            Raw { socket, vip }
        })
    }

    pub fn tcp(site: &Site, vip: IpAddr) -> Raw {
        Raw::new(site, vip, Protocol::TCP)
    }

    /// Sends a segment to the service.
    pub fn send(&self, segment: Segment) {
        let tos = u32::from(segment.dscp) << 2;
        match self.vip {
            IpAddr::V4(_) => self.socket.set_tos_v4(tos).unwrap(),
            IpAddr::V6(_) => self.socket.set_tclass_v6(tos).unwrap(),
        }
        let mut octets = [0; 20];
        octets[0..2].copy_from_slice(&segment.port.to_be_bytes());
        octets[2..4].copy_from_slice(&PORT.to_be_bytes());
        octets[4..8].copy_from_slice(&segment.seq.to_be_bytes());
        octets[8..12].copy_from_slice(&segment.ack.to_be_bytes());
        octets[12] = 5 << 4;
        octets[13] = segment.flags;
        octets[14..16].copy_from_slice(&1024_u16.to_be_bytes());
        let sum = self.checksum(&octets, 6);
        octets[16..18].copy_from_slice(&sum.to_be_bytes());
        self.send_octets(&octets);
    }

    /// Sends what follows the header of IP.
    pub fn send_octets(&self, octets: &[u8]) {
        self.socket.send_to(octets, &SocketAddr::new(self.vip, 0).into()).unwrap();
    }

    /// The Internet checksum of a packet to the VIP with its pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    fn checksum(&self, octets: &[u8], protocol: u8) -> u16 {
        let mut all = match self.vip {
            IpAddr::V4(vip) => [CLIENT_V4.octets(), vip.octets()].concat(),
            IpAddr::V6(vip) => [CLIENT_V6.octets(), vip.octets()].concat(),
        };
        all.extend([0, protocol]);
        all.extend(u16::try_from(octets.len()).unwrap().to_be_bytes());
        all.extend(octets);
        checksum(&all)
    }

    /// Reads what comes from the VIP to one of these ports: waits for the first segment, and then until this time has passed since
    /// the last one.
    pub fn arrived(&self, ports: impl Fn(u16) -> bool, quiet: Duration) -> Vec<Arrived> {
        let mut found = Vec::new();
        let mut end = Instant::now() + PATIENCE;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut octets = [0; 2048];
            let Ok(length) = (&self.socket).read(&mut octets) else { continue };
            // A raw socket of IPv4 returns the header, one of IPv6 does not.
            let head = if self.vip.is_ipv4() { usize::from(octets[0] & 15) * 4 } else { 0 };
            let tcp = &octets[head..length];
            let u16_at = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
            let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
            let length = tcp.len() - usize::from(tcp[12] >> 4) * 4;
            let segment =
                Segment { port: u16_at(2), seq: u32_at(4), ack: u32_at(8), flags: tcp[13], dscp: 0 };
            if u16_at(0) == PORT && ports(segment.port) {
                found.push(Arrived { segment, length: u32::try_from(length).unwrap() });
                end = Instant::now() + quiet;
            }
        }
        found
    }

    /// Sends a "packet too big" for a segment of the service to this port, with this sequence number and this MTU.
    pub fn send_too_big(&self, port: u16, seq: u32, mtu: u16) {
        self.send_too_big_for(6, PORT, port, seq, mtu);
    }

    /// As [`Raw::send_too_big`], for any protocol and any port of the VIP.
    pub fn send_too_big_for(&self, protocol: u8, service: u16, port: u16, seq: u32, mtu: u16) {
        let ports = [service.to_be_bytes(), port.to_be_bytes()].concat();
        let inner = [&ports[..], &seq.to_be_bytes()].concat();
        let mut octets = match self.vip {
            IpAddr::V4(vip) => {
                // Destination unreachable, fragmentation needed (RFC 1191 section 4).
                let mut octets = vec![3, 4, 0, 0, 0, 0];
                octets.extend(mtu.to_be_bytes());
                octets.extend([0x45, 0, 5, 0xdc, 0, 0, 0x40, 0, 63, protocol, 0, 0]);
                octets.extend([vip.octets(), CLIENT_V4.octets()].concat());
                octets.extend(inner);
                octets
            }
            IpAddr::V6(vip) => {
                // Packet too big (RFC 4443 section 3.2); the kernel writes its checksum.
                let mut octets = vec![2, 0, 0, 0, 0, 0];
                octets.extend(mtu.to_be_bytes());
                octets.extend([0x60, 0, 0, 0, 5, 0xdc, protocol, 63]);
                octets.extend([vip.octets(), CLIENT_V6.octets()].concat());
                octets.extend(inner);
                octets.extend([0; 8]);
                octets
            }
        };
        if self.vip.is_ipv4() {
            let sum = checksum(&octets);
            octets[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        self.send_octets(&octets);
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
