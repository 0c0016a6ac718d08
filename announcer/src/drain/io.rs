//! The drain folder and its one owner: read at the start, watched by inotify, changed for commands.
//!
//! Touches the file system below the state directory, through [`files::io`](crate::files::io) alone. Only this task sends drains to
//! the director, in the order in which the folder was read, so that an old copy cannot arrive after a newer one. A command sends
//! its change to this task, and gets the generation of the Loc-RIB that contains the change.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Drain, DrainChange, DrainFolderReport, Drains, ForgivenServices};
use crate::files::io::{self as files, FileError, Files, LIMIT};
use crate::model::Generation;

/// The most octets that are read of a drain file.
const LONGEST_FILE: u64 = 4096;
/// A change of many names may take this many times [`LIMIT`].
const MOST_LIMITS: u32 = 5;
/// The time between two reads of a folder that is not watched or cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The request of a command for a change.
#[derive(Debug)]
pub struct DrainRequest {
    /// What to change.
    pub change: DrainChange,
    /// The channel for the result.
    pub reply: oneshot::Sender<Result<AppliedChange, DrainError>>,
}

/// The result of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedChange {
    /// The first generation of the Loc-RIB that contains the change.
    pub generation: Generation,
    /// Names of an undrain that had no drain file.
    pub absent: Vec<String>,
}

/// Why a change was not made, or not completely.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The folder or a file in it.
    #[error("the drain folder `{0}` cannot be changed: {1}")]
    Folder(String, FileError),
    /// There was no answer in time. The change may have been made, or may be made later.
    #[error(
        "the change of the drain folder `{0}` was not confirmed: {1}; `announcer status` says what is drained"
    )]
    Unconfirmed(String, FileError),
    /// The daemon ends.
    #[error("announcer is ending")]
    Ending,
}

/// The fact for the director: the contents of the folder, and the services whose flaps are forgotten.
#[derive(Debug)]
pub struct DrainFact {
    /// All drains in force.
    pub drains: Drains,
    /// The services whose flaps are forgotten.
    pub forgiven: ForgivenServices,
    /// The channel for the generation in which this holds; `None`: no command waits for it.
    pub applied: Option<oneshot::Sender<Generation>>,
}

/// The requests of commands. A restarted task continues with the waiting requests.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Mutex<mpsc::Receiver<DrainRequest>>>);

/// A channel for requests.
pub fn requests() -> (mpsc::Sender<DrainRequest>, Requests) {
    let (sender, receiver) = mpsc::channel(16);
    (sender, Requests(Arc::new(Mutex::new(receiver))))
}

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
fn read_existing(folder: &Path) -> io::Result<Drains> {
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

/// Makes a change; returns the names of an undrain that had no drain file. Blocks.
///
/// # Errors
/// Those of the file system. Changes before the error are not undone.
pub fn change(folder: &Path, change: &DrainChange) -> io::Result<Vec<String>> {
    match change {
        DrainChange::Drain { names, drain } => {
            names.iter().try_for_each(|name| write(folder, name, drain))?;
            Ok(Vec::new())
        }
        DrainChange::Undrain { names } => {
            let mut absent = Vec::new();
            for name in names {
                if !files::remove(&folder.join(name))? {
                    absent.push(name.clone());
                }
            }
            Ok(absent)
        }
    }
}

/// The owner of the drain folder.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The folder.
    pub folder: PathBuf,
    /// The door to the disk.
    pub files: Files,
    /// To the director.
    pub facts: mpsc::Sender<DrainFact>,
    /// The published state.
    pub state: watch::Sender<DrainFolderReport>,
}

impl Owner {
    /// Serves requests and follows the folder; never returns. It reads the folder at each start, so that no change is missed.
    pub async fn run(self, requests: Requests) {
        let mut requests = requests.0.lock().await;
        let (mut events, mut complained) = (None, false);
        let mut folder = Folder::default();
        loop {
            if events.is_none() {
                events = match self.watch(&folder).await {
                    Ok(events) => Some(events),
                    Err(error) => {
                        if !complained {
                            warn!(folder = %self.folder.display(), %error, "drain folder is not watched, read every second");
                        }
                        None
                    }
                };
                complained = events.is_none();
                self.refresh(&mut folder, None).await;
            }
            let look_again = events.is_none() || self.state.borrow().unreadable.is_some();
            tokio::select! {
                Some(request) = requests.recv() => self.serve(request, &mut folder).await,
                event = next(&mut events) => match event {
                    FolderEvent::Content => drop(self.refresh(&mut folder, None).await),
                    FolderEvent::Removed => {
                        info!(folder = %self.folder.display(), "drain folder was removed, made again");
                        folder.make = true;
                        events = None;
                    }
                    FolderEvent::Away => {
                        warn!(folder = %self.folder.display(), "drain folder was moved or unmounted, drained services stay \
                            drained");
                        folder.away = true;
                        events = None;
                    }
                },
                () = sleep(LOOK_AGAIN), if look_again => {
                    if folder.away {
                        events = None;
                    }
                    self.refresh(&mut folder, None).await;
                }
            }
        }
    }

    async fn serve(&self, DrainRequest { change, reply }: DrainRequest, folder: &mut Folder) {
        // Each file is written and synced separately.
        let names = match &change {
            DrainChange::Drain { names, .. } | DrainChange::Undrain { names } => names.len(),
        };
        let limit = LIMIT * u32::try_from(names).unwrap_or(u32::MAX).clamp(1, MOST_LIMITS);
        folder.forgiven = folder.forgiven.clone().and(change.forgiven());
        let changed =
            self.files.run_within(&self.folder, limit, move |folder| self::change(folder, &change)).await;
        let name = || self.folder.display().to_string();
        let done = match changed {
            // After an error, the folder is read, so that a partial change is known.
            Err(error) => {
                self.refresh(folder, None).await;
                let hangs = matches!(error, FileError::Hangs(_));
                Err(if hangs {
                    DrainError::Unconfirmed(name(), error)
                } else {
                    DrainError::Folder(name(), error)
                })
            }
            Ok(absent) => {
                folder.away = false; // a command has changed this folder, so it counts again
                folder.device = None;
                let (applied, generation) = oneshot::channel();
                match self.refresh(folder, Some(applied)).await {
                    Some(error) => Err(DrainError::Unconfirmed(name(), error)),
                    None => match generation.await {
                        Ok(generation) => Ok(AppliedChange { generation, absent }),
                        Err(_) => Err(DrainError::Ending),
                    },
                }
            }
        };
        let _ = reply.send(done); // the requester may have ended
    }

    /// Reads the folder, and publishes the result to the director and all others. Returns the error if it could not be read. Then
    /// the drains stay, and flaps that should be forgotten are forgotten at the next read.
    async fn refresh(
        &self,
        folder: &mut Folder,
        applied: Option<oneshot::Sender<Generation>>,
    ) -> Option<FileError> {
        let known = folder.clone();
        let read = self.files.run(&self.folder, move |path| {
            if known.away && known.device != Some(files::device(path)?) {
                return Err(io::Error::other("it was moved or unmounted"));
            }
            let drains = if known.make { read(path)? } else { read_existing(path)? };
            Ok((drains, files::device(path)?))
        });
        match read.await {
            Ok((drains, device)) => {
                (folder.away, folder.make, folder.device) = (false, false, Some(device));
                let forgiven = std::mem::replace(&mut folder.forgiven, ForgivenServices::Nobody);
                self.publish(|state| *state = DrainFolderReport { drains: drains.clone(), unreadable: None });
                let _ = self.facts.send(DrainFact { drains, forgiven, applied }).await; // if this fails, the daemon is ending
                None
            }
            Err(error) => {
                let why = error.to_string();
                if self.state.borrow().unreadable.as_ref() != Some(&why) {
                    warn!(folder = %self.folder.display(), error = why, "drain folder was not read, drained services stay drained");
                }
                self.publish(|state| state.unreadable = Some(why));
                Some(error)
            }
        }
    }

    fn publish(&self, change: impl FnOnce(&mut DrainFolderReport)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }

    /// Begins to watch the folder.
    async fn watch(&self, known: &Folder) -> Result<EventStream<[u8; 4096]>, FileError> {
        let content = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB;
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
        let make = known.make;
        let begin = move |folder: &Path| {
            if make {
                files::make_folder(folder)?;
            }
            let inotify = Inotify::init()?;
            inotify.watches().add(folder, content | itself)?;
            Ok(inotify)
        };
        Ok(self.files.run(&self.folder, begin).await?.into_event_stream([0; 4096])?)
    }
}

/// The state of the folder between two reads.
#[derive(Debug, Clone)]
struct Folder {
    /// The file system of the folder at the last read.
    device: Option<u64>,
    /// The folder was moved or unmounted. A folder that is in its place now does not have the drains.
    away: bool,
    /// Whether a missing folder is made: at the start, and after it was removed. A folder that is missing for another reason is not
    /// made again, because an empty folder would end every drain.
    make: bool,
    /// The services whose flaps are forgotten at the next read.
    forgiven: ForgivenServices,
}

impl Default for Folder {
    fn default() -> Self {
        Folder { device: None, away: false, make: true, forgiven: ForgivenServices::Nobody }
    }
}

/// An event of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderEvent {
    /// Its contents have changed.
    Content,
    /// It was removed.
    Removed,
    /// It was moved, or its file system was unmounted.
    Away,
}

/// Waits for events, and reads all that are available.
async fn next(events: &mut Option<EventStream<[u8; 4096]>>) -> FolderEvent {
    let Some(events) = events else { return pending().await };
    let (mut event, mut seen) = (events.next().await, FolderEvent::Content);
    loop {
        match event {
            Some(Ok(event)) if event.mask.intersects(EventMask::MOVE_SELF | EventMask::UNMOUNT) => {
                return FolderEvent::Away;
            }
            Some(Ok(event)) if event.mask.intersects(EventMask::DELETE_SELF | EventMask::IGNORED) => {
                seen = FolderEvent::Removed;
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return FolderEvent::Removed,
        }
        match events.next().now_or_never() {
            Some(more) => event = more,
            None => return seen,
        }
    }
}

#[cfg(test)]
mod tests;
