//! The command line: the list of the commands, and what they share. Each command has its own file below `cli/`.

mod check;
mod drain;
mod explain;
mod log;
mod recheck;
mod reload;
mod run;
mod status;
mod validate;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use self::check::CheckArguments;
use self::drain::{DrainArguments, UndrainArguments};
use self::explain::ExplainArguments;
use self::log::LogArguments;
use self::recheck::RecheckArguments;
use self::reload::ReloadArguments;
use self::run::RunArguments;
use self::status::StatusArguments;
use self::validate::ValidateArguments;
use crate::control::api::Response;
use crate::control::status::summary::CheckResult;
use crate::health::io::trust;

/// Announces this host's VIPs by BGP while its own HTTP server is healthy.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/announcer/control.sock")]
    socket: PathBuf,
    /// The state directory, with the drains.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/announcer")]
    state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the daemon in the foreground; SIGTERM withdraws every VIP before it ends.
    ///
    /// SIGINT and SIGQUIT do the same. SIGHUP reloads, SIGUSR1 probes at once. SIGUSR2 and SIGALRM have no effect.
    Run(RunArguments),
    /// Check a configuration and print all mistakes in it.
    Validate(ValidateArguments),
    /// Print what is announced, what is not, and why.
    Status(StatusArguments),
    /// Explain the state of a VIP, or of a router and its session.
    Explain(ExplainArguments),
    /// Run each check of a service once, without the daemon, and print the results.
    Check(CheckArguments),
    /// Let the daemon probe now, without waiting for the interval; SIGUSR1 does the same.
    Recheck(RecheckArguments),
    /// Apply the changed configuration; peers and checks that stay the same are not affected.
    Reload(ReloadArguments),
    /// Change the level of the running daemon's log for some time; `status` warns until it ends.
    ///
    /// Only root may do it. The level of the start ends the change.
    Log(LogArguments),
    /// Withdraw services for maintenance, until `undrain`; restarts and reboots do not end it.
    Drain(DrainArguments),
    /// End a drain; a healthy service is announced again.
    Undrain(UndrainArguments),
}

/// Why a command failed, as a text for a person. The variant is the exit code.
#[derive(Debug)]
pub enum CommandError {
    /// 1: the command failed or was refused. If the text is empty, it was already printed.
    No(String),
    /// 2: wrong usage or wrong configuration.
    Usage(String),
    /// The result of `status --check`; its line was already printed.
    Checked(CheckResult),
}

impl CommandError {
    /// The exit code, and the message for standard error.
    pub fn end(&self) -> (u8, &str) {
        match self {
            CommandError::No(message) => (1, message),
            CommandError::Usage(message) => (2, message),
            CommandError::Checked(result) => (result.code(), ""),
        }
    }
}

/// The exit code for arguments that cannot be parsed: 2, but 3 for `status --check`, whose 2 means that a VIP is not announced.
pub fn wrong_usage(arguments: &[OsString]) -> u8 {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has("status") && has("--check") { CheckResult::Unknown.code() } else { 2 }
}

/// Runs the command.
///
/// # Errors
/// A message for standard error, and the exit code that goes with it.
pub fn call(arguments: Arguments) -> Result<(), CommandError> {
    let Arguments { command, socket, state_dir } = arguments;
    match command {
        CliCommand::Run(arguments) => run::call(arguments, socket, state_dir),
        CliCommand::Validate(arguments) => validate::call(&arguments),
        CliCommand::Status(arguments) => status::call(&arguments, &socket),
        CliCommand::Explain(arguments) => explain::call(arguments, &socket),
        CliCommand::Check(arguments) => check::call(&arguments),
        CliCommand::Recheck(arguments) => recheck::call(arguments, &socket),
        CliCommand::Reload(arguments) => reload::call(&arguments, &socket),
        CliCommand::Log(arguments) => log::call(arguments, &socket),
        CliCommand::Drain(arguments) => drain::drain(arguments, &socket, &state_dir),
        CliCommand::Undrain(arguments) => drain::undrain(arguments, &socket, &state_dir),
    }
}

/// The problem with a `ca_file`, also if this process cannot read it.
fn any_ca_file(file: &Path) -> Result<(), String> {
    trust::check(file).map_err(|finding| finding.to_string())
}

fn usage(error: impl std::fmt::Display) -> CommandError {
    CommandError::Usage(error.to_string())
}

fn no(error: impl std::fmt::Display) -> CommandError {
    CommandError::No(format!("error: {error}"))
}

fn print_answer(answer: Response) -> Result<(), CommandError> {
    match answer {
        Response::Done { notes } => {
            notes.iter().for_each(output::line);
            Ok(())
        }
        Response::Refused { message } => Err(CommandError::Usage(message)),
        Response::Timeout { message } | Response::Failed { message } => Err(no(message)),
        Response::Status { .. } => Err(no("announcer sent an unexpected answer")),
    }
}

fn counts(peers: usize, services: usize, vips: usize) -> String {
    let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}, {}", some(peers, "peer"), some(services, "service"), some(vips, "VIP"))
}
