//! The state of the running labs: where other processes find it, and how a lab is removed.
//!
//! Touches files below `/run/announcer-lab` and `/proc`. A lab `NAME` is the folder `/run/announcer-lab/NAME` with `lab.json` and a
//! folder for each node; a node is running while the process `lab __init FOLDER NODE` exists.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs_core::FromRead;
use procfs_core::process::Stat;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::topology;

/// The folder of the labs.
pub const RUN: &str = "/run/announcer-lab";

/// The hidden subcommand that makes a node's namespaces.
pub const NODE: &str = "__node";
/// The hidden subcommand that is a node's first process.
pub const INIT: &str = "__init";

/// `lab.json`: the resolved options of `up`.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// The topology file, absolute.
    pub topology: PathBuf,
    /// The engine, with its data.
    pub made: EngineRecord,
    /// The process that has made it for its own use (a test). When this process no longer exists, the lab is abandoned. `None`: the
    /// lab stays.
    pub owner: Option<Process>,
    /// The first processes of the nodes; empty until all nodes run.
    #[serde(default)]
    pub first_processes: Vec<Process>,
    /// The nodes, their binds' sources absolute.
    pub nodes: BTreeMap<String, topology::NodeConfig>,
}

/// The engine, with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineRecord {
    /// This program.
    Netns {
        /// The root filesystem that all nodes share.
        rootfs: PathBuf,
        /// The folder of the project's programs, which is `/usr/local/bin` in every node, as in the image. `None`: they are part of
        /// the root filesystem, or not built.
        #[serde(default)]
        programs: Option<PathBuf>,
    },
    /// containerlab.
    Containerlab {
        /// Whether a node uses its management network.
        management: topology::Management,
        /// What stands before the lab's name in the names of the containers, if it is not `clab`.
        prefix: Option<String>,
        /// Whether the lab has the name that its file has. Only then `containerlab destroy` ends this lab: it reads the name from
        /// the file, so otherwise it would end another one.
        named_by_file: bool,
        /// The `lab` program that has started it, and that also starts `containerlab destroy`.
        program: PathBuf,
    },
}

/// A process, identified so that a later process with the same pid differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
}

impl Process {
    /// This process.
    pub fn myself() -> Option<Process> {
        Process::of(Pid::this())
    }

    /// The process that has this pid now; `None` if there is none.
    pub fn of(pid: Pid) -> Option<Process> {
        let pid = pid.as_raw();
        Some(Process { pid, started: stat(pid)?.starttime })
    }

    /// Whether it still runs.
    pub fn lives(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.starttime == self.started && !has_ended(&stat))
    }
}

impl State {
    /// Reads `lab.json` of a lab's folder.
    pub fn read(dir: &Path) -> io::Result<State> {
        serde_json::from_slice(&fs::read(dir.join("lab.json"))?).map_err(io::Error::other)
    }

    /// Whether all nodes have run, and the first process of each has ended.
    pub fn nodes_have_ended(&self) -> bool {
        !self.first_processes.is_empty() && !self.first_processes.iter().any(Process::lives)
    }

    /// Writes it completely or not at all.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join("lab.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
        fs::rename(new, dir.join("lab.json"))
    }
}

/// The folder of the lab called `name`.
pub fn dir(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

/// The names of all existing labs, running or not.
pub fn labs() -> Vec<String> {
    let Ok(entries) = fs::read_dir(RUN) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The pid of a node's init, if it runs.
pub fn init_of(dir: &Path, node: &str) -> Option<Pid> {
    inits(dir).remove(node)
}

/// The inits that run, by their node's name.
pub(crate) fn inits(dir: &Path) -> BTreeMap<String, Pid> {
    let inits = processes(dir).into_iter().filter(|process| process.role == INIT);
    inits.map(|process| (process.node, process.pid)).collect()
}

/// A process that keeps a node, or that is making one.
struct Keeper {
    pid: Pid,
    role: &'static str,
    node: String,
}

fn processes(dir: &Path) -> Vec<Keeper> {
    pids().filter_map(|pid| keeper(pid, dir)).collect()
}

fn keeper(pid: i32, dir: &Path) -> Option<Keeper> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).skip(1);
    let role = words.next()?;
    let role = [NODE, INIT].into_iter().find(|known| known.as_bytes() == role)?;
    if words.next()? != dir.as_os_str().as_bytes() {
        return None;
    }
    let node = String::from_utf8(words.next()?.to_vec()).ok()?;
    Some(Keeper { pid: Pid::from_raw(pid), role, node })
}

/// Every process's number.
pub(crate) fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat(pid: i32) -> Option<Stat> {
    Stat::from_file(format!("/proc/{pid}/stat")).ok()
}

fn has_ended(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X')
}

/// Kills every process that `find` finds, until it finds none, and waits for their ends. Returns whether there were any.
pub(crate) fn kill_all(find: impl Fn() -> Vec<Pid>) -> io::Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(15);
    let (mut dying, mut any) = (Vec::new(), false);
    loop {
        // This is repeated, because a process may have started another one just before it was killed.
        let found = find();
        for pid in &found {
            any = true;
            let _ = kill(*pid, Signal::SIGKILL);
            if !dying.contains(pid) {
                dying.push(*pid);
            }
        }
        dying.retain(|pid| stat(pid.as_raw()).is_some_and(|stat| !has_ended(&stat)));
        if found.is_empty() && dying.is_empty() {
            return Ok(any);
        }
        if Instant::now() > deadline {
            let pids: Vec<String> = dying.iter().map(Pid::to_string).collect();
            return Err(io::Error::other(format!("did not end when killed: process {}", pids.join(", "))));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Ends the nodes and removes the folder. The caller must hold the lock.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    kill_all(|| processes(dir).into_iter().map(|keeper| keeper.pid).collect())?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A file in memory that ends with its last handle.
pub(crate) fn nameless() -> Result<File, Error> {
    let open = File::options().read(true).write(true).custom_flags(OFlag::O_TMPFILE.bits()).open(RUN);
    open.map_err(|e| Error::of(RUN, e))
}

/// Everything that was written to it.
pub(crate) fn text_of(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The right to change one lab; released when this is dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

/// Why a lab cannot be changed now.
pub(crate) enum LockError {
    /// Another process is changing it; its pid, as it wrote it.
    Held(String),
    Io(io::Error),
}

impl Lock {
    pub(crate) fn take(name: &str) -> Result<Lock, LockError> {
        let path = Path::new(RUN).join(OsStr::new(&format!("{name}.lock")));
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            fs::create_dir_all(RUN).map_err(LockError::Io)?;
            let mut file =
                match File::options().read(true).write(true).create(true).truncate(false).open(&path) {
                    Ok(file) => file,
                    // The end of the last lab has just removed the folder.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(LockError::Io(error)),
                };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    let _ = file.read_to_string(&mut pid);
                    let holder = pid.trim().to_string();
                    // A process that was killed while it started another one leaves a copy of the lock until the exec of the other
                    // one.
                    let lives = !holder.is_empty() && Path::new("/proc").join(&holder).exists();
                    if lives || Instant::now() > deadline {
                        return Err(LockError::Held(holder));
                    }
                    thread::sleep(Duration::from_millis(2));
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
            // The previous holder may have removed it after we opened it.
            let ours = file.metadata().map_err(LockError::Io)?;
            if fs::metadata(&path).is_ok_and(|there| there.ino() == ours.ino()) {
                let written = file.set_len(0).and_then(|()| file.rewind());
                written.and_then(|()| writeln!(file, "{}", Pid::this())).map_err(LockError::Io)?;
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file is removed before it is closed and unlocked.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(RUN); // if this was the last lab
    }
}
