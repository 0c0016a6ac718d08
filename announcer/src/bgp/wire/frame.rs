//! Framing: converts a stream of octets to whole messages. It does not matter where the stream is cut.
//!
//! Pure. RFC 4271 §4.1 and §6.1. It accepts every input: the result is messages, an error, or a wait for more octets. It never
//! stores more than one message.

use crate::bgp::notification::{self, Notification};
use crate::bgp::open::{Open, OpenError, Refresh};
use crate::bgp::wire::{HEADER_LENGTH, MAX_LENGTH, params};
use crate::model::Family;

/// A message with a correct frame. The contents of an OPEN or an UPDATE may still be wrong: first it is decided whether the state
/// allows such a message, and only then do these errors count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// OPEN.
    Open(Result<Open, OpenError>),
    /// UPDATE: its lengths were checked; its contents are ignored.
    Update(Result<(), Notification>),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    Refresh(Refresh),
}

/// The type octets of RFC 4271 §4.1 and RFC 2918.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageType {
    Open,
    Update,
    Notification,
    Keepalive,
    Refresh,
}

impl MessageType {
    fn of(octet: u8) -> Option<Self> {
        Some(match octet {
            1 => MessageType::Open,
            2 => MessageType::Update,
            3 => MessageType::Notification,
            4 => MessageType::Keepalive,
            5 => MessageType::Refresh,
            _ => return None,
        })
    }

    /// The lengths that a message of this type can have, header included.
    fn lengths(self) -> std::ops::RangeInclusive<usize> {
        match self {
            MessageType::Open => 29..=MAX_LENGTH,
            MessageType::Update | MessageType::Refresh => 23..=MAX_LENGTH,
            MessageType::Notification => 21..=MAX_LENGTH,
            MessageType::Keepalive => HEADER_LENGTH..=HEADER_LENGTH,
        }
    }
}

/// Joins octets to messages.
#[derive(Debug, Default)]
pub struct Framer {
    octets: Vec<u8>,
    used: usize,
}

impl Framer {
    /// Adds octets that were read. Call [`Framer::next`] until it returns no message, before adding more.
    pub fn feed(&mut self, octets: &[u8]) {
        self.octets.drain(..self.used);
        self.used = 0;
        self.octets.extend_from_slice(octets);
    }

    /// Takes these octets in the place of all others: the reader peeks, so they begin with the first octet that no message had.
    pub fn replace(&mut self, octets: &[u8]) {
        self.octets.clear();
        self.used = 0;
        self.octets.extend_from_slice(octets);
    }

    /// How many octets of the last [`feed`](Self::feed) or [`replace`](Self::replace) are in messages that were returned.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// The NOTIFICATION to send. After an error, the rest of the stream cannot be read.
    #[allow(
        clippy::should_implement_trait,
        reason = "it has an error, and it ends where the octets do, and goes on later"
    )]
    pub fn next(&mut self) -> Result<Option<Message>, Notification> {
        let rest = self.octets.get(self.used..).unwrap_or_default();
        let Some(length) = frame(rest)? else { return Ok(None) };
        let Some(message) = rest.get(..length) else { return Ok(None) };
        self.used += length;
        Ok(read(message))
    }
}

/// The length of the first message in the octets, if its header is complete and correct.
fn frame(octets: &[u8]) -> Result<Option<usize>, Notification> {
    let Some((header, _)) = octets.split_first_chunk::<HEADER_LENGTH>() else { return Ok(None) };
    let [marker @ .., high, low, kind] = header;
    if marker.iter().any(|octet| *octet != 0xff) {
        return Err(Notification::bare(notification::NOT_SYNCHRONIZED));
    }
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let bad_length = || Notification::new(notification::BAD_LENGTH, [*high, *low]);
    if !(HEADER_LENGTH..=MAX_LENGTH).contains(&length) {
        return Err(bad_length());
    }
    let kind = MessageType::of(*kind).ok_or_else(|| Notification::new(notification::BAD_TYPE, [*kind]))?;
    if kind.lengths().contains(&length) { Ok(Some(length)) } else { Err(bad_length()) }
}

/// Reads a message whose header [`frame`] has accepted; the result is never `None`.
fn read(message: &[u8]) -> Option<Message> {
    let (header, body) = message.split_first_chunk::<HEADER_LENGTH>()?;
    Some(match MessageType::of(*header.last()?)? {
        MessageType::Open => Message::Open(params::open(body)),
        MessageType::Update => Message::Update(envelope(body)),
        MessageType::Notification => {
            let [code, subcode, data @ ..] = body else { return None };
            Message::Notification(Notification::new((*code, *subcode), data))
        }
        MessageType::Keepalive => Message::Keepalive,
        MessageType::Refresh => {
            let [afi_high, afi_low, subtype, safi, ..] = body else { return None };
            let family = match (u16::from_be_bytes([*afi_high, *afi_low]), safi) {
                (1, 1) => Some(Family::V4),
                (2, 1) => Some(Family::V6),
                _ => None,
            };
            Message::Refresh(Refresh { family, subtype: *subtype, message: message.to_vec() })
        }
    })
}

/// Checks that the withdrawn routes and the attributes end within the UPDATE (RFC 4271 §6.3).
fn envelope(body: &[u8]) -> Result<(), Notification> {
    let inside = skip(body).and_then(skip);
    inside.map(|_nlri| ()).ok_or_else(|| Notification::bare(notification::BAD_ATTRIBUTE_LIST))
}

/// The octets after a field that begins with its length in 2 octets.
fn skip(octets: &[u8]) -> Option<&[u8]> {
    let (length, rest) = octets.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length))..)
}
