//! A line of the log, before it has a format.
//!
//! Pure.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use tracing::Level;
use tracing::field::{Field, Visit};

/// The octets that a record needs besides its texts, about.
const OVERHEAD: usize = 128;

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// When it was logged.
    pub time: SystemTime,
    /// How much it matters: see `docs/operations.md`.
    pub level: Level,
    /// The module that logged it.
    pub target: Cow<'static, str>,
    /// What happened: short, lower case, past tense, without data.
    pub message: String,
    /// The data, in the order in which they are written.
    pub fields: Vec<(Cow<'static, str>, FieldValue)>,
    /// Whether this is the error that ends the program. As a line of text it looks like the error of any other command.
    pub ends_program: bool,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldValue {
    /// A text, possibly from outside.
    Text(String),
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Several texts, such as the addresses of VIPs.
    List(Vec<String>),
}

impl LogRecord {
    /// A record without fields.
    pub fn new(time: SystemTime, level: Level, target: &'static str, message: String) -> Self {
        let (target, fields) = (Cow::Borrowed(target), Vec::new());
        LogRecord { time, level, target, message, fields, ends_program: false }
    }

    /// The octets that it needs while it waits, about.
    pub fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(name, value)| name.len() + value.size() + OVERHEAD / 2);
        OVERHEAD + self.message.len() + self.target.len() + fields.sum::<usize>()
    }
}

impl FieldValue {
    fn size(&self) -> usize {
        match self {
            FieldValue::Text(text) => text.len(),
            FieldValue::List(texts) => texts.iter().map(|text| text.len() + OVERHEAD / 4).sum(),
            FieldValue::Integer(_) | FieldValue::Float(_) | FieldValue::Bool(_) => 0,
        }
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Text(text) => f.write_str(text),
            FieldValue::Integer(number) => number.fmt(f),
            FieldValue::Float(number) => number.fmt(f),
            FieldValue::Bool(value) => value.fmt(f),
            FieldValue::List(texts) => f.write_str(&texts.join(" ")),
        }
    }
}

/// Collects the fields of an event or of a span.
#[derive(Debug, Default)]
pub struct FieldCollector {
    /// The message of an event.
    pub message: String,
    /// The module, if the event comes through the crate `log`.
    pub target: Option<String>,
    /// The other fields. `vips` is a list; an event has it as one text, with spaces between.
    pub fields: Vec<(Cow<'static, str>, FieldValue)>,
}

impl FieldCollector {
    fn add(&mut self, field: &Field, value: FieldValue) {
        match field.name() {
            "message" => self.message = value.to_string(),
            "log.target" => self.target = Some(value.to_string()),
            "log.module_path" | "log.file" | "log.line" => {}
            "vips" => {
                let texts = value.to_string().split(' ').map(str::to_owned).collect();
                self.fields.push((Cow::Borrowed("vips"), FieldValue::List(texts)));
            }
            name => self.fields.push((Cow::Borrowed(name), value)),
        }
    }
}

impl Visit for FieldCollector {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, FieldValue::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, FieldValue::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, FieldValue::Integer(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, FieldValue::Integer(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, FieldValue::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, FieldValue::Bool(value));
    }
}
