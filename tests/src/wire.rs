//! What a router's end of the links saw of BGP: tcpdump's capture, decoded by an independent parser.
//!
//! Times are the kernel's capture times.

use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bgpkit_parser::models::{AsnLength, BgpMessage};
use bgpkit_parser::parser::bgp::messages::parse_bgp_message;
use bytes::{Buf, Bytes, BytesMut};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;

use crate::log::Log;

/// The arguments of the tcpdump whose standard output [`read`] takes: BGP on every interface, written packet by packet.
pub const TCPDUMP: &[&str] = &[
    "tcpdump",
    "-i",
    "any",
    "-y",
    "LINUX_SLL",
    "--immediate-mode",
    "-U",
    "-n",
    // A slot of the kernel's buffer is as large as a packet may be: by default there is room for eight alone.
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
    /// Who sent it.
    pub from: IpAddr,
    /// The IP packet's TTL or hop limit.
    pub ttl: u8,
    /// Its octets, header included.
    pub octets: Bytes,
    /// What the independent parser made of it.
    pub parsed: Result<BgpMessage, String>,
}

/// Octets of one direction of one connection that are not yet a whole message.
struct Flow {
    next: u32,
    pending: BytesMut,
}

/// Reads a capture to its end, which comes when tcpdump ends.
///
/// # Errors
/// When what comes is no capture.
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
            continue; // sent again
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
            let octets = flow.pending.copy_to_bytes(length);
            let parsed = parse_bgp_message(&mut octets.clone(), false, &AsnLength::Bits32);
            log.push(Message { at, from, ttl, octets, parsed: parsed.map_err(|e| e.to_string()) });
        }
    }
    Ok(())
}

impl Message {
    /// Whether it is an UPDATE that withdraws `vip`.
    pub fn withdraws(&self, vip: IpAddr) -> bool {
        match &self.parsed {
            Ok(BgpMessage::Update(update)) => {
                let v6 = update.attributes.get_unreachable_nlri();
                let v6 = v6.iter().flat_map(|nlri| nlri.prefixes.iter());
                update.withdrawn_prefixes.iter().chain(v6).any(|prefix| prefix.prefix.addr() == vip)
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// Whether it is an UPDATE that announces `vip`.
    pub fn announces(&self, vip: IpAddr) -> bool {
        match &self.parsed {
            Ok(BgpMessage::Update(update)) => {
                let v6 = update.attributes.get_reachable_nlri();
                let v6 = v6.iter().flat_map(|nlri| nlri.prefixes.iter());
                update.announced_prefixes.iter().chain(v6).any(|prefix| prefix.prefix.addr() == vip)
            }
            Ok(_) | Err(_) => false,
        }
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

/// `after - before`, zero when the clock says otherwise.
pub fn between(before: SystemTime, after: SystemTime) -> Duration {
    after.duration_since(before).unwrap_or_default()
}
