//! Reads the configuration's files, for a command and for a running daemon.
//!
//! Touches the main file, the folder `conf.d` beside it with its files, and the files of certificates that it names, only through [`files::io`](crate::files::io).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::kind::certificate::CheckFiles;
use super::sources::{Sources, Variable, files_of_folder, folder_of};
use super::warnings::{FileState, of_files};
use super::{Config, ConfigDigest, ConfigErrors, canonical, parse_sources};
use crate::files::io::{self as files, FileError, FileVersion, Files};

/// The longest configuration, in octets, all files together: about 100,000 services.
const LONGEST: u64 = 64 * 1024 * 1024;
/// The longest credential, in octets.
const LONGEST_CREDENTIAL: u64 = 64 * 1024;
/// How often the file is checked for changes.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A file of the configuration, or its folder `conf.d`, cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("error: cannot read the configuration `{name}`: {error}")]
pub struct UnreadableFile {
    /// Its name in messages.
    pub name: String,
    /// The reason.
    pub error: FileError,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] UnreadableFile),
    /// The configuration has mistakes.
    #[error("{0}")]
    Wrong(#[from] ConfigErrors),
}

/// The texts of all files of a configuration.
#[derive(Debug, Clone)]
pub struct ConfigText {
    sources: Sources,
    digest: ConfigDigest,
}

/// The files that were read so far: their names in messages, and their octets.
#[derive(Debug, Default)]
struct FilesRead {
    files: Vec<(String, Vec<u8>)>,
    octets: u64,
}

impl FilesRead {
    /// How many octets the next file may have.
    fn most(&self) -> u64 {
        LONGEST.saturating_sub(self.octets)
    }

    fn add(&mut self, path: &Path, octets: Result<Vec<u8>, FileError>) -> Result<(), UnreadableFile> {
        let name = path.display().to_string();
        let octets = match octets {
            Ok(octets) => octets,
            Err(error) => return Err(UnreadableFile { name, error }),
        };
        self.octets += u64::try_from(octets.len()).unwrap_or(u64::MAX);
        self.files.push((name, octets));
        Ok(())
    }

    /// The text, without the values of its variables.
    fn finish(self) -> ConfigText {
        let digest = ConfigDigest::of_parts(self.files.iter().map(|(_, octets)| octets.as_slice()));
        ConfigText { sources: Sources::of_octets(self.files), digest }
    }
}

/// The paths of the files in the folder of `main`, in the order in which they are read.
fn others(folder: &Path, names: Result<Vec<OsString>, FileError>) -> Result<Vec<PathBuf>, UnreadableFile> {
    match names {
        Ok(names) => Ok(files_of_folder(names).into_iter().map(|name| folder.join(name)).collect()),
        Err(error) if error.is_not_found() => Ok(Vec::new()), // without the folder, there is one file
        Err(error) => Err(UnreadableFile { name: folder.display().to_string(), error }),
    }
}

/// The folder with the credentials that systemd gives to this process.
fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// The value of a variable; `None`: it is not set. A credential is read without the line break at its end.
fn variable(credentials: Option<&Path>, name: &str) -> Option<Variable> {
    match credentials.map(|folder| files::read_text(&folder.join(name), LONGEST_CREDENTIAL)) {
        Some(Ok(text)) => {
            let text =
                text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
            return Some(Variable::Credential(text.to_owned()));
        }
        Some(Err(error)) if !error.is_not_found() => {
            return Some(Variable::Unusable(format!("the credential cannot be read: {error}")));
        }
        Some(Err(_)) | None => {}
    }
    let value = std::env::var_os(name)?.into_string();
    Some(
        value.map_or_else(
            |_| Variable::Unusable("the variable is not UTF-8".to_owned()),
            Variable::Environment,
        ),
    )
}

impl ConfigText {
    /// The text of one file that was read elsewhere. `name` is its name in messages.
    pub fn new(name: String, text: String) -> Self {
        let mut read = FilesRead::default();
        read.files.push((name, text.into_bytes()));
        read.finish().with_variables()
    }

    /// Reads the main file and the files of `conf.d` beside it; `-` is standard input, which is one file. This function blocks.
    ///
    /// # Errors
    /// When a file cannot be read, or when users other than its owner and its group can write it or the folder.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let (text, unreadable) = Self::read_what_can_be_read(path)?;
        unreadable.into_iter().next().map_or(Ok(text), |first| Err(first.into()))
    }

    /// The same without the files of `conf.d` that cannot be read, which it also returns; `conf.d` itself can be one of them. This
    /// function blocks.
    ///
    /// # Errors
    /// When the main file cannot be read.
    pub fn read_what_can_be_read(path: &Path) -> Result<(Self, Vec<UnreadableFile>), UnreadableFile> {
        let mut read = FilesRead::default();
        if path == Path::new("-") {
            let mut octets = Vec::new();
            let result = io::stdin().take(LONGEST).read_to_end(&mut octets);
            read.add(Path::new("<stdin>"), result.map(|_| octets).map_err(FileError::from))?;
            return Ok((read.finish().with_variables(), Vec::new()));
        }
        read.add(path, files::read_trusted(path, read.most()))?;
        let folder = folder_of(path);
        let mut unreadable = Vec::new();
        let paths = others(&folder, files::names_of_trusted(&folder)).unwrap_or_else(|error| {
            unreadable.push(error);
            Vec::new()
        });
        for other in paths {
            let octets = files::read_trusted(&other, read.most());
            unreadable.extend(read.add(&other, octets).err());
        }
        Ok((read.finish().with_variables(), unreadable))
    }

    /// The same for a running daemon: each file, and the folder, has its own time limit, and the main thread never waits.
    ///
    /// # Errors
    /// As [`read`](ConfigText::read), and when a file system does not answer in time.
    pub async fn read_within(files: &Files, path: &Path) -> Result<Self, ReadError> {
        let mut read = FilesRead::default();
        let most = read.most();
        let octets = files.run(path, move |path| Ok(files::read_trusted(path, most))).await;
        read.add(path, octets.and_then(|octets| octets))?;
        let folder = folder_of(path);
        let names = files.run(&folder, |folder| Ok(files::names_of_trusted(folder))).await;
        for other in others(&folder, names.and_then(|names| names))? {
            let most = read.most();
            let octets = files.run(&other, move |path| Ok(files::read_trusted(path, most))).await;
            read.add(&other, octets.and_then(|octets| octets))?;
        }
        let text = read.finish();
        let folder = credentials();
        if text.sources.variable_names().is_empty() {
            return Ok(text);
        }
        let name = folder.clone().unwrap_or_default();
        let read = files.run(&name, move |_| Ok(text.with_variables())).await;
        read.map_err(|error| UnreadableFile { name: name.display().to_string(), error }.into())
    }

    /// Reads the values of the variables that the text names. A credential comes before a variable of the environment: systemd gives
    /// it to this unit alone, while a variable of the same name could be left over from elsewhere. This function blocks.
    fn with_variables(self) -> Self {
        let folder = credentials();
        let value = |name: String| Some((name.clone(), variable(folder.as_deref(), &name)?));
        let variables = self.sources.variable_names().into_iter().filter_map(value).collect();
        ConfigText { sources: self.sources.with_variables(variables), ..self }
    }

    /// The files.
    pub fn sources(&self) -> &Sources {
        &self.sources
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
        self.parse_looking(|_| Ok(()))
    }

    /// Parses the text, and checks the files that it cannot do without with `look`.
    ///
    /// # Errors
    /// All mistakes in the configuration and in these files.
    pub fn parse_looking(
        &self,
        look: impl Fn(&CheckFiles) -> Result<(), String>,
    ) -> Result<Config, ConfigErrors> {
        parse_sources(&self.sources, look)
    }

    /// One text that says the same without other files. `config` is what the text says. One file without
    /// variables is kept as it was written, with its comments and its line numbers.
    pub fn as_one_file(&self, config: &Config) -> String {
        self.sources.single().map_or_else(|| canonical(config), str::to_owned)
    }
}

/// A configuration that was read, as one text, and the digest of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedText {
    /// The text.
    pub text: Arc<str>,
    /// The digest of the octets of the files.
    pub digest: ConfigDigest,
}

/// Reads a configuration for a running daemon, with its text. `look` returns the problem with the files of a
/// check; it may block.
///
/// # Errors
/// As [`ConfigText::read`] and [`ConfigText::parse_looking`]; each file has its own time limit.
pub async fn load(
    files: &Files,
    path: &Path,
    look: impl Fn(&CheckFiles) -> Result<(), String> + Clone + Send + 'static,
) -> Result<(Config, LoadedText), ReadError> {
    let name = path.display().to_string();
    let unreadable = |error| UnreadableFile { name: name.clone(), error };
    let text = ConfigText::read_within(files, path).await?;
    let digest = text.digest();
    let (text, named) = off_thread(move || {
        let named = RefCell::new(BTreeSet::new());
        let parsed = text.parse_looking(|files| {
            named.borrow_mut().insert(files.clone());
            Ok(())
        });
        (text, parsed.map(|_| named.into_inner()))
    })
    .await
    .map_err(unreadable)?;
    let mut findings: BTreeMap<CheckFiles, String> = BTreeMap::new();
    for needed in named? {
        let (look, asked) = (look.clone(), needed.clone());
        match files.run(needed.path(), move |_| Ok(look(&asked))).await {
            Ok(Ok(())) => {}
            Ok(Err(finding)) => drop(findings.insert(needed, finding)),
            Err(error) => {
                let finding = format!("cannot read `{}`: {error}", needed.path().display());
                findings.insert(needed, finding);
            }
        }
    }
    let parsed = off_thread(move || {
        let look = |needed: &CheckFiles| findings.get(needed).map_or(Ok(()), |finding| Err(finding.clone()));
        text.parse_looking(look).map(|config| {
            let text = Arc::from(text.as_one_file(&config));
            (config, LoadedText { text, digest })
        })
    });
    Ok(parsed.await.map_err(unreadable)??)
}

/// Runs a long computation on another thread: a large file takes some time to parse.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FileError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| io::Error::other(error).into())
}

/// The state of the files.
fn state(text: Result<ConfigText, ReadError>, running: &Config) -> FileState {
    let wrong = |errors: &ConfigErrors| FileState::Wrong { files: errors.files(), errors: errors.len() };
    match text {
        Err(ReadError::Unreadable(UnreadableFile { name, error })) => {
            FileState::Unreadable { file: name, why: error.to_string() }
        }
        Err(ReadError::Wrong(errors)) => wrong(&errors),
        Ok(text) => match text.parse() {
            Err(errors) => wrong(&errors),
            Ok(config) if config == *running => FileState::Running,
            Ok(_) => FileState::Different,
        },
    }
}

/// What changes when the files change; `Err` has the reason why it cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct FileVersions {
    main: Result<FileVersion, String>,
    others: Result<Vec<(PathBuf, FileVersion)>, String>,
}

impl FileVersions {
    async fn read(files: &Files, path: &Path) -> Self {
        let main = files.run(path, files::version).await.map_err(|error| error.to_string());
        let folder = folder_of(path);
        let others = files.run(&folder, |folder| {
            let found = others(folder, files::names_of_trusted(folder)).map_err(io::Error::other)?;
            found.into_iter().map(|path| files::version(&path).map(|version| (path, version))).collect()
        });
        FileVersions { main, others: others.await.map_err(|error| error.to_string()) }
    }
}

/// Keeps `warning` up to date: a mistake in the configuration's files, or that they differ from the running configuration.
pub async fn watch_file(
    files: Files,
    path: PathBuf,
    mut configs: watch::Receiver<Arc<Config>>,
    warning: watch::Sender<Vec<String>>,
) {
    let mut seen = None;
    loop {
        let versions = FileVersions::read(&files, &path).await;
        let running = configs.has_changed().unwrap_or(false);
        if running || seen.as_ref() != Some(&versions) {
            let config = configs.borrow_and_update().clone();
            let (text, main) = (ConfigText::read_within(&files, &path).await, path.display().to_string());
            let state = off_thread(move || state(text, &config))
                .await
                .unwrap_or_else(|error| FileState::Unreadable { file: main.clone(), why: error.to_string() });
            warning.send_replace(of_files(&main, &state).into_iter().collect());
            seen = Some(versions);
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
