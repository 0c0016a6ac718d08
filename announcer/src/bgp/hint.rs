//! The hint for a session that is down: a sentence that says what to check. It depends on the reason and on the clues.
//!
//! Pure. [`notification`] has the hints for NOTIFICATIONs of the router. A hint names what an operator can compare or write. It
//! claims no more than the clues show: if several causes look the same from this host, it names all of them.

mod notification;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::bgp::open::OpenError;
use crate::bgp::reason::{DownReason, TcpFailure};
use crate::model::device::create_vrf;
use crate::model::{AS_TRANS, Family};

/// The observations at the time of a failure, and the configuration of our side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clues {
    /// Whether the peer, or the router on the way to it, answers ARP or ND.
    pub neighbour: Neighbour,
    /// Whether the peer is on a link of ours.
    pub location: PeerLocation,
    /// The source address of the try.
    pub source: Option<IpAddr>,
    /// The kernel counters that increased since the try began.
    pub counters: BTreeSet<KernelCounter>,
    /// Whether our full TCP segments were retransmitted without success, while the peer sent data and acknowledged small segments.
    pub large_lost: bool,
    /// Text in the key that is probably a mistake, such as a blank at its end.
    pub key: Option<&'static str>,
    /// What our side offers and requires.
    pub ours: LocalSettings,
}

/// The parts of our side's configuration that hints use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalSettings {
    /// Our AS; 0 where it is not known.
    pub asn: u32,
    /// The families of our OPEN.
    pub families: BTreeSet<Family>,
    /// The hold time of our OPEN.
    pub hold_time: Duration,
    /// The peer's `multihop`.
    pub multihop: u8,
    /// Other settings of the peer.
    pub settings: BTreeSet<Setting>,
}

/// A setting of a peer that hints use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// `password_file`.
    Password,
    /// `ttl_security`.
    TtlSecurity,
    /// `capabilities = false`.
    NoCapabilities,
    /// `graceful_restart` of `[bgp]`.
    GracefulRestart,
}

/// A kernel counter that increased. Each counter belongs to the whole network namespace, so it is a clue and not a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelCounter {
    /// A packet arrived with a lower TTL than a socket requires (TCPMinTTLDrop).
    LowTtl,
    /// An unsigned packet arrived at a socket that has a key (TCPMD5NotFound).
    Unsigned,
    /// A packet arrived that was signed with another key (TCPMD5Failure).
    OtherKey,
    /// This host could not send a retransmission (TCPRetransFail).
    NotSent,
    /// This host itself sent an ICMP "destination unreachable" (OutDestUnreachs).
    Rejected,
}

/// The state of the neighbour in ARP or ND.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Neighbour {
    /// The kernel has no entry, or no query was made.
    #[default]
    Unknown,
    /// The neighbour answers.
    Answers,
    /// The neighbour does not answer.
    Silent,
}

/// Where the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PeerLocation {
    /// The way was not looked up.
    #[default]
    Unknown,
    /// On a link of ours.
    OnLink,
    /// Behind a router.
    Routed,
}

impl Clues {
    fn has(&self, setting: Setting) -> bool {
        self.ours.settings.contains(&setting)
    }

    /// Whether the peer's packets are dropped because of their TTL.
    pub(super) fn too_far(&self) -> bool {
        self.has(Setting::TtlSecurity) && self.counters.contains(&KernelCounter::LowTtl)
    }

    /// The address that has to be a neighbour in the router's configuration.
    fn us(&self) -> String {
        self.source.map_or_else(|| "this host".into(), |source| source.to_string())
    }

    /// The beginning of the hint for a peer that no link of this host reaches directly. The address itself may be the mistake.
    fn elsewhere(&self) -> &'static str {
        match self.location {
            PeerLocation::Routed => {
                "its address is on none of this host's networks: compare `address`, unless it is behind a router. Then: "
            }
            PeerLocation::OnLink | PeerLocation::Unknown => "",
        }
    }

    /// A hint at this host's own packet filter, if the clues point to it.
    fn own_filter(&self) -> Option<String> {
        let what = if self.counters.contains(&KernelCounter::NotSent) {
            "this host could not send its packets"
        } else if self.counters.contains(&KernelCounter::Rejected) && self.neighbour != Neighbour::Silent {
            "this host itself sent an ICMP \"unreachable\" at that time"
        } else {
            return None;
        };
        Some(format!("{what}: check this host's own packet filter first ({OWN_FILTER})"))
    }
}

/// How to look at this host's own packet filter.
const OWN_FILTER: &str = "`nft list ruleset`, `iptables -S`";

impl DownReason {
    /// The hint for this reason, if there is one.
    pub fn hint(&self, clues: &Clues) -> Option<String> {
        match self {
            DownReason::Tcp(TcpFailure::TimedOut | TcpFailure::Reset) | DownReason::HoldExpired(_)
                if clues.large_lost =>
            {
                Some(path_mtu())
            }
            DownReason::Tcp(failure) => tcp(failure, clues),
            DownReason::Open(error) => open(error, clues),
            DownReason::Notified(notification) => notification::hint(notification, clues),
            DownReason::NoOpen(_) | DownReason::HoldExpired(_) | DownReason::NoKeepalive(_)
                if clues.too_far() =>
            {
                Some(low_ttl(clues))
            }
            DownReason::NoOpen(_) => Some(no_open(clues)),
            DownReason::NoKeepalive(_) => Some(
                "the router's BGP daemon is busy or hangs, or its messages after the OPEN are lost on the way: its log says \
                 what it waits for"
                    .into(),
            ),
            DownReason::HoldExpired(_) => Some(
                "the router or the way to it is overloaded or down; the same happens if only the router has a new key".into(),
            ),
            DownReason::SendHoldExpired(_) => {
                Some("the router's BGP daemon hangs: its kernel still acknowledges, but the daemon reads nothing".into())
            }
            DownReason::Collision => Some(same_router()),
            DownReason::Stopped(_)
            | DownReason::Malformed(_)
            | DownReason::OutOfTurn(_)
            | DownReason::LivenessLost => None,
        }
    }
}

/// The hint for large segments that do not arrive.
fn path_mtu() -> String {
    "the router acknowledges our small segments, but not the large ones: probably the path has a smaller MTU than both ends \
     assume, and a filter drops the ICMP message about it; correct that, or write `tcp_mss` for this peer, or set \
     `net.ipv4.tcp_mtu_probing=1`"
        .into()
}

/// The hint for two connections with one router.
fn same_router() -> String {
    "the router has another connection with this host: is another `[[peer]]` of the file the same router (such as its \
     address and `default-gateway`), or does the router also connect to this host? One connection is enough"
        .into()
}

fn low_ttl(clues: &Clues) -> String {
    match clues.location {
        PeerLocation::Routed => format!(
            "the kernel dropped the router's packets because of their TTL, and the router is not on a link of this host: \
             raise `multihop` (now {}) to its distance in hops, and let the router send TTL 255 (FRR: `ttl-security hops`, \
             BIRD: `ttl security on`), or remove `ttl_security`",
            clues.ours.multihop
        ),
        PeerLocation::OnLink | PeerLocation::Unknown => "the kernel dropped the router's packets because of their TTL: let \
                                                         the router send TTL 255 (FRR: `ttl-security hops`, BIRD: `ttl \
                                                         security on`), or remove `ttl_security`"
            .into(),
    }
}

fn no_open(clues: &Clues) -> String {
    match clues.location {
        PeerLocation::Routed => "the router is not on a link of this host: its packets have TTL 1 and do not arrive, unless it has \
                        `ebgp-multihop` (FRR, GoBGP) or `multihop` (BIRD, OpenBGPD) for this neighbour"
            .into(),
        PeerLocation::OnLink | PeerLocation::Unknown => "the router's kernel accepted the connection, but its BGP daemon sent \
                                                         nothing: the daemon hangs or is starting, or it requires or sends a \
                                                         TTL (1 or 255) with which only the TCP handshake succeeds"
            .into(),
    }
}

fn tcp(failure: &TcpFailure, clues: &Clues) -> Option<String> {
    let hint: String = match failure {
        TcpFailure::NoAnswer(_) if clues.too_far() => match clues.location {
            PeerLocation::Routed => low_ttl(clues),
            PeerLocation::OnLink | PeerLocation::Unknown => "the kernel dropped the router's answer because of its TTL: check \
                                                             that its BGP daemon runs (a refusal looks the same), and that it \
                                                             sends TTL 255 (FRR: `ttl-security hops`, BIRD: `ttl security on`), \
                                                             or remove `ttl_security`"
                .into(),
        },
        TcpFailure::TimedOut | TcpFailure::Unheard(_) if clues.too_far() => low_ttl(clues),
        TcpFailure::NoAnswer(_) => no_answer(clues),
        TcpFailure::Refused => clues.own_filter().unwrap_or_else(|| {
            let us = clues.us();
            format!(
                "check that the router's BGP daemon runs, that {us} is configured as its neighbour, and that no firewall \
                 rejects the connection, neither on the way nor on this host ({OWN_FILTER})"
            )
        }),
        TcpFailure::Unreachable => unreachable(clues),
        TcpFailure::Closed | TcpFailure::Reset => closed(clues),
        TcpFailure::NoRoute => "check the interface and the route towards the peer: `ip route get` with its address".into(),
        TcpFailure::NoGateway => "add a default route, or write the router's address".into(),
        TcpFailure::NoVrf(vrf) => format!(
            "compare `vrf` with the names that `ip link show type vrf` prints; {}",
            create_vrf(vrf)
        ),
        TcpFailure::NotAVrf(_) => {
            "write in `vrf` one of the names that `ip link show type vrf` prints, or write `interface` in place of `vrf`".into()
        }
        TcpFailure::NotInVrf { interface, vrf } => format!("`ip link set {interface} master {vrf}` puts it there; this removes the IPv6 addresses of {interface}, set them again"),
        TcpFailure::NoInterface(_) => "compare `interface` with the names that `ip link` prints".into(),
        TcpFailure::NoRouter(interface) => format!(
            "check the link, and that the router advertises itself there: FRR does with `neighbor INTERFACE interface`, BIRD with \
             `protocol radv`; `tcpdump -ni {interface} icmp6` shows it"
        ),
        TcpFailure::RouterGone => "check that router advertisements are still on at the router".into(),
        TcpFailure::LinkDown(_) => {
            "check the cable and the port at its other end; the session is established again when the link is up".into()
        }
        TcpFailure::InterfaceGone => {
            "the session restarts over the way that the kernel uses now, as soon as there is one".into()
        }
        TcpFailure::AddressGone(_) => {
            "the session restarts from another address; configure that address as the neighbour on the router, or write \
             `source_address`"
                .into()
        }
        TcpFailure::Password(_) => "announcer does not connect without the key".into(),
        TcpFailure::NoSource(_) => "give the interface its own address; a VIP is never used as the source".into(),
        TcpFailure::NoAddress => {
            "give the interface towards the peer an address of the peer's family (`ip address`)".into()
        }
        TcpFailure::SourceMissing(IpAddr::V6(source)) if source.is_unicast_link_local() => format!(
            "`ip -6 address` has to show {source} on the interface of the session, neither `tentative` (duplicate address \
             detection still runs) nor `dadfailed` (another host has it)"
        ),
        TcpFailure::SourceMissing(source) => format!(
            "put {source} on an interface (`ip address`), write another `source_address`, or remove it: the kernel then chooses \
             one"
        ),
        TcpFailure::Forbidden => "the service manager or a security module forbids it: check `IPAddressDeny=` and \
                                  `RestrictAddressFamilies=` of the unit, and the audit log"
            .into(),
        TcpFailure::TimedOut | TcpFailure::Unheard(_) => {
            "check the way to the router; the same happens if only the router has a new key".into()
        }
        TcpFailure::NotLearnt(_) | TcpFailure::Other(_) => return None,
    };
    Some(hint)
}

fn no_answer(clues: &Clues) -> String {
    if clues.neighbour == Neighbour::Silent {
        let elsewhere = clues.elsewhere();
        return format!(
            "{elsewhere}the next host on the way answers neither ARP nor ND: check its address, the cable and the VLAN"
        );
    }
    if let Some(own) = clues.own_filter() {
        return own;
    }
    let us = clues.us();
    let reached = match (clues.neighbour, clues.location) {
        (Neighbour::Answers, PeerLocation::Routed) => {
            "the next router on the way answers ARP or ND, which does not show that it forwards"
        }
        (Neighbour::Answers, PeerLocation::OnLink | PeerLocation::Unknown) => "it answers ARP or ND",
        (Neighbour::Unknown | Neighbour::Silent, _) => "a way to it is known",
    };
    let reached = format!("{}{reached}", clues.elsewhere());
    let far = match clues.location {
        PeerLocation::Routed => ", a TTL that it requires (`ttl-security hops`)",
        PeerLocation::OnLink | PeerLocation::Unknown => "",
    };
    if clues.counters.contains(&KernelCounter::OtherKey) {
        return format!(
            "packets arrived that were signed with another key: compare the key in `password_file` with the router's key for {us}"
        );
    }
    if clues.has(Setting::Password) && clues.counters.contains(&KernelCounter::Unsigned) {
        return format!(
            "an unsigned answer arrived and was dropped; it may be a refusal: check that the router's BGP daemon runs, and that \
             {us} is configured there as neighbour, with the key of `password_file`"
        );
    }
    if clues.has(Setting::Password) {
        let contains = clues.key.map_or_else(String::new, |what| format!(" (it seems to contain {what})"));
        return format!(
            "{reached}: compare the key in `password_file`{contains} with the router's key for {us}, and check that its BGP \
             daemon runs: while a key is set here, a refusal looks the same as a wrong key. Also check its access lists{far} \
             and this host's own packet filter ({OWN_FILTER})"
        );
    }
    format!(
        "{reached}: check whether the router has a password for {us} (then write `password_file`), its access lists{far}, and \
         this host's own packet filter ({OWN_FILTER}): all of them drop packets without an answer"
    )
}

fn unreachable(clues: &Clues) -> String {
    if let Some(own) = clues.own_filter() {
        return own;
    }
    match (clues.neighbour, clues.location) {
        (Neighbour::Answers, PeerLocation::OnLink | PeerLocation::Unknown) => format!(
            "it answers ARP or ND, so an ICMP message reported this: a firewall or an access list on the router rejects {} \
             (firewalld and `reject with icmp-host-prohibited` do so)",
            clues.us()
        ),
        (Neighbour::Answers, PeerLocation::Routed) => format!(
            "{}the next router on the way answers ARP or ND, so an ICMP message reported this: a router on the way does not \
             reach it, or a firewall or an access list rejects {}",
            clues.elsewhere(),
            clues.us()
        ),
        (Neighbour::Silent, PeerLocation::Routed) => format!(
            "{}the next router on the way answers neither ARP nor ND: check the route (`ip route get`), the cable and the VLAN",
            clues.elsewhere()
        ),
        (Neighbour::Silent, PeerLocation::OnLink | PeerLocation::Unknown) => {
            "it answers neither ARP nor ND: check its address, the cable and the VLAN".into()
        }
        (Neighbour::Unknown, _) => {
            "it does not answer ARP or ND, or a firewall rejects the connection: check its address, \
                                    the cable and the VLAN, then the access lists on the way"
                .into()
        }
    }
}

fn closed(clues: &Clues) -> String {
    let us = clues.us();
    let far = match clues.location {
        PeerLocation::Routed => {
            " The router is not on a link of this host: it needs `ebgp-multihop` (FRR, GoBGP) or `multihop` (BIRD, OpenBGPD) too."
        }
        PeerLocation::OnLink | PeerLocation::Unknown => "",
    };
    format!(
        "the router's log says why; a router closes the connection without a message if it has no neighbour {us}, if it waits \
         after an error, or if it already has a session with this host as another `[[peer]]`.{far} If it expects another \
         address, write `source_address`"
    )
}

fn open(error: &OpenError, _: &Clues) -> Option<String> {
    match error {
        OpenError::WrongAs { got, .. } if *got == u32::from(AS_TRANS) => Some(
            "AS 23456 is AS_TRANS (RFC 6793): the router's AS has four octets, and its OPEN lacks the capability that contains \
             it; let it negotiate capabilities (FRR: no `dont-capability-negotiate`, BIRD: `enable as4 on`)"
                .into(),
        ),
        OpenError::WrongAs { got: 0, .. } => {
            Some("AS 0 is reserved (RFC 7607): write the router's own AS in its configuration".into())
        }
        OpenError::WrongAs { got, .. } => Some(format!(
            "compare `asn` of the peer with the router's `router bgp`; with `local-as` for this neighbour, or in a \
             confederation, the router's OPEN has that AS instead: if this is the right router, write `asn = {got}`"
        )),
        OpenError::Identifier(_) => {
            Some("give the router a router id that no other router has; on iBGP it must also differ from ours".into())
        }
        OpenError::HoldTime(_) => Some("raise the router's hold time for this neighbour to 3 s or more, or to 0".into()),
        OpenError::ShortHoldTime { .. } => Some(
            "raise the hold time of the router for this neighbour (FRR: `timers`, BIRD: `hold time`), or lower \
             `min_hold_time`"
                .into(),
        ),
        OpenError::Parameter(_) => {
            Some("the router's software speaks an older BGP: let it use only capabilities and TCP MD5".into())
        }
        OpenError::Version(_) => Some("the router's software speaks another version of BGP than 4".into()),
        OpenError::Malformed => None,
    }
}

#[cfg(test)]
mod tests;
