//! Reads the counters of our tables from `nft -j list counters`.
//!
//! Pure. The format is of libnftables-json(5).

use serde::Deserialize;

use super::TABLE;
use crate::model::Family;

/// The counters' names, in the order of [`ChainCounters`].
pub(super) const NAMES: [&str; 8] =
    ["forwarded", "started", "accepted", "returned", "over_budget", "not_started", "foreign_mark", "expired"];

/// The names of the counters of test packets, in the order of [`TestPacketCounters`].
pub(super) const TEST_NAMES: [&str; 4] = ["test_sent", "test_arrived", "test_changed", "test_delivered"];

/// How many test packets the rules of one family have counted since their table was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TestPacketCounters {
    /// Those that this host has sent to the next member.
    pub sent: u64,
    /// Those that have arrived from a member.
    pub arrived: u64,
    /// Those of them with another DSCP than they were sent with.
    pub changed: u64,
    /// Those that have passed this host's packet filter.
    pub delivered: u64,
}

/// What the rules of one family have counted since their table was made. Counted are packets as the kernel sees them: it may have
/// joined several of one flow (GRO).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ChainCounters {
    /// Packets passed on to the next member.
    pub forwarded: u64,
    /// Those of them that arrived without a believed mark, so that their way began here.
    pub started: u64,
    /// Packets that came marked and have a socket here.
    pub accepted: u64,
    /// Packets that came with their last hop, or with any mark while there was no next member, and have no socket here. This host's
    /// stack answered.
    pub returned: u64,
    /// Packets without a mark and a socket here that were not forwarded because of the budget.
    pub over_budget: u64,
    /// Those that were not forwarded because forwarding is off or because there is no next member.
    pub not_started: u64,
    /// Packets without a socket here whose DSCP is in the range of the marks, from somebody who is no member. Ordinary traffic may
    /// have such a DSCP (46 is EF), and a member's address may be missing in the rules.
    pub foreign_mark: u64,
    /// Those of `returned` whose TTL ended. A member that forwards to us is then missing among the believed ones, so that its packets
    /// begin again here.
    pub expired: u64,
}

/// Why the counters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The text is not what `nft -j list counters` prints.
    #[error("the output of `nft -j list counters` was not understood: {0}")]
    Format(#[from] serde_json::Error),
    /// A table of ours has no such counter.
    #[error("the table of the chain for {family} has no counter `{name}`: install the rules again")]
    Missing {
        /// The table's family.
        family: Family,
        /// The counter.
        name: &'static str,
    },
}

/// Everything that nft prints.
#[derive(Deserialize)]
struct Printed {
    nftables: Vec<PrintedItem>,
}

/// One item of it; only counters are of interest.
#[derive(Deserialize)]
struct PrintedItem {
    counter: Option<PrintedCounter>,
}

#[derive(Deserialize)]
struct PrintedCounter {
    family: String,
    table: String,
    name: String,
    packets: u64,
}

/// Finds the counters of both tables, IPv4 first; `None`: the table is not installed. Other tables are skipped.
///
/// # Errors
/// If the text is no such output, or if a table of ours has not all of our counters.
pub fn parse(text: &str) -> Result<[Option<ChainCounters>; 2], CountersError> {
    let counters: Vec<PrintedCounter> =
        serde_json::from_str::<Printed>(text)?.nftables.into_iter().filter_map(|item| item.counter).collect();
    Ok([of_family(&counters, Family::V4)?, of_family(&counters, Family::V6)?])
}

/// Finds the counters of test packets in both tables, IPv4 first; `None`: the table is not installed, or is of a program without them.
///
/// # Errors
/// If the text is no such output.
pub fn test_packets(text: &str) -> Result<[Option<TestPacketCounters>; 2], CountersError> {
    let counters: Vec<PrintedCounter> =
        serde_json::from_str::<Printed>(text)?.nftables.into_iter().filter_map(|item| item.counter).collect();
    Ok(["ip", "ip6"].map(|family| {
        let of = |name: &str| {
            let mut ours =
                counters.iter().filter(|counter| counter.table == TABLE && counter.family == family);
            ours.find(|counter| counter.name == name).map(|counter| counter.packets)
        };
        let [sent, arrived, changed, delivered] = TEST_NAMES.map(of);
        Some(TestPacketCounters { sent: sent?, arrived: arrived?, changed: changed?, delivered: delivered? })
    }))
}

/// The counters of one family's table.
fn of_family(counters: &[PrintedCounter], family: Family) -> Result<Option<ChainCounters>, CountersError> {
    let of = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let ours: Vec<&PrintedCounter> =
        counters.iter().filter(|counter| counter.table == TABLE && counter.family == of).collect();
    if ours.is_empty() {
        return Ok(None);
    }
    let mut values = [0; NAMES.len()];
    for (value, name) in values.iter_mut().zip(NAMES) {
        let found = ours.iter().find(|counter| counter.name == name);
        *value = found.ok_or(CountersError::Missing { family, name })?.packets;
    }
    let [forwarded, started, accepted, returned, over_budget, not_started, foreign_mark, expired] = values;
    Ok(Some(ChainCounters {
        forwarded,
        started,
        accepted,
        returned,
        over_budget,
        not_started,
        foreign_mark,
        expired,
    }))
}
