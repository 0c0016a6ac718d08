//! The writer of every program here: what a command prints goes through [`line()`], [`text`] and [`note`].
//!
//! Touches standard output and standard error. `println!` panics when the reader of a pipe has gone (`announcer status | head`) or
//! the disk is full. This writer remembers the first error of standard output instead, and [`finish`] makes an exit code of it:
//!
//! | standard output | the program |
//! |---|---|
//! | its reader has gone (EPIPE) | prints nothing more, says nothing, and keeps its exit code, which is 0 if all went well |
//! | another error, such as a full disk | says so in one line on standard error, and ends with exit code 1 |
//!
//! A command that changes something does not stop at such an error: its steps matter more than its text. A command that prints for
//! ever ends when [`is_open`] says no.
//!
//! Errors of standard error are ignored: there is no other place for a message about them.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Parser;

/// The first error of standard output. Nothing is written after it.
static FIRST_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Prints a line on standard output. A text that already ends with a line feed gets no second one.
pub fn line(line: impl Display) {
    let mut line = line.to_string();
    if !line.ends_with('\n') {
        line.push('\n');
    }
    text(&line);
}

/// Prints a text on standard output as it is, at once.
pub fn text(text: &str) {
    write(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    });
}

/// Whether standard output still takes text. Its reader may have gone, or the disk may be full; [`finish`] knows which.
pub fn is_open() -> bool {
    FIRST_ERROR.get().is_none()
}

fn write(write: impl FnOnce() -> io::Result<()>) {
    if is_open()
        && let Err(error) = write()
    {
        let _ = FIRST_ERROR.set(error); // an error that another thread has set is as good
    }
}

/// Prints a line on standard error: warnings, and the reason of a failure.
pub fn note(line: impl Display) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes()); // there is no other place for a message
}

/// Shows a line on standard error in the place of the one before, if it is a terminal; `None` removes it. The terminal cuts a line
/// that is too long.
pub fn live(line: Option<&str>) {
    let mut error = io::stderr().lock();
    if error.is_terminal() {
        let line = line.map(|line| format!("\x1b[?7l{line}\x1b[?7h")).unwrap_or_default();
        let _ = error.write_all(format!("\r\x1b[K{line}").as_bytes()); // as in `note`
    }
}

/// Parses the arguments of this process. `--help`, `--version` and wrong arguments print their text.
///
/// # Errors
/// The exit code, if the program has nothing more to do: 0 after `--help`, 2 after wrong arguments.
pub fn parse<P: Parser>() -> Result<P, ExitCode> {
    parse_or(2)
}

/// The same, with another exit code after wrong arguments.
///
/// # Errors
/// The exit code, if the program has nothing more to do.
pub fn parse_or<P: Parser>(wrong_usage: u8) -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        if error.use_stderr() {
            let _ = error.print(); // as in `note`
            return ExitCode::from(wrong_usage);
        }
        write(|| error.print().and_then(|()| io::stdout().flush()));
        finish(ExitCode::SUCCESS)
    })
}

/// The exit code of the program: `code`, unless standard output could not be written.
pub fn finish(code: ExitCode) -> ExitCode {
    match FIRST_ERROR.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            note(format_args!("error: standard output cannot be written: {error}"));
            ExitCode::FAILURE
        }
        Some(_) | None => code,
    }
}
