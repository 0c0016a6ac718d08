//! The nodes' root filesystem: built once, by debootstrap, from the same list of packages as the container image.
//!
//! Runs `images/rootfs`, which makes it below `target/lab` and prevents two labs from making it at the same time.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cancel::Cancel;
use crate::error::Error;

/// The folder that holds the root filesystem, a folder below `cache`. Builds it if it does not exist yet, which takes a minute.
/// `images` is the folder with the script and the list of packages.
///
/// # Errors
/// [`Error::Missing`] when it cannot be built: the message says which tool is missing, or has the end of the log of the
/// installation. [`Error::Interrupted`] after `cancel`.
pub fn ready(images: &Path, cache: &Path, cancel: &Cancel) -> Result<PathBuf, Error> {
    let script = images.join("rootfs");
    let mut command = Command::new(&script);
    command.arg(cache).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What it prints fits into the pipes: it is read after the end. When the script is killed, its own processes may
    // outlive it for a moment. They hold its standard error, so reading that to its end waits for them too.
    let ended = cancel.spawn(&mut command).and_then(|mut child| {
        let status = cancel.wait(&mut child);
        let output = child.wait_with_output()?;
        Ok((status?, output))
    });
    match ended {
        Ok((status, output)) if status.success() => {
            let mut path = output.stdout;
            path.truncate(path.trim_ascii_end().len());
            Ok(PathBuf::from(std::ffi::OsString::from_vec(path)))
        }
        Ok((_, output)) => Err(Error::Missing(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Error::Interrupted),
        Err(error) => Err(Error::file(&script, error)),
    }
}

/// Whether a folder of PATH has a file of that name. It may not be executable.
pub(crate) fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}
