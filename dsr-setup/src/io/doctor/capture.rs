//! Counts the packets of the VIPs that arrive and that leave, for some seconds.
//!
//! Touches a packet socket and the clock, and blocks; needs CAP_NET_RAW. Packets on lo do not count, because they come from this host, and
//! neither do those of another VRF than that of the VIPs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::frames::{Layer, Receiver};
use super::unseen;
use crate::doctor::observations::{Capture, Observations, Question, Seen, VipTraffic};
use crate::doctor::packet::{ACK, RST, SYN, header};

/// The most connections whose answers are followed.
const MOST: usize = 10_000;

/// What arrived within this time; `None`: it was not asked for.
pub(super) fn listen(
    seen: &Observations,
    question: &Question,
    listen: Option<Duration>,
) -> Option<Seen<Capture>> {
    let time = listen?;
    let receiver = match Receiver::open(Layer::Packet, &[]) {
        Ok(receiver) => receiver,
        Err(error) => return Some(Err(unseen(&error))),
    };
    let mut capture = Capture { seconds: time.as_secs(), ..Capture::default() };
    for vip in &question.vips {
        capture.traffic.insert(*vip, VipTraffic::default());
    }
    // The client and both ports of each connection that was opened and not answered yet.
    let mut waiting: BTreeSet<(IpAddr, u16, IpAddr, u16)> = BTreeSet::new();
    let deadline = Instant::now() + time;
    while let Ok(Some(received)) = receiver.next(deadline) {
        if !seen.arrives_by(question.vrf.as_deref(), received.interface) {
            continue;
        }
        let Some(header) = header(&received.octets) else { continue };
        if !received.is_outgoing
            && let Some(traffic) = capture.traffic.get_mut(&header.to)
        {
            traffic.arrived += 1;
            if let Some((from, to, flags)) = header.tcp
                && flags & (SYN | ACK) == SYN
                && waiting.len() < MOST
                && waiting.insert((header.from, from, header.to, to))
            {
                traffic.opened += 1;
            }
        } else if received.is_outgoing
            && let Some(traffic) = capture.traffic.get_mut(&header.from)
            && let Some((from, to, flags)) = header.tcp
            && (flags & (SYN | ACK) == SYN | ACK || flags & RST != 0)
            && waiting.remove(&(header.to, to, header.from, from))
        {
            traffic.answered += 1;
        }
    }
    Some(Ok(capture))
}
