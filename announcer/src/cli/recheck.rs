//! `announcer recheck`: probes at once.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, ask, print_notes};
use crate::control::api::{Request, Scope};

#[derive(Debug, Args)]
pub(super) struct RecheckArguments {
    /// The services, by name; without one, every service.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn call(arguments: RecheckArguments, socket: &Path) -> Result<(), CommandError> {
    let RecheckArguments { services, json } = arguments;
    let what = if services.is_empty() { Scope::All } else { Scope::Services(services) };
    print_notes(ask(socket, &Request::Recheck { what }, Duration::ZERO)?, json)
}
