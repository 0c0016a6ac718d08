//! The rights of the programs of checks and hooks to files, as a list of rules for Landlock (landlock(7)).
//!
//! Pure. Landlock allows access below the directories in its rules; it cannot express "all except this one". So if a right is
//! denied for one path, everything around it gets a rule: each entry of each parent directory, except the parent directories
//! themselves. With `/var/lib/announcer` denied:
//!
//! ```text
//! /         bin dev etc home …       a rule each
//!   var     cache log tmp …          a rule each
//!     lib   apt dpkg nginx …         a rule each
//!       announcer                    none: what is beneath it cannot be written
//! ```
//!
//! A file that appears in a parent directory after the rules were made has no rule. So the rules are made for each run, and a
//! program cannot make new files in the parent directories.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The version of Landlock's interface that a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Abi(pub u32);

impl Abi {
    /// Whether it can forbid signals to processes outside (Linux 6.12).
    pub fn scopes(self) -> bool {
        self.0 >= 6
    }
}

/// Rights to files, as Landlock's bits (`LANDLOCK_ACCESS_FS_*`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rights(u64);

impl Rights {
    /// None.
    pub const NONE: Rights = Rights(0);
    /// To read files. Listing directories is always allowed.
    pub const READ: Rights = Rights(1 << 2);
    /// To write files: all rights of ABI 1 for writing, making and removing.
    const WRITE: Rights = Rights(1 << 1 | 0x1ff0);
    /// To link and move files to other directories; from ABI 2 on.
    const REFER: Rights = Rights(1 << 13);
    /// To truncate files; from ABI 3 on.
    const TRUNCATE: Rights = Rights(1 << 14);
    /// The rights above that apply to files that are not directories.
    const OF_FILES: Rights = Rights(1 << 1 | 1 << 2 | 1 << 14);

    /// All rights to change files that the kernel supports.
    pub fn to_write(abi: Abi) -> Rights {
        let refer = if abi >= Abi(2) { Self::REFER } else { Self::NONE };
        let truncate = if abi >= Abi(3) { Self::TRUNCATE } else { Self::NONE };
        Self::WRITE.and(refer).and(truncate)
    }

    /// Both.
    pub fn and(self, more: Rights) -> Rights {
        Rights(self.0 | more.0)
    }

    /// The rights that are not in `less`.
    fn without(self, less: Rights) -> Rights {
        Rights(self.0 & !less.0)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether there are no rights.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({:#x})", self.0)
    }
}

/// The paths that are protected against programs, as absolute paths without symbolic links.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProtectedPaths {
    /// Paths that programs cannot change: files, and directories with everything below them.
    pub unwritable: BTreeSet<PathBuf>,
    /// Paths that programs can neither change nor read.
    pub unreadable: BTreeSet<PathBuf>,
}

impl ProtectedPaths {
    /// The rights that are forbidden if no rule allows them.
    pub fn handled(&self, abi: Abi) -> Rights {
        let read = if self.unreadable.is_empty() { Rights::NONE } else { Rights::READ };
        Rights::to_write(abi).and(read)
    }

    /// Splits the `wanted` rights at `path`: those allowed for everything below it, and those allowed only for some of it.
    fn split(&self, path: &Path, rights: Rights, abi: Abi) -> (Rights, Rights) {
        let write = Rights::to_write(abi);
        let is_in = |places: &BTreeSet<PathBuf>| places.iter().any(|place| path.starts_with(place));
        let is_around = |places: &BTreeSet<PathBuf>| places.iter().any(|place| place.starts_with(path));
        let (secret, fixed) = (&self.unreadable, &self.unwritable);
        let mut denied = Rights::NONE;
        if is_in(secret) {
            denied = denied.and(write).and(Rights::READ);
        } else if is_in(fixed) {
            denied = denied.and(write);
        }
        let mut partly = Rights::NONE;
        if is_around(secret) {
            partly = partly.and(write).and(Rights::READ);
        } else if is_around(fixed) {
            partly = partly.and(write);
        }
        let rights = rights.without(denied);
        let whole = rights.without(partly);
        (whole, rights.without(whole))
    }
}

/// The kind of an entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A symbolic link. It has no rule, but its target has one.
    Link,
    /// Anything else.
    File,
}

/// A rule: these rights, at this path and below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The place.
    pub path: PathBuf,
    /// The allowed rights; never empty.
    pub rights: Rights,
}

/// The rules that give `wanted` to everything at and below `path`, except protected paths. `list` returns the entries of a
/// directory, and no entries if it cannot be listed.
pub fn rules(
    protected: &ProtectedPaths,
    abi: Abi,
    (path, kind): (PathBuf, EntryKind),
    rights: Rights,
    list: &mut impl FnMut(&Path) -> Vec<(PathBuf, EntryKind)>,
) -> Vec<Rule> {
    let rights = match kind {
        EntryKind::Directory => rights,
        EntryKind::File => Rights(rights.bits() & Rights::OF_FILES.bits()),
        EntryKind::Link => return Vec::new(),
    };
    let (whole, partly) = protected.split(&path, rights, abi);
    let mut all = Vec::new();
    if !partly.is_empty() && kind == EntryKind::Directory {
        for entry in list(&path) {
            all.extend(rules(protected, abi, entry, partly, list));
        }
    }
    if !whole.is_empty() {
        all.push(Rule { path, rights: whole });
    }
    all
}

/// The kernel's support for confining programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has this version of Landlock.
    Landlock(Abi),
    /// It has no Landlock, for this reason.
    Missing(Errno),
}

impl Support {
    /// The warning for operators: what the programs with the daemon's own user could do.
    pub fn warning(self) -> Option<String> {
        match self {
            Support::Landlock(abi) if abi.scopes() => None,
            Support::Landlock(Abi(abi)) => Some(format!(
                "programs of checks and hooks that run as the daemon's user can send it signals: this kernel has \
                 version {abi} of Landlock, and only version 6 (Linux 6.12) prevents signals"
            )),
            Support::Missing(errno) => {
                let why = if [Errno::ENOSYS, Errno::EOPNOTSUPP].contains(&errno) {
                    "the kernel has no Landlock, or it is not enabled (`lsm=` at boot)".to_owned()
                } else {
                    format!("Landlock cannot be used: {}", errno.desc())
                };
                Some(format!(
                    "programs of checks and hooks that run as the daemon's user can write its files, read its keys \
                     and send it signals: {why}"
                ))
            }
        }
    }
}

/// The mount points of file systems that may hang because they need another host or process, from the text of /proc/self/mountinfo.
pub fn remote_mounts(mountinfo: &str) -> BTreeSet<PathBuf> {
    let place = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        let place = before.split(' ').nth(4)?;
        (!LOCAL.contains(&kind)).then(|| PathBuf::from(unescaped(place)))
    };
    mountinfo.lines().filter_map(place).collect()
}

/// File systems that do not need another host or another process.
const LOCAL: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "btrfs",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "vfat",
    "xfs",
    "zfs",
];

/// The kernel writes space, tab, line end and backslash as three octal digits.
fn unescaped(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests;
