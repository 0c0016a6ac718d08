//! The kind `ntp`: a request to a time server, and what its clock must be (RFC 5905).
//!
//! Pure. The messages are in `health/ntp.rs`, and its probe is `health/io/ntp.rs`.

use std::fmt;
use std::time::Duration;

use super::super::endpoint;
use super::super::keys::Key;
use super::super::table::table;
use super::super::value::{HOUR, MILLISECOND, Value, ValueError, number, port, within, wrong};
use super::super::writer::TomlWriter;
use super::interface::{FailureWord, ProbeKind, Word};
use crate::model::text::PrintableText;

table! {
    /// A request, and what the server's clock must be. A clock that is not synchronised never passes.
    pub struct NtpConfig as Written {
        /// Above 0.
        port("ntp"): one u16, one_of "123", port,
            "an NTP request to that UDP port, to a server whose clock has to be synchronised; 1 to 65535",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
        /// How far the server's clock may be from ours; `None`: any offset passes.
        max_offset: one Duration, optional "\"100ms\"", within(MILLISECOND..=HOUR),
            "ntp: how far the clocks of the server and of this host may differ; without it, the difference does not matter; 1ms to 1h";
        /// 1 to 15.
        max_stratum: one u8, default "15", stratum, "ntp: the largest stratum of the server that passes; 1 to 15";
    }
}

/// 1 to 15.
fn stratum(value: &Value<'_>) -> Result<u8, ValueError> {
    u8::try_from(number(value, 1..=15)?)
        .or_else(|_| wrong("this is not a stratum", "write a number of 1 to 15"))
}

impl ProbeKind for NtpConfig {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] = &[endpoint::Written::KEYS];
    const DESCRIPTORS: u64 = 1;

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn is_over_udp(&self) -> bool {
        true
    }

    fn request(&self, at: &str) -> String {
        format!("for the time by NTP at UDP port {} of {at}", self.port)
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        written.write(out);
    }
}

/// How far the server's clock is ahead of ours; negative: behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// In microseconds.
    pub micros: i64,
}

impl ClockOffset {
    /// Without its sign.
    pub fn abs(self) -> Duration {
        Duration::from_micros(self.micros.unsigned_abs())
    }
}

/// In milliseconds, with its sign.
impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { '-' } else { '+' };
        let micros = self.micros.unsigned_abs();
        write!(f, "{sign}{}.{:03} ms", micros / 1000, micros % 1000)
    }
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The clock is synchronised.
    Synchronised {
        /// 1 to 15.
        stratum: u8,
        /// Against our clock.
        offset: ClockOffset,
    },
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Synchronised { stratum: 3, offset: ClockOffset { micros: -250 } }]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Synchronised { stratum, offset } => write!(f, "stratum {stratum}, offset {offset}"),
        }
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server itself says so (leap indicator 3, or stratum 16).
    Unsynchronised,
    /// It refuses us, with a code such as `RATE` or `DENY` (a kiss-o'-death).
    Refuses(PrintableText),
    /// It is further from a reference clock than `max_stratum`.
    Stratum(u8),
    /// The clocks differ by more than `max_offset`.
    Offset(ClockOffset),
    /// The answer is to another request.
    OtherRequest,
    /// The answer is not NTP.
    NotNtp,
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![
            Failure::Unsynchronised,
            Failure::Refuses(PrintableText::new("RATE")),
            Failure::Stratum(5),
            Failure::Offset(ClockOffset { micros: 120_500 }),
            Failure::OtherRequest,
            Failure::NotNtp,
        ]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::Unsynchronised => "unsynchronised",
            Failure::Refuses(_) => "refuses",
            Failure::Stratum(_) => "stratum",
            Failure::Offset(_) => "offset",
            Failure::OtherRequest => "other_request",
            Failure::NotNtp => "not_ntp",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unsynchronised => f.write_str("the server's clock is not synchronised"),
            Failure::Refuses(code) => write!(f, "the server refuses with the code {code}"),
            Failure::Stratum(stratum) => write!(f, "the server's stratum is {stratum}"),
            Failure::Offset(offset) => write!(f, "the clocks differ, offset {offset}"),
            Failure::OtherRequest => f.write_str("answered another request"),
            Failure::NotNtp => f.write_str("answer is not NTP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_label_and_its_text() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["stratum 3, offset -0.250 ms"]);
        let failures: Vec<_> =
            Failure::examples().iter().map(|failure| (failure.label(), failure.to_string())).collect();
        let failures: Vec<_> = failures.iter().map(|(label, text)| (*label, text.as_str())).collect();
        assert_eq!(
            failures,
            [
                ("unsynchronised", "the server's clock is not synchronised"),
                ("refuses", "the server refuses with the code RATE"),
                ("stratum", "the server's stratum is 5"),
                ("offset", "the clocks differ, offset +120.500 ms"),
                ("other_request", "answered another request"),
                ("not_ntp", "answer is not NTP"),
            ]
        );
        assert!(Failure::examples().iter().all(Failure::is_timed));
        // A new variant does not compile before it is here, and then in the examples and above.
        match (Answer::examples().remove(0), Failure::NotNtp) {
            (
                Answer::Synchronised { .. },
                Failure::Unsynchronised
                | Failure::Refuses(_)
                | Failure::Stratum(_)
                | Failure::Offset(_)
                | Failure::OtherRequest
                | Failure::NotNtp,
            ) => {}
        }
    }
}
