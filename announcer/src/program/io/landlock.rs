//! Landlock (landlock(7)): the system calls, which have no safe interface.
//!
//! Touches the kernel. A ruleset is made and filled here; a program puts itself under it between fork and exec, and all
//! that it starts is under it too, for good. What a ruleset says is decided in `crate::program::confine`.

#![allow(
    unsafe_code,
    reason = "Landlock's system calls, and what is run between fork and exec, have no safe interface"
)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use crate::program::confine::{Abi, Rights};

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: u32 = 1;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`: neither reaches a process outside.
const SCOPES: u64 = 1 | 2;

/// `struct landlock_ruleset_attr`; an older kernel is given less of it.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// The version of Landlock's interface that the kernel has.
///
/// # Errors
/// ENOSYS or EOPNOTSUPP: it has none, or it was not enabled at boot.
pub(super) fn abi() -> io::Result<Abi> {
    // SAFETY: with this flag the kernel reads no memory of ours.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<RulesetAttr>(), 0_usize, VERSION)
    };
    if abi < 0 { Err(io::Error::last_os_error()) } else { Ok(Abi(u32::try_from(abi).unwrap_or(u32::MAX))) }
}

/// A ruleset that forbids `handled` wherever no rule allows it, and signals to processes outside where the kernel can.
pub(super) fn ruleset(abi: Abi, handled: Rights) -> io::Result<OwnedFd> {
    let attr = RulesetAttr {
        handled_access_fs: handled.bits(),
        handled_access_net: 0,
        scoped: if abi.scopes() { SCOPES } else { 0 },
    };
    let size = if abi.scopes() { size_of::<RulesetAttr>() } else { size_of::<u64>() };
    // SAFETY: `attr` lives through the call and has at least `size` octets.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0_u32) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just given it to us, and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Allows `rights` on what `place` is open for, and on all beneath it.
pub(super) fn allow(ruleset: &OwnedFd, place: BorrowedFd<'_>, rights: Rights) -> io::Result<()> {
    let attr = PathBeneathAttr { allowed_access: rights.bits(), parent_fd: place.as_raw_fd() };
    // SAFETY: `attr` lives through the call, and both descriptors are open.
    let done = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, &raw const attr, 0_u32)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts the program that `command` starts under a ruleset.
///
/// A process without CAP_SYS_ADMIN has to give up set-user-ID programs for it; one that has it keeps them.
pub(super) fn confine(command: &mut Command, ruleset: Arc<OwnedFd>) {
    // SAFETY: between fork and exec, two system calls and nothing else: no memory is allocated, no lock is taken.
    unsafe {
        command.pre_exec(move || {
            let restrict =
                || libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) == 0;
            if restrict() {
                return Ok(());
            }
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if restrict() { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
}
