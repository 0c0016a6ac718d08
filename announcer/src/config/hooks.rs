//! `[hooks]`, `[service.hooks]` and `[peer.hooks]`.
//!
//! Pure.

use std::fmt;
use std::time::Duration;

use super::Config;
use super::error::Fault;
use super::keys::Section;
use super::reader::{PresentKeys, Table};
use super::secret::{SecretText, argument};
use super::table::table;
use super::value::{MINUTE, SECOND, within};
use super::writer::TomlWriter;
use super::written::{WrittenList, all, list, nowhere, one};
use crate::model::{PeerName, ServiceName};

pub(super) const SECTION: Section = Section {
    header: "[hooks]",
    doc: "Commands that are run when the standing of a VIP has changed, and for each drain; without the table, no command is run.",
    keys: &[&[Keys::KEYS]],
};

pub(super) const OF_SERVICE: Section = Section {
    header: "[service.hooks]",
    doc: "Commands that are run for the changes of this service alone, besides those of `[hooks]`; `hooks = false` in `[[service]]` drops those of `[defaults.service.hooks]`.",
    keys: &[&[Keys::KEYS]],
};

pub(super) const OF_PEER: Section = Section {
    header: "[peer.hooks]",
    doc: "A command that is run when the session with this router came up or went down; `hooks = false` in `[[peer]]` drops that of `[defaults.peer.hooks]`.",
    keys: &[&[PeerKeys::KEYS]],
};

table! {
    /// `[hooks]`, `[service.hooks]` and `[peer.hooks]`. A peer has no `on_drain`.
    pub struct HooksConfig as Keys {
        /// The absolute path of a program, and its arguments; empty: none runs for changes.
        on_change: list SecretText, optional "[\"/usr/local/bin/hook\", \"web\"]", argument,
            "the program that is run when the standing of a VIP has changed: its absolute path, and its arguments; it runs without a shell, one run at a time";
        /// The same for drains; empty: none runs for drains.
        on_drain: list SecretText, optional "[\"/usr/local/bin/drained\"]", argument,
            "the program that is run when a drain begins, when the routers have followed, and when the drain ends; written as `on_change`";
        /// For a run.
        timeout: one Duration, default "\"10s\"", within(SECOND / 10..=MINUTE * 5),
            "how long a run may take before it is killed; 100ms to 5m";
    }
}

table! {
    struct PeerKeys {
        on_change: list SecretText, required "[\"/usr/local/bin/hook\", \"r1\"]", argument,
            "the program that is run when the session came up or went down: its absolute path, and its arguments; it runs without a shell, one run at a time";
        timeout: one Duration, default "\"10s\"", within(SECOND / 10..=MINUTE * 5),
            "how long a run may take before it is killed; 100ms to 5m";
    }
}

/// Whose changes a hook is run for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookOwner {
    /// `[hooks]`: those of all services.
    Host,
    /// `[service.hooks]`: those of one service.
    Service(ServiceName),
    /// `[peer.hooks]`: those of the session with one router.
    Peer(PeerName),
}

impl fmt::Display for HookOwner {
    /// As in "`[service.hooks]` of www".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookOwner::Host => f.write_str("`[hooks]`"),
            HookOwner::Service(name) => write!(f, "`[service.hooks]` of {name}"),
            HookOwner::Peer(name) => write!(f, "`[peer.hooks]` of {name}"),
        }
    }
}

impl Config {
    /// Every table of hooks, with its owner. This is the only list of them.
    pub fn all_hooks(&self) -> impl Iterator<Item = (HookOwner, &HooksConfig)> {
        let host = self.hooks.iter().map(|hooks| (HookOwner::Host, hooks));
        let services = self.services.iter();
        let services = services
            .filter_map(|service| Some((HookOwner::Service(service.name.clone()), service.hooks.as_ref()?)));
        let peers = self.peers.iter();
        let peers = peers.filter_map(|peer| Some((HookOwner::Peer(peer.name.clone()), peer.hooks.as_ref()?)));
        host.chain(services).chain(peers)
    }
}

/// `[hooks]` and `[service.hooks]` as written, with the keys that are present; `None`: the table is absent, or is wrong and an error
/// was recorded.
#[derive(Debug)]
pub(super) struct Written(Option<(PresentKeys, Keys)>);

/// `[peer.hooks]` in the same way.
#[derive(Debug)]
pub(super) struct WrittenOfPeer(Option<PeerKeys>);

impl Written {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Written(table.switch("hooks", |table| (table.present(), Keys::read(table))))
    }

    pub(super) fn used(&self) -> Option<Option<HooksConfig>> {
        self.0.as_ref().map_or(Some(None), |(_, keys)| keys.used().map(Some))
    }

    /// Writes the table below a service.
    pub(super) fn write(&self, out: &mut TomlWriter) {
        self.write_as(&OF_SERVICE, out);
    }

    /// Writes the table with this header.
    pub(super) fn write_as(&self, section: &Section, out: &mut TomlWriter) {
        if let Written(Some((_, keys))) = self {
            out.header(section.header);
            keys.write(out);
        }
    }
}

impl From<&Option<HooksConfig>> for Written {
    fn from(used: &Option<HooksConfig>) -> Self {
        Written(used.as_ref().map(|hooks| (PresentKeys::default(), hooks.into())))
    }
}

impl WrittenOfPeer {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        WrittenOfPeer(table.switch("hooks", PeerKeys::read))
    }

    pub(super) fn used(&self) -> Option<Option<HooksConfig>> {
        let Some(PeerKeys { on_change, timeout }) = &self.0 else { return Some(None) };
        let hooks = HooksConfig { on_change: all(on_change), on_drain: Vec::new(), timeout: one(timeout)? };
        Some(Some(hooks))
    }

    pub(super) fn write(&self, out: &mut TomlWriter) {
        if let WrittenOfPeer(Some(keys)) = self {
            out.header(OF_PEER.header);
            keys.write(out);
        }
    }
}

impl From<&Option<HooksConfig>> for WrittenOfPeer {
    fn from(used: &Option<HooksConfig>) -> Self {
        let keys = |HooksConfig { on_change, on_drain: _, timeout }: &HooksConfig| PeerKeys {
            on_change: list(on_change),
            timeout: Some(nowhere(*timeout)),
        };
        WrittenOfPeer(used.as_ref().map(keys))
    }
}

/// Checks `[hooks]` or `[service.hooks]`. A table without a command would do nothing.
pub(super) fn judge(Written(hooks): &Written, faults: &mut Vec<Fault>) {
    let Some((present, Keys { on_change, on_drain, timeout: _ })) = hooks else { return };
    let is_missing = |name: &str, command: &WrittenList<SecretText>| match command {
        Some(words) => words.get_ref().is_empty(),
        None => !present.has(name), // otherwise it is wrong, and an error was recorded
    };
    if is_missing("on_change", on_change) && is_missing("on_drain", on_drain) {
        let message = "the table of hooks has no command";
        let help = "add a line such as `on_change = [\"/usr/local/bin/hook\"]`, or `on_drain`";
        faults.push(Fault::new(present.header.clone(), message, help).absence());
    }
    absolute(on_change, faults);
    absolute(on_drain, faults);
}

/// Checks `[peer.hooks]`.
pub(super) fn judge_of_peer(WrittenOfPeer(hooks): &WrittenOfPeer, faults: &mut Vec<Fault>) {
    hooks.iter().for_each(|PeerKeys { on_change, timeout: _ }| absolute(on_change, faults));
}

/// The path has to be absolute. With a search path, another user could put a program with the same name into an earlier directory.
fn absolute(command: &WrittenList<SecretText>, faults: &mut Vec<Fault>) {
    let program = command.as_ref().and_then(|written| written.get_ref().first());
    if let Some(program) = program.filter(|program| !program.get_ref().starts_with('/')) {
        let message = format!("`{}` is not an absolute path", program.get_ref().escape_debug());
        faults.push(Fault::new(program.span(), message, "write the path of the program from `/` on"));
    }
}
