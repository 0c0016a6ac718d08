//! The program that an upgrade runs: its file, and whether it can take over from the one that runs.
//!
//! Pure. The running program asks the file on disk, by running `announcer takeover-check` of it as a child: a program for another
//! machine, one that ends at once or hangs, and one that refuses the configuration or the state are all seen before anything is
//! given up.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::STATE_VERSION;
use crate::model::text;
use crate::program::ProgramEnd;

/// The variable with the path of the installed program. The starter sets it, because it may start the previous program.
pub const INSTALLED: &str = "ANNOUNCER_INSTALLED";

/// The variable that the starter sets when it starts the previous program, because the installed one has crashed.
pub const ROLLED_BACK: &str = "ANNOUNCER_ROLLED_BACK";

/// How long a program may take to say whether it can take over.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How much of what a program says is shown, in characters.
const SHOWN: usize = 400;

/// Which file an upgrade runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// The installed one.
    Installed,
    /// The one that ran before the last upgrade.
    Previous,
}

impl Successor {
    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Successor::Installed => "new program",
            Successor::Previous => "previous program",
        }
    }

    /// Its file, of an installation whose program is `installed`. `None`: the installation has no folder for it.
    pub fn file(self, installed: &Path) -> Option<PathBuf> {
        match self {
            Successor::Installed => Some(installed.to_owned()),
            Successor::Previous => Some(previous_folder(installed)?.join("announcer")),
        }
    }
}

/// The folder of the previous program, which only root can write: `<prefix>/lib/announcer/previous` for `<prefix>/bin/announcer`.
pub fn previous_folder(installed: &Path) -> Option<PathBuf> {
    Some(installed.parent()?.parent()?.join("lib/announcer/previous"))
}

/// The installed program: as the environment says (`variable`, the value of [`INSTALLED`]), or the file that runs (`link`, what
/// `/proc/self/exe` leads to). A file that was replaced has ` (deleted)` behind its name there.
pub fn installed(variable: Option<OsString>, link: Option<PathBuf>) -> Option<PathBuf> {
    let named = variable.map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| {
        let link = link?;
        let name = link.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
        Some(name.map_or_else(|| link.clone(), PathBuf::from))
    })
}

/// Whether a program can read a state of this version: its own version, and the one before.
///
/// # Errors
/// A sentence.
pub fn reads_state(version: u32) -> Result<(), String> {
    match version == STATE_VERSION || version + 1 == STATE_VERSION {
        true => Ok(()),
        false => Err(format!(
            "it cannot read the state of the running program: the state has version {version}, and this program reads versions {} and \
             {STATE_VERSION}",
            STATE_VERSION.saturating_sub(1)
        )),
    }
}

/// What a program of this version says when it can take over.
pub fn consent(version: &str) -> String {
    format!("announcer {version} takes over")
}

/// What the program said when it was asked: its version.
///
/// # Errors
/// Why it cannot take over, for the end of a sentence.
pub fn judge(end: &ProgramEnd, output: &[u8]) -> Result<String, String> {
    let said = String::from_utf8_lossy(output);
    let shown = || match text::one_line(&said, SHOWN) {
        said if said.is_empty() => "it said nothing".to_owned(),
        said => format!("it said: {said}"),
    };
    match end {
        ProgramEnd::Code(0) => said
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("announcer ")?.strip_suffix(" takes over"))
            .map(str::to_owned)
            .ok_or_else(|| {
                format!("it ended with exit code 0 and did not say that it takes over; {}", shown())
            }),
        ProgramEnd::Code(code) => Err(format!("exit code {code}; {}", shown())),
        ProgramEnd::TimedOut(_) => {
            Err(format!("it did not answer within {}", humantime::format_duration(ANSWER_TIME)))
        }
        ProgramEnd::Signal(_) | ProgramEnd::Endless | ProgramEnd::Lingering | ProgramEnd::NotStarted(_) => {
            Err(end.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{RunPhase, StartError};

    #[test]
    fn a_program_takes_over_only_if_it_says_so() {
        for (end, output, want) in [
            (ProgramEnd::Code(0), "announcer 0.2.0 takes over\n", Ok("0.2.0")),
            (
                ProgramEnd::Code(0),
                "",
                Err("it ended with exit code 0 and did not say that it takes over; it said nothing"),
            ),
            (
                ProgramEnd::Code(0),
                "announcer 0.2.0\n",
                Err("it ended with exit code 0 and did not say that it takes over; it said: announcer 0.2.0"),
            ),
            (
                ProgramEnd::Code(1),
                "announcer 0.2.0 takes over\n",
                Err("exit code 1; it said: announcer 0.2.0 takes over"),
            ),
            (
                ProgramEnd::Code(2),
                "error: a\n --> b\x1b[0m\n",
                Err("exit code 2; it said: error: a  --> b [0m"),
            ),
            (ProgramEnd::TimedOut(RunPhase::Exit), "", Err("it did not answer within 10s")),
            (ProgramEnd::Signal("SIGSEGV"), "", Err("the program was ended by SIGSEGV")),
            (
                ProgramEnd::NotStarted(StartError::NoProgram),
                "",
                Err(
                    "the program cannot be run: it is not a program for this machine, and its first line names no interpreter (`#!/bin/sh`)",
                ),
            ),
        ] {
            let judged = judge(&end, output.as_bytes());
            assert_eq!(judged.as_ref().map(String::as_str).map_err(String::as_str), want, "{end:?} {output}");
        }
        assert_eq!(judge(&ProgramEnd::Code(0), consent("1.2.3").as_bytes()), Ok("1.2.3".to_owned()));
    }

    #[test]
    fn the_state_is_read_by_its_version_and_the_next_one() {
        assert_eq!(reads_state(STATE_VERSION), Ok(()));
        assert_eq!(reads_state(STATE_VERSION - 1), Ok(()));
        let error = reads_state(STATE_VERSION + 1).unwrap_err();
        assert!(error.starts_with("it cannot read the state of the running program"), "{error}");
    }

    #[test]
    fn the_installed_program_is_found_also_while_the_previous_one_runs() {
        for (variable, link, want) in [
            (None, Some("/usr/bin/announcer"), Some("/usr/bin/announcer")),
            (None, Some("/usr/bin/announcer (deleted)"), Some("/usr/bin/announcer")),
            (
                Some("/usr/bin/announcer"),
                Some("/usr/lib/announcer/previous/announcer"),
                Some("/usr/bin/announcer"),
            ),
            (Some(""), Some("/usr/bin/announcer"), Some("/usr/bin/announcer")),
            (Some("announcer"), Some("/usr/bin/announcer"), Some("/usr/bin/announcer")),
            (None, None, None),
        ] {
            let found = installed(variable.map(OsString::from), link.map(PathBuf::from));
            assert_eq!(found.as_deref(), want.map(Path::new), "{variable:?} {link:?}");
        }
        let file = |installed: &str| Successor::Previous.file(Path::new(installed));
        assert_eq!(
            file("/usr/local/bin/announcer"),
            Some("/usr/local/lib/announcer/previous/announcer".into())
        );
        assert_eq!(file("/announcer"), None);
    }
}
