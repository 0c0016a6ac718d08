//! A heartbeat as octets.
//!
//! Pure. Nothing here panics, whatever the octets are: what is not there is [`HeartbeatDropReason::Length`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use super::keys::{HMAC_LENGTH, Keys};
use super::{
    AboutReceiver, Facts, Families, Header, Heartbeat, HeartbeatDropReason, HeartbeatStart, INTERVALS,
    Intent, IntentAnswer, IntentKind, IntentPhase, IntentScope, IntentVerdict, ListDigest, MAX_LENGTH,
    MemberPresence, MemberVipState, NextHops, Returned, Returns,
};
use crate::chain::test_packets::{TestPacketCounts, TestPacketReport};

const MAGIC: [u8; 4] = *b"anch";
const VERSION: u8 = 1;

/// The octets of an address in a list.
pub(super) fn width(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 16,
    }
}

/// An address as 16 octets; IPv4 as IPv4-mapped.
pub(super) fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl Heartbeat {
    /// The datagram, at most [`MAX_LENGTH`] octets, signed with the first key. VIP states that do not fit are left out, and so are
    /// those of addresses beyond 255 of a family.
    pub fn encode(&self, keys: &Keys) -> Vec<u8> {
        let mut out = OctetWriter(Vec::with_capacity(MAX_LENGTH));
        out.octets(&MAGIC);
        out.octets(&[VERSION]);
        self.header_and_facts(&mut out);
        out.answer(self.answer);
        out.intent(self.intent.as_ref());
        let room = MAX_LENGTH.saturating_sub(HMAC_LENGTH + out.0.len());
        out.list(
            &fitting(&self.vips, room),
            |(vip, _)| *vip,
            |out, (_, state)| out.octets(&[number(*state)]),
        );
        keys.sign(out.0)
    }

    fn header_and_facts(&self, out: &mut OctetWriter) {
        let (header, facts) = (&self.header, &self.facts);
        let about = &self.about_receiver;
        let presence = match facts.presence {
            MemberPresence::Here => 0,
            MemberPresence::Leaving => 1,
            MemberPresence::Left => 2,
        };
        let flags = bits(facts.rules)
            | bits(about.in_ring) << 2
            | bits(about.believed) << 4
            | presence << 6
            | u16::from(facts.switched_off) << 8
            | u16::from(about.known) << 9;
        out.octets(&flags.to_be_bytes());
        out.octets(&u32::try_from(facts.interval.as_micros()).unwrap_or(u32::MAX).to_be_bytes());
        out.octets(&mapped(header.sender));
        out.octets(&mapped(header.receiver));
        out.octets(&header.start.get().to_be_bytes());
        out.octets(&header.counter.to_be_bytes());
        for returned in [header.returns.accepted, header.returns.heard] {
            out.octets(&returned.map_or(0, |returned| returned.start.get()).to_be_bytes());
            out.octets(&returned.map_or(0, |returned| returned.counter).to_be_bytes());
        }
        out.octets(&facts.next_hops.v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        out.octets(&facts.next_hops.v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
        out.octets(&facts.members.0);
        out.octets(&facts.services.0);
        let TestPacketReport { readings, v4, v6 } = self.test_packets;
        out.octets(&readings.to_be_bytes());
        for TestPacketCounts { arrived, changed, delivered } in [v4, v6] {
            [arrived, changed, delivered].iter().for_each(|count| out.octets(&count.to_be_bytes()));
        }
    }

    /// Reads a datagram. `source` is its source address, `own` this host's address in the list of members.
    ///
    /// # Errors
    /// The first reason to drop it that can be seen without knowing the sender.
    pub fn decode(
        octets: &[u8],
        source: IpAddr,
        own: IpAddr,
        keys: &Keys,
    ) -> Result<Heartbeat, HeartbeatDropReason> {
        if octets.len() > MAX_LENGTH {
            return Err(HeartbeatDropReason::Length);
        }
        let head: &[u8; 5] = octets.first_chunk().ok_or(HeartbeatDropReason::Length)?;
        let [magic @ .., version] = head;
        if *magic != MAGIC {
            return Err(HeartbeatDropReason::Magic);
        }
        if *version != VERSION {
            return Err(HeartbeatDropReason::Version);
        }
        let content = keys.verify(octets).ok_or(HeartbeatDropReason::Hmac)?;
        let mut content = Reader(content.get(head.len()..).unwrap_or_default());
        let heartbeat = content.heartbeat()?;
        if !content.0.is_empty() {
            return Err(HeartbeatDropReason::Length);
        }
        if heartbeat.header.sender != source.to_canonical() {
            return Err(HeartbeatDropReason::Sender);
        }
        if heartbeat.header.receiver != own.to_canonical() {
            return Err(HeartbeatDropReason::Receiver);
        }
        Ok(heartbeat)
    }
}

/// The VIP states that fit into this many octets, in their order.
fn fitting(vips: &[(IpAddr, MemberVipState)], room: usize) -> Vec<(IpAddr, MemberVipState)> {
    let mut left = room.saturating_sub(2);
    let (mut v4, mut v6) = (0, 0);
    let fits = |(vip, _): &&(IpAddr, MemberVipState)| {
        let count = if vip.is_ipv4() { &mut v4 } else { &mut v6 };
        let octets = width(*vip) + 1;
        let fits = octets <= left && *count < u8::MAX;
        if fits {
            left -= octets;
            *count += 1;
        }
        fits
    };
    vips.iter().filter(fits).copied().collect()
}

fn bits(families: Families) -> u16 {
    u16::from(families.v4) | u16::from(families.v6) << 1
}

fn number(state: MemberVipState) -> u8 {
    match state {
        MemberVipState::Starting => 0,
        MemberVipState::Announced => 1,
        MemberVipState::LastChoice => 2,
        MemberVipState::Drained => 3,
        MemberVipState::NotAnnounced => 4,
        MemberVipState::Removed => 5,
    }
}

struct OctetWriter(Vec<u8>);

impl OctetWriter {
    fn octets(&mut self, octets: &[u8]) {
        self.0.extend(octets);
    }

    fn answer(&mut self, answer: Option<IntentAnswer>) {
        let verdict = answer.map_or(0, |answer| match answer.verdict {
            IntentVerdict::Accepted => 1,
            IntentVerdict::Refused => 2,
        });
        self.octets(&[verdict]);
        self.octets(&answer.map_or(0, |answer| answer.number.get()).to_be_bytes());
    }

    fn intent(&mut self, intent: Option<&Intent>) {
        let Some(intent) = intent else { return self.octets(&[0]) };
        let kind = match intent.kind {
            IntentKind::Drain => 1,
            IntentKind::Reload => 2,
            IntentKind::Upgrade => 3,
        };
        let phase = match intent.phase {
            IntentPhase::Asked => 0,
            IntentPhase::CarriedOut => 1,
        };
        self.octets(&[kind, phase]);
        self.octets(&intent.number.get().to_be_bytes());
        match &intent.scope {
            IntentScope::Vips(vips)
                if vips.iter().map(|vip| width(*vip)).sum::<usize>() <= IntentScope::MAX_OCTETS =>
            {
                self.octets(&[1]);
                self.list(vips, |vip| *vip, |_, _| ());
            }
            IntentScope::All | IntentScope::Vips(_) => self.octets(&[0]),
        }
    }

    /// The IPv4 addresses, then the IPv6 addresses; at most 255 of each, which the callers ensure.
    fn list<T>(&mut self, items: &[T], address: fn(&T) -> IpAddr, behind: fn(&mut OctetWriter, &T)) {
        for v4 in [true, false] {
            let of_family = || items.iter().filter(|item| address(item).is_ipv4() == v4).take(u8::MAX.into());
            self.octets(&[u8::try_from(of_family().count()).unwrap_or(u8::MAX)]);
            for item in of_family() {
                match address(item) {
                    IpAddr::V4(v4) => self.octets(&v4.octets()),
                    IpAddr::V6(v6) => self.octets(&v6.octets()),
                }
                behind(self, item);
            }
        }
    }
}

/// The octets that are not read yet.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeartbeatDropReason> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(HeartbeatDropReason::Length)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn octet(&mut self) -> Result<u8, HeartbeatDropReason> {
        self.take().map(u8::from_be_bytes)
    }

    fn number(&mut self) -> Result<u32, HeartbeatDropReason> {
        self.take().map(u32::from_be_bytes)
    }

    fn counter(&mut self) -> Result<u64, HeartbeatDropReason> {
        self.take().map(u64::from_be_bytes)
    }

    fn member(&mut self) -> Result<IpAddr, HeartbeatDropReason> {
        self.take::<16>().map(|octets| IpAddr::from(octets).to_canonical())
    }

    fn start(&mut self) -> Result<Option<HeartbeatStart>, HeartbeatDropReason> {
        self.take().map(|octets| HeartbeatStart::new(u128::from_be_bytes(octets)))
    }

    fn returned(&mut self) -> Result<Option<Returned>, HeartbeatDropReason> {
        let (start, counter) = (self.start()?, self.counter()?);
        Ok(start.map(|start| Returned { start, counter }))
    }

    fn heartbeat(&mut self) -> Result<Heartbeat, HeartbeatDropReason> {
        let flags = u16::from_be_bytes(self.take()?);
        let families = |shift: u16| Families { v4: flags >> shift & 1 == 1, v6: flags >> shift & 2 == 2 };
        let presence = match flags >> 6 & 3 {
            0 => MemberPresence::Here,
            1 => MemberPresence::Leaving,
            2 => MemberPresence::Left,
            _ => return Err(HeartbeatDropReason::Value),
        };
        let interval = Duration::from_micros(self.number()?.into());
        if !INTERVALS.contains(&interval) || flags >> 10 != 0 {
            return Err(HeartbeatDropReason::Value);
        }
        let header = Header {
            sender: self.member()?,
            receiver: self.member()?,
            start: self.start()?.ok_or(HeartbeatDropReason::Value)?,
            counter: self.counter()?,
            returns: Returns { accepted: self.returned()?, heard: self.returned()? },
        };
        let v4 = Some(Ipv4Addr::from(self.take::<4>()?)).filter(|v4| !v4.is_unspecified());
        let v6 = Some(Ipv6Addr::from(self.take::<16>()?)).filter(|v6| !v6.is_unspecified());
        let facts = Facts {
            interval,
            rules: families(0),
            presence,
            switched_off: flags >> 8 & 1 == 1,
            next_hops: NextHops { v4, v6 },
            members: ListDigest(self.take()?),
            services: ListDigest(self.take()?),
        };
        let test_packets =
            TestPacketReport { readings: self.number()?, v4: self.counts()?, v6: self.counts()? };
        let about_receiver =
            AboutReceiver { in_ring: families(2), believed: families(4), known: flags >> 9 & 1 == 1 };
        let (answer, intent) = (self.answer()?, self.intent()?);
        let vips = self.list(|reader| {
            let number = usize::from(reader.octet()?);
            MemberVipState::ALL.get(number).copied().ok_or(HeartbeatDropReason::Value)
        })?;
        Ok(Heartbeat { header, facts, test_packets, about_receiver, answer, intent, vips })
    }

    fn counts(&mut self) -> Result<TestPacketCounts, HeartbeatDropReason> {
        Ok(TestPacketCounts { arrived: self.number()?, changed: self.number()?, delivered: self.number()? })
    }

    fn answer(&mut self) -> Result<Option<IntentAnswer>, HeartbeatDropReason> {
        let verdict = match self.octet()? {
            0 => None,
            1 => Some(IntentVerdict::Accepted),
            2 => Some(IntentVerdict::Refused),
            _ => return Err(HeartbeatDropReason::Value),
        };
        match (verdict, NonZeroU32::new(self.number()?)) {
            (Some(verdict), Some(number)) => Ok(Some(IntentAnswer { number, verdict })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(HeartbeatDropReason::Value),
        }
    }

    fn intent(&mut self) -> Result<Option<Intent>, HeartbeatDropReason> {
        let kind = match self.octet()? {
            0 => return Ok(None),
            1 => IntentKind::Drain,
            2 => IntentKind::Reload,
            3 => IntentKind::Upgrade,
            _ => return Err(HeartbeatDropReason::Value),
        };
        let phase = match self.octet()? {
            0 => IntentPhase::Asked,
            1 => IntentPhase::CarriedOut,
            _ => return Err(HeartbeatDropReason::Value),
        };
        let number = NonZeroU32::new(self.number()?).ok_or(HeartbeatDropReason::Value)?;
        let scope = match self.octet()? {
            0 => IntentScope::All,
            1 => {
                let vips = self.list(|_| Ok(()))?.into_iter().map(|(vip, ())| vip).collect();
                IntentScope::Vips(vips)
            }
            _ => return Err(HeartbeatDropReason::Value),
        };
        Ok(Some(Intent { kind, phase, number, scope }))
    }

    fn list<T>(
        &mut self,
        behind: fn(&mut Self) -> Result<T, HeartbeatDropReason>,
    ) -> Result<Vec<(IpAddr, T)>, HeartbeatDropReason> {
        let mut items = Vec::new();
        for _ in 0..self.octet()? {
            let address = IpAddr::from(self.take::<4>()?);
            items.push((address, behind(self)?));
        }
        for _ in 0..self.octet()? {
            let address = IpAddr::from(self.take::<16>()?);
            items.push((address, behind(self)?));
        }
        Ok(items)
    }
}
