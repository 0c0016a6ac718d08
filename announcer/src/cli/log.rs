//! `announcer log`: the level of the running daemon's log.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, ask, print_notes};
use crate::control::api::Request;
use crate::log::level;

#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// The level: error, warn, info, debug, trace, or a filter such as `announcer::bgp=debug`.
    #[arg(value_name = "FILTER")]
    filter: String,
    /// For how long, at most 24h.
    #[arg(long = "for", value_name = "TIME", default_value = level::USUAL, value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn call(arguments: LogArguments, socket: &Path) -> Result<(), CommandError> {
    let LogArguments { filter, lasts, json } = arguments;
    let request = Request::Log { filter, seconds: lasts.as_secs() };
    print_notes(ask(socket, &request, Duration::ZERO)?, json)
}
