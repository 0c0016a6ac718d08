//! The heartbeat: the UDP datagram that each member of a chain sends to each other member every `heartbeat`.
//!
//! Pure. All numbers are in network order. The authenticated part is everything before the HMAC.
//!
//! ```text
//!   4  "anch"
//!   1  version: 1
//!   2  flags: rules v4, v6 · receiver is in the ring v4, v6 · receiver's MAC address is believed v4, v6 ·
//!      presence (2 bits) · switched off · receiver is known to live
//!   4  interval of the sender's heartbeats, microseconds
//!  16  sender, 16 receiver: addresses as in `members`; IPv4 as IPv4-mapped (RFC 4291 §2.5.5.2)
//!  16  start of the sender, 8 counter within this start
//!  48  returns: start and counter of the receiver that the sender has accepted last, and merely heard last; start 0: none
//!   4  next hop v4, 16 next hop v6: the sender's addresses on the segment; 0: none
//!   8  digest of the members, 8 digest of the services
//!   4  how often the sender has read its counters of test packets; then for IPv4 and IPv6 each:
//!      4 arrived, 4 changed, 4 delivered
//!   5  answer: verdict (0: none), 4 number of the receiver's intent
//!   n  intent: kind (0: none), then 1 phase, 4 number, 1 scope, and for scope `these VIPs` a list of addresses
//!   n  page of VIP states: list of addresses, each followed by its state
//!  32  HMAC-SHA-256
//!
//! list: 1 number of IPv4 addresses, 4 octets each; 1 number of IPv6 addresses, 16 octets each
//! ```
//!
//! Both `returns` exist because of replays: an old heartbeat of another start can only replace what was merely heard, never what was
//! accepted, so that it does not end what is good.

mod digest;
mod keys;
mod octets;
mod page;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU32, NonZeroU128};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::test_packets::TestPacketReport;
use crate::model::Family;

pub use digest::ListDigest;
pub use keys::{KeyError, Keys, MIN_KEY_LENGTH};
pub use page::{MAX_PAGE, PageCursor, REPEATS, VipTable};

/// The most octets of a heartbeat. It fits into one packet on every link with an MTU of 1,280 octets.
pub const MAX_LENGTH: usize = 1200;
/// The most members of a chain: a hop mark has six bits, and half of the values are marks.
pub const MAX_MEMBERS: usize = 32;
/// The shortest and the longest interval between heartbeats.
pub const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);

/// The random number of one start of a daemon. Not zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeartbeatStart(NonZeroU128);

impl HeartbeatStart {
    /// From 128 random bits; `None` for zero, which means no start.
    pub fn new(number: u128) -> Option<HeartbeatStart> {
        NonZeroU128::new(number).map(HeartbeatStart)
    }

    /// The number.
    pub fn get(self) -> u128 {
        self.0.get()
    }
}

impl fmt::Debug for HeartbeatStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeartbeatStart({:x})", self.0)
    }
}

/// A heartbeat of the receiver that the sender has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// The start of the receiver.
    pub start: HeartbeatStart,
    /// The highest counter within this start.
    pub counter: u64,
}

/// What the sender has received from the receiver. A heartbeat counts only if one of both is of the receiver's present start and not
/// too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Returns {
    /// The last one that counted.
    pub accepted: Option<Returned>,
    /// The last one that had a right HMAC but did not count.
    pub heard: Option<Returned>,
}

impl Returns {
    /// The highest counter that is returned of this start.
    pub fn counter_of(&self, start: HeartbeatStart) -> Option<u64> {
        let both = self.accepted.into_iter().chain(self.heard);
        both.filter(|returned| returned.start == start).map(|returned| returned.counter).max()
    }
}

/// Who sends to whom, and what makes a heartbeat fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The sender's address as in `members`.
    pub sender: IpAddr,
    /// The receiver's address as in `members`: a heartbeat cannot be reflected to another member.
    pub receiver: IpAddr,
    /// The sender's start.
    pub start: HeartbeatStart,
    /// Grows by one with each heartbeat of this start to this receiver.
    pub counter: u64,
    /// What the sender has received from the receiver.
    pub returns: Returns,
}

/// A fact about each address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Neither.
    pub const NONE: Families = Families { v4: false, v6: false };
    /// Both.
    pub const BOTH: Families = Families { v4: true, v6: true };

    /// Whether it is true of this family.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// The fact of each family.
    pub fn of(fact: impl Fn(Family) -> bool) -> Families {
        Families { v4: fact(Family::V4), v6: fact(Family::V6) }
    }
}

/// Whether the sender stays in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberPresence {
    /// It stays.
    #[default]
    Here,
    /// It stops, and stays in the rings until its last flow has ended.
    Leaving,
    /// Nobody may forward to it any more: it removes its rules soon.
    Left,
}

impl MemberPresence {
    /// The value in JSON.
    pub fn word(self) -> &'static str {
        match self {
            MemberPresence::Here => "here",
            MemberPresence::Leaving => "leaving",
            MemberPresence::Left => "left",
        }
    }
}

/// The addresses at which the sender takes forwarded packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NextHops {
    /// For IPv4 packets.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 packets.
    pub v6: Option<Ipv6Addr>,
}

impl NextHops {
    /// The address for this family's packets.
    pub fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }
}

/// What the sender says to every member alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The interval of its heartbeats, within [`INTERVALS`]; whole microseconds.
    pub interval: Duration,
    /// The families whose rules are installed in its kernel.
    pub rules: Families,
    /// Whether it stays.
    pub presence: MemberPresence,
    /// Whether an operator has switched the chain off on this host.
    pub switched_off: bool,
    /// Where it takes forwarded packets.
    pub next_hops: NextHops,
    /// The digest of its list of members.
    pub members: ListDigest,
    /// The digest of its VIPs and ports.
    pub services: ListDigest,
}

/// What the sender says about the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AboutReceiver {
    /// The receiver is in the ring that the sender has installed.
    pub in_ring: Families,
    /// The sender's installed rules believe hop marks from the receiver's MAC address, or from the VXLAN device. Only then may the
    /// receiver forward to the sender: a mark that is not believed would be begun again at each round, and a packet would not end.
    pub believed: Families,
    /// The sender counts the receiver among the members that live. If the sender does not announce yet, it waits until both are in each
    /// other's rings.
    pub known: bool,
}

/// The state of a VIP on the sender, in the words of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberVipState {
    /// It is not announced yet.
    Starting,
    /// It is announced.
    Announced,
    /// It is announced as the last choice.
    LastChoice,
    /// Operators have withdrawn it.
    Drained,
    /// It is withdrawn because of a fact.
    NotAnnounced,
    /// It is no longer in the sender's configuration.
    Removed,
}

impl MemberVipState {
    /// All of them, by their number in the datagram.
    pub const ALL: [MemberVipState; 6] = [
        MemberVipState::Starting,
        MemberVipState::Announced,
        MemberVipState::LastChoice,
        MemberVipState::Drained,
        MemberVipState::NotAnnounced,
        MemberVipState::Removed,
    ];

    /// The word of `status`.
    pub fn word(self) -> &'static str {
        match self {
            MemberVipState::Starting => "starting",
            MemberVipState::Announced => "announced",
            MemberVipState::LastChoice => "last_choice",
            MemberVipState::Drained => "drained",
            MemberVipState::NotAnnounced => "not_announced",
            MemberVipState::Removed => "removed",
        }
    }
}

/// Why the sender wants to withdraw VIPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentKind {
    /// `announcer drain`.
    Drain,
    /// A reload.
    Reload,
    /// An upgrade of the program.
    Upgrade,
}

impl IntentKind {
    /// One word, for the log.
    pub fn word(self) -> &'static str {
        match self {
            IntentKind::Drain => "drain",
            IntentKind::Reload => "reload",
            IntentKind::Upgrade => "upgrade",
        }
    }
}

/// How far an intent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentPhase {
    /// The sender waits for answers.
    Asked,
    /// The sender has decided to do it. It stays until the sender's VIP states show the result.
    CarriedOut,
}

/// The VIPs that an intent withdraws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentScope {
    /// All VIPs of the sender.
    All,
    /// These, in ascending order, and no more than fit: [`IntentScope::of`].
    Vips(Vec<IpAddr>),
}

impl IntentScope {
    /// The most octets of the addresses in a heartbeat: 64 IPv4 or 16 IPv6 addresses.
    pub const MAX_OCTETS: usize = 256;

    /// The scope of these VIPs. More than fit into a heartbeat become [`IntentScope::All`]: then the other members consider more VIPs
    /// as withdrawn than will be, for the short time of the intent.
    pub fn of(vips: impl IntoIterator<Item = IpAddr>) -> IntentScope {
        let mut vips: Vec<IpAddr> = vips.into_iter().map(|vip| vip.to_canonical()).collect();
        vips.sort();
        vips.dedup();
        let octets: usize = vips.iter().map(|vip| octets::width(*vip)).sum();
        if octets > Self::MAX_OCTETS { IntentScope::All } else { IntentScope::Vips(vips) }
    }

    /// Whether this VIP is withdrawn.
    pub fn has(&self, vip: IpAddr) -> bool {
        match self {
            IntentScope::All => true,
            IntentScope::Vips(vips) => vips.contains(&vip),
        }
    }

    /// Whether a VIP is in both.
    pub fn overlaps(&self, other: &IntentScope) -> bool {
        match (self, other) {
            (IntentScope::All, IntentScope::All) => true,
            (IntentScope::All, IntentScope::Vips(vips)) | (IntentScope::Vips(vips), IntentScope::All) => {
                !vips.is_empty()
            }
            (IntentScope::Vips(ours), IntentScope::Vips(theirs)) => {
                ours.iter().any(|vip| theirs.contains(vip))
            }
        }
    }
}

/// That the sender wants to withdraw VIPs, for the guard of capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Why.
    pub kind: IntentKind,
    /// How far it is.
    pub phase: IntentPhase,
    /// Its number; a later intent of the same start has a higher one.
    pub number: NonZeroU32,
    /// Which VIPs.
    pub scope: IntentScope,
}

/// The sender's answer to the intent of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntentAnswer {
    /// The number of the intent.
    pub number: NonZeroU32,
    /// What the answer is.
    pub verdict: IntentVerdict,
}

/// What a member answers to an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentVerdict {
    /// It considers the VIPs as withdrawn from now on, and has given up an intent of its own for the same VIPs.
    Accepted,
    /// It has an intent of its own for the same VIPs, which comes first.
    Refused,
}

/// A heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who sends to whom, and what makes it fresh: [`Member::transmit`](crate::chain::member::Member::transmit) gives it.
    pub header: Header,
    /// What is said to every member.
    pub facts: Facts,
    /// The test packets that the sender has counted.
    pub test_packets: TestPacketReport,
    /// What is said to the receiver alone.
    pub about_receiver: AboutReceiver,
    /// The answer to the receiver's intent.
    pub answer: Option<IntentAnswer>,
    /// The sender's intent.
    pub intent: Option<Intent>,
    /// A page of the sender's VIPs: [`VipTable::page`] gives it. Pages that are too long are cut by [`Heartbeat::encode`].
    pub vips: Vec<(IpAddr, MemberVipState)>,
}

/// Why a received heartbeat does not count. The first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum HeartbeatDropReason {
    /// Shorter than any heartbeat, longer than [`MAX_LENGTH`], or with octets behind the page.
    #[error("the length is wrong")]
    Length,
    /// It does not begin like a heartbeat.
    #[error("it is no heartbeat")]
    Magic,
    /// Another version.
    #[error("the version is not 1")]
    Version,
    /// None of our keys made its HMAC.
    #[error("the HMAC is wrong: the sender has another key")]
    Hmac,
    /// Its sender is not the source of the datagram.
    #[error("the sender is not the source address")]
    Sender,
    /// Its receiver is not this host.
    #[error("it is for another member")]
    Receiver,
    /// A value that has no meaning.
    #[error("a value has no meaning")]
    Value,
    /// The source is not in our list of members.
    #[error("the sender is not a member")]
    NotMember,
    /// It does not return a recent heartbeat of our present start. The first one after a start of either side is such.
    #[error("it returns no recent heartbeat of this start")]
    NotReturned,
    /// Its counter has not grown: it is a copy, late or replayed.
    #[error("the counter has not grown")]
    Counter,
    /// It is of another start than the last one that counted, and its sender was not alive after that.
    #[error("it is of an earlier start")]
    EarlierStart,
}

impl HeartbeatDropReason {
    /// All of them.
    pub const ALL: [HeartbeatDropReason; 11] = [
        HeartbeatDropReason::Length,
        HeartbeatDropReason::Magic,
        HeartbeatDropReason::Version,
        HeartbeatDropReason::Hmac,
        HeartbeatDropReason::Sender,
        HeartbeatDropReason::Receiver,
        HeartbeatDropReason::Value,
        HeartbeatDropReason::NotMember,
        HeartbeatDropReason::NotReturned,
        HeartbeatDropReason::Counter,
        HeartbeatDropReason::EarlierStart,
    ];

    /// The value of the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            HeartbeatDropReason::Length => "length",
            HeartbeatDropReason::Magic => "magic",
            HeartbeatDropReason::Version => "version",
            HeartbeatDropReason::Hmac => "hmac",
            HeartbeatDropReason::Sender => "sender",
            HeartbeatDropReason::Receiver => "receiver",
            HeartbeatDropReason::Value => "value",
            HeartbeatDropReason::NotMember => "not_member",
            HeartbeatDropReason::NotReturned => "not_returned",
            HeartbeatDropReason::Counter => "counter",
            HeartbeatDropReason::EarlierStart => "earlier_start",
        }
    }
}

#[cfg(test)]
mod tests;
