//! What was on a router's link to the host that dies: when its last packet came, its last BFD packet, and when the router noticed.
//!
//! Touches a tcpdump at the router; [`moments`] is pure. Times are the kernel's capture times. BFD: RFC 5880 section 4.1, port 3784 of
//! RFC 5881 section 4.

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::time::SystemTime;

use anyhow::{Context, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lab::Node;
use pcap_file::PcapError;
use pcap_file::pcap::PcapReader;
use scene::capture::Capture;

/// The destination port of BFD's control packets over one hop.
const BFD: u16 = 3784;
/// The state Down in a control packet.
const DOWN: u8 = 1;
/// The interface of both routers on which [`crate::stage::FRONTEND`] is alone.
const INTERFACE: &str = "eth2";

/// A packet of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    /// One of the host, not of BFD.
    OfTheHost,
    /// A BFD packet of the host.
    BfdOfTheHost,
    /// A BFD packet of the router, which says that it considers the host dead.
    DownOfTheRouter,
}

/// What was captured, each with its time.
pub(super) type Packets = Vec<(SystemTime, Packet)>;

/// The times of a death at one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moments {
    /// The last packet of the host, of whatever kind.
    pub(super) last: SystemTime,
    /// The last BFD packet of the host; none without BFD.
    pub(super) last_bfd: Option<SystemTime>,
    /// The first BFD packet of the router with the state Down after that; none without BFD.
    pub(super) down: Option<SystemTime>,
}

/// Captures what the host at this address sends, from the VIP too, and BFD in both directions.
///
/// # Errors
/// When tcpdump does not start.
pub(super) fn listen(router: &Node, host: IpAddr, vip: &str) -> Result<Capture<Result<Packets>>> {
    let wanted = format!("udp dst port {BFD} or src host {host} or src host {vip}");
    // Whole packets, because the reader refuses those that were cut; a slot of the kernel's buffer has the size of the largest one.
    let arguments = "--immediate-mode -U -n -s 65535 -B 32768 -w -".split(' ');
    let arguments: Vec<&str> =
        ["-i", INTERFACE].into_iter().chain(arguments).chain([wanted.as_str()]).collect();
    Capture::start(router, &arguments, move |output| read(output, host))
}

/// Reads a capture to its end. Its last packet may be incomplete.
///
/// # Errors
/// When the input is not a capture.
fn read(capture: impl Read, host: IpAddr) -> Result<Packets> {
    let mut reader = PcapReader::new(capture)?;
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = match packet {
            Err(PcapError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => break,
            packet => packet.context("the capture of the link")?,
        };
        let at = SystemTime::UNIX_EPOCH + packet.timestamp;
        packets.extend(packet_of(&packet.data, host).map(|packet| (at, packet)));
    }
    Ok(packets)
}

/// What a frame is; none: something else.
fn packet_of(frame: &[u8], host: IpAddr) -> Option<Packet> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else { return None };
    let of_the_host = IpAddr::V4(ip.header().source_addr()) == host;
    let bfd = match &sliced.transport {
        Some(TransportSlice::Udp(udp)) if udp.destination_port() == BFD => Some(udp.payload()),
        _ => None,
    };
    match bfd {
        Some(_) if of_the_host => Some(Packet::BfdOfTheHost),
        // The state is in the upper two bits of the second octet.
        Some([_, second, ..]) => (second >> 6 == DOWN).then_some(Packet::DownOfTheRouter),
        Some(_) => None,
        None => Some(Packet::OfTheHost), // the filter lets nothing else pass
    }
}

/// The moments in a capture during which the host died.
///
/// # Errors
/// When there is no packet of the host, or with BFD none in which the router says that it is dead.
pub(super) fn moments(packets: &[(SystemTime, Packet)], bfd: bool) -> Result<Moments> {
    let newest = |of: &dyn Fn(Packet) -> bool| {
        packets.iter().filter(|(_, packet)| of(*packet)).map(|(at, _)| *at).max()
    };
    let last = newest(&|packet| packet != Packet::DownOfTheRouter).context("no packet of the host")?;
    if !bfd {
        return Ok(Moments { last, last_bfd: None, down: None });
    }
    let last_bfd = newest(&|packet| packet == Packet::BfdOfTheHost).context("no BFD packet of the host")?;
    let downs = packets.iter().filter(|(at, packet)| *packet == Packet::DownOfTheRouter && *at > last_bfd);
    let down =
        downs.map(|(at, _)| *at).min().context("no BFD packet of the router says that the host is dead")?;
    Ok(Moments { last, last_bfd: Some(last_bfd), down: Some(down) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A frame of Ethernet, IPv4 and UDP.
    fn frame(source: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(source, [10, 1, 1, 9], 255)
            .udp(50000, port);
        let mut octets = Vec::new();
        builder.write(&mut octets, payload).unwrap();
        octets
    }

    #[test]
    fn a_frame_is_of_the_host_or_says_that_it_is_dead() {
        let (host, router) = ([10, 1, 1, 1], [10, 1, 1, 0]);
        let bfd = |state: u8| [0x20, state << 6, 3, 24];
        for (octets, packet) in [
            (frame(host, BFD, &bfd(3)), Some(Packet::BfdOfTheHost)),
            (frame(host, BFD, &bfd(1)), Some(Packet::BfdOfTheHost)),
            (frame(router, BFD, &bfd(3)), None),
            (frame(router, BFD, &bfd(1)), Some(Packet::DownOfTheRouter)),
            (frame(router, BFD, &[0x20]), None),
            (frame([192, 0, 2, 80], 4000, &[]), Some(Packet::OfTheHost)),
            (frame(host, 4000, &[]), Some(Packet::OfTheHost)),
            (frame(host, BFD, &bfd(3))[..30].to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(packet_of(&octets, IpAddr::from(host)), packet, "{octets:?}");
        }
    }

    #[test]
    fn the_moments_are_the_last_packets_and_the_first_down_after_them() {
        let at = |ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let (other, bfd, down) = (Packet::OfTheHost, Packet::BfdOfTheHost, Packet::DownOfTheRouter);
        // The first Down is of the time in which the session began.
        let packets = [(5, down), (10, bfd), (50, bfd), (70, other), (72, other), (201, down), (900, down)];
        let packets = packets.map(|(ms, packet)| (at(ms), packet));
        let found = moments(&packets, true).unwrap();
        assert_eq!(found, Moments { last: at(72), last_bfd: Some(at(50)), down: Some(at(201)) });
        assert_eq!(
            moments(&packets[..3], true).unwrap_err().to_string(),
            "no BFD packet of the router says that the host is dead"
        );
        assert_eq!(moments(&packets[..1], false).unwrap_err().to_string(), "no packet of the host");
        let without = moments(&packets[3..5], false).unwrap();
        assert_eq!(without, Moments { last: at(72), last_bfd: None, down: None });
    }
}
