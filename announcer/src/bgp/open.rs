//! OPEN: our offer, the peer's offer, and the negotiated result.
//!
//! Pure. RFC 4271 §4.2 and §6.2, RFC 5492 (capabilities), RFC 4760 (families), RFC 6793 (4-octet AS), RFC 7607 (AS 0),
//! RFC 6286 (identifier), RFC 2918 and 7313 (refresh), RFC 8950 (IPv4 over IPv6), RFC 4724 (graceful restart).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bgp::notification::{self, Notification};
use crate::model::{Asn, Family, PeerAsn, RouterId};

/// The contents of our OPEN, and the expected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Our AS.
    pub asn: Asn,
    /// Our identifier.
    pub router_id: RouterId,
    /// Our hold time in seconds: 0, or at least 3.
    pub hold_time: u16,
    /// The lowest negotiated hold time that is accepted, in seconds; 0: every hold time, also zero, is accepted.
    pub min_hold_time: u16,
    /// The families that we support. Each has its own multiprotocol capability.
    pub families: BTreeSet<Family>,
    /// The AS that the peer's OPEN must have.
    pub peer_asn: PeerAsn,
    /// Whether our OPEN has capabilities (RFC 5492 §3: a peer that refuses them gets an OPEN without them). Without capabilities,
    /// the session has only IPv4, and AS numbers of two octets.
    pub capabilities: bool,
    /// Whether IPv4 routes may have an IPv6 next hop: on sessions over IPv6 that carry IPv4 (RFC 8950 §4).
    pub extended_next_hop: bool,
    /// The graceful restart capability (RFC 4724 §3); `None`: it is not offered.
    pub restart: Option<Restart>,
}

/// The graceful restart capability of our OPEN. The N-bit of RFC 8538 is never set, so that our Cease removes the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// How long the peer may keep our routes without a session, in seconds; at most 4095.
    pub seconds: u16,
    /// The R bit: the previous process ended without a NOTIFICATION.
    pub restarted: bool,
    /// The families with the F bit: all their VIPs are on the host, so the routes that the peer has kept are valid.
    pub kept: BTreeSet<Family>,
}

/// A received OPEN. Only its framing was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// My Autonomous System: 2 octets; AS_TRANS (23456) when the real one does not fit.
    pub asn: u16,
    /// Hold Time in seconds.
    pub hold_time: u16,
    /// BGP Identifier.
    pub identifier: Ipv4Addr,
    /// All capabilities of all parameters, in their order.
    pub capabilities: Vec<Capability>,
}

/// A capability that we use (RFC 5492). A known code with a wrong length is `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// 1: a family (RFC 4760 §8).
    Multiprotocol(Family),
    /// 1: a family that we do not support.
    ForeignMultiprotocol,
    /// 2: ROUTE-REFRESH (RFC 2918).
    RouteRefresh,
    /// 5: IPv4 unicast may have an IPv6 next hop (RFC 8950 §4).
    ExtendedNextHop,
    /// 65: 4-octet AS (RFC 6793); 0 is possible here.
    FourOctetAs(u32),
    /// 70: enhanced ROUTE-REFRESH (RFC 7313).
    EnhancedRouteRefresh,
    /// Any other code.
    Other(u8),
}

/// Why an OPEN is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Optional parameters or capabilities overrun their space.
    #[error("its OPEN is malformed")]
    Malformed,
    /// The version.
    #[error("its OPEN has BGP version {0}, not 4")]
    Version(u8),
    /// The AS in the OPEN differs from the configured one.
    #[error("its OPEN has AS {got}, we expect {}", expected(.want))]
    WrongAs {
        /// The value in the OPEN.
        got: u32,
        /// The configured value.
        want: PeerAsn,
    },
    /// The identifier is zero, or on iBGP our own.
    #[error("its OPEN has the BGP identifier {0}, which no peer of ours can have")]
    Identifier(Ipv4Addr),
    /// An optional parameter that is not a capability.
    #[error("its OPEN has the optional parameter {0}, which announcer does not support")]
    Parameter(u8),
    /// 1 or 2 seconds.
    #[error("its OPEN has a hold time of {0} s, less than 3 s")]
    HoldTime(u16),
    /// The hold time is less than the configuration accepts. Zero means no hold timer.
    #[error("its OPEN has a hold time of {got} s, less than our `min_hold_time` of {least} s")]
    ShortHoldTime {
        /// The value in the OPEN.
        got: u16,
        /// The configured value.
        least: u16,
    },
}

fn expected(want: &PeerAsn) -> String {
    match want {
        PeerAsn::Is(asn) => format!("AS {asn}"),
        PeerAsn::External => "another AS than ours".into(),
        PeerAsn::Internal => "our own AS".into(),
    }
}

impl OpenError {
    /// The NOTIFICATION that we send.
    pub fn notification(&self) -> Notification {
        match self {
            OpenError::Malformed => Notification::bare(notification::OPEN_MALFORMED),
            OpenError::Version(_) => Notification::new(notification::BAD_VERSION, [0, 4]),
            OpenError::WrongAs { .. } => Notification::bare(notification::BAD_PEER_AS),
            OpenError::Identifier(_) => Notification::bare(notification::BAD_IDENTIFIER),
            OpenError::Parameter(_) => Notification::bare(notification::BAD_PARAMETER),
            OpenError::HoldTime(_) | OpenError::ShortHoldTime { .. } => {
                Notification::bare(notification::BAD_HOLD_TIME)
            }
        }
    }
}

/// The values that both OPENs together determine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegotiatedSession {
    /// Whether the peer is in our own AS.
    pub kind: PeerKind,
    /// The peer's AS.
    pub peer_asn: Asn,
    /// The peer's identifier.
    pub peer_id: RouterId,
    /// The smaller of both hold times; `None`: it is zero, and there are no timers.
    pub hold_time: Option<Duration>,
    /// Whether the peer supports 4-octet AS numbers.
    pub as_width: AsWidth,
    /// The families that both OPENs have.
    pub families: BTreeSet<Family>,
    /// Whether IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The kind of ROUTE-REFRESH that both sides support.
    pub refresh: RefreshKind,
}

/// Whether the peer is in our AS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerKind {
    /// Another AS: our AS is prepended.
    External,
    /// Our AS: routes have LOCAL_PREF.
    Internal,
}

/// The size of an AS number in AS_PATH towards the peer (RFC 6793).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AsWidth {
    /// An old peer: AS_TRANS and AS4_PATH.
    Two,
    /// 4 octets.
    Four,
}

/// The kind of ROUTE-REFRESH that both sides support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshKind {
    /// RFC 2918 at most.
    Plain,
    /// RFC 7313: BoRR and EoRR before and after the routes that are sent again.
    Enhanced,
}

/// A ROUTE-REFRESH as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The family; `None`: one that we do not have.
    pub family: Option<Family>,
    /// The message subtype (RFC 7313 §3.2).
    pub subtype: u8,
    /// The message from marker to end, for an answer's data.
    pub message: Vec<u8>,
}

/// The length of a ROUTE-REFRESH without filters.
const REFRESH_LENGTH: usize = 23;

impl NegotiatedSession {
    /// The reaction to a ROUTE-REFRESH: send a family again, do nothing, or answer 7/1.
    pub fn refresh(&self, refresh: &Refresh) -> Result<Option<Family>, Notification> {
        let ours = refresh.family.filter(|family| self.families.contains(family));
        match (self.refresh, refresh.subtype) {
            // RFC 2918 §3: the octet is reserved and ignored.
            (RefreshKind::Plain, _) | (RefreshKind::Enhanced, 0) => Ok(ours),
            (RefreshKind::Enhanced, 1 | 2) if refresh.message.len() != REFRESH_LENGTH => {
                Err(Notification::new(notification::BAD_REFRESH_LENGTH, refresh.message.clone()))
            }
            // BoRR and EoRR are about the peer's own routes. RFC 7313 §5 says that other subtypes are ignored.
            (RefreshKind::Enhanced, _) => Ok(None),
        }
    }
}

/// Computes the negotiated values from our offer and the peer's OPEN.
pub fn negotiate(offer: &Offer, open: &Open) -> Result<NegotiatedSession, OpenError> {
    let wide =
        open.capabilities.iter().rev().find_map(|capability| {
            if let Capability::FourOctetAs(asn) = capability { Some(*asn) } else { None }
        });
    let got = if open.asn == 0 { 0 } else { wide.unwrap_or(u32::from(open.asn)) };
    let wrong = || OpenError::WrongAs { got, want: offer.peer_asn };
    let peer_asn = Asn::try_from(got).map_err(|_| wrong())?;
    let kind = if peer_asn == offer.asn { PeerKind::Internal } else { PeerKind::External };
    let wanted = match offer.peer_asn {
        PeerAsn::Is(asn) => asn == peer_asn,
        PeerAsn::External => kind == PeerKind::External,
        PeerAsn::Internal => kind == PeerKind::Internal,
    };
    if !wanted {
        return Err(wrong());
    }
    let peer_id = RouterId::try_from(open.identifier).map_err(|_| OpenError::Identifier(open.identifier))?;
    if kind == PeerKind::Internal && peer_id == offer.router_id {
        return Err(OpenError::Identifier(open.identifier));
    }
    if matches!(open.hold_time, 1 | 2) {
        return Err(OpenError::HoldTime(open.hold_time));
    }
    let seconds = offer.hold_time.min(open.hold_time);
    if seconds < offer.min_hold_time {
        return Err(OpenError::ShortHoldTime { got: open.hold_time, least: offer.min_hold_time });
    }
    // A capability counts only if both sides have it.
    let has = |wanted: Capability| offer.capabilities && open.capabilities.contains(&wanted);
    let mut families: BTreeSet<Family> = peer_families(open).intersection(&offer.families).copied().collect();
    if !offer.capabilities {
        families.retain(|family| *family == Family::V4);
    }

    Ok(NegotiatedSession {
        kind,
        peer_asn,
        peer_id,
        hold_time: (seconds != 0).then(|| Duration::from_secs(seconds.into())),
        as_width: if wide.is_some() && offer.capabilities { AsWidth::Four } else { AsWidth::Two },
        families,
        extended_next_hop: offer.extended_next_hop && has(Capability::ExtendedNextHop),
        refresh: if has(Capability::EnhancedRouteRefresh) {
            RefreshKind::Enhanced
        } else {
            RefreshKind::Plain
        },
    })
}

/// A peer without multiprotocol capabilities supports IPv4 (RFC 4760 §8 came after RFC 1771).
fn peer_families(open: &Open) -> BTreeSet<Family> {
    let mut families = BTreeSet::new();
    let mut spoke = false;
    for capability in &open.capabilities {
        match capability {
            Capability::Multiprotocol(family) => {
                spoke = true;
                families.insert(*family);
            }
            Capability::ForeignMultiprotocol => spoke = true,
            Capability::RouteRefresh
            | Capability::ExtendedNextHop
            | Capability::FourOctetAs(_)
            | Capability::EnhancedRouteRefresh
            | Capability::Other(_) => {}
        }
    }
    if !spoke {
        families.insert(Family::V4);
    }
    families
}

#[cfg(test)]
mod tests;
