//! Reads and writes the copy of the last good configuration, and chooses what a start runs.
//!
//! Touches the configuration's file, the copy and /etc/machine-id, only through [`files::io`](crate::files::io). Only a daemon that
//! the unit starts (`--fallback`) writes the copy: a configuration that is tried by hand must never run later.
//!
//! No program that the daemon starts can write the copy: it is in the state directory, which Landlock protects
//! ([`program::confine`](crate::program::confine)). On a kernel without Landlock it is not used.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Uid;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use super::{Fallback, MachineId, Mentioned, NAME, check, reduce, write};
use crate::config::io::{ConfigText, UnreadableFile};
use crate::config::{Config, ConfigErrors};
use crate::files::io::{self as files, FileError, Files};
use crate::program::io::landlock_error;

/// The file with the number of the host (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";
/// The longest copy, in octets: more than the longest configuration. The copy of several files has every default of each service.
const LONGEST: u64 = 512 * 1024 * 1024;
/// The wait before a copy that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is wrong with the configuration's files at a start.
#[derive(Debug)]
pub struct StartErrors {
    /// The files of `conf.d` that cannot be read.
    pub unreadable: Vec<UnreadableFile>,
    /// The mistakes in the other files.
    pub wrong: Option<ConfigErrors>,
}

impl fmt::Display for StartErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unreadable = self.unreadable.iter().map(ToString::to_string);
        let all: Vec<String> = unreadable.chain(self.wrong.iter().map(ToString::to_string)).collect();
        f.write_str(&all.join("\n"))
    }
}

/// What a start runs.
#[derive(Debug)]
pub struct StartConfig {
    /// The configuration.
    pub config: Config,
    /// Its text.
    pub text: ConfigText,
    /// What is wrong with the configuration's files, and what runs instead of them; `None`: they are good, and run.
    pub instead: Option<(StartErrors, Fallback)>,
}

/// Reads the configuration's files. If they are wrong, or if a file of `conf.d` cannot be read, and if `allowed`, reads the copy in
/// `state_dir`. Blocks.
///
/// # Errors
/// A text for standard error: what is wrong with the files, and why the copy is not used.
pub fn choose(file: &Path, state_dir: &Path, allowed: bool) -> Result<StartConfig, String> {
    let (text, unreadable) = ConfigText::read_what_can_be_read(file).map_err(|error| error.to_string())?;
    let wrong = match text.parse() {
        Ok(config) if unreadable.is_empty() => return Ok(StartConfig { config, text, instead: None }),
        Ok(_) => None,
        Err(errors) => Some(errors),
    };
    let mentioned = Mentioned::of(text.sources().texts(), text.sources().variables());
    let errors = StartErrors { unreadable, wrong };
    if !allowed {
        return Err(errors.to_string());
    }
    let copy = state_dir.join(NAME);
    let (config, text) = read_copy(&copy).map_err(|why| {
        format!("{errors}\nerror: the last good configuration `{}` is not used: {why}", copy.display())
    })?;
    let unreadable: Vec<String> = errors.unreadable.iter().map(|file| file.name.clone()).collect();
    let (config, unmentioned) = reduce(config, &mentioned, unreadable.is_empty());
    let wrong = errors.wrong.iter().flat_map(ConfigErrors::files).chain(unreadable.iter().cloned());
    let fallback = Fallback {
        wrong: wrong.collect(),
        errors: errors.wrong.as_ref().map_or(0, ConfigErrors::len) + unreadable.len(),
        unreadable,
        copy: copy.display().to_string(),
        unmentioned,
    };
    Ok(StartConfig { config, text, instead: Some((errors, fallback)) })
}

/// Reads the copy; the error is the rest of a sentence.
fn read_copy(path: &Path) -> Result<(Config, ConfigText), String> {
    if let Some(why) = landlock_error().filter(|_| !Uid::effective().is_root()) {
        return Err(format!("a program of a check or a hook could have written it, because {why}"));
    }
    let octets = files::read_trusted(path, LONGEST).map_err(|error| error.to_string())?;
    let copy = String::from_utf8(octets).map_err(|_| FileError::NotText.to_string())?;
    check(&copy, &machine()?).map_err(|error| error.to_string())?;
    let text = ConfigText::new(path.display().to_string(), copy);
    let config = text.parse().map_err(|errors| format!("it is wrong\n{errors}"))?;
    Ok((config, text))
}

/// The number of this host; the error is the rest of a sentence.
fn machine() -> Result<MachineId, String> {
    let text = files::read_text(Path::new(MACHINE_ID), 1024);
    let text = text.map_err(|error| format!("`{MACHINE_ID}` cannot be read: {error}"))?;
    MachineId::parse(&text).ok_or_else(|| format!("`{MACHINE_ID}` has no machine-id"))
}

/// Writes the copy of each applied configuration; never returns. `applied` has the text of the newest.
pub async fn keep(files: Files, state_dir: PathBuf, mut applied: watch::Receiver<Option<Arc<str>>>) {
    loop {
        let text = applied.borrow_and_update().clone();
        let written = match text {
            Some(text) => store(&files, &state_dir, text).await,
            None => Ok(()),
        };
        if let Err(error) = &written {
            warn!(folder = %state_dir.display(), error, "last good configuration was not stored, trying again in a minute");
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = sleep(AGAIN), if written.is_err() => {}
        }
    }
}

async fn store(files: &Files, state_dir: &Path, text: Arc<str>) -> Result<(), String> {
    let (copy, folder) = (state_dir.join(NAME), state_dir.to_owned());
    let written = files.run(&copy, move |_| {
        let machine = match machine() {
            Ok(machine) => machine,
            Err(why) => return Ok(Err(why)),
        };
        files::replace_private(&folder, NAME, &write(&text, &machine)).map(Ok)
    });
    written.await.map_err(|error| error.to_string())?
}
