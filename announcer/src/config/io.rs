//! The configuration's file: read for a command, and read again for a running daemon.
//!
//! Touches the file, and the `ca_file`s that it names, through [`files::io`](crate::files::io) alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::warnings::{FileState, of_file};
use super::{Config, ConfigErrors, decode, parse, parse_looking};
use crate::files::io::{self as files, FileError, Files};

/// The longest configuration, in octets: some 100,000 services.
const LONGEST: u64 = 64 * 1024 * 1024;
/// How often it is looked whether the file has changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("error: cannot read the configuration `{0}`: {1}")]
    Unreadable(String, FileError),
    /// It says something that is wrong.
    #[error("{0}")]
    Wrong(#[from] ConfigErrors),
}

/// A configuration's text, and what messages call its file.
#[derive(Debug, Clone)]
pub struct ConfigText {
    name: String,
    text: String,
}

impl ConfigText {
    /// Reads a configuration, and blocks; `-` is standard input.
    ///
    /// # Errors
    /// When it cannot be read, or when others than its owner and its group can write it.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let (name, octets) = if path == Path::new("-") {
            let mut octets = Vec::new();
            let read = io::stdin().take(LONGEST).read_to_end(&mut octets);
            ("<stdin>".to_owned(), read.map(|_| octets).map_err(FileError::from))
        } else {
            (path.display().to_string(), files::read_trusted(path, LONGEST))
        };
        match octets {
            Ok(octets) => Ok(ConfigText { text: decode(&name, octets)?, name }),
            Err(error) => Err(ReadError::Unreadable(name, error)),
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(&self) -> Result<Config, ConfigErrors> {
        parse(&self.name, &self.text)
    }

    /// What it says, where `look` has nothing against the files that it cannot do without.
    ///
    /// # Errors
    /// Everything that is wrong with it or with them.
    pub fn parse_looking(&self, look: impl Fn(&Path) -> Result<(), String>) -> Result<Config, ConfigErrors> {
        parse_looking(&self.name, &self.text, look)
    }
}

/// Reads a configuration for a running daemon. `look` says what speaks against a `ca_file`; it may block.
///
/// # Errors
/// As [`ConfigText::read`] and [`ConfigText::parse_looking`]; each file has a time limit of its own.
pub async fn load(
    files: &Files,
    path: &Path,
    look: impl Fn(&Path) -> Result<(), String> + Clone + Send + 'static,
) -> Result<Config, ReadError> {
    let name = path.display().to_string();
    let unreadable = |error| ReadError::Unreadable(name.clone(), error);
    let text = files.run(path, |path| Ok(ConfigText::read(path))).await.map_err(unreadable)??;
    let (text, named) = off_thread(move || {
        let named = RefCell::new(BTreeSet::new());
        let parsed = text.parse_looking(|file| {
            named.borrow_mut().insert(file.to_owned());
            Ok(())
        });
        (text, parsed.map(|_| named.into_inner()))
    })
    .await
    .map_err(unreadable)?;
    let mut findings: BTreeMap<PathBuf, String> = BTreeMap::new();
    for file in named? {
        let look = look.clone();
        match files.run(&file, move |file| Ok(look(file))).await {
            Ok(Ok(())) => {}
            Ok(Err(finding)) => drop(findings.insert(file, finding)),
            Err(error) => {
                let finding = format!("cannot read `{}`: {error}", file.display());
                findings.insert(file, finding);
            }
        }
    }
    let parsed = off_thread(move || {
        text.parse_looking(|file| findings.get(file).map_or(Ok(()), |finding| Err(finding.clone())))
    });
    Ok(parsed.await.map_err(unreadable)??)
}

/// Runs what takes long on another thread: a large file takes a while to parse.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| io::Error::other(error).into())
}

/// What the file holds.
fn state(text: Result<ConfigText, ReadError>, running: &Config) -> FileState {
    match text {
        Err(ReadError::Unreadable(_, error)) => FileState::Unreadable(error.to_string()),
        Err(ReadError::Wrong(errors)) => FileState::Wrong(errors.len()),
        Ok(text) => match text.parse() {
            Err(errors) => FileState::Wrong(errors.len()),
            Ok(config) if config == *running => FileState::Running,
            Ok(_) => FileState::Different,
        },
    }
}

/// Keeps `warning` true: what is wrong with the configuration's file, or that it is another one than what runs.
pub async fn watch_file(
    files: Files,
    path: PathBuf,
    mut configs: watch::Receiver<Arc<Config>>,
    warning: watch::Sender<Vec<String>>,
) {
    let mut seen = None;
    loop {
        let version = files.run(&path, files::version).await.map_err(|error| error.to_string());
        let running = configs.has_changed().unwrap_or(false);
        if running || seen.as_ref() != Some(&version) {
            let config = configs.borrow_and_update().clone();
            let state = match files.run(&path, |path| Ok(ConfigText::read(path))).await {
                Err(error) => Err(error),
                Ok(text) => off_thread(move || state(text, &config)).await,
            };
            let state = state.unwrap_or_else(|error| FileState::Unreadable(error.to_string()));
            let sentence = of_file(&path.display().to_string(), &state);
            warning.send_replace(sentence.into_iter().collect());
            seen = Some(version);
        }
        tokio::select! {
            () = sleep(LOOK_AGAIN) => {}
            changed = configs.changed() => {
                if changed.is_err() {
                    return;
                }
                configs.mark_changed();
            }
        }
    }
}
