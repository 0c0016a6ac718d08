//! `announcer takeover-check`: says to the running program whether this one can take over. It changes nothing.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CommandError;
use crate::fallback;
use crate::takeover::successor::{consent, reads_state};

#[derive(Debug, Args)]
pub(super) struct TakeoverCheckArguments {
    /// The version of the state of the running program.
    #[arg(long, value_name = "NUMBER")]
    state_version: u32,
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Accept a wrong configuration if the copy of the last good one can be used.
    #[arg(long)]
    fallback: bool,
}

pub(super) fn call(arguments: &TakeoverCheckArguments, state_dir: &Path) -> Result<(), CommandError> {
    let TakeoverCheckArguments { state_version, config, fallback } = arguments;
    reads_state(*state_version).map_err(super::no)?;
    fallback::io::choose(config, state_dir, *fallback).map_err(CommandError::Usage)?;
    output::line(consent(env!("CARGO_PKG_VERSION")));
    Ok(())
}
