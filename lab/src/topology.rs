//! Reads a containerlab topology file: the nodes and the links between them.
//!
//! Pure. Keys that this engine supports have the same meaning as in containerlab. Keys that only matter to a container engine are
//! accepted and ignored. Every other key is refused, because a lab that silently ignores a key proves nothing. Messages have file,
//! line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};

#[cfg(test)]
mod tests;

/// A valid topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The lab's name: a letter or digit, then letters, digits, `-`, `.` and `_`.
    pub name: String,
    /// Whether the lab has a management network between the host and the nodes.
    pub management: Management,
    /// The nodes, by name.
    pub nodes: BTreeMap<String, NodeConfig>,
    /// The links, in the file's order. Both ends name a node of `nodes`, and no end occurs twice.
    pub links: Vec<Link>,
}

/// The network between the host and the nodes: containerlab makes one unless the file says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Management {
    /// There is none: `mgmt: { network: none }`.
    None,
    /// containerlab would make one.
    Bridge,
}

/// One node: a host of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The image for the container engine; the engine `netns` does not need it.
    pub image: Option<String>,
    /// The main process, split into words. When it ends, the node ends.
    pub cmd: Vec<String>,
    /// Commands that run, one after the other, when the links are there, split into words: there is no shell.
    pub exec: Vec<Vec<String>>,
    /// Files and folders of the host that are mounted in the node.
    pub binds: Vec<Bind>,
    /// Kernel parameters below `net.`, set before the links are there.
    pub sysctls: BTreeMap<String, String>,
    /// The environment of `cmd`, `exec` and all later commands.
    pub env: BTreeMap<String, String>,
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
    /// The MTU in octets; the kernel's default (1500) if the file has none.
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
    /// The file is not YAML, or has a wrong key or type; the message marks the place.
    #[error("{0}")]
    Syntax(String),
    /// The file is well-formed, but its contents are not possible.
    #[error("{}", placed(.file, *.at, .message))]
    Meaning {
        /// The name that the caller has given.
        file: String,
        /// Line and column, both from 1, if the error has a place.
        at: Option<(u64, u64)>,
        /// What is wrong, and what to write.
        message: String,
    },
}

fn placed(file: &str, at: Option<(u64, u64)>, message: &str) -> String {
    match at {
        Some((line, column)) => format!("{file}:{line}:{column}: {message}"),
        None => format!("{file}: {message}"),
    }
}

/// Reads the text of a topology file; `file` is its name for messages.
pub fn parse(text: &str, file: &str) -> Result<Topology, TopologyError> {
    let written: File = serde_saphyr::from_str(text).map_err(|error| {
        TopologyError::Syntax(
            error.render_with_options(serde_saphyr::render_options! { source_name: Some(file) }),
        )
    })?;
    Reader { file }.topology(written)
}

// As written.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    mgmt: Option<Mgmt>,
    topology: Body,
}

#[derive(Deserialize)]
struct Mgmt {
    network: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    defaults: WrittenNode,
    nodes: BTreeMap<String, Option<WrittenNode>>,
    #[serde(default)]
    links: Vec<Cable>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenNode {
    kind: Option<Spanned<String>>,
    cmd: Option<Spanned<String>>,
    exec: Option<Vec<Spanned<String>>>,
    binds: Option<Vec<Spanned<String>>>,
    sysctls: Option<BTreeMap<String, Spanned<Scalar>>>,
    env: Option<BTreeMap<String, Scalar>>,
    image: Option<String>,
    // A container engine's alone.
    #[serde(default, rename = "image-pull-policy")]
    _image_pull_policy: Ignored,
    #[serde(default, rename = "restart-policy")]
    _restart_policy: Ignored,
    #[serde(default, rename = "network-mode")]
    _network_mode: Ignored,
    #[serde(default, rename = "privileged")]
    _privileged: Ignored,
    #[serde(default, rename = "cap-add")]
    _cap_add: Ignored,
    #[serde(default, rename = "labels")]
    _labels: Ignored,
    #[serde(default, rename = "group")]
    _group: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cable {
    endpoints: Spanned<Vec<String>>,
    mtu: Option<u32>,
}

/// A number or a string: containerlab accepts both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Text(String),
}

impl Scalar {
    fn to_text(&self) -> String {
        match self {
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text.clone(),
        }
    }
}

type Ignored = Option<serde::de::IgnoredAny>;

// As used.

struct Reader<'a> {
    file: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, at: Option<Location>, message: String) -> TopologyError {
        let at = at.filter(|at| *at != Location::UNKNOWN).map(|at| (at.line(), at.column()));
        TopologyError::Meaning { file: self.file.to_string(), at, message }
    }

    fn topology(&self, written: File) -> Result<Topology, TopologyError> {
        let name = written.name.value;
        if !is_name(&name) {
            let message = format!("`{name}` is not a lab name: write letters, digits, `-`, `.` and `_`");
            return Err(self.wrong(Some(written.name.referenced), message));
        }
        let Body { defaults, nodes: configs, links: cables } = written.topology;
        for (key, set) in [("exec", defaults.exec.is_some()), ("binds", defaults.binds.is_some())] {
            if set {
                let message = format!("`{key}` in `defaults` is not supported: write it at each node");
                return Err(self.wrong(None, message));
            }
        }
        if configs.is_empty() {
            return Err(self.wrong(None, "no nodes: write at least one under `topology.nodes`".to_string()));
        }
        let mut nodes = BTreeMap::new();
        for (name, config) in configs {
            if !is_name(&name) {
                let message = format!("`{name}` is not a node name: write letters, digits, `-`, `.` and `_`");
                return Err(self.wrong(None, message));
            }
            let node = self.node(&name, &defaults, config.unwrap_or_default())?;
            nodes.insert(name, node);
        }
        let links = self.links(cables, &nodes)?;
        let management = match written.mgmt.and_then(|mgmt| mgmt.network).as_deref() {
            Some("none") => Management::None,
            Some(_) | None => Management::Bridge,
        };
        Ok(Topology { name, management, nodes, links })
    }

    fn node(
        &self,
        name: &str,
        defaults: &WrittenNode,
        own: WrittenNode,
    ) -> Result<NodeConfig, TopologyError> {
        let kind = own.kind.as_ref().or(defaults.kind.as_ref());
        match kind {
            Some(kind) if kind.value == "linux" => {}
            Some(kind) => {
                let message = format!("kind `{}` is not supported: this engine knows `linux`", kind.value);
                return Err(self.wrong(Some(kind.referenced), message));
            }
            None => return Err(self.wrong(None, format!("node `{name}` has no kind: write `kind: linux`"))),
        }
        let cmd = match own.cmd.as_ref().or(defaults.cmd.as_ref()) {
            Some(cmd) => self.words(cmd)?,
            None => {
                return Err(
                    self.wrong(None, format!("node `{name}` has no `cmd`: write `cmd: sleep infinity`"))
                );
            }
        };
        let exec =
            own.exec.unwrap_or_default().iter().map(|line| self.words(line)).collect::<Result<_, _>>()?;
        let binds =
            own.binds.unwrap_or_default().into_iter().map(|b| self.bind(b)).collect::<Result<_, _>>()?;

        let mut sysctls = BTreeMap::new();
        for (key, value) in defaults.sysctls.iter().flatten() {
            sysctls.insert(key.clone(), self.sysctl(key, value)?);
        }
        for (key, value) in own.sysctls.iter().flatten() {
            sysctls.insert(key.clone(), self.sysctl(key, value)?);
        }
        let mut env = BTreeMap::new();
        for (key, value) in defaults.env.iter().flatten() {
            env.insert(key.clone(), value.to_text());
        }
        for (key, value) in own.env.iter().flatten() {
            env.insert(key.clone(), value.to_text());
        }
        let image = own.image.or_else(|| defaults.image.clone());
        Ok(NodeConfig { image, cmd, exec, binds, sysctls, env })
    }

    fn words(&self, line: &Spanned<String>) -> Result<Vec<String>, TopologyError> {
        match shlex::split(&line.value) {
            Some(words) if !words.is_empty() => Ok(words),
            Some(_) => Err(self.wrong(Some(line.referenced), "an empty command: remove it".to_string())),
            None => {
                let message = format!("`{}` has a quote that is not closed", line.value);
                Err(self.wrong(Some(line.referenced), message))
            }
        }
    }

    fn bind(&self, bind: Spanned<String>) -> Result<Bind, TopologyError> {
        let wrong = |message: String| self.wrong(Some(bind.referenced), message);
        let mut parts = bind.value.split(':');
        let (Some(source), Some(target), mode, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong(format!(
                "`{}` is not a bind: write `SOURCE:TARGET` or `SOURCE:TARGET:ro`",
                bind.value
            )));
        };
        let access = match mode {
            None | Some("rw") => Access::ReadWrite,
            Some("ro") => Access::ReadOnly,
            Some(other) => {
                return Err(wrong(format!("bind option `{other}` is not supported: write `ro` or `rw`")));
            }
        };
        if source.is_empty() {
            return Err(wrong(format!("`{}` names no source", bind.value)));
        }
        let target = PathBuf::from(target);
        if !target.is_absolute() || target.components().any(|part| part == Component::ParentDir) {
            return Err(wrong(format!("`{}` must be absolute, and without `..`", target.display())));
        }
        Ok(Bind { source: PathBuf::from(source), target, access })
    }

    fn sysctl(&self, key: &str, value: &Spanned<Scalar>) -> Result<String, TopologyError> {
        let fine =
            key.starts_with("net.") && key.split('.').all(|part| !part.is_empty() && !part.contains('/'));
        if !fine {
            let message = format!("sysctl `{key}` is not allowed: only those below `net.` belong to a node");
            return Err(self.wrong(Some(value.referenced), message));
        }
        Ok(value.value.to_text())
    }

    fn links(
        &self,
        cables: Vec<Cable>,
        nodes: &BTreeMap<String, NodeConfig>,
    ) -> Result<Vec<Link>, TopologyError> {
        let mut seen = BTreeSet::new();
        let mut links = Vec::new();
        for cable in cables {
            let at = Some(cable.endpoints.referenced);
            let ends: [String; 2] = cable.endpoints.value.try_into().map_err(|ends: Vec<String>| {
                self.wrong(at, format!("a link has two ends, not {}: `[\"a:eth1\", \"b:eth1\"]`", ends.len()))
            })?;
            let [a, b] = ends;
            let ends = [self.end(&a, at, nodes)?, self.end(&b, at, nodes)?];
            for end in &ends {
                if !seen.insert(end.clone()) {
                    let message = format!("`{}:{}` already has a link", end.node, end.interface);
                    return Err(self.wrong(at, message));
                }
            }
            links.push(Link { ends, mtu: cable.mtu });
        }
        Ok(links)
    }

    fn end(
        &self,
        text: &str,
        at: Option<Location>,
        nodes: &BTreeMap<String, NodeConfig>,
    ) -> Result<LinkEnd, TopologyError> {
        let Some((node, interface)) = text.split_once(':') else {
            return Err(self.wrong(at, format!("`{text}` is not an end of a link: write `NODE:INTERFACE`")));
        };
        if !nodes.contains_key(node) {
            return Err(self.wrong(at, format!("`{text}`: there is no node `{node}`")));
        }
        let fine = (1..=15).contains(&interface.len())
            && interface.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
            && !matches!(interface, "lo" | "." | "..");
        if !fine {
            let message =
                format!("`{interface}` is not a name for an interface: write at most 15 letters and digits");
            return Err(self.wrong(at, message));
        }
        Ok(LinkEnd { node: node.to_string(), interface: interface.to_string() })
    }
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
}
