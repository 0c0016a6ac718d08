//! `[log]`.
//!
//! Pure. The command line comes first: `--log` and `--log-format` of `announcer run`.

use toml::Value as Toml;

use super::keys::Section;
use super::table::table;
use super::value::{Value, ValueError, text, wrong};
use super::writer::{self, ToToml};
use crate::log::filter;
use crate::log::format::LogFormat;

pub(super) const SECTION: Section =
    Section { header: "[log]", doc: "What the daemon logs, and how.", keys: &[&[Written::KEYS]] };

table! {
    /// `[log]`.
    pub struct LogConfig as Written {
        /// A level or a filter; it is valid.
        level: one String, default "\"info\"", level,
            "`off`, `error`, `warn`, `info`, `debug`, `trace`, or a filter by modules, as `announcer log` takes it; a reload applies it; `--log` of the command line comes first";
        /// The format of the lines.
        format: one LogFormat, default "\"text\"", format,
            "`text`, with fields in the journal, or `json`, one object a line; a reload applies it; `--log-format` of the command line comes first";
    }
}

impl ToToml for LogFormat {
    fn to_toml(&self) -> Toml {
        writer::text(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

fn level(value: &Value<'_>) -> Result<String, ValueError> {
    let text = text(value)?;
    match filter::check(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(why) => {
            let (message, help) = why.split_once("; ").unwrap_or((&why, "write a level, such as `info`"));
            wrong(message, help)
        }
    }
}

fn format(value: &Value<'_>) -> Result<LogFormat, ValueError> {
    match text(value)? {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => wrong(
            format!("`{}` is not a format of the log", other.escape_debug()),
            "write `\"text\"` or `\"json\"`",
        ),
    }
}
