//! The drain files: read at the start, watched by inotify, written for the control socket.
//!
//! Touches the file system below the state directory.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{Inotify, WatchMask};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Drain, Drains};

/// The drain directory below a state directory.
pub fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("drain")
}

/// Reads the drains in force; a directory that is not there is made.
///
/// # Errors
/// When the directory can neither be read nor made: then nobody knows what is drained.
pub fn read(dir: &Path) -> io::Result<Drains> {
    fs::create_dir_all(dir)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match read_file(&entry.path()) {
            Err(e) if e.kind() == ErrorKind::NotFound => {} // removed since the directory was listed
            Err(e) => files.push((name, Err(e.to_string()))),
            Ok(text) => files.push((name, Ok(text))),
        }
    }
    Ok(Drains::from_files(files))
}

/// A drain file's text, of which 4 KiB are enough for anyone; a FIFO or a device is no drain's text and is not opened.
fn read_file(path: &Path) -> io::Result<String> {
    use std::io::Read;
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = Vec::new();
    fs::File::open(path)?.take(4096).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Makes or replaces a drain file. On a full disk it is left empty, which drains as well.
///
/// # Errors
/// When there is no drain file afterwards.
pub fn write(dir: &Path, name: &str, drain: &Drain) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let new = dir.join(format!(".{name}.new"));
    let written = fs::File::create(&new).and_then(|mut file| {
        match file.write_all(drain.to_file().as_bytes()).and_then(|()| file.sync_all()) {
            Err(e) if e.kind() == ErrorKind::StorageFull => file.set_len(0),
            other => other,
        }
    });
    let renamed = written.and_then(|()| fs::rename(&new, dir.join(name)));
    if renamed.is_err() {
        let _ = fs::remove_file(&new); // the error that counts is the one above
        return renamed;
    }
    fs::File::open(dir)?.sync_all() // a drain outlives a power cut
}

/// Removes a drain file; `false` when there was none.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(dir: &Path, name: &str) -> io::Result<bool> {
    match fs::remove_file(dir.join(name)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Runs file work where a disk that stalls holds up no session.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Tells of every change of the directory, for ever; reads it anew at each start, so that nothing is missed between.
pub async fn watch(dir: PathBuf, facts: mpsc::Sender<Drains>) {
    let mut complained = false;
    loop {
        match watch_once(&dir, &facts).await {
            Ok(()) => complained = false,
            Err(e) if !complained => {
                warn!(directory = %dir.display(), error = %e, "drain files are not watched, read every second");
                complained = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Returns when the directory itself was moved or removed.
async fn watch_once(dir: &Path, facts: &mpsc::Sender<Drains>) -> io::Result<()> {
    let tell = async || {
        let owned = dir.to_path_buf();
        let drains = blocking(move || read(&owned)).await?; // on an error what was drained stays drained
        facts.send(drains).await.map_err(|_| io::Error::other("the daemon is ending"))
    };
    fs::create_dir_all(dir)?;
    let inotify = match Inotify::init() {
        Ok(inotify) => inotify,
        Err(e) => return tell().await.and(Err(e)),
    };
    let files =
        WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
    let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
    if let Err(e) = inotify.watches().add(dir, files | itself) {
        return tell().await.and(Err(e));
    }
    tell().await?;
    let mut events = inotify.into_event_stream([0; 4096])?;
    while let Some(event) = events.next().await {
        let gone =
            inotify::EventMask::DELETE_SELF | inotify::EventMask::MOVE_SELF | inotify::EventMask::IGNORED;
        if event?.mask.intersects(gone) {
            info!(directory = %dir.display(), "drain directory was removed, made again");
            return Ok(());
        }
        tell().await?;
    }
    Ok(())
}
