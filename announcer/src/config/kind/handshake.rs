//! The words of a TLS handshake, which the results of `http` and `tls` share.
//!
//! Pure. Every text reads as the middle of a sentence. The flaws of a certificate are in [`super::certificate`].

use std::fmt;

use super::certificate::{Date, Flaw};
use super::interface::{FailureWord, FirstOctets, ProbeContext, Word};
use crate::model::text::PrintableText;

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The answer is not TLS.
    NotTls,
    /// The handshake failed; with our own sentence for the reason.
    Tls(&'static str),
    /// No certificate can have a name such as this one.
    NoServerName(PrintableText),
    /// The server chose none of the protocols that were offered by ALPN.
    NoProtocol,
    /// The server requires a certificate of the client, and got none.
    WantsCertificate,
    /// The server got our certificate, and does not accept it.
    RefusesCertificate,
    /// The server asked for our certificate, which cannot be used; with the reason.
    NoClientCertificate(PrintableText),
    /// The certificate, by `verify = "require"`.
    Certificate(Flaw),
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![
            Failure::NotTls,
            Failure::Tls("a sentence that says why, and what to do"),
            Failure::NoServerName(PrintableText::new("_.example.com")),
            Failure::NoProtocol,
            Failure::WantsCertificate,
            Failure::RefusesCertificate,
            Failure::NoClientCertificate(PrintableText::new(
                "`/etc/announcer/client.pem` has no certificate",
            )),
            Failure::Certificate(Flaw::Untrusted),
        ]
    }

    fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        match self {
            Failure::Certificate(flaw) => Some((Some(flaw), flaw.ended())),
            Failure::NotTls | Failure::Tls(_) | Failure::NoServerName(_) => None,
            Failure::NoProtocol | Failure::WantsCertificate | Failure::RefusesCertificate => None,
            Failure::NoClientCertificate(_) => None,
        }
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::NotTls => "not_tls",
            Failure::Tls(_) | Failure::NoServerName(_) => "tls",
            Failure::NoProtocol => "no_protocol",
            Failure::WantsCertificate => "wants_certificate",
            Failure::RefusesCertificate => "refuses_certificate",
            Failure::NoClientCertificate(_) => "no_client_certificate",
            Failure::Certificate(_) => "certificate",
        }
    }

    fn is_timed(&self) -> bool {
        match self {
            Failure::Certificate(_) | Failure::Tls(_) | Failure::NoClientCertificate(_) => false,
            Failure::NotTls | Failure::NoServerName(_) => true,
            Failure::NoProtocol | Failure::WantsCertificate | Failure::RefusesCertificate => true,
        }
    }

    fn hint(&self, asked: &ProbeContext) -> Option<String> {
        let hint = match self {
            Failure::NotTls => match asked.first_octets {
                FirstOctets::HttpOverTls => {
                    "if the port does not use TLS, write `http://` in place of `https://`"
                }
                FirstOctets::PlainHttp | FirstOctets::Tls | FirstOctets::Other => {
                    "if the port does not use TLS, check it with `http` or `tcp`"
                }
            },
            Failure::WantsCertificate => {
                "write `client_certificate` and `client_key`, or check another site or port of the server, where clients need none"
            }
            Failure::RefusesCertificate => {
                "compare the certificate with what the server trusts: `openssl x509 -noout -issuer -enddate -in FILE` prints its issuer and \
                 its end, and the server's log may say more"
            }
            Failure::Tls(_) | Failure::NoServerName(_) | Failure::NoClientCertificate(_) => return None,
            Failure::NoProtocol | Failure::Certificate(_) => return None,
        };
        Some(hint.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotTls => f.write_str("answer is not TLS"),
            Failure::Tls(text) => write!(f, "TLS failed: {text}"),
            Failure::NoServerName(name) => write!(f, "a certificate cannot have the name `{name}`"),
            Failure::NoProtocol => f.write_str("the server chose none of the offered protocols"),
            Failure::WantsCertificate => f.write_str("the server requires a client certificate"),
            Failure::RefusesCertificate => f.write_str("the server does not accept the client certificate"),
            Failure::NoClientCertificate(why) => write!(f, "the client certificate cannot be used: {why}"),
            Failure::Certificate(flaw) => flaw.fmt(f),
        }
    }
}

/// What is wrong with a certificate although the probe passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The certificate, by `verify = "warn"`.
    Certificate(Flaw),
    /// It ends within `cert_expires_within`, or has ended.
    Expires(Date),
    /// Our own certificate, which the server got, ends within `cert_expires_within`, or has ended.
    ClientExpires(Date),
}

impl Word for Warning {
    fn examples() -> Vec<Self> {
        let date = Date::of_unix(1_900_000_000);
        let ends = [Warning::ClientExpires(date), Warning::Expires(date)];
        Flaw::examples().into_iter().map(Warning::Certificate).chain(ends).collect()
    }

    fn certificate(&self) -> Option<(Option<&Flaw>, Option<Date>)> {
        match self {
            Warning::Certificate(flaw) => Some((Some(flaw), flaw.ended())),
            Warning::Expires(date) => Some((None, Some(*date))),
            Warning::ClientExpires(_) => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Certificate(flaw) => flaw.fmt(f),
            Warning::Expires(date) => write!(f, "the certificate ends on {date}"),
            Warning::ClientExpires(date) => write!(f, "the client certificate ends on {date}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_label_and_its_text() {
        let want = [
            ("not_tls", "answer is not TLS", true),
            ("tls", "TLS failed: a sentence that says why, and what to do", false),
            ("tls", "a certificate cannot have the name `_.example.com`", true),
            ("no_protocol", "the server chose none of the offered protocols", true),
            ("wants_certificate", "the server requires a client certificate", true),
            ("refuses_certificate", "the server does not accept the client certificate", true),
            (
                "no_client_certificate",
                "the client certificate cannot be used: `/etc/announcer/client.pem` has no certificate",
                false,
            ),
            ("certificate", "the certificate's chain does not end at a trusted certificate", false),
        ];
        let failures = Failure::examples();
        assert_eq!(failures.len(), want.len());
        for (failure, want) in failures.iter().zip(want) {
            match failure {
                // A new variant does not compile before it is here, and then in the examples and above.
                Failure::NotTls | Failure::Tls(_) | Failure::NoServerName(_) | Failure::NoProtocol => {}
                Failure::WantsCertificate | Failure::RefusesCertificate => {}
                Failure::NoClientCertificate(_) | Failure::Certificate(_) => {}
            }
            assert_eq!((failure.label(), failure.to_string().as_str(), failure.is_timed()), want);
        }
    }

    #[test]
    fn a_warning_says_what_is_wrong_or_when_the_certificate_ends() {
        let warnings = Warning::examples();
        let ends = "the certificate ends on 2030-03-17 17:46 UTC";
        assert_eq!(warnings.last().map(Warning::to_string).as_deref(), Some(ends));
        for warning in &warnings {
            match warning {
                Warning::Certificate(flaw) => assert_eq!(warning.to_string(), flaw.to_string()),
                Warning::Expires(_) => {}
                Warning::ClientExpires(_) => {
                    assert_eq!(warning.to_string(), "the client certificate ends on 2030-03-17 17:46 UTC");
                }
            }
        }
    }

    #[test]
    fn what_is_said_of_a_certificate_is_its_flaw_and_its_end() {
        let date = Date::of_unix(1_900_000_000);
        let expired = Flaw::Expired(date);
        assert_eq!(Warning::Expires(date).certificate(), Some((None, Some(date))));
        assert_eq!(Warning::Certificate(expired.clone()).certificate(), Some((Some(&expired), Some(date))));
        assert_eq!(Failure::Certificate(expired.clone()).certificate(), Some((Some(&expired), Some(date))));
        let flaw = Flaw::NotYetValid(date);
        assert_eq!(Failure::Certificate(flaw.clone()).certificate(), Some((Some(&flaw), None)));
        assert_eq!(Failure::NotTls.certificate(), None);
        assert_eq!(Warning::ClientExpires(date).certificate(), None, "it is not the server's");
    }

    // H9, H20: the failure, and what a person should try.
    #[test]
    fn each_hint_is_for_what_was_seen_and_how_it_was_asked() {
        let (https, tls) = (FirstOctets::HttpOverTls, FirstOctets::Tls);
        for (asked, failure, want) in [
            (https, Failure::NotTls, "write `http://`"),
            (tls, Failure::NotTls, "check it with `http` or `tcp`"),
            (https, Failure::WantsCertificate, "write `client_certificate` and `client_key`"),
            (https, Failure::RefusesCertificate, "openssl x509"),
            (https, Failure::NoProtocol, ""),
        ] {
            let hint = failure.hint(&ProbeContext::of_test(asked)).unwrap_or_default();
            assert!(hint.contains(want) && want.is_empty() == hint.is_empty(), "{failure}: {hint}");
        }
    }
}
