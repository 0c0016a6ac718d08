//! From the tree of a topology file to the topology.
//!
//! Pure. Collects every mistake. With [`Unknown::HandedOn`] only those mistakes count that keep this program from finding the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};

use serde_saphyr::Location;

use super::keys::{self, Treatment};
use super::levels::Levels;
use super::tree::{Key, Tree};
use super::{
    Access, Bind, Management, Mistake, Network, NodeConfig, Stage, Topology, TopologyError, Unknown, is_name,
};

/// Reads the tree of a file called `file`.
pub(super) fn read(tree: &Tree, file: &str, unknown: Unknown) -> Result<Topology, TopologyError> {
    let mut reader = Reader { file, unknown, mistakes: Vec::new(), checked: BTreeSet::new() };
    let topology = reader.topology(tree);
    if let (Some(topology), []) = (topology, reader.mistakes.as_slice()) {
        return Ok(topology);
    }
    reader.mistakes.sort_by_key(|mistake| mistake.at);
    Err(TopologyError::Meaning(reader.mistakes))
}

pub(super) struct Reader<'a> {
    file: &'a str,
    unknown: Unknown,
    mistakes: Vec<Mistake>,
    /// The levels whose keys were checked: several nodes share `defaults`.
    checked: BTreeSet<String>,
}

impl Reader<'_> {
    /// A mistake with both engines.
    fn wrong(&mut self, at: Option<Location>, message: String) {
        let at = at.filter(|at| *at != Location::UNKNOWN).map(|at| (at.line(), at.column()));
        let mistake = Mistake { file: self.file.to_string(), at, message };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// A mistake, unless containerlab reads the file.
    pub(super) fn refuse(&mut self, at: Location, message: String) {
        match self.unknown {
            Unknown::Refused => self.wrong(Some(at), message),
            Unknown::HandedOn => {}
        }
    }

    /// A mistake about a key that `netns` does not support.
    pub(super) fn unsupported(&mut self, at: Location, what: &str, advice: &str) {
        self.refuse(
            at,
            format!(
                "{what} is not supported by the engine `netns`: {advice}, or start the lab with `--engine containerlab`"
            ),
        );
    }

    fn topology(&mut self, tree: &Tree) -> Option<Topology> {
        let Some(body) = tree.get("topology").filter(|body| body.map().is_some()) else {
            self.wrong(None, "no topology: write `name: NAME`, and `topology:` with `nodes:`".to_string());
            return None;
        };
        for (Key { at, name }, _) in tree.map().unwrap_or_default() {
            if !["name", "prefix", "mgmt", "settings", "topology"].contains(&name.as_str()) {
                self.unsupported(*at, &format!("`{name}`"), "leave it out");
            }
        }
        for (Key { at, name }, _) in body.map().unwrap_or_default() {
            if !["defaults", "kinds", "groups", "nodes", "links"].contains(&name.as_str()) {
                self.unsupported(*at, &format!("`{name}`"), "leave it out");
            }
        }
        let name = self.name(tree);
        let mut nodes = BTreeMap::new();
        let mut management = Management::Unused;
        let configs = body.get("nodes").and_then(Tree::map).unwrap_or_default();
        if configs.is_empty() {
            self.wrong(None, "no nodes: write at least one under `topology.nodes`".to_string());
        }
        for (Key { at, name }, own) in configs {
            if !is_name(name) {
                self.wrong(
                    Some(*at),
                    format!("`{name}` is not a node name: write letters, digits, `-`, `.` and `_`"),
                );
                continue;
            }
            let levels = Levels::of(body, name, own);
            for level in &levels.0 {
                self.check_keys(&level.name, level.tree);
            }
            let mode = levels.strongest("network-mode").and_then(Tree::scalar).unwrap_or_default();
            if mode != "none" && !mode.starts_with("container:") {
                management = Management::Used;
            }
            let node = self.node(name, *at, &levels);
            nodes.insert(name.clone(), node);
        }
        let places: BTreeMap<&str, Location> =
            configs.iter().map(|(key, _)| (key.name.as_str(), key.at)).collect();
        self.check_names(&nodes, &places);
        let links = self.links(body.get("links"), &nodes);
        let prefix = tree.get("prefix").and_then(Tree::scalar);
        let topology = Topology { name: name?, prefix, management, nodes, links };
        if let (Unknown::Refused, Some(circle)) = (self.unknown, topology.order().circle()) {
            let steps: Vec<String> =
                circle.iter().map(|step| format!("{} ({})", step.node, step.stage.name())).collect();
            let at = circle.first().and_then(|step| places.get(step.node.as_str())).copied();
            self.wrong(at, format!("these wait for each other: {}", steps.join(", ")));
        }
        Some(topology)
    }

    fn name(&mut self, tree: &Tree) -> Option<String> {
        let Some(written) = tree.get("name") else {
            self.wrong(None, "the lab has no name: write `name: NAME`".to_string());
            return None;
        };
        match written.scalar() {
            Some(name) if is_name(&name) => Some(name),
            name => {
                let name = name.unwrap_or_default();
                self.wrong(
                    Some(written.at),
                    format!("`{name}` is not a lab name: write letters, digits, `-`, `.` and `_`"),
                );
                None
            }
        }
    }

    fn check_keys(&mut self, level: &str, tree: &Tree) {
        if !self.checked.insert(level.to_string()) {
            return;
        }
        let Some(entries) = tree.map() else {
            self.refuse(tree.at, format!("{level} is {}: write a map", tree.kind()));
            return;
        };
        for (Key { at, name }, _) in entries {
            match keys::of_node(name) {
                (Treatment::Done | Treatment::Ignored, _) => {}
                (Treatment::Refused, advice) => {
                    self.unsupported(*at, &format!("`{name}` of {level}"), advice)
                }
            }
        }
    }

    /// Checks the names of other nodes.
    fn check_names(&mut self, nodes: &BTreeMap<String, NodeConfig>, places: &BTreeMap<&str, Location>) {
        for (name, node) in nodes {
            let Some(at) = places.get(name.as_str()).copied() else { continue };
            if let Network::Of(owner) = &node.network {
                match nodes.get(owner).map(|owner| &owner.network) {
                    Some(Network::Own) => {}
                    Some(Network::Of(next)) => self.refuse(
                        at,
                        format!("`{name}` shares the network of `{owner}`, which has none of its own: write `container:{next}`"),
                    ),
                    None => self.refuse(
                        at,
                        format!("`{name}` shares the network of `{owner}`, but there is no node `{owner}`"),
                    ),
                }
            }
            for wait in &node.waits {
                match nodes.get(&wait.node) {
                    None => self.refuse(
                        at,
                        format!("`{name}` waits for `{0}`, but there is no node `{0}`", wait.node),
                    ),
                    Some(other) if wait.until == Stage::Healthy && other.healthcheck.is_none() => self
                        .refuse(
                            at,
                            format!(
                                "`{name}` waits until `{0}` is healthy, but `{0}` has no `healthcheck`",
                                wait.node
                            ),
                        ),
                    Some(_) => {}
                }
            }
        }
    }

    fn node(&mut self, name: &str, at: Location, levels: &Levels<'_>) -> NodeConfig {
        match levels.kind().map(|kind| (kind.at, kind.scalar().unwrap_or_default())) {
            Some((_, kind)) if kind == "linux" => {}
            Some((at, kind)) => self.unsupported(at, &format!("kind `{kind}`"), "write `kind: linux`"),
            None => self.refuse(at, format!("node `{name}` has no kind: write `kind: linux`")),
        }
        let cmd = match levels.strongest("cmd") {
            Some(cmd) => self.words(cmd).unwrap_or_default(),
            None => {
                self.refuse(at, format!("node `{name}` has no `cmd`: write `cmd: sleep infinity`"));
                Vec::new()
            }
        };
        let mut exec = Vec::new();
        for line in self.joined(levels, "exec") {
            exec.extend(self.words(line));
        }
        let mut binds: BTreeMap<PathBuf, Bind> = BTreeMap::new();
        for bind in self.joined(levels, "binds") {
            // Of two binds with the same target the stronger one counts, which is the later one.
            binds.extend(self.bind(bind).map(|bind| (bind.target.clone(), bind)));
        }
        let mut sysctls = BTreeMap::new();
        for (Key { at, name }, value) in self.entries(levels, "sysctls") {
            if let Some(value) = self.sysctl(*at, name, value) {
                sysctls.insert(name.clone(), value);
            }
        }
        let env = self.entries(levels, "env");
        let env = env.into_iter().map(|(key, value)| (key.name.clone(), value.scalar().unwrap_or_default()));
        let (waits, healthcheck) = (self.waits(levels), self.healthcheck(levels));
        NodeConfig {
            image: levels.strongest("image").and_then(Tree::scalar),
            cmd,
            exec,
            binds: binds.into_values().collect(),
            sysctls,
            env: env.collect(),
            network: self.network(levels),
            healthcheck,
            startup_delay: self.number(levels.strongest("startup-delay")).unwrap_or_default(),
            waits,
        }
    }

    /// The elements of a list, each once.
    fn joined<'t>(&mut self, levels: &Levels<'t>, key: &str) -> Vec<&'t Tree> {
        let (mut all, mut seen): (Vec<&Tree>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
        for tree in levels.all(key) {
            match tree.list() {
                Some(elements) => all.extend(
                    elements.iter().filter(|element| seen.insert(element.scalar().unwrap_or_default())),
                ),
                None => self.refuse(tree.at, format!("`{key}` is {}: write a list", tree.kind())),
            }
        }
        all
    }

    /// The entries of a map; a stronger level comes later.
    pub(super) fn entries<'t>(&mut self, levels: &Levels<'t>, key: &str) -> Vec<&'t (Key, Tree)> {
        let mut all = Vec::new();
        for tree in levels.all(key) {
            match tree.map() {
                Some(entries) => all.extend(entries),
                None => self.refuse(tree.at, format!("`{key}` is {}: write a map", tree.kind())),
            }
        }
        all
    }

    pub(super) fn number(&mut self, tree: Option<&Tree>) -> Option<u64> {
        let tree = tree?;
        let number = tree.scalar().and_then(|text| text.parse().ok());
        if number.is_none() {
            self.refuse(tree.at, "this is not a number: write digits alone".to_string());
        }
        number
    }

    fn words(&mut self, line: &Tree) -> Option<Vec<String>> {
        let text = line.scalar().unwrap_or_default();
        match shlex::split(&text) {
            Some(words) if !words.is_empty() => return Some(words),
            Some(_) => self.refuse(line.at, "an empty command: remove it".to_string()),
            None => self.refuse(line.at, format!("`{text}` has a quote that is not closed")),
        }
        None
    }

    fn bind(&mut self, bind: &Tree) -> Option<Bind> {
        let text = bind.scalar().unwrap_or_default();
        let mut parts = text.split(':');
        let (Some(source), Some(target), mode, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            self.refuse(
                bind.at,
                format!("`{text}` is not a bind: write `SOURCE:TARGET` or `SOURCE:TARGET:ro`"),
            );
            return None;
        };
        let access = match mode {
            None | Some("rw") => Access::ReadWrite,
            Some("ro") => Access::ReadOnly,
            Some(other) => {
                self.refuse(bind.at, format!("bind option `{other}` is not supported: write `ro` or `rw`"));
                return None;
            }
        };
        if source.is_empty() {
            self.refuse(bind.at, format!("`{text}` names no source"));
            return None;
        }
        if source.starts_with('~') || source.contains("__clab") {
            self.unsupported(bind.at, &format!("`{source}`"), "write a path below the folder of this file");
            return None;
        }
        let target = PathBuf::from(target);
        if !target.is_absolute() || target.components().any(|part| part == Component::ParentDir) {
            self.refuse(bind.at, format!("`{}` must be absolute, and without `..`", target.display()));
            return None;
        }
        Some(Bind { source: PathBuf::from(source), target, access })
    }

    fn sysctl(&mut self, at: Location, key: &str, value: &Tree) -> Option<String> {
        let fine =
            key.starts_with("net.") && key.split('.').all(|part| !part.is_empty() && !part.contains('/'));
        if !fine {
            let message = format!("sysctl `{key}` is not allowed: only those below `net.` belong to a node");
            self.refuse(at, message);
            return None;
        }
        let text = value.scalar();
        if text.is_none() {
            self.refuse(value.at, format!("sysctl `{key}` is {}: write its value", value.kind()));
        }
        text
    }

    fn network(&mut self, levels: &Levels<'_>) -> Network {
        let Some(written) = levels.strongest("network-mode") else { return Network::Own };
        let mode = written.scalar().unwrap_or_default();
        match (mode.as_str(), mode.strip_prefix("container:")) {
            (_, Some(owner)) => Network::Of(owner.to_string()),
            ("none" | "bridge", None) => Network::Own,
            (_, None) => {
                let advice = "write `none` or `container:NODE`";
                self.unsupported(written.at, &format!("network mode `{mode}`"), advice);
                Network::Own
            }
        }
    }
}
