//! The packets that are sent and read: ARP (RFC 826), neighbour discovery (RFC 4861), echo (RFC 792, RFC 4443), and TCP's flags.
//!
//! Pure. Octets from the network give an answer or `None`, whatever they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::observations::Mac;

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;
const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// An Ethernet frame with an ARP request for `target`.
pub fn arp_request(own: Mac, from: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&BROADCAST[..], &own.0, &TYPE_ARP.to_be_bytes()].concat();
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]); // Ethernet, IPv4, request
    frame.extend(own.0);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// An Ethernet frame with a neighbour solicitation for `target` (RFC 4861 section 4.3), to its solicited-node address.
pub fn solicitation(own: Mac, from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let to = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1]); // the option with our Ethernet address
    message.extend(own.0);
    let sum = checksum_v6(from, to, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [&[0x33, 0x33, 0xff, a, b, c][..], &own.0, &TYPE_IPV6.to_be_bytes()].concat();
    frame.extend([0x60, 0, 0, 0, 0, u8::try_from(message.len()).unwrap_or(u8::MAX), ICMPV6, 255]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(message);
    frame
}

/// The address that a frame claims for an Ethernet address: in an ARP reply, or in a neighbour advertisement.
pub fn claim(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let payload = frame.get(ETHERNET..)?;
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let mac = |octets: &[u8]| octets.try_into().ok().map(Mac);
    match kind {
        TYPE_ARP => {
            let is_reply = payload.get(..8)? == [0, 1, 8, 0, 6, 4, 0, 2];
            let address: [u8; 4] = payload.get(14..18)?.try_into().ok()?;
            is_reply.then_some((address.into(), mac(payload.get(8..14)?)?))
        }
        TYPE_IPV6 => {
            // RFC 4861 section 7.1.2: a hop limit of 255 shows that no router has forwarded it.
            let is_icmp = payload.get(6..8)? == [ICMPV6, 255];
            let message = payload.get(IPV6_HEADER..)?;
            let address: [u8; 16] = message.get(8..24)?.try_into().ok()?;
            let is_advertisement = is_icmp && message.first() == Some(&ADVERTISEMENT);
            // An advertisement without the option came from the address of its frame.
            let target = message.get(24..26).filter(|option| *option == [2, 1]);
            let of = if target.is_some() { message.get(26..32)? } else { frame.get(6..12)? };
            is_advertisement.then_some((address.into(), mac(of)?))
        }
        _other => None,
    }
}

/// A packet with an echo request of `size` octets, with the header of IP. `sequence` is in the answer too.
pub fn echo_request(from: IpAddr, to: IpAddr, identifier: u16, sequence: u16, size: u32) -> Option<Vec<u8>> {
    let total = u16::try_from(size).ok()?;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = usize::from(total).checked_sub(20)?;
            let mut packet = vec![0x45, 0];
            packet.extend(total.to_be_bytes());
            packet.extend(sequence.to_be_bytes());
            packet.extend([0x40, 0, 64, 1, 0, 0]); // do not fragment, TTL 64, ICMP
            packet.extend(from.octets());
            packet.extend(to.octets());
            let mut message = echo(8, identifier, sequence, length)?;
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            packet.extend(message);
            Some(packet)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = total.checked_sub(40)?;
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend(length.to_be_bytes());
            packet.extend([ICMPV6, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let mut message = echo(128, identifier, sequence, length.into())?;
            let sum = checksum_v6(from, to, &message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            packet.extend(message);
            Some(packet)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn echo(kind: u8, identifier: u16, sequence: u16, length: usize) -> Option<Vec<u8>> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.resize(length.max(8), 0);
    (length >= 8).then_some(message)
}

/// The identifier and the sequence number of an echo reply. `message` is what a raw socket returns: with the header of IPv4, and without
/// that of IPv6.
pub fn echo_reply(message: &[u8], is_ipv4: bool) -> Option<(u16, u16)> {
    let (message, kind) = match is_ipv4 {
        true => (message.get(usize::from(message.first()? & 15) * 4..)?, 0),
        false => (message, 129),
    };
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    (message.first() == Some(&kind)).then_some((number(4)?, number(6)?))
}

/// A packet of IP, as far as it matters whether a VIP is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The source.
    pub from: IpAddr,
    /// The destination.
    pub to: IpAddr,
    /// Of a TCP packet, both ports and the flags.
    pub tcp: Option<(u16, u16, u8)>,
}

/// The flag of a TCP segment that opens a connection.
pub const SYN: u8 = 2;
/// The flag of a reset.
pub const RST: u8 = 4;
/// The flag of an acknowledgement.
pub const ACK: u8 = 16;

/// Reads a packet of IP. Fragments and packets with extension headers have no TCP here.
pub fn header(packet: &[u8]) -> Option<Header> {
    let version = packet.first()? >> 4;
    let (from, to, protocol, transport): (IpAddr, IpAddr, u8, &[u8]) = match version {
        4 => {
            let length = usize::from(packet.first()? & 15) * 4;
            let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok();
            let is_first = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x1fff == 0;
            let transport = if is_first { packet.get(length..)? } else { &[] };
            (address(12)?.into(), address(16)?.into(), *packet.get(9)?, transport)
        }
        6 => {
            let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok();
            (address(8)?.into(), address(24)?.into(), *packet.get(6)?, packet.get(IPV6_HEADER..)?)
        }
        _other => return None,
    };
    let number = |at: usize| Some(u16::from_be_bytes(transport.get(at..at + 2)?.try_into().ok()?));
    let tcp = || Some((number(0)?, number(2)?, *transport.get(13)?));
    Some(Header { from, to, tcp: (protocol == 6).then(tcp).flatten() })
}

/// The Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(*high) << 8 | u32::from(*low),
        [high] => u32::from(*high) << 8,
        _other => 0,
    };
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// The checksum of ICMPv6, with its pseudo header (RFC 8200 section 8.1).
fn checksum_v6(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = [&from.octets()[..], &to.octets(), &length, &[0, 0, 0, ICMPV6]].concat();
    checksum(&[&head[..], message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_request_is_no_claim_and_a_reply_is_one() {
        let vip: Ipv4Addr = "192.0.2.80".parse().unwrap();
        let mut frame = arp_request(OWN, "10.0.0.1".parse().unwrap(), vip);
        assert_eq!((frame.len(), claim(&frame)), (42, None));
        frame[21] = 2;
        assert_eq!(claim(&frame), Some(("10.0.0.1".parse().unwrap(), OWN)));
    }

    #[test]
    fn an_advertisement_is_a_claim_of_its_target() {
        let vip: Ipv6Addr = "2001:db8::80".parse().unwrap();
        let mut frame = solicitation(OWN, "fe80::1".parse().unwrap(), vip);
        assert_eq!((frame.len(), claim(&frame)), (86, None));
        assert_eq!(&frame[..6], [0x33, 0x33, 0xff, 0, 0, 0x80]);
        frame[54] = ADVERTISEMENT;
        frame[78] = 2; // the option of the target
        assert_eq!(claim(&frame), Some((vip.into(), OWN)));
        frame[21] = 254;
        assert_eq!(claim(&frame), None, "a router has forwarded it");
    }

    #[test]
    fn the_checksum_over_a_message_with_its_checksum_is_zero() {
        let (from, to) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let packet = echo_request(from, to, 7, 9, 1280).unwrap();
        let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else { unreachable!() };
        assert_eq!((packet.len(), checksum_v6(from, to, &packet[40..])), (1280, 0));
        let packet =
            echo_request("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 7, 9, 85).unwrap();
        assert_eq!((packet.len(), checksum(&packet[20..])), (85, 0));
    }

    #[test]
    fn an_echo_reply_has_both_numbers() {
        let mut packet =
            echo_request("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 7, 9, 84).unwrap();
        assert_eq!(echo_reply(&packet, true), None, "a request is no reply");
        packet[20] = 0;
        assert_eq!(echo_reply(&packet, true), Some((7, 9)));
        assert_eq!(echo_reply(&[129, 0, 0, 0, 0, 7, 0, 9], false), Some((7, 9)));
        assert_eq!(echo_reply(&[129, 0, 0, 0, 0, 7], false), None);
    }

    #[test]
    fn a_segment_is_read_with_its_ports_and_flags() {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 80];
        packet.extend([0x1f, 0x90, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, SYN, 0, 0, 0, 0, 0, 0]);
        let want = Header {
            from: "10.0.0.1".parse().unwrap(),
            to: "192.0.2.80".parse().unwrap(),
            tcp: Some((8080, 80, SYN)),
        };
        assert_eq!(header(&packet), Some(want));
        packet[7] = 1;
        assert_eq!(header(&packet), Some(Header { tcp: None, ..want }), "a later fragment");
    }

    #[test]
    fn no_octets_are_fatal() {
        let all = solicitation(OWN, "fe80::1".parse().unwrap(), "2001:db8::80".parse().unwrap());
        for end in 0..all.len() {
            let _ = (claim(&all[..end]), header(&all[..end]), echo_reply(&all[..end], true));
            let _ = (header(&all[end..]), echo_reply(&all[end..], false));
        }
    }
}
