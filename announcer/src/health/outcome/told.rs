//! How outcomes are told: every text reads as the middle of a sentence.
//!
//! Pure.

use std::fmt;
use std::time::Duration;

use super::*;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Pass { answer, warning: None, took } => write!(f, "{answer} after {}", Millis(*took)),
            Outcome::Pass { answer, warning: Some(warning), took } => {
                write!(f, "{answer} after {}, but {warning}", Millis(*took))
            }
            // Says after how long by itself.
            Outcome::Fail { reason: reason @ Reason::TimedOut { .. }, .. } => reason.fmt(f),
            // Would be said of the date, or of what to do.
            Outcome::Fail {
                reason: reason @ (Reason::Certificate(_) | Reason::Tls(_) | Reason::Other(_)),
                ..
            } => reason.fmt(f),
            Outcome::Fail { reason, took } => write!(f, "{reason} after {}", Millis(*took)),
            Outcome::Skipped(shortage) => write!(f, "not asked, {shortage}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Http(status) => write!(f, "HTTP {status}"),
            Answer::Tls(TlsVersion::V1_2) => f.write_str("TLS 1.2"),
            Answer::Tls(TlsVersion::V1_3) => f.write_str("TLS 1.3"),
            Answer::Connected => f.write_str("connected"),
            Answer::Expected => f.write_str("answered as expected"),
            Answer::Exists => f.write_str("the file is there"),
            Answer::Exit(code) => write!(f, "exit code {code}"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Certificate(flaw) => flaw.fmt(f),
            Warning::Expires(date) => write!(f, "the certificate ends on {date}"),
            Warning::Program(Some(said)) => write!(f, "the program warns: {said}"),
            Warning::Program(None) => f.write_str("the program warns"),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Untrusted => f.write_str("the certificate was signed by nobody who is trusted"),
            Flaw::WrongName(name) => write!(f, "the certificate is not for `{name}`"),
            Flaw::NoName(name) => {
                write!(f, "the certificate has no subjectAltName, and so is not for `{name}`")
            }
            Flaw::Expired(date) => write!(f, "the certificate ended on {date}"),
            Flaw::NotYetValid(date) => write!(f, "the certificate does not begin before {date}"),
            Flaw::NoRoots(why) => write!(f, "nobody is trusted to sign certificates: {why}"),
            Flaw::Other(text) => write!(f, "the certificate is not valid: {text}"),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(self.0);
        let text = humantime::format_rfc3339_seconds(time).to_string();
        write!(f, "{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Refused => f.write_str("connection refused"),
            Reason::VipMissing => f.write_str("the VIP is not on this host"),
            Reason::TimedOut { waiting, after } => write!(f, "{waiting} within {}", Millis(*after)),
            Reason::Reset => f.write_str("connection reset"),
            Reason::Closed => f.write_str("connection closed without an answer"),
            Reason::CutShort => f.write_str("answer cut short"),
            Reason::NotHttp => f.write_str("answer is no HTTP"),
            Reason::Malformed(Field::ContentLength) => {
                f.write_str("the header field Content-Length is malformed, or there are two that differ")
            }
            Reason::Malformed(Field::TransferEncoding) => f.write_str(
                "the header field Transfer-Encoding is malformed, or has no place in such an answer",
            ),
            Reason::Malformed(Field::Any) => {
                f.write_str("a header field is malformed, with a NUL or a carriage return in it")
            }
            Reason::HeaderTooLong => {
                f.write_str("the header is too long, with more than 100 fields or 400 KiB")
            }
            Reason::WantsTls => f.write_str("HTTP 400, the server says that the port is one of TLS"),
            Reason::WantsCertificate => f.write_str("the server wants a certificate of the client"),
            Reason::Status(status) => write!(f, "HTTP {status}"),
            Reason::Redirect { status, to } => write!(f, "HTTP {status} to {to}"),
            Reason::NotHttp2 => f.write_str("answer is no HTTP/2"),
            Reason::BodyTooLong(most) => write!(f, "body is longer than {most} octets"),
            Reason::NoMatch { encoding: Some(encoding), .. } => {
                write!(f, "`expect_body` is not in the body, which has the Content-Encoding `{encoding}`")
            }
            Reason::NoMatch { encoding: None, within: Some(octets) } => {
                write!(f, "`expect_body` is not in the first {octets} octets of the body")
            }
            Reason::NoMatch { encoding: None, within: None } => {
                f.write_str("`expect_body` is not in the body")
            }
            Reason::Digest { got, encoding: None } => write!(f, "body has the digest {got}"),
            Reason::Digest { got, encoding: Some(encoding) } => {
                write!(f, "body has the digest {got}, with the Content-Encoding `{encoding}`")
            }
            Reason::NotTls => f.write_str("answer is no TLS"),
            Reason::Tls(text) => write!(f, "TLS failed: {text}"),
            Reason::NoServerName(name) => write!(f, "`{name}` is no name that a certificate can have"),
            Reason::NoProtocol => f.write_str("the server chose no protocol of those offered"),
            Reason::Certificate(flaw) => flaw.fmt(f),
            Reason::Unexpected(came) => write!(f, "answered unexpectedly: {came}"),
            Reason::Missing => f.write_str("the file is not there"),
            Reason::Exit { code, said: Some(said) } => write!(f, "exit code {code}: {said}"),
            Reason::Exit { code, said: None } => write!(f, "exit code {code}"),
            Reason::Killed(signal) => write!(f, "the program was ended by {signal}"),
            Reason::Endless => f.write_str("the program printed more than 1 MiB and was killed"),
            Reason::Lingering => {
                f.write_str("not run, 8 programs of earlier probes were killed and do not end")
            }
            Reason::NotRun(why) => write!(f, "the program cannot be run: {why}"),
            Reason::NoUser(name) => write!(f, "there is no user `{name}` in /etc/passwd"),
            Reason::NotAllowed => f.write_str(
                "announcer may not run programs as another user: it needs CAP_SETUID and CAP_SETGID",
            ),
            Reason::Os(errno) => f.write_str(errno.desc()),
            Reason::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Waiting::Connection => "no connection",
            Waiting::Handshake => "no TLS",
            Waiting::Answer => "no answer",
            Waiting::Body => "no end of the answer",
            Waiting::Files => "no answer of the file system",
            Waiting::Start => "no start of the program",
            Waiting::Exit => "no end of the program",
        })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shortage::Files => "announcer is out of file descriptors",
            Shortage::Memory => "the kernel is out of memory",
            Shortage::Ports => "the VIP is out of local ports",
            Shortage::Processes => "the program's user may have no more processes",
        })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time in milliseconds: one digit below ten, none from there on.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match (micros / 1000, micros % 1000 / 100) {
            (whole @ 0..10, tenths @ 1..) => write!(f, "{whole}.{tenths} ms"),
            (0, 0) if micros > 0 => f.write_str("0.1 ms"),
            (whole, _) => write!(f, "{whole} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_read_as_the_middle_of_a_sentence() {
        let took = Duration::from_micros(12_340);
        let fail = |reason| Outcome::Fail { reason, took };
        let timed_out = |waiting| fail(Reason::TimedOut { waiting, after: Duration::from_millis(100) });
        let ends = |at| Warning::Expires(Date::of_unix(at));
        let redirect = Reason::Redirect { status: 301, to: Shown::new("http://x/") };
        for (outcome, want) in [
            (
                Outcome::Pass { answer: Answer::Http(204), warning: None, took: Duration::from_micros(350) },
                "HTTP 204 after 0.3 ms",
            ),
            (
                Outcome::Pass { answer: Answer::Http(200), warning: Some(ends(1_893_456_060)), took },
                "HTTP 200 after 12 ms, but the certificate ends on 2030-01-01 00:01 UTC",
            ),
            (
                Outcome::Pass { answer: Answer::Http(200), warning: Some(ends(u64::MAX)), took },
                "HTTP 200 after 12 ms, but the certificate ends on 9999-12-31 23:59 UTC",
            ),
            (fail(Reason::Status(503)), "HTTP 503 after 12 ms"),
            (fail(redirect), "HTTP 301 to http://x/ after 12 ms"),
            (fail(Reason::Refused), "connection refused after 12 ms"),
            (fail(Reason::VipMissing), "the VIP is not on this host after 12 ms"),
            (timed_out(Waiting::Connection), "no connection within 100 ms"),
            (timed_out(Waiting::Answer), "no answer within 100 ms"),
            (timed_out(Waiting::Body), "no end of the answer within 100 ms"),
            (
                fail(Reason::Tls("the server has no certificate: give it one")),
                "TLS failed: the server has no certificate: give it one",
            ),
            (fail(Reason::Os(Errno::EPERM)), "Operation not permitted after 12 ms"),
            (Outcome::Skipped(Shortage::Files), "not asked, announcer is out of file descriptors"),
        ] {
            assert_eq!(outcome.to_string(), want);
        }
    }

    #[test]
    fn times_are_short() {
        for (micros, want) in [
            (0, "0 ms"),
            (9, "0.1 ms"),
            (950, "0.9 ms"),
            (1_000, "1 ms"),
            (1_250, "1.2 ms"),
            (10_900, "10 ms"),
            (2_000_000, "2000 ms"),
        ] {
            assert_eq!(Millis(Duration::from_micros(micros)).to_string(), want);
        }
    }

    #[test]
    fn what_a_server_says_cannot_move_the_cursor() {
        assert_eq!(Shown::new("http://x/\u{1b}[2J\n\u{202e}ü").to_string(), "http://x/ [2J  ü");
        assert_eq!(Shown::new(&"x".repeat(201)).to_string(), "x".repeat(200) + "…");
        assert_eq!(Shown::new(&"x".repeat(200)).to_string(), "x".repeat(200));
    }
}
