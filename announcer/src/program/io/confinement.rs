//! Makes the ruleset that confines a program, from the files on the disk at the start of the program.
//!
//! Touches the parent directories of protected paths. [`confine`] decides what is allowed. Every function blocks, except
//! [`Confinement::open_remote`].

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::unistd::Uid;
use tokio::sync::watch;

use super::landlock;
use crate::config::sources::folder_of;
use crate::config::{CheckConfig, Config, ProbeConfig};
use crate::files::io::Files;
use crate::program::confine::{self, Abi, EntryKind, ProtectedPaths, Rights, Rule, Support};

#[cfg(test)]
mod tests;

/// How long the start of a program waits for a file system of another host. After that, the program cannot use it.
const REMOTE_LIMIT: Duration = Duration::from_millis(100);

/// If less time than this has passed, a directory may have changed without a new modification time. Some file systems store whole
/// seconds.
const CLOCK_TICK: Duration = Duration::from_secs(2);

/// The daemon's files that are protected against its programs.
#[derive(Debug, Clone)]
pub struct DaemonFiles {
    /// The state directory.
    pub state_dir: PathBuf,
    /// The control socket; its directory belongs to the daemon.
    pub socket: PathBuf,
    /// The configuration's main file; the folder `conf.d` beside it is protected too.
    pub config: PathBuf,
}

/// Makes the rulesets of programs.
#[derive(Debug)]
pub(super) struct Confinement {
    files: Files,
    kept_from: Option<(DaemonFiles, watch::Receiver<Arc<Config>>)>,
    pub(super) support: Support,
    /// The ruleset of the last run.
    cached: Mutex<Option<CachedRuleset>>,
}

impl Confinement {
    /// `kept_from`: the daemon's files, and the configurations whose keys are protected; none: nothing is forbidden.
    pub(super) fn new(files: Files, kept_from: Option<(DaemonFiles, watch::Receiver<Arc<Config>>)>) -> Self {
        let support = match landlock::abi() {
            Ok(abi) => Support::Landlock(abi),
            Err(error) => Support::Missing(errno(&error)),
        };
        Confinement { files, kept_from, support, cached: Mutex::new(None) }
    }

    /// The warning if programs of the configuration cannot be confined.
    pub(super) fn warning(&self) -> Option<String> {
        let (_, configs) = self.kept_from.as_ref()?;
        let config = configs.borrow().clone();
        let is_program = |check: &CheckConfig| matches!(check.probe, ProbeConfig::Exec(_));
        let has_programs = config.all_hooks().next().is_some()
            || config.services.iter().any(|service| service.checks.iter().any(is_program));
        self.support.warning().filter(|_| has_programs && !Uid::effective().is_root())
    }

    /// Opens the paths on file systems of other hosts, all at once. A path that does not answer is left out.
    pub(super) async fn open_remote(&self, rules: Vec<Rule>) -> Vec<(OwnedFd, Rights)> {
        let hanging = self.files.hanging().borrow().clone();
        let rules = rules.into_iter().filter(|rule| !hanging.contains_key(&rule.path));
        let opened = rules.map(|Rule { path, rights }| {
            let files = self.files.clone();
            async move {
                let opened = files.run_within(&path, REMOTE_LIMIT, open).await;
                opened.ok().map(|fd| (fd, rights))
            }
        });
        futures_util::future::join_all(opened).await.into_iter().flatten().collect()
    }

    /// The ruleset for programs with the daemon's own user; none if they are not confined.
    ///
    /// A daemon that runs as root does not confine the programs that run as root, because root has other ways.
    pub(super) fn ruleset(&self) -> io::Result<Option<PendingRuleset>> {
        let (Some((daemon, configs)), Support::Landlock(abi)) = (&self.kept_from, self.support) else {
            return Ok(None);
        };
        if Uid::effective().is_root() {
            return Ok(None);
        }
        let keys = configs.borrow().key_files().map(Path::to_path_buf).collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut remote = confine::remote_mounts(&mounts);
        remote.remove(Path::new("/")); // if this file system hangs, everything hangs
        let is_remote = |path: &Path| remote.iter().any(|mount| path.starts_with(mount));
        let protected = protected(daemon, keys, &is_remote);
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.as_ref().filter(|cached| cached.holds(&mounts, &protected)) {
            return Ok(Some(PendingRuleset { ruleset: cached.ruleset.clone(), rules: Vec::new() }));
        }
        *cached = None;
        let now = SystemTime::now();
        let mut listed = Vec::new();
        let waiting = ruleset(abi, &protected, &is_remote, &mut listed)?;
        if waiting.rules.is_empty() && listed.iter().all(|(_, stamp)| stamp.is_some_and(|s| s.is_older(now)))
        {
            *cached = Some(CachedRuleset { mounts, protected, listed, ruleset: waiting.ruleset.clone() });
        }
        Ok(Some(waiting))
    }
}

/// A ruleset, and the rules that wait for file systems of other hosts.
pub(super) struct PendingRuleset {
    pub(super) ruleset: Arc<OwnedFd>,
    pub(super) rules: Vec<Rule>,
}

/// A ruleset, and the data from which it was made. It is valid as long as these data stay the same.
#[derive(Debug)]
struct CachedRuleset {
    mounts: String,
    protected: ProtectedPaths,
    /// The directories whose entries have one rule each.
    listed: Vec<(PathBuf, Option<DirectoryStamp>)>,
    ruleset: Arc<OwnedFd>,
}

impl CachedRuleset {
    fn holds(&self, mounts: &str, protected: &ProtectedPaths) -> bool {
        self.mounts == mounts
            && self.protected == *protected
            && self.listed.iter().all(|(path, stamp)| *stamp == DirectoryStamp::of(path))
    }
}

/// A value that changes when an entry of a directory is added, removed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DirectoryStamp {
    /// Device and inode.
    identity: (u64, u64),
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl DirectoryStamp {
    fn of(path: &Path) -> Option<DirectoryStamp> {
        let facts = fs::symlink_metadata(path).ok()?;
        Some(DirectoryStamp {
            identity: (facts.dev(), facts.ino()),
            changed: (facts.ctime(), facts.ctime_nsec()),
        })
    }

    /// Whether the next change must have another time: the kernel's clock for it ticks every few milliseconds.
    fn is_older(self, now: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0).unwrap_or_default();
        now.duration_since(UNIX_EPOCH + Duration::from_secs(seconds)).is_ok_and(|age| age >= CLOCK_TICK)
    }
}

/// Makes the ruleset; returns the listed directories too. It blocks, but never because of a file system of another host.
fn ruleset(
    abi: Abi,
    protected: &ProtectedPaths,
    is_remote: &impl Fn(&Path) -> bool,
    listed: &mut Vec<(PathBuf, Option<DirectoryStamp>)>,
) -> io::Result<PendingRuleset> {
    let handled = protected.handled(abi);
    let ruleset = landlock::ruleset(abi, handled)?;
    let mut list = |path: &Path| {
        if is_remote(path) {
            return Vec::new();
        }
        listed.push((path.to_owned(), DirectoryStamp::of(path)));
        entries(path)
    };
    let rules = confine::rules(protected, abi, ("/".into(), EntryKind::Directory), handled, &mut list);
    let (rules, local): (Vec<Rule>, Vec<Rule>) = rules.into_iter().partition(|rule| is_remote(&rule.path));
    for Rule { path, rights } in local {
        match open(&path) {
            Ok(place) => allow(&ruleset, &place, rights)?,
            Err(error) if is_shortage(&error) => return Err(error),
            Err(_) => {} // it was removed after it was listed
        }
    }
    Ok(PendingRuleset { ruleset: Arc::new(ruleset), rules })
}

/// The protected paths, as they are on the disk now.
fn protected(daemon: &DaemonFiles, keys: Vec<PathBuf>, is_remote: &impl Fn(&Path) -> bool) -> ProtectedPaths {
    let real = |path: &Path| match (is_remote(path), path.parent(), path.file_name()) {
        (true, _, _) => path.to_owned(),
        // A path that does not exist yet is protected too.
        (false, Some(parent), Some(name)) => fs::canonicalize(path)
            .or_else(|_| fs::canonicalize(parent).map(|parent| parent.join(name)))
            .unwrap_or_else(|_| path.to_owned()),
        (false, _, _) => path.to_owned(),
    };
    // A directory to which every user may write does not belong to the daemon.
    let socket_dir = daemon.socket.parent().filter(|dir| {
        !is_remote(dir) && fs::metadata(dir).is_ok_and(|facts| facts.is_dir() && facts.mode() & 0o002 == 0)
    });
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let folder = folder_of(&daemon.config);
    let unwritable =
        [Some(daemon.state_dir.as_path()), socket_dir, Some(daemon.config.as_path()), Some(folder.as_path())];
    let unreadable = keys.iter().filter(|key| key.is_absolute()).chain(&credentials);
    ProtectedPaths {
        unwritable: unwritable.into_iter().flatten().map(real).collect(),
        unreadable: unreadable.map(|path| real(path)).collect(),
    }
}

/// The entries of a directory; none if it cannot be listed.
fn entries(path: &Path) -> Vec<(PathBuf, EntryKind)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let kind = |entry: &fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => EntryKind::Directory,
        Ok(kind) if kind.is_symlink() => EntryKind::Link,
        Ok(_) | Err(_) => EntryKind::File,
    };
    entries.map(|entry| (entry.path(), kind(&entry))).collect()
}

/// Opens a path for a rule, without reading or writing it.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    Ok(File::options().read(true).custom_flags(flags).open(path)?.into())
}

pub(super) fn allow(ruleset: &OwnedFd, place: &OwnedFd, rights: Rights) -> io::Result<()> {
    match landlock::allow(ruleset, place.as_fd(), rights) {
        // It has become another kind of file since it was listed, or its kind cannot have rules.
        Err(error) if [Errno::EINVAL, Errno::EBADFD].contains(&errno(&error)) => Ok(()),
        done => done,
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

fn is_shortage(error: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM].contains(&errno(error))
}
