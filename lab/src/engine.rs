//! A running lab and its nodes: the common interface of both engines.
//!
//! Touches processes and files through `netns` and `containerlab`, which make and end the nodes, and through `state`. All later
//! work on a node is in `Node`, and is the same for both engines.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use nix::unistd::{Pid, Uid};
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::error::Error;
use crate::node::Node;
use crate::state::{self, EngineRecord, Lock, LockError, Process, State};
use crate::topology::{self, Topology, Unknown};

pub mod containerlab;
mod netns;

/// The engine that makes the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// This program, with namespaces only.
    #[default]
    Netns,
    /// containerlab, with Docker containers.
    Containerlab,
}

impl Engine {
    /// The engine in `LAB_ENGINE`, otherwise [`Engine::Netns`].
    fn wanted() -> Result<Engine, Error> {
        match variable("LAB_ENGINE") {
            None => Ok(Engine::default()),
            Some(name) => Engine::from_str(&name, false).map_err(|_| {
                Error::Missing(format!("LAB_ENGINE is `{name}`: write `netns` or `containerlab`"))
            }),
        }
    }
}

/// A lab that is being made.
struct Site<'a> {
    name: &'a str,
    dir: &'a Path,
    topology: &'a Topology,
    state: &'a State,
    program: &'a Path,
}

/// The first process of each running node, with its pid on the host, by the node's name.
pub fn running(lab: &str, state: &State) -> BTreeMap<String, Pid> {
    match state.made {
        EngineRecord::Netns { .. } => netns::running(&state::dir(lab)),
        EngineRecord::Containerlab { .. } => containerlab::running(lab, state),
    }
}

/// Checks the right to see which node a process of another user is in. Without it, a worker of a web server would not be found, and
/// would outlive its death.
///
/// # Errors
/// [`Error::Missing`], with what to write.
fn must_see_processes() -> Result<(), Error> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if sees_processes(&status) {
        return Ok(());
    }
    Err(Error::Missing(
        "the capability SYS_PTRACE is missing, without which processes of other users in a node cannot be found: write `--cap-add SYS_PTRACE`, \
         or `--privileged`"
            .to_owned(),
    ))
}

/// Whether the effective capabilities in `/proc/PID/status` (proc(5)) have CAP_SYS_PTRACE (capabilities(7)).
fn sees_processes(status: &str) -> bool {
    const SYS_PTRACE: u32 = 19;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.is_some_and(|mask| mask >> SYS_PTRACE & 1 == 1)
}

/// The folder with the topologies and the files of their nodes in the lab's image, where LAB_FOLDER names it; `None` in a checkout.
pub fn installed() -> Option<PathBuf> {
    std::env::var_os("LAB_FOLDER").map(PathBuf::from)
}

/// The options of `up`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The topology file.
    pub topology: PathBuf,
    /// The lab's name, if it differs from the file's, so that two labs of one file can run at the same time. `None`: `LAB_NAME`,
    /// otherwise the name in the file.
    pub name: Option<String>,
    /// The engine that makes the nodes. `None`: `LAB_ENGINE`, otherwise [`Engine::Netns`].
    pub engine: Option<Engine>,
    /// The `lab` program, whose hidden subcommands make the nodes.
    pub program: PathBuf,
    /// The folder with the list of packages for the nodes' root filesystem.
    pub images: PathBuf,
    /// The folder of that filesystem.
    pub cache: PathBuf,
    /// The owner of the lab: if its process no longer exists, the next `up` ends the lab. `None`: the lab stays.
    pub owner: Option<Process>,
}

impl Options {
    /// Options for a test: this process owns the lab. The nearest folder above the topology file that has `images/rootfs` is the
    /// project's folder `lab`, and `../target/lab` has the root filesystem and `bin/lab`. If there is none, the folder `lab` of the
    /// current folder is used, or in the lab's image the [installed] one. LAB_IMAGES, LAB_CACHE and LAB_PROGRAM name other places.
    pub fn new(topology: &Path) -> Options {
        let file = std::path::absolute(topology).unwrap_or_else(|_| topology.to_path_buf());
        let found = file.ancestors().find(|folder| folder.join("images/rootfs").exists());
        let folder = found.map(Path::to_path_buf).or_else(installed).unwrap_or(PathBuf::from("lab"));
        let target = folder.join("../target/lab");
        let or = |variable: &str, default: PathBuf| std::env::var_os(variable).map_or(default, PathBuf::from);
        Options {
            topology: topology.to_path_buf(),
            name: None,
            engine: None,
            program: or("LAB_PROGRAM", target.join("bin/lab")),
            images: or("LAB_IMAGES", folder.join("images")),
            cache: or("LAB_CACHE", target),
            owner: Process::myself(),
        }
    }
}

/// A running lab. It ends when this is dropped, unless it was [attached](Lab::attach) to or [left](Lab::leave).
#[derive(Debug)]
pub struct Lab {
    name: String,
    dir: PathBuf,
    nodes: BTreeMap<String, Node>,
    at_drop: DropAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DropAction {
    End,
    Leave,
}

impl Lab {
    /// Brings a topology up, for this process: see [`Options::new`].
    pub fn up(topology: &Path) -> Result<Lab, Error> {
        Lab::start(&Options::new(topology), &Cancel::new())
    }

    /// Starts a topology. After an error, and after `cancel`, nothing is left.
    pub fn start(options: &Options, cancel: &Cancel) -> Result<Lab, Error> {
        must_be_root()?;
        must_see_processes()?;
        let file = options.topology.canonicalize().map_err(|e| Error::file(&options.topology, e))?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let text = fs::read_to_string(&file).map_err(|e| Error::file(&file, e))?;
        let engine = options.engine.map_or_else(Engine::wanted, Ok)?;
        let unknown = match engine {
            Engine::Netns => Unknown::Refused,
            Engine::Containerlab => Unknown::HandedOn,
        };
        let shown = options.topology.display().to_string();
        let variable = |name: &str| std::env::var(name).ok();
        let topology = topology::parse(&text, &shown, unknown, &variable)?.based(folder);
        let name = match options.name.clone().or_else(named) {
            Some(name) if topology::is_name(&name) => name,
            Some(name) => {
                return Err(Error::Missing(format!(
                    "`{name}` is not a lab name: write letters, digits, `-`, `.` and `_`"
                )));
            }
            None => topology.name.clone(),
        };
        let program = options.program.canonicalize().map_err(|e| Error::file(&options.program, e))?;
        let mut not_ended = end_abandoned();

        let _lock = lock(&name)?;
        let dir = state::dir(&name);
        if dir.exists() {
            return Err(match not_ended.remove(&name) {
                Some(error) => Error::Abandoned { name, why: error.to_string() },
                None => already_up(name, &dir),
            });
        }
        let made = match engine {
            Engine::Netns => netns::ready(options, cancel)?,
            Engine::Containerlab => containerlab::ready(&name, &topology, &program, &options.images)?,
        };
        let mut state = State {
            topology: file,
            made,
            owner: options.owner.clone(),
            first_processes: Vec::new(),
            nodes: with_sources(&topology)?,
        };
        // From here on, dropping it ends everything that was started, before `_lock` is released.
        let mut lab = Lab { name, dir, nodes: BTreeMap::new(), at_drop: DropAction::End };
        fs::create_dir(&lab.dir).map_err(|e| Error::file(&lab.dir, e))?;
        state.write(&lab.dir).map_err(|e| Error::file(&lab.dir, e))?;
        let site =
            Site { name: &lab.name, dir: &lab.dir, topology: &topology, state: &state, program: &program };
        let built = match state.made {
            EngineRecord::Netns { .. } => netns::build(&site, cancel),
            EngineRecord::Containerlab { management, .. } => containerlab::build(&site, management, cancel),
        };
        match built {
            Ok(nodes) => {
                lab.nodes = nodes;
                state.first_processes = lab.nodes().filter_map(|node| Process::of(node.pid())).collect();
                state.write(&lab.dir).map_err(|e| Error::file(&lab.dir, e))?;
            }
            Err(error) => {
                lab.end_now()?;
                return Err(if cancel.is_cancelled() { Error::Interrupted } else { error });
            }
        }
        Ok(lab)
    }

    /// A lab that is already running. Dropping this does not end it.
    pub fn attach(name: &str, program: &Path) -> Result<Lab, Error> {
        let dir = state::dir(name);
        let state = State::read(&dir).map_err(|_| Error::NotUp(name.to_string()))?;
        let nodes = nodes(name, &state, program);
        Ok(Lab { name: name.to_string(), dir, nodes, at_drop: DropAction::Leave })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nodes, in their names' order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Result<&Node, Error> {
        self.nodes.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.nodes.keys().map(String::as_str).collect();
            Error::Node(format!("no node `{name}` is running; these are: {}", known.join(", ")))
        })
    }

    /// It stays up when this is dropped.
    pub fn leave(mut self) {
        self.at_drop = DropAction::Leave;
    }

    /// Ends it: no process, mount, interface or file of it remains.
    pub fn down(mut self) -> Result<(), Error> {
        let _lock = lock(&self.name)?;
        self.end_now()
    }

    fn end_now(&mut self) -> Result<(), Error> {
        self.at_drop = DropAction::Leave;
        end(&self.name, &self.dir)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        match self.at_drop {
            DropAction::Leave => {}
            DropAction::End => {
                if let Err(error) = self.end_now() {
                    output::note(format_args!("lab: {error}"));
                }
            }
        }
    }
}

/// Ends the lab called `name`. It does not matter which process has started it and whether that process still exists.
pub fn down(name: &str) -> Result<(), Error> {
    must_be_root()?;
    let dir = state::dir(name);
    let _lock = lock(name)?; // this comes first, because a killed `up` may have left only the lock
    if !dir.exists() {
        return Err(Error::NotUp(name.to_string()));
    }
    end(name, &dir)
}

/// Ends everything that the engines have made, and then removes the folder. The caller must hold the lock.
fn end(name: &str, dir: &Path) -> Result<(), Error> {
    // Nothing is started before the state is written.
    if let Ok(state) = State::read(dir) {
        match state.made {
            EngineRecord::Netns { .. } => {} // found by their command lines, below
            EngineRecord::Containerlab { management, named_by_file, ref program, .. } => {
                let destroy = named_by_file.then_some((program.as_path(), management));
                containerlab::end(name, dir, &state, destroy)?;
            }
        }
    }
    state::remove(dir).map_err(|e| Error::file(dir, e))
}

/// The nodes that run.
fn nodes(lab: &str, state: &State, program: &Path) -> BTreeMap<String, Node> {
    let running = running(lab, state);
    let found = state.nodes.iter().filter_map(|(name, written)| {
        let door = match &state.made {
            EngineRecord::Netns { .. } => None,
            EngineRecord::Containerlab { prefix, .. } => {
                Some(containerlab::container(prefix.as_deref(), lab, name))
            }
        };
        Some((name.clone(), Node::new(name, *running.get(name)?, program, written, door)))
    });
    found.collect()
}

/// The name in `LAB_NAME`.
pub fn named() -> Option<String> {
    variable("LAB_NAME")
}

/// A variable of the environment, unless it is empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether this process may make labs.
pub fn must_be_root() -> Result<(), Error> {
    if Uid::effective().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

fn lock(name: &str) -> Result<Lock, Error> {
    Lock::take(name).map_err(|error| match error {
        LockError::Held(pid) => Error::Busy { name: name.to_string(), pid },
        LockError::Io(error) => Error::of(state::RUN, error),
    })
}

fn already_up(name: String, dir: &Path) -> Error {
    match State::read(dir) {
        Ok(state) => Error::AlreadyUp { name, topology: state.topology.display().to_string() },
        Err(_) => Error::Missing(format!("lab `{name}` is incomplete: `lab down --name {name}` removes it")),
    }
}

/// Ends the labs of tests that were killed. Returns those that could not be ended, with the reason.
fn end_abandoned() -> BTreeMap<String, Error> {
    let mut not_ended = BTreeMap::new();
    for name in state::labs() {
        let dir = state::dir(&name);
        let abandoned =
            |dir: &Path| State::read(dir).is_ok_and(|state| state.owner.is_some_and(|owner| !owner.lives()));
        if abandoned(&dir)
            && let Ok(_lock) = lock(&name)
            && abandoned(&dir)
            && let Err(error) = end(&name, &dir)
        {
            // Docker has been stopped, and the processes of its containers have ended with it.
            let is_ended = State::read(&dir).is_ok_and(|state| state.nodes_have_ended());
            if !is_ended || state::remove(&dir).is_err() {
                not_ended.insert(name, error);
            }
        }
    }
    not_ended
}

/// The nodes with resolved sources of their binds, so that a missing source is an error here.
fn with_sources(topology: &Topology) -> Result<BTreeMap<String, topology::NodeConfig>, Error> {
    let mut nodes = topology.nodes.clone();
    for (name, node) in &mut nodes {
        for bind in &mut node.binds {
            bind.source = bind.source.canonicalize().map_err(|_| {
                let (source, target) = (bind.source.display(), bind.target.display());
                Error::Missing(format!(
                    "{name}: {source} is missing, which is bound to {target} (`make build` builds it)"
                ))
            })?;
        }
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_see_processes_is_read_from_the_effective_capabilities() {
        for (status, want) in [
            ("Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n", true),
            ("CapEff:\t0000000000080000\n", true),
            ("CapPrm:\t0000000000080000\nCapEff:\t00000000a82435fb\n", false),
            ("CapEff:\tx\n", false),
            ("", false),
        ] {
            assert_eq!(sees_processes(status), want, "{status}");
        }
    }
}
