//! `announcer log`: the level of the running daemon's log.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, no, print_answer};
use crate::control::api::Request;
use crate::control::io::client;
use crate::log::level;

#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// The level: error, warn, info, debug, trace, or a filter such as `announcer::bgp=debug`.
    #[arg(value_name = "FILTER")]
    filter: String,
    /// For how long, at most 24h.
    #[arg(long = "for", value_name = "TIME", default_value = level::USUAL, value_parser = humantime::parse_duration)]
    lasts: Duration,
}

pub(super) fn call(arguments: LogArguments, socket: &Path) -> Result<(), CommandError> {
    let LogArguments { filter, lasts } = arguments;
    let request = Request::Log { filter, seconds: lasts.as_secs() };
    print_answer(client::ask(socket, &request, Duration::ZERO).map_err(no)?)
}
