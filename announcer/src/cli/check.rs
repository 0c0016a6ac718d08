//! `announcer check`: each check of a service once, without the daemon.

use std::path::PathBuf;

use clap::Args;

use super::{CommandError, no, usage};
use crate::config;
use crate::config::io::ConfigText;
use crate::control::names;
use crate::control::request::service_names;
use crate::health::io::one_shot;
use crate::health::outcome::Outcome;

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The service, by name.
    service: String,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

pub(super) fn call(arguments: &CheckArguments) -> Result<(), CommandError> {
    let CheckArguments { service: name, config } = arguments;
    let config = ConfigText::read(config).and_then(|text| Ok(text.parse()?)).map_err(usage)?;
    let Some(service) = config.services.iter().find(|service| service.name.as_str() == name) else {
        return Err(CommandError::Usage(names::unknown("service", name, service_names(&config))));
    };
    let mut failed = 0;
    for seen in one_shot::run(service).map_err(no)? {
        output::line(format_args!("{}  {}  {}", seen.vip, seen.check, seen.outcome));
        if let Some(hint) = &seen.hint {
            output::line(format_args!("    hint: {hint}"));
        }
        failed += usize::from(!matches!(seen.outcome, Outcome::Pass { .. }));
    }
    match failed {
        0 => Ok(()),
        1 => Err(CommandError::No("error: 1 probe did not pass".into())),
        _ => Err(CommandError::No(format!("error: {failed} probes did not pass"))),
    }
}
