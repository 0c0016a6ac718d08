//! Writes and removes drop-ins of systemd's units.
//!
//! Touches `/etc/systemd/system`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::units::{DROP_IN, Unit};

/// Writes a unit's drop-in below `dir`; returns its path, if this changed anything.
pub fn write(dir: &Path, unit: &Unit) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    let path = dir.join(unit.drop_in());
    if fs::read_to_string(&path).is_ok_and(|text| text == DROP_IN) {
        return Ok(None);
    }
    let failed = |error| (path.clone(), error);
    fs::create_dir_all(path.parent().unwrap_or(dir)).map_err(failed)?;
    fs::write(&path, DROP_IN).map_err(failed)?;
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
