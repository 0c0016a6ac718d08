//! The metrics of the chain.
//!
//! Pure.

use std::fmt;

use super::super::{
    CHAIN_DIFFERS, CHAIN_DROPS, CHAIN_MEMBERS, CHAIN_OFF, CHAIN_PACKETS, CHAIN_RING, CHAIN_RULES,
    CHAIN_STATE, CHAIN_STATE_TIME, CHAIN_TEST, CHAIN_UNSENT, Scrape,
};
use super::MetricsWriter;
use crate::chain::heartbeat::HeartbeatDropReason;
use crate::chain::member::MemberState;
use crate::chain::rules::counters::ChainCounter;
use crate::chain::test_packets::TestPacketState;
use crate::model::Family;

/// The families, and their labels.
const FAMILIES: [(Family, &str); 2] = [(Family::V4, "ipv4"), (Family::V6, "ipv6")];

impl Scrape {
    pub(super) fn chain(&self, out: &mut MetricsWriter<'_>) -> fmt::Result {
        let chain = &self.chain.status;
        let configured = |value: bool| chain.configured.then_some(u64::from(value));
        let works = chain.own.is_some();
        out.one(&CHAIN_MEMBERS, works.then_some(chain.listed() as u64))?;
        out.family(&CHAIN_RING, |rows| {
            let families = FAMILIES.iter().filter(|(family, _)| chain.takes_part(*family));
            families.into_iter().try_for_each(|(family, label)| {
                let entries = chain.ring.entries.iter();
                rows.row(&[label], entries.filter(|entry| entry.absence(*family).is_none()).count() as u64)
            })
        })?;
        out.one(&CHAIN_RULES, configured(chain.installed).filter(|_| chain.forward))?;
        out.one(&CHAIN_OFF, configured(chain.off.is_some()))?;
        out.family(&CHAIN_STATE, |rows| {
            chain.members.iter().try_for_each(|(address, member)| {
                let address = address.to_string();
                MemberState::ALL.iter().try_for_each(|state| {
                    rows.row(&[&address, state.label()], u64::from(*state == member.state))
                })
            })
        })?;
        out.family(&CHAIN_STATE_TIME, |rows| {
            chain.members.iter().try_for_each(|(address, member)| {
                let lasts = self.chain.now.saturating_duration_since(member.since);
                rows.row(&[&address.to_string()], lasts.as_secs_f64())
            })
        })?;
        out.family(&CHAIN_DIFFERS, |rows| {
            let heard = chain.members.iter().filter(|(_, member)| member.state.lives());
            let said = heard.filter_map(|(address, member)| Some((address, member.facts?, chain.facts?)));
            said.into_iter().try_for_each(|(address, theirs, ours)| {
                let address = address.to_string();
                rows.row(&[&address, "members"], u64::from(theirs.members != ours.members))?;
                rows.row(&[&address, "services"], u64::from(theirs.services != ours.services))
            })
        })?;
        out.family(&CHAIN_PACKETS, |rows| {
            FAMILIES.iter().try_for_each(|(family, label)| {
                let Some(counters) = chain.counters_of(*family) else { return Ok(()) };
                let mut all = ChainCounter::ALL.iter();
                all.try_for_each(|counter| rows.row(&[label, counter.label()], counters.get(*counter)))
            })
        })?;
        out.family(&CHAIN_TEST, |rows| {
            let with_next = FAMILIES.iter().filter(|(family, _)| chain.ring.forwarding(*family).is_some());
            with_next.into_iter().try_for_each(|(family, label)| {
                let state = chain.paths.of(*family).to_next;
                TestPacketState::ALL
                    .iter()
                    .try_for_each(|one| rows.row(&[label, one.label()], u64::from(*one == state)))
            })
        })?;
        out.family(&CHAIN_DROPS, |rows| {
            let mut reasons = HeartbeatDropReason::ALL.iter().filter(|_| works);
            reasons.try_for_each(|reason| {
                rows.row(&[reason.label()], chain.drops.get(reason).copied().unwrap_or_default())
            })
        })?;
        out.one(&CHAIN_UNSENT, works.then_some(chain.send_errors))
    }
}
