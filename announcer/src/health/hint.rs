//! The hints for a failed probe, by its outcome.
//!
//! Pure. A hint says "if" when there is more than one possible cause. The hints for the words of one kind are declared with that
//! kind, in `config/kind/NAME.rs`.

use std::net::IpAddr;

use crate::config::CheckConfig;
use crate::config::kind::http::{self, ProbeConnection};
use crate::config::kind::{Answer, FirstOctets, ProbeContext};
use crate::config::proxy::ProxyVersion;
use crate::model::device::create_vrf;

use super::outcome::{Outcome, Reason, TimeoutPhase};

/// The hint for `outcome` of a check in a VRF or in no VRF, if the outcome alone does not say what to do; or that a right answer is slow.
pub fn of(check: &CheckConfig, vip: IpAddr, vrf: Option<&str>, outcome: &Outcome) -> Option<String> {
    let reason = match outcome {
        Outcome::Fail { reason, .. } => reason,
        Outcome::Pass { answer, took, .. } => {
            let Some(slow) = check.slow.filter(|slow| *took > slow.after) else { return of_answer(answer) };
            let after = humantime::format_duration(slow.after);
            return Some(format!("the answer is slow: it took longer than `slow`, which is {after}"));
        }
        Outcome::Skipped(_) => return None,
    };
    let first_octets = check.probe.first_octets();
    match reason {
        Reason::Closed | Reason::Reset => closed(first_octets, check.probe.send_proxy()),
        Reason::TimedOut { waiting: TimeoutPhase::Answer, .. } if first_octets == FirstOctets::PlainHttp => {
            Some("if the port uses TLS, write `https://` in place of `http://`".into())
        }
        Reason::VipMissing => {
            Some("`dsr-setup apply` and the daemon put it on lo, or on the device of its VRF".into())
        }
        Reason::VrfMissing(vrf) => {
            Some(format!("{}; write its name as `ip link show type vrf` prints it", create_vrf(vrf)))
        }
        Reason::Kind(failure) => {
            failure.hint(&ProbeContext { vip, vip_itself: check.target.is_none(), first_octets })
        }
        Reason::Refused => vrf.map(|vrf| refused(check, vrf)),
        Reason::TimedOut { .. } | Reason::Os(_) | Reason::Other(_) => None,
    }
}

/// The hint for a check in this VRF whose connection was refused.
fn refused(check: &CheckConfig, vrf: &str) -> String {
    let protocol = if check.probe.is_over_udp() { "udp" } else { "tcp" };
    let server = match check.target {
        None => "start the server in the VRF",
        Some(_) => {
            "the probe is made in the VRF: if `target` is an address of this host, start its server in the VRF too"
        }
    };
    format!(
        "{server}, as in `ip vrf exec {vrf} nginx`; one that is bound to no device serves there only with `net.ipv4.{protocol}_l3mdev_accept = 1`"
    )
}

/// The hint for a right answer after which `reuse` has no effect.
fn of_answer(answer: &Answer) -> Option<String> {
    let Answer::Http(http::Answer::Over { connection: ProbeConnection::NotKept, .. }) = answer else {
        return None;
    };
    Some("`reuse` has no effect: the server ends the connection after its answer, or the body is longer than `max_body`".into())
}

/// A server that closes a connection without an answer has usually rejected the first octets.
fn closed(asks: FirstOctets, sent: Option<ProxyVersion>) -> Option<String> {
    let proxy = match sent {
        None => {
            "if the port requires the PROXY protocol (`proxy_protocol` of nginx, `accept-proxy` of HAProxy), write `send_proxy = \"v2\"`"
        }
        Some(_) => "if the port does not use the PROXY protocol, remove `send_proxy`",
    };
    Some(match asks {
        FirstOctets::PlainHttp => {
            format!("if the port uses TLS, write `https://` in place of `http://`; {proxy}")
        }
        FirstOctets::HttpOverTls | FirstOctets::Tls | FirstOctets::Other => proxy.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::kind::handshake;
    use crate::config::tests::a_check;

    // H21, H9, H20: the failure, and what a person should try.
    #[test]
    fn a_right_answer_that_is_late_is_said_to_be_slow() {
        for (slow, took, is_slow) in
            [("slow = \"20ms\"", 21, true), ("slow = \"20ms\"", 20, false), ("", 900, false)]
        {
            let check = a_check(&format!("http = \"http://x/\"\n{slow}"));
            let took = Duration::from_millis(took);
            let outcome = Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took };
            let hint = of(&check, [192, 0, 2, 80].into(), None, &outcome);
            assert_eq!(hint.is_some_and(|hint| hint.contains("longer than `slow`, which is 20ms")), is_slow);
        }
    }

    #[test]
    fn a_refused_connection_in_a_vrf_may_be_a_server_outside_of_it() {
        for (check, begins, setting) in [
            ("tcp = 80", "start the server in the VRF", "tcp"),
            ("http = \"http://x/\"", "start the server in the VRF", "tcp"),
            ("tcp = 80\ntarget = \"192.0.2.1\"", "the probe is made in the VRF: if `target`", "tcp"),
            ("udp = 53\nexpect = 'x'", "start the server in the VRF", "udp"),
            ("dns = \"x\"", "start the server in the VRF", "udp"),
            ("dns = \"x\"\ntransport = \"tcp\"", "start the server in the VRF", "tcp"),
            ("ntp = 123", "start the server in the VRF", "udp"),
        ] {
            let check = a_check(check);
            let outcome = Outcome::Fail { reason: Reason::Refused, took: Duration::ZERO };
            let hint = |vrf| of(&check, [192, 0, 2, 80].into(), vrf, &outcome);
            assert_eq!(hint(None), None);
            let hint = hint(Some("edge")).unwrap();
            assert!(hint.starts_with(begins) && hint.contains("`ip vrf exec edge nginx`"), "{hint}");
            assert!(hint.contains(&format!("`net.ipv4.{setting}_l3mdev_accept = 1`")), "{hint}");
        }
    }

    #[test]
    fn a_connection_that_cannot_be_kept_has_a_hint() {
        let check = a_check("http = \"http://x/\"\nreuse = true");
        for (connection, has_hint) in
            [(ProbeConnection::New, false), (ProbeConnection::Kept, false), (ProbeConnection::NotKept, true)]
        {
            let answer = http::Answer::Over { status: 200, connection }.into();
            let outcome = Outcome::Pass { answer, warning: None, took: Duration::ZERO };
            let hint = of(&check, [192, 0, 2, 80].into(), None, &outcome);
            assert_eq!(hint.is_some_and(|hint| hint.starts_with("`reuse` has no effect")), has_hint);
        }
    }

    #[test]
    fn each_hint_is_for_what_was_seen_and_how_it_was_asked() {
        let (plain, tls, tcp) = ("http = \"http://x/\"", "http = \"https://x/\"", "tcp = 25\nexpect = 'x'");
        let fixed = "http = \"http://x/\"\ntarget = \"192.0.2.1\"";
        let hung = || Reason::TimedOut { waiting: TimeoutPhase::Answer, after: Duration::from_secs(1) };
        let forbidden = || http::Failure::Status(403).into();
        for (check, reason, want) in [
            (plain, hung(), "if the port uses TLS"),
            (tls, hung(), ""),
            (plain, Reason::Reset, "if the port uses TLS"),
            (tls, Reason::Closed, "if the port requires the PROXY protocol"),
            (tcp, Reason::Reset, "if the port requires the PROXY protocol"),
            ("http = \"https://x/\"\nsend_proxy = \"v1\"", Reason::Closed, "remove `send_proxy`"),
            (plain, Reason::VipMissing, "`dsr-setup apply`"),
            (plain, Reason::Refused, ""),
            // Words of a kind: the check is passed to it.
            (plain, forbidden(), "let the server allow 192.0.2.80"),
            (fixed, forbidden(), ""),
            (plain, http::Failure::NotHttp.into(), "if the port uses TLS"),
            (tls, http::Failure::NotHttp.into(), ""),
            (tls, handshake::Failure::NotTls.into(), "write `http://`"),
            ("tls = \"x\"", handshake::Failure::NotTls.into(), "check it with `http` or `tcp`"),
        ] {
            let outcome = Outcome::Fail { reason, took: Duration::ZERO };
            let hint = of(&a_check(check), [192, 0, 2, 80].into(), None, &outcome).unwrap_or_default();
            assert!(hint.contains(want) && want.is_empty() == hint.is_empty(), "{outcome}: {hint}");
        }
    }
}
