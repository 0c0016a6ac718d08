//! `announcer top`: the full-screen view, in [`crate::top`].

use std::path::Path;

use super::{CommandError, is_without_colours, no, usage};
use crate::top::io::{TopError, run};

pub(super) fn call(socket: &Path) -> Result<(), CommandError> {
    run(socket, !is_without_colours()).map_err(|error| match error {
        TopError::NoTerminal => usage(format!("error: {error}")),
        TopError::Terminal(_) | TopError::Forbidden(_) => no(error),
    })
}
