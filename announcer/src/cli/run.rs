//! `announcer run`: the log, the configuration, and then the daemon until it ends.

use std::path::PathBuf;

use clap::Args;
use tracing::warn;

use super::{CommandError, any_ca_file, usage};
use crate::config::io::ConfigText;
use crate::config::{self, ConfigErrors};
use crate::daemon::{self, Options};
use crate::log::{self, filter};

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// The level of the log: error, warn, info, debug, trace, or a filter such as `announcer::bgp=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

pub(super) fn call(arguments: RunArguments, socket: PathBuf, state_dir: PathBuf) -> Result<(), CommandError> {
    let RunArguments { config, log } = arguments;
    let options = Options { config, socket, state_dir };
    // The outcome of a probe has the error of the probe. The libraries must not log it again for each probe.
    filter::check(&log).map_err(|why| CommandError::Usage(format!("error: `--log {log}`: {why}")))?;
    let filter = tracing_subscriber::EnvFilter::try_new(format!("info,hyper_util=error,{log}"))
        .map_err(|e| CommandError::Usage(format!("error: `--log {log}` is not a filter: {e}")))?;
    let text = ConfigText::read(&options.config).map_err(usage)?;
    let config = text.parse().map_err(usage)?;
    // The writer is dropped last: it writes the last lines.
    let (buffer, _writer) = log::io::start().map_err(super::no)?;
    let lines = buffer.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone())
        .with_target(false)
        .init();
    log::io::log_panics();
    // A problem with the file of one service must not stop the other services. The VIPs of this service are not announced until the
    // file can be used.
    for error in text.parse_looking(any_ca_file).err().iter().flat_map(ConfigErrors::iter) {
        warn!(config = %options.config.display(), line = error.line, error = error.message, help = error.help,
            "certificates cannot be verified, the check fails");
    }
    daemon::run(options, config, buffer.clone()).map_err(|error| {
        // Standard error may stand still, and belongs to the log. With its causes: the outermost sentence of an `anyhow` error does
        // not say why.
        buffer.push(format!("error: {error:#}\n").as_bytes());
        CommandError::No(String::new())
    })
}
