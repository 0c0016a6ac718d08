//! `announcer check`: each check of a service once, without the daemon.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{CommandError, json, no, usage};
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
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// The results for `--json`.
#[derive(Debug, Serialize)]
struct CheckReportJson {
    service: String,
    results: Vec<ProbeJson>,
}

/// The result of one probe.
#[derive(Debug, Serialize)]
struct ProbeJson {
    vip: IpAddr,
    check: String,
    passed: bool,
    text: String,
    hint: Option<String>,
}

pub(super) fn call(arguments: &CheckArguments) -> Result<(), CommandError> {
    let CheckArguments { service: name, config, json: is_json } = arguments;
    let config = ConfigText::read(config).and_then(|text| Ok(text.parse()?)).map_err(usage)?;
    let Some(service) = config.services.iter().find(|service| service.name.as_str() == name) else {
        return Err(CommandError::Usage(names::unknown("service", name, service_names(&config))));
    };
    let results: Vec<ProbeJson> = one_shot::run(service)
        .map_err(no)?
        .into_iter()
        .map(|seen| ProbeJson {
            vip: seen.vip,
            check: seen.check.to_string(),
            passed: matches!(seen.outcome, Outcome::Pass { .. }),
            text: seen.outcome.to_string(),
            hint: seen.hint,
        })
        .collect();
    let failed = results.iter().filter(|result| !result.passed).count();
    if *is_json {
        output::line(json(&CheckReportJson { service: name.clone(), results }));
        return if failed == 0 { Ok(()) } else { Err(CommandError::Printed(1)) };
    }
    for result in &results {
        output::line(format_args!("{}  {}  {}", result.vip, result.check, result.text));
        result.hint.iter().for_each(|hint| output::line(format_args!("    hint: {hint}")));
    }
    match failed {
        0 => Ok(()),
        1 => Err(CommandError::No("error: 1 probe did not pass".into())),
        _ => Err(CommandError::No(format!("error: {failed} probes did not pass"))),
    }
}
