//! The nodes' root filesystem: built once, by debootstrap, from the list of packages that the container image has too.
//!
//! Touches files below `target/lab` and runs `images/rootfs`, in namespaces of its own.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cancel::Cancel;
use crate::error::Error;

/// The folder that holds the root filesystem for the `images` folder beside a topology; builds it where it is not there
/// yet, which takes a minute.
///
/// # Errors
/// When it cannot be built: the message says what is missing, or the end of what its recipe said.
pub fn ready(images: &Path, cache: &Path, cancel: &Cancel) -> Result<PathBuf, Error> {
    let recipe = [images.join("packages"), images.join("rootfs")];
    let mut digest = Fnv::default();
    for path in &recipe {
        digest.write(&fs::read(path).map_err(|e| Error::file(path, e))?);
    }
    let root = cache.join(format!("rootfs-{:016x}", digest.finish()));
    fs::create_dir_all(cache).map_err(|e| Error::file(cache, e))?;
    // Two labs may want it at the same moment. The file stays: it is in a folder for such things.
    let lock = cache.join("rootfs.lock");
    let lock =
        File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(|e| Error::file(&lock, e))?;
    if !root.exists() {
        build(&recipe[1], &root, cancel)?;
    }
    drop(lock);
    Ok(root)
}

fn build(script: &Path, root: &Path, cancel: &Cancel) -> Result<(), Error> {
    for (tool, package) in [("debootstrap", "debootstrap"), ("unshare", "util-linux")] {
        if !on_path(tool) {
            let message =
                format!("`{tool}` is missing, which builds the nodes' root: apt-get install {package}");
            return Err(Error::Missing(message));
        }
    }
    eprintln!("lab: building the nodes' root filesystem, once ({})", root.display());
    let half = root.with_extension("half");
    let log = root.with_extension("log");
    remove(&half)?;
    fs::create_dir_all(&half).map_err(|e| Error::file(&half, e))?;
    let mut output = File::options().create(true).read(true).write(true).truncate(true).open(&log);
    let output =
        output.as_mut().map_err(|e| Error::file(&log, std::mem::replace(e, io::ErrorKind::Other.into())))?;
    let copy = |file: &File| file.try_clone().map_err(|e| Error::file(&log, e));

    // Its own pid namespace: killed, it leaves no process. Its own mounts: and no mount.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(script).arg(&half).stdout(copy(output)?).stderr(copy(output)?);
    let ended = cancel.spawn(&mut command).and_then(|mut child| cancel.wait(&mut child));
    let failed = match ended {
        Ok(status) if status.success() => None,
        Ok(_) => {
            let mut text = String::new();
            let _ = output.rewind().and_then(|()| output.read_to_string(&mut text));
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(8)..].join("\n  ");
            Some(Error::Missing(format!("the nodes' root could not be built ({}):\n  {last}", log.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(Error::Interrupted),
        Err(error) => Some(Error::file(script, error)),
    };
    if let Some(error) = failed {
        remove(&half)?;
        if matches!(error, Error::Interrupted) {
            let _ = fs::remove_file(&log);
        }
        return Err(error);
    }
    let _ = fs::remove_file(&log);
    fs::rename(&half, root).map_err(|e| Error::file(root, e))
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(dir, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether there is a program of that name.
pub(crate) fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// FNV-1a: a digest that is the same with every compiler, unlike the standard library's.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_fnv_1a() {
        for (text, want) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let mut digest = Fnv::default();
            digest.write(text.as_bytes());
            assert_eq!(digest.finish(), want, "{text}");
        }
    }
}
