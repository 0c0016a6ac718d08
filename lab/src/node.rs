//! A node of a running lab: commands, files and sockets inside it, and its end.
//!
//! Touches processes, namespaces and `/proc`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cancel::Cancel;
use crate::engine::containerlab;
use crate::enter::{self, ENTER, environment};
use crate::error::Error;
use crate::link;
use crate::topology::Network;
use crate::{state, topology};

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    pid: Pid,
    program: PathBuf,
    env: BTreeMap<String, String>,
    /// The name of its container, if it is one; then Docker runs the commands.
    container: Option<String>,
    network: Network,
}

/// The ways to cut a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The neighbour loses carrier. The node's own routes over the interface are removed too, so cut at the less important end.
    Carrier,
    /// No packets pass in either direction, and neither end notices it.
    Silent,
}

/// The result of a command in a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; 128 and the signal's number, if one ended it.
    pub code: u8,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Node {
    pub(crate) fn new(
        name: &str,
        pid: Pid,
        program: &Path,
        written: &topology::NodeConfig,
        container: Option<String>,
    ) -> Node {
        let (name, program) = (name.to_string(), program.to_path_buf());
        Node { name, pid, program, env: environment(written), container, network: written.network.clone() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pid of its first process on the host.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The path of its root folder on the host: files can be read and written there without entering the node.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// Its network namespace, for `nix::sched::setns` on a thread.
    pub fn netns(&self) -> Result<OwnedFd, Error> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.pid));
        File::open(&path).map(OwnedFd::from).map_err(|e| Error::file(&path, e))
    }

    /// Runs `work` on a separate thread inside the network namespace: its sockets belong to the node.
    pub fn in_netns<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        link::inside(self.netns()?.as_fd(), work).map_err(|e| Error::of(&self.name, e))
    }

    /// A command that runs inside, in every namespace, with root's environment, in `/`. Its exit code is passed on.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        match &self.container {
            None => self.entering(words),
            Some(container) => containerlab::exec(container, &self.env, &["--interactive"], words),
        }
    }

    /// As [`Node::command`], for a person at a terminal.
    pub fn at_terminal<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        match &self.container {
            None => self.entering(words),
            Some(container) => containerlab::exec(container, &self.env, &["--interactive", "--tty"], words),
        }
    }

    /// Uses the node's namespaces, and not the engine: the command dies with the started process.
    fn entering<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(ENTER).arg(self.pid.to_string()).args(words).env_clear().envs(&self.env);
        command
    }

    /// Starts a command inside that dies with the returned child, with both engines; a command that Docker starts would continue.
    /// Its standard input is empty, its output is read from the child's pipes. In a container it has the rights of the host's root,
    /// so use it only for observers.
    pub fn spawn<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Child, Error> {
        let mut command = self.entering(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0); // an interrupt at the terminal is handled by its parent, which ends it with the node
        command.spawn().map_err(|e| Error::of(&self.name, e))
    }

    /// Runs a command inside, and waits for it, but not for its background processes.
    pub fn exec<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Output, Error> {
        self.run(words, &Cancel::new())
    }

    /// As `exec`, and any exit code but 0 is an error. Returns the standard output.
    pub fn must<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<String, Error> {
        let output = self.exec(words)?;
        if output.code == 0 { Ok(output.stdout) } else { Err(self.failed(words, output)) }
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: &[S], cancel: &Cancel) -> Result<Output, Error> {
        // The output goes to files and not to pipes, because a daemon that keeps its output open would block us.
        let (stdout, stderr) = (state::nameless()?, state::nameless()?);
        let copy = |file: &File| file.try_clone().map_err(|e| Error::of(&self.name, e));
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(copy(&stdout)?).stderr(copy(&stderr)?);
        command.process_group(0); // as in `spawn`
        let ended = cancel.spawn(&mut command).and_then(|mut child| cancel.wait(&mut child));
        let status = ended.map_err(|e| Error::of(&self.name, e))?;
        let text = |file: File| state::text_of(file).map_err(|e| Error::of(&self.name, e));
        Ok(Output { code: enter::code(status), stdout: text(stdout)?, stderr: text(stderr)? })
    }

    pub(crate) fn run_all(&self, commands: &[Vec<String>], cancel: &Cancel) -> Result<(), Error> {
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

    /// The pids on the host of all processes of the node; none if it has ended.
    pub fn processes(&self) -> Vec<Pid> {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = namespace(self.pid.as_raw()) else { return Vec::new() };
        state::pids().filter(|pid| namespace(*pid).as_ref() == Some(&own)).map(Pid::from_raw).collect()
    }

    /// The pids on the host of the node's processes with this name (at most 15 octets of it count).
    pub fn pids_of(&self, name: &str) -> Vec<Pid> {
        let named = |pid: &Pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        self.processes().into_iter().filter(named).collect()
    }

    /// The pids on the host of the node's announcer daemons: the other processes of this name are clients, such as its health check.
    pub fn daemons(&self) -> Vec<Pid> {
        let runs = |pid: &Pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| words.split(|octet| *octet == 0).nth(1) == Some(b"run"))
        };
        self.pids_of("announcer").into_iter().filter(runs).collect()
    }

    /// Sends a signal to the node's announcer daemon.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn signal_daemon(&self, signal: Signal) -> Result<(), Error> {
        match self.daemons().as_slice() {
            [daemon] => {
                kill(*daemon, signal).map_err(|e| Error::of(format!("{}: announcer", self.name), e.into()))
            }
            daemons => Err(Error::Node(format!("{}: {} daemons of announcer run", self.name, daemons.len()))),
        }
    }

    /// Sends a signal to every process with that name in the node; returns their number.
    pub fn kill(&self, name: &str, signal: Signal) -> usize {
        self.pids_of(name).into_iter().filter(|pid| kill(*pid, signal).is_ok()).count()
    }

    /// Ends the whole node at once, like a power cut: its neighbours lose carrier, and its processes end. A little later, its
    /// interfaces disappear, with the other ends of its links.
    pub fn power_off(&self) -> Result<(), Error> {
        match self.network {
            // The carrier is removed first, because the kernel removes the interfaces only about 100 ms later.
            Network::Own => link::all_down(self.netns()?).map_err(|e| Error::of(&self.name, e))?,
            Network::Of(_) => {} // the network stays with its owner
        }
        kill(self.pid, Signal::SIGKILL).map_err(|e| Error::of(&self.name, e.into()))
    }

    /// Cuts the link at one of the node's interfaces.
    pub fn cut(&self, interface: &str, how: Cut) -> Result<(), Error> {
        match how {
            Cut::Carrier => link::down(self.netns()?, interface).map_err(|e| self.at(interface, e)),
            Cut::Silent => {
                let hook = |hook: &str| {
                    format!(
                        "chain {hook} {{ type filter hook {hook} device \"{interface}\" priority 0; policy drop; }}"
                    )
                };
                let rules = format!(
                    "table netdev {} {{ {}; {}; }}",
                    table(interface),
                    hook("ingress"),
                    hook("egress")
                );
                self.must(&["nft", &rules]).map(drop)
            }
        }
    }

    /// Restores the link after any cut.
    pub fn mend(&self, interface: &str) -> Result<(), Error> {
        let table = table(interface);
        // The table is added first, so that it exists when it is deleted.
        self.must(&["nft", &format!("add table netdev {table}; delete table netdev {table}")])?;
        link::up(self.netns()?, interface).map_err(|e| self.at(interface, e))
    }

    fn at(&self, interface: &str, error: std::io::Error) -> Error {
        Error::of(format!("{}: {interface}", self.name), error)
    }
}

/// The nftables table that silences an interface.
fn table(interface: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("cut_{}", interface.chars().map(plain).collect::<String>())
}
