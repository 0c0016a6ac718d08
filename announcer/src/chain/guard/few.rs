//! VIPs that too few members announce now, for the warnings of `status`: also what was not asked about can bring a site there.
//!
//! Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use super::count::{NotCounted, announces, is_enough, list};
use super::{CapacityNeed, GuardMember, GuardMembers};
use crate::chain::heartbeat::MemberVipState;
use crate::model::ServiceName;

/// VIPs that fewer members announce than `min_announcers`. Its `Display` is a sentence without a full stop at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FewAnnouncers {
    /// The first such VIP.
    pub vip: IpAddr,
    /// How many other such VIPs there are.
    pub more: usize,
    /// Its service.
    pub service: ServiceName,
    /// How many announce it, as far as is known.
    pub announcers: usize,
    /// `min_announcers`.
    pub least: u32,
    /// The members that do not, and why; this host may be among them.
    pub others: Vec<(IpAddr, NotCounted)>,
}

impl fmt::Display for FewAnnouncers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FewAnnouncers { vip, more, service, announcers, least, others } = self;
        let members = if *announcers == 1 { "member is" } else { "members are" };
        write!(
            f,
            "{announcers} {members} known to announce {vip} of {service}, whose `min_announcers` is {least}: not {}",
            list(others)
        )?;
        match more {
            0 => Ok(()),
            1 => write!(f, "; 1 more VIP has too few"),
            more => write!(f, "; {more} more VIPs have too few"),
        }
    }
}

/// The VIPs that fewer members announce than they need; `None`: there is none. `own`: our address. `own_state`: the state of a VIP here.
pub fn few_announcers(
    needs: &BTreeMap<IpAddr, CapacityNeed>,
    own: IpAddr,
    own_state: impl Fn(IpAddr) -> Option<MemberVipState>,
    members: &GuardMembers,
    now: Instant,
) -> Option<FewAnnouncers> {
    let mut few = needs.iter().filter_map(|(vip, need)| {
        let ours = match own_state(*vip) {
            Some(MemberVipState::Announced) => None,
            Some(other) => Some((own, NotCounted::State(other))),
            None => Some((own, NotCounted::NotSaid)),
        };
        let not = |(address, member): (&IpAddr, &GuardMember)| {
            Some((*address, announces(member, *vip, now).err()?))
        };
        let others: Vec<_> = ours.into_iter().chain(members.iter().filter_map(not)).collect();
        let announcers = members.len() + 1 - others.len();
        (!is_enough(announcers, need.least)).then_some((*vip, need, announcers, others))
    });
    let (vip, need, announcers, others) = few.next()?;
    let (service, least, more) = (need.service.clone(), need.least, few.count());
    Some(FewAnnouncers { vip, more, service, announcers, least, others })
}
