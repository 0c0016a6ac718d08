//! What to look at when a probe fails, by what it saw.
//!
//! Pure. A hint says "if" where what was seen has more than one cause.

use std::net::IpAddr;

use crate::config::Check;
use crate::config::kind::FirstOctets;

use super::outcome::{Outcome, Reason, Waiting};

/// A hint for a person who sees `outcome`, where that alone could leave them at a loss.
pub fn of(check: &Check, vip: IpAddr, outcome: &Outcome) -> Option<String> {
    let Outcome::Fail { reason, .. } = outcome else { return None };
    let from = check.probe.first_octets();
    #[allow(clippy::wildcard_enum_match_arm)] // most failures need no hint
    match reason {
        Reason::Redirect { .. } => {
            Some("a redirect is not followed: write the URL that it leads to, or its status in `expect_status`".into())
        }
        Reason::Status(401 | 403) if check.target.is_none() => {
            Some(format!("the probe comes from the VIP itself: let {vip} in"))
        }
        Reason::Status(411) => Some("the server wants a body: write `body`, or another `method`".into()),
        Reason::WantsTls => Some("write `https://` in place of `http://`".into()),
        Reason::WantsCertificate => Some(
            "announcer has no certificate to show: ask another site or port of the server, where clients need none".into(),
        ),
        Reason::NotHttp if from == FirstOctets::PlainHttp => {
            Some("if the port is one of TLS, write `https://` in place of `http://`".into())
        }
        Reason::NotTls => Some(match from {
            FirstOctets::HttpOverTls => "if the port speaks no TLS, write `http://` in place of `https://`".into(),
            FirstOctets::PlainHttp | FirstOctets::Tls | FirstOctets::Other => "if the port speaks no TLS, ask it by `http` or `tcp`".into(),
        }),
        Reason::Closed | Reason::Reset => closed(from),
        Reason::TimedOut { waiting: Waiting::Answer, .. } if from == FirstOctets::PlainHttp => {
            Some("if the port is one of TLS, write `https://` in place of `http://`".into())
        }
        Reason::NoMatch { encoding: Some(_), .. } | Reason::Digest { encoding: Some(_), .. } => Some(
            "the body is compared as it was sent: let the server send it without an encoding to a client that asks for none"
                .into(),
        ),
        Reason::NoMatch { within: Some(_), .. } => {
            Some("if it stands further on in the body, write a larger `max_body`".into())
        }
        Reason::VipMissing => Some("`dsr-setup apply` puts it on lo, and so does the daemon".into()),
        _ => None,
    }
}

/// A server that closes a connection without a word does not like its first octets, most often.
fn closed(asks: FirstOctets) -> Option<String> {
    let proxy = "if the port wants the PROXY protocol (`proxy_protocol` of nginx, `accept-proxy` of HAProxy), which announcer \
                 does not speak, ask a port without it";
    Some(match asks {
        FirstOctets::PlainHttp => {
            format!("if the port is one of TLS, write `https://` in place of `http://`; {proxy}")
        }
        FirstOctets::HttpOverTls | FirstOctets::Tls | FirstOctets::Other => proxy.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::tests::a_check;
    use crate::health::outcome::Shown;

    // H21, H9, H20: what was seen, and what a person should try.
    #[test]
    fn each_hint_is_for_what_was_seen_and_how_it_was_asked() {
        let (http, https, tcp) = ("http = \"http://x/\"", "http = \"https://x/\"", "tcp = 25\nexpect = 'x'");
        let fixed = "http = \"http://x/\"\ntarget = \"192.0.2.1\"";
        let gzip = Reason::NoMatch { encoding: Some(Shown::new("gzip")), within: None };
        let answer = Reason::TimedOut { waiting: Waiting::Answer, after: Duration::from_secs(1) };
        for (check, reason, want) in [
            (http, Reason::WantsTls, "write `https://`"),
            (http, Reason::NotHttp, "if the port is one of TLS"),
            (https, Reason::NotHttp, ""),
            (http, answer, "if the port is one of TLS"),
            (https, Reason::NotTls, "write `http://`"),
            ("tls = \"x\"", Reason::NotTls, "ask it by `http` or `tcp`"),
            (http, Reason::Reset, "if the port is one of TLS"),
            (https, Reason::Closed, "if the port wants the PROXY protocol"),
            (tcp, Reason::Reset, "if the port wants the PROXY protocol"),
            (http, Reason::Status(403), "let 192.0.2.80 in"),
            (fixed, Reason::Status(403), ""),
            (http, Reason::Status(411), "write `body`"),
            (http, Reason::Status(503), ""),
            (https, Reason::WantsCertificate, "announcer has no certificate to show"),
            (http, gzip, "without an encoding"),
            (http, Reason::NoMatch { encoding: None, within: Some(10) }, "`max_body`"),
            (http, Reason::NoMatch { encoding: None, within: None }, ""),
        ] {
            let outcome = Outcome::Fail { reason, took: Duration::ZERO };
            let hint = of(&a_check(check), [192, 0, 2, 80].into(), &outcome).unwrap_or_default();
            assert!(hint.contains(want) && want.is_empty() == hint.is_empty(), "{outcome}: {hint}");
        }
    }
}
