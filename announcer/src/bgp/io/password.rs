//! Reads the key of TCP MD5 from its file.
//!
//! Touches the file system, through the door to the disk, and `$CREDENTIALS_DIRECTORY` (systemd.exec(5)). A key is never printed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::io::{self as files, FileError, Files};

/// The longest key that Linux takes (TCP_MD5SIG_MAXKEYLEN).
const LONGEST: usize = 80;
/// The longest key file that is read, in octets.
const LONGEST_FILE: u64 = 4096;

/// A key: 1 to 80 octets. Its `Debug` does not print them.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(Vec<u8>);

impl Md5Key {
    #[cfg(test)]
    pub(super) fn new(octets: Vec<u8>) -> Self {
        Md5Key(octets)
    }

    /// The octets.
    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Text in the key that is probably a mistake, as words that follow "contain".
    pub fn oddity(&self) -> Option<&'static str> {
        let octets = self.0.as_slice();
        let first_and_last = (octets.first().copied(), octets.last().copied());
        let blank = |octet: Option<u8>| octet.is_some_and(|octet| b" \t".contains(&octet));
        if octets.starts_with(b"\xef\xbb\xbf") {
            Some("a byte order mark at its beginning")
        } else if octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff") || octets.contains(&0) {
            Some("text in UTF-16: save the file as UTF-8")
        } else if octets.contains(&b'\n') || octets.contains(&b'\r') {
            Some("a second line: the line break and what follows it are part of the key")
        } else if blank(first_and_last.1) || octets.ends_with("\u{a0}".as_bytes()) {
            Some("a blank at its end")
        } else if blank(first_and_last.0) || octets.starts_with("\u{a0}".as_bytes()) {
            Some("a blank at its beginning")
        } else if octets.len() > 1
            && matches!(first_and_last, (Some(b'"'), Some(b'"')) | (Some(b'\''), Some(b'\'')))
        {
            Some("quotes around it, which are part of the key")
        } else if octets.iter().any(u8::is_ascii_control) {
            Some("a control character")
        } else {
            None
        }
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(…)")
    }
}

/// Why there is no key. No error text contains a part of the key.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It cannot be opened or read.
    #[error("the password file `{0}` cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// The path is relative, and systemd has set no directory.
    #[error(
        "the password file `{0}` is relative, and `$CREDENTIALS_DIRECTORY` is not set; write an absolute path, or \
         `LoadCredential=` in the unit"
    )]
    NoDirectory(PathBuf),
    /// It is a directory or a device.
    #[error("the password file `{0}` is not a regular file")]
    NoFile(PathBuf),
    /// Others may read it, or users other than its owner may write it; with its mode.
    #[error(
        "the password file `{0}` has mode {1:03o}; others must not read it, nor group or others write it: `chmod 640`"
    )]
    Open(PathBuf, u32),
    /// Others may replace the file; with the directory and its mode.
    #[error("the directory `{0}` of a password file has mode {1:03o}; others must not write it: `chmod o-w`")]
    OpenDirectory(PathBuf, u32),
    /// The file system does not answer.
    #[error("the password file `{0}` cannot be read: {1}")]
    Hangs(PathBuf, FileError),
    /// The file has no key.
    #[error("the password file `{0}` is empty")]
    Empty(PathBuf),
    /// The key is too long.
    #[error("the key in the password file `{0}` has more than 80 octets")]
    TooLong(PathBuf),
}

/// Reads the key of a peer, through the door to the disk. The line end after the key does not belong to it.
///
/// # Errors
/// When the file is not there, cannot be used, is open to others, or its file system does not answer.
pub async fn read(files: &Files, file: &Path) -> Result<Md5Key, PasswordError> {
    let whole = whole(file, credentials().as_deref())?;
    let key = files.run(&whole, |path| Ok(read_whole(path))).await;
    key.map_err(|error| PasswordError::Hangs(whole, error))?
}

fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// A problem with a password file.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFinding {
    /// The daemon would refuse the file.
    #[error("{0}")]
    Wrong(PasswordError),
    /// The file does not exist, or we may not read it. It may exist on the host that runs the daemon, and the daemon's user may be
    /// able to read it.
    #[error("{0}; its key was not checked")]
    Unseen(PasswordError),
}

/// Checks a password file as far as this process can read it; only systemd can read files below its credentials directory. Returns
/// a warning about text that is allowed but probably a mistake.
///
/// # Errors
/// The problem with the file.
pub fn check(file: &Path) -> Result<Option<String>, PasswordFinding> {
    if file.is_relative() {
        return Ok(None);
    }
    match read_whole(file) {
        Ok(key) => Ok(key.oddity().map(|what| {
            format!("the key in the password file `{}` seems to contain {what}", file.display())
        })),
        Err(PasswordError::Unreadable(path, error))
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
        {
            Err(PasswordFinding::Unseen(PasswordError::Unreadable(path, error)))
        }
        Err(error) => Err(PasswordFinding::Wrong(error)),
    }
}

fn whole(file: &Path, credentials: Option<&Path>) -> Result<PathBuf, PasswordError> {
    match credentials {
        _ if file.is_absolute() => Ok(file.to_owned()),
        Some(directory) => Ok(directory.join(file)),
        None => Err(PasswordError::NoDirectory(file.to_owned())),
    }
}

fn read_whole(whole: &Path) -> Result<Md5Key, PasswordError> {
    let path = || whole.to_owned();
    let secret = files::read_secret(whole, LONGEST_FILE).map_err(|error| match error {
        FileError::Io(error) => PasswordError::Unreadable(path(), error),
        FileError::NotRegular => PasswordError::NoFile(path()),
        FileError::TooLarge(_) => PasswordError::TooLong(path()),
        error @ (FileError::Hangs(_)
        | FileError::Busy(_)
        | FileError::WritableByOthers(_)
        | FileError::NotText) => PasswordError::Hangs(path(), error),
    })?;
    let mode = secret.mode & 0o777;
    if mode & 0o026 != 0 {
        return Err(PasswordError::Open(path(), mode));
    }
    // In a sticky directory, a user cannot replace a file of another user.
    if let Some(directory) = whole.parent()
        && secret.folder_mode & 0o1002 == 0o002
    {
        return Err(PasswordError::OpenDirectory(directory.to_owned(), secret.folder_mode & 0o1777));
    }
    let mut octets = secret.octets;
    let end = octets.iter().rposition(|octet| !b"\r\n".contains(octet)).map_or(0, |last| last + 1);
    octets.truncate(end);
    match octets.len() {
        0 => Err(PasswordError::Empty(whole.to_owned())),
        1..=LONGEST => Ok(Md5Key(octets)),
        _ => Err(PasswordError::TooLong(whole.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_below(file: &Path, credentials: Option<&Path>) -> Result<Md5Key, PasswordError> {
        whole(file, credentials).and_then(|whole| read_whole(&whole))
    }

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
            (0o666, false),
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
    fn a_file_that_cannot_be_seen_is_distinguished_from_one_that_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(&file(dir.path(), "good", "s3cret", 0o600)).is_ok());
        assert!(check(Path::new("r1")).is_ok(), "systemd's");
        assert!(matches!(check(&dir.path().join("none")), Err(PasswordFinding::Unseen(_))));
        assert!(matches!(check(&file(dir.path(), "open", "s3cret", 0o644)), Err(PasswordFinding::Wrong(_))));
        assert!(matches!(check(&file(dir.path(), "empty", "\n", 0o600)), Err(PasswordFinding::Wrong(_))));
        assert!(matches!(check(dir.path()), Err(PasswordFinding::Wrong(_))));
    }

    // B19
    #[test]
    fn a_key_that_seems_to_contain_what_is_seldom_meant_is_read_and_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        for (text, want) in [
            (&b"s3cret\n"[..], None),
            (b"two words\r\n", None),
            (b"\"", None),
            (b"\xef\xbb\xbfs3cret\n", Some("a byte order mark")),
            (b"\xff\xfes\x003\x00", Some("UTF-16")),
            (b"s3cret \n", Some("a blank at its end")),
            (b"s3cret\t\n", Some("a blank at its end")),
            (b"s3cret\xc2\xa0\n", Some("a blank at its end")),
            (b" s3cret\n", Some("a blank at its beginning")),
            (b"s3cret\nold\n", Some("a second line")),
            (b"s3cret\r\n# old\r\n", Some("a second line")),
            (b"\"s3cret\"\n", Some("quotes")),
            (b"s3\x07cret\n", Some("a control character")),
        ] {
            let path = dir.path().join("key");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let key = read_below(&path, None).unwrap();
            assert_eq!(key.oddity().is_some(), want.is_some(), "{text:?}: {:?}", key.oddity());
            let said = check(&path).unwrap_or_else(|_| panic!("{text:?}")).unwrap_or_default();
            assert!(said.contains(want.unwrap_or_default()) && !said.contains("s3cret"), "{text:?}: {said}");
        }
    }

    #[test]
    fn a_file_that_others_can_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "key", "s3cret", 0o600);
        for (mode, good) in [(0o755, true), (0o1777, true), (0o777, false), (0o703, false)] {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_below(&path, None).is_ok(), good, "{mode:o}");
        }
    }

    #[tokio::test]
    async fn a_key_is_read_through_the_door() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new();
        let key = read(&files, &file(dir.path(), "r1", "s3cret", 0o600)).await.unwrap();
        assert_eq!(key.octets(), b"s3cret");
        assert!(matches!(read(&files, &dir.path().join("none")).await, Err(PasswordError::Unreadable(..))));
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
