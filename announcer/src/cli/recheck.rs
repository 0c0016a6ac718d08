//! `announcer recheck`: probes at once.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, no, print_answer};
use crate::control::api::{Request, Scope};
use crate::control::io::client;

#[derive(Debug, Args)]
pub(super) struct RecheckArguments {
    /// The services, by name; without one, every service.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(super) fn call(arguments: RecheckArguments, socket: &Path) -> Result<(), CommandError> {
    let RecheckArguments { services } = arguments;
    let what = if services.is_empty() { Scope::All } else { Scope::Services(services) };
    print_answer(client::ask(socket, &Request::Recheck { what }, Duration::ZERO).map_err(no)?)
}
