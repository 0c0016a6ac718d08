//! `announcer validate`: all mistakes of a configuration and of the files that it names.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CommandError, any_ca_file, counts, usage};
use crate::bgp::io::password::{self, PasswordFinding};
use crate::config::io::ConfigText;
use crate::config::{self, ConfigErrors};
use crate::health::io::trust;

#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// The configuration; `-` reads standard input.
    #[arg(value_name = "FILE", default_value = config::DEFAULT_PATH)]
    file: PathBuf,
}

pub(super) fn call(arguments: &ValidateArguments) -> Result<(), CommandError> {
    let ValidateArguments { file } = arguments;
    let text = ConfigText::read(file).map_err(usage)?;
    let config = text.parse_looking(useless_ca_file).map_err(usage)?;
    for unseen in text.parse_looking(any_ca_file).err().iter().flat_map(ConfigErrors::iter) {
        output::note(format_args!(
            "warning: line {}: {}; its certificates were not checked",
            unseen.line, unseen.message
        ));
    }
    check_keys(&config)?;
    for warning in config.warnings().iter().chain(&config.exposures()) {
        output::note(format_args!("warning: {warning}"));
    }
    let vips = config.vips().count();
    output::line(format_args!(
        "{}: good, {}",
        file.display(),
        counts(config.peers.len(), config.services.len(), vips)
    ));
    Ok(())
}

/// The problem with a `ca_file`, if it does not depend on the user who reads the file.
fn useless_ca_file(file: &Path) -> Result<(), String> {
    match trust::check(file) {
        Err(finding @ trust::CaFileFinding::Wrong(_)) => Err(finding.to_string()),
        Err(trust::CaFileFinding::Unseen(_)) | Ok(()) => Ok(()),
    }
}

/// Checks the files of the keys, which are not part of the configuration's text. A file that the daemon would refuse is an error.
/// For a file that this process cannot read, it prints a warning.
fn check_keys(config: &config::Config) -> Result<(), CommandError> {
    let mut wrong = Vec::new();
    for peer in &config.peers {
        let Some(file) = &peer.password_file else { continue };
        match password::check(file) {
            Ok(oddity) => oddity
                .iter()
                .for_each(|what| output::note(format_args!("warning: peer `{}`: {what}", peer.name))),
            Err(PasswordFinding::Wrong(error)) => wrong.push(format!("error: peer `{}`: {error}", peer.name)),
            Err(unseen @ PasswordFinding::Unseen(_)) => {
                output::note(format_args!("warning: peer `{}`: {unseen}", peer.name));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(CommandError::Usage(wrong.join("\n"))) }
}
