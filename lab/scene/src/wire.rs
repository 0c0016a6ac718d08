//! BGP as it arrived at a router's end of the links: tcpdump's capture, cut into messages.
//!
//! Times are the kernel's capture times. Only the prefixes of an UPDATE are read (RFC 4271 §4.3, RFC 4760); the end-to-end tests
//! compare them with what an independent parser reads.

use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;

use crate::log::{Dated, Log};

/// The arguments of the tcpdump whose standard output [`read`] takes: BGP on every interface, written packet by packet.
pub const TCPDUMP: &[&str] = &[
    "-i",
    "any",
    "-y",
    "LINUX_SLL",
    "--immediate-mode",
    "-U",
    "-n",
    // A slot of the kernel's buffer has the size of the largest packet: by default there is room for only eight packets.
    "-s",
    "65535",
    "-B",
    "32768",
    "-w",
    "-",
    "tcp port 179",
];

/// A BGP message on the wire.
#[derive(Debug, Clone)]
pub struct Message {
    /// When its last octet was captured.
    pub at: SystemTime,
    /// The sender.
    pub from: IpAddr,
    /// The IP packet's TTL or hop limit.
    pub ttl: u8,
    /// Its octets, header included.
    pub octets: Bytes,
}

/// The addresses of the prefixes in an UPDATE, whatever their lengths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Withdrawn routes.
    pub withdrawn: Vec<IpAddr>,
    /// Announced routes.
    pub announced: Vec<IpAddr>,
}

/// The type of an OPEN message (RFC 4271 §4.1).
pub const OPEN: u8 = 1;
/// The type of an UPDATE message.
pub const UPDATE: u8 = 2;
/// The type of a NOTIFICATION message.
pub const NOTIFICATION: u8 = 3;
/// The type of a ROUTE-REFRESH message (RFC 2918).
pub const ROUTE_REFRESH: u8 = 5;
const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;
const EXTENDED_LENGTH: u8 = 0x10;
/// The address family number of IPv4.
const IPV4: usize = 1;

/// Octets of one direction of one connection that are not yet a whole message.
struct Flow {
    next: u32,
    pending: BytesMut,
}

/// Reads a capture to its end, which comes when tcpdump ends.
///
/// # Errors
/// When the input is not a capture.
pub fn read(capture: impl Read, log: &Log<Message>) -> anyhow::Result<()> {
    let mut reader = PcapReader::new(capture)?;
    let mut flows: HashMap<(IpAddr, u16, u16), Flow> = HashMap::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        let at = SystemTime::UNIX_EPOCH + packet.timestamp;
        let Ok(sliced) = SlicedPacket::from_linux_sll(&packet.data) else { continue };
        let (from, ttl) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => (IpAddr::V4(ip.header().source_addr()), ip.header().ttl()),
            Some(NetSlice::Ipv6(ip)) => (IpAddr::V6(ip.header().source_addr()), ip.header().hop_limit()),
            _ => continue,
        };
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { continue };
        let key = (from, tcp.source_port(), tcp.destination_port());
        let sequence = tcp.sequence_number();
        if tcp.syn() {
            flows.insert(key, Flow { next: sequence.wrapping_add(1), pending: BytesMut::new() });
            continue;
        }
        // A capture that starts within a session starts at a segment, which is where messages start.
        let flow = flows.entry(key).or_insert(Flow { next: sequence, pending: BytesMut::new() });
        if sequence.wrapping_sub(flow.next) > u32::MAX / 2 {
            continue; // retransmitted
        }
        if sequence != flow.next {
            flow.pending.clear(); // the capture lost a packet: what follows is whole again
        }
        flow.next = sequence.wrapping_add(u32::try_from(tcp.payload().len())?);
        flow.pending.extend_from_slice(tcp.payload());
        while flow.pending.len() >= 19 {
            let length = usize::from(u16::from_be_bytes([flow.pending[16], flow.pending[17]])).max(19);
            if flow.pending.len() < length {
                break;
            }
            log.push(Message { at, from, ttl, octets: flow.pending.copy_to_bytes(length) });
        }
    }
    Ok(())
}

impl Dated for Message {
    fn at(&self) -> SystemTime {
        self.at
    }
}

impl Message {
    /// The type of the message, such as [`OPEN`].
    pub fn kind(&self) -> u8 {
        self.octets[18] // the log has only messages with a whole header of 19 octets
    }

    /// Whether it is an UPDATE that withdraws `vip`.
    pub fn withdraws(&self, vip: IpAddr) -> bool {
        self.prefixes().is_some_and(|prefixes| prefixes.withdrawn.contains(&vip))
    }

    /// Whether it is an UPDATE that announces `vip`.
    pub fn announces(&self, vip: IpAddr) -> bool {
        self.prefixes().is_some_and(|prefixes| prefixes.announced.contains(&vip))
    }

    /// The withdrawn and announced prefixes of an UPDATE. `None`: it is not an UPDATE, or it is malformed.
    pub fn prefixes(&self) -> Option<Prefixes> {
        let mut body = self.octets.get(19..).filter(|_| self.kind() == UPDATE)?;
        let mut prefixes = Prefixes::default();
        let withdrawn = block(&mut body)?;
        read_addresses(withdrawn, 4, &mut prefixes.withdrawn)?;
        let mut attributes = block(&mut body)?;
        read_addresses(body, 4, &mut prefixes.announced)?;
        while !attributes.is_empty() {
            let [flags, kind] = *take(&mut attributes, 2)? else { return None };
            let long = flags & EXTENDED_LENGTH != 0;
            let length =
                if long { two(&mut attributes)? } else { usize::from(*take(&mut attributes, 1)?.first()?) };
            let mut value = take(&mut attributes, length)?;
            if kind != MP_REACH_NLRI && kind != MP_UNREACH_NLRI {
                continue;
            }
            let width = if two(&mut value)? == IPV4 { 4 } else { 16 };
            take(&mut value, 1)?; // the SAFI
            if kind == MP_UNREACH_NLRI {
                read_addresses(value, width, &mut prefixes.withdrawn)?;
            } else {
                let next_hop = usize::from(*take(&mut value, 1)?.first()?);
                take(&mut value, next_hop + 1)?; // and a reserved octet
                read_addresses(value, width, &mut prefixes.announced)?;
            }
        }
        Some(prefixes)
    }

    /// Error code and subcode, if it is a NOTIFICATION (RFC 4271 §4.5), and its data.
    pub fn notification(&self) -> Option<(u8, u8, &[u8])> {
        match self.octets.as_ref() {
            [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, 3, code, subcode, data @ ..] => {
                Some((*code, *subcode, data))
            }
            _ => None,
        }
    }
}

/// `after - before`, or zero if the clock was set back.
pub fn between(before: SystemTime, after: SystemTime) -> Duration {
    after.duration_since(before).unwrap_or_default()
}

/// The next `length` octets.
fn take<'a>(octets: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    octets.split_off(..length)
}

/// A number of two octets.
fn two(octets: &mut &[u8]) -> Option<usize> {
    take(octets, 2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]))
}

/// A block with its length in front.
fn block<'a>(octets: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = two(octets)?;
    take(octets, length)
}

/// Reads prefixes of a family whose addresses have `width` octets: a length in bits, and as many octets as that takes.
fn read_addresses(mut octets: &[u8], width: usize, addresses: &mut Vec<IpAddr>) -> Option<()> {
    while !octets.is_empty() {
        let bits = usize::from(*take(&mut octets, 1)?.first()?);
        let written = take(&mut octets, bits.div_ceil(8))?;
        let mut address = [0; 16];
        address.get_mut(..width)?.get_mut(..written.len())?.copy_from_slice(written);
        let [a, b, c, d, ..] = address;
        addresses.push(if width == 4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(address) });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Message {
        let length = u16::try_from(19 + body.len()).unwrap_or(0).to_be_bytes();
        let octets = [&[0xff; 16], length.as_slice(), &[kind], body].concat();
        let from = IpAddr::from([10, 1, 1, 1]);
        Message { at: SystemTime::UNIX_EPOCH, from, ttl: 255, octets: octets.into() }
    }

    #[test]
    fn the_prefixes_of_an_update_are_read_in_both_families() {
        let vip = IpAddr::from([192, 0, 2, 80]);
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80]);
        let IpAddr::V6(octets) = v6 else { unreachable!() };
        let withdrawal = message(UPDATE, &[0, 5, 32, 192, 0, 2, 80, 0, 0]);
        assert!(withdrawal.withdraws(vip) && !withdrawal.announces(vip));
        let announcement = message(UPDATE, &[0, 0, 0, 4, 0x40, 1, 1, 0, 32, 192, 0, 2, 80]);
        assert!(announcement.announces(vip) && !announcement.withdraws(vip));

        let nlri = [&[128], octets.octets().as_slice()].concat();
        let reach = [&[0, 2, 1, 4, 9, 9, 9, 9, 0], nlri.as_slice()].concat();
        let unreach = [&[0, 2, 1], nlri.as_slice()].concat();
        for (kind, value) in [(MP_REACH_NLRI, reach), (MP_UNREACH_NLRI, unreach)] {
            let length = u8::try_from(value.len()).unwrap_or(0);
            let attribute = [&[0x90, kind, 0, length], value.as_slice()].concat();
            let attributes = [&[0, 0, 0, length + 4], attribute.as_slice()].concat();
            let update = message(UPDATE, &attributes);
            assert_eq!(update.announces(v6), kind == MP_REACH_NLRI);
            assert_eq!(update.withdraws(v6), kind == MP_UNREACH_NLRI);
            let broken = message(UPDATE, &attributes[..attributes.len() - 1]);
            assert_eq!(broken.prefixes(), None);
        }
        assert_eq!(message(4, &[]).prefixes(), None);
    }
}
