//! Why a session is down, as a sentence, with a hint and a label.
//!
//! Pure. One enum, so that logs, status and metrics say the same.

use std::net::IpAddr;
use std::time::Duration;

use crate::bgp::notification::Notification;
use crate::bgp::open::OpenError;

/// Why a session ended or did not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// We were told to end it.
    #[error("we ended it: {0}")]
    Stopped(Notification),
    /// The peer ended it.
    #[error("the peer sent NOTIFICATION: {0}")]
    Notified(Notification),
    /// The peer fell silent.
    #[error("hold timer expired: nothing heard for {} s", .0.as_secs())]
    HoldExpired(Duration),
    /// The peer took TCP's connection and sent no OPEN.
    #[error("the peer connected and sent no OPEN for {} s", .0.as_secs())]
    NoOpen(Duration),
    /// The peer takes no octets (RFC 9687).
    #[error("send hold timer expired: the peer took no octet for {} s", .0.as_secs())]
    SendHoldExpired(Duration),
    /// Its OPEN was refused.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// It sent what no BGP speaker sends.
    #[error("the peer sent a malformed message; we answered {0}")]
    Malformed(Notification),
    /// It sent a message that its state does not allow.
    #[error("the peer sent a message out of turn; we answered {0}")]
    OutOfTurn(Notification),
    /// A second connection won (RFC 4271 §6.8).
    #[error("another connection to the same peer took its place")]
    Collision,
    /// A failure detector lost the peer (RFC 9384).
    #[error("BFD lost the peer")]
    LivenessLost,
    /// TCP did not get there, or broke.
    #[error("{0}")]
    Tcp(#[from] TcpFailure),
}

/// What became of a TCP connection, or of the try for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TcpFailure {
    /// RST to our SYN.
    #[error("connection refused")]
    Refused,
    /// No answer to our SYN.
    #[error("no answer to our SYN for {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The routing table has no way, or the way reports unreachable.
    #[error("no route to the peer")]
    NoRoute,
    /// It answers neither ARP nor ND, or a router on the way says so.
    #[error("the peer is unreachable")]
    Unreachable,
    /// The host has no default route, and the peer is to be its next hop.
    #[error("the host has no default route whose next hop the peer could be")]
    NoGateway,
    /// The interface that the session is bound to is not there.
    #[error("the interface `{0}` does not exist")]
    NoInterface(String),
    /// The link that the connection ran over is gone.
    #[error("the link of `{0}` went down")]
    LinkDown(String),
    /// The file of the key cannot be used; why.
    #[error("{0}")]
    Password(String),
    /// The only source addresses are VIPs.
    #[error("no source address that is no VIP on the interface towards the peer (the kernel would take {0})")]
    NoSource(IpAddr),
    /// FIN.
    #[error("the peer closed the connection")]
    Closed,
    /// RST.
    #[error("the peer reset the connection")]
    Reset,
    /// Our octets were not acknowledged in time.
    #[error("the connection timed out: the peer acknowledged nothing")]
    TimedOut,
    /// The kernel dropped what came from the peer: its TTL is too low.
    #[error("the kernel dropped what the peer sent, and nothing else came for {} s", .0.as_secs())]
    Unheard(Duration),
    /// Anything else that the kernel says.
    #[error("{0}")]
    Other(String),
}

/// What was seen around a failure, so that the hint can be a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clues {
    /// Whether the peer, or the router on the way to it, answers ARP or ND.
    pub neighbour: Neighbour,
    /// Whether a key is configured.
    pub password: bool,
    /// Whether `ttl_security` is.
    pub ttl_security: bool,
    /// Whether the kernel dropped packets for their TTL since the try began (TCPMinTTLDrop).
    pub ttl_drops: bool,
}

/// What ARP or ND know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Neighbour {
    /// Nobody asked, or nothing is known.
    #[default]
    Unknown,
    /// It answers.
    Answers,
    /// It does not.
    Silent,
}

impl DownReason {
    /// What to look at, where a person could be at a loss.
    pub fn hint(&self, clues: &Clues) -> Option<&'static str> {
        let too_far = clues.ttl_security && clues.ttl_drops;
        match self {
            DownReason::Tcp(TcpFailure::NoAnswer(_)) if too_far => Some(
                "the kernel dropped its answer for its TTL: is its BGP daemon running, and does it send TTL 255 (FRR: \
                 `ttl-security hops`, BIRD: `ttl security on`)? A refusal looks the same. Else remove `ttl_security`",
            ),
            DownReason::Tcp(TcpFailure::TimedOut | TcpFailure::Unheard(_))
            | DownReason::NoOpen(_)
            | DownReason::HoldExpired(_)
                if too_far =>
            {
                Some(
                    "the kernel dropped its packets for their TTL: let the router send TTL 255 (FRR: `ttl-security hops`, \
                     BIRD: `ttl security on`), or remove `ttl_security`",
                )
            }
            DownReason::Tcp(TcpFailure::Refused) => {
                Some("is the router's BGP daemon running, and is this host configured as its neighbour?")
            }
            DownReason::Tcp(TcpFailure::NoAnswer(_)) => Some(match (clues.neighbour, clues.password) {
                (Neighbour::Silent, _) => {
                    "the next host on the way answers neither ARP nor ND: check its address, the cable and the VLAN"
                }
                (Neighbour::Answers | Neighbour::Unknown, true) => {
                    "it can be reached, so compare the key in `password_file` with the router's, and check the router's \
                     access lists: both drop silently, and only the router's own counters rise"
                }
                (Neighbour::Answers | Neighbour::Unknown, false) => {
                    "it can be reached, so check whether the router has a password for this neighbour (then write \
                     `password_file`), and its access lists: both drop silently"
                }
            }),
            DownReason::Tcp(TcpFailure::NoRoute) => {
                Some("check the interface and the route towards the peer")
            }
            DownReason::Tcp(TcpFailure::NoGateway) => {
                Some("add a default route, or write the router's address")
            }
            DownReason::Tcp(TcpFailure::NoInterface(_)) => {
                Some("compare `interface` with what `ip link` has")
            }
            DownReason::Tcp(TcpFailure::LinkDown(_)) => {
                Some("check the cable and the port at its other end; the session comes back with the link")
            }
            DownReason::Tcp(TcpFailure::Password(_)) => Some("no try is made without the key"),
            DownReason::Tcp(TcpFailure::Unreachable) => {
                Some("it answers neither ARP nor ND: check its address, the cable and the VLAN")
            }
            DownReason::Tcp(TcpFailure::NoSource(_)) => {
                Some("give the interface an address of its own; a VIP is never a source")
            }
            DownReason::Tcp(TcpFailure::Closed | TcpFailure::Reset) => Some(
                "the router's log says why; a neighbour that is not configured there is closed without a word",
            ),
            DownReason::Tcp(TcpFailure::TimedOut | TcpFailure::Unheard(_)) => {
                Some("check the way to the router; a key that it changed alone looks the same")
            }
            DownReason::HoldExpired(_) => Some(
                "the router or the way to it is overloaded or gone; a key that it changed alone looks the same",
            ),
            DownReason::SendHoldExpired(_) => {
                Some("the router's BGP daemon hangs: TCP lives, and nobody reads from it")
            }
            DownReason::NoOpen(_) => {
                Some("a router that demands or sends TTL 1 or 255 lets TCP through and drops the rest")
            }
            DownReason::Open(OpenError::WrongAs { .. }) => {
                Some("compare `asn` of the peer with the router's `router bgp`")
            }
            DownReason::Open(OpenError::Identifier(_)) => {
                Some("give the router a router id of its own; on iBGP not ours either")
            }
            DownReason::Notified(notification) => match notification.kind() {
                (2, 2) => Some("compare `asn` of `[bgp]` with the router's `neighbor … remote-as`"),
                (2, 3) => Some("two speakers have one `router_id`"),
                (2, 7) => {
                    Some("the router has another family for this neighbour: compare it with `families`")
                }
                (4, _) => {
                    Some("the router heard nothing from us for its hold time: is this host overloaded?")
                }
                (6, 1) => Some("more VIPs than the router's `maximum-prefix` for this neighbour"),
                (6, 2) => Some("the router's operator shut this neighbour down"),
                (6, 3) => Some("the router has no such neighbour"),
                (6, 5) => Some("the router rejects this neighbour; its log says why"),
                _ => None,
            },
            DownReason::Tcp(TcpFailure::Other(_))
            | DownReason::Stopped(_)
            | DownReason::Open(
                OpenError::Malformed
                | OpenError::Version(_)
                | OpenError::Parameter(_)
                | OpenError::HoldTime(_),
            )
            | DownReason::Malformed(_)
            | DownReason::OutOfTurn(_)
            | DownReason::Collision
            | DownReason::LivenessLost => None,
        }
    }

    /// One word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            DownReason::Stopped(_) => "stopped",
            DownReason::Notified(_) => "notification",
            DownReason::HoldExpired(_) => "hold_expired",
            DownReason::NoOpen(_) => "no_open",
            DownReason::SendHoldExpired(_) => "send_hold_expired",
            DownReason::Open(OpenError::WrongAs { .. }) => "wrong_as",
            DownReason::Open(_) => "open_error",
            DownReason::Malformed(_) => "malformed",
            DownReason::OutOfTurn(_) => "out_of_turn",
            DownReason::Collision => "collision",
            DownReason::LivenessLost => "liveness",
            DownReason::Tcp(failure) => match failure {
                TcpFailure::Refused => "refused",
                TcpFailure::NoAnswer(_) => "no_answer",
                TcpFailure::NoRoute => "no_route",
                TcpFailure::Unreachable => "unreachable",
                TcpFailure::NoSource(_) => "no_source",
                TcpFailure::NoGateway => "no_gateway",
                TcpFailure::NoInterface(_) => "no_interface",
                TcpFailure::LinkDown(_) => "link_down",
                TcpFailure::Password(_) => "password",
                TcpFailure::Closed => "closed",
                TcpFailure::Reset => "reset",
                TcpFailure::TimedOut => "timed_out",
                TcpFailure::Unheard(_) => "unheard",
                TcpFailure::Other(_) => "tcp_error",
            },
        }
    }
}
