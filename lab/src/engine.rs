//! A lab that is up, and its nodes.
//!
//! Touches the world through `init`, `enter`, `link`, `rootfs` and `state`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::unistd::Uid;

use crate::cancel::Cancel;
use crate::error::Error;
use crate::init::READY;
use crate::node::Node;
use crate::state::{self, Lock, LockError, NODE, Owner, State};
use crate::topology::{self, Topology};
use crate::{link, rootfs};

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The topology file.
    pub topology: PathBuf,
    /// The lab's name, where it shall not be the file's: two labs of one file can be up side by side.
    pub name: Option<String>,
    /// The `lab` program, whose hidden subcommands make the nodes.
    pub program: PathBuf,
    /// The folder of the list of packages that the nodes' root filesystem is made of.
    pub images: PathBuf,
    /// Where that filesystem is kept.
    pub cache: PathBuf,
    /// Whose the lab is: one that is abandoned (its process is gone) is ended by the next `up`. `None`: it stays.
    pub owner: Option<Owner>,
}

impl Options {
    /// For a test: the lab is this process's. Beside the topology file lie `images` and `../target/lab`, which holds the
    /// root filesystem and `bin/lab`; LAB_IMAGES, LAB_CACHE and LAB_PROGRAM name other places.
    pub fn new(topology: &Path) -> Options {
        let folder = topology.parent().unwrap_or(Path::new(""));
        let target = folder.join("../target/lab");
        let or = |variable: &str, default: PathBuf| std::env::var_os(variable).map_or(default, PathBuf::from);
        Options {
            topology: topology.to_path_buf(),
            name: None,
            program: or("LAB_PROGRAM", target.join("bin/lab")),
            images: or("LAB_IMAGES", folder.join("images")),
            cache: or("LAB_CACHE", target),
            owner: Owner::myself(),
        }
    }
}

/// A lab that is up. Dropped, it is ended, unless it was [attached](Lab::attach) to or [left](Lab::leave).
#[derive(Debug)]
pub struct Lab {
    name: String,
    dir: PathBuf,
    nodes: BTreeMap<String, Node>,
    at_drop: AtDrop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtDrop {
    End,
    Leave,
}

impl Lab {
    /// Brings a topology up, for this process: see [`Options::new`].
    pub fn up(topology: &Path) -> Result<Lab, Error> {
        Lab::start(&Options::new(topology), &Cancel::new())
    }

    /// Brings a topology up. Whatever fails, and when `cancel` is called: nothing is left.
    pub fn start(options: &Options, cancel: &Cancel) -> Result<Lab, Error> {
        must_be_root()?;
        let file = options.topology.canonicalize().map_err(|e| Error::file(&options.topology, e))?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let text = fs::read_to_string(&file).map_err(|e| Error::file(&file, e))?;
        let topology = topology::parse(&text, &options.topology.display().to_string())?.based(folder);
        let name = match &options.name {
            Some(name) if topology::is_name(name) => name.clone(),
            Some(name) => {
                return Err(Error::Missing(format!(
                    "`{name}` is no lab name: write letters, digits, `-`, `.` and `_`"
                )));
            }
            None => topology.name.clone(),
        };
        let program = options.program.canonicalize().map_err(|e| Error::file(&options.program, e))?;
        end_abandoned();

        let _lock = lock(&name)?;
        let dir = state::dir(&name);
        if dir.exists() {
            return Err(already_up(name, &dir));
        }
        let rootfs = rootfs::ready(&options.images, &absolute(&options.cache)?, cancel)?;
        let state =
            State { topology: file, rootfs, owner: options.owner.clone(), nodes: with_sources(&topology)? };
        // From here on, whatever happens, dropping it ends what has been begun; before `_lock` is given back.
        let mut lab = Lab { name, dir, nodes: BTreeMap::new(), at_drop: AtDrop::End };
        fs::create_dir(&lab.dir).map_err(|e| Error::file(&lab.dir, e))?;
        state.write(&lab.dir).map_err(|e| Error::file(&lab.dir, e))?;
        let built = lab.build(&topology, &state, &program, cancel);
        if let Err(error) = built {
            let interrupted = cancel.is_cancelled();
            lab.end_now()?;
            return Err(if interrupted { Error::Interrupted } else { error });
        }
        Ok(lab)
    }

    fn build(
        &mut self,
        topology: &Topology,
        state: &State,
        program: &Path,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        for name in topology.nodes.keys() {
            let place = self.dir.join(name);
            fs::create_dir(&place).map_err(|e| Error::file(&place, e))?;
        }
        // All at once, then wait for each.
        let mut starting = Vec::new();
        for name in topology.nodes.keys() {
            let mut command = Command::new(program);
            command.arg(NODE).arg(&self.dir).arg(name);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
            starting.push((name, cancel.spawn(&mut command).map_err(|e| Error::of(name, e))?));
        }
        for (name, mut child) in starting {
            let mut line = String::new();
            if let Some(pipe) = child.stdout.take() {
                BufReader::new(pipe).read_line(&mut line).map_err(|e| Error::of(name, e))?;
            }
            cancel.wait(&mut child).map_err(|e| Error::of(name, e))?;
            match line.trim_end() {
                READY => {}
                "" => return Err(Error::Node(format!("{name}: ended before it was there"))),
                message => return Err(Error::Node(format!("{name}: {message}"))),
            }
            let node = Node::find(&self.name, &self.dir, name, state, program)?;
            self.nodes.insert(name.clone(), node);
        }
        for node in self.nodes.values() {
            link::up(node.netns()?, "lo").map_err(|e| Error::of(format!("{}: lo", node.name()), e))?;
        }
        for link in &topology.links {
            let [a, b] = &link.ends;
            let (here, there) = (self.node(&a.node)?.netns()?, self.node(&b.node)?.netns()?);
            link::connect(link, here, there).map_err(|e| {
                Error::of(format!("link {}:{} - {}:{}", a.node, a.interface, b.node, b.interface), e)
            })?;
        }
        // One node's commands are run in their order; the nodes do not wait for one another.
        thread::scope(|scope| {
            let running: Vec<_> = self
                .nodes
                .values()
                .filter_map(|node| Some((node, topology.nodes.get(node.name())?)))
                .map(|(node, written)| scope.spawn(move || node.run_all(&written.exec, cancel)))
                .collect();
            let results: Vec<Result<(), Error>> = running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            results.into_iter().collect()
        })
    }

    /// A lab that is up already, started by whomever. Dropping this does not end it.
    pub fn attach(name: &str, program: &Path) -> Result<Lab, Error> {
        let dir = state::dir(name);
        let state = State::read(&dir).map_err(|_| Error::NotUp(name.to_string()))?;
        let found = state.nodes.keys().filter_map(|node| Node::find(name, &dir, node, &state, program).ok());
        let nodes = found.map(|node| (node.name().to_string(), node)).collect();
        Ok(Lab { name: name.to_string(), dir, nodes, at_drop: AtDrop::Leave })
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
        self.at_drop = AtDrop::Leave;
    }

    /// Ends it: every process, mount, interface and file of it is gone.
    pub fn down(mut self) -> Result<(), Error> {
        let _lock = lock(&self.name)?;
        self.end_now()
    }

    fn end_now(&mut self) -> Result<(), Error> {
        self.at_drop = AtDrop::Leave;
        state::remove(&self.dir).map_err(|e| Error::file(&self.dir, e))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        match self.at_drop {
            AtDrop::Leave => {}
            AtDrop::End => {
                if let Err(error) = self.end_now() {
                    eprintln!("lab: {error}");
                }
            }
        }
    }
}

/// Ends the lab called `name`, whoever started it and whatever became of that process.
pub fn down(name: &str) -> Result<(), Error> {
    must_be_root()?;
    let dir = state::dir(name);
    let _lock = lock(name)?; // first: an `up` that was killed may have left no more than this
    if !dir.exists() {
        return Err(Error::NotUp(name.to_string()));
    }
    state::remove(&dir).map_err(|e| Error::file(&dir, e))
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
        Err(_) => {
            Error::Missing(format!("lab `{name}` was left half made: `lab down --name {name}` removes it"))
        }
    }
}

/// Ends the labs of tests that were killed.
fn end_abandoned() {
    for name in state::labs() {
        let dir = state::dir(&name);
        let abandoned =
            |dir: &Path| State::read(dir).is_ok_and(|state| state.owner.is_some_and(|owner| !owner.lives()));
        if abandoned(&dir)
            && let Ok(_lock) = lock(&name)
            && abandoned(&dir)
        {
            let _ = state::remove(&dir);
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(|e| Error::file(path, e))
}

/// The nodes, their binds' sources resolved, so that a missing one is told here.
fn with_sources(topology: &Topology) -> Result<BTreeMap<String, topology::Node>, Error> {
    let mut nodes = topology.nodes.clone();
    for (name, node) in &mut nodes {
        for bind in &mut node.binds {
            bind.source = bind.source.canonicalize().map_err(|_| {
                let (source, target) = (bind.source.display(), bind.target.display());
                Error::Missing(format!(
                    "{name}: {source} is missing, which is bound to {target} (built by `make build`?)"
                ))
            })?;
        }
    }
    Ok(nodes)
}
