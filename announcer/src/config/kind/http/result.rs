//! The words of the results of `http`.
//!
//! Pure. Every text reads as the middle of a sentence. The words of TLS are in `handshake`.

use std::fmt;

use super::super::interface::{FailureWord, FirstOctets, ProbeContext, Word};
use super::expect::Mismatch;
use super::value::Digest;
use crate::model::text::PrintableText;

/// The answer of a healthy server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A status that passes.
    Status(u16),
    /// The same from a check with `reuse`, which says over which connection.
    Over {
        /// 200 to 599.
        status: u16,
        /// The connection.
        connection: ProbeConnection,
    },
}

impl Answer {
    /// The answer with its connection.
    pub fn over(self, connection: ProbeConnection) -> Self {
        let (Answer::Status(status) | Answer::Over { status, .. }) = self;
        Answer::Over { status, connection }
    }
}

/// The connection of a probe of a check with `reuse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeConnection {
    /// A new one, which is kept for the next probe.
    New,
    /// A new one that cannot be kept: the server ends it, or the body was longer than `max_body`.
    NotKept,
    /// One that an earlier probe has opened.
    Kept,
}

impl fmt::Display for ProbeConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProbeConnection::New => "a new connection",
            ProbeConnection::NotKept => "a new connection that could not be kept",
            ProbeConnection::Kept => "the kept connection",
        })
    }
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        let over = |connection| Answer::Over { status: 204, connection };
        let connections = [ProbeConnection::New, ProbeConnection::NotKept, ProbeConnection::Kept];
        [Answer::Status(204)].into_iter().chain(connections.map(over)).collect()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Status(status) => write!(f, "HTTP {status}"),
            Answer::Over { status, connection } => write!(f, "HTTP {status} over {connection}"),
        }
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The connection ended within the answer.
    CutShort,
    /// The answer is not HTTP.
    NotHttp,
    /// The answer is HTTP, except for the rest of its first line.
    MalformedStatusLine,
    /// The answer is HTTP, except for a header field.
    Malformed(MalformedField),
    /// The header has more fields or octets than the limit.
    HeaderTooLong,
    /// The server answered that its port uses TLS, but the probe did not.
    WantsTls,
    /// A status that does not pass.
    Status(u16),
    /// A redirect, which is not followed.
    Redirect {
        /// 300 to 399.
        status: u16,
        /// The Location field, fit to print.
        to: PrintableText,
    },
    /// The answer is not HTTP/2, but only HTTP/2 was offered.
    NotHttp2,
    /// The body has more octets than this, and the check has a digest.
    BodyTooLong(u32),
    /// `expect_body` is not in the body.
    NoMatch {
        /// How the body is encoded, by Content-Encoding, if it is.
        encoding: Option<PrintableText>,
        /// How many octets were searched, if the body has more.
        within: Option<u32>,
    },
    /// A header field differs from `expect_header`.
    Header(Box<Mismatch>),
    /// The body is not JSON, and the check has `expect_json`.
    NotJson,
    /// A value of the body differs from `expect_json`.
    Json(Box<Mismatch>),
    /// The digest of the body differs from `expect_digest`.
    Digest {
        /// This one.
        got: Digest,
        /// How the body is encoded, by Content-Encoding, if it is.
        encoding: Option<PrintableText>,
    },
}

/// Which header field of an answer is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MalformedField {
    /// Content-Length: it is not a number, or there are two different ones.
    ContentLength,
    /// Transfer-Encoding: the answer must not have it, or its value is not known.
    TransferEncoding,
    /// Another field: it has a NUL in it, or a carriage return that does not end a line.
    Any,
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        let gzip = || Some(PrintableText::new("gzip"));
        let mismatch = |place: &str, found: Option<&str>| {
            Box::new(Mismatch { place: place.to_owned(), found: found.map(PrintableText::new) })
        };
        vec![
            Failure::CutShort,
            Failure::NotHttp,
            Failure::MalformedStatusLine,
            Failure::Malformed(MalformedField::Any),
            Failure::Malformed(MalformedField::ContentLength),
            Failure::Malformed(MalformedField::TransferEncoding),
            Failure::HeaderTooLong,
            Failure::WantsTls,
            Failure::Status(503),
            Failure::Redirect { status: 301, to: PrintableText::new("https://www.example.com/") },
            Failure::NotHttp2,
            Failure::BodyTooLong(65536),
            Failure::NoMatch { encoding: None, within: None },
            Failure::NoMatch { encoding: None, within: Some(65536) },
            Failure::NoMatch { encoding: gzip(), within: None },
            Failure::Header(mismatch("x-ready", None)),
            Failure::Header(mismatch("x-ready", Some("no"))),
            Failure::NotJson,
            Failure::Json(mismatch("/status", None)),
            Failure::Json(mismatch("/status", Some("\"degraded\""))),
            Failure::Digest { got: Digest::Sha1([0; 20]), encoding: None },
            Failure::Digest { got: Digest::Sha1([0; 20]), encoding: gzip() },
        ]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::CutShort => "cut_short",
            Failure::NotHttp => "not_http",
            Failure::MalformedStatusLine | Failure::Malformed(_) => "malformed",
            Failure::HeaderTooLong => "header_too_long",
            Failure::WantsTls => "wants_tls",
            Failure::Status(_) => "status",
            Failure::Redirect { .. } => "redirect",
            Failure::NotHttp2 => "not_http2",
            Failure::BodyTooLong(_) => "body_too_long",
            Failure::NoMatch { .. } => "no_match",
            Failure::Header(_) => "header",
            Failure::NotJson => "not_json",
            Failure::Json(_) => "json",
            Failure::Digest { .. } => "digest",
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "most failures need no hint")]
    fn hint(&self, asked: &ProbeContext) -> Option<String> {
        let hint = match self {
            Failure::Redirect { .. } => {
                "a redirect is not followed: write the URL that it leads to, or its status in `expect_status`"
            }
            Failure::Status(401 | 403) if asked.vip_itself => {
                return Some(format!(
                    "the source address of the probe is the VIP itself: let the server allow {}",
                    asked.vip
                ));
            }
            Failure::Status(411) => "the server requires a body: write `body`, or another `method`",
            Failure::WantsTls => "write `https://` in place of `http://`",
            Failure::NotHttp if asked.first_octets == FirstOctets::PlainHttp => {
                "if the port uses TLS, write `https://` in place of `http://`"
            }
            Failure::NoMatch { encoding: Some(_), .. } | Failure::Digest { encoding: Some(_), .. } => {
                "the body is compared as it was sent: let the server send it without encoding to clients that do not request one"
            }
            Failure::NoMatch { within: Some(_), .. } => {
                "if it is further on in the body, write a larger `max_body`"
            }
            _ => return None,
        };
        Some(hint.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::CutShort => f.write_str("answer cut short"),
            Failure::NotHttp => f.write_str("answer is not HTTP"),
            Failure::MalformedStatusLine => {
                f.write_str("the status line is malformed; a correct one is `HTTP/1.1 200 OK`")
            }
            Failure::Malformed(field) => field.fmt(f),
            Failure::HeaderTooLong => {
                f.write_str("the header is too long, with more than 100 fields or 400 KiB")
            }
            Failure::WantsTls => f.write_str("HTTP 400, the server says that the port uses TLS"),
            Failure::Status(status) => write!(f, "HTTP {status}"),
            Failure::Redirect { status, to } => write!(f, "HTTP {status} to {to}"),
            Failure::NotHttp2 => f.write_str("answer is not HTTP/2"),
            Failure::BodyTooLong(most) => write!(f, "body is longer than {most} octets"),
            Failure::NoMatch { encoding: Some(encoding), .. } => {
                write!(f, "`expect_body` is not in the body, which has the Content-Encoding `{encoding}`")
            }
            Failure::NoMatch { encoding: None, within: Some(octets) } => {
                write!(f, "`expect_body` is not in the first {octets} octets of the body")
            }
            Failure::NoMatch { encoding: None, within: None } => {
                f.write_str("`expect_body` is not in the body")
            }
            Failure::Header(mismatch) => match (&mismatch.place, &mismatch.found) {
                (place, None) => write!(f, "the answer has no header field `{place}`"),
                (place, Some(found)) => write!(f, "the header field `{place}` is `{found}`"),
            },
            Failure::NotJson => f.write_str("the body is not JSON"),
            Failure::Json(mismatch) => match (&mismatch.place, &mismatch.found) {
                (place, None) => write!(f, "the JSON of the body has no `{place}`"),
                (place, Some(found)) => write!(f, "`{place}` of the body is `{found}`"),
            },
            Failure::Digest { got, encoding: None } => write!(f, "body has the digest {got}"),
            Failure::Digest { got, encoding: Some(encoding) } => {
                write!(f, "body has the digest {got}, with the Content-Encoding `{encoding}`")
            }
        }
    }
}

impl fmt::Display for MalformedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MalformedField::ContentLength => {
                "the header field Content-Length is malformed, or there are two that differ"
            }
            MalformedField::TransferEncoding => {
                "the header field Transfer-Encoding is malformed, or has no place in such an answer"
            }
            MalformedField::Any => "a header field is malformed, with a NUL or a carriage return in it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_the_connection_if_it_may_be_kept() {
        let answers: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        let over = [
            "HTTP 204 over a new connection",
            "HTTP 204 over a new connection that could not be kept",
            "HTTP 204 over the kept connection",
        ];
        assert_eq!(answers, [&["HTTP 204"][..], &over].concat());
        // A new variant does not compile before it is here, and then in the examples and above.
        match Answer::Status(204) {
            Answer::Status(_) => {}
            Answer::Over { connection: ProbeConnection::New | ProbeConnection::NotKept, .. } => {}
            Answer::Over { connection: ProbeConnection::Kept, .. } => {}
        }
        assert_eq!(
            Answer::Status(200).over(ProbeConnection::New).to_string(),
            "HTTP 200 over a new connection"
        );
    }

    #[test]
    fn each_failure_has_its_label_and_its_text() {
        let nothing = "0".repeat(40);
        let (plain, encoded) = (
            format!("body has the digest {nothing}"),
            format!("body has the digest {nothing}, with the Content-Encoding `gzip`"),
        );
        let want = [
            ("cut_short", "answer cut short"),
            ("not_http", "answer is not HTTP"),
            ("malformed", "the status line is malformed; a correct one is `HTTP/1.1 200 OK`"),
            ("malformed", "a header field is malformed, with a NUL or a carriage return in it"),
            ("malformed", "the header field Content-Length is malformed, or there are two that differ"),
            (
                "malformed",
                "the header field Transfer-Encoding is malformed, or has no place in such an answer",
            ),
            ("header_too_long", "the header is too long, with more than 100 fields or 400 KiB"),
            ("wants_tls", "HTTP 400, the server says that the port uses TLS"),
            ("status", "HTTP 503"),
            ("redirect", "HTTP 301 to https://www.example.com/"),
            ("not_http2", "answer is not HTTP/2"),
            ("body_too_long", "body is longer than 65536 octets"),
            ("no_match", "`expect_body` is not in the body"),
            ("no_match", "`expect_body` is not in the first 65536 octets of the body"),
            ("no_match", "`expect_body` is not in the body, which has the Content-Encoding `gzip`"),
            ("header", "the answer has no header field `x-ready`"),
            ("header", "the header field `x-ready` is `no`"),
            ("not_json", "the body is not JSON"),
            ("json", "the JSON of the body has no `/status`"),
            ("json", "`/status` of the body is `\"degraded\"`"),
            ("digest", &plain),
            ("digest", &encoded),
        ];
        let failures = Failure::examples();
        assert_eq!(failures.len(), want.len());
        for (failure, want) in failures.iter().zip(want) {
            match failure {
                // A new variant does not compile before it is here, and then in the examples and above.
                Failure::CutShort | Failure::NotHttp | Failure::HeaderTooLong | Failure::WantsTls => {}
                Failure::MalformedStatusLine => {}
                Failure::Malformed(MalformedField::Any | MalformedField::ContentLength) => {}
                Failure::Malformed(MalformedField::TransferEncoding) => {}
                Failure::Status(_) | Failure::Redirect { .. } | Failure::NotHttp2 => {}
                Failure::Header(_) | Failure::NotJson | Failure::Json(_) => {}
                Failure::BodyTooLong(_) | Failure::NoMatch { .. } | Failure::Digest { .. } => {}
            }
            assert_eq!((failure.label(), failure.to_string().as_str()), want);
            assert!(failure.is_timed() && failure.certificate().is_none());
        }
    }

    // H21: the failure, and what a person should try.
    #[test]
    fn each_hint_is_for_what_was_seen_and_how_it_was_asked() {
        let (http, https) = (FirstOctets::PlainHttp, FirstOctets::HttpOverTls);
        let redirect = Failure::Redirect { status: 301, to: PrintableText::new("https://x/") };
        let gzip = Failure::NoMatch { encoding: Some(PrintableText::new("gzip")), within: None };
        let digest =
            Failure::Digest { got: Digest::Sha1([0; 20]), encoding: Some(PrintableText::new("gzip")) };
        for (asked, failure, want) in [
            (http, redirect, "a redirect is not followed"),
            (http, Failure::WantsTls, "write `https://`"),
            (http, Failure::NotHttp, "if the port uses TLS"),
            (https, Failure::NotHttp, ""),
            (http, Failure::MalformedStatusLine, ""),
            (http, Failure::Status(401), "let the server allow 192.0.2.80"),
            (http, Failure::Status(403), "let the server allow 192.0.2.80"),
            (http, Failure::Status(411), "write `body`"),
            (http, Failure::Status(503), ""),
            (http, gzip, "without encoding"),
            (http, digest, "without encoding"),
            (http, Failure::NoMatch { encoding: None, within: Some(10) }, "`max_body`"),
            (http, Failure::NoMatch { encoding: None, within: None }, ""),
        ] {
            let hint = failure.hint(&ProbeContext::of_test(asked)).unwrap_or_default();
            assert!(hint.contains(want) && want.is_empty() == hint.is_empty(), "{failure}: {hint}");
        }
        let fixed = ProbeContext { vip_itself: false, ..ProbeContext::of_test(http) };
        assert_eq!(Failure::Status(403).hint(&fixed), None);
    }
}
