//! The words of the results of `dns`.
//!
//! Pure. Every text reads as the middle of a sentence.

use std::fmt;

use super::super::interface::{FailureWord, Word};
use super::value::{Rcode, RecordType};
use crate::model::text::PrintableText;

/// The reaction of a healthy server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The expected code, without records that matter.
    Code(Rcode),
    /// NOERROR; with the data of the records of the type, separated by commas.
    Records(PrintableText),
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Code(Rcode::new(3)), Answer::Records(PrintableText::new("192.0.2.80, 192.0.2.81"))]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Code(code) => code.fmt(f),
            Answer::Records(records) => write!(f, "the records {records}"),
        }
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Another code than the expected one.
    Code(Rcode),
    /// NOERROR, and no record of the type.
    NoRecord(RecordType),
    /// An expected record is not there.
    Missing {
        /// The expected one.
        wanted: PrintableText,
        /// Those that are there, separated by commas; never empty.
        found: PrintableText,
    },
    /// The answer does not fit into a datagram.
    Truncated,
    /// The answer has another number or another question than the query.
    OtherQuery,
    /// The answer is not a DNS message.
    NotDns,
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![
            Failure::Code(Rcode::new(2)),
            Failure::NoRecord(RecordType::A),
            Failure::Missing {
                wanted: PrintableText::new("192.0.2.80"),
                found: PrintableText::new("192.0.2.81"),
            },
            Failure::Truncated,
            Failure::OtherQuery,
            Failure::NotDns,
        ]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::Code(_) => "rcode",
            Failure::NoRecord(_) | Failure::Missing { .. } => "no_record",
            Failure::Truncated => "truncated",
            Failure::OtherQuery => "other_query",
            Failure::NotDns => "not_dns",
        }
    }

    fn is_timed(&self) -> bool {
        match self {
            Failure::Truncated => false,
            Failure::Code(_) | Failure::NoRecord(_) | Failure::Missing { .. } => true,
            Failure::OtherQuery | Failure::NotDns => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Code(code) => write!(f, "answered {code}"),
            Failure::NoRecord(record_type) => {
                write!(f, "answered NOERROR, without a record of type {record_type}")
            }
            Failure::Missing { wanted, found } => {
                write!(f, "`{wanted}` is not in the answer, which has {found}")
            }
            Failure::Truncated => f.write_str("the answer is too long for UDP: write `transport = \"tcp\"`"),
            Failure::OtherQuery => f.write_str("answered another query"),
            Failure::NotDns => f.write_str("answer is not DNS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_label_and_its_text() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["NXDOMAIN", "the records 192.0.2.80, 192.0.2.81"]);
        let failures = Failure::examples();
        let text: Vec<_> = failures.iter().map(|failure| (failure.label(), failure.to_string())).collect();
        let text: Vec<_> = text.iter().map(|(label, text)| (*label, text.as_str())).collect();
        assert_eq!(
            text,
            [
                ("rcode", "answered SERVFAIL"),
                ("no_record", "answered NOERROR, without a record of type A"),
                ("no_record", "`192.0.2.80` is not in the answer, which has 192.0.2.81"),
                ("truncated", "the answer is too long for UDP: write `transport = \"tcp\"`"),
                ("other_query", "answered another query"),
                ("not_dns", "answer is not DNS"),
            ]
        );
        // A new variant does not compile before it is here, and then in the examples and above.
        match (Answer::Code(Rcode::NO_ERROR), Failure::NotDns) {
            (
                Answer::Code(_) | Answer::Records(_),
                Failure::Code(_)
                | Failure::NoRecord(_)
                | Failure::Missing { .. }
                | Failure::Truncated
                | Failure::OtherQuery
                | Failure::NotDns,
            ) => {}
        }
        assert_eq!([Rcode::new(5), Rcode::new(16)].map(|code| code.to_string()), ["REFUSED", "RCODE 16"]);
    }
}
