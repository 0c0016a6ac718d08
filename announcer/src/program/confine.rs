//! What the programs of checks and hooks may do to files, as a list of rules for Landlock (landlock(7)).
//!
//! Pure. Landlock allows access beneath the directories that it is given; it cannot say "all but this one". So a right that is
//! withheld from one place is given to everything around it: to each entry of each directory on the way to that place,
//! but for the way itself. With `/var/lib/announcer` withheld:
//!
//! ```text
//! /         bin dev etc home …       a rule each
//!   var     cache log tmp …          a rule each
//!     lib   apt dpkg nginx …         a rule each
//!       announcer                    none: what is beneath it cannot be written
//! ```
//!
//! What appears in a directory on the way after the rules were made has none. So they are made for each run, and a program
//! cannot make new files in these directories themselves.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The version of Landlock's interface that a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Abi(pub u32);

impl Abi {
    /// Whether it can keep signals from the processes outside (Linux 6.12).
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
    /// To read files. Directories are listed by everybody.
    pub const READ: Rights = Rights(1 << 2);
    /// To write files: all that ABI 1 knows of writing, making and removing.
    const WRITE: Rights = Rights(1 << 1 | 0x1ff0);
    /// To link and move files to other directories; from ABI 2 on.
    const REFER: Rights = Rights(1 << 13);
    /// To cut files; from ABI 3 on.
    const TRUNCATE: Rights = Rights(1 << 14);
    /// Those of the above that a file can have which is no directory.
    const OF_FILES: Rights = Rights(1 << 1 | 1 << 2 | 1 << 14);

    /// Everything that changes files, as far as the kernel knows it.
    pub fn to_write(abi: Abi) -> Rights {
        let refer = if abi >= Abi(2) { Self::REFER } else { Self::NONE };
        let truncate = if abi >= Abi(3) { Self::TRUNCATE } else { Self::NONE };
        Self::WRITE.and(refer).and(truncate)
    }

    /// Both.
    pub fn and(self, more: Rights) -> Rights {
        Rights(self.0 | more.0)
    }

    /// Those that are not in `less`.
    fn without(self, less: Rights) -> Rights {
        Rights(self.0 & !less.0)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({:#x})", self.0)
    }
}

/// The places that programs are kept from, as whole paths without symbolic links.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProtectedPaths {
    /// What they cannot change: files, and directories with all beneath them.
    pub unwritable: BTreeSet<PathBuf>,
    /// What they can neither change nor read.
    pub unreadable: BTreeSet<PathBuf>,
}

impl ProtectedPaths {
    /// The rights that are forbidden wherever no rule allows them.
    pub fn handled(&self, abi: Abi) -> Rights {
        let read = if self.unreadable.is_empty() { Rights::NONE } else { Rights::READ };
        Rights::to_write(abi).and(read)
    }

    /// Of the rights that are `wanted` at `path`: those that all beneath it may have, and those that only some of it may.
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

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A symbolic link, which has no rule: where it leads to has.
    Link,
    /// Anything else.
    File,
}

/// A rule: these rights, at this place and beneath it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The place.
    pub path: PathBuf,
    /// What is allowed there; never nothing.
    pub rights: Rights,
}

/// The rules that give `wanted` to everything at and beneath `path`, but for what is protected; `list` says what is in a
/// directory, and nothing of one that cannot be listed.
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

/// What the kernel can do to confine programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has this version of Landlock.
    Landlock(Abi),
    /// It has none, for this reason.
    Missing(Errno),
}

impl Support {
    /// What an operator has to know of it: what the programs that have the daemon's own user could do to it.
    pub fn warning(self) -> Option<String> {
        match self {
            Support::Landlock(abi) if abi.scopes() => None,
            Support::Landlock(Abi(abi)) => Some(format!(
                "programs of checks and hooks that run as the daemon's user can send it signals: this kernel has \
                 version {abi} of Landlock, and version 6 (Linux 6.12) keeps signals from it"
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

/// Of the text of /proc/self/mountinfo: where file systems are mounted that may hang, since they are not of this host.
pub fn remote_mounts(mountinfo: &str) -> BTreeSet<PathBuf> {
    let place = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        let place = before.split(' ').nth(4)?;
        (!LOCAL.contains(&kind)).then(|| PathBuf::from(unescaped(place)))
    };
    mountinfo.lines().filter_map(place).collect()
}

/// File systems that answer without another host or another process.
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
