//! The engine without Docker: each node is a set of namespaces, which its init process keeps.
//!
//! Touches processes and netlink, through `init`, `link` and `rootfs`. Each node has a thread that takes it through its stages:
//! `topology::Order` says which stages of other nodes have to be finished before one begins.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::{Options, Site};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::init::{PID, READY};
use crate::node::Node;
use crate::state::{self, EngineRecord, NODE};
use crate::topology::{Healthcheck, Link, Network, NodeConfig, Order, Stage, Step};
use crate::{link, rootfs};

/// How long a node may take until its health check succeeds.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// The pause after the first failed try of a health check. It grows to [`LONGEST_PAUSE`], so that a hundred nodes that wait do not
/// keep the machine busy.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How soon a thread that waits sees that the start was cancelled.
const CANCELLED_WITHIN: Duration = Duration::from_millis(20);

/// Prepares the root filesystem of the nodes, and returns the record of this engine for the lab's state.
pub(super) fn ready(options: &Options, cancel: &Cancel) -> Result<EngineRecord, Error> {
    let cache = absolute(&options.cache)?;
    let rootfs = rootfs::ready(&options.images, &cache, cancel)?;
    let programs = Some(cache.join("bin")).filter(|folder| folder.is_dir());
    Ok(EngineRecord::Netns { rootfs, programs })
}

/// Makes the folder if it does not exist, and returns its absolute path.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(|e| Error::file(path, e))
}

/// The inits of the nodes that run, with their pids on the host, by the node's name. A node whose `cmd` has ended has none.
pub(super) fn running(dir: &Path) -> BTreeMap<String, Pid> {
    state::inits(dir)
}

/// Makes the nodes and the links, runs the `exec` commands of each node, and waits for those whose health is waited for. The caller
/// has written the lab's state, which the nodes' processes read. After an error, the caller ends what was started.
pub(super) fn build(site: &Site<'_>, cancel: &Cancel) -> Result<BTreeMap<String, Node>, Error> {
    for name in site.topology.nodes.keys() {
        let place = site.dir.join(name);
        fs::create_dir(&place).map_err(|e| Error::file(&place, e))?;
    }
    let start = Start {
        site,
        cancel,
        order: site.topology.order(),
        links: site.topology.links.iter().map(|_| Mutex::default()).collect(),
        progress: Mutex::default(),
        changed: Condvar::new(),
    };
    let results: Vec<Result<(), Error>> = thread::scope(|scope| {
        let threads: Vec<_> = site
            .topology
            .nodes
            .iter()
            .map(|(name, written)| {
                let start = &start;
                scope.spawn(move || {
                    let result = start.node(name, written);
                    if result.is_err() {
                        start.give_up();
                    }
                    result
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    // A thread that gave up because of another one has the error `Interrupted`: the other one's error says more.
    let errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    let (others, own): (Vec<Error>, Vec<Error>) =
        errors.into_iter().partition(|error| matches!(error, Error::Interrupted));
    match own.into_iter().chain(others).next() {
        Some(error) => Err(error),
        None => Ok(start.progress.into_inner().unwrap_or_else(PoisonError::into_inner).nodes),
    }
}

/// A lab that is starting, as its nodes' threads share it.
struct Start<'a> {
    site: &'a Site<'a>,
    cancel: &'a Cancel,
    order: Order,
    /// How far each link is, in the order of the topology. The thread that holds the lock is making it.
    links: Vec<Mutex<Made>>,
    progress: Mutex<Progress>,
    /// Wakes those who wait for `progress`.
    changed: Condvar,
}

/// How far a link is.
#[derive(Default)]
enum Made {
    /// Neither end is there.
    #[default]
    No,
    /// The end of the node with this name is there; the other node did not exist yet.
    Half(String),
    /// Both ends are there.
    Whole,
}

#[derive(Default)]
struct Progress {
    finished: BTreeSet<Step>,
    nodes: BTreeMap<String, Node>,
    /// A node has failed, so the others end too.
    given_up: bool,
}

impl Start<'_> {
    /// Takes one node through its stages.
    fn node(&self, name: &str, written: &NodeConfig) -> Result<(), Error> {
        self.enter(name, Stage::Create)?;
        self.sleep(Duration::from_secs(written.startup_delay))?;
        let node = self.create(name, written)?;
        link::up(node.netns()?, "lo").map_err(|e| Error::of(format!("{name}: lo"), e))?;
        self.lock().nodes.insert(name.to_string(), node.clone());
        self.finish(name, Stage::Create);

        self.enter(name, Stage::CreateLinks)?;
        self.connect(name)?;
        self.finish(name, Stage::CreateLinks);

        self.enter(name, Stage::Configure)?;
        self.finish(name, Stage::Configure);
        node.run_all(&written.exec, self.cancel)?;

        self.enter(name, Stage::Healthy)?;
        if let Some(healthcheck) = &written.healthcheck
            && self.order.is_waited_for(&Step::new(name, Stage::Healthy))
        {
            self.wait_until_healthy(&node, healthcheck)?;
        }
        self.finish(name, Stage::Healthy);
        Ok(())
    }

    /// Starts the processes of a node. The child makes the namespaces, starts the node's init in them and ends. It writes the pid of
    /// the init to its standard output, and the init writes [`READY`] or an error.
    fn create(&self, name: &str, written: &NodeConfig) -> Result<Node, Error> {
        let mut command = Command::new(self.site.program);
        command.arg(NODE).arg(self.site.dir).arg(name);
        if let Network::Of(owner) = &written.network {
            command.arg(self.made(owner)?.pid().to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.cancel.spawn(&mut command).map_err(|e| Error::of(name, e))?;
        let (mut pid, mut said) = (None, None);
        if let Some(pipe) = child.stdout.take() {
            for line in BufReader::new(pipe).lines() {
                let line = line.map_err(|e| Error::of(name, e))?;
                match line.strip_prefix(PID) {
                    Some(number) => pid = number.parse().ok().map(Pid::from_raw),
                    None => said = Some(line),
                }
                if said.is_some() && (pid.is_some() || said.as_deref() != Some(READY)) {
                    break;
                }
            }
        }
        self.cancel.wait(&mut child).map_err(|e| Error::of(name, e))?;
        match (said.as_deref(), pid) {
            (Some(READY), Some(pid)) => Ok(Node::new(name, pid, self.site.program, written, None)),
            (Some(READY) | None, _) => Err(Error::Node(format!("{name}: ended before it was ready"))),
            (Some(message), _) => Err(Error::Node(format!("{name}: {message}"))),
        }
    }

    /// Makes the links of a node, as far as the other node's thread has not made them. Where the other node does not exist yet, it
    /// makes the own end, so that the node's commands find it.
    fn connect(&self, name: &str) -> Result<(), Error> {
        for (number, (link, made)) in self.site.topology.links.iter().zip(&self.links).enumerate() {
            let (own, other) = match &link.ends {
                [a, b] if a.node == name => (a, b),
                [a, b] if b.node == name => (b, a),
                _ => continue,
            };
            let parked = format!("parked{number}");
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            let here = self.made(name)?.netns()?;
            let result = match (&*made, self.made(&other.node)) {
                (Made::Whole, _) => continue,
                (Made::Half(first), _) if first == name => continue,
                (Made::Half(_), there) => link::complete(own, &parked, there?.netns()?, here),
                (Made::No, Ok(there)) if own == &link.ends[0] => link::connect(link, here, there.netns()?),
                (Made::No, Ok(there)) => link::connect(link, there.netns()?, here),
                (Made::No, Err(_)) => {
                    link::half(link, own, &parked, here).map_err(|e| self.at(link, e))?;
                    *made = Made::Half(name.to_string());
                    continue;
                }
            };
            result.map_err(|e| self.at(link, e))?;
            *made = Made::Whole;
        }
        Ok(())
    }

    fn at(&self, link: &Link, error: std::io::Error) -> Error {
        let [a, b] = &link.ends;
        Error::of(format!("link {}:{} - {}:{}", a.node, a.interface, b.node, b.interface), error)
    }

    fn wait_until_healthy(&self, node: &Node, healthcheck: &Healthcheck) -> Result<(), Error> {
        let limit = ["timeout".to_string(), healthcheck.timeout.to_string()];
        let words: Vec<&String> = limit.iter().chain(&healthcheck.test).collect();
        let deadline = Instant::now() + HEALTHY_WITHIN;
        let mut pause = FIRST_PAUSE;
        loop {
            let output = node.run(&words, self.cancel)?;
            if output.code == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                let test = healthcheck.test.join(" ");
                let said = (output.stdout + &output.stderr)
                    .lines()
                    .map(|line| format!("\n  {line}"))
                    .collect::<String>();
                return Err(Error::Node(format!(
                    "{}: not healthy after {} s: `{test}` fails with exit code {}{said}",
                    node.name(),
                    HEALTHY_WITHIN.as_secs(),
                    output.code
                )));
            }
            self.sleep(pause)?;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until every step is finished that has to be before this one begins.
    fn enter(&self, name: &str, stage: Stage) -> Result<(), Error> {
        let step = Step::new(name, stage);
        let mut progress = self.lock();
        loop {
            if progress.given_up || self.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if self.order.before(&step).all(|before| progress.finished.contains(before)) {
                return Ok(());
            }
            progress = self.woken(progress, CANCELLED_WITHIN);
        }
    }

    fn finish(&self, name: &str, stage: Stage) {
        self.lock().finished.insert(Step::new(name, stage));
        self.changed.notify_all();
    }

    fn give_up(&self) {
        self.lock().given_up = true;
        self.changed.notify_all();
    }

    fn sleep(&self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        let mut progress = self.lock();
        loop {
            if progress.given_up || self.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Ok(());
            };
            progress = self.woken(progress, left.min(CANCELLED_WITHIN));
        }
    }

    /// A node that was made.
    fn made(&self, name: &str) -> Result<Node, Error> {
        let made = self.lock().nodes.get(name).cloned();
        made.ok_or_else(|| Error::Node(format!("{name}: its `cmd` has ended already")))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn woken<'g>(&self, guard: MutexGuard<'g, Progress>, within: Duration) -> MutexGuard<'g, Progress> {
        self.changed.wait_timeout(guard, within).unwrap_or_else(PoisonError::into_inner).0
    }
}
