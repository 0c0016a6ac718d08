//! `announcer reload`: applies the changed configuration.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{CommandError, ask, print_notes};
use crate::control::api::Request;

#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    /// Even if this withdraws every VIP or leaves too few frontends with one (`min_announcers`), ends every session that carries a route
    /// to a VIP, or ends a drain.
    #[arg(long)]
    force: bool,
    /// Print what the reload would change, and change nothing.
    #[arg(long, conflicts_with = "force")]
    dry_run: bool,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn call(arguments: &ReloadArguments, socket: &Path) -> Result<(), CommandError> {
    let ReloadArguments { force, dry_run, json } = *arguments;
    // Sessions that have to restart do so later, in the background.
    print_notes(ask(socket, &Request::Reload { force, dry_run }, Duration::ZERO)?, json)
}
