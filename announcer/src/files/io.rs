//! The door to the disk: only this module reads and writes the daemon's files.
//!
//! Touches the file system, on tokio's threads for blocking work. A file system can hang (NFS, a broken disk). Then only the
//! requests for that path may be affected. So:
//!
//! - No request runs on the main thread.
//! - At most [`MAX_RUNNING`] requests run at a time. A request that takes long returns its place, so that hanging requests do not
//!   stop others.
//! - Only one request per path runs. The next one for the same path waits for it, within its own time limit.
//! - Each request has a time limit. The path of a hanging request is published for `status`, until the request returns.

pub mod keep;
pub mod lock;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dsr_setup::io::regular;
use tokio::sync::{Mutex as Lane, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{timeout, timeout_at};
use tracing::{info, warn};

/// How many requests run at a time.
pub const MAX_RUNNING: usize = 8;
/// How long a request keeps its place. Normal files need much less time.
const SOON: Duration = Duration::from_millis(100);
/// How long a request may take.
pub const LIMIT: Duration = Duration::from_secs(2);

/// The paths whose file system does not answer, and since when.
pub type HangingPaths = BTreeMap<PathBuf, Instant>;

/// The warnings about hanging paths, one sentence each.
pub fn warnings(hanging: &HangingPaths, now: Instant) -> Vec<String> {
    let sentence = |(path, since): (&PathBuf, &Instant)| {
        let seconds = Duration::from_secs(now.saturating_duration_since(*since).as_secs());
        format!(
            "the file system of `{}` has not answered for {}",
            path.display(),
            humantime::format_duration(seconds)
        )
    };
    hanging.iter().map(sentence).collect()
}

/// Why a request failed. Each `Display` is the rest of a sentence that begins with the file's name. It is complete, so there is no
/// `source`, which would be printed a second time.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused it.
    #[error("{}", sentence(.0))]
    Io(io::Error),
    /// There was no answer within the time limit.
    #[error("there is no answer from the file system within {}", humantime::format_duration(*.0))]
    Hangs(Duration),
    /// Other requests were not finished within the time limit.
    #[error("too many other files were being read or written for {}", humantime::format_duration(*.0))]
    Busy(Duration),
    /// It is larger than the caller's limit.
    #[error("the file is larger than {0} octets")]
    TooLarge(u64),
    /// It is a directory, a FIFO, a socket or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// Every user of the host can write it; with its permission bits.
    #[error("others can write it (mode {0:04o}): remove this permission with `chmod o-w`")]
    WritableByOthers(u32),
    /// It is not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotText,
}

impl From<regular::FileError> for FileError {
    fn from(error: regular::FileError) -> Self {
        match error {
            regular::FileError::Io(error) => FileError::Io(error),
            regular::FileError::NotRegular => FileError::NotRegular,
            regular::FileError::TooLarge(most) => FileError::TooLarge(most),
            regular::FileError::WritableByOthers(mode) => FileError::WritableByOthers(mode),
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        FileError::Io(error)
    }
}

impl FileError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            FileError::Io(error) => error.kind() == io::ErrorKind::NotFound,
            FileError::Hangs(_)
            | FileError::Busy(_)
            | FileError::TooLarge(_)
            | FileError::NotRegular
            | FileError::WritableByOthers(_)
            | FileError::NotText => false,
        }
    }
}

/// The message of the system, without Rust's `(os error 2)`.
pub fn sentence(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The door to the disk. Clones share the same door. A daemon has one, and each test has its own.
#[derive(Debug, Clone)]
pub struct Files(Arc<Door>);

#[derive(Debug)]
struct Door {
    places: Arc<Semaphore>,
    /// The paths with a running or waiting request.
    lanes: Mutex<BTreeMap<PathBuf, Arc<Lane<()>>>>,
    hanging: watch::Sender<HangingPaths>,
    /// How long a request keeps its place.
    soon: Duration,
}

impl Default for Files {
    fn default() -> Self {
        Files::new()
    }
}

impl Files {
    /// A new, separate door.
    pub fn new() -> Self {
        Self::with_places_for(SOON)
    }

    fn with_places_for(soon: Duration) -> Self {
        let (places, lanes) = (Arc::new(Semaphore::new(MAX_RUNNING)), Mutex::default());
        Files(Arc::new(Door { places, lanes, hanging: watch::Sender::default(), soon }))
    }

    /// The paths that hang now, with each change.
    pub fn hanging(&self) -> watch::Receiver<HangingPaths> {
        self.0.hanging.subscribe()
    }

    /// Reads a regular file of at most `most` octets.
    ///
    /// # Errors
    /// See [`FileError`]; never later than [`LIMIT`], and twice that while another request for the path is under way.
    pub async fn read(&self, path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
        self.run(path, move |path| Ok(read(path, most))).await?
    }

    /// Reads a regular file of at most `most` octets as text.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when it is not UTF-8.
    pub async fn read_text(&self, path: &Path, most: u64) -> Result<String, FileError> {
        String::from_utf8(self.read(path, most).await?).map_err(|_| FileError::NotText)
    }

    /// Runs other file work for `path` on a thread where it may block, within [`LIMIT`].
    ///
    /// # Errors
    /// Those of `work`, and [`FileError::Hangs`]. Hanging work is not cancelled: it may still finish later.
    pub async fn run<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileError> {
        self.run_within(path, LIMIT, work).await
    }

    /// Runs other file work for `path` on a thread where it may block, within `limit`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_within<T: Send + 'static>(
        &self,
        path: &Path,
        limit: Duration,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileError> {
        let (reply, answer) = oneshot::channel();
        // A separate task keeps the limits correct if the caller stops waiting.
        tokio::spawn(self.clone().serve(path.to_owned(), limit, work, reply));
        answer.await.unwrap_or_else(|_| Err(io::Error::other("announcer is ending").into()))
    }

    async fn serve<T: Send + 'static>(
        self,
        path: PathBuf,
        limit: Duration,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
        reply: oneshot::Sender<Result<T, FileError>>,
    ) {
        let lane = self.lane(&path);
        match self.enter(&lane, limit).await {
            Ok(_) if reply.is_closed() => {} // the caller has ended, and nothing was started
            Ok((turn, place)) => {
                let at = path.clone();
                let running = tokio::task::spawn_blocking(move || {
                    let _turn = turn; // the path's next request starts when this one has really ended
                    work(&at)
                });
                self.finish(&path, limit, running, place, reply).await;
            }
            Err(error) => drop(reply.send(Err(error))), // the caller may have gone
        }
        self.leave(&path, lane);
    }

    /// Waits for the path's turn and for a place, both within `limit`.
    async fn enter(
        &self,
        lane: &Arc<Lane<()>>,
        limit: Duration,
    ) -> Result<(tokio::sync::OwnedMutexGuard<()>, OwnedSemaphorePermit), FileError> {
        let until = tokio::time::Instant::now() + limit;
        let turn = timeout_at(until, lane.clone().lock_owned()).await;
        let turn = turn.map_err(|_| FileError::Hangs(limit))?;
        match timeout_at(until, self.0.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok((turn, place)),
            Ok(Err(_)) | Err(_) => Err(FileError::Busy(limit)),
        }
    }

    async fn finish<T>(
        &self,
        path: &Path,
        limit: Duration,
        mut running: tokio::task::JoinHandle<io::Result<T>>,
        place: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<T, FileError>>,
    ) {
        let ended = |ended: Result<io::Result<T>, tokio::task::JoinError>| {
            Ok(ended.unwrap_or_else(|error| Err(io::Error::other(error)))?)
        };
        let soon = self.0.soon.min(limit);
        if let Ok(result) = timeout(soon, &mut running).await {
            drop(reply.send(ended(result))); // the caller may have gone
            return;
        }
        drop(place);
        match timeout(limit - soon, &mut running).await {
            Ok(result) => drop(reply.send(ended(result))), // the caller may have gone
            Err(_) => {
                let since = Instant::now();
                self.0.hanging.send_modify(|hanging| hanging.extend([(path.to_owned(), since)]));
                warn!(file = %path.display(), "file system does not answer");
                let _ = reply.send(Err(FileError::Hangs(limit))); // the caller may have gone
                let _ = running.await; // its result is too late now
                self.0.hanging.send_modify(|hanging| hanging.retain(|other, _| other != path));
                info!(file = %path.display(), "file system answered again");
            }
        }
    }

    fn lane(&self, path: &Path) -> Arc<Lane<()>> {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(path.to_owned()).or_default().clone()
    }

    /// Forgets a path without requests. Lanes are cloned under the same lock, so that no request is missed.
    fn leave(&self, path: &Path, lane: Arc<Lane<()>>) {
        let mut lanes = self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        drop(lane);
        if lanes.get(path).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            lanes.remove(path);
        }
    }
}

/// Reads a regular file of at most `most` octets. Blocks; for commands, and for work within [`Files::run`].
///
/// # Errors
/// See [`FileError`], of which `Hangs` does not occur.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    Ok(read_with_mode(path, most)?.0)
}

/// Reads a regular file of at most `most` octets as text, and blocks.
///
/// # Errors
/// As [`read`](fn@read), and when it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, most)?).map_err(|_| FileError::NotText)
}

/// Reads a file with which others could control the daemon. Blocks.
///
/// # Errors
/// As [`read`](fn@read), and when every user of the host can write the file.
pub fn read_trusted(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    Ok(regular::read_trusted(path, most)?)
}

/// A file with a secret, and its permissions.
#[derive(Debug)]
pub struct Secret {
    /// The contents of the file.
    pub octets: Vec<u8>,
    /// The permission bits of the file.
    pub mode: u32,
    /// The permission bits of its folder.
    pub folder_mode: u32,
}

/// Reads a regular file of at most `most` octets with its permissions, and blocks.
///
/// # Errors
/// As [`read`](fn@read), and when the permissions of its folder cannot be read.
pub fn read_secret(path: &Path, most: u64) -> Result<Secret, FileError> {
    let (octets, mode) = read_with_mode(path, most)?;
    let folder_mode =
        path.parent().map_or(Ok(0), |folder| fs::metadata(folder).map(|folder| folder.mode()))?;
    Ok(Secret { octets, mode, folder_mode: folder_mode & 0o7777 })
}

fn read_with_mode(path: &Path, most: u64) -> Result<(Vec<u8>, u32), FileError> {
    Ok(regular::read_with_mode(path, most)?)
}

/// Reads the first `most` octets of a regular file, and blocks. A symbolic link to a missing file has its own error, and never
/// [`NotFound`](io::ErrorKind::NotFound), because the name exists.
///
/// # Errors
/// Those of the file system.
pub fn read_start(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    match fs::metadata(path) {
        Ok(file) if file.is_file() => {}
        Ok(_) => return Err(io::Error::other("it is not a regular file")),
        Err(error) => return Err(regular::dangling(path, error)),
    }
    let mut octets = Vec::new();
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?
        .take(most)
        .read_to_end(&mut octets)?;
    Ok(octets)
}

/// Makes a folder and its parents; an existing folder is not changed. Blocks.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// The names of the files in a folder. Blocks.
///
/// # Errors
/// Those of the file system.
pub fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The names of the files in a folder whose files could control the daemon. Blocks.
///
/// # Errors
/// Those of the file system, and when every user of the host can write to the folder. As [`read_start`], a symbolic link that leads
/// nowhere is not [`NotFound`](io::ErrorKind::NotFound).
pub fn names_of_trusted(folder: &Path) -> Result<Vec<OsString>, FileError> {
    let metadata = fs::metadata(folder).map_err(|error| regular::dangling(folder, error))?;
    let mode = metadata.mode() & 0o7777;
    match regular::is_writable_by_others(mode) {
        true => Err(FileError::WritableByOthers(mode)),
        false => Ok(names(folder)?),
    }
}

/// Makes or replaces a file in one step, so that it survives a power cut. It is first written to `folder/.NAME.new`; what already
/// exists there is removed and never opened, because a FIFO would block, and a symbolic link would lead to another file. On a full
/// disk the file is empty. Blocks.
///
/// # Errors
/// When the file does not exist afterwards.
pub fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    replace_by(folder, name, |file| match file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => file.set_len(0),
        other => other,
    })
}

/// As [`replace`], for a file that everybody may read. On a full disk the old file stays. Blocks.
///
/// # Errors
/// When the file was not replaced.
pub fn replace_public(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    replace_by(folder, name, |file| {
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
}

/// As [`replace`], for a file that only its owner may read. On a full disk the old file stays. Blocks.
///
/// # Errors
/// When the file was not replaced.
pub fn replace_private(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    replace_by(folder, name, |file| {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
}

fn replace_by(folder: &Path, name: &str, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = folder.join(format!(".{name}.new"));
    let written = regular::create(&new).and_then(|mut file| write(&mut file));
    let renamed = written.and_then(|()| fs::rename(&new, folder.join(name)));
    if renamed.is_err() {
        let _ = fs::remove_file(&new); // the error above is the one that is returned
        return renamed;
    }
    File::open(folder)?.sync_all()
}

/// Removes a file; `false`: it did not exist. Blocks.
///
/// # Errors
/// When it exists and cannot be removed.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Changes the group of a file. Blocks.
///
/// # Errors
/// Those of the file system.
pub fn give_to_group(path: &Path, group: u32) -> io::Result<()> {
    chown(path, None, Some(group))
}

/// The number of the file system of a path. Blocks.
///
/// # Errors
/// Those of the file system.
pub fn device(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.dev())
}

/// Whether a file exists; on an error the result is false. Blocks.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// The problem with a program: it does not exist, it is not a file, or nobody may execute it. A path of which nothing can be seen
/// is no problem that was seen. Blocks.
///
/// # Errors
/// A sentence that continues the path, as in `does not exist`.
pub fn check_program(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            Err("does not exist".to_owned())
        }
        Err(_) => Ok(()),
        Ok(file) if !file.is_file() => Err("is not a regular file".to_owned()),
        Ok(file) if file.mode() & 0o111 == 0 => Err("is not executable".to_owned()),
        Ok(_) => Ok(()),
    }
}

/// Distinguishes two versions of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// The version of a file, and blocks.
///
/// # Errors
/// Those of the file system.
pub fn version(path: &Path) -> io::Result<FileVersion> {
    let file = fs::metadata(path)?;
    let changed = (file.ctime(), file.ctime_nsec());
    Ok(FileVersion { device: file.dev(), inode: file.ino(), size: file.size(), changed })
}

#[cfg(test)]
mod tests;
