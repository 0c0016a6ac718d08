//! Takes a descriptor that this process has inherited, by its number.

#![allow(
    unsafe_code,
    reason = "a number becomes an owned descriptor; no safe call does that without a second descriptor"
)]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// The descriptor of this number, which programs that are executed do not inherit from now on; `None`: it is not open.
///
/// The caller takes each number once, and before this process has opened a descriptor of its own: no other value owns it.
pub(super) fn adopt(number: i32) -> Option<OwnedFd> {
    if number < 3 {
        return None; // standard input, output and error belong to the process
    }
    // SAFETY: the number is only used for fcntl(2), which fails if it is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(descriptor, FdFlags::CLOEXEC).ok()?;
    // SAFETY: it is open, and the caller's promise: nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
