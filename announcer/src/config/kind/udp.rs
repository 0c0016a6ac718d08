//! The kind `udp`: a datagram, and the datagram that is expected.
//!
//! Pure. Its probe is `health/io/udp.rs`.

use std::fmt;

use toml::Value as Toml;

use super::super::endpoint;
use super::super::error::Fault;
use super::super::keys::Key;
use super::super::reader::{PresentKeys, Table};
use super::super::table::table;
use super::super::value::{Value, ValueError, port, text, wrong};
use super::super::writer::{self, ToToml, TomlWriter};
use super::interface::{FailureWord, ProbeKind, Word};
use super::talk::{self, TalkConfig};
use crate::model::text::PrintableText;

table! {
    /// A datagram, and what its answer has to be.
    pub struct UdpConfig as Written {
        /// Above 0.
        port("udp"): one u16, one_of "5060", port,
            "a datagram to that UDP port, and the datagram that is expected; 1 to 65535",
            own "the kind of a check says what is probed; write it in each `[[service.check]]`";
        /// What is sent in place of a text.
        send_hex: one Octets, optional "\"000c0001\"", octets, "udp: the octets that are sent, in hexadecimal, in place of `send`";
        /// What has to be found in the answer, as well as the text.
        expect_hex: one Octets, optional "\"0101\"", octets, "udp: octets that have to be found in the answer, in hexadecimal";
    }
    with {
        /// The text.
        talk: TalkConfig as talk::Written;
    }
}

/// Octets, which are written in hexadecimal; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Octets(Vec<u8>);

impl Octets {
    /// The octets themselves.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl ToToml for Octets {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

/// Pairs of hexadecimal digits, perhaps with blanks between them.
fn octets(value: &Value<'_>) -> Result<Octets, ValueError> {
    let text = text(value)?;
    let digits: String = text.split_whitespace().collect();
    let is_hex = !digits.is_empty() && digits.len().is_multiple_of(2);
    if !is_hex || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return wrong(
            format!("`{}` is not hexadecimal", text.escape_debug()),
            "write two digits for each octet, as in `\"000c0001\"`",
        );
    }
    let octet = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    Ok(Octets((0..digits.len()).step_by(2).filter_map(octet).collect()))
}

impl UdpConfig {
    /// The datagram that is sent.
    pub fn request_octets(&self) -> Vec<u8> {
        match (&self.send_hex, &self.talk.send) {
            (Some(octets), _) => octets.0.clone(),
            (None, Some(text)) => text.as_str().as_bytes().to_vec(),
            (None, None) => Vec::new(),
        }
    }

    /// Whether this datagram is the expected one.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn compare(&self, datagram: &[u8]) -> Result<Answer, Failure> {
        let has_text =
            |text: &super::super::pattern::Pattern| text.found_in(&String::from_utf8_lossy(datagram));
        let has_octets = |octets: &Octets| datagram.windows(octets.0.len()).any(|window| window == octets.0);
        match (&self.talk.expect, &self.expect_hex) {
            (None, None) => Ok(Answer::Answered),
            (text, octets)
                if text.as_ref().is_none_or(has_text) && octets.as_ref().is_none_or(has_octets) =>
            {
                Ok(Answer::Expected)
            }
            (_, _) => Err(Failure::Unexpected(shown(datagram))),
        }
    }
}

/// A datagram as messages show it: as text if it is text, otherwise its first octets in hexadecimal.
fn shown(datagram: &[u8]) -> PrintableText {
    let is_text =
        |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic() || octet.is_ascii_whitespace());
    match std::str::from_utf8(datagram) {
        _ if datagram.is_empty() => PrintableText::new("an empty datagram"),
        Ok(text) if is_text(text) => PrintableText::new(text),
        Ok(_) | Err(_) => {
            PrintableText::new(&Octets(datagram.iter().take(100).copied().collect()).to_string())
        }
    }
}

impl ProbeKind for UdpConfig {
    type Written = Written;
    const SHARED: &'static [&'static [Key]] = &[endpoint::Written::KEYS, talk::Written::KEYS];
    const DESCRIPTORS: u64 = 1;

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn is_over_udp(&self) -> bool {
        true
    }

    fn request(&self, at: &str) -> String {
        format!("for an answer to a datagram to UDP port {} at {at}", self.port)
    }

    fn fit(written: &mut Written, table: &mut Table<'_>) {
        if written.send_hex.is_some() {
            table.own_only("send", &mut written.talk.send);
        }
    }

    fn judge(written: &Written, _present: &PresentKeys, faults: &mut Vec<Fault>) {
        if let (Some(text), Some(hex)) = (&written.talk.send, &written.send_hex) {
            let help = "leave out one of them";
            let fault = Fault::new(hex.span(), "`send` and `send_hex` are two datagrams", help);
            faults.push(fault.beside(text.span(), "the other one"));
        }
    }

    fn write(written: &Written, out: &mut TomlWriter) {
        written.write(out);
    }
}

/// The reaction of a healthy server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It answered, and nothing particular is expected.
    Answered,
    /// It sent what is expected.
    Expected,
}

impl Word for Answer {
    fn examples() -> Vec<Self> {
        vec![Answer::Answered, Answer::Expected]
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::Answered => "answered with a datagram",
            Answer::Expected => "answered with the expected datagram",
        })
    }
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No datagram was the expected one; with the beginning of the last one.
    Unexpected(PrintableText),
}

impl Word for Failure {
    fn examples() -> Vec<Self> {
        vec![Failure::Unexpected(PrintableText::new("8100000c"))]
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
            Failure::Unexpected(came) => write!(f, "answered with another datagram: {came}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbeConfig;
    use crate::config::tests::a_check;

    #[test]
    fn a_datagram_is_the_expected_one_or_is_quoted() {
        for (lines, sent, datagram, want) in [
            ("", &b""[..], &b""[..], "answered with a datagram"),
            ("send = \"hi\"", b"hi", b"x", "answered with a datagram"),
            ("send_hex = \"00 0C ff\"", b"\x00\x0c\xff", b"", "answered with a datagram"),
            ("expect = \"^OK\"", b"", b"OK then", "answered with the expected datagram"),
            ("expect = \"^OK\"", b"", b"not OK\r\n", "answered with another datagram: not OK"),
            ("expect = \"^OK\"", b"", b"", "answered with another datagram: an empty datagram"),
            ("expect_hex = \"0101\"", b"", b"\x00\x01\x01", "answered with the expected datagram"),
            ("expect_hex = \"0101\"", b"", b"\x01\x00\x01", "answered with another datagram: 010001"),
            ("expect_hex = \"0101\"", b"", b"\x01", "answered with another datagram: 01"),
            ("expect = \"a\"\nexpect_hex = \"01\"", b"", b"a\x01", "answered with the expected datagram"),
            ("expect = \"a\"\nexpect_hex = \"01\"", b"", b"a\x02", "answered with another datagram: 6102"),
            ("expect = \"a\"\nexpect_hex = \"01\"", b"", b"b\x01", "answered with another datagram: 6201"),
        ] {
            let ProbeConfig::Udp(udp) = a_check(&format!("udp = 9\n{lines}")).probe else {
                panic!("{lines}")
            };
            assert_eq!(udp.request_octets(), sent, "{lines}");
            let said =
                udp.compare(datagram).map_or_else(|failure| failure.to_string(), |answer| answer.to_string());
            assert_eq!(said, want, "{lines}");
        }
    }

    #[test]
    fn each_word_has_its_label_and_its_text() {
        let text: Vec<_> = Answer::examples().iter().map(Answer::to_string).collect();
        assert_eq!(text, ["answered with a datagram", "answered with the expected datagram"]);
        let failures = Failure::examples();
        let text: Vec<_> = failures.iter().map(|failure| (failure.label(), failure.to_string())).collect();
        assert_eq!(text, [("unexpected", "answered with another datagram: 8100000c".to_owned())]);
        assert!(failures.iter().all(Failure::is_timed));
        // A new variant does not compile before it is here, and then in the examples and above.
        match (Answer::Answered, Failure::Unexpected(PrintableText::new(""))) {
            (Answer::Answered | Answer::Expected, Failure::Unexpected(_)) => {}
        }
    }
}
