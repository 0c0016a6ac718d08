//! Parses the arguments, runs the command, and maps errors to exit codes: 0 done, 1 failed or refused, 2 wrong usage or
//! configuration. `status --check` has its own.

#![warn(clippy::print_stdout, clippy::print_stderr)] // the crate `output` prints

use std::ffi::OsString;
use std::process::ExitCode;

use announcer::cli;
use announcer::log;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let arguments: cli::Arguments = match output::parse_or(cli::wrong_usage(&words)) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    output::finish(match cli::call(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = error.message();
            if !message.is_empty() {
                output::note(log::io::for_standard_error(&message));
            }
            ExitCode::from(error.exit_code())
        }
    })
}
