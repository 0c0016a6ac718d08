//! The drains: orders of operators to withdraw VIPs. A drain is a file in the drain folder.
//!
//! Pure. [`target`] has what a drain withdraws and the names of the files, [`order`] their texts, [`orders`] all drains in force,
//! [`plan`] what a command changes in the folder, [`ends`] when drains end by themselves,
//! [`connections`] how long a drain waits for the connections of its VIPs.

pub mod connections;
pub mod ends;
pub mod io;
pub mod order;
pub mod orders;
pub mod plan;
pub mod progress;
pub mod target;
pub mod unit;

pub use ends::WallClock;
pub use order::{BootId, Drain, Operator, Until, reason};
pub use orders::{DrainPhase, DrainedBy, Drains, Order};
pub use plan::{ChangePlan, DrainChange, DrainRefusal, FileStep};
pub use target::DrainTarget;

/// The state of the drain folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainFolderReport {
    /// The drains in force: the contents of the folder when it could last be read.
    pub drains: Drains,
    /// Why the folder cannot be read now; `None`: it can be read.
    pub unreadable: Option<String>,
}

impl DrainFolderReport {
    /// The warnings about the folder and about the ends of drains, one sentence each.
    pub fn warnings(&self, clock: WallClock) -> Vec<String> {
        self.warning().into_iter().chain(self.drains.end_warnings(clock)).collect()
    }

    fn warning(&self) -> Option<String> {
        let why = self.unreadable.as_ref()?;
        Some(format!(
            "the drain folder cannot be read: {why}; drained services stay drained, and new files there have no effect"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_read_is_warned_of() {
        assert_eq!(DrainFolderReport::default().warning(), None);
        let why = "Permission denied";
        let report = DrainFolderReport { unreadable: Some(why.into()), ..DrainFolderReport::default() };
        assert!(report.warning().unwrap().contains(why));
    }
}
