//! Makes the answers of the control API from what is known of the chain.
//!
//! Pure. The clock comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{families, key};
use crate::chain::heartbeat::{Facts, Families, MemberVipState};
use crate::chain::member::MemberState;
use crate::chain::ring::{Absence, RingEntry};
use crate::chain::status::{ChainStatus, MemberStatus};
use crate::control::api::{
    ChainMember, ChainReport, ChainSummary, DroppedHeartbeats, ReasonStatus, RingReport, SiteMember,
    SiteReport, SiteVip,
};
use crate::model::Family;

/// The time, and how an instant is written in RFC 3339.
#[derive(Clone, Copy)]
pub struct ChainClock<'a> {
    /// Now.
    pub now: Instant,
    /// The wall clock's time of an instant.
    pub time_of: &'a dyn Fn(Instant) -> String,
}

impl fmt::Debug for ChainClock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChainClock").field(&self.now).finish()
    }
}

/// A VIP of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVip {
    /// The VIP.
    pub address: IpAddr,
    /// Its service.
    pub service: String,
    /// The word of its standing.
    pub standing: &'static str,
    /// How many members have to announce it.
    pub min_announcers: Option<u32>,
}

/// Everything that is known of the chain, except the state of each VIP.
pub fn report(status: &ChainStatus, own_vips: &[OwnVip], clock: ChainClock<'_>) -> ChainReport {
    let rings = families(status).map(|family| (key(family), ring(status, family)));
    let members = status.ring.entries.iter().map(|entry| {
        let vips = match status.members.get(&entry.member) {
            Some(member) => count(member.vips.values().filter_map(|state| shown(*state))),
            None if Some(entry.member) == status.own => count(own_vips.iter().map(|vip| vip.standing)),
            None => BTreeMap::new(),
        };
        member(status, entry, vips, clock)
    });
    let drops = status.drops.iter().map(|(reason, count)| DroppedHeartbeats {
        reason: ReasonStatus { code: reason.label().to_owned(), text: reason.to_string() },
        count: *count,
    });
    ChainReport {
        forward: status.forward,
        own: status.own,
        off: status.off.clone(),
        installed: status.installed,
        rings: rings.collect(),
        members: members.collect(),
        heartbeats_dropped: drops.collect(),
        heartbeats_unsent: status.send_errors,
        problems: status.problems.clone(),
        warnings: status.warnings(clock.now),
    }
}

fn ring(status: &ChainStatus, family: Family) -> RingReport {
    let entries = status.ring.entries.iter();
    let members: Vec<IpAddr> =
        entries.filter(|entry| entry.absence(family).is_none()).map(|entry| entry.member).collect();
    let forwarding = status.ring.forwarding(family);
    RingReport {
        length: members.len(),
        members,
        next: forwarding.map(|forwarding| forwarding.next),
        via: forwarding.map(|forwarding| forwarding.via),
        test_packets: {
            let state = status.paths.of(family).to_next;
            ReasonStatus { code: state.label().to_owned(), text: state.to_string() }
        },
        counters: status.counters_of(family).copied(),
    }
}

fn member(
    status: &ChainStatus,
    entry: &RingEntry,
    vips: BTreeMap<String, usize>,
    clock: ChainClock<'_>,
) -> ChainMember {
    let this_host = Some(entry.member) == status.own;
    let other = status.members.get(&entry.member);
    let facts = if this_host { status.facts } else { other.and_then(|member| member.facts) };
    let elapsed = |since: Instant| clock.now.saturating_duration_since(since).as_secs_f64();
    let same = |digest: fn(&Facts) -> [u8; 8]| {
        facts.zip(status.facts).map(|(theirs, ours)| digest(&theirs) == digest(&ours))
    };
    let in_ring = families(status).filter(|family| entry.absence(*family).is_none());
    let absences = families(status).filter_map(|family| Some((key(family), reason(entry.absence(family)?))));
    let hops = [Family::V4, Family::V6].into_iter();
    let hops = hops.filter_map(|family| Some((key(family), facts?.next_hops.of(family)?)));
    ChainMember {
        address: entry.member,
        this_host,
        state: state(other, this_host).label().to_owned(),
        lasts: other.map(|member| elapsed(member.since)),
        since: other.map(|member| (clock.time_of)(member.since)),
        last_heartbeat: other.and_then(|member| member.last_heartbeat).map(elapsed),
        in_ring: in_ring.map(key).collect(),
        not_in_ring: absences.collect(),
        presence: facts.map(|facts| facts.presence.word().to_owned()),
        rules: facts.map(|facts| keys(facts.rules)),
        next_hops: hops.collect(),
        heartbeat_ms: facts.map(|facts| milliseconds(facts.interval)),
        same_members: same(|facts| facts.members.0),
        same_services: same(|facts| facts.services.0),
        vips,
    }
}

/// The state of a member. One that the loop of the heartbeats does not report yet was not heard.
fn state(other: Option<&MemberStatus>, this_host: bool) -> MemberState {
    match other {
        Some(member) => member.state,
        None if this_host => MemberState::Alive,
        None => MemberState::Unknown,
    }
}

fn reason(absence: Absence) -> ReasonStatus {
    ReasonStatus { code: absence.label().to_owned(), text: absence.to_string() }
}

fn keys(families: Families) -> Vec<String> {
    [Family::V4, Family::V6].into_iter().filter(|family| families.has(*family)).map(key).collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The word of a VIP's state; `None`: the member no longer has it.
fn shown(state: MemberVipState) -> Option<&'static str> {
    match state {
        MemberVipState::Removed => None,
        MemberVipState::Starting
        | MemberVipState::Announced
        | MemberVipState::LastChoice
        | MemberVipState::Drained
        | MemberVipState::NotAnnounced => Some(state.word()),
    }
}

fn count(words: impl Iterator<Item = &'static str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word.to_owned()).or_default() += 1);
    counts
}

/// The VIPs of the whole site. Members that do not live announce nothing, whatever they said last.
pub fn site(status: &ChainStatus, own_vips: &[OwnVip]) -> SiteReport {
    let entries = status.ring.entries.iter().map(|entry| entry.member);
    let members: Vec<SiteMember> = entries
        .map(|address| {
            let this_host = Some(address) == status.own;
            let state = state(status.members.get(&address), this_host).label().to_owned();
            SiteMember { address, this_host, state }
        })
        .collect();
    let living = status.members.iter().filter(|(_, member)| member.state.lives());
    let states_of = |vip: IpAddr| {
        let said = living
            .clone()
            .filter_map(|(address, member)| Some((*address, shown(*member.vips.get(&vip)?)?.to_owned())));
        said.collect::<BTreeMap<IpAddr, String>>()
    };
    let of = |vip: IpAddr, own: Option<&OwnVip>| {
        let mut states = states_of(vip);
        states.extend(status.own.zip(own).map(|(address, own)| (address, own.standing.to_owned())));
        SiteVip {
            address: vip,
            service: own.map(|own| own.service.clone()),
            announcers: states.values().filter(|state| *state == MemberVipState::Announced.word()).count(),
            min_announcers: own.and_then(|own| own.min_announcers),
            states,
        }
    };
    let known: BTreeSet<IpAddr> = own_vips.iter().map(|own| own.address).collect();
    let foreign: BTreeSet<IpAddr> = living
        .clone()
        .flat_map(|(_, member)| member.vips.iter())
        .filter(|(vip, state)| !known.contains(vip) && shown(**state).is_some())
        .map(|(vip, _)| *vip)
        .collect();
    let ours = own_vips.iter().map(|own| of(own.address, Some(own)));
    SiteReport { members, vips: ours.chain(foreign.into_iter().map(|vip| of(vip, None))).collect() }
}

/// The chain in one line; `None`: there is none.
pub fn summary(status: &ChainStatus) -> Option<ChainSummary> {
    if !status.configured {
        return None;
    }
    let (listed, living) = (status.listed(), status.living());
    let families: Vec<Family> = families(status).collect();
    let whole = |family: Family| status.ring.entries.iter().all(|entry| entry.absence(family).is_none());
    let text = if listed == 0 {
        "it does not work here".to_owned()
    } else if !status.forward {
        format!("{living} of {listed} members live, packets are not forwarded (`forward = false`)")
    } else if families.is_empty() {
        format!("{living} of {listed} members live, this host has no VIP with an address on the segment")
    } else {
        let words: Vec<String> = families.iter().map(|family| ring_words(status, *family)).collect();
        match words.as_slice() {
            [v4, v6] if v4 == v6 => v4.clone(),
            [v4, v6] => format!("IPv4: {v4}; IPv6: {v6}"),
            one => one.concat(),
        }
    };
    let text = text + if status.off.is_some() { ", forwarding is switched off on this host" } else { "" };
    let ok = status.problems.is_empty() && status.off.is_none() && listed > 0 && living == listed;
    let arrive = |family: Family| {
        let path = status.paths.of(family);
        !path.to_next.is_fault() && !path.into_this_host.is_fault()
    };
    let works = |family: Family| whole(family) && arrive(family);
    let ok = ok && (!status.forward || (status.installed && families.into_iter().all(works)));
    Some(ChainSummary { ok, listed, living, text })
}

fn ring_words(status: &ChainStatus, family: Family) -> String {
    let ring = ring(status, family);
    let next = ring.next.map(|next| format!("next {next}"));
    let next = next.unwrap_or_else(|| "nobody is forwarded to".to_owned());
    let path = status.paths.of(family).to_next;
    let path = if path.is_fault() { format!(", {path}") } else { String::new() };
    format!("{} of {} members in the ring, {next}{path}", ring.length, status.listed())
}
