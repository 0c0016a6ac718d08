//! Framing: a stream of octets, however it is cut, to whole messages.
//!
//! Pure. RFC 4271 §4.1 and §6.1. Total: any octets give messages, an error, or the wish for more; never more than one
//! message is kept.

use crate::bgp::notification::{self, Notification};
use crate::bgp::open::{Open, OpenError, Refresh};
use crate::bgp::wire::{HEADER_LENGTH, MAX_LENGTH, params};
use crate::model::Family;

/// A message whose frame is right. What is inside an OPEN or an UPDATE may still be wrong: their errors rank behind the
/// question whether the state allows such a message at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// OPEN.
    Open(Result<Open, OpenError>),
    /// UPDATE: its lengths were checked, its contents are not read.
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

/// Puts octets together to messages.
#[derive(Debug, Default)]
pub struct Framer {
    octets: Vec<u8>,
    used: usize,
}

impl Framer {
    /// Takes what was read. Call [`Framer::next`] until it has nothing before taking more.
    pub fn feed(&mut self, octets: &[u8]) {
        self.octets.drain(..self.used);
        self.used = 0;
        self.octets.extend_from_slice(octets);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// The NOTIFICATION to answer; the stream is out of step then, and nothing after it means anything.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message>, Notification> {
        let rest = self.octets.get(self.used..).unwrap_or_default();
        let Some(length) = frame(rest)? else { return Ok(None) };
        let Some(message) = rest.get(..length) else { return Ok(None) };
        self.used += length;
        Ok(read(message))
    }
}

/// The length of the message that the octets begin with, once its header is there and right.
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

/// A message whose header [`frame`] found right; `None` cannot come of it.
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

/// Whether an UPDATE's withdrawn routes and attributes end before it does (RFC 4271 §6.3).
fn envelope(body: &[u8]) -> Result<(), Notification> {
    let inside = skip(body).and_then(skip);
    inside.map(|_nlri| ()).ok_or_else(|| Notification::bare(notification::BAD_ATTRIBUTE_LIST))
}

/// What follows a field with 2 octets of length before it.
fn skip(octets: &[u8]) -> Option<&[u8]> {
    let (length, rest) = octets.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length))..)
}
