//! Reads one value of the file: its type, and the rules that depend only on the value.
//!
//! Pure.

mod asn;
mod duration;
mod name;

use std::cell::Cell;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use toml::de::DeValue;

pub(super) use self::asn::{asn, peer_asn};
pub(super) use self::duration::{
    DAY, HOUR, MILLISECOND, MINUTE, SECOND, YEAR, hold_time, microseconds, min_hold_time, restart_time, span,
    watch, within,
};
pub(super) use self::name::{absolute, host_name, interface, listen, path, vrf};
use super::keys::{Key, Need};
use crate::model::{InvalidValue, Weight};

/// A value as it is in the file.
#[derive(Debug)]
pub(super) struct Value<'a> {
    pub(super) key: &'static Key,
    /// Whether it is an element of the key's array.
    pub(super) element: bool,
    pub(super) found: &'a DeValue<'a>,
    /// The form that is shown if it has a part from a credential.
    pub(super) secret: Option<&'a str>,
    /// Whether its reader has asked for this form.
    pub(super) keeps: Cell<bool>,
    /// Whether the error of its reader is about this form, so that it quotes no credential.
    pub(super) printable: Cell<bool>,
}

/// Why it cannot be used.
#[derive(Debug)]
pub(super) struct ValueError {
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: String,
    /// Whether the value is of another type than wanted.
    pub(super) mistyped: bool,
}

pub(super) fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError { message: message.into(), help: help.into(), mistyped: false })
}

/// The types of the model return "message; help".
impl From<InvalidValue> for ValueError {
    fn from(InvalidValue(text): InvalidValue) -> Self {
        let (message, help) = text.rsplit_once("; ").unwrap_or((&text, "write another value"));
        ValueError { message: message.to_owned(), help: help.to_owned(), mistyped: false }
    }
}

/// The value as messages print it.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}`{}`", if self.element { "each of " } else { "" }, self.key.shown())
    }
}

impl<'a> Value<'a> {
    /// A value of the file.
    pub(super) fn new(
        key: &'static Key,
        element: bool,
        found: &'a DeValue<'a>,
        secret: Option<&'a str>,
    ) -> Self {
        Value { key, element, found, secret, keeps: Cell::new(false), printable: Cell::new(false) }
    }

    /// How the value has to be shown, because it has a part from a credential; `None`: as it is. Only a reader whose value never
    /// shows the credential may call this.
    pub(super) fn shown(&self) -> Option<String> {
        self.keeps.set(true);
        self.secret.map(str::to_owned)
    }

    /// Lets the error of its reader be printed, if there is one: it is about the form that is shown.
    pub(super) fn of_shown<T>(&self, result: Result<T, ValueError>) -> Result<T, ValueError> {
        self.printable.set(result.is_err());
        result
    }
}

impl Value<'_> {
    /// The error for a value of another type than `wanted`, such as "a string" or "`[[peer]]`".
    pub(super) fn not(&self, wanted: &str) -> ValueError {
        if self.key.section().is_some() {
            let name = wanted.trim_matches(['[', ']']);
            let found = if self.found.is_table() {
                format!("`[{name}]`")
            } else if self.found.is_array() {
                format!("`[[{name}]]`")
            } else {
                a(self.found).to_owned()
            };
            let help = format!("write `{wanted}` on its own line, and its keys below it");
            return ValueError {
                message: format!("`{name}` must be written as `{wanted}`, not as {found}"),
                help,
                mistyped: true,
            };
        }
        let found = a(self.found);
        let example = self.key.example().unwrap_or(wanted);
        let help = match self.key.need {
            Need::Default("false") => format!("write `{} = true`", self.key.name),
            Need::Required(_)
            | Need::OneOf(_)
            | Need::Optional(_)
            | Need::Default(_)
            | Need::Table(_)
            | Need::OptionalTable(_)
            | Need::Tables(_)
            | Need::OptionalTables(_)
            | Need::Defaults(_) => {
                format!("write it as in `{} = {example}`", self.key.name)
            }
        };
        ValueError { message: format!("{self} must be {wanted}, not {found}"), help, mistyped: true }
    }

    /// The error for a value that is neither a boolean nor the table `header`.
    pub(super) fn no_switch(&self, header: &str) -> ValueError {
        let name = self.key.name;
        ValueError {
            message: format!(
                "`{name}` must be `true`, `false` or the table `{header}`, not {}",
                a(self.found)
            ),
            help: format!("write `{name} = true`, or `{header}` on its own line, and its keys below it"),
            mistyped: true,
        }
    }

    fn help(&self, help: impl fmt::Display) -> String {
        match self.key.need {
            Need::Default(value) => format!("{help}; the default is `{}`", value.trim_matches('"')),
            Need::Required(_)
            | Need::OneOf(_)
            | Need::Optional(_)
            | Need::Table(_)
            | Need::OptionalTable(_)
            | Need::Tables(_)
            | Need::OptionalTables(_)
            | Need::Defaults(_) => help.to_string(),
        }
    }
}

/// Its type, for a sentence.
fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Any string.
pub(super) fn string(value: &Value<'_>) -> Result<String, ValueError> {
    text(value).map(str::to_owned)
}

pub(super) fn text<'a>(value: &'a Value<'_>) -> Result<&'a str, ValueError> {
    value.found.as_str().ok_or_else(|| value.not("a string"))
}

/// `None`: no `u32`.
fn integer(value: &Value<'_>) -> Result<Option<u32>, ValueError> {
    if let DeValue::Integer(found) = value.found {
        return Ok(u32::from_str_radix(found.as_str(), found.radix()).ok());
    }
    let mut wrong = value.not("an integer");
    if let Some(number) = value.found.as_str().and_then(|text| text.parse::<u32>().ok()) {
        wrong.help = format!("write `{number}`, without quotes");
    }
    Err(wrong)
}

pub(super) fn number(value: &Value<'_>, bounds: RangeInclusive<u32>) -> Result<u32, ValueError> {
    integer(value)?.filter(|number| bounds.contains(number)).ok_or_else(|| outside(value, bounds))
}

fn outside(value: &Value<'_>, bounds: RangeInclusive<u32>) -> ValueError {
    let (least, most) = bounds.into_inner();
    let help = value.help(format_args!("write a number of {least} to {most}"));
    ValueError { message: format!("{value} must be {least} to {most}"), help, mistyped: false }
}

/// 0 to 10.
pub(super) fn prepend(value: &Value<'_>) -> Result<u8, ValueError> {
    octet(value, 0..=10)
}

/// 1 to 255.
pub(super) fn hops(value: &Value<'_>) -> Result<u8, ValueError> {
    octet(value, 1..=255)
}

/// Octets of a TCP segment: 536 (RFC 9293 §3.7.1) to the largest value that Linux accepts for TCP_MAXSEG.
pub(super) fn segment_size(value: &Value<'_>) -> Result<u16, ValueError> {
    let bounds = 536..=32767;
    let found = number(value, bounds.clone())?;
    u16::try_from(found).map_err(|_| outside(value, bounds))
}

fn octet(value: &Value<'_>, bounds: RangeInclusive<u32>) -> Result<u8, ValueError> {
    let found = number(value, bounds.clone())?;
    u8::try_from(found).map_err(|_| outside(value, bounds))
}

pub(super) fn boolean(value: &Value<'_>) -> Result<bool, ValueError> {
    value.found.as_bool().ok_or_else(|| value.not("`true` or `false`"))
}

/// 0 to 4294967295.
pub(super) fn med(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 0..=u32::MAX)
}

/// 1 to 65535.
pub(super) fn port(value: &Value<'_>) -> Result<u16, ValueError> {
    let port = number(value, 1..=u16::MAX.into())?;
    u16::try_from(port).or_else(|_| wrong("this is not a port", "write a number of 1 to 65535"))
}

/// 1 to 100.
pub(super) fn count(value: &Value<'_>) -> Result<u32, ValueError> {
    number(value, 1..=100)
}

/// 1 to 100.
pub(super) fn weight(value: &Value<'_>) -> Result<Weight, ValueError> {
    let bounds = u32::from(Weight::LEAST)..=u32::from(Weight::MOST);
    let found = number(value, bounds.clone())?;
    u8::try_from(found).ok().and_then(Weight::new).ok_or_else(|| outside(value, bounds))
}

/// A word of the model: a name, a community.
pub(super) fn word<T: FromStr<Err = InvalidValue>>(value: &Value<'_>) -> Result<T, ValueError> {
    Ok(text(value)?.parse()?)
}
