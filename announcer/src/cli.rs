//! The command line: the list of the commands, and what they share. Each command has its own file below `cli/`.

mod chain;
mod check;
mod drain;
mod explain;
mod history;
mod import;
mod log;
mod recheck;
mod reload;
mod router_config;
mod run;
mod status;
mod takeover_check;
mod top;
mod upgrade;
mod validate;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::Serialize;

use self::chain::ChainArguments;
use self::check::CheckArguments;
use self::drain::{DrainArguments, UndrainArguments};
use self::explain::ExplainArguments;
use self::history::HistoryArguments;
use self::import::ImportArguments;
use self::log::LogArguments;
use self::recheck::RecheckArguments;
use self::reload::ReloadArguments;
use self::router_config::RouterConfigArguments;
use self::run::RunArguments;
use self::status::StatusArguments;
use self::takeover_check::TakeoverCheckArguments;
use self::upgrade::UpgradeArguments;
use self::validate::ValidateArguments;
use crate::config::kind::certificate::CheckFiles;
use crate::control::api::{ApiError, ErrorCode, Notes, Numbered, Request, Response};
use crate::control::io::client::{self, ClientError};
use crate::control::status::summary::MonitoringResult;
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
    /// SIGINT and SIGQUIT do the same. SIGHUP reloads, SIGUSR1 probes at once, SIGUSR2 upgrades. SIGALRM has no effect.
    Run(RunArguments),
    /// Check a configuration and print all mistakes in it.
    Validate(ValidateArguments),
    /// Print the router's side of a session, as a configuration for the router's system, or the commands that show whether it works.
    ///
    /// It accepts the announced prefixes alone, and advertises nothing to the frontends. The first lines say how far it was tried, and
    /// what to replace. The key is never printed.
    RouterConfig(RouterConfigArguments),
    /// Print what is announced, what is not, and why.
    Status(StatusArguments),
    /// Explain the state of a VIP, of a service, or of a router and its session.
    Explain(ExplainArguments),
    /// Print the last changes of standings and sessions, the oldest first.
    ///
    /// The daemon keeps 1,000 changes in its memory, so they begin with its start.
    History(HistoryArguments),
    /// Watch the routers, the services and the last changes in a full-screen view.
    ///
    /// It is brought up to date every second. `?` lists the keys, `/` filters by name, `p` shows only problems, Enter explains the
    /// selected VIP or router, `q` quits. Colours are not used with NO_COLOR in the environment.
    Top,
    /// Print the chain: the ring, its members, and the packets that were forwarded; or switch the forwarding of this host off or on.
    Chain(ChainArguments),
    /// Run each check of a service once, without the daemon, and print the results.
    Check(CheckArguments),
    /// Let the daemon probe now, without waiting for the interval; SIGUSR1 does the same.
    Recheck(RecheckArguments),
    /// Apply the changed configuration; peers and checks that stay the same are not affected.
    Reload(ReloadArguments),
    /// Replace the running daemon by the installed program, in place: no session ends, and no route moves.
    ///
    /// Only root may do it. The new program is asked first whether it reads the state and the configuration. If it does not, the old
    /// one goes on, and the message says why. The program that runs is kept, for `--previous`. SIGUSR2 does the same and keeps
    /// nothing: the way back then leads to the program that the last `announcer upgrade` has kept.
    Upgrade(UpgradeArguments),
    /// Say whether this program can take over from the running one; an upgrade asks it.
    #[command(hide = true)]
    TakeoverCheck(TakeoverCheckArguments),
    /// Change the level of the running daemon's log for some time; `status` warns until it ends.
    ///
    /// Only root may do it. The level of the start ends the change.
    Log(LogArguments),
    /// Withdraw services, VIPs, a family or a router for maintenance, until `undrain`; restarts and reboots do not end it.
    Drain(DrainArguments),
    /// End a drain; a healthy service is announced again.
    Undrain(UndrainArguments),
    /// Translate the configuration of ExaBGP, anycast_healthchecker, anycastd or keepalived.
    ///
    /// The announcer.toml goes to standard output, with comments. It says what each part comes from, what has no equivalent, and what
    /// behaves differently. Each option without an equivalent and each missing value is also a line on standard error, with the file
    /// and the line. The exit code is 0 if there is none, 1 if there are some, and 2 if the configuration cannot be read.
    Import(ImportArguments),
}

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// The command failed or was refused, with a text for a person. If the text is empty, it was already printed.
    No(String),
    /// Wrong usage or wrong configuration, with a text for a person.
    Usage(String),
    /// The daemon refused the request, or could not do it.
    Api(ApiError),
    /// There is no answer of a daemon.
    Client(ClientError),
    /// Everything was already printed; with the exit code.
    Printed(u8),
}

impl CommandError {
    /// The exit code: 1 the command failed or was refused, 2 wrong usage, wrong configuration or a wrong request.
    pub fn exit_code(&self) -> u8 {
        match self {
            CommandError::No(_) | CommandError::Client(_) => 1,
            CommandError::Usage(_) => 2,
            CommandError::Api(error) if error.code.status() < 500 => 2,
            CommandError::Api(_) => 1,
            CommandError::Printed(code) => *code,
        }
    }

    /// The message for standard error; empty if there is none.
    pub fn message(&self) -> String {
        match self {
            CommandError::No(text) | CommandError::Usage(text) => text.clone(),
            CommandError::Api(error) => format!("error: {}", error.text),
            CommandError::Client(error) => format!("error: {error}"),
            CommandError::Printed(_) => String::new(),
        }
    }

    /// The same for `--json`, as an object on standard output: in the form of the control API, with more codes.
    fn to_json(&self) -> String {
        let code = match self {
            CommandError::No(_) | CommandError::Printed(_) => "failed".into(),
            CommandError::Usage(_) => "usage".into(),
            CommandError::Api(error) => serde_json::json!(error.code),
            CommandError::Client(error) => error.code().into(),
        };
        let text = ApiError::new(ErrorCode::Failed, self.message()).text;
        json(&serde_json::json!({ "error": { "code": code, "text": text } }))
    }
}

impl CliCommand {
    /// Whether the output is JSON, also that of an error.
    fn is_json(&self) -> bool {
        match self {
            CliCommand::Run(_) | CliCommand::RouterConfig(_) | CliCommand::Top | CliCommand::Import(_) => {
                false
            }
            CliCommand::TakeoverCheck(_) => false,
            CliCommand::Upgrade(arguments) => arguments.json,
            CliCommand::Log(arguments) => arguments.json,
            CliCommand::Validate(arguments) => arguments.json,
            CliCommand::Status(arguments) => arguments.json,
            CliCommand::Explain(arguments) => arguments.json,
            CliCommand::History(arguments) => arguments.json,
            CliCommand::Chain(arguments) => arguments.is_json(),
            CliCommand::Check(arguments) => arguments.json,
            CliCommand::Recheck(arguments) => arguments.json,
            CliCommand::Reload(arguments) => arguments.json,
            CliCommand::Drain(arguments) => arguments.json,
            CliCommand::Undrain(arguments) => arguments.json,
        }
    }
}

/// The exit code for arguments that cannot be parsed: 2, but 3 for `status --check`, whose 2 means that a VIP is not announced.
pub fn wrong_usage(arguments: &[OsString]) -> u8 {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has("status") && has("--check") { MonitoringResult::Unknown.code() } else { 2 }
}

/// Runs the command.
///
/// # Errors
/// A message for standard error, and the exit code that goes with it.
pub fn call(arguments: Arguments) -> Result<(), CommandError> {
    let Arguments { command, socket, state_dir } = arguments;
    let is_json = command.is_json();
    let done = dispatch(command, socket, state_dir);
    match done {
        Err(error) if is_json && !matches!(error, CommandError::Printed(_)) => {
            output::line(error.to_json());
            Err(CommandError::Printed(error.exit_code()))
        }
        done => done,
    }
}

fn dispatch(command: CliCommand, socket: PathBuf, state_dir: PathBuf) -> Result<(), CommandError> {
    match command {
        CliCommand::Run(arguments) => run::call(arguments, socket, state_dir),
        CliCommand::Validate(arguments) => validate::call(&arguments),
        CliCommand::RouterConfig(arguments) => router_config::call(&arguments),
        CliCommand::Status(arguments) => status::call(&arguments, &socket),
        CliCommand::Explain(arguments) => explain::call(arguments, &socket),
        CliCommand::History(arguments) => history::call(&arguments, &socket),
        CliCommand::Top => top::call(&socket),
        CliCommand::Chain(arguments) => chain::call(arguments, &socket),
        CliCommand::Check(arguments) => check::call(&arguments),
        CliCommand::Recheck(arguments) => recheck::call(arguments, &socket),
        CliCommand::Reload(arguments) => reload::call(&arguments, &socket),
        CliCommand::Upgrade(arguments) => upgrade::call(&arguments, &socket),
        CliCommand::TakeoverCheck(arguments) => takeover_check::call(&arguments, &state_dir),
        CliCommand::Log(arguments) => log::call(arguments, &socket),
        CliCommand::Drain(arguments) => drain::drain(arguments, &socket, &state_dir),
        CliCommand::Undrain(arguments) => drain::undrain(arguments, &socket, &state_dir),
        CliCommand::Import(arguments) => import::call(&arguments),
    }
}

/// The problem with the files of a check, also if this process cannot read them.
fn any_check_files(files: &CheckFiles) -> Result<(), String> {
    trust::check(files).map_err(|finding| finding.to_string())
}

/// The columns of the terminal; `None`: standard output is none, and lines are never cut.
fn width() -> Option<usize> {
    let terminal = std::io::stdout().is_terminal();
    terminal_size::terminal_size().filter(|_| terminal).map(|(width, _)| usize::from(width.0))
}

/// Whether the environment forbids colours: <https://no-color.org>.
fn is_without_colours() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn usage(error: impl std::fmt::Display) -> CommandError {
    CommandError::Usage(error.to_string())
}

fn no(error: impl std::fmt::Display) -> CommandError {
    CommandError::No(format!("error: {error}"))
}

/// Sends a request to the daemon.
fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Response, CommandError> {
    match client::ask(socket, request, patience).map_err(CommandError::Client)? {
        Response::Error(error) => Err(CommandError::Api(error)),
        answer @ (Response::Status { .. }
        | Response::Vip(_)
        | Response::Peer(_)
        | Response::History(_)
        | Response::Done { .. }
        | Response::Waits(_)
        | Response::Chain(_)
        | Response::Site(_)
        | Response::OpenApi) => Ok(answer),
    }
}

/// Prints the notes of a request that was done.
fn print_notes(answer: Response, is_json: bool) -> Result<(), CommandError> {
    let Response::Done { notes } = answer else { return Err(unexpected()) };
    if is_json {
        output::line(json(&Notes { notes }));
    } else {
        notes.iter().for_each(output::line);
    }
    Ok(())
}

/// The daemon answered another request than ours.
fn unexpected() -> CommandError {
    no("announcer sent an unexpected answer")
}

/// An object as text, with the number of its form.
fn json(object: &impl Serialize) -> String {
    serde_json::to_string_pretty(&Numbered::new(object)).unwrap_or_default()
}

fn counts(peers: usize, services: usize, vips: usize) -> String {
    let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}, {}", some(peers, "peer"), some(services, "service"), some(vips, "VIP"))
}
