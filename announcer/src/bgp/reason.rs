//! The reasons why a session is down, each with a sentence and a label.
//!
//! Pure. Logs, status and metrics use the same enum, so that they say the same. [`hint`](super::hint) says what to check.

use std::net::IpAddr;
use std::time::Duration;

use tracing::Level;

use crate::bgp::notification::Notification;
use crate::bgp::open::OpenError;

/// Why a session ended or did not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The daemon ended it, by an order.
    #[error("this host ended the session: {0}")]
    Stopped(Notification),
    /// The peer ended it.
    #[error("the peer sent NOTIFICATION: {0}")]
    Notified(Notification),
    /// The peer sent no message for the hold time.
    #[error("hold timer expired: no message from the peer for {} s", .0.as_secs())]
    HoldExpired(Duration),
    /// The peer accepted the TCP connection, but sent no OPEN.
    #[error("the peer accepted the connection, but sent no OPEN for {} s", .0.as_secs())]
    NoOpen(Duration),
    /// The peer sent its OPEN, but not the KEEPALIVE that accepts ours.
    #[error("the peer sent its OPEN, but no KEEPALIVE that accepts ours for {} s", .0.as_secs())]
    NoKeepalive(Duration),
    /// The peer accepts no octets (RFC 9687).
    #[error("send hold timer expired: the peer accepted no data for {} s", .0.as_secs())]
    SendHoldExpired(Duration),
    /// Its OPEN was refused.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// It sent a malformed message.
    #[error("the peer sent a malformed message; we answered {0}")]
    Malformed(Notification),
    /// It sent a message that its state does not allow.
    #[error("the peer sent an unexpected message; we answered {0}")]
    OutOfTurn(Notification),
    /// A second connection is used instead (RFC 4271 §6.8).
    #[error("another connection to the same peer took its place")]
    Collision,
    /// A failure detector (BFD) reports that the peer is down (RFC 9384).
    #[error("BFD reports that the peer is down")]
    LivenessLost,
    /// The TCP connection failed or ended.
    #[error("{0}")]
    Tcp(#[from] TcpFailure),
}

/// Why a TCP connection, or a try to connect, failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TcpFailure {
    /// RST to our SYN.
    #[error("connection refused")]
    Refused,
    /// No answer to our SYN.
    #[error("no answer to our SYN for {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The routing table has no route, or an ICMP message says that there is none.
    #[error("no route to the peer")]
    NoRoute,
    /// The peer answers neither ARP nor ND, or an ICMP message says that it is unreachable.
    #[error("the peer is unreachable")]
    Unreachable,
    /// The peer is the next hop of the default route, but the host has no default route.
    #[error("this host has no default route whose next hop could be the peer")]
    NoGateway,
    /// The router is learnt from its advertisements, and none has arrived on the interface.
    #[error("no router advertisement has arrived on `{0}`")]
    NoRouter(String),
    /// Routers cannot be learnt; why.
    #[error("{0}")]
    NotLearnt(String),
    /// The advertisement of the router has run out, and no other has arrived.
    #[error(
        "the router does not advertise itself any more: the lifetime of its last router advertisement is over"
    )]
    RouterGone,
    /// The interface to which the session is bound does not exist.
    #[error("the interface `{0}` does not exist")]
    NoInterface(String),
    /// The VRF of the session does not exist.
    #[error("the VRF `{0}` does not exist")]
    NoVrf(String),
    /// The device of that name is not a VRF.
    #[error("`{0}` is not a VRF")]
    NotAVrf(String),
    /// The interface of the session is not in its VRF.
    #[error("the interface `{interface}` is not in the VRF `{vrf}`")]
    NotInVrf {
        /// `interface`.
        interface: String,
        /// `vrf`.
        vrf: String,
    },
    /// The link of the connection is down.
    #[error("the link of `{0}` went down")]
    LinkDown(String),
    /// The interface of the connection no longer exists.
    #[error("the interface of the connection was removed")]
    InterfaceGone,
    /// The host no longer has our address of the connection.
    #[error("this host no longer has {0}, the session's own address")]
    AddressGone(IpAddr),
    /// The file of the key cannot be used; why.
    #[error("{0}")]
    Password(String),
    /// The only source addresses are VIPs.
    #[error("the interface towards the peer has no source address except VIPs (the kernel would use {0})")]
    NoSource(IpAddr),
    /// The kernel knows no address that could be the source.
    #[error("this host has no source address towards the peer")]
    NoAddress,
    /// `source_address` cannot be used.
    #[error("the source address {0} cannot be used: no interface has it, or it is still tentative")]
    SourceMissing(IpAddr),
    /// The kernel forbids the connection.
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
    /// The kernel dropped the peer's packets, because their TTL is too low.
    #[error("the kernel dropped packets of the peer, and no others arrived for {} s", .0.as_secs())]
    Unheard(Duration),
    /// Another error of the kernel.
    #[error("{0}")]
    Other(String),
}

impl DownReason {
    /// For how long the router may keep our routes after a session that ended for this reason.
    ///
    /// `hold_time`: the negotiated one. After this time, a router that has not noticed the end drops the session. `restart_time`:
    /// that of our OPEN (RFC 4724). For this time, the router keeps the routes of a session that ended without a NOTIFICATION; zero
    /// without graceful restart.
    pub fn routes_kept_for(&self, hold_time: Duration, restart_time: Duration) -> Duration {
        match self {
            // After a NOTIFICATION of either side, the router removes the routes (RFC 4724 §4; we never set the N-bit of RFC 8538).
            DownReason::Stopped(_)
            | DownReason::Notified(_)
            | DownReason::NoOpen(_)
            | DownReason::NoKeepalive(_)
            | DownReason::Open(_)
            | DownReason::Malformed(_)
            | DownReason::OutOfTurn(_)
            | DownReason::Collision => Duration::ZERO,
            DownReason::Tcp(TcpFailure::Closed | TcpFailure::Reset) => restart_time,
            // The router may not have noticed the end, and our last message may not have reached it.
            DownReason::HoldExpired(_)
            | DownReason::SendHoldExpired(_)
            | DownReason::LivenessLost
            | DownReason::Tcp(_) => hold_time.saturating_add(restart_time),
        }
    }

    /// How much it matters to a person. `known`: the log has a line about this outage already.
    pub fn level(&self, known: bool) -> Level {
        match self {
            DownReason::Stopped(_) | DownReason::Collision => Level::INFO,
            DownReason::Notified(_)
            | DownReason::HoldExpired(_)
            | DownReason::NoOpen(_)
            | DownReason::NoKeepalive(_)
            | DownReason::SendHoldExpired(_)
            | DownReason::Open(_)
            | DownReason::Malformed(_)
            | DownReason::OutOfTurn(_)
            | DownReason::LivenessLost
            | DownReason::Tcp(_) => {
                if known {
                    Level::INFO
                } else {
                    Level::WARN
                }
            }
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
                TcpFailure::NoVrf(_) => "no_vrf",
                TcpFailure::NotAVrf(_) => "not_a_vrf",
                TcpFailure::NotInVrf { .. } => "not_in_vrf",
                TcpFailure::NoRouter(_) => "no_router",
                TcpFailure::NotLearnt(_) => "not_learnt",
                TcpFailure::RouterGone => "router_gone",
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
    fn an_outage_is_one_warning_and_an_order_is_none() {
        let cease = Notification::bare(notification::PEER_DECONFIGURED);
        for (why, first, later) in [
            (DownReason::Stopped(cease.clone()), Level::INFO, Level::INFO),
            (DownReason::Collision, Level::INFO, Level::INFO),
            (DownReason::Notified(cease.clone()), Level::WARN, Level::INFO),
            (DownReason::HoldExpired(Duration::from_secs(9)), Level::WARN, Level::INFO),
            (DownReason::Malformed(cease), Level::WARN, Level::INFO),
            (DownReason::Tcp(TcpFailure::Refused), Level::WARN, Level::INFO),
        ] {
            assert_eq!((why.level(false), why.level(true)), (first, later), "{why}");
        }
    }

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
