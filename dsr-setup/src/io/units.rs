//! Writes and removes drop-ins of systemd's units.
//!
//! Touches `/etc/systemd/system`.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::regular;
use crate::units::{DROP_IN, OTHER_UNITS, Unit};

/// The longest drop-in that is compared with ours, in octets.
const LONGEST: u64 = 64 * 1024;

/// Writes a unit's drop-in below `dir`; returns its path, if this changed anything.
pub fn write(dir: &Path, unit: &Unit) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    let path = dir.join(unit.drop_in());
    if regular::read(&path, LONGEST).is_ok_and(|text| text == DROP_IN.as_bytes()) {
        return Ok(None);
    }
    let failed = |error| (path.clone(), error);
    fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(failed)?;
    let written = regular::create(&path).and_then(|mut file| file.write_all(DROP_IN.as_bytes()));
    written.map_err(failed)?;
    Ok(Some(path))
}

/// Removes the drop-in, and the folder if it is empty then; returns the path, if the drop-in existed.
pub fn remove(dir: &Path, unit: &Unit) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    let path = dir.join(unit.drop_in());
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err((path, error)),
    }
    let _ = fs::remove_dir(path.parent().unwrap_or(dir)); // it may contain other drop-ins
    Ok(Some(path))
}

/// Whether a unit is defined in `dir` or in another directory of systemd's units.
pub fn exists(dir: &Path, unit: &Unit) -> bool {
    let dirs = || std::iter::once(dir).chain(OTHER_UNITS.iter().map(Path::new));
    unit.files().any(|file| dirs().any(|dir| fs::symlink_metadata(dir.join(&file)).is_ok()))
}
