//! The project's own scenarios: the end-to-end tests, as a program that was built before.
//!
//! Touches that program.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// Where the image has the program.
const INSTALLED: &str = "/usr/lib/announcer-lab/e2e";
/// The variable that names another one.
const VARIABLE: &str = "ANNOUNCER_LAB_E2E";

/// Plays the scenarios with these words in their names, or all of them; the exit code is that of the first program run that failed.
///
/// # Errors
/// When the program is missing.
pub(crate) fn own(words: &[String]) -> Result<ExitCode> {
    let program = std::env::var_os(VARIABLE).map_or(PathBuf::from(INSTALLED), PathBuf::from);
    if !program.is_file() {
        bail!(
            "{} is missing, which plays the scenarios of the project: it is in the lab's image; in a clone run `make e2e ONE=crash`, \
             or name the program in {VARIABLE}. `--config` and `--router` play your own files",
            program.display()
        );
    }
    let runs: Vec<&[String]> = if words.is_empty() { vec![&[]] } else { words.chunks(1).collect() };
    for arguments in runs {
        let status =
            Command::new(&program).args(arguments).status().with_context(|| program.display().to_string())?;
        if !status.success() {
            return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
        }
    }
    Ok(ExitCode::SUCCESS)
}
