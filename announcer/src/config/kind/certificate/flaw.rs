//! The flaws of a server's certificate.
//!
//! Pure. Every text reads as the middle of a sentence.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use crate::model::text::PrintableText;

/// A flaw of a server's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Its chain does not end at a trusted certificate.
    Untrusted,
    /// It is for other names than the requested one.
    WrongName(PrintableText),
    /// It has no name at all, and so not the requested one.
    NoName(PrintableText),
    /// It, or a certificate above it in the chain, ended at this time.
    Expired(Date),
    /// It, or a certificate above it in the chain, begins at this time.
    NotYetValid(Date),
    /// The chain could not be verified: the trusted certificates cannot be read, for this reason.
    NoRoots(PrintableText),
    /// Another flaw, as our own sentence about the certificate and what to do.
    Other(&'static str),
}

impl Flaw {
    /// One of each, for the documents and the tests that list them.
    pub fn examples() -> Vec<Self> {
        let date = Date::of_unix(1_900_000_000);
        vec![
            Flaw::Untrusted,
            Flaw::WrongName(PrintableText::new("www.example.com")),
            Flaw::NoName(PrintableText::new("www.example.com")),
            Flaw::Expired(date),
            Flaw::NotYetValid(date),
            Flaw::NoRoots(PrintableText::new("`/etc/announcer/ca.pem` has no certificate")),
            Flaw::Other("a sentence that says why, and what to do"),
        ]
    }

    /// One word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Flaw::Untrusted => "untrusted",
            Flaw::WrongName(_) | Flaw::NoName(_) => "wrong_name",
            Flaw::Expired(_) => "expired",
            Flaw::NotYetValid(_) => "not_yet_valid",
            Flaw::NoRoots(_) => "no_roots",
            Flaw::Other(_) => "other",
        }
    }

    /// When the certificate ended, if this is the flaw.
    pub fn ended(&self) -> Option<Date> {
        match self {
            Flaw::Expired(date) => Some(*date),
            Flaw::Untrusted | Flaw::WrongName(_) | Flaw::NoName(_) => None,
            Flaw::NotYetValid(_) | Flaw::NoRoots(_) | Flaw::Other(_) => None,
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Untrusted => f.write_str("the certificate's chain does not end at a trusted certificate"),
            Flaw::WrongName(name) => write!(f, "the certificate is not for `{name}`"),
            Flaw::NoName(name) => {
                write!(f, "the certificate has no subjectAltName, and so is not for `{name}`")
            }
            Flaw::Expired(date) => write!(f, "the certificate ended on {date}"),
            Flaw::NotYetValid(date) => write!(f, "the certificate is not valid before {date}"),
            Flaw::NoRoots(why) => write!(f, "there are no trusted certificates: {why}"),
            Flaw::Other(text) => write!(f, "the certificate is not valid: {text}"),
        }
    }
}

/// A date of a certificate, in seconds since 1970 UTC; displays to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(u64);

impl Date {
    /// The end of the year 9999, which certificates without an end have (RFC 5280 §4.1.2.5).
    const LAST: u64 = 253_402_300_799;

    /// The date of that many seconds since 1970; a later date than the year 9999 becomes the end of that year.
    pub fn of_unix(seconds: u64) -> Self {
        Date(seconds.min(Self::LAST))
    }

    /// Seconds since 1970.
    pub fn unix(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_secs(self.0);
        let text = humantime::format_rfc3339_seconds(time).to_string();
        write!(f, "{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flaw_has_its_label_and_its_text() {
        let want = [
            ("untrusted", "the certificate's chain does not end at a trusted certificate"),
            ("wrong_name", "the certificate is not for `www.example.com`"),
            ("wrong_name", "the certificate has no subjectAltName, and so is not for `www.example.com`"),
            ("expired", "the certificate ended on 2030-03-17 17:46 UTC"),
            ("not_yet_valid", "the certificate is not valid before 2030-03-17 17:46 UTC"),
            ("no_roots", "there are no trusted certificates: `/etc/announcer/ca.pem` has no certificate"),
            ("other", "the certificate is not valid: a sentence that says why, and what to do"),
        ];
        let flaws = Flaw::examples();
        assert_eq!(flaws.len(), want.len());
        for (flaw, want) in flaws.iter().zip(want) {
            match flaw {
                // A new variant does not compile until it is added here; then it also has to be in the examples above.
                Flaw::Untrusted | Flaw::WrongName(_) | Flaw::NoName(_) | Flaw::Expired(_) => {}
                Flaw::NotYetValid(_) | Flaw::NoRoots(_) | Flaw::Other(_) => {}
            }
            assert_eq!((flaw.label(), flaw.to_string().as_str()), want);
            assert_eq!(flaw.ended().is_some(), flaw.label() == "expired");
        }
    }

    #[test]
    fn dates_are_printed_to_the_minute_and_end_with_the_year_9999() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00 UTC"),
            (1_893_456_060, "2030-01-01 00:01 UTC"),
            (1_893_456_119, "2030-01-01 00:01 UTC"),
            (u64::MAX, "9999-12-31 23:59 UTC"),
        ] {
            assert_eq!(Date::of_unix(seconds).to_string(), want);
        }
    }
}
