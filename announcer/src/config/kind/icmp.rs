//! The kind `icmp`: an echo request, as ping sends it (RFC 792, RFC 4443).
//!
//! Pure. The messages are in `health/icmp.rs`, and its probe is `health/io/icmp.rs`.

use std::fmt;

use super::super::endpoint;
use super::super::keys::Key;
use super::super::table::table;
use super::super::value::{Value, ValueError, number, wrong};
use super::super::writer::TomlWriter;
use super::interface::{FailureWord, ProbeKind, Word};

table! {
    /// An echo request, whose data have to come back.
    pub struct IcmpConfig as Written {
        /// How many octets of data the request has: 0 to 8972, which fit into a packet of 9,000 octets.
        size("icmp"): one u16, one_of "56", size,
            "an ICMP echo request with that many octets of data, as ping sends it; 0 to 8972",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
    }
}

/// 0 to 8972.
fn size(value: &Value<'_>) -> Result<u16, ValueError> {
    let size = number(value, 0..=8972)?;
    u16::try_from(size).or_else(|_| wrong("this is not a size", "write a number of 0 to 8972"))
}

impl ProbeKind for IcmpConfig {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] = &[endpoint::Written::KEYS];
    const DESCRIPTORS: u64 = 1;

    fn request(&self, at: &str) -> String {
        format!("for an echo of {} octets at {at}", self.size)
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        written.write(out);
    }
}

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The data came back.
    Echo,
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Echo]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Echo => f.write_str("echo reply"),
        }
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The kernel gives no ping socket to our group.
    NotPermitted,
    /// What came is not the echo of our request.
    NotEcho,
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![Failure::NotPermitted, Failure::NotEcho]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::NotPermitted => "not_permitted",
            Failure::NotEcho => "not_echo",
        }
    }

    fn is_timed(&self) -> bool {
        match self {
            Failure::NotPermitted => false,
            Failure::NotEcho => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NotPermitted => {
                "this host does not let the group of announcer ping: `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`; the units of announcer do not set it"
            }
            Failure::NotEcho => "answer is not the echo of the request",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_label_and_its_text() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["echo reply"]);
        let failures = Failure::examples();
        let text: Vec<_> = failures.iter().map(|failure| (failure.label(), failure.to_string())).collect();
        let denied = "this host does not let the group of announcer ping: `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`; the units of announcer do not set it";
        assert_eq!(
            text,
            [
                ("not_permitted", denied.to_owned()),
                ("not_echo", "answer is not the echo of the request".to_owned())
            ]
        );
        // A new variant does not compile before it is here, and then in the examples and above.
        match (Answer::Echo, Failure::NotEcho) {
            (Answer::Echo, Failure::NotPermitted | Failure::NotEcho) => {}
        }
    }
}
