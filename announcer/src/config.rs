//! The configuration as the program uses it. A `Config` is always valid.
//!
//! Pure. Text -> `File` (as written, with spans) -> [`Config`], or all errors at once ([`ConfigErrors`]).
//!
//! ```text
//! bgp peer overrides service recipients attributes deprefer check health hooks metrics status_page   one table each: its keys, each declared
//!                                                                                 once, and the rules within it
//! kind       the kinds of checks, one file each; endpoint: what they connect to; pattern
//! table      the declaration of a table           keys    its rows in the documents
//! reader     one table, key by key: unknown and missing keys     value, address, range  one value: its type and rule
//! unknown    the help for an unknown key          synonyms  the words of other programs
//! writer     values as TOML                       error   how errors are printed
//! encoding   octets as text                       syntax  TOML's own errors, and the readable part of a broken file
//! defaults   `[defaults]`: the values of absent keys
//! file       all tables together: read, used, written again      rules  rules that concern several tables
//! warnings   values that are allowed but probably a mistake     digest  the SHA-256 of the file
//! ```
//!
//! A new key is one line in its table.

mod address;
mod attributes;
mod bgp;
pub mod check;
mod defaults;
mod deprefer;
pub mod diff;
mod digest;
mod drain;
mod encoding;
pub mod endpoint;
mod error;
mod file;
mod health;
mod hooks;
pub mod io;
pub mod keys;
pub mod kind;
mod metrics;
mod overrides;
pub mod pattern;
mod peer;
mod range;
mod reader;
mod recipients;
mod rules;
mod service;
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

use std::path::Path;

use toml::de::DeTable;

pub use bgp::BgpConfig;
pub use check::{CheckConfig, OnFailure};
pub use digest::ConfigDigest;
pub use drain::{ACKNOWLEDGE, DrainConfig};
pub use encoding::decode;
pub use error::{ConfigError, ConfigErrors};
pub use file::{Config, FILE, canonical};
pub use health::HealthConfig;
pub use hooks::HooksConfig;
pub use kind::ProbeConfig;
pub use metrics::MetricsConfig;
pub use peer::{PeerAddress, PeerConfig};
pub use service::{FlapDamping, Require, ServiceConfig};
pub use status_page::StatusPageConfig;

/// The path of the configuration, unless `--config` names another.
pub const DEFAULT_PATH: &str = "/etc/announcer/announcer.toml";

/// Reads a whole configuration. `name` is the name of the file in messages: its path, or `<stdin>`.
///
/// # Errors
///
/// All mistakes at once, in the order of the file.
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigErrors> {
    parse_looking(name, text, |_| Ok(()))
}

/// The same. It also calls `look` for each file that a check cannot do without: the `ca_file` of a check with `verify = "require"`.
/// `look` returns the problem with the file.
///
/// # Errors
///
/// All mistakes in the configuration and in such files at once, in the order of the file.
pub fn parse_looking(
    name: &str,
    text: &str,
    look: impl Fn(&Path) -> Result<(), String>,
) -> Result<Config, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut faults = Vec::new();
    let trusted = syntax::trusted(text, &mut faults);
    let whole = faults.is_empty();
    let (document, _) = DeTable::parse_recoverable(&trusted);
    // A missing table is marked at the last line of the file.
    let end = text.trim_end().len();
    let file = file::read(document.get_ref(), end..end, &mut faults);
    rules::judge(&file, &mut faults);
    file.services.iter().for_each(|service| check::look(&service.checks, &look, &mut faults));
    if !whole {
        // A missing key may be in a line that could not be read.
        faults.retain(|fault| !fault.absence);
    }
    match file.used() {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(name, text, faults)),
    }
}
