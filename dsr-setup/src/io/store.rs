//! The state file `dsr-setup.json`, which the daemon and the program share.
//!
//! Touches one folder, and blocks: the daemon calls it on a thread where it may block. The file is written under another name and
//! renamed, while the folder is locked. It is removed when it would be empty. It also reads the boot id and the network namespace.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::regular;
use crate::record::{Record, RecordError};

const FILE: &str = "dsr-setup.json";

/// The state file, by the folder it is in. The folder is made when there is something to write.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// Why the state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be read or written.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It is a folder, a FIFO, a socket or a device.
    #[error("`{}` is not a regular file: move it away", path.display())]
    NotRegular {
        /// The state file.
        path: PathBuf,
    },
    /// Its contents are not valid.
    #[error("`{}` is not readable: {error}; delete it if the old settings need not be restored", path.display())]
    Text {
        /// The state file.
        path: PathBuf,
        /// The mistake in it.
        error: RecordError,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError::Io { path: path.to_owned(), error }
}

impl Store {
    /// The state file in `dir`.
    pub fn new(dir: &Path) -> Store {
        Store { dir: dir.to_owned() }
    }

    /// The state file's path.
    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// Reads the record; it is empty if there is no file.
    pub fn load(&self) -> Result<Record, StoreError> {
        let path = self.path();
        // This also opens a FIFO without a writer, which is then refused.
        let mut file = match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Record::default()),
            Err(error) => return Err(at(&path)(error)),
        };
        if !file.metadata().map_err(at(&path))?.is_file() {
            return Err(StoreError::NotRegular { path });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(at(&path))?;
        Record::read(&text, &life()?).map_err(|error| StoreError::Text { path, error })
    }

    /// Changes the record. When it returns, the new record is on disk.
    pub fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Result<(), StoreError> {
        let before = self.load()?;
        if before.is_empty() && !self.dir.exists() {
            fs::create_dir_all(&self.dir).map_err(at(&self.dir))?;
        }
        let dir = File::open(&self.dir).map_err(at(&self.dir))?;
        dir.lock().map_err(at(&self.dir))?;
        let mut record = self.load()?;
        change(&mut record);
        let path = self.dir.join(FILE);
        if record.is_empty() {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(at(&path)(error)),
            }
        } else {
            let text = record.write(&life()?).map_err(io::Error::other).map_err(at(&path))?;
            let new = self.dir.join(format!("{FILE}.new"));
            let mut file = create(&new, &dir).map_err(at(&new))?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&new))?;
            fs::rename(&new, &path).map_err(at(&path))?;
        }
        dir.sync_all().map_err(at(&self.dir))
    }
}

/// Makes an empty file with the owner of the folder: the daemon runs as its own user, and has to read a file that root wrote by
/// hand with any umask. A file that a crash has left there is removed, because we may have no right to write it.
fn create(path: &Path, dir: &File) -> io::Result<File> {
    let file = regular::create(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    let (folder, own) = (dir.metadata()?, file.metadata()?);
    if (folder.uid(), folder.gid()) != (own.uid(), own.gid()) {
        let _ = fchown(&file, Some(folder.uid()), Some(folder.gid())); // only root may do this
    }
    Ok(file)
}

/// This boot and this network namespace.
fn life() -> Result<String, StoreError> {
    let boot = Path::new("/proc/sys/kernel/random/boot_id");
    let namespace = Path::new("/proc/thread-self/ns/net");
    let boot_id = fs::read_to_string(boot).map_err(at(boot))?;
    let namespace = fs::read_link(namespace).map_err(at(namespace))?;
    Ok(format!("{} {}", boot_id.trim(), namespace.display()))
}
