//! Reads the keys of the chain from their file.
//!
//! Touches the file system; blocks. A key is never printed.

use std::io;
use std::path::{Path, PathBuf};

use crate::chain::heartbeat::{KeyError, Keys};
use crate::files::io::{self as files, FileError};

/// The longest key file that is read, in octets.
const LONGEST: u64 = 4096;

/// Why there are no keys. No message has a part of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key file `{0}` cannot be read: {1}")]
    Unreadable(PathBuf, FileError),
    /// Others may read it, or users other than its owner may write it; with its mode.
    #[error(
        "the key file `{0}` has mode {1:03o}; others must not read it, nor group or others write it: `chmod 640`"
    )]
    Open(PathBuf, u32),
    /// Others may replace the file; with the directory and its mode.
    #[error("the directory `{0}` of the key file has mode {1:03o}; others must not write it: `chmod o-w`")]
    OpenDirectory(PathBuf, u32),
    /// Its text is no key.
    #[error("the key file `{0}` cannot be used: {1}")]
    Wrong(PathBuf, KeyError),
}

impl KeyFileError {
    /// Whether the file may be right, but this process cannot see it: it does not exist, or may not be read.
    pub fn is_unseen(&self) -> bool {
        match self {
            KeyFileError::Unreadable(_, FileError::Io(error)) => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
            }
            KeyFileError::Unreadable(
                _,
                FileError::Hangs(_)
                | FileError::Busy(_)
                | FileError::TooLarge(_)
                | FileError::NotRegular
                | FileError::WritableByOthers(_)
                | FileError::NotText,
            )
            | KeyFileError::Open(..)
            | KeyFileError::OpenDirectory(..)
            | KeyFileError::Wrong(..) => false,
        }
    }
}

/// Reads the file; returns the keys, and its text to compare it with the next reading.
///
/// # Errors
/// When it is not there, is open to others, or has no keys.
pub fn read(path: &Path) -> Result<(Keys, String), KeyFileError> {
    let secret =
        files::read_secret(path, LONGEST).map_err(|why| KeyFileError::Unreadable(path.into(), why))?;
    if secret.mode & 0o027 != 0 {
        return Err(KeyFileError::Open(path.into(), secret.mode & 0o777));
    }
    if let Some(folder) = path.parent().filter(|_| secret.folder_mode & 0o1002 == 0o0002) {
        return Err(KeyFileError::OpenDirectory(folder.into(), secret.folder_mode & 0o777));
    }
    let text = String::from_utf8_lossy(&secret.octets).into_owned();
    let keys = Keys::parse(&text).map_err(|why| KeyFileError::Wrong(path.into(), why))?;
    Ok((keys, text))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_file_that_others_cannot_read_has_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.key");
        for (text, mode, folder_mode, want) in [
            ("0123456789abcdef\n", 0o640, 0o755, None),
            ("0123456789abcdef\n", 0o600, 0o1777, None),
            ("0123456789abcdef\n", 0o644, 0o755, Some("has mode 644")),
            ("0123456789abcdef\n", 0o660, 0o755, Some("has mode 660")),
            ("0123456789abcdef\n", 0o640, 0o757, Some("of the key file has mode 757")),
            ("short\n", 0o640, 0o755, Some("the key in line 1 has 5 octets")),
            ("", 0o640, 0o755, Some("it has no key")),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
            match (read(&path), want) {
                (Ok((_, read)), None) => assert_eq!(read, text),
                (Err(error), Some(want)) => {
                    assert!(error.to_string().contains(want), "{error}");
                    assert!(!error.is_unseen());
                }
                (got, want) => panic!("{text:?} {mode:o} {folder_mode:o}: {got:?} {want:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().is_unseen());
    }
}
