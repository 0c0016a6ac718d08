//! NOTIFICATION: codes, subcodes, data, and the shutdown text.
//!
//! Pure. RFC 4271 §4.5 and §6, RFC 4486, RFC 6608, RFC 7313, RFC 8538, RFC 9003, RFC 9384, RFC 9687.

use std::fmt;

use crate::model::text;

pub use detail::{NamedCapability, PrefixLimit, family_name};

mod detail;

/// The message that a speaker sends before it closes the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The error code, 1 to 8.
    pub code: u8,
    /// The error subcode; 0 is "unspecific".
    pub subcode: u8,
    /// The data for this code: the wrong field, or a text.
    pub data: Vec<u8>,
}

/// Message Header Error/Connection Not Synchronized.
pub const NOT_SYNCHRONIZED: (u8, u8) = (1, 1);
/// Message Header Error/Bad Message Length.
pub const BAD_LENGTH: (u8, u8) = (1, 2);
/// Message Header Error/Bad Message Type.
pub const BAD_TYPE: (u8, u8) = (1, 3);
/// OPEN Message Error, unspecific: parameters that overrun.
pub const OPEN_MALFORMED: (u8, u8) = (2, 0);
/// OPEN Message Error/Unsupported Version Number.
pub const BAD_VERSION: (u8, u8) = (2, 1);
/// OPEN Message Error/Bad Peer AS.
pub const BAD_PEER_AS: (u8, u8) = (2, 2);
/// OPEN Message Error/Bad BGP Identifier.
pub const BAD_IDENTIFIER: (u8, u8) = (2, 3);
/// OPEN Message Error/Unsupported Optional Parameter.
pub const BAD_PARAMETER: (u8, u8) = (2, 4);
/// OPEN Message Error/Unacceptable Hold Time.
pub const BAD_HOLD_TIME: (u8, u8) = (2, 6);
/// UPDATE Message Error/Malformed Attribute List.
pub const BAD_ATTRIBUTE_LIST: (u8, u8) = (3, 1);
/// Hold Timer Expired.
pub const HOLD_EXPIRED: (u8, u8) = (4, 0);
/// Finite State Machine Error in OpenSent (RFC 6608); data is the message's type octet.
pub const UNEXPECTED_IN_OPEN_SENT: (u8, u8) = (5, 1);
/// Finite State Machine Error in OpenConfirm (RFC 6608); data is the message's type octet.
pub const UNEXPECTED_IN_OPEN_CONFIRM: (u8, u8) = (5, 2);
/// Finite State Machine Error in Established (RFC 6608); data is the message's type octet.
pub const UNEXPECTED_IN_ESTABLISHED: (u8, u8) = (5, 3);
/// Cease/Administrative Shutdown; data is a text (RFC 9003).
pub const ADMINISTRATIVE_SHUTDOWN: (u8, u8) = (6, 2);
/// Cease/Peer De-configured.
pub const PEER_DECONFIGURED: (u8, u8) = (6, 3);
/// Cease/Connection Rejected (RFC 4486 §4).
pub const CONNECTION_REJECTED: (u8, u8) = (6, 5);
/// Cease/Other Configuration Change (RFC 4486 §4).
pub const OTHER_CONFIGURATION_CHANGE: (u8, u8) = (6, 6);
/// Cease/Administrative Reset; data is a text (RFC 9003).
pub const ADMINISTRATIVE_RESET: (u8, u8) = (6, 4);
/// Cease/Connection Collision Resolution.
pub const COLLISION: (u8, u8) = (6, 7);
/// Cease/Hard Reset; data is the inner NOTIFICATION (RFC 8538).
pub const HARD_RESET: (u8, u8) = (6, 9);
/// Cease/BFD Down (RFC 9384).
pub const BFD_DOWN: (u8, u8) = (6, 10);
/// ROUTE-REFRESH Message Error/Invalid Message Length (RFC 7313); data is the whole message.
pub const BAD_REFRESH_LENGTH: (u8, u8) = (7, 1);
/// Send Hold Timer Expired (RFC 9687).
pub const SEND_HOLD_EXPIRED: (u8, u8) = (8, 0);

/// The most octets that a shutdown text has (RFC 9003 §2).
const TEXT_MAX: usize = 255;

impl Notification {
    /// A NOTIFICATION with data; `kind` is a constant of this file.
    pub fn new(kind: (u8, u8), data: impl Into<Vec<u8>>) -> Self {
        Notification { code: kind.0, subcode: kind.1, data: data.into() }
    }

    /// A NOTIFICATION without data.
    pub fn bare(kind: (u8, u8)) -> Self {
        Notification::new(kind, [])
    }

    /// Cease/Administrative Shutdown with a text, cut to 255 octets where a character ends (RFC 9003 §2).
    pub fn shutdown(text: &str) -> Self {
        let end = (0..=text.len().min(TEXT_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let text = &text[..end];
        let mut data = Vec::with_capacity(1 + text.len());
        // The text was cut, so its length fits.
        data.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        data.extend_from_slice(text.as_bytes());
        Notification::new(ADMINISTRATIVE_SHUTDOWN, data)
    }

    /// Cease/Administrative Reset with a text for the router's log (RFC 9003 §2).
    pub fn reset(text: &str) -> Self {
        let Notification { data, .. } = Notification::shutdown(text);
        Notification::new(ADMINISTRATIVE_RESET, data)
    }

    /// Code and subcode, comparable with the constants of this file.
    pub fn kind(&self) -> (u8, u8) {
        (self.code, self.subcode)
    }

    /// The shutdown text, safe to print: characters that would move a terminal's cursor or its reading direction are
    /// replaced.
    pub fn text(&self) -> Option<String> {
        if ![ADMINISTRATIVE_SHUTDOWN, ADMINISTRATIVE_RESET].contains(&self.kind()) {
            return None;
        }
        let (length, octets) = self.data.split_first()?;
        let octets = octets.get(..usize::from(*length)).filter(|octets| !octets.is_empty())?;
        Some(text::one_line(&String::from_utf8_lossy(octets), octets.len()))
    }
}

fn code_name(code: u8) -> Option<&'static str> {
    Some(match code {
        1 => "Message Header Error",
        2 => "OPEN Message Error",
        3 => "UPDATE Message Error",
        4 => "Hold Timer Expired",
        5 => "Finite State Machine Error",
        6 => "Cease",
        7 => "ROUTE-REFRESH Message Error",
        8 => "Send Hold Timer Expired",
        _ => return None,
    })
}

fn subcode_name(code: u8, subcode: u8) -> Option<&'static str> {
    Some(match (code, subcode) {
        (1, 1) => "Connection Not Synchronized",
        (1, 2) => "Bad Message Length",
        (1, 3) => "Bad Message Type",
        (2, 1) => "Unsupported Version Number",
        (2, 2) => "Bad Peer AS",
        (2, 3) => "Bad BGP Identifier",
        (2, 4) => "Unsupported Optional Parameter",
        (2, 5) => "Authentication Failure",
        (2, 6) => "Unacceptable Hold Time",
        (2, 7) => "Unsupported Capability",
        (2, 11) => "Role Mismatch",
        (3, 1) => "Malformed Attribute List",
        (3, 2) => "Unrecognized Well-known Attribute",
        (3, 3) => "Missing Well-known Attribute",
        (3, 4) => "Attribute Flags Error",
        (3, 5) => "Attribute Length Error",
        (3, 6) => "Invalid ORIGIN Attribute",
        (3, 8) => "Invalid NEXT_HOP Attribute",
        (3, 9) => "Optional Attribute Error",
        (3, 10) => "Invalid Network Field",
        (3, 11) => "Malformed AS_PATH",
        (5, 1) => "Unexpected Message in OpenSent",
        (5, 2) => "Unexpected Message in OpenConfirm",
        (5, 3) => "Unexpected Message in Established",
        (6, 1) => "Maximum Number of Prefixes Reached",
        (6, 2) => "Administrative Shutdown",
        (6, 3) => "Peer De-configured",
        (6, 4) => "Administrative Reset",
        (6, 5) => "Connection Rejected",
        (6, 6) => "Other Configuration Change",
        (6, 7) => "Connection Collision Resolution",
        (6, 8) => "Out of Resources",
        (6, 9) => "Hard Reset",
        (6, 10) => "BFD Down",
        (7, 1) => "Invalid Message Length",
        _ => return None,
    })
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, subcode) = self.kind();
        match (code_name(code), subcode_name(code, subcode)) {
            (Some(name), Some(detail)) => write!(f, "{name}/{detail}")?,
            (Some(name), None) if subcode == 0 => f.write_str(name)?,
            (Some(name), None) => write!(f, "{name}/subcode {subcode}")?,
            (None, _) => write!(f, "code {code}, subcode {subcode}")?,
        }
        self.detail().map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_text_is_cut_where_a_character_ends() {
        let sent = Notification::shutdown(&"ä".repeat(200));
        assert_eq!((sent.code, sent.subcode, sent.data.len()), (6, 2, 255));
        assert_eq!(sent.data[0], 254);
        assert_eq!(sent.text(), Some("ä".repeat(127)));
        assert_eq!(Notification::shutdown("").data, [0]);
    }

    #[test]
    fn a_received_text_cannot_write_on_the_terminal() {
        let mut data = vec![9];
        data.extend_from_slice(b"a\x1b[2Jb\xff\n\nlong");
        let text = Notification::new(ADMINISTRATIVE_RESET, data).text().unwrap();
        assert_eq!(text, "a [2Jb\u{fffd}");
        let overrun = Notification::new(ADMINISTRATIVE_SHUTDOWN, [200, b'x']);
        assert_eq!(overrun.text(), None);
        assert_eq!(Notification::new(ADMINISTRATIVE_SHUTDOWN, []).text(), None);
    }

    #[test]
    fn each_reads_as_words() {
        for (notification, want) in [
            (Notification::shutdown("disk swap"), r#"Cease/Administrative Shutdown ("disk swap")"#),
            (Notification::bare(HOLD_EXPIRED), "Hold Timer Expired"),
            (Notification::bare((6, 99)), "Cease/subcode 99"),
            (Notification::bare((77, 1)), "code 77, subcode 1"),
            (Notification::new(HARD_RESET, [6, 3]), "Cease/Hard Reset (Cease/Peer De-configured)"),
            (Notification::new(HARD_RESET, [6, 9, 6, 9]), "Cease/Hard Reset"),
        ] {
            assert_eq!(notification.to_string(), want);
        }
    }
}
