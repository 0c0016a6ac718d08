//! `announcer drain` and `announcer undrain`, also while no daemon runs: a drain is a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{CommandError, no, print_notes, usage};
use crate::config;
use crate::config::io::ConfigText;
use crate::control::api::{Request, Response, Scope};
use crate::control::io::client::{self, ClientError};
use crate::control::request::{drain_names, service_names};
use crate::drain::{self, Drain, DrainChange};
use crate::model::ServiceName;

#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    #[command(flatten)]
    scope: ScopeArguments,
    /// The reason, for other operators.
    #[arg(long, value_name = "TEXT", value_parser = drain::reason)]
    reason: Option<String>,
    /// Return only when the routers' kernels have acknowledged the withdraw (TCP) and the routers have had time to follow.
    #[arg(long)]
    wait: bool,
    /// How long to wait before giving up with exit code 1.
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The configuration with the names, for use while the daemon does not run.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UndrainArguments {
    #[command(flatten)]
    scope: ScopeArguments,
    /// The configuration with the names, for use while the daemon does not run.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeArguments {
    /// The services, by name.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Every service, also those that are configured later.
    #[arg(long)]
    all: bool,
}

impl ScopeArguments {
    fn scope(self) -> Scope {
        if self.all { Scope::All } else { Scope::Services(self.services) }
    }
}

pub(super) fn drain(arguments: DrainArguments, socket: &Path, state_dir: &Path) -> Result<(), CommandError> {
    let DrainArguments { scope, reason, wait, timeout, config, json } = arguments;
    let wait_ms = wait.then(|| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let patience = if wait { timeout } else { Duration::ZERO };
    let by = std::env::var("SUDO_USER").ok();
    let what = scope.scope();
    let request = Request::Drain { what: what.clone(), reason: reason.clone(), by: by.clone(), wait_ms };
    match super::ask(socket, &request, patience) {
        Err(CommandError::Client(ClientError::NotRunning(_))) => {
            let names = drain_names(&what, &offline_names(&config, &what, &[])?).map_err(usage)?;
            let by = Some(by.unwrap_or_else(|| "an operator".into()));
            let drain = Drain { reason, by, at: Some(client::timestamp()) };
            offline(
                state_dir,
                &DrainChange::Drain { names, drain },
                "the drain holds from its next start",
                json,
            )
        }
        answer => print_notes(answer?, json),
    }
}

pub(super) fn undrain(
    arguments: UndrainArguments,
    socket: &Path,
    state_dir: &Path,
) -> Result<(), CommandError> {
    let UndrainArguments { scope, config, json } = arguments;
    let what = scope.scope();
    match super::ask(socket, &Request::Undrain { what: what.clone() }, Duration::ZERO) {
        Err(CommandError::Client(ClientError::NotRunning(_))) => {
            let drains = client::offline_drains(state_dir).map_err(|error| cannot(state_dir, &error))?;
            let drained: Vec<String> = drains.named.into_keys().collect();
            let names = drain_names(&what, &offline_names(&config, &what, &drained)?).map_err(usage)?;
            offline(state_dir, &DrainChange::Undrain { names }, "the drain has ended", json)
        }
        answer => print_notes(answer?, json),
    }
}

/// The names that a drain without a daemon may have: those of the configuration, and those that are already drained. If the
/// configuration cannot be used, a drain must still be possible: every name is accepted, and a warning says which names could not be
/// compared with the configuration, and why.
fn offline_names(config: &Path, what: &Scope, drained: &[String]) -> Result<Vec<String>, CommandError> {
    let mut names = drained.to_vec();
    match (ConfigText::read(config).and_then(|text| Ok(text.parse()?)), what) {
        (Ok(config), _) => {
            let services =
                service_names(&config).into_iter().filter(|name| !drained.iter().any(|d| d == name));
            names.extend(services.map(str::to_owned));
        }
        (Err(error), Scope::Services(asked)) => {
            for name in asked {
                name.parse::<ServiceName>().map_err(|why| usage(format!("error: {why}")))?;
            }
            let unknown: Vec<String> = asked.iter().filter(|name| !drained.contains(name)).cloned().collect();
            if !unknown.is_empty() {
                output::note(error);
                output::note(format_args!(
                    "warning: the configuration cannot be used, so it is not known whether there is a service {}",
                    unknown.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
                ));
            }
            names.extend(unknown);
        }
        (Err(_), Scope::All) => {}
    }
    Ok(names)
}

fn offline(state_dir: &Path, change: &DrainChange, then: &str, is_json: bool) -> Result<(), CommandError> {
    let absent = client::offline(state_dir, change).map_err(|error| cannot(state_dir, &error))?;
    let mut notes: Vec<String> = absent.iter().map(|name| format!("{name} was not drained")).collect();
    notes.push(format!("announcer is not running; {then}"));
    print_notes(Response::Done { notes }, is_json)
}

fn cannot(state_dir: &Path, error: &std::io::Error) -> CommandError {
    no(format!("announcer is not running, and `{}` cannot be changed: {error}", state_dir.display()))
}
