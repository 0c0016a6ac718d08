//! The program `dsr-setup`.
//!
//! Exit codes: 0 everything is in place, or done; 1 there are steps to do, the command was refused, or a step failed; 2 wrong
//! usage, wrong configuration, or a host that cannot be read.

use std::process::ExitCode;

use clap::Parser;
use dsr_setup::cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()).await {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}
