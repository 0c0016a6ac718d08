//! Parses the arguments, runs the command, and maps errors to exit codes: 0 done, 1 failed or refused, 2 wrong usage or
//! configuration.

use std::process::ExitCode;

use announcer::cli::{self, CommandError};
use clap::Parser;

fn main() -> ExitCode {
    match cli::call(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Usage(message)) => say(&message, 2),
        Err(CommandError::No(message)) => say(&message, 1),
    }
}

fn say(message: &str, code: u8) -> ExitCode {
    if !message.is_empty() {
        eprintln!("{message}");
    }
    ExitCode::from(code)
}
