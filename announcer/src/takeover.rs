//! What one process of the daemon leaves to the next one, so that no session ends in between.
//!
//! Pure, except for [`io`]. There are two ways from one process to the next:
//!
//! ```text
//! upgrade  the process executes the program on disk (execve(2)): same pid, and descriptors without FD_CLOEXEC stay open
//! crash    systemd has copies of the descriptors in its file descriptor store (sd_notify(3)), and gives them to the next process
//! ```
//!
//! In both cases each descriptor has a name. [`inherit`] reads what the environment says about them.

pub mod gap;
pub mod inherit;
pub mod io;
pub mod repeats;
pub mod state;
pub mod successor;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::systemd::StoreLimit;

/// The version of the state that a process leaves to the next one. A program reads this version and the one before it.
pub const STATE_VERSION: u32 = 1;

/// The name of the file, beside the previous program, that says when the last upgrade was.
pub const MARKER: &str = "upgraded";

/// The text of that file: the boot, and the seconds since the boot, as the starter reads them. `boot` and `uptime` are the texts of
/// `/proc/sys/kernel/random/boot_id` and `/proc/uptime`; `None`: they are not of that form. The wall clock may be set at any time.
pub fn marker(boot: &str, uptime: &str) -> Option<String> {
    let seconds: u64 = uptime.split('.').next()?.parse().ok()?;
    let boot = boot.trim();
    let is_plain = |boot: &str| boot.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    (!boot.is_empty() && is_plain(boot)).then(|| format!("{boot} {seconds}\n"))
}

/// How a process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing was left by a former process.
    Cold,
    /// The former process has ended without a stop; its descriptors were in systemd's store.
    Crash,
    /// The former process has executed this program.
    Upgrade,
}

impl Start {
    /// One word, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Start::Cold => "cold",
            Start::Crash => "crash",
            Start::Upgrade => "upgrade",
        }
    }
}

/// What is known of the start of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartReport {
    /// How it began.
    pub how: Start,
    /// From the former program's last turn to the first turn of this one; only after an upgrade, and after that turn.
    pub gap: Option<Duration>,
    /// From the former program's last turn to the first BFD packet of this one; only after an upgrade with BFD.
    pub bfd_pause: Option<Duration>,
    /// The file that an upgrade runs, if it is known.
    pub installed: Option<PathBuf>,
    /// Whether this is the previous program, because the installed one has crashed after an upgrade.
    pub rolled_back: bool,
    /// Why sessions of the former process were ended instead of continued.
    pub not_continued: Option<String>,
}

impl StartReport {
    /// The warnings for an operator, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let ended = self.not_continued.as_ref();
        let ended =
            ended.map(|why| format!("sessions of the former process were ended and not continued: {why}"));
        self.program_warning().into_iter().chain(ended).collect()
    }

    /// The warning if the previous program runs.
    fn program_warning(&self) -> Option<String> {
        let installed = self.installed.as_ref().map(|path| format!(" `{}`", path.display()));
        self.rolled_back.then(|| {
            format!(
                "the installed program{} crashed twice after an upgrade, and the previous one runs, version {}: install a program that \
                 works, and `sudo announcer upgrade`",
                installed.unwrap_or_default(),
                env!("CARGO_PKG_VERSION")
            )
        })
    }
}

/// Whether the next process would get the descriptors of this one after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashStore {
    /// systemd has read all of them, and stores so many.
    Stored,
    /// systemd has read all of them, but does not say how many it stores: it is older than version 254, or
    /// `FileDescriptorStoreMax=` is not set.
    Unconfirmed,
    /// Nobody stores them: this process was not started by systemd.
    NoManager,
    /// systemd has not read this many messages about them.
    Unread(usize),
    /// There are more descriptors than systemd stores.
    TooMany {
        /// How many there are.
        kept: usize,
        /// How many systemd stores, by `FileDescriptorStoreMax=`.
        most: u64,
    },
}

impl fmt::Display for CrashStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CrashStore::Stored => f.write_str("systemd stores what the next process needs to take over after a crash"),
            CrashStore::Unconfirmed => f.write_str(
                "systemd was given what the next process needs to take over after a crash, and does not say whether it stores it: it is \
                 older than version 254, or the unit has no FileDescriptorStoreMax=",
            ),
            CrashStore::NoManager => {
                f.write_str("a crash ends the sessions: the daemon was not started by systemd, which would store them")
            }
            CrashStore::Unread(1) => f.write_str("a crash may end a session: systemd has not read 1 message about what to store"),
            CrashStore::Unread(count) => {
                write!(f, "a crash may end a session: systemd has not read {count} messages about what to store")
            }
            CrashStore::TooMany { kept, most } => write!(
                f,
                "a crash may end a session: {kept} descriptors are to be stored, and FileDescriptorStoreMax= of the unit allows {most}"
            ),
        }
    }
}

impl CrashStore {
    /// `store`: systemd's limit, from [`Notifier::store`](crate::systemd::io::Notifier::store); `unread`: how many messages it has
    /// not read; `kept`: how many descriptors are kept.
    pub fn new(store: StoreLimit, unread: usize, kept: usize) -> Self {
        match store {
            StoreLimit::NoManager => CrashStore::NoManager,
            StoreLimit::Most(_) | StoreLimit::Unknown if unread > 0 => CrashStore::Unread(unread),
            StoreLimit::Most(most) if u64::try_from(kept).is_ok_and(|kept| kept > most) => {
                CrashStore::TooMany { kept, most }
            }
            StoreLimit::Most(_) => CrashStore::Stored,
            StoreLimit::Unknown => CrashStore::Unconfirmed,
        }
    }
}

/// How long the routers hear nothing after a crash: `RestartSec=100ms` of the unit, and the start up to the first BFD packet. With
/// systemd 250 to 500 ms were measured, and a busy host takes longer.
pub const RESTART: Duration = Duration::from_millis(600);

/// Whether a crash would be survived, as a sentence. `usable`: whether every write to the state has succeeded. `detection`: the
/// shortest time after which a router notices by BFD that this host is silent; `None`: BFD is up with no router.
pub fn crash_outlook(store: CrashStore, usable: bool, detection: Option<Duration>) -> String {
    match (store, detection) {
        (CrashStore::NoManager, _) => store.to_string(),
        _ if !usable => "a crash ends the sessions, and an upgrade is refused: a write to the state for the next process has failed; \
                         a restart makes a new one"
            .to_owned(),
        (_, Some(detection)) if detection < RESTART => format!(
            "a crash ends the session with a router: BFD notices it after {}, and the next process may need {}; {store}",
            humantime::format_duration(detection),
            humantime::format_duration(RESTART)
        ),
        _ => store.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_upgrade_does_not_depend_on_the_wall_clock() {
        assert_eq!(marker("1b2c-3d\n", "8123.45 16000.00\n"), Some("1b2c-3d 8123\n".to_owned()));
        for (boot, uptime) in [("", "1.0 2.0"), ("a b", "1.0 2.0"), ("a", ""), ("a", "x.0")] {
            assert_eq!(marker(boot, uptime), None, "{boot} {uptime}");
        }
    }

    #[test]
    fn a_crash_is_survived_if_the_state_is_usable_and_bfd_is_slower_than_a_restart() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let (no_manager, stored, unread) = (
            "the daemon was not started by systemd",
            "systemd stores what",
            "systemd has not read 1 message",
        );
        let bfd = "BFD notices it after 300ms, and the next process may need 600ms; ";
        for (store, usable, detection, want) in [
            (CrashStore::Stored, true, None, vec![stored]),
            (CrashStore::Stored, true, ms(600), vec![stored]),
            (CrashStore::Stored, true, ms(300), vec![bfd, stored]),
            (CrashStore::Unread(1), true, ms(300), vec![bfd, unread]),
            (CrashStore::Stored, false, ms(300), vec!["a write to the state"]),
            (CrashStore::Unread(1), false, None, vec!["a write to the state"]),
            // Without a manager nothing else matters.
            (CrashStore::NoManager, true, ms(300), vec![no_manager]),
            (CrashStore::NoManager, false, None, vec![no_manager]),
        ] {
            let said = crash_outlook(store, usable, detection);
            let parts = [bfd, stored, unread, "a write to the state", no_manager];
            let found: Vec<&str> = parts.into_iter().filter(|part| said.contains(part)).collect();
            assert_eq!(found, want, "{store:?} {usable} {detection:?}: {said}");
        }
    }

    #[test]
    fn a_crash_is_survived_if_systemd_has_read_and_stores_everything() {
        for (store, unread, kept, want) in [
            (StoreLimit::NoManager, 0, 0, CrashStore::NoManager),
            (StoreLimit::NoManager, 3, 3, CrashStore::NoManager),
            (StoreLimit::Unknown, 0, 3, CrashStore::Unconfirmed),
            (StoreLimit::Unknown, 1, 3, CrashStore::Unread(1)),
            (StoreLimit::Most(3), 0, 3, CrashStore::Stored),
            (StoreLimit::Most(3), 2, 4, CrashStore::Unread(2)),
            (StoreLimit::Most(3), 0, 4, CrashStore::TooMany { kept: 4, most: 3 }),
            (StoreLimit::Most(0), 0, 0, CrashStore::Stored),
        ] {
            assert_eq!(CrashStore::new(store, unread, kept), want, "{store:?} {unread} {kept}");
        }
    }
}
