//! A lock file, which has the number of the process that holds it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A lock (flock(2)) that this process holds until it is dropped. The file remains, with the number of the process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it; with its number, if the file has it.
    Held(Option<u32>),
    /// The system refused it.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock. It may block because of the file system, but never because of another process. A symbolic link is not
    /// followed, because the file is written.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made or is not a regular file.
    pub fn take(path: &Path) -> Result<Lock, LockError> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o644);
        let options = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = options.open(path).map_err(LockError::Io)?;
        if !file.metadata().map_err(LockError::Io)?.is_file() {
            return Err(LockError::Io(io::Error::other("the lock file is not a regular file")));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text).ok();
                return Err(LockError::Held(read.and_then(|_| text.trim().parse().ok())));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(LockError::Io)?;
        Ok(Lock(file))
    }
}
