//! Findings about the server behind the VIPs: its sockets, its queues, its certificate.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::certificate::date;
use super::code::{Code, Severity};
use super::finding::Finding;
use super::observations::{ListeningSocket, Observations, Question, TlsProbe};

/// The ports that are looked at if none is named.
pub const USUAL_PORTS: [u16; 2] = [80, 443];
/// A clock before this is wrong: this program was written later (2026-01-01, in seconds since 1970).
const EARLIEST: i64 = 1_767_225_600;
/// Seconds in a day.
const DAY: i64 = 86_400;

/// The findings about servers.
pub fn find(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut findings = Vec::new();
    if seen.listeners.is_ok() {
        let listeners = listeners(seen, question);
        for vip in question.vips.iter().filter(|vip| seen.holds(**vip)) {
            findings.extend(of_vip(&listeners, question, *vip));
        }
    }
    findings.extend(backlog(seen, question));
    findings.extend(cookies(seen));
    findings.extend(clock(seen));
    findings
}

/// The sockets that serve where the VIPs are: in their VRF, or outside of each.
fn listeners<'a>(seen: &'a Observations, question: &Question) -> Vec<&'a ListeningSocket> {
    let all = seen.listeners.iter().flatten();
    all.filter(|socket| seen.accepts_in(question.vrf.as_deref(), socket.device)).collect()
}

/// The ports of a VIP, and whether each of them has to be served.
fn ports_of(question: &Question, vip: IpAddr) -> (BTreeSet<u16>, bool) {
    match question.ports.get(&vip) {
        Some(ports) if !ports.is_empty() => (ports.clone(), true),
        Some(_) | None => (USUAL_PORTS.into(), false),
    }
}

/// Whether a connection to the VIP and this port reaches the socket.
fn serves(socket: &ListeningSocket, vip: IpAddr, port: u16) -> bool {
    let same_family = socket.address.is_ipv4() == vip.is_ipv4();
    let is_dual = socket.address.is_ipv6() && vip.is_ipv4() && !socket.is_v6_only;
    let address = socket.address.to_canonical();
    socket.port == port && (address == vip || (socket.address.is_unspecified() && (same_family || is_dual)))
}

fn of_vip(listeners: &[&ListeningSocket], question: &Question, vip: IpAddr) -> Vec<Finding> {
    let (ports, each) = ports_of(question, vip);
    let served = |port: &u16| listeners.iter().any(|socket| serves(socket, vip, *port));
    let unserved: Vec<u16> = ports.iter().copied().filter(|port| !served(port)).collect();
    if each {
        return unserved.iter().map(|port| unserved_port(listeners, question, vip, &[*port])).collect();
    }
    let is_none = unserved.len() == ports.len();
    is_none.then(|| unserved_port(listeners, question, vip, &unserved)).into_iter().collect()
}

/// The finding about ports at which no connection to the VIP is accepted.
fn unserved_port(listeners: &[&ListeningSocket], question: &Question, vip: IpAddr, ports: &[u16]) -> Finding {
    let at_port: Vec<&ListeningSocket> =
        listeners.iter().copied().filter(|socket| ports.contains(&socket.port)).collect();
    let shown: Vec<String> = at_port
        .iter()
        .map(|socket| std::net::SocketAddr::new(socket.address, socket.port).to_string())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let ports = ports.join(" or ");
    let listen = format!("let the server listen on {vip}, or on all addresses of its family");
    let is_loopback = |socket: &&&ListeningSocket| socket.address.to_canonical().is_loopback();
    let of_family = |socket: &&&ListeningSocket| socket.address.to_canonical().is_ipv4() == vip.is_ipv4();
    let own = at_port.iter().filter(of_family).count();
    let own_on_loopback = at_port.iter().filter(of_family).filter(is_loopback).count();
    let on_loopback = at_port.iter().filter(is_loopback).count();
    let finding = if at_port.is_empty() {
        let (place, start) = match &question.vrf {
            Some(vrf) => (
                format!(" in the VRF {vrf}"),
                format!(
                    "start the server in the VRF, as in `ip vrf exec {vrf} nginx`, or write net.ipv4.tcp_l3mdev_accept = 1"
                ),
            ),
            None => (String::new(), "start the server".to_owned()),
        };
        Finding::new(
            Code::ServerNotListening,
            format!("nothing listens at port {ports}{place}, so that {vip} refuses connections"),
            format!("{start}; `--port` names other ports; {listen}"),
        )
    } else if on_loopback == at_port.len() || (own > 0 && own_on_loopback == own) {
        Finding::new(
            Code::ServerOnLoopback,
            format!(
                "at port {ports} the server listens on {}, and not on {vip}, which refuses connections",
                shown.join(", ")
            ),
            listen,
        )
    } else if own == 0 {
        let other = if vip.is_ipv4() { "IPv6" } else { "IPv4" };
        Finding::new(
            Code::ServerOtherFamily,
            format!(
                "at port {ports} the server listens for {other} only ({}), so that {vip} refuses connections",
                shown.join(", ")
            ),
            listen,
        )
    } else {
        Finding::new(
            Code::ServerNotListening,
            format!("at port {ports} the server listens on {}, and not on {vip}", shown.join(", ")),
            listen,
        )
    };
    finding.of(vip)
}

/// The queues that are full now, with what the counters say; or the counters alone.
fn backlog(seen: &Observations, question: &Question) -> Vec<Finding> {
    let mut full = queues(seen, question);
    let overflows = overflows(seen);
    match (full.first_mut(), overflows) {
        (Some(first), Some(overflows)) => first.evidence.push_str(&format!("; {}", overflows.evidence)),
        (None, Some(overflows)) => full.push(overflows),
        (_, None) => {}
    }
    full
}

/// The accept queue of a socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptQueue {
    /// How many connections wait until the server accepts them.
    pub waiting: u32,
    /// How many may wait: the smaller of the server's backlog and net.core.somaxconn. The kernel lets one more in.
    pub limit: u32,
}

impl AcceptQueue {
    /// Whether it is as full as the other one, or fuller, by its share of the limit.
    fn is_as_full_as(self, other: AcceptQueue) -> bool {
        u64::from(self.waiting) * u64::from(other.limit) >= u64::from(other.waiting) * u64::from(self.limit)
    }
}

/// The accept queue of each VIP: the fullest one of the sockets at its ports. A VIP that no socket serves is missing.
pub fn accept_queues(seen: &Observations, question: &Question) -> BTreeMap<IpAddr, AcceptQueue> {
    let fullest = |vip: &IpAddr| {
        let (ports, _) = ports_of(question, *vip);
        let own = listeners(seen, question)
            .into_iter()
            .filter(|socket| ports.iter().any(|port| serves(socket, *vip, *port)));
        let queues = own.map(|socket| AcceptQueue { waiting: socket.queue, limit: socket.backlog });
        Some((*vip, queues.reduce(|first, next| if first.is_as_full_as(next) { first } else { next })?))
    };
    question.vips.iter().filter_map(fullest).collect()
}

/// Accept queues that are full now. The kernel lets one more in than `backlog` says.
fn queues(seen: &Observations, question: &Question) -> Vec<Finding> {
    let is_of_vip = |socket: &&ListeningSocket| {
        question.vips.iter().any(|vip| {
            let (ports, _) = ports_of(question, *vip);
            seen.holds(*vip) && ports.iter().any(|port| serves(socket, *vip, *port))
        })
    };
    let full = listeners(seen, question)
        .into_iter()
        .filter(|socket| socket.queue > 0 && socket.queue >= socket.backlog);
    let finding = |socket: &ListeningSocket| {
        let place = std::net::SocketAddr::new(socket.address, socket.port);
        let evidence = format!(
            "{} connections wait at {place} until the server accepts them, and {} may",
            socket.queue, socket.backlog
        );
        Finding::new(Code::BacklogOverflow, evidence, BACKLOG)
    };
    full.filter(is_of_vip).map(finding).collect()
}

/// What to do about a full accept queue.
const BACKLOG: &str = "find out why the server does not accept; a longer queue needs a larger backlog of the server and \
                       `sysctl -w net.core.somaxconn=4096`";

fn overflows(seen: &Observations) -> Option<Finding> {
    let (before, now) = seen.counters.as_ref().ok()?;
    let (dropped, risen) =
        (now.listen_overflows, now.listen_overflows.saturating_sub(before.listen_overflows));
    let (evidence, severity) = match (risen, dropped) {
        (0, 0) => return None,
        (0, _) => (
            format!(
                "{dropped} connections were dropped since boot because an accept queue was full (TcpExtListenOverflows)"
            ),
            Severity::Note,
        ),
        (_, _) => (
            format!(
                "{risen} connections were dropped just now because an accept queue was full (TcpExtListenOverflows = {dropped})"
            ),
            Severity::Error,
        ),
    };
    Some(Finding::new(Code::BacklogOverflow, evidence, BACKLOG).as_bad_as(severity))
}

fn cookies(seen: &Observations) -> Option<Finding> {
    if seen.setting("net/ipv4/tcp_syncookies") == 2 {
        let evidence = "net.ipv4.tcp_syncookies = 2: every connection is opened with a SYN cookie, and may lose its options";
        return Some(Finding::new(Code::SynCookies, evidence, "`sysctl -w net.ipv4.tcp_syncookies=1`"));
    }
    let (before, now) = seen.counters.as_ref().ok()?;
    let (sent, risen) = (now.cookies_sent, now.cookies_sent.saturating_sub(before.cookies_sent));
    let repair = "look for a flood of SYN packets; if there is none, `sysctl -w net.ipv4.tcp_max_syn_backlog=4096 net.core.somaxconn=4096`";
    let (evidence, severity) = match (risen, sent) {
        (0, 0) => return None,
        (0, _) => (format!("{sent} SYN cookies were sent since boot (TcpExtSyncookiesSent)"), Severity::Note),
        (_, _) => (
            format!("{risen} SYN cookies were sent just now (TcpExtSyncookiesSent = {sent})"),
            Severity::Warning,
        ),
    };
    Some(Finding::new(Code::SynCookies, evidence, repair).as_bad_as(severity))
}

fn clock(seen: &Observations) -> Option<Finding> {
    (seen.now < EARLIEST).then(|| {
        let evidence =
            format!("the wall clock says {}, which is before this program was made", date(seen.now));
        Finding::new(Code::ClockWrong, evidence, SET_CLOCK)
    })
}

const SET_CLOCK: &str = "`timedatectl set-ntp true`, or set the clock by hand";

/// The findings about the certificates that the VIPs show.
pub fn certificates(seen: &Observations, question: &Question) -> Vec<Finding> {
    let finding = |probe: &TlsProbe| {
        let TlsProbe { vip, port, validity } = probe;
        let (now, place) = (seen.now, std::net::SocketAddr::new(*vip, *port));
        let left = validity.ends - now;
        let renew = "renew the certificate, and reload the server";
        if now < validity.begins {
            let evidence = format!(
                "the certificate at {place} is valid from {}, and the wall clock says {}",
                date(validity.begins),
                date(now)
            );
            return Some(Finding::new(Code::ClockWrong, evidence, SET_CLOCK).of(*vip));
        }
        if left <= 0 {
            let evidence = format!("the certificate at {place} has ended: {}", date(validity.ends));
            return Some(Finding::new(Code::CertificateEnds, evidence, renew).of(*vip));
        }
        (left < question.expires_within).then(|| {
            let evidence =
                format!("the certificate at {place} ends in {} days: {}", left / DAY, date(validity.ends));
            Finding::new(Code::CertificateEnds, evidence, renew).of(*vip).as_bad_as(Severity::Warning)
        })
    };
    // The handshakes are made outside of VRFs: the server of another network may have answered.
    let probes = seen.tls.iter().filter(|_| question.vrf.is_none());
    probes.filter_map(finding).collect()
}
