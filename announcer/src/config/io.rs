//! Reads the configuration's file, for a command and for a running daemon.
//!
//! Touches the file, and the `ca_file`s that it names, only through [`files::io`](crate::files::io).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::warnings::{FileState, of_file};
use super::{Config, ConfigDigest, ConfigErrors, decode, parse, parse_looking};
use crate::files::io::{self as files, FileError, Files};

/// The longest configuration, in octets: about 100,000 services.
const LONGEST: u64 = 64 * 1024 * 1024;
/// How often the file is checked for changes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("error: cannot read the configuration `{0}`: {1}")]
    Unreadable(String, FileError),
    /// The configuration has mistakes.
    #[error("{0}")]
    Wrong(#[from] ConfigErrors),
}

/// The text of a configuration, and the name of its file in messages.
#[derive(Debug, Clone)]
pub struct ConfigText {
    name: String,
    text: String,
    digest: ConfigDigest,
}

impl ConfigText {
    /// A text that was read elsewhere. `name` is the name of its file in messages.
    pub fn new(name: String, text: String) -> Self {
        let digest = ConfigDigest::of(text.as_bytes());
        ConfigText { name, text, digest }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Reads a configuration; `-` is standard input. This function blocks.
    ///
    /// # Errors
    /// When the file cannot be read, or when users other than its owner and its group can write it.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let (name, octets) = if path == Path::new("-") {
            let mut octets = Vec::new();
            let read = io::stdin().take(LONGEST).read_to_end(&mut octets);
            ("<stdin>".to_owned(), read.map(|_| octets).map_err(FileError::from))
        } else {
            (path.display().to_string(), files::read_trusted(path, LONGEST))
        };
        match octets {
            Ok(octets) => {
                let digest = ConfigDigest::of(&octets);
                Ok(ConfigText { text: decode(&name, octets)?, name, digest })
            }
            Err(error) => Err(ReadError::Unreadable(name, error)),
        }
    }

    /// The digest of the octets that were read.
    pub fn digest(&self) -> ConfigDigest {
        self.digest
    }

    /// What it says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(&self) -> Result<Config, ConfigErrors> {
        parse(&self.name, &self.text)
    }

    /// Parses the text, and checks the files that it cannot do without with `look`.
    ///
    /// # Errors
    /// All mistakes in the configuration and in these files.
    pub fn parse_looking(&self, look: impl Fn(&Path) -> Result<(), String>) -> Result<Config, ConfigErrors> {
        parse_looking(&self.name, &self.text, look)
    }
}

/// The text of a configuration that was read, and the digest of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedText {
    /// The text.
    pub text: Arc<str>,
    /// The digest of the file's octets.
    pub digest: ConfigDigest,
}

/// Reads a configuration for a running daemon, with its text. `look` returns the problem with a `ca_file`; it may block.
///
/// # Errors
/// As [`ConfigText::read`] and [`ConfigText::parse_looking`]; each file has its own time limit.
pub async fn load(
    files: &Files,
    path: &Path,
    look: impl Fn(&Path) -> Result<(), String> + Clone + Send + 'static,
) -> Result<(Config, LoadedText), ReadError> {
    let name = path.display().to_string();
    let unreadable = |error| ReadError::Unreadable(name.clone(), error);
    let text = files.run(path, |path| Ok(ConfigText::read(path))).await.map_err(unreadable)??;
    let digest = text.digest();
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
        let look = |file: &Path| findings.get(file).map_or(Ok(()), |finding| Err(finding.clone()));
        text.parse_looking(look).map(|config| (config, LoadedText { text: Arc::from(text.text), digest }))
    });
    Ok(parsed.await.map_err(unreadable)??)
}

/// Runs a long computation on another thread: a large file takes some time to parse.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| io::Error::other(error).into())
}

/// The state of the file.
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

/// Keeps `warning` up to date: a mistake in the configuration's file, or that the file differs from the running configuration.
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
