//! Parses, calls, and maps errors to exit codes: 0 yes, 1 the answer is no, 2 usage or configuration.

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
