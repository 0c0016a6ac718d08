//! The keys of `key_file`, with which heartbeats are authenticated (HMAC-SHA-256, RFC 2104).
//!
//! Pure: the text comes in.

use ring::hmac::{self, HMAC_SHA256};

/// The least octets of a key.
pub const MIN_KEY_LENGTH: usize = 16;
/// The octets of an HMAC.
pub(super) const HMAC_LENGTH: usize = 32;

/// One or two keys. The first is used for sending, both are accepted, so that a key can be changed host by host.
#[derive(Debug, Clone)]
pub struct Keys {
    first: hmac::Key,
    second: Option<hmac::Key>,
}

/// Why the text has no keys. No message has a part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no line with a key.
    #[error(
        "it has no key; write one line of at least 16 random characters, for example from `openssl rand -base64 32`"
    )]
    Empty,
    /// A key is too short.
    #[error(
        "the key in line {line} has {octets} octets; a key needs at least 16, for example from `openssl rand -base64 32`"
    )]
    TooShort {
        /// The line, from 1 on.
        line: usize,
        /// The octets of the key.
        octets: usize,
    },
    /// There are more than two.
    #[error(
        "line {line} has a third key; there can be two: the one for sending first, then one that is also accepted"
    )]
    TooMany {
        /// The line of the third one, from 1 on.
        line: usize,
    },
}

impl Keys {
    /// Reads `key_file`: one key a line. Blanks around a key, empty lines, and lines that begin with `#` are ignored. The octets of the
    /// line are the key, whether they are base64, hex or a text.
    ///
    /// # Errors
    /// There is no key, one is too short, or there are more than two.
    pub fn parse(text: &str) -> Result<Keys, KeyError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (key, line) = (line.trim(), index + 1);
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if key.len() < MIN_KEY_LENGTH {
                return Err(KeyError::TooShort { line, octets: key.len() });
            }
            if keys.len() == 2 {
                return Err(KeyError::TooMany { line });
            }
            keys.push(hmac::Key::new(HMAC_SHA256, key.as_bytes()));
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(KeyError::Empty)?;
        Ok(Keys { first, second: keys.next() })
    }

    /// Appends the HMAC of the first key.
    pub fn sign(&self, mut octets: Vec<u8>) -> Vec<u8> {
        let tag = hmac::sign(&self.first, &octets);
        octets.extend(tag.as_ref());
        octets
    }

    /// The octets before the HMAC; `None` if no key has made it. The comparison takes the same time for every wrong one.
    pub(super) fn verify<'a>(&self, octets: &'a [u8]) -> Option<&'a [u8]> {
        let (content, tag) = octets.split_at_checked(octets.len().checked_sub(HMAC_LENGTH)?)?;
        let mut keys = std::iter::once(&self.first).chain(&self.second);
        keys.any(|key| hmac::verify(key, content, tag).is_ok()).then_some(content)
    }
}
