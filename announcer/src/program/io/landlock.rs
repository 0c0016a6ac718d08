//! Landlock (landlock(7)) and a filter of system calls (seccomp(2)): the system calls, which have no safe interface.
//!
//! Touches the kernel. A ruleset is made and filled here. A program applies it to itself between fork and exec, and it then holds
//! for all processes that the program starts. `crate::program::confine` decides the contents of a ruleset.

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
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`: no signals and connections to processes outside.
const SCOPES: u64 = 1 | 2;

/// One instruction of a filter: code, jumps, operand.
const fn instruction(code: u32, jump_true: u8, jump_false: u8, operand: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k: operand }
}

/// Loads a word of `struct seccomp_data`.
const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
/// Compares it.
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
/// Ends the filter.
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Refuses (EPERM) to set limits of other processes: prlimit64 with a process and with new limits. All other calls are allowed.
static FILTER: [libc::sock_filter; 10] = [
    instruction(LOAD, 0, 0, 0), // the number of the call
    instruction(EQUAL, 0, 7, libc::SYS_prlimit64 as u32),
    instruction(LOAD, 0, 0, 16), // the process, 0: itself
    instruction(EQUAL, 5, 0, 0),
    instruction(LOAD, 0, 0, 32), // the address of the new limits, both halves
    instruction(EQUAL, 0, 2, 0),
    instruction(LOAD, 0, 0, 36),
    instruction(EQUAL, 1, 0, 0),
    instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
];

/// `struct landlock_ruleset_attr`; an older kernel gets only the first fields.
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

/// A ruleset that forbids `handled` unless a rule allows it. If the kernel supports this, it also forbids signals to processes
/// outside.
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
    // SAFETY: the kernel has just returned it, and only this code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Allows `rights` on the path that is open as `place`, and on everything below it.
pub(super) fn allow(ruleset: &OwnedFd, place: BorrowedFd<'_>, rights: Rights) -> io::Result<()> {
    let attr = PathBeneathAttr { allowed_access: rights.bits(), parent_fd: place.as_raw_fd() };
    // SAFETY: `attr` lives through the call, and both descriptors are open.
    let done = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, &raw const attr, 0_u32)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Applies a ruleset to the program that `command` starts.
///
/// A process without CAP_SYS_ADMIN loses set-user-ID programs by this; a process with it keeps them.
pub(super) fn confine(command: &mut Command, ruleset: Arc<OwnedFd>) {
    // SAFETY: between fork and exec, system calls and nothing else: no memory is allocated, no lock is taken. The kernel copies
    // the filter, and does not write to it.
    unsafe {
        command.pre_exec(move || {
            let restrict =
                || libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) == 0;
            if !restrict() {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                if !restrict() {
                    return Err(io::Error::last_os_error());
                }
            }
            // Landlock does not restrict prlimit(2), with which a process of the same user could set the daemon's limit of
            // descriptors to zero.
            let filter = libc::sock_fprog { len: FILTER.len() as u16, filter: FILTER.as_ptr().cast_mut() };
            if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}
