//! The drains: the drained services, with operator and reason. A drain is a file: `DIR/SERVICE`, or `DIR/_all`.
//!
//! Pure. The text of a drain file holds `reason:`, `by:` and `at:` lines; any other text in it is the reason, so that
//! `echo 'kernel upgrade' > DIR/www` works. An empty file drains too.

pub mod io;

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{ServiceName, text};

/// The file that drains every service; no service can have this name.
pub const ALL: &str = "_all";

/// The longest reason that a command accepts, in octets. A drain file is read up to four times this length.
pub const LONGEST_REASON: usize = 1000;

/// The change of a command. The names are those of drain files: a service's name, or [`ALL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainChange {
    /// Each of these gets a drain file.
    Drain {
        /// At least one.
        names: Vec<String>,
        /// The contents of each file.
        drain: Drain,
    },
    /// The drain file of each of these is removed.
    Undrain {
        /// At least one.
        names: Vec<String>,
    },
}

impl DrainChange {
    /// The services whose flaps are forgotten with this change.
    pub fn forgiven(&self) -> ForgivenServices {
        match self {
            DrainChange::Drain { .. } => ForgivenServices::Nobody,
            DrainChange::Undrain { names } if names.iter().any(|name| name == ALL) => ForgivenServices::All,
            DrainChange::Undrain { names } => ForgivenServices::Services(names.clone()),
        }
    }
}

/// The services whose flaps are forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForgivenServices {
    /// None.
    Nobody,
    /// Every service.
    All,
    /// These.
    Services(Vec<String>),
}

impl ForgivenServices {
    /// Both sets together.
    pub fn and(self, other: ForgivenServices) -> ForgivenServices {
        match (self, other) {
            (ForgivenServices::All, _) | (_, ForgivenServices::All) => ForgivenServices::All,
            (ForgivenServices::Nobody, some) | (some, ForgivenServices::Nobody) => some,
            (ForgivenServices::Services(mut names), ForgivenServices::Services(more)) => {
                names.extend(more);
                ForgivenServices::Services(names)
            }
        }
    }
}

/// The state of the drain folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainFolderReport {
    /// The drains in force: the contents of the folder when it could last be read.
    pub drains: Drains,
    /// Why the folder cannot be read now; `None`: it can be read.
    pub unreadable: Option<String>,
}

impl DrainFolderReport {
    /// The warning about the folder.
    pub fn warning(&self) -> Option<String> {
        let why = self.unreadable.as_ref()?;
        Some(format!(
            "the drain folder cannot be read: {why}; drained services stay drained, and new files there have no effect"
        ))
    }
}

/// Checks the reason of a command.
///
/// # Errors
/// When it is longer than [`LONGEST_REASON`].
pub fn reason(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_REASON {
        return Err(format!(
            "the reason has {} octets; write at most {LONGEST_REASON}, such as the number of a ticket",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// One drain, with the contents of its file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drain {
    /// The reason, in the operator's words.
    pub reason: Option<String>,
    /// Who made it.
    pub by: Option<String>,
    /// When, RFC 3339; only for people, and never compared.
    pub at: Option<String>,
}

impl Drain {
    /// Reads the text of a drain file. This never fails: the service is drained, whatever the text is.
    pub fn parse(text: &str) -> Drain {
        let mut drain = Drain::default();
        let mut reason = Vec::new();
        for line in text.lines().map(one_line).filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("reason", rest)) => reason.push(rest.to_owned()),
                Some(("by", rest)) => drain.by = Some(rest.to_owned()),
                Some(("at", rest)) => drain.at = Some(rest.to_owned()),
                Some(_) | None => reason.push(line),
            }
        }
        drain.reason = (!reason.is_empty()).then(|| reason.join(" "));
        drain
    }

    /// The drain of a file that cannot be read. Such a file drains too.
    pub fn unreadable(why: &str) -> Drain {
        Drain { reason: Some(format!("its drain file cannot be read: {why}")), ..Drain::default() }
    }

    /// The text of its file.
    pub fn to_file(&self) -> String {
        [("reason", &self.reason), ("by", &self.by), ("at", &self.at)]
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}: {}\n", one_line(value.as_ref()?))))
            .collect()
    }
}

/// The part of a line that fits into the file.
fn one_line(text: &str) -> String {
    text::one_line(text, text.len())
}

impl fmt::Display for Drain {
    /// The rest of a sentence that begins "drained".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(by) = &self.by {
            write!(f, " by {by}")?;
        }
        if let Some(at) = &self.at {
            write!(f, " at {at}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => f.write_str(", no reason given"),
        }
    }
}

/// The drains in force: the contents of the drain directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drains {
    /// `_all`.
    pub all: Option<Drain>,
    /// The other drains, by file name. The name may belong to no service.
    pub named: BTreeMap<String, Drain>,
}

impl Drains {
    /// From the directory's files: their names, and their texts or why they could not be read. Names that begin with a dot are
    /// temporary files of an editor or of ourselves.
    pub fn from_files(files: impl IntoIterator<Item = (String, Result<String, String>)>) -> Drains {
        let mut drains = Drains::default();
        for (name, text) in files {
            let drain = match text {
                Ok(text) => Drain::parse(&text),
                Err(why) => Drain::unreadable(&why),
            };
            match name.as_str() {
                ALL => drains.all = Some(drain),
                name if name.starts_with('.') => {}
                _ => drop(drains.named.insert(name, drain)),
            }
        }
        drains
    }

    /// The drain of a service: its own, otherwise that of all services.
    pub fn of(&self, service: &ServiceName) -> Option<&Drain> {
        self.named.get(service.as_str()).or(self.all.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_made_by_hand_or_by_a_command_says_why() {
        let by_hand = Drain::parse("kernel upgrade\n");
        assert_eq!(by_hand.reason.as_deref(), Some("kernel upgrade"));
        let full = Drain {
            reason: Some("new\x1b[2J\nkernel".into()),
            by: Some("ann".into()),
            at: Some("now".into()),
        };
        let read = Drain::parse(&full.to_file());
        assert_eq!(read.to_string(), " by ann at now: new [2J kernel");
        assert_eq!(Drain::parse("").to_string(), ", no reason given");
        assert_eq!(Drain::parse("see: ticket 7").reason.as_deref(), Some("see: ticket 7"));
    }

    // H23: the protocol cut a reason of 100 KB, and the command printed "EOF while parsing a string".
    #[test]
    fn a_reason_has_a_limit_that_is_said() {
        assert_eq!(reason(&"x".repeat(LONGEST_REASON)).unwrap().len(), LONGEST_REASON);
        let error = reason(&"x".repeat(100_000)).unwrap_err();
        assert_eq!(error, "the reason has 100000 octets; write at most 1000, such as the number of a ticket");
        let longest = Drain { reason: Some("x".repeat(LONGEST_REASON)), ..Drain::default() };
        assert!(longest.to_file().len() < 4096, "a drain file of our own is read as a whole");
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_warned_of() {
        assert_eq!(DrainFolderReport::default().warning(), None);
        let why = "Permission denied";
        let report = DrainFolderReport { unreadable: Some(why.into()), ..DrainFolderReport::default() };
        assert!(report.warning().unwrap().contains(why));
    }

    #[test]
    fn an_undrain_forgives_whom_it_names() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (change, want) in [
            (
                DrainChange::Drain { names: names(&["www"]), drain: Drain::default() },
                ForgivenServices::Nobody,
            ),
            (DrainChange::Undrain { names: names(&["www"]) }, ForgivenServices::Services(names(&["www"]))),
            (DrainChange::Undrain { names: names(&[ALL]) }, ForgivenServices::All),
            (DrainChange::Undrain { names: names(&["www", ALL]) }, ForgivenServices::All),
        ] {
            assert_eq!(change.forgiven(), want, "{change:?}");
        }
        let some = |name: &str| ForgivenServices::Services(names(&[name]));
        assert_eq!(some("a").and(ForgivenServices::Nobody), some("a"));
        assert_eq!(some("a").and(some("b")), ForgivenServices::Services(names(&["a", "b"])));
        assert_eq!(some("a").and(ForgivenServices::All), ForgivenServices::All);
    }

    #[test]
    fn a_service_is_drained_by_its_own_file_or_by_all() {
        let files = |names: &[&str]| {
            Drains::from_files(names.iter().map(|name| ((*name).to_owned(), Ok((*name).to_owned()))))
        };
        let www: ServiceName = "www".parse().unwrap();
        let reason = |drains: Drains| drains.of(&www).and_then(|drain| drain.reason.clone());
        assert_eq!(reason(files(&[])), None);
        assert_eq!(reason(files(&["mail", ".www.new"])), None);
        assert_eq!(reason(files(&["_all"])).as_deref(), Some("_all"));
        assert_eq!(reason(files(&["_all", "www"])).as_deref(), Some("www"));
        let unreadable = Drains::from_files([("www".to_owned(), Err("permission denied".to_owned()))]);
        assert_eq!(reason(unreadable).as_deref(), Some("its drain file cannot be read: permission denied"));
    }
}
