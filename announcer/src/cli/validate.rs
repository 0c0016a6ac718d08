//! `announcer validate`: all mistakes of a configuration and of the files that it names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{CommandError, any_check_files, counts, json, usage};
use crate::bgp::io::password::{self, PasswordFinding};
use crate::chain::io::key;
use crate::config::io::ConfigText;
use crate::config::kind::certificate::CheckFiles;
use crate::config::{self, ConfigError, ConfigErrors, LONGEST_LEAVE};
use crate::drain;
use crate::files::io as files;
use crate::health::io::finding::CheckFilesFinding;
use crate::health::io::{identity, trust};

#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// The configuration; `-` reads standard input.
    #[arg(value_name = "FILE", default_value = config::DEFAULT_PATH)]
    file: PathBuf,
    /// Print the whole configuration: all files together, every default, and the values of variables.
    ///
    /// The output is a configuration too. In place of a credential it has the credential's `${NAME}`.
    #[arg(long, conflicts_with = "json")]
    effective: bool,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// The result for `--json`.
#[derive(Debug, Serialize)]
struct Validation {
    file: String,
    valid: bool,
    peers: usize,
    services: usize,
    vips: usize,
    /// The files of `conf.d`.
    more_files: Vec<String>,
    errors: Vec<Mistake>,
    warnings: Vec<String>,
}

/// A mistake in a configuration.
#[derive(Debug, Serialize)]
struct Mistake {
    /// None for a file that the configuration names.
    file: Option<String>,
    /// None for a file that the configuration names.
    line: Option<usize>,
    text: String,
    help: Option<String>,
}

pub(super) fn call(arguments: &ValidateArguments) -> Result<(), CommandError> {
    let ValidateArguments { file, effective, json: is_json } = arguments;
    let text = ConfigText::read(file).map_err(usage)?;
    let config = match text.parse_looking(useless_files) {
        Ok(config) => config,
        Err(errors) if *is_json => {
            let mistakes = errors.iter().map(|error| Mistake {
                file: Some(error.file.to_owned()),
                line: Some(error.line),
                text: error.message.to_owned(),
                help: Some(error.help.to_owned()).filter(|help| !help.is_empty()),
            });
            return Err(refused(file, &text, mistakes.collect(), Vec::new()));
        }
        Err(errors) => {
            let count = error_count(errors.len());
            return Err(usage(format_args!("{errors}\n\n{}: {count}", file.display())));
        }
    };
    let unseen = text.parse_looking(any_check_files).err();
    let place = |error: &ConfigError<'_>| match error.file == text.sources().main_name() {
        true => format!("line {}", error.line),
        false => format!("`{}` line {}", error.file, error.line),
    };
    let unseen = unseen
        .iter()
        .flat_map(ConfigErrors::iter)
        .map(|unseen| format!("{}: {}; the file was not checked", place(&unseen), unseen.message));
    let mut warnings: Vec<String> = unseen.collect();
    let wrong = check_keys(&config, &mut warnings);
    if wrong.is_empty() {
        warnings.extend(config.warnings());
        warnings.extend(config.exposures());
        warnings.extend(config.choices());
        warnings.extend(config.missing_programs(files::check_program));
        let limit = drain::io::unit::stop_time();
        let chain = config.chain.as_ref().map_or(Duration::ZERO, |_| LONGEST_LEAVE);
        warnings.extend(drain::unit::warning(config.drain.as_ref(), config.bgp.settle, chain, limit));
    }
    if !is_json {
        warnings.iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
    }
    let (peers, services, vips) = (config.peers.len(), config.services.len(), config.vips().count());
    match (wrong.is_empty(), is_json) {
        (false, true) => {
            let mistake = |text: String| Mistake { file: None, line: None, text, help: None };
            Err(refused(file, &text, wrong.into_iter().map(mistake).collect(), warnings))
        }
        (false, false) => {
            let mut lines: Vec<String> = wrong.iter().map(|error| format!("error: {error}")).collect();
            lines.push(format!("{}: {}", file.display(), error_count(wrong.len())));
            Err(CommandError::Usage(lines.join("\n")))
        }
        (true, true) => {
            let (file, more_files, valid, errors) =
                (file.display().to_string(), more_files(&text), true, Vec::new());
            output::line(json(&Validation {
                file,
                valid,
                peers,
                services,
                vips,
                more_files,
                errors,
                warnings,
            }));
            Ok(())
        }
        (true, false) if *effective => {
            output::text(&config::canonical(&config));
            Ok(())
        }
        (true, false) => {
            let more = match text.sources().other_names().count() {
                0 => String::new(),
                1 => " and 1 file of `conf.d`".to_owned(),
                more => format!(" and {more} files of `conf.d`"),
            };
            output::line(format_args!("{}{more}: good, {}", file.display(), counts(peers, services, vips)));
            Ok(())
        }
    }
}

/// The last line of what is wrong with a file, behind its name.
fn error_count(count: usize) -> String {
    format!("{count} error{}", if count == 1 { "" } else { "s" })
}

fn more_files(text: &ConfigText) -> Vec<String> {
    text.sources().other_names().map(str::to_owned).collect()
}

/// Prints the mistakes as JSON.
fn refused(file: &Path, text: &ConfigText, errors: Vec<Mistake>, warnings: Vec<String>) -> CommandError {
    let (file, more_files) = (file.display().to_string(), more_files(text));
    let (valid, peers, services, vips) = (false, 0, 0, 0);
    output::line(json(&Validation { file, valid, peers, services, vips, more_files, errors, warnings }));
    CommandError::Printed(2)
}

/// The problem with the files of a check, if it does not depend on the user who reads them.
fn useless_files(files: &CheckFiles) -> Result<(), String> {
    match trust::check(files) {
        Err(finding @ CheckFilesFinding::Wrong(_)) => Err(finding.to_string()),
        Err(CheckFilesFinding::Unseen(_)) | Ok(()) => Ok(()),
    }
}

/// Checks the files of the keys, which are not part of the configuration's text. Returns the errors: files that the daemon would
/// refuse. A file that this process cannot read is a warning.
fn check_keys(config: &config::Config, warnings: &mut Vec<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for peer in &config.peers {
        let Some(file) = &peer.password_file else { continue };
        match password::check(file) {
            Ok(oddity) => warnings.extend(oddity.iter().map(|what| format!("peer `{}`: {what}", peer.name))),
            Err(PasswordFinding::Wrong(error)) => wrong.push(format!("peer `{}`: {error}", peer.name)),
            Err(unseen @ PasswordFinding::Unseen(_)) => {
                warnings.push(format!("peer `{}`: {unseen}", peer.name));
            }
        }
    }
    for service in &config.services {
        for check in &service.checks {
            let open = check.probe.client_files().and_then(|files| identity::open_to_others(&files.key));
            warnings.extend(
                open.map(|what| format!("service `{}`, check `{}`: {what}", service.name, check.name)),
            );
        }
    }
    if let Some(chain) = &config.chain {
        match key::read(&chain.key_file) {
            Ok(_) => {}
            Err(unseen) if unseen.is_unseen() => {
                warnings.push(format!("`[chain]`: {unseen}; its key was not checked"));
            }
            Err(wrong_key) => wrong.push(format!("`[chain]`: {wrong_key}")),
        }
    }
    wrong
}
