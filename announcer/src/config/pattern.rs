//! A regular expression that has to be found in an answer.
//!
//! Pure.

use std::fmt;

use toml::Value as Toml;

use super::value::{Value, ValueError, text, wrong};
use super::writer::{self, ToToml};

/// A regular expression, compiled; two are equal if their texts are.
#[derive(Debug, Clone)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    /// Whether it matches a text. The time is linear in the length of the text.
    pub fn found_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl ToToml for Pattern {
    fn to_toml(&self) -> Toml {
        writer::text(self)
    }
}

pub(super) fn pattern(value: &Value<'_>) -> Result<Pattern, ValueError> {
    compile(text(value)?)
}

/// Compiles a regular expression.
pub(super) fn compile(text: &str) -> Result<Pattern, ValueError> {
    match regex_lite::Regex::new(text) {
        Ok(regex) => Ok(Pattern(regex)),
        Err(error) => wrong(
            format!("this is not a regular expression: {error}"),
            "write one as in `\"^ok\"`; `\\\\` stands for itself in `'…'`",
        ),
    }
}
