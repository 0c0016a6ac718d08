//! `announcer run`: the log, the configuration, and then the daemon until it ends.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tracing::warn;

use super::{CommandError, any_check_files};
use crate::config::{self, ConfigErrors};
use crate::daemon::{self, AppliedConfig, Found, Options};
use crate::fallback;
use crate::fallback::io::StartConfig;
use crate::files::io as files;
use crate::log::format::LogFormat;
use crate::log::io::LogOptions;
use crate::log::{self, filter};
use crate::takeover::io::descriptors::inherited;
use crate::takeover::io::exec::{block_signals, without_signals};

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// The level of the log: error, warn, info, debug, trace, or a filter such as `announcer::bgp=debug`.
    /// Without it, `[log] level` of the configuration.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// The format of the log. With `text`, systemd's journal gets fields such as VIP= and PEER=.
    /// Without it, `[log] format` of the configuration.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// The socket of the journal, for tests.
    #[arg(long, hide = true, value_name = "PATH", default_value = log::io::JOURNAL_SOCKET)]
    journal_socket: PathBuf,
    /// If the configuration is wrong, run the copy of the last good one. The unit uses this option.
    ///
    /// The copy is in the state directory. It is written after each start and reload with this option. A VIP that the wrong
    /// configuration does not mention is not announced, unless a file of `conf.d` cannot be read. If there is no configuration, or if
    /// the copy is of another machine, the exit code is 2, as without this option.
    #[arg(long)]
    fallback: bool,
}

pub(super) fn call(arguments: RunArguments, socket: PathBuf, state_dir: PathBuf) -> Result<(), CommandError> {
    let unfinished = state_dir.join(daemon::UNFINISHED);
    let ended = run(arguments, socket, state_dir);
    if let Err(CommandError::Usage(_)) = ended {
        // A wrong configuration is no crash, so the starter must not count it. Without the starter there is no such file.
        let _ = files::remove(&unfinished);
    }
    ended
}

fn run(arguments: RunArguments, socket: PathBuf, state_dir: PathBuf) -> Result<(), CommandError> {
    let found = Found::read(inherited()); // before this process opens a file of its own
    if found.continues() {
        block_signals(); // a stop that comes before the handlers are there must still withdraw
    }
    let RunArguments { config, log, log_format, journal_socket, fallback } = arguments;
    let options = Options { config, socket, state_dir, fallback };
    if let Some(log) = &log {
        filter::check(log).map_err(|why| CommandError::Usage(format!("error: `--log {log}`: {why}")))?;
    }
    let start = fallback::io::choose(&options.config, &options.state_dir, options.fallback);
    let StartConfig { config, text, instead } = start.map_err(CommandError::Usage)?;
    // The writer is dropped last: it writes the last lines.
    let (log, _writer) = without_signals(|| {
        log::io::start(LogOptions { level: log, format: log_format }, &config.log, &journal_socket)
    })
    .map_err(super::no)?;
    log::io::log_panics();
    // A problem with the file of one service must not stop the other services. The VIPs of this service are not announced until the
    // file can be used.
    for error in text.parse_looking(any_check_files).err().iter().flat_map(ConfigErrors::iter) {
        warn!(
            config = error.file,
            line = error.line,
            error = error.message,
            help = error.help,
            "a file that a check needs cannot be used"
        );
    }
    for file in instead.iter().flat_map(|(errors, _)| &errors.unreadable) {
        warn!(config = file.name, error = %file.error, "configuration cannot be read");
    }
    for error in instead.iter().flat_map(|(errors, _)| &errors.wrong).flat_map(ConfigErrors::iter) {
        warn!(
            config = error.file,
            line = error.line,
            error = error.message,
            help = error.help,
            "configuration is wrong"
        );
    }
    let kept = Arc::from(text.as_one_file(&config));
    let applied = AppliedConfig {
        config,
        digest: text.digest(),
        text: kept,
        fallback: instead.map(|(_, instead)| instead),
    };
    daemon::run(options, applied, log.clone(), found).map_err(|error| {
        log.buffer.push_end(&error); // standard error may stand still, and belongs to the log
        CommandError::No(String::new())
    })
}
