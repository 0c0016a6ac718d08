//! How bad the state of a VIP, a service or a router is.
//!
//! Pure.

use crate::control::api::{PeerStatus, ServiceStatus, VipStatus};

/// How bad a state is; the order is from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is as the configuration wants it.
    Fine,
    /// It is as an operator has ordered it: drained, or the daemon stops.
    Ordered,
    /// It has no verdict yet.
    Starting,
    /// Users are served, but something is not as the configuration wants it.
    Warning,
    /// A VIP that should be announced is not, or was sent to no router; or a router has no session.
    Failed,
}

impl Severity {
    /// The mark at the beginning of a line, which can be read without colour.
    pub fn mark(self) -> &'static str {
        match self {
            Severity::Fine => "ok",
            Severity::Ordered => "drain",
            Severity::Starting => "start",
            Severity::Warning => "warn",
            Severity::Failed => "FAIL",
        }
    }
}

/// The severity of a VIP.
pub fn vip(vip: &VipStatus) -> Severity {
    match (vip.standing.as_str(), vip.reason.code.as_str()) {
        ("announced" | "last_choice", _) if is_unsent(vip) => Severity::Failed,
        ("announced", _) | ("last_choice", "backup") => Severity::Fine,
        ("last_choice", _) => Severity::Warning,
        ("drained", _) | (_, "stopping") => Severity::Ordered,
        ("starting", _) => Severity::Starting,
        (_, _) => Severity::Failed,
    }
}

/// Whether a VIP is announced by our decision, and no router that should have it acknowledged it.
pub fn is_unsent(vip: &VipStatus) -> bool {
    is_advertised(vip) && vip.routers.wanted > 0 && vip.routers.acknowledged == 0
}

/// Whether a VIP is announced or the last choice.
pub fn is_advertised(vip: &VipStatus) -> bool {
    ["announced", "last_choice"].contains(&vip.standing.as_str())
}

/// The severity of a service: that of its worst VIP.
pub fn service(service: &ServiceStatus) -> Severity {
    service.vips.iter().map(vip).max().unwrap_or(Severity::Fine)
}

/// The severity of a router.
pub fn router(peer: &PeerStatus) -> Severity {
    match (peer.session.is_some(), peer.not_sent.is_empty()) {
        (true, true) => Severity::Fine,
        (true, false) => Severity::Warning,
        (false, _) => Severity::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{a_vip, router as a_router};
    use super::*;

    #[test]
    fn a_vip_is_as_bad_as_what_users_and_operators_see_of_it() {
        for (standing, code, wanted, acknowledged, want) in [
            ("announced", "healthy", 3, 3, Severity::Fine),
            ("announced", "healthy", 3, 1, Severity::Fine),
            ("announced", "healthy", 3, 0, Severity::Failed),
            ("announced", "healthy", 0, 0, Severity::Fine), // no router takes the family: the configuration says so
            ("last_choice", "backup", 3, 3, Severity::Fine),
            ("last_choice", "flapping", 3, 3, Severity::Warning),
            ("last_choice", "unhealthy", 3, 0, Severity::Failed),
            ("drained", "drained", 3, 0, Severity::Ordered),
            ("not_announced", "stopping", 3, 0, Severity::Ordered),
            ("starting", "checks_undecided", 3, 0, Severity::Starting),
            ("not_announced", "unhealthy", 3, 0, Severity::Failed),
            ("not_announced", "waiting", 3, 0, Severity::Failed),
        ] {
            let mut one = a_vip("192.0.2.1", standing, code, "");
            (one.routers.wanted, one.routers.acknowledged) = (wanted, acknowledged);
            assert_eq!(vip(&one), want, "{standing} {code} {acknowledged} of {wanted}");
        }
    }

    #[test]
    fn a_router_without_a_session_is_down() {
        assert_eq!(router(&a_router("r1", true)), Severity::Fine);
        assert_eq!(router(&a_router("r1", false)), Severity::Failed);
        let why = crate::control::api::ReasonStatus {
            code: "no_next_hop".into(),
            text: "IPv6 routes are not sent".into(),
        };
        let partly = PeerStatus { not_sent: vec![why], ..a_router("r1", true) };
        assert_eq!(router(&partly), Severity::Warning);
    }
}
