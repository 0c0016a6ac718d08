//! The formats of the log: text, JSON, and the fields of the journal.
//!
//! Pure. Every text may come from outside; `model/text.rs` makes it safe.

use serde::ser::{Serialize, SerializeMap, Serializer};
use tracing::Level;

use super::record::{FieldValue, LogRecord};
use crate::model::text;

/// The format that the operator chooses, by `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people. Under systemd: records of the journal, with fields.
    Text,
    /// One JSON object a line.
    Json,
}

/// What standard error is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StandardError {
    /// A terminal.
    pub is_terminal: bool,
    /// The journal of systemd: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
    pub is_journal: bool,
    /// The environment asks for no colours: `NO_COLOR` is set, and is not empty.
    pub no_color: bool,
}

/// Where the log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDestination {
    /// Records to the journal's socket. If that fails: lines to standard error, with a priority.
    Journal,
    /// Lines to standard error.
    Lines(LineStyle),
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineStyle {
    /// Time, level, message, fields.
    Text,
    /// The same with colours.
    Coloured,
    /// Message and fields after a priority such as `<4>`, which the journal removes (sd-daemon(3)). The journal knows the time.
    Priority,
    /// A JSON object.
    Json,
    /// A JSON object after a priority.
    JsonPriority,
}

impl LogDestination {
    /// Chooses where the log goes.
    pub fn choose(format: LogFormat, stderr: StandardError) -> Self {
        match format {
            LogFormat::Text if stderr.is_journal => LogDestination::Journal,
            LogFormat::Text if stderr.is_terminal && !stderr.no_color => {
                LogDestination::Lines(LineStyle::Coloured)
            }
            LogFormat::Text => LogDestination::Lines(LineStyle::Text),
            LogFormat::Json if stderr.is_journal => LogDestination::Lines(LineStyle::JsonPriority),
            LogFormat::Json => LogDestination::Lines(LineStyle::Json),
        }
    }
}

impl LineStyle {
    /// The line of a record, with its line feed.
    pub fn line(self, record: &LogRecord) -> String {
        let priority = priority(record.level);
        match self {
            LineStyle::Text | LineStyle::Coloured if record.ends_program => {
                format!("error: {}\n", sentence(record))
            }
            LineStyle::Text => {
                format!("{} {:>5} {}\n", time(record), record.level.as_str(), sentence(record))
            }
            LineStyle::Coloured => {
                let (dim, colour, end) = ("\x1b[2m", colour(record.level), "\x1b[0m");
                let (time, level) = (time(record), record.level.as_str());
                format!("{dim}{time}{end} {colour}{level:>5}{end} {}\n", sentence(record))
            }
            LineStyle::Priority => format!("<{priority}>{}\n", sentence(record)),
            LineStyle::Json => format!("{}\n", json(record)),
            LineStyle::JsonPriority => format!("<{priority}>{}\n", json(record)),
        }
    }
}

/// The record in the native protocol of the journal (systemd's `docs/JOURNAL_NATIVE_PROTOCOL.md`): lines of `FIELD=value`.
pub fn journal(record: &LogRecord) -> String {
    let mut text = format!(
        "MESSAGE={}\nPRIORITY={}\nSYSLOG_IDENTIFIER=announcer\nTARGET={}\n",
        sentence(record),
        priority(record.level),
        text::one_line(&record.target, usize::MAX),
    );
    for (name, value) in &record.fields {
        let (name, values) = match value {
            // A record may have a field several times: `journalctl VIP=192.0.2.80` finds each VIP of the list `vips`.
            FieldValue::List(values) => (name.trim_end_matches('s'), values.clone()),
            FieldValue::Text(_) | FieldValue::Integer(_) | FieldValue::Float(_) | FieldValue::Bool(_) => {
                (name.as_ref(), vec![value.to_string()])
            }
        };
        for value in values {
            // A value has one line, so the form with a length is not needed.
            let value = text::one_line(&value, usize::MAX);
            text.extend([journal_name(name).as_str(), "=", value.as_str(), "\n"]);
        }
    }
    text
}

/// A text of several lines as errors of the journal.
pub fn error_lines(text: &str) -> String {
    let priority = priority(Level::ERROR);
    text.lines().map(|line| format!("<{priority}>{line}")).collect::<Vec<_>>().join("\n")
}

/// Names that the journal or this module gives a meaning.
const JOURNAL_NAMES: [&str; 5] = ["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "TARGET", "ERRNO"];
/// The longest name of a field.
const LONGEST_NAME: usize = 64;

/// The name of a field in the journal: capital letters, digits and `_`, with a letter first.
fn journal_name(name: &str) -> String {
    let capital = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut text: String = name.chars().map(capital).collect();
    if JOURNAL_NAMES.contains(&text.as_str()) || !text.starts_with(|c: char| c.is_ascii_uppercase()) {
        text.insert_str(0, "FIELD_");
    }
    text.truncate(LONGEST_NAME);
    text
}

/// The priority of syslog(3): 3 is an error, 4 a warning, 6 information, 7 is for the search of a mistake.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// The message and the fields.
fn sentence(record: &LogRecord) -> String {
    let mut text = text::one_line(&record.message, usize::MAX);
    for (name, value) in &record.fields {
        text.extend([" ", name, "=", &text::quoted(&value.to_string())]);
    }
    text
}

fn time(record: &LogRecord) -> String {
    humantime::format_rfc3339_millis(record.time).to_string()
}

fn json(record: &LogRecord) -> String {
    // A map with texts as keys can always be written.
    let json = serde_json::to_string(&JsonRecord(record)).unwrap_or_default();
    text::safe_json(&json).into_owned()
}

struct JsonRecord<'a>(&'a LogRecord);

impl Serialize for JsonRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let JsonRecord(record) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &time(record))?;
        map.serialize_entry("level", &record.level.as_str().to_ascii_lowercase())?;
        map.serialize_entry("target", &record.target)?;
        map.serialize_entry("message", &record.message)?;
        map.serialize_entry("fields", &JsonFields(record))?;
        map.end()
    }
}

struct JsonFields<'a>(&'a LogRecord);

impl Serialize for JsonFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let JsonFields(record) = self;
        let mut map = serializer.serialize_map(Some(record.fields.len()))?;
        for (name, value) in &record.fields {
            match value {
                FieldValue::Text(text) => map.serialize_entry(name, text)?,
                FieldValue::Integer(number) => map.serialize_entry(name, number)?,
                FieldValue::Float(number) => map.serialize_entry(name, number)?,
                FieldValue::Bool(value) => map.serialize_entry(name, value)?,
                FieldValue::List(texts) => map.serialize_entry(name, texts)?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn record() -> LogRecord {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let mut record = LogRecord::new(time, Level::WARN, "announcer::daemon", "VIP was withdrawn".into());
        record.fields = vec![
            ("service".into(), FieldValue::Text("www".into())),
            ("vip".into(), FieldValue::Text("192.0.2.80".into())),
            ("reason".into(), FieldValue::Text("not announced, \"no\"\n\u{1b}[2J".into())),
            ("tries".into(), FieldValue::Integer(3)),
        ];
        record
    }

    #[test]
    fn each_style_of_a_line() {
        let sentence = r#"VIP was withdrawn service=www vip=192.0.2.80 reason="not announced, \"no\"\n\u{1b}[2J" tries=3"#;
        for (style, want) in [
            (LineStyle::Text, format!("2027-01-15T08:00:00.123Z  WARN {sentence}\n")),
            (
                LineStyle::Coloured,
                format!("\x1b[2m2027-01-15T08:00:00.123Z\x1b[0m \x1b[33m WARN\x1b[0m {sentence}\n"),
            ),
            (LineStyle::Priority, format!("<4>{sentence}\n")),
        ] {
            assert_eq!(style.line(&record()), want);
        }
        let json = r#"{"time":"2027-01-15T08:00:00.123Z","level":"warn","target":"announcer::daemon","message":"VIP was withdrawn","fields":{"service":"www","vip":"192.0.2.80","reason":"not announced, \"no\"\n\u001b[2J","tries":3}}"#;
        assert_eq!(LineStyle::Json.line(&record()), format!("{json}\n"));
        assert_eq!(LineStyle::JsonPriority.line(&record()), format!("<4>{json}\n"));
    }

    #[test]
    fn the_error_that_ends_the_program_looks_like_that_of_any_command() {
        let mut record = LogRecord { fields: Vec::new(), ends_program: true, ..record() };
        record.level = Level::ERROR;
        record.message = "cannot listen\non it".into();
        for (style, want) in [
            (LineStyle::Text, "error: cannot listen on it\n"),
            (LineStyle::Coloured, "error: cannot listen on it\n"),
            (LineStyle::Priority, "<3>cannot listen on it\n"),
        ] {
            assert_eq!(style.line(&record), want);
        }
    }

    #[test]
    fn the_journal_gets_fields_and_no_text_can_add_one() {
        let mut record = record();
        record.message = "said\nPRIORITY=0".into();
        record.fields.push(("message".into(), FieldValue::Text("x".into())));
        record.fields.push(("_uid".into(), FieldValue::Bool(true)));
        record.fields.push(("peer.name".into(), FieldValue::Text("a\nVIP=b".into())));
        let lines = r#"MESSAGE=said PRIORITY=0 service=www vip=192.0.2.80 reason="not announced, \"no\"\n\u{1b}[2J" tries=3 message=x _uid=true peer.name="a\nVIP=b"
PRIORITY=4
SYSLOG_IDENTIFIER=announcer
TARGET=announcer::daemon
SERVICE=www
VIP=192.0.2.80
REASON=not announced, "no"  [2J
TRIES=3
FIELD_MESSAGE=x
FIELD__UID=true
PEER_NAME=a VIP=b
"#;
        assert_eq!(journal(&record), lines);
        assert_eq!(journal_name(&"x".repeat(70)).len(), LONGEST_NAME);
    }

    #[test]
    fn a_list_is_found_by_each_of_its_values() {
        let mut record = record();
        let vips = ["192.0.2.80", "2001:db8::80"].map(str::to_owned).to_vec();
        record.fields = vec![("vips".into(), FieldValue::List(vips))];
        assert!(journal(&record).ends_with("\nVIP=192.0.2.80\nVIP=2001:db8::80\n"), "{}", journal(&record));
        assert!(LineStyle::Text.line(&record).ends_with(" vips=\"192.0.2.80 2001:db8::80\"\n"));
        assert!(LineStyle::Json.line(&record).contains(r#"{"vips":["192.0.2.80","2001:db8::80"]}"#));
    }

    #[test]
    fn where_the_log_goes() {
        use LineStyle::{Coloured, Json, JsonPriority, Text};
        // format, terminal, journal, NO_COLOR
        for (format, is_terminal, is_journal, no_color, want) in [
            (LogFormat::Text, false, false, false, LogDestination::Lines(Text)),
            (LogFormat::Text, true, false, false, LogDestination::Lines(Coloured)),
            (LogFormat::Text, true, false, true, LogDestination::Lines(Text)),
            (LogFormat::Text, false, true, false, LogDestination::Journal),
            (LogFormat::Json, false, false, false, LogDestination::Lines(Json)),
            (LogFormat::Json, true, false, false, LogDestination::Lines(Json)),
            (LogFormat::Json, false, true, false, LogDestination::Lines(JsonPriority)),
        ] {
            let stderr = StandardError { is_terminal, is_journal, no_color };
            assert_eq!(LogDestination::choose(format, stderr), want, "{format:?} {stderr:?}");
        }
    }
}
