//! The configuration as the program uses it. A `Config` is always valid.
//!
//! Pure. Text -> `File` (as written, with spans) -> [`Config`], or all errors at once ([`ConfigErrors`]).
//!
//! ```text
//! bgp chain dsr peer overrides service recipients attributes deprefer check health hooks log metrics status_page   one table each: its keys, each declared
//!                                                                                 once, and the rules within it
//! kind       the kinds of checks, one file each; endpoint: what they connect to; pattern
//! table      the declaration of a table           keys    its rows in the documents
//! reader     one table, key by key: unknown and missing keys     value, address, range  one value: its type and rule
//! unknown    the help for an unknown key          synonyms  the words of other programs
//! writer     values as TOML                       error   how errors are printed
//! secret     values with parts from credentials, which are not shown
//! sources    the files of a configuration         syntax  TOML's own errors, and the readable part of a broken file
//! document   a parsed file, with its places in the whole configuration
//! defaults   `[defaults]`: the values of absent keys
//! file       all tables together: read, used, written again      rules  rules that concern several tables
//! warnings   values that are allowed but probably a mistake     digest  the SHA-256 of the file
//! ```
//!
//! A new key is one line in its table.

mod address;
mod attributes;
mod bfd;
mod bgp;
mod chain;
pub mod check;
mod default_values;
mod defaults;
mod deprefer;
pub mod diff;
mod digest;
mod document;
mod drain;
mod dsr;
pub mod endpoint;
mod error;
mod file;
mod health;
mod hooks;
pub mod io;
pub mod keys;
pub mod kind;
mod log;
mod metrics;
mod overrides;
pub mod pattern;
mod peer;
pub mod proxy;
mod range;
mod reader;
mod recipients;
mod rules;
pub mod secret;
mod service;
pub mod sources;
mod status_page;
mod synonyms;
mod syntax;
mod table;
mod unknown;
mod value;
pub mod warnings;
mod writer;
mod written;

#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;

use dsr_setup::encoding::EncodingFault;
use toml::de::DeTable;

use document::Substituted;
use error::Fault;
use kind::certificate::CheckFiles;
use sources::{Source, Sources};

pub use bfd::BfdConfig;
pub use bgp::BgpConfig;
pub use chain::{ChainConfig, LONGEST_LEAVE, MISSING_HEARTBEATS, MOST_MEMBERS};
pub use check::{CheckConfig, OnFailure, OnSlow, SlowLimit};
pub use digest::ConfigDigest;
pub use drain::{ACKNOWLEDGE, DrainConfig};
pub use dsr::DsrConfig;
pub use error::{ConfigError, ConfigErrors};
pub use file::{Config, FILE, canonical};
pub use health::HealthConfig;
pub use hooks::{HookOwner, HooksConfig};
pub use kind::ProbeConfig;
pub use log::LogConfig;
pub use metrics::MetricsConfig;
pub use peer::{PeerAddress, PeerConfig};
pub use service::{FlapDamping, Require, ServiceConfig};
pub use status_page::StatusPageConfig;

/// The path of the configuration, unless `--config` names another.
pub const DEFAULT_PATH: &str = "/etc/announcer/announcer.toml";

/// Reads a configuration that is one text. `name` is the name of the file in messages: its path, or `<stdin>`.
///
/// # Errors
///
/// All mistakes at once, in the order of the file.
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigErrors> {
    parse_sources(&Sources::one(name, text), |_| Ok(()))
}

/// Reads a whole configuration. It also calls `look` for the files that a check cannot do without: the `ca_file` of a check with
/// `verify = "require"`, and our own certificate. `look` returns the problem with the files.
///
/// # Errors
///
/// All mistakes in the configuration and in such files at once, in the order of the files.
pub fn parse_sources(
    sources: &Sources,
    look: impl Fn(&CheckFiles) -> Result<(), String>,
) -> Result<Config, ConfigErrors> {
    let mut faults = Vec::new();
    let readable: Vec<Cow<'_, str>> = sources.iter().map(|source| readable(source, &mut faults)).collect();
    let whole = faults.is_empty();
    let starts = sources.iter().map(|source| source.start);
    let mut substituted = Substituted::new();
    let parsed = readable.iter().zip(starts).map(|(text, start)| {
        document::parse(text, start, sources.variables(), &mut substituted, &mut faults)
    });
    let documents: Vec<DeTable<'_>> = parsed.collect();
    let file = file::read(sources, &documents, &substituted, &mut faults);
    rules::judge(&file, &mut faults);
    file.services.iter().for_each(|service| check::look(&service.checks, &look, &mut faults));
    if !whole {
        // A missing key may be in a line that could not be read.
        faults.retain(|fault| !fault.absence);
    }
    faults.iter_mut().for_each(|fault| mask(fault, &substituted));
    match file.used() {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(sources.clone(), faults)),
    }
}

/// Replaces the words of a mistake that could quote a credential.
fn mask(fault: &mut Fault, substituted: &Substituted) {
    let is_secret = |at: usize| substituted.get(&at).is_some_and(|value| value.shown.is_some());
    let places = std::iter::once(fault.span.start).chain(fault.beside.iter().map(|(span, _)| span.start));
    if !fault.first && places.into_iter().any(is_secret) {
        fault.message = "this value, which has a credential, cannot be used here".to_owned();
        fault.help =
            "the value is not printed; `announcer validate` with a value written here says what is wrong"
                .to_owned();
    }
}

/// The part of a file that can be read; records an error for each other part.
fn readable<'a>(source: &'a Source, faults: &mut Vec<Fault>) -> Cow<'a, str> {
    if !source.undecoded.is_empty() {
        let fault = |fault: &EncodingFault| {
            let EncodingFault { span, message, help } = fault.clone();
            Fault::new(span, message, help).moved(source.start)
        };
        faults.extend(source.undecoded.iter().map(fault));
        return Cow::Borrowed("");
    }
    let mut found = Vec::new();
    let text = syntax::trusted(&source.text, &mut found);
    faults.extend(found.into_iter().map(|fault| fault.moved(source.start)));
    text
}
