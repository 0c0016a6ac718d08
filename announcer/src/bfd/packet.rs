//! The BFD Control packet (RFC 5880 §4.1): 24 octets, and the rules by which a received one is dropped (§6.8.6).
//!
//! Pure.
//!
//! ```text
//! |Vers| Diagnostic |Sta|P|F|C|A|D|M| Detect Mult | Length |
//! |                 My Discriminator                  |
//! |                Your Discriminator                 |
//! |              Desired Min TX Interval              |   microseconds
//! |             Required Min RX Interval              |
//! |          Required Min Echo RX Interval            |   0: no echo packets
//! ```

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The length of a packet without authentication, in octets.
pub const LENGTH: usize = 24;
/// The protocol's version.
const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// The state of a session at one end (RFC 5880 §4.1, §6.2). The numbers are those of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BfdState {
    /// An operator has switched the session off. This says nothing of the path.
    AdminDown,
    /// There is no answer from the other end.
    Down,
    /// The other end is heard, and may not hear us yet.
    Init,
    /// Both ends hear each other.
    Up,
}

impl BfdState {
    /// All states.
    pub const ALL: [BfdState; 4] = [BfdState::AdminDown, BfdState::Down, BfdState::Init, BfdState::Up];

    fn octet(self) -> u8 {
        match self {
            BfdState::AdminDown => 0,
            BfdState::Down => 1,
            BfdState::Init => 2,
            BfdState::Up => 3,
        }
    }

    fn of(octet: u8) -> BfdState {
        match octet & 3 {
            0 => BfdState::AdminDown,
            1 => BfdState::Down,
            2 => BfdState::Init,
            _ => BfdState::Up,
        }
    }
}

impl fmt::Display for BfdState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            BfdState::AdminDown => "AdminDown",
            BfdState::Down => "Down",
            BfdState::Init => "Init",
            BfdState::Up => "Up",
        })
    }
}

/// Why a session has left Up last (RFC 5880 §4.1), 0 to 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// No Diagnostic.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// Control Detection Time Expired.
    pub const DETECTION_EXPIRED: Diagnostic = Diagnostic(1);
    /// Neighbor Signaled Session Down.
    pub const NEIGHBOUR_DOWN: Diagnostic = Diagnostic(3);
    /// Administratively Down.
    pub const ADMIN_DOWN: Diagnostic = Diagnostic(7);

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// In the words of RFC 5880; `unknown diagnostic` for a number that has no meaning.
    pub fn words(self) -> &'static str {
        match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            9 => "mis-connectivity defect",
            _ => "unknown diagnostic",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words(), self.0)
    }
}

/// A BFD Control packet without authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender has left Up last.
    pub diag: Diagnostic,
    /// The sender's state.
    pub state: BfdState,
    /// P: the sender wants an answer with F at once.
    pub poll: bool,
    /// F: the answer to a packet with P.
    pub is_final: bool,
    /// D: the sender wants no periodic packets while both ends are Up.
    pub demand: bool,
    /// How many packets in a row may be missing before the receiver declares the sender down, 1 to 255.
    pub multiplier: u8,
    /// The sender's discriminator, not 0.
    pub my_discriminator: u32,
    /// The discriminator of the receiver; 0 while it is not known.
    pub your_discriminator: u32,
    /// The shortest interval in which the sender wants to send; whole microseconds.
    pub desired_min_tx: Duration,
    /// The shortest interval in which the sender can receive; 0: no periodic packets at all.
    pub required_min_rx: Duration,
}

/// Why a received packet is dropped. The first that applies, in the order of RFC 5880 §6.8.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum DropReason {
    /// The TTL or hop limit is not 255 (RFC 5881 §5).
    #[error("the TTL is not 255")]
    Ttl,
    /// Another version of BFD.
    #[error("the version is not 1")]
    Version,
    /// The length is below 24 octets, or beyond the datagram.
    #[error("the length is wrong")]
    Length,
    /// The detection multiplier is 0.
    #[error("the multiplier is 0")]
    Multiplier,
    /// The multipoint bit is set.
    #[error("the multipoint bit is set")]
    Multipoint,
    /// The sender's discriminator is 0.
    #[error("the sender's discriminator is 0")]
    MyDiscriminator,
    /// Our discriminator is 0, and the state is neither Down nor AdminDown.
    #[error("our discriminator is 0 in state Init or Up")]
    YourDiscriminator,
    /// No session has that discriminator or that address.
    #[error("there is no such session")]
    NoSession,
    /// It is authenticated, and the session is not.
    #[error("it is authenticated")]
    Authentication,
}

impl DropReason {
    /// All of them.
    pub const ALL: [DropReason; 9] = [
        DropReason::Ttl,
        DropReason::Version,
        DropReason::Length,
        DropReason::Multiplier,
        DropReason::Multipoint,
        DropReason::MyDiscriminator,
        DropReason::YourDiscriminator,
        DropReason::NoSession,
        DropReason::Authentication,
    ];

    /// The value of the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::Ttl => "ttl",
            DropReason::Version => "version",
            DropReason::Length => "length",
            DropReason::Multiplier => "multiplier",
            DropReason::Multipoint => "multipoint",
            DropReason::MyDiscriminator => "my_discriminator",
            DropReason::YourDiscriminator => "your_discriminator",
            DropReason::NoSession => "no_session",
            DropReason::Authentication => "authentication",
        }
    }
}

/// Reads a datagram. Octets behind the packet's length are ignored.
///
/// # Errors
/// The reason to drop it: every rule of RFC 5880 §6.8.6 that needs no session.
pub fn decode(datagram: &[u8]) -> Result<Packet, DropReason> {
    let first = datagram.first().copied().ok_or(DropReason::Length)?;
    if first >> 5 != VERSION {
        return Err(DropReason::Version);
    }
    let fixed: &[u8; LENGTH] = datagram.first_chunk().ok_or(DropReason::Length)?;
    let [_, flags, multiplier, length, ..] = *fixed;
    let authenticated = flags & AUTHENTICATION != 0;
    let least = if authenticated { LENGTH + 2 } else { LENGTH };
    if usize::from(length) < least || usize::from(length) > datagram.len() {
        return Err(DropReason::Length);
    }
    if multiplier == 0 {
        return Err(DropReason::Multiplier);
    }
    if flags & MULTIPOINT != 0 {
        return Err(DropReason::Multipoint);
    }
    let word =
        |at: usize| fixed.iter().skip(at).take(4).fold(0_u32, |word, octet| word << 8 | u32::from(*octet));
    let packet = Packet {
        diag: Diagnostic(first & 0x1f),
        state: BfdState::of(flags >> 6),
        poll: flags & POLL != 0,
        is_final: flags & FINAL != 0,
        demand: flags & DEMAND != 0,
        multiplier,
        my_discriminator: word(4),
        your_discriminator: word(8),
        desired_min_tx: Duration::from_micros(word(12).into()),
        required_min_rx: Duration::from_micros(word(16).into()),
    };
    if packet.my_discriminator == 0 {
        return Err(DropReason::MyDiscriminator);
    }
    if packet.your_discriminator == 0 && matches!(packet.state, BfdState::Init | BfdState::Up) {
        return Err(DropReason::YourDiscriminator);
    }
    if authenticated {
        return Err(DropReason::Authentication);
    }
    Ok(packet)
}

/// Writes a packet. The C bit is clear: our BFD ends with the program.
pub fn encode(packet: &Packet) -> [u8; LENGTH] {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = packet.state.octet() << 6
        | flag(packet.poll, POLL)
        | flag(packet.is_final, FINAL)
        | flag(packet.demand, DEMAND);
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX).to_be_bytes();
    let mut octets = [0; LENGTH];
    let head = [VERSION << 5 | packet.diag.0, flags, packet.multiplier, 24];
    let words = [
        head,
        packet.my_discriminator.to_be_bytes(),
        packet.your_discriminator.to_be_bytes(),
        micros(packet.desired_min_tx),
        micros(packet.required_min_rx),
        [0; 4],
    ];
    for (octet, value) in octets.iter_mut().zip(words.into_iter().flatten()) {
        *octet = value;
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: [u8; LENGTH] =
        [0x20, 0x40, 3, 24, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0, 0xc3, 0x50, 0, 0, 0, 0];

    #[test]
    fn a_packet_is_read_and_written() {
        let packet = decode(&DOWN).unwrap();
        assert_eq!(packet.state, BfdState::Down);
        assert_eq!((packet.my_discriminator, packet.your_discriminator, packet.multiplier), (7, 0, 3));
        assert_eq!(packet.desired_min_tx, Duration::from_secs(1));
        assert_eq!(packet.required_min_rx, Duration::from_millis(50));
        assert_eq!(encode(&packet), DOWN);
        assert_eq!(decode(&[&DOWN[..], &[1, 2, 3]].concat()), Ok(packet), "octets behind the packet");
    }

    #[test]
    fn every_rule_by_which_a_packet_is_dropped() {
        let with = |changes: &[(usize, u8)]| {
            let mut octets = DOWN.to_vec();
            octets.extend([0; 4]);
            for (at, value) in changes {
                octets[*at] = *value;
            }
            octets
        };
        for (changes, want) in [
            (&[][..], Ok(())),
            (&[(0, 0x00)], Err(DropReason::Version)),
            (&[(0, 0x40)], Err(DropReason::Version)),
            (&[(3, 0)], Err(DropReason::Length)),
            (&[(3, 23)], Err(DropReason::Length)),
            (&[(3, 28)], Ok(())),
            (&[(3, 29)], Err(DropReason::Length)),
            (&[(2, 0)], Err(DropReason::Multiplier)),
            (&[(2, 1)], Ok(())),
            (&[(1, 0x41)], Err(DropReason::Multipoint)),
            (&[(7, 0)], Err(DropReason::MyDiscriminator)),
            (&[(1, 0x00)], Ok(())),
            (&[(1, 0x80)], Err(DropReason::YourDiscriminator)),
            (&[(1, 0xc0)], Err(DropReason::YourDiscriminator)),
            (&[(1, 0xc0), (11, 1)], Ok(())),
            (&[(1, 0x44), (3, 25)], Err(DropReason::Length)),
            (&[(1, 0x44), (3, 26)], Err(DropReason::Authentication)),
        ] {
            assert_eq!(decode(&with(changes)).map(|_| ()), want, "{changes:?}");
        }
        for short in 0..LENGTH {
            assert_eq!(decode(&DOWN[..short]), Err(DropReason::Length), "{short} octets");
        }
    }

    #[test]
    fn every_flag_state_and_diagnostic_is_kept() {
        for state in [BfdState::AdminDown, BfdState::Down, BfdState::Init, BfdState::Up] {
            for bits in 0..8_u8 {
                let packet = Packet {
                    diag: Diagnostic(bits + 2),
                    state,
                    poll: bits & 1 != 0,
                    is_final: bits & 2 != 0,
                    demand: bits & 4 != 0,
                    multiplier: 255,
                    my_discriminator: u32::MAX,
                    your_discriminator: 0x0102_0304,
                    desired_min_tx: Duration::from_micros(10_000),
                    required_min_rx: Duration::ZERO,
                };
                assert_eq!(decode(&encode(&packet)), Ok(packet));
            }
        }
        assert_eq!(Diagnostic::DETECTION_EXPIRED.to_string(), "control detection time expired (1)");
    }

    #[test]
    fn labels_differ() {
        let labels: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|why| why.label()).collect();
        assert_eq!(labels.len(), DropReason::ALL.len());
    }
}
