//! Reads and creates regular files.
//!
//! Touches the file system, and blocks. Neither a FIFO nor a device is ever read or written, because they could block for ever.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Why a file was not read. Each `Display` is the rest of a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused it.
    #[error("{0}")]
    Io(io::Error),
    /// It is a directory, a FIFO, a socket or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// It is larger than the caller's limit.
    #[error("the file is larger than {0} octets")]
    TooLarge(u64),
    /// Users other than its owner and its group can write it.
    #[error("others can write it (mode {0:04o}): remove this permission with `chmod o-w`")]
    WritableByOthers(u32),
}

/// Reads a regular file of at most `most` octets.
///
/// # Errors
/// See [`FileError`].
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    Ok(read_with_mode(path, most)?.0)
}

/// As [`read`], with the permission bits of the file that was read.
///
/// # Errors
/// See [`FileError`].
pub fn read_with_mode(path: &Path, most: u64) -> Result<(Vec<u8>, u32), FileError> {
    // This also opens a FIFO without a writer, which is then refused.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(FileError::Io)?;
    let metadata = file.metadata().map_err(FileError::Io)?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    let mut octets = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut octets).map_err(FileError::Io)?;
    if octets.len() as u64 > most {
        return Err(FileError::TooLarge(most));
    }
    Ok((octets, metadata.mode() & 0o7777))
}

/// Whether every user may write. The file's group may write, because sites use this to let operators edit it.
pub fn is_writable_by_others(mode: u32) -> bool {
    mode & 0o002 != 0
}

/// As [`read`], for a file with which others could control this host: one that every user can write is refused. A symbolic link that
/// leads nowhere is not [`NotFound`](ErrorKind::NotFound).
///
/// # Errors
/// See [`FileError`].
pub fn read_trusted(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    match read_with_mode(path, most) {
        Ok((_, mode)) if is_writable_by_others(mode) => Err(FileError::WritableByOthers(mode)),
        Ok((octets, _)) => Ok(octets),
        Err(FileError::Io(error)) => Err(FileError::Io(dangling(path, error))),
        Err(error @ (FileError::NotRegular | FileError::TooLarge(_) | FileError::WritableByOthers(_))) => {
            Err(error)
        }
    }
}

/// As [`names`], for a folder in which others could put files: one that every user can write is refused.
///
/// # Errors
/// See [`FileError`].
pub fn names_of_trusted(folder: &Path) -> Result<Vec<OsString>, FileError> {
    match fs::metadata(folder) {
        Ok(metadata) if is_writable_by_others(metadata.mode()) => {
            Err(FileError::WritableByOthers(metadata.mode() & 0o7777))
        }
        Ok(_) | Err(_) => names(folder).map_err(FileError::Io),
    }
}

/// The names of the files in a folder; none if there is no such folder.
///
/// # Errors
/// Those of the file system, and when the folder is a symbolic link that leads nowhere.
pub fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder).map_err(|error| dangling(folder, error)) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The error of a request for `path`. A symbolic link that leads nowhere has its own error, and never [`ErrorKind::NotFound`]: the name
/// exists, so that someone wanted a file or a folder there.
pub fn dangling(path: &Path, error: io::Error) -> io::Error {
    match error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_ok() {
        true => io::Error::other("it is a symbolic link that leads nowhere"),
        false => error,
    }
}

/// Creates an empty file. What already exists there is removed and never opened, because a FIFO would block, and a symbolic link
/// would lead to another file.
///
/// # Errors
/// Those of the file system.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::options().write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_has_no_names_but_a_link_that_leads_nowhere_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/a.toml"), "").unwrap();
        for (link, to) in [
            ("good", "folder"),
            ("bad", "missing"),
            ("twice", "bad"),
            ("self", "self"),
            ("file", "folder/a.toml"),
        ] {
            std::os::unix::fs::symlink(to, at(link)).unwrap();
        }
        for (name, want) in [
            ("folder", Some(1)),
            ("good", Some(1)),
            ("missing", Some(0)),
            ("missing/conf.d", Some(0)),
            ("bad", None),
            ("twice", None),
            ("self", None),
            ("file", None),
        ] {
            assert_eq!(names(&at(name)).ok().map(|names| names.len()), want, "{name}");
        }
        assert_eq!(names(&at("bad")).unwrap_err().to_string(), "it is a symbolic link that leads nowhere");
    }
}
