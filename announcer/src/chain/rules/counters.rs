//! Reads the counters of our tables from `nft -j list counters`.
//!
//! Pure. The format is of libnftables-json(5).

use serde::{Deserialize, Serialize};

use super::TABLE;
use crate::model::Family;

/// Makes the enum, its words and the values from one table: the name in nft, in JSON and in metrics, the variant, and what is said to people.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident $variant:ident $meaning:literal)+) => {
        /// A counter of the rules.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ChainCounter {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ChainCounter {
            /// All of them.
            pub const ALL: &[ChainCounter] = &[$(ChainCounter::$variant),+];

            /// Its name in nft, in JSON and as a label of metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $(ChainCounter::$variant => stringify!($name),)+
                }
            }

            /// What the packets have in common, for people.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(ChainCounter::$variant => $meaning,)+
                }
            }
        }

        /// What the rules of one family have counted since their table was made. Counted are packets as the kernel sees them: it may have
        /// joined several of one flow (GRO).
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub struct ChainCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl ChainCounters {
            /// The value of a counter.
            pub fn get(&self, counter: ChainCounter) -> u64 {
                match counter {
                    $(ChainCounter::$variant => self.$name,)+
                }
            }

            /// The values that `value` gives.
            pub fn of(value: impl Fn(ChainCounter) -> u64) -> ChainCounters {
                ChainCounters { $($name: value(ChainCounter::$variant),)+ }
            }
        }
    };
}

counters! {
    /// Packets passed on to the next member.
    forwarded Forwarded "passed on to the next member"
    /// Those of them that arrived without a believed mark, so that their way began here.
    started Started "of these, the way along the ring began here"
    /// Packets that came marked and have a socket here.
    accepted Accepted "came marked, and have a socket here"
    /// Packets that came with their last hop, or with any mark while there was no next member, and have no socket here. This host's
    /// stack answered.
    returned Returned "ended their way without a socket: this host's stack answered"
    /// Packets without a mark and a socket here that were dropped because of the budget. TCP sends them again.
    over_budget OverBudget "dropped because of `budget`: TCP sends them again"
    /// Those that were so many over the budget that this host's stack answered.
    flood Flood "far over `budget`: this host's stack answered"
    /// Those that were not forwarded because forwarding is off or because there is no next member.
    not_started NotStarted "not forwarded: switched off, or nobody is next"
    /// Packets without a socket here whose DSCP is in the range of the marks, from somebody who is no member. Ordinary traffic may
    /// have such a DSCP (46 is EF), and a member's address may be missing in the rules.
    foreign_mark ForeignMark "have a mark, and are from no member"
    /// Those of `returned` whose TTL ended. A member that forwards to us is then missing among the believed ones, so that its packets
    /// begin again here.
    expired Expired "went round until their TTL ended: a member is not believed"
}

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

/// Why the counters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// The text is not what `nft -j list counters` prints.
    #[error("the output of `nft -j list counters` was not understood: {0}")]
    Format(#[from] serde_json::Error),
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

/// Finds the counters of both tables, IPv4 first; `None`: the table is not installed. Other tables are skipped. A counter that a table of
/// another version does not have is 0: after an upgrade, the rules of the former version are in the kernel, and they work.
///
/// # Errors
/// If the text is no such output.
pub fn parse(text: &str) -> Result<[Option<ChainCounters>; 2], CountersError> {
    let counters: Vec<PrintedCounter> =
        serde_json::from_str::<Printed>(text)?.nftables.into_iter().filter_map(|item| item.counter).collect();
    Ok([Family::V4, Family::V6].map(|family| of_family(&counters, family)))
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
fn of_family(counters: &[PrintedCounter], family: Family) -> Option<ChainCounters> {
    let of = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let ours: Vec<&PrintedCounter> =
        counters.iter().filter(|counter| counter.table == TABLE && counter.family == of).collect();
    if ours.is_empty() {
        return None;
    }
    Some(ChainCounters::of(|wanted| {
        let found = ours.iter().find(|counter| counter.name == wanted.label());
        found.map_or(0, |counter| counter.packets)
    }))
}
