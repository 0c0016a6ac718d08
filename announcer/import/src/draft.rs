//! An announcer.toml that is being written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::node::Place;
use crate::report::{Note, NoteKind, Report, printable};
use crate::{Given, Imported};

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
    Texts(Vec<String>),
}

/// A table, with its comments and the tables below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    header: &'static str,
    comments: Vec<String>,
    keys: Vec<(&'static str, Value, String)>,
    /// Comments after the keys.
    after: Vec<String>,
    /// The tables below it.
    pub(crate) tables: Vec<Table>,
}

impl Table {
    pub(crate) fn new(header: &'static str) -> Self {
        Table { header, comments: Vec::new(), keys: Vec::new(), after: Vec::new(), tables: Vec::new() }
    }

    /// Adds a comment above the table.
    pub(crate) fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// Adds a comment below the keys.
    pub(crate) fn comment_after(&mut self, text: impl Into<String>) {
        self.after.push(text.into());
    }

    /// Sets a key. A key that is set already gets the new value.
    pub(crate) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.set_why(key, value, "");
    }

    /// Sets a key that stands before all but the first one.
    pub(crate) fn set_second(&mut self, key: &'static str, value: impl Into<Value>) {
        self.keys.insert(1.min(self.keys.len()), (key, value.into(), String::new()));
    }

    /// The same as [`Table::set`], with a comment behind the value.
    pub(crate) fn set_why(&mut self, key: &'static str, value: impl Into<Value>, why: impl Into<String>) {
        let (value, why) = (value.into(), why.into());
        match self.keys.iter_mut().find(|(name, ..)| *name == key) {
            Some(entry) => *entry = (key, value, why),
            None => self.keys.push((key, value, why)),
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.iter().find(|(name, ..)| *name == key).map(|(_, value, _)| value)
    }

    /// The value of a key that is a text.
    pub(crate) fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Value::Text(text)) => text,
            Some(Value::Number(_) | Value::Flag(_) | Value::Texts(_)) | None => "",
        }
    }

    /// The values of a key that is a list.
    pub(crate) fn texts(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(Value::Texts(texts)) => texts,
            Some(Value::Number(_) | Value::Flag(_) | Value::Text(_)) | None => &[],
        }
    }

    fn write(&self, into: &mut String) {
        into.push('\n');
        self.comments.iter().for_each(|text| comment(into, text));
        let _ = writeln!(into, "{}", self.header);
        for (key, value, why) in &self.keys {
            let _ = write!(into, "{key} = {}", value.to_toml());
            let why = printable(why);
            into.push_str(&if why.is_empty() { "\n".to_owned() } else { format!(" # {why}\n") });
        }
        self.after.iter().for_each(|text| comment(into, text));
        self.tables.iter().for_each(|table| table.write(into));
    }
}

impl Value {
    fn to_toml(&self) -> String {
        match self {
            Value::Text(text) => quoted(text),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Texts(texts) => {
                format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Value {
        Value::Texts(texts)
    }
}

/// A basic string of TOML. announcer replaces `${NAME}` in values, so a `${` of the other system is written as `$${`.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A comment, in lines of at most 120 characters.
fn comment(into: &mut String, text: &str) {
    let mut length = 0;
    let text = printable_comment(text);
    let indent = text.len() - text.trim_start().len();
    for word in text.split_whitespace() {
        if length == 0 || length + word.chars().count() > 118 {
            if length > 0 {
                into.push('\n');
            }
            let spaces = if length == 0 { indent } else { indent + 2 * usize::from(indent > 0) };
            let _ = write!(into, "# {}{word}", " ".repeat(spaces));
            length = 2 + spaces + word.chars().count();
        } else {
            let _ = write!(into, " {word}");
            length += 1 + word.chars().count();
        }
    }
    into.push_str(if length == 0 { "#\n" } else { "\n" });
}

fn printable_comment(text: &str) -> String {
    text.chars().take(2000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The whole file.
#[derive(Debug)]
pub(crate) struct Draft {
    /// `[bgp]`.
    pub(crate) bgp: Table,
    /// `[[peer]]`.
    pub(crate) peers: Vec<Table>,
    /// `[[service]]`.
    pub(crate) services: Vec<Table>,
    /// Tables that may occur once.
    pub(crate) others: Vec<Table>,
}

impl Draft {
    pub(crate) fn new() -> Self {
        Draft { bgp: Table::new("[bgp]"), peers: Vec::new(), services: Vec::new(), others: Vec::new() }
    }

    /// A name that no other service has.
    pub(crate) fn service_name(&self, text: &str) -> String {
        unique(crate::values::name(text), &self.services)
    }

    /// A name that no other router has.
    pub(crate) fn peer_name(&self, text: &str) -> String {
        unique(crate::values::name(text), &self.peers)
    }

    /// The VIPs of all services.
    pub(crate) fn vips(&self) -> BTreeSet<IpAddr> {
        let texts = self.services.iter().flat_map(|service| service.texts("vips"));
        texts.filter_map(|text| text.parse().ok()).collect()
    }

    /// Writes the file. `command` is the command line without its options, `place` is where values are missed that the user has to
    /// give.
    pub(crate) fn finish(
        mut self,
        command: &str,
        place: &Place,
        given: &Given,
        mut report: Report,
    ) -> Imported {
        if let Some(asn) = given.asn {
            let before = self.bgp.get("asn").cloned();
            let same = before.as_ref().is_none_or(|before| *before == Value::Number(asn.into()));
            let why =
                if same { "given by `--asn`" } else { "given by `--asn`; the configuration has another one" };
            self.bgp.set_why("asn", Value::Number(asn.into()), why);
        }
        if self.bgp.get("asn").is_none() {
            self.bgp.comment_after("asn = …");
            report.missing(
                place,
                "asn",
                "the AS of this host is not in the configuration: give it by `--asn`",
            );
        }
        for router in &given.routers {
            let address = router.address.to_string();
            if let Some(peer) = self.peers.iter_mut().find(|peer| peer.text("address") == address) {
                peer.set_why("name", router.name.as_str(), "given by `--router`");
                peer.set_why("asn", u64::from(router.asn), "given by `--router`");
                continue;
            }
            let name = self.peer_name(&router.name);
            let mut peer = Table::new("[[peer]]");
            peer.comment("Given by `--router`.");
            peer.set("name", name);
            peer.set("address", address);
            peer.set("asn", u64::from(router.asn));
            self.peers.push(peer);
        }
        if self.peers.is_empty() {
            report.missing(
                place,
                "peer",
                "no router is in the configuration: give each by `--router NAME=ADDRESS,ASN`",
            );
        }
        let notes = report.notes();
        Imported { toml: self.text(command, &notes), notes }
    }

    fn text(&self, command: &str, notes: &[Note]) -> String {
        let count = |kind| notes.iter().filter(|note| note.kind == kind).count();
        let mut text = String::new();
        comment(&mut text, &format!("Written by `announcer import {command}`."));
        let (dropped, missing) = (count(NoteKind::Dropped), count(NoteKind::Missing));
        comment(
            &mut text,
            &format!(
                "{}, {}. Read it whole before you use it.",
                options(dropped, "dropped"),
                options(missing, "missing").to_lowercase()
            ),
        );
        for kind in NoteKind::ALL {
            if count(kind) > 0 {
                text.push_str("#\n");
                comment(&mut text, kind.heading());
            }
            for note in notes.iter().filter(|note| note.kind == kind) {
                comment(&mut text, &format!("  {}: `{}`: {}", note.place, note.option, note.text));
            }
        }
        self.bgp.write(&mut text);
        let lists = [&self.peers, &self.services, &self.others];
        lists.into_iter().flatten().for_each(|table| table.write(&mut text));
        text
    }
}

fn options(number: usize, what: &str) -> String {
    let noun = match (what, number) {
        ("missing", 1) => "value is",
        ("missing", _) => "values are",
        (_, 1) => "option was",
        (_, _) => "options were",
    };
    format!("{} {noun} {what}", if number == 0 { "No".to_owned() } else { number.to_string() })
}

/// The name, or with a number behind it if a table has it already.
fn unique(name: String, tables: &[Table]) -> String {
    let is_taken = |name: &str| tables.iter().any(|table| table.text("name") == name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let found = std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name));
    found.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_stays_in_its_string_and_its_comment() {
        let mut table = Table::new("[x]");
        table.comment("a\nb = 1");
        table.set_why("k", "q\" \\ \n\u{1}", "why\nk2 = 2");
        let mut text = String::new();
        table.write(&mut text);
        assert_eq!(text, "\n# a b = 1\n[x]\nk = \"q\\\" \\\\ \\n\\u0001\" # why k2 = 2\n");
    }
}
