//! Writes and removes the files of `persist`.
//!
//! Touches the file system. A file that was not written here is never changed.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::regular;
use crate::persist::{Content, Keeper, KeptFile, marker};

/// The longest file that is compared with ours, in octets.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Why a file could not be written or removed.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// Somebody else has written it.
    #[error("`{}` was not written by `dsr-setup persist`: move it away, or join both by hand", .0.display())]
    Foreign(PathBuf),
    /// The error of the system.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The place of a file below `root`.
fn place(root: &Path, file: &KeptFile) -> PathBuf {
    root.join(file.path.strip_prefix("/").unwrap_or(&file.path))
}

/// What is at the place of a file.
enum Found {
    /// Nothing.
    Nothing,
    /// Just this file.
    Same,
    /// A file that an earlier `persist` for the same keeper has written.
    Older,
    /// A file that `persist` has written for another keeper.
    OtherKeeper,
    /// A file of somebody else.
    Foreign,
}

/// What is there.
///
/// # Errors
/// Those of the file system.
fn find(root: &Path, keeper: Keeper, file: &KeptFile) -> Result<Found, PersistError> {
    let path = place(root, file);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(PersistError::Io { path, error }),
        Ok(_) => {}
    }
    Ok(match &file.content {
        Content::Link(target) => match fs::read_link(&path) {
            Ok(found) if found == *target => Found::Same,
            Ok(found) if found.file_name() == target.file_name() => Found::Older, // of `systemctl enable`
            Ok(_) | Err(_) => Found::Foreign,
        },
        Content::Text(text, _) => match regular::read(&path, LONGEST) {
            Ok(octets) if octets == text.as_bytes() => Found::Same,
            Ok(octets) if is_of(&octets, keeper) => Found::Older,
            Ok(octets) if Keeper::ALL.iter().any(|other| is_of(&octets, *other)) => Found::OtherKeeper,
            Ok(_) | Err(_) => Found::Foreign,
        },
    })
}

/// Whether a text was written for this keeper.
fn is_of(octets: &[u8], keeper: Keeper) -> bool {
    octets.starts_with(marker(keeper).as_bytes())
}

/// Writes the files below `root`; returns the paths of those that have changed. If one of them belongs to somebody else, none is written.
///
/// # Errors
/// Those of the file system, and a file of somebody else.
pub fn install(root: &Path, keeper: Keeper, files: &[KeptFile]) -> Result<Vec<PathBuf>, PersistError> {
    let found = files.iter().map(|file| find(root, keeper, file)).collect::<Result<Vec<_>, _>>()?;
    let foreign = files.iter().zip(&found).find(|(_, found)| matches!(found, Found::Foreign));
    if let Some((file, _)) = foreign {
        return Err(PersistError::Foreign(place(root, file)));
    }
    let mut changed = Vec::new();
    for (file, found) in files.iter().zip(found) {
        match found {
            Found::Same | Found::Foreign => {}
            Found::Nothing | Found::Older | Found::OtherKeeper => {
                let path = place(root, file);
                write(&path, &file.content)
                    .map_err(|error| PersistError::Io { path: path.clone(), error })?;
                changed.push(path);
            }
        }
    }
    Ok(changed)
}

/// Replaces a file in one step, so that a boot finds the old one or the new one.
fn write(path: &Path, content: &Content) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let mut name = OsStr::new(".").to_owned();
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = folder.join(name);
    match content {
        Content::Text(text, mode) => {
            let mut file = regular::create(&new)?;
            file.set_permissions(Permissions::from_mode(*mode))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
        }
        Content::Link(target) => {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            symlink(target, &new)?;
        }
    }
    fs::rename(&new, path)
}

/// Removes the files, and folders of drop-ins that are empty then; returns the paths of those that were there. What somebody else has
/// written stays, and so does what was written for another keeper.
///
/// # Errors
/// Those of the file system.
pub fn remove(root: &Path, keeper: Keeper, files: &[KeptFile]) -> Result<Vec<PathBuf>, PersistError> {
    let mut removed = Vec::new();
    for file in files.iter().rev() {
        let path = place(root, file);
        match find(root, keeper, file)? {
            Found::Nothing | Found::OtherKeeper | Found::Foreign => {}
            Found::Same | Found::Older => {
                fs::remove_file(&path).map_err(|error| PersistError::Io { path: path.clone(), error })?;
                let folder = path.parent().unwrap_or(root);
                if folder.extension().is_some_and(|extension| extension == "d" || extension == "wants") {
                    let _ = fs::remove_dir(folder); // it may contain other files
                }
                removed.push(path);
            }
        }
    }
    Ok(removed)
}
