//! The kind `tcp`: a connection, and the text that is sent and expected.
//!
//! Pure. Its probe is `health/io/tcp.rs`.

use std::fmt;

use super::super::endpoint;
use super::super::keys::Key;
use super::super::proxy::{self, ProxyConfig, ProxyVersion};
use super::super::table::table;
use super::super::value::port;
use super::super::writer::TomlWriter;
use super::interface::{FailureWord, ProbeKind, Word};
use super::talk::{self, TalkConfig};
use crate::model::text::PrintableText;

table! {
    /// A connection, and what is said over it.
    pub struct TcpConfig as Written {
        /// Above 0.
        port("tcp"): one u16, one_of "25", port,
            "a TCP connection to that port, and the text that is sent and expected; a unix socket as `target` has no port, and any number will do; 1 to 65535",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
    }
    with {
        /// The text that is sent and expected.
        talk: TalkConfig as talk::Written;
        /// How its connections begin.
        proxy: ProxyConfig as proxy::Written;
    }
}

impl ProbeKind for TcpConfig {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] =
        &[endpoint::Written::KEYS, talk::Written::KEYS, proxy::Written::KEYS];
    const DESCRIPTORS: u64 = 1;
    const TAKES_SOCKET: bool = true;

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn send_proxy(&self) -> Option<ProxyVersion> {
        self.proxy.send_proxy
    }

    fn request(&self, at: &str) -> String {
        match at.starts_with(endpoint::UNIX) {
            true => format!("for a connection at {at}"),
            false => format!("for a connection to TCP port {} at {at}", self.port),
        }
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        written.write(out);
    }
}

/// The reaction of a healthy server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It accepted the connection, and nothing else is expected.
    Connected,
    /// It sent the expected text.
    Expected,
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Connected, Answer::Expected]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::Connected => "connected",
            Answer::Expected => "answered as expected",
        })
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server sent another text than the expected one; with its beginning.
    Unexpected(PrintableText),
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![Failure::Unexpected(PrintableText::new("554 no service"))]
    }
}

impl FailureWord for Failure {
    fn label(&self) -> &'static str {
        match self {
            Failure::Unexpected(_) => "unexpected",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unexpected(came) => write!(f, "answered unexpectedly: {came}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_its_label_and_its_text() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["connected", "answered as expected"]);
        let failures = Failure::examples();
        let text: Vec<_> = failures.iter().map(|failure| (failure.label(), failure.to_string())).collect();
        assert_eq!(text, [("unexpected", "answered unexpectedly: 554 no service".to_owned())]);
        assert!(failures.iter().all(Failure::is_timed));
        // A new variant does not compile before it is here, and then in the examples and above.
        match (Answer::Connected, Failure::Unexpected(PrintableText::new(""))) {
            (Answer::Connected | Answer::Expected, Failure::Unexpected(_)) => {}
        }
    }
}
