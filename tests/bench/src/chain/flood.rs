//! TCP segments without a connection, as an outsider sends them: bogus ACKs to the VIP, from the client's addresses.
//!
//! Touches a raw socket in the client's network namespace. [`segment`] is pure: RFC 791 section 3.1, RFC 9293 section 3.1.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::gettid;
use socket2::{Domain, Protocol, Socket, Type};

use super::site::{Site, VIP};
use crate::death::chrt;
use crate::results::chain::FloodRate;

/// Packets between two looks at the clock.
const BATCH: u64 = 32;
/// IPPROTO_RAW: only for sending, with a header of IPv4 that the sender writes (raw(7)).
const RAW: i32 = 255;
const ACK: u8 = 16;

/// A flood that is running.
pub(super) struct Flood {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<Result<Result<()>, lab::Error>>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    sent: AtomicU64,
}

impl Flood {
    /// Begins it, from the client.
    pub(super) fn begin(site: &Site, rate: FloodRate) -> Result<Flood> {
        let shared = Arc::new(Shared::default());
        let Some(packets) = rate.packets() else { return Ok(Flood { shared, sender: None }) };
        let (client, own, vip) = (site.node("client")?.clone(), shared.clone(), VIP.parse()?);
        let sender = thread::spawn(move || {
            client.in_netns(|| {
                chrt(&["-p"], gettid())?; // a flood does not wait until the hosts that it hits have time
                send(vip, packets, &own).context("a bogus ACK")
            })
        });
        Ok(Flood { shared, sender: Some(sender) })
    }

    /// How many packets were sent until now.
    pub(super) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When packets could not be sent.
    pub(super) fn end(mut self) -> Result<()> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        match self.sender.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(sent)) => sent?,
            Some(Err(_)) => bail!("the thread of the flood panicked"),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// Sends until it is over, at most `rate` packets a second.
fn send(vip: Ipv4Addr, rate: u64, shared: &Shared) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
    let to = SocketAddr::from((vip, 0)).into();
    let begin = Instant::now();
    while !shared.is_over.load(Ordering::Relaxed) {
        let due = begin.elapsed().as_micros().saturating_mul(u128::from(rate)) / 1_000_000;
        if u128::from(shared.sent.load(Ordering::Relaxed)) > due {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        for _ in 0..BATCH {
            let source = Ipv4Addr::new(10, 9, 0, fastrand::u8(10..20)); // those of nodes/lan/client, but for that of wrk
            let port = fastrand::u16(1024..);
            let segment = segment(source, port, vip, fastrand::u32(..), fastrand::u32(..));
            match socket.send_to(&segment, &to) {
                Ok(_) => shared.sent.fetch_add(1, Ordering::Relaxed),
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => 0, // a queue is full
                Err(error) => return Err(error),
            };
        }
    }
    Ok(())
}

/// An ACK without data to port 80 of the VIP; the kernel writes the length and the checksum of its IPv4 header.
fn segment(source: Ipv4Addr, port: u16, vip: Ipv4Addr, seq: u32, ack: u32) -> [u8; 40] {
    let mut octets = [0; 40];
    octets[0] = 0x45; // version 4, a header of 5 words
    octets[6] = 0x40; // do not fragment
    octets[8] = 64;
    octets[9] = 6;
    octets[12..16].copy_from_slice(&source.octets());
    octets[16..20].copy_from_slice(&vip.octets());
    octets[20..22].copy_from_slice(&port.to_be_bytes());
    octets[22..24].copy_from_slice(&80_u16.to_be_bytes());
    octets[24..28].copy_from_slice(&seq.to_be_bytes());
    octets[28..32].copy_from_slice(&ack.to_be_bytes());
    octets[32] = 5 << 4;
    octets[33] = ACK;
    octets[34..36].copy_from_slice(&1024_u16.to_be_bytes());
    let pseudo = [0, 6, 0, 20]; // zero, the protocol, the length of the segment
    let words = octets[12..].chunks(2).chain(pseudo.chunks(2));
    let mut sum: u32 =
        words.map(|pair| pair.iter().fold(0, |word, octet| word << 8 | u32::from(*octet))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = u16::try_from(sum).unwrap_or(0); // at most 0xffff
    octets[36..38].copy_from_slice(&(!sum).to_be_bytes());
    octets
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use etherparse::{IpHeaders, TcpSlice};

    use super::*;

    #[test]
    fn a_segment_is_an_ack_with_a_right_checksum() {
        let (source, vip) = (Ipv4Addr::new(10, 9, 0, 19), Ipv4Addr::new(192, 0, 2, 80));
        for (port, seq, ack) in [(1024, 0, 0), (65535, u32::MAX, u32::MAX), (40000, 123_456, 654_321)] {
            let mut octets = segment(source, port, vip, seq, ack);
            octets[2..4].copy_from_slice(&40_u16.to_be_bytes()); // as the kernel does
            let (ip, rest) = IpHeaders::from_slice(&octets).unwrap();
            let ip = ip.ipv4().unwrap().0;
            assert_eq!((ip.source, ip.destination, ip.dscp.value()), (source.octets(), vip.octets(), 0));
            let tcp = TcpSlice::from_slice(rest.payload).unwrap();
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(source.octets(), vip.octets()).unwrap());
            assert_eq!((tcp.source_port(), tcp.destination_port()), (port, 80));
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (seq, ack));
            assert_eq!(
                (tcp.ack(), tcp.syn(), tcp.rst(), tcp.fin(), tcp.psh()),
                (true, false, false, false, false)
            );
            assert!(tcp.payload().is_empty());
        }
    }
}
