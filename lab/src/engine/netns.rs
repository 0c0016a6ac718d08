//! The engine without Docker: each node is a set of namespaces, which its init process keeps.
//!
//! Touches processes and netlink, through `init`, `link` and `rootfs`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::unistd::Pid;

use super::{Options, Site, nodes};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::init::READY;
use crate::node::Node;
use crate::state::{self, EngineRecord, NODE};
use crate::{link, rootfs};

/// Prepares the root filesystem of the nodes, and returns the record of this engine for the lab's state.
pub(super) fn ready(options: &Options, cancel: &Cancel) -> Result<EngineRecord, Error> {
    let cache = absolute(&options.cache)?;
    Ok(EngineRecord::Netns { rootfs: rootfs::ready(&options.images, &cache, cancel)? })
}

/// Makes the folder if it does not exist, and returns its absolute path.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(|e| Error::file(path, e))
}

/// The inits of the nodes that run, with their pids on the host, by the node's name. A node whose `cmd` has ended has none.
pub(super) fn running(dir: &Path) -> BTreeMap<String, Pid> {
    state::inits(dir)
}

/// Makes the nodes, then the links, then runs the `exec` commands of each node. The caller has written the lab's state, which the
/// nodes' processes read. After an error, the caller ends what was started.
pub(super) fn build(site: &Site<'_>, cancel: &Cancel) -> Result<BTreeMap<String, Node>, Error> {
    for name in site.topology.nodes.keys() {
        let place = site.dir.join(name);
        fs::create_dir(&place).map_err(|e| Error::file(&place, e))?;
    }
    // Start all nodes at once, then wait for each. The child makes the namespaces, starts the node's init in them and ends. The
    // init writes the line to the child's standard output: `READY`, or an error.
    let mut starting = Vec::new();
    for name in site.topology.nodes.keys() {
        let mut command = Command::new(site.program);
        command.arg(NODE).arg(site.dir).arg(name);
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
            "" => return Err(Error::Node(format!("{name}: ended before it was ready"))),
            message => return Err(Error::Node(format!("{name}: {message}"))),
        }
    }
    let nodes = nodes(site.name, site.state, site.program);
    let node = |name: &str| {
        nodes.get(name).ok_or_else(|| Error::Node(format!("{name}: its `cmd` has ended already")))
    };
    for name in site.topology.nodes.keys() {
        link::up(node(name)?.netns()?, "lo").map_err(|e| Error::of(format!("{name}: lo"), e))?;
    }
    for link in &site.topology.links {
        let [a, b] = &link.ends;
        let (here, there) = (node(&a.node)?.netns()?, node(&b.node)?.netns()?);
        link::connect(link, here, there).map_err(|e| {
            Error::of(format!("link {}:{} - {}:{}", a.node, a.interface, b.node, b.interface), e)
        })?;
    }
    // The commands of one node run in their order; the nodes do not wait for each other.
    thread::scope(|scope| {
        let running: Vec<_> = nodes
            .values()
            .filter_map(|node| Some((node, site.topology.nodes.get(node.name())?)))
            .map(|(node, written)| scope.spawn(move || node.run_all(&written.exec, cancel)))
            .collect();
        let results: Vec<Result<(), Error>> = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        results.into_iter().collect::<Result<(), Error>>()
    })?;
    Ok(nodes)
}
