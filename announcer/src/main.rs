//! Parses the arguments, runs the command, and maps errors to exit codes: 0 done, 1 failed or refused, 2 wrong usage or
//! configuration.

#![warn(clippy::print_stdout, clippy::print_stderr)] // the crate `output` prints

use std::process::ExitCode;

use announcer::cli::{self, CommandError};

fn main() -> ExitCode {
    let arguments: cli::Arguments = match output::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    output::finish(match cli::call(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Usage(message)) => say(&message, 2),
        Err(CommandError::No(message)) => say(&message, 1),
    })
}

fn say(message: &str, code: u8) -> ExitCode {
    if !message.is_empty() {
        output::note(message);
    }
    ExitCode::from(code)
}
