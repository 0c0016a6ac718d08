//! The key of TCP MD5, from its file.
//!
//! Touches the file system and `$CREDENTIALS_DIRECTORY` (systemd.exec(5)). A key is never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest key that Linux takes (TCP_MD5SIG_MAXKEYLEN).
const LONGEST: usize = 80;

/// A key: 1 to 80 octets. Its Debug does not have them.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    #[cfg(test)]
    pub(super) fn new(octets: Vec<u8>) -> Self {
        Key(octets)
    }

    /// The octets.
    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why there is no key. None of them has any of it.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It cannot be opened or read.
    #[error("the password file `{0}` cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// A relative path, and systemd gave no directory.
    #[error(
        "the password file `{0}` is relative, and `$CREDENTIALS_DIRECTORY` is not set; write a whole path, or \
         `LoadCredential=` in the unit"
    )]
    NoDirectory(PathBuf),
    /// It is a directory or a device.
    #[error("the password file `{0}` is no regular file")]
    NoFile(PathBuf),
    /// Others may read it, or more than its owner may write it; its mode.
    #[error(
        "the password file `{0}` has mode {1:03o}; others must not read it, nor group or others write it: `chmod 640`"
    )]
    Open(PathBuf, u32),
    /// It has no key.
    #[error("the password file `{0}` is empty")]
    Empty(PathBuf),
    /// The key is too long.
    #[error("the key in the password file `{0}` has more than 80 octets")]
    TooLong(PathBuf),
}

/// Reads the key of a peer. The line end behind it is no part of it.
///
/// # Errors
/// When the file is not there, cannot be used, or is open to others.
pub fn read(file: &Path) -> Result<Key, PasswordError> {
    read_below(file, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref())
}

/// What speaks against a password file.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// No daemon would take it.
    #[error("{0}")]
    Wrong(PasswordError),
    /// It is not there, or not for us to read. It may be on the host that it is meant for, or for the daemon's user.
    #[error("{0}; its key was not checked")]
    Unseen(PasswordError),
}

/// Checks a password file as far as it can be seen from here; systemd alone can see what is below its credentials.
///
/// # Errors
/// What speaks against it.
pub fn check(file: &Path) -> Result<(), Finding> {
    if file.is_relative() {
        return Ok(());
    }
    match read(file) {
        Ok(_) => Ok(()),
        Err(PasswordError::Unreadable(path, error))
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
        {
            Err(Finding::Unseen(PasswordError::Unreadable(path, error)))
        }
        Err(error) => Err(Finding::Wrong(error)),
    }
}

fn read_below(file: &Path, credentials: Option<&Path>) -> Result<Key, PasswordError> {
    let whole = match credentials {
        _ if file.is_absolute() => file.to_owned(),
        Some(directory) => directory.join(file),
        None => return Err(PasswordError::NoDirectory(file.to_owned())),
    };
    let unreadable = |error| PasswordError::Unreadable(whole.clone(), error);
    // A pipe would let us wait for its writer.
    let opened =
        File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&whole).map_err(unreadable)?;
    let facts = opened.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(PasswordError::NoFile(whole));
    }
    let mode = facts.mode() & 0o777;
    if mode & 0o026 != 0 {
        return Err(PasswordError::Open(whole, mode));
    }
    let mut octets = Vec::new();
    opened.take(4096).read_to_end(&mut octets).map_err(unreadable)?;
    let end = octets.iter().rposition(|octet| !b"\r\n".contains(octet)).map_or(0, |last| last + 1);
    octets.truncate(end);
    match octets.len() {
        0 => Err(PasswordError::Empty(whole)),
        1..=LONGEST => Ok(Key(octets)),
        _ => Err(PasswordError::TooLong(whole)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_key_is_read_without_its_line_end_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let key = read_below(&file(dir.path(), "key", "s3cret word\r\n", 0o640), None).unwrap();
        assert_eq!(key.octets(), b"s3cret word");
        assert!(!format!("{key:?}").contains("s3cret"));
    }

    #[test]
    fn a_file_that_others_can_read_or_more_than_its_owner_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, good) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o440, true),
            (0o644, false),
            (0o604, false),
            (0o620, false),
            (0o660, false),
            (0o602, false),
        ] {
            let read = read_below(&file(dir.path(), &format!("{mode:o}"), "s3cret", mode), None);
            assert_eq!(read.is_ok(), good, "{mode:o}");
            if let Err(error) = read {
                assert!(
                    error.to_string().contains(&format!("{mode:03o}"))
                        && !error.to_string().contains("s3cret")
                );
            }
        }
    }

    #[test]
    fn a_file_that_cannot_be_seen_is_told_apart_from_one_that_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(&file(dir.path(), "good", "s3cret", 0o600)).is_ok());
        assert!(check(Path::new("r1")).is_ok(), "systemd's");
        assert!(matches!(check(&dir.path().join("none")), Err(Finding::Unseen(_))));
        assert!(matches!(check(&file(dir.path(), "open", "s3cret", 0o644)), Err(Finding::Wrong(_))));
        assert!(matches!(check(&file(dir.path(), "empty", "\n", 0o600)), Err(Finding::Wrong(_))));
        assert!(matches!(check(dir.path()), Err(Finding::Wrong(_))));
    }

    #[test]
    fn a_relative_path_is_below_the_credentials_directory() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "r1", "s3cret", 0o400);
        assert_eq!(read_below(Path::new("r1"), Some(dir.path())).unwrap().octets(), b"s3cret");
        assert!(matches!(read_below(Path::new("r1"), None), Err(PasswordError::NoDirectory(_))));
        assert!(matches!(read_below(Path::new("r2"), Some(dir.path())), Err(PasswordError::Unreadable(..))));
    }

    #[test]
    fn a_key_has_1_to_80_octets() {
        let dir = tempfile::tempdir().unwrap();
        let of = |text: &str| read_below(&file(dir.path(), "key", text, 0o600), None);
        assert!(of(&"x".repeat(80)).is_ok());
        assert!(matches!(of(&"x".repeat(81)), Err(PasswordError::TooLong(_))));
        assert!(matches!(of("\n\n"), Err(PasswordError::Empty(_))));
        assert!(matches!(read_below(dir.path(), None), Err(PasswordError::NoFile(_))));
    }
}
