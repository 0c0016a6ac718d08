//! Reads a containerlab topology file: the nodes and the links between them.
//!
//! Pure: the values of variables are given to it. The engine `containerlab` gets the file as it is, so all that this reader does not
//! know is handed on to it ([`Unknown::HandedOn`]). The engine `netns` has only what is read here, so every key that it cannot do
//! and that matters is refused by name, because a lab that silently ignores a key proves nothing ([`Unknown::Refused`]). `keys` has
//! the table. Messages have file, line and column.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod health;
mod keys;
mod levels;
mod links;
mod order;
mod reader;
#[cfg(test)]
mod tests;
mod tree;
mod variables;

pub use order::{Order, Stage, Step};

/// A valid topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The lab's name: a letter or digit, then letters, digits, `-`, `.` and `_`.
    pub name: String,
    /// What stands before the name in the names of containers, if it is not `clab`.
    pub prefix: Option<String>,
    /// Whether the lab has a management network between the host and the nodes.
    pub management: Management,
    /// The nodes, by name.
    pub nodes: BTreeMap<String, NodeConfig>,
    /// The links, in the file's order. Both ends name a node of `nodes`, and no end occurs twice. With [`Unknown::HandedOn`] those
    /// alone that this reader knows.
    pub links: Vec<Link>,
}

/// What is done with keys that this reader does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing: containerlab reads the file itself.
    HandedOn,
    /// The file is refused.
    Refused,
}

/// The network between the host and the nodes: containerlab makes one if a node does not say `network-mode: none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Management {
    /// No node uses it.
    Unused,
    /// A node uses it. The engine `netns` makes none.
    Used,
}

/// One node: a host of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The image for the container engine; the engine `netns` does not need it.
    pub image: Option<String>,
    /// The main process, split into words. When it ends, the node ends. Empty: that of the image.
    pub cmd: Vec<String>,
    /// Commands that run, one after the other, when the links are there, split into words: there is no shell.
    pub exec: Vec<Vec<String>>,
    /// Files and folders of the host that are mounted in the node.
    pub binds: Vec<Bind>,
    /// Kernel parameters below `net.`, set before the links are there.
    pub sysctls: BTreeMap<String, String>,
    /// The environment of `cmd`, `exec` and all later commands.
    pub env: BTreeMap<String, String>,
    /// Whose network it uses.
    pub network: Network,
    /// How it is known that the node is ready.
    pub healthcheck: Option<Healthcheck>,
    /// The time before the node is made, in seconds.
    pub startup_delay: u64,
    /// What its stages wait for.
    pub waits: Vec<Wait>,
}

/// Whose network namespace a node uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Its own.
    #[default]
    Own,
    /// That of the node with this name.
    Of(String),
}

/// The command that succeeds when a node is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    /// The command, split into words.
    pub test: Vec<String>,
    /// How long one try may take, in seconds.
    pub timeout: u64,
}

/// A stage of a node that waits for a stage of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The stage that waits.
    pub stage: Stage,
    /// The other node's name.
    pub node: String,
    /// The other node's stage, which has to be finished.
    pub until: Stage,
}

/// `SOURCE:TARGET[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The path on the host; a relative path is below the topology file's folder.
    pub source: PathBuf,
    /// In the node; absolute, without `..`.
    pub target: PathBuf,
    /// Whether the node may write to it or only read it.
    pub access: Access,
}

/// The rights of a node to a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Only read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
}

/// A cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its two ends.
    pub ends: [LinkEnd; 2],
    /// The MTU in octets. If the file has none: the kernel's default (1500) here, 9500 in containerlab.
    pub mtu: Option<u32>,
}

/// One end of a link, `NODE:INTERFACE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkEnd {
    /// A node's name.
    pub node: String,
    /// At most 15 octets.
    pub interface: String,
}

/// Why a topology cannot be used. Printed as it is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TopologyError {
    /// The file is not YAML; the message marks the place.
    #[error("{0}")]
    Syntax(String),
    /// The file is YAML, but its contents are not possible: all mistakes, in the order of their places.
    #[error("{}", lines(.0))]
    Meaning(Vec<Mistake>),
}

/// One mistake in a topology file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The name of the file that the caller has given.
    pub file: String,
    /// Line and column, both from 1, if the mistake has a place.
    pub at: Option<(u64, u64)>,
    /// What is wrong, and what to write.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the text of a topology file; `file` is its name for messages. `variable` returns the value of a variable of the
/// environment, `None` if it is not set.
///
/// # Errors
/// [`TopologyError`], with every mistake that was found.
pub fn parse(
    text: &str,
    file: &str,
    unknown: Unknown,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Topology, TopologyError> {
    let text = variables::expand(text, variable).map_err(|unclosed| {
        let message =
            "`${` has no `}`: write `${NAME}` or `${NAME:=DEFAULT}`; a `$` is written `$$`".to_string();
        TopologyError::Meaning(vec![Mistake { file: file.to_string(), at: Some(unclosed.at), message }])
    })?;
    // Only `true` and `false` are Booleans: `no` is text, as where containerlab wants text.
    let options = serde_saphyr::options! { strict_booleans: true };
    let tree = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        TopologyError::Syntax(
            error.render_with_options(serde_saphyr::render_options! { source_name: Some(file) }),
        )
    })?;
    reader::read(&tree, file, unknown)
}

/// Whether the text is a valid name of a lab or a node; it also becomes the name of a folder.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

impl Topology {
    /// The same topology, with relative sources of binds below `folder`.
    pub fn based(mut self, folder: &Path) -> Topology {
        for bind in self.nodes.values_mut().flat_map(|node| &mut node.binds) {
            bind.source = folder.join(&bind.source);
        }
        self
    }

    /// The order in which the nodes start.
    pub fn order(&self) -> Order {
        Order::of(&self.nodes)
    }
}
