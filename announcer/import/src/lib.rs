//! Translates the configurations of ExaBGP, anycast_healthchecker, anycastd and keepalived into an announcer.toml.
//!
//! Pure. Text -> [`node::Node`] (options with their lines) -> [`draft::Draft`] -> the text of an announcer.toml, with comments.
//!
//! ```text
//! exabgp  anycast_healthchecker  anycastd  keepalived     one system each: its tables of options, and the translation
//! row        the tables: each option of a system is translated, not needed or dropped     draft    what is written
//! report     the notes: what was dropped, is missing, or behaves differently               values   durations, prefixes, names
//! blocks  ini  tree     the syntaxes: blocks in braces, INI files, YAML and JSON           node     what they have in common
//! ```
//!
//! An option cannot be ignored by mistake: [`row::read`] reports each option that its table does not have, and each option that the
//! translation did not use.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")
)]

pub mod anycast_healthchecker;
pub mod anycastd;
mod blocks;
mod curl;
mod draft;
pub mod exabgp;
mod ini;
pub mod keepalived;
mod node;
mod report;
mod row;
mod tree;
mod values;

use std::net::IpAddr;

pub use node::Place;
pub use report::{Note, NoteKind};
pub use row::{Block, Row, Treatment};

/// A file that was read: its name in messages, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The path, as it is printed.
    pub name: String,
    /// The content.
    pub text: String,
}

/// Reads the files that a configuration names.
pub trait Files {
    /// The files at a path, which may be a pattern with `*`, in byte order. A relative path is looked for beside the file
    /// `named_in`.
    ///
    /// # Errors
    /// Why none can be read.
    fn read(&self, path: &str, named_in: &str) -> Result<Vec<Input>, String>;
}

/// A router that the user has given, because the configuration does not name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its name in announcer.toml.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
}

/// What the user adds to the configuration of the other system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The AS of this host.
    pub asn: Option<u32>,
    /// The routers.
    pub routers: Vec<Router>,
    /// More addresses of this host, besides loopback addresses and the VIPs.
    pub local: Vec<IpAddr>,
    /// The VIPs of services whose configuration does not have them, by the name of the service.
    pub vips: Vec<(String, Vec<IpAddr>)>,
}

/// The result of a translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of the announcer.toml.
    pub toml: String,
    /// The notes, in the order of the input. The text has them as comments.
    pub notes: Vec<Note>,
}

impl Imported {
    /// The notes about options that were dropped and about values that are missing.
    pub fn losses(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(|note| note.kind.is_loss())
    }
}

/// Why a configuration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The syntax is wrong.
    #[error("{place}: {text}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        text: String,
    },
    /// A file that the configuration needs cannot be read.
    #[error("{place}: `{path}` cannot be read: {error}")]
    Unreadable {
        /// Where it is named.
        place: Place,
        /// Its path.
        path: String,
        /// The reason.
        error: String,
    },
    /// There is nothing to translate.
    #[error("{0}: there is nothing to translate: {1}")]
    Nothing(String, &'static str),
}

/// The name of a system, and its tables of options.
pub type System = (&'static str, &'static [&'static Block]);

/// All tables of options, by system, for the documents.
pub const SYSTEMS: [System; 4] = [
    ("ExaBGP", exabgp::BLOCKS),
    ("anycast_healthchecker", anycast_healthchecker::BLOCKS),
    ("anycastd", anycastd::BLOCKS),
    ("keepalived", keepalived::BLOCKS),
];
