//! Asks by ARP (RFC 826) and neighbour solicitations (RFC 4861) who has the VIPs, the directors, and addresses that nobody has.
//!
//! Touches packet sockets and the clock, and blocks; needs CAP_NET_RAW. The requests have the host's own addresses, so that they tell neighbours
//! nothing that is wrong, and a host that is just detecting duplicates is not disturbed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use socket2::SockFilter;

use super::frames::{Layer, Receiver, Sender};
use super::unseen;
use crate::doctor::neighbours::NOBODY;
use crate::doctor::observations::{LinkKind, LinkState, Mac, NeighbourAnswer, Observations, Question, Seen};
use crate::doctor::packet::{arp_request, claim, solicitation};

/// How often each request is sent, because one can be lost.
const ROUNDS: u32 = 2;
/// The time for the answers to each round.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lets ARP and neighbour advertisements pass: classic BPF over the frame (linux/filter.h).
const FILTER: [SockFilter; 8] = [
    SockFilter::new(0x28, 0, 0, 12),      // the type of the frame
    SockFilter::new(0x15, 4, 0, 0x0806),  // ARP
    SockFilter::new(0x15, 0, 4, 0x86dd),  // IPv6
    SockFilter::new(0x30, 0, 0, 20),      // its next header
    SockFilter::new(0x15, 0, 2, 58),      // ICMPv6
    SockFilter::new(0x06, 0, 0, 0x40000), // pass
    SockFilter::new(0x06, 0, 0, 0x40000), // pass
    SockFilter::new(0x06, 0, 0, 0),       // drop
];

/// The answers, and what other hosts and this one answered to others meanwhile.
pub(super) fn ask(seen: &Observations, question: &Question) -> Seen<Vec<NeighbourAnswer>> {
    let receiver = Receiver::open(Layer::Frame, &FILTER).map_err(|error| unseen(&error))?;
    let sender = Sender::open().map_err(|error| unseen(&error))?;
    let requests = requests(seen, question);
    let mut answers = Vec::new();
    for _ in 0..ROUNDS {
        for (interface, frame) in &requests {
            // An interface that went down meanwhile has no neighbours.
            let _ = sender.send(interface, frame);
        }
        let deadline = Instant::now() + PATIENCE;
        while let Ok(Some(received)) = receiver.next(deadline) {
            let (Some((address, mac)), Some(link)) = (
                claim(&received.octets),
                seen.links.iter().find(|link| link.index == received.interface && is_asked(link)),
            ) else {
                continue;
            };
            answers.push(NeighbourAnswer { interface: link.name.clone(), address, mac });
        }
    }
    answers.sort();
    answers.dedup();
    Ok(answers)
}

/// Whether requests are sent by this interface.
fn is_asked(link: &LinkState) -> bool {
    link.kind == LinkKind::Ethernet && link.is_up
}

/// The frames, each with its interface. An interface without an address of the family is not asked, such as one of a bridge.
fn requests(seen: &Observations, question: &Question) -> Vec<(String, Vec<u8>)> {
    let mut requests = Vec::new();
    for link in seen.links.iter().filter(|link| is_asked(link)) {
        let Some(mac) = link.mac else { continue };
        let own = seen
            .addresses
            .iter()
            .filter(|address| address.interface == link.name && !question.vips.contains(&address.net.addr()));
        let own: Vec<IpAddr> = own.map(|address| address.net.addr()).collect();
        let targets = question.vips.iter().chain(&question.directors).copied();
        let nobody = NOBODY.into_iter().map(IpAddr::from);
        let frames = targets.chain(nobody).filter_map(|target| request(mac, &own, target));
        requests.extend(frames.map(|frame| (link.name.clone(), frame)));
    }
    requests
}

fn request(mac: Mac, own: &[IpAddr], target: IpAddr) -> Option<Vec<u8>> {
    match target {
        IpAddr::V4(target) => own.iter().find_map(|own| match own {
            IpAddr::V4(from) => Some(arp_request(mac, *from, target)),
            IpAddr::V6(_) => None,
        }),
        IpAddr::V6(target) => own.iter().find_map(|own| match own {
            IpAddr::V6(from) if from.is_unicast_link_local() => Some(solicitation(mac, *from, target)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }),
    }
}
