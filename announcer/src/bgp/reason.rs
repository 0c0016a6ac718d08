//! Why a session is down, as a sentence and with a label.
//!
//! Pure. One enum, so that logs, status and metrics say the same. [`hint`](super::hint) says what to look at.

use std::net::IpAddr;
use std::time::Duration;

use crate::bgp::notification::Notification;
use crate::bgp::open::OpenError;

/// Why a session ended or did not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The daemon ended it, by an order.
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
    /// Its OPEN came, and the KEEPALIVE that accepts ours did not.
    #[error("the peer sent its OPEN, and no KEEPALIVE that accepts ours for {} s", .0.as_secs())]
    NoKeepalive(Duration),
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
    /// It answers neither ARP nor ND, or an ICMP message says so.
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
    /// The interface that the connection ran over does not exist any more.
    #[error("the interface that the connection ran over was removed")]
    InterfaceGone,
    /// The host has lost the address that the connection ran from.
    #[error("this host no longer has {0}, the session's own address")]
    AddressGone(IpAddr),
    /// The file of the key cannot be used; why.
    #[error("{0}")]
    Password(String),
    /// The only source addresses are VIPs.
    #[error("no source address that is no VIP on the interface towards the peer (the kernel would take {0})")]
    NoSource(IpAddr),
    /// The kernel knows no address that could be the source.
    #[error("this host has no source address towards the peer")]
    NoAddress,
    /// `source_address` cannot be used.
    #[error("the source address {0} cannot be used: no interface has it, or it is still tentative")]
    SourceMissing(IpAddr),
    /// The kernel does not let us connect.
    #[error("this host does not permit the connection")]
    Forbidden,
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

impl DownReason {
    /// For how long the router may keep our routes after a session that ended so.
    ///
    /// `hold_time`: the agreed one, after which a router that has noticed nothing gives us up. `restart_time`: that of our
    /// OPEN (RFC 4724), for which it keeps the routes of a session that ended without a NOTIFICATION; zero without graceful
    /// restart.
    pub fn routes_kept_for(&self, hold_time: Duration, restart_time: Duration) -> Duration {
        match self {
            // With a NOTIFICATION of either side the routes go (RFC 4724 §4; the N-bit of RFC 8538 is never set by us).
            DownReason::Stopped(_)
            | DownReason::Notified(_)
            | DownReason::NoOpen(_)
            | DownReason::NoKeepalive(_)
            | DownReason::Open(_)
            | DownReason::Malformed(_)
            | DownReason::OutOfTurn(_)
            | DownReason::Collision => Duration::ZERO,
            DownReason::Tcp(TcpFailure::Closed | TcpFailure::Reset) => restart_time,
            // It may not have noticed, and what we sent at the end may not have reached it.
            DownReason::HoldExpired(_)
            | DownReason::SendHoldExpired(_)
            | DownReason::LivenessLost
            | DownReason::Tcp(_) => hold_time.saturating_add(restart_time),
        }
    }

    /// One word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            DownReason::Stopped(_) => "stopped",
            DownReason::Notified(_) => "notification",
            DownReason::HoldExpired(_) => "hold_expired",
            DownReason::NoOpen(_) => "no_open",
            DownReason::NoKeepalive(_) => "no_keepalive",
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
                TcpFailure::NoAddress => "no_address",
                TcpFailure::SourceMissing(_) => "source_missing",
                TcpFailure::Forbidden => "forbidden",
                TcpFailure::NoGateway => "no_gateway",
                TcpFailure::NoInterface(_) => "no_interface",
                TcpFailure::LinkDown(_) => "link_down",
                TcpFailure::InterfaceGone => "interface_gone",
                TcpFailure::AddressGone(_) => "address_gone",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::notification;

    #[test]
    fn a_router_may_keep_our_routes_unless_a_notification_took_them_or_it_noticed_the_end() {
        let (hold, restart) = (Duration::from_secs(90), Duration::from_secs(120));
        let stopped = Notification::bare(notification::PEER_DECONFIGURED);
        for (why, without, with) in [
            (DownReason::Stopped(stopped.clone()), 0, 0),
            (DownReason::Notified(stopped.clone()), 0, 0),
            (DownReason::Malformed(stopped), 0, 0),
            (DownReason::Tcp(TcpFailure::Closed), 0, 120),
            (DownReason::Tcp(TcpFailure::Reset), 0, 120),
            (DownReason::Tcp(TcpFailure::TimedOut), 90, 210),
            (DownReason::Tcp(TcpFailure::LinkDown("eth0".into())), 90, 210),
            (DownReason::HoldExpired(hold), 90, 210),
            (DownReason::SendHoldExpired(hold), 90, 210),
            (DownReason::LivenessLost, 90, 210),
        ] {
            assert_eq!(why.routes_kept_for(hold, Duration::ZERO).as_secs(), without, "{why}");
            assert_eq!(why.routes_kept_for(hold, restart).as_secs(), with, "{why}");
        }
    }
}
