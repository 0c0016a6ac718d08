//! The program `dsr-setup`.
//!
//! Exit codes: 0 everything is in place, or done; 1 there are steps to do, the command was refused, or a step failed; 2 wrong
//! usage, wrong configuration, or a host that cannot be read. `doctor`: 0 nothing, or only notes; 1 at least one error; 3 at least one
//! warning, and no error.

#![warn(clippy::print_stdout, clippy::print_stderr)] // the crate `output` prints

use std::process::ExitCode;

use dsr_setup::cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: cli::Cli = match output::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    output::finish(match cli::run(arguments).await {
        Ok(code) => code,
        Err(failure) => {
            output::note(format_args!("error: {failure}"));
            failure.exit_code()
        }
    })
}
