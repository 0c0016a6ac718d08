//! The text of the state file: the changes that were made here, so that exactly these can be undone.
//!
//! Pure. It has settings with their old values, and the addresses that an older kernel cannot mark (IFA_PROTO exists since 5.18).
//! Both hold for one boot and one network namespace: a reboot resets every setting, and an older record must not undo later changes
//! of other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::plan::{Change, Sysctl};

/// The changes that were made here since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The settings.
    pub changes: BTreeMap<Sysctl, Change>,
    /// The addresses on `lo` that are ours and have no mark.
    pub addresses: BTreeSet<IpAddr>,
}

impl Record {
    /// Whether the record has no entries.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.addresses.is_empty()
    }

    /// The file's text. `life` names this boot and network namespace.
    pub fn write(&self, life: &str) -> Result<String, serde_json::Error> {
        let sysctls = self
            .changes
            .iter()
            .map(|(sysctl, change)| (sysctl.to_string(), FileChange { was: change.was, set: change.set }));
        let file =
            RecordFile { life: life.into(), sysctls: sysctls.collect(), addresses: self.addresses.clone() };
        serde_json::to_string_pretty(&file).map(|text| text + "\n")
    }

    /// Reads the file's text. A record of another boot or namespace counts as empty. Unknown settings are an error, because they
    /// would never be restored.
    pub fn read(text: &str, life: &str) -> Result<Record, RecordError> {
        let file: RecordFile = serde_json::from_str(text)?;
        if file.life != life {
            return Ok(Record::default());
        }
        let change = |(name, change): (String, FileChange)| match Sysctl::parse(&name) {
            Some(sysctl) => Ok((sysctl, Change { was: change.was, set: change.set })),
            None => Err(RecordError::Sysctl(name)),
        };
        let changes = file.sysctls.into_iter().map(change).collect::<Result<_, _>>()?;
        Ok(Record { changes, addresses: file.addresses })
    }
}

/// Why the state file's text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON that is written here.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A setting that is never changed here.
    #[error("`{0}` is not a setting of dsr-setup")]
    Sysctl(String),
}

#[derive(Serialize, Deserialize)]
struct RecordFile {
    life: String,
    sysctls: BTreeMap<String, FileChange>,
    addresses: BTreeSet<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct FileChange {
    was: i32,
    set: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ArpSetting;

    fn record() -> Record {
        let vlan = Sysctl::Arp { interface: "eth0.100".into(), knob: ArpSetting::ArpAnnounce };
        let all = Sysctl::Arp { interface: "all".into(), knob: ArpSetting::ArpIgnore };
        Record {
            changes: [
                (all, Change { was: 0, set: 1 }),
                (vlan, Change { was: 3, set: 2 }),
                (Sysctl::AcceptMarks, Change { was: 0, set: 1 }),
            ]
            .into(),
            addresses: ["192.0.2.80".parse().unwrap(), "2001:db8::80".parse().unwrap()].into(),
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let text = record().write("boot 1").unwrap();
        assert_eq!(Record::read(&text, "boot 1").unwrap(), record());
    }

    #[test]
    fn the_record_of_another_boot_or_namespace_is_void() {
        let text = record().write("boot 1").unwrap();
        assert_eq!(Record::read(&text, "boot 2").unwrap(), Record::default());
    }

    #[test]
    fn a_setting_that_is_never_changed_here_is_refused() {
        for name in [
            "kernel.panic",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.conf...arp_ignore",
            "net.ipv4.conf.//.arp_ignore",
            "net.ipv4.conf.all.x",
        ] {
            let text = format!(r#"{{"life":"b","sysctls":{{"{name}":{{"was":0,"set":1}}}},"addresses":[]}}"#);
            let error = Record::read(&text, "b").unwrap_err();
            assert_eq!(error.to_string(), format!("`{name}` is not a setting of dsr-setup"));
        }
    }
}
