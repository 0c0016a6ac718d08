//! A lab that is up, and its nodes.
//!
//! Touches the world through `init`, `enter`, `link`, `rootfs` and `state`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::cancel::Cancel;
use crate::enter::{self, ENTER, environment};
use crate::init::READY;
use crate::state::{self, Lock, LockError, NODE, Owner, State};
use crate::topology::{self, Topology};
use crate::{link, rootfs};

/// Why something could not be done. Printed as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topology file is wrong.
    #[error(transparent)]
    Topology(#[from] topology::Error),
    /// Namespaces are root's.
    #[error("network namespaces need root: run it with sudo")]
    NotRoot,
    /// Something that must be there before is not; the message says what, and how to get it.
    #[error("{0}")]
    Missing(String),
    /// A file, a folder or a system call.
    #[error("{what}: {error}")]
    Io {
        /// What it was about.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another process is at it.
    #[error("lab `{name}` is being started or stopped by process {pid}: wait for that, or end it")]
    Busy {
        /// The lab.
        name: String,
        /// The process.
        pid: String,
    },
    /// There is one of this name.
    #[error(
        "lab `{name}` is up already (from {topology}): `lab down --name {name}` ends it, `--name OTHER` makes a second one"
    )]
    AlreadyUp {
        /// The lab.
        name: String,
        /// Its file.
        topology: String,
    },
    /// There is none of this name.
    #[error("lab `{0}` is not up: `lab up` starts it")]
    NotUp(String),
    /// No such node, or it has ended.
    #[error("{0}")]
    Node(String),
    /// A command of `exec` failed.
    #[error("{node}: `{command}` failed with exit code {code}{}", indented(.output))]
    Exec {
        /// Where.
        node: String,
        /// What.
        command: String,
        /// How.
        code: u8,
        /// All that it printed.
        output: String,
    },
    /// Interrupted, and rolled back.
    #[error("interrupted")]
    Interrupted,
}

fn indented(output: &str) -> String {
    output.lines().map(|line| format!("\n  {line}")).collect()
}

impl Error {
    pub(crate) fn file(path: &Path, source: io::Error) -> Error {
        Error::of(path.display(), source)
    }

    fn of(what: impl std::fmt::Display, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return Error::Interrupted;
        }
        Error::Io { what: what.to_string(), error }
    }
}

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The topology file. Beside it lies the folder `images`, from which the nodes' root is made.
    pub topology: PathBuf,
    /// The lab's name, where it shall not be the file's: two labs of one file can be up side by side.
    pub name: Option<String>,
    /// The `lab` program, whose hidden subcommands make the nodes.
    pub program: PathBuf,
    /// Where the root filesystem is kept.
    pub cache: PathBuf,
    /// Whose the lab is: one that is abandoned (its process is gone) is ended by the next `up`. `None`: it stays.
    pub owner: Option<Owner>,
}

impl Options {
    /// For a test: the lab ends with this process, the program is `target/lab/bin/lab` unless `LAB_PROGRAM` says otherwise,
    /// and so is `LAB_CACHE` for the folder of the root filesystem (`target/lab`).
    pub fn new(topology: &Path) -> Options {
        let target = topology.parent().unwrap_or(Path::new(".")).join("../target/lab");
        let or = |variable: &str, default: PathBuf| std::env::var_os(variable).map_or(default, PathBuf::from);
        Options {
            topology: topology.to_path_buf(),
            name: None,
            program: or("LAB_PROGRAM", target.join("bin/lab")),
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

/// One node of it.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    pid: Pid,
    program: PathBuf,
    env: BTreeMap<String, String>,
}

/// What a command in a node did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and the signal's number, if one ended it.
    pub code: u8,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
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
        let rootfs = rootfs::ready(&folder.join("images"), &absolute(&options.cache)?, cancel)?;
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
            link::up(node.netns()?, "lo").map_err(|e| Error::of(format!("{}: lo", node.name), e))?;
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
                .filter_map(|node| Some((node, topology.nodes.get(&node.name)?)))
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
        let nodes = found.map(|node| (node.name.clone(), node)).collect();
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
    if !dir.exists() {
        return Err(Error::NotUp(name.to_string()));
    }
    let _lock = lock(name)?;
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

impl Node {
    fn find(lab: &str, dir: &Path, name: &str, state: &State, program: &Path) -> Result<Node, Error> {
        let written =
            state.nodes.get(name).ok_or_else(|| Error::Node(format!("lab `{lab}` has no node `{name}`")))?;
        let pid = state::init_of(dir, name).ok_or_else(|| {
            Error::Node(format!("node `{name}` of lab `{lab}` has ended: its `cmd` did, or it was killed"))
        })?;
        Ok(Node { name: name.to_string(), pid, program: program.to_path_buf(), env: environment(written) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pid of its first process, as the host sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its root folder, as the host sees it: files can be read and written there without entering.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// Its network namespace, for `nix::sched::setns` on a thread.
    pub fn netns(&self) -> Result<OwnedFd, Error> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.pid));
        File::open(&path).map(OwnedFd::from).map_err(|e| Error::file(&path, e))
    }

    /// Runs `work` on a thread of its own inside the network namespace: sockets that it opens are the node's.
    pub fn in_netns<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        link::inside(self.netns()?.as_fd(), work).map_err(|e| Error::of(&self.name, e))
    }

    /// A command that runs inside, in every namespace, root's environment and `/`. It dies with the process that `spawn`
    /// returns, which passes its exit code on.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(ENTER).arg(self.pid.to_string()).args(words).env_clear().envs(&self.env);
        command
    }

    /// Starts a command inside; see [`Node::command`]. Its standard input is empty, its output is read from the child's pipes.
    pub fn spawn<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Child, Error> {
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0); // an interrupt at the terminal is for its starter, who ends it with the node
        command.spawn().map_err(|e| Error::of(&self.name, e))
    }

    /// Runs a command inside, and waits for it (not for what it leaves in the background).
    pub fn exec<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Output, Error> {
        self.run(words, &Cancel::new())
    }

    /// As `exec`, and any exit code but 0 is an error. Returns the standard output.
    pub fn must<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<String, Error> {
        let output = self.exec(words)?;
        if output.code == 0 { Ok(output.stdout) } else { Err(self.failed(words, output)) }
    }

    fn run<S: AsRef<OsStr>>(&self, words: &[S], cancel: &Cancel) -> Result<Output, Error> {
        // Files and not pipes: a daemon that keeps its output open would keep us waiting.
        let (mut stdout, mut stderr) = (nameless()?, nameless()?);
        let copy = |file: &File| file.try_clone().map_err(|e| Error::of(&self.name, e));
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(copy(&stdout)?).stderr(copy(&stderr)?);
        command.process_group(0); // as in `spawn`
        let ended = cancel.spawn(&mut command).and_then(|mut child| cancel.wait(&mut child));
        let status = ended.map_err(|e| Error::of(&self.name, e))?;
        let text = |file: &mut File| -> Result<String, Error> {
            let mut bytes = Vec::new();
            file.rewind()
                .and_then(|()| file.read_to_end(&mut bytes))
                .map_err(|e| Error::of(&self.name, e))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Output { code: enter::code(status), stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
    }

    fn run_all(&self, commands: &[Vec<String>], cancel: &Cancel) -> Result<(), Error> {
        for words in commands {
            let output = self.run(words, cancel)?;
            if output.code != 0 {
                return Err(self.failed(words, output));
            }
        }
        Ok(())
    }

    fn failed<S: AsRef<OsStr>>(&self, words: &[S], output: Output) -> Error {
        let words: Vec<OsString> = words.iter().map(|word| word.as_ref().to_os_string()).collect();
        Error::Exec {
            node: self.name.clone(),
            command: words.join(OsStr::new(" ")).to_string_lossy().into_owned(),
            code: output.code,
            output: output.stdout + &output.stderr,
        }
    }

    /// The pids, as the host sees them, of the node's processes that have this name (at most 15 octets of it count).
    pub fn pids_of(&self, name: &str) -> Vec<Pid> {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = namespace(self.pid.as_raw()) else { return Vec::new() };
        let named = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        state::pids()
            .filter(named)
            .filter(|pid| namespace(*pid).as_ref() == Some(&own))
            .map(Pid::from_raw)
            .collect()
    }

    /// Sends a signal to every process of that name in the node, and says to how many.
    pub fn kill(&self, name: &str, signal: Signal) -> usize {
        self.pids_of(name).into_iter().filter(|pid| kill(*pid, signal).is_ok()).count()
    }

    /// Ends the whole node at once, as a power cut does: its processes, its interfaces, and so its neighbours' carrier.
    pub fn power_off(&self) -> Result<(), Error> {
        kill(self.pid, Signal::SIGKILL).map_err(|e| Error::of(&self.name, e.into()))
    }
}

/// A file in memory that ends with its last handle.
fn nameless() -> Result<File, Error> {
    let open = File::options().read(true).write(true).custom_flags(OFlag::O_TMPFILE.bits()).open(state::RUN);
    open.map_err(|e| Error::of(state::RUN, e))
}
