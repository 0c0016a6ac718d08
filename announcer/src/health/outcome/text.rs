//! The texts of outcomes: every text reads as the middle of a sentence.
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
            // This text already has its time.
            Outcome::Fail { reason: reason @ Reason::TimedOut { .. }, .. } => reason.fmt(f),
            // A time would seem to belong to the instruction in the text.
            Outcome::Fail { reason: reason @ (Reason::Other(_) | Reason::VrfMissing(_)), .. } => {
                reason.fmt(f)
            }
            Outcome::Fail { reason: Reason::Kind(failure), .. } if !failure.is_timed() => failure.fmt(f),
            Outcome::Fail { reason, took } => write!(f, "{reason} after {}", Millis(*took)),
            Outcome::Skipped(shortage) => write!(f, "skipped, {shortage}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Refused => f.write_str("connection refused"),
            Reason::VipMissing => f.write_str("the VIP is not on this host"),
            Reason::VrfMissing(vrf) => write!(f, "the VRF `{vrf}` does not exist"),
            Reason::TimedOut { waiting, after } => write!(f, "{waiting} within {}", Millis(*after)),
            Reason::Reset => f.write_str("connection reset"),
            Reason::Closed => f.write_str("connection closed without an answer"),
            Reason::Kind(failure) => failure.fmt(f),
            Reason::Os(errno) => f.write_str(errno.desc()),
            Reason::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for TimeoutPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimeoutPhase::Connection => "no connection",
            TimeoutPhase::Handshake => "no TLS",
            TimeoutPhase::Answer => "no answer",
            TimeoutPhase::Body => "no end of the answer",
            TimeoutPhase::Files => "no answer of the file system",
            TimeoutPhase::Start => "no start of the program",
            TimeoutPhase::Exit => "no end of the program",
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
            Shortage::Processor => "announcer stood still",
        })
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
    use crate::config::kind::{handshake, http};
    use crate::model::text::PrintableText;

    #[test]
    fn outcomes_read_as_the_middle_of_a_sentence() {
        let took = Duration::from_micros(12_340);
        let pass = |status, warning, took| Outcome::Pass {
            answer: http::Answer::Status(status).into(),
            warning,
            took,
        };
        let fail = |reason| Outcome::Fail { reason, took };
        let timed_out = |waiting| fail(Reason::TimedOut { waiting, after: Duration::from_millis(100) });
        let ends = |at| Some(handshake::Warning::Expires(Date::of_unix(at)).into());
        let redirect = http::Failure::Redirect { status: 301, to: PrintableText::new("http://x/") };
        let no_certificate = handshake::Failure::Tls("the server has no certificate: give it one");
        let expired = handshake::Failure::Certificate(Flaw::Expired(Date::of_unix(1_893_456_060)));
        for (outcome, want) in [
            (pass(204, None, Duration::from_micros(350)), "HTTP 204 after 0.3 ms"),
            (
                pass(200, ends(1_893_456_060), took),
                "HTTP 200 after 12 ms, but the certificate ends on 2030-01-01 00:01 UTC",
            ),
            (
                pass(200, ends(u64::MAX), took),
                "HTTP 200 after 12 ms, but the certificate ends on 9999-12-31 23:59 UTC",
            ),
            (fail(http::Failure::Status(503).into()), "HTTP 503 after 12 ms"),
            (fail(redirect.into()), "HTTP 301 to http://x/ after 12 ms"),
            (fail(Reason::Refused), "connection refused after 12 ms"),
            (fail(Reason::VipMissing), "the VIP is not on this host after 12 ms"),
            (timed_out(TimeoutPhase::Connection), "no connection within 100 ms"),
            (timed_out(TimeoutPhase::Answer), "no answer within 100 ms"),
            (timed_out(TimeoutPhase::Body), "no end of the answer within 100 ms"),
            (fail(no_certificate.into()), "TLS failed: the server has no certificate: give it one"),
            (fail(expired.into()), "the certificate ended on 2030-01-01 00:01 UTC"),
            (fail(Reason::Other("what to do")), "what to do"),
            (fail(Reason::Os(Errno::EPERM)), "Operation not permitted after 12 ms"),
            (Outcome::Skipped(Shortage::Files), "skipped, announcer is out of file descriptors"),
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
}
