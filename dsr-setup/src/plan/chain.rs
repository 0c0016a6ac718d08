//! What belongs to `[chain]`: a setting, and what a daemon that has ended leaves in the kernel on purpose.
//!
//! Pure. The daemon installs the rules and makes the device; here they are only removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Change, Step, Sysctl};

/// The name of the daemon's VXLAN device.
pub const DEVICE: &str = "announcer0";

/// Whether the chain of the configuration forwards packets, which needs [`Sysctl::AcceptMarks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forwarding {
    /// There is no `[chain]`, or it has `forward = false`.
    No,
    /// There is a `[chain]`.
    Yes,
}

/// A table of nftables with rules of the daemon. Displays as nft writes it: `ip announcer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// The rules for IPv4.
    V4,
    /// The rules for IPv6.
    V6,
}

impl Table {
    /// Both tables.
    pub const ALL: [Table; 2] = [Table::V4, Table::V6];

    /// The input of `nft -f -` that removes it. It does not fail if the table is missing: another program may have removed it since.
    pub fn removal(self) -> String {
        format!("add table {self}\ndelete table {self}\n")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::V4 => "ip announcer",
            Table::V6 => "ip6 announcer",
        })
    }
}

/// The rules and the device of the daemon's `[chain]` in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainRules {
    /// The tables that exist.
    pub tables: BTreeSet<Table>,
    /// The index of the VXLAN device, if it exists.
    pub device: Option<u32>,
    /// Why the tables could not be read, if they could not. Then none is removed.
    pub error: Option<String>,
}

/// The tables that are in what `nft list tables` prints: a line `table ip announcer` for each.
pub fn tables(printed: &str) -> BTreeSet<Table> {
    let is_there = |table: &Table| printed.lines().any(|line| line.trim() == format!("table {table}"));
    Table::ALL.into_iter().filter(is_there).collect()
}

/// The step that lets connections get marks. Without it, packets of servers that listen on a VIP itself make a round of the ring.
pub(super) fn accept_marks(sysctls: &BTreeMap<Sysctl, i32>, forwarding: Forwarding) -> Option<Step> {
    let was = *sysctls.get(&Sysctl::AcceptMarks)?;
    let is_needed = forwarding == Forwarding::Yes && was == 0;
    is_needed.then_some(Step::Set { sysctl: Sysctl::AcceptMarks, change: Change { was, set: 1 } })
}

/// The steps that remove what the daemon has left: the rules before the device over which they send.
pub(super) fn remove(rules: &ChainRules) -> impl Iterator<Item = Step> {
    let tables = rules.tables.iter().map(|table| Step::RemoveTable(*table));
    tables.chain(rules.device.map(Step::RemoveDevice))
}
