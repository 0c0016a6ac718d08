//! The drain folder as files: read, changed for commands, and the ends of drains.
//!
//! Touches the file system below the state directory, through [`files::io`](crate::files::io) alone. Every function blocks.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::clock::boot_id;
use crate::drain::{ChangePlan, Drain, DrainChange, DrainRefusal, Drains, FileStep, Order, WallClock};
use crate::files::io as files;

/// The most octets that are read of a drain file.
const LONGEST_FILE: u64 = 4096;

/// The drain folder below a state directory.
pub fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("drain")
}

/// Reads the drains in force, and makes the folder if it does not exist. Blocks.
///
/// # Errors
/// When the folder can neither be read nor made. Then the drains are not known.
pub fn read(folder: &Path) -> io::Result<Drains> {
    files::make_folder(folder)?;
    read_existing(folder)
}

/// Reads the drains in force; a missing folder is an error. Blocks.
pub(super) fn read_existing(folder: &Path) -> io::Result<Drains> {
    let mut found = Vec::new();
    for name in files::names(folder)? {
        let shown = name.to_string_lossy().into_owned();
        match files::read_start(&folder.join(&name), LONGEST_FILE) {
            Err(error) if error.kind() == ErrorKind::NotFound => {} // the file was removed after the folder was listed
            Err(error) => found.push((shown, Err(files::sentence(&error)))),
            Ok(text) => found.push((shown, Ok(String::from_utf8_lossy(&text).into_owned()))),
        }
    }
    Ok(Drains::from_files(found))
}

/// Makes or replaces a drain file. On a full disk the file is empty, which drains too. Blocks.
///
/// # Errors
/// When there is no drain file afterwards.
pub fn write(folder: &Path, name: &str, drain: &Drain) -> io::Result<()> {
    files::replace(folder, name, &drain.to_file())
}

/// Reads the drains at the start of the daemon, after the end of those that hold until the host boots. Blocks.
///
/// # Errors
/// As [`read`].
pub fn read_at_start(folder: &Path) -> io::Result<Drains> {
    let drains = read(folder)?;
    let Some(boot) = boot_id() else { return Ok(drains) };
    for order in drains.of_other_boots(&boot) {
        match files::remove(&folder.join(&order.file)) {
            Ok(_) => {
                info!(file = order.file, what = %order.target, "drain has ended, because the host has booted")
            }
            Err(error) => {
                warn!(file = order.file, %error, "drain has ended by a boot, but its file was not removed")
            }
        }
    }
    read_existing(folder)
}

/// Makes a change, and returns what it is. If it is refused, nothing is changed. Blocks.
///
/// # Errors
/// Those of the file system. Changes before the error are not undone.
pub fn change(folder: &Path, change: &DrainChange) -> io::Result<Result<ChangePlan, DrainRefusal>> {
    let plan = match read(folder)?.plan(change) {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for step in &plan.steps {
        match step {
            FileStep::Write(file, drain) => write(folder, file, drain)?,
            FileStep::Remove(file) => drop(files::remove(&folder.join(file))?),
        }
    }
    Ok(Ok(plan))
}

/// Removes the files of these drains, unless they no longer end now. Blocks.
pub(super) fn end(folder: &Path, over: &[Order], clock: WallClock) -> io::Result<()> {
    let drains = read_existing(folder)?;
    let still = drains.iter().filter(|order| order.is_over(clock));
    for order in still.filter(|order| over.iter().any(|known| known.file == order.file)) {
        files::remove(&folder.join(&order.file))?;
    }
    Ok(())
}
