//! Computes what a new configuration changes, key by key.
//!
//! Pure. It compares the canonical text of both configurations, which has every key, so that no key can be forgotten. It
//! compares peers, services and checks by their names: another order is a difference of its own, not one of each table.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::Config;
use super::file::comparable;
use super::secret::SECRET_BEHIND;
use crate::model::text;

/// A table of the file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which table.
    pub table: TableName,
    /// How it differs.
    pub change: TableChange,
}

/// The name of a table of the file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableName {
    /// A table that exists once, such as `bgp`.
    Single(String),
    /// A peer, by name.
    Peer(String),
    /// A service, by name.
    Service(String),
}

/// How a table differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    /// Only the new configuration has it.
    Added,
    /// Only the old configuration has it.
    Removed,
    /// Both have it, and these keys differ.
    Changed(Vec<KeyChange>),
    /// It is a list of tables, such as `service`, and the tables that both have are in another order.
    Reordered,
}

/// One change below a table. The name of a key below a nested table has the table's name before it: `deprefer.prepend`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The nested table of a list in which it is, such as `check site`; `None`: it is in the table itself.
    pub within: Option<String>,
    /// The change.
    pub change: ValueChange,
}

/// How a value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueChange {
    /// Another value.
    Value {
        /// The key.
        key: String,
        /// Its value before; `None`: the key was absent.
        before: Option<String>,
        /// Its new value; `None`: the key is absent.
        after: Option<String>,
    },
    /// A list has an element more, such as `VIP 192.0.2.81` or `check site`.
    Added(String),
    /// A list has an element less.
    Removed(String),
    /// Only the credential in this key differs, or the credentials in some of its elements.
    Credential(String),
    /// The tables of a list, such as `check`, are in another order.
    Reordered(String),
}

/// Everything that differs: peers first, then services, then the other tables. Empty when the two are equal.
pub fn differences(old: &Config, new: &Config) -> Vec<Difference> {
    let (old, new) = (table(old), table(new));
    let mut found = Vec::new();
    compare_named(&old, &new, "peer", &TableName::Peer, &mut found);
    compare_named(&old, &new, "service", &TableName::Service, &mut found);
    let single = |of: &Table, name: &str| of.get(name).and_then(Value::as_table).cloned();
    for name in names(&old, &new) {
        let change = match (single(&old, name), single(&new, name)) {
            (None, Some(_)) => TableChange::Added,
            (Some(_), None) => TableChange::Removed,
            (Some(old), Some(new)) if old != new => TableChange::Changed(keys(&old, &new)),
            (Some(_), Some(_)) | (None, None) => continue, // equal, or a list of tables, which is compared above
        };
        found.push(Difference { table: TableName::Single(name.to_owned()), change });
    }
    found
}

/// The canonical text as a table. It always parses; otherwise the result would be no difference.
fn table(config: &Config) -> Table {
    comparable(config).parse().unwrap_or_default()
}

fn names<'a>(old: &'a Table, new: &'a Table) -> Vec<&'a str> {
    let added = new.keys().filter(|name| !old.contains_key(*name));
    old.keys().chain(added).map(String::as_str).collect()
}

/// The tables of a list, by their names.
fn named<'a>(of: &'a Table, list: &str) -> Vec<(&'a str, &'a Table)> {
    let tables = of.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
    tables.filter_map(|table| Some((table.get("name")?.as_str()?, table))).collect()
}

fn compare_named<'a>(
    old: &'a Table,
    new: &'a Table,
    list: &str,
    name_of: &dyn Fn(String) -> TableName,
    found: &mut Vec<Difference>,
) {
    let (old, new) = (named(old, list), named(new, list));
    let by_name = |of: &[(&'a str, &'a Table)]| of.iter().copied().collect::<BTreeMap<&str, &Table>>();
    let (before, after) = (by_name(&old), by_name(&new));
    for (name, table) in &new {
        let change = match before.get(name) {
            None => TableChange::Added,
            Some(before) if before != table => TableChange::Changed(keys(before, table)),
            Some(_) => continue,
        };
        found.push(Difference { table: name_of((*name).to_owned()), change });
    }
    for (name, _) in old.iter().filter(|(name, _)| !after.contains_key(name)) {
        found.push(Difference { table: name_of((*name).to_owned()), change: TableChange::Removed });
    }
    let in_both = |of: &[(&'a str, &'a Table)], other: &BTreeMap<&str, &Table>| {
        of.iter().map(|(name, _)| *name).filter(|name| other.contains_key(name)).collect::<Vec<_>>()
    };
    if in_both(&old, &after) != in_both(&new, &before) {
        found.push(Difference { table: TableName::Single(list.to_owned()), change: TableChange::Reordered });
    }
}

/// The keys that differ between two tables, including the keys of nested tables.
fn keys(old: &Table, new: &Table) -> Vec<KeyChange> {
    let mut found = Vec::new();
    for key in names(old, new) {
        match (old.get(key), new.get(key)) {
            (before, after) if before == after => {}
            (Some(Value::Table(before)), Some(Value::Table(after))) => {
                found.extend(keys(before, after).into_iter().map(|one| one.below(key)));
            }
            (Some(Value::Array(before)), Some(Value::Array(after)))
                if before.iter().chain(after).all(Value::is_table) =>
            {
                let (mut below, name_of) = (Vec::new(), TableName::Single);
                compare_named(old, new, key, &name_of, &mut below);
                below.iter().for_each(|one| in_list(key, one, &mut found));
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                elements(key, before, after, &mut found)
            }
            (Some(before), Some(after)) if only_credentials_differ(before, after) => {
                found.push(ValueChange::Credential(key.to_owned()).into());
            }
            (before, after) => {
                let (before, after) = (before.map(short), after.map(short));
                found.push(ValueChange::Value { key: key.to_owned(), before, after }.into());
            }
        }
    }
    found
}

/// The elements that only one of two lists has. If both have the same elements, their order differs.
fn elements(key: &str, before: &[Value], after: &[Value], found: &mut Vec<KeyChange>) {
    let name = match key {
        "vips" => "VIP",
        "peers" => "peer",
        other => other,
    };
    let only = |these: &[Value], those: &[Value]| {
        these.iter().filter(|one| !those.contains(one)).cloned().collect::<Vec<_>>()
    };
    let (mut removed, mut added) = (only(before, after), only(after, before));
    let other_credential =
        removed.iter().any(|one| added.iter().any(|two| only_credentials_differ(one, two)));
    if other_credential {
        found.push(ValueChange::Credential(key.to_owned()).into());
        let all = (removed.clone(), added.clone());
        removed.retain(|one| !all.1.iter().any(|two| only_credentials_differ(one, two)));
        added.retain(|one| !all.0.iter().any(|two| only_credentials_differ(one, two)));
    } else if removed.is_empty() && added.is_empty() {
        let value = |list: &[Value]| Some(short(&Value::Array(list.to_vec())));
        let (before, after) = (value(before), value(after));
        found.push(ValueChange::Value { key: key.to_owned(), before, after }.into());
    }
    let element = |one: &Value| format!("{name} {}", short(one));
    found.extend(removed.iter().map(|one| ValueChange::Removed(element(one)).into()));
    found.extend(added.iter().map(|one| ValueChange::Added(element(one)).into()));
}

/// Adds a table of a nested list, such as a check of a service.
fn in_list(list: &str, one: &Difference, found: &mut Vec<KeyChange>) {
    let (TableName::Single(name) | TableName::Peer(name) | TableName::Service(name)) = &one.table;
    let whole = format!("{list} {name}");
    match &one.change {
        TableChange::Added => found.push(ValueChange::Added(whole).into()),
        TableChange::Removed => found.push(ValueChange::Removed(whole).into()),
        TableChange::Reordered => found.push(ValueChange::Reordered(list.to_owned()).into()),
        TableChange::Changed(keys) => found.extend(
            keys.iter().map(|key| KeyChange { within: Some(whole.clone()), change: key.change.clone() }),
        ),
    }
}

/// A value that is longer than this is cut.
const LONGEST_VALUE: usize = 60;

/// The form of a text that is shown.
fn without_secret(text: &str) -> &str {
    text.split(SECRET_BEHIND).next().unwrap_or_default()
}

/// Whether two values are shown in the same way, because they differ in their credentials alone.
fn only_credentials_differ(before: &Value, after: &Value) -> bool {
    let has = |text: &str| text.contains(SECRET_BEHIND);
    matches!((before.as_str(), after.as_str()), (Some(before), Some(after))
        if before != after && has(before) && has(after) && without_secret(before) == without_secret(after))
}

/// An element of a list, as TOML.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| Value::from(without_secret(text)).to_string())
}

/// A value as it is printed: a text without its quotation marks.
fn short(value: &Value) -> String {
    let text = if let Some(values) = value.as_array() {
        format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(", "))
    } else {
        value.as_str().map_or_else(|| value.to_string(), |text| without_secret(text).to_owned())
    };
    if text.is_empty() { "\"\"".to_owned() } else { text::cut(&text, LONGEST_VALUE) }
}

impl From<ValueChange> for KeyChange {
    fn from(change: ValueChange) -> Self {
        KeyChange { within: None, change }
    }
}

impl KeyChange {
    /// The same change of a table below `table`.
    fn below(self, table: &str) -> KeyChange {
        let change = match self.change {
            ValueChange::Value { key, before, after } => {
                ValueChange::Value { key: format!("{table}.{key}"), before, after }
            }
            ValueChange::Added(what) => ValueChange::Added(format!("{table}.{what}")),
            ValueChange::Removed(what) => ValueChange::Removed(format!("{table}.{what}")),
            ValueChange::Credential(key) => ValueChange::Credential(format!("{table}.{key}")),
            ValueChange::Reordered(list) => ValueChange::Reordered(format!("{table}.{list}")),
        };
        KeyChange { change, ..self }
    }
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = &self.within {
            write!(f, "{within}: ")?;
        }
        match &self.change {
            ValueChange::Value { key, before: Some(before), after: Some(after) } => {
                write!(f, "{key} {before} -> {after}")
            }
            ValueChange::Value { key, before: None, after: Some(after) } => write!(f, "+ {key} {after}"),
            ValueChange::Value { key, before: Some(before), after: None } => write!(f, "- {key} {before}"),
            ValueChange::Value { key, before: None, after: None } => f.write_str(key),
            ValueChange::Added(what) => write!(f, "+ {what}"),
            ValueChange::Removed(what) => write!(f, "- {what}"),
            ValueChange::Credential(key) => write!(f, "{key}: the credential changed"),
            ValueChange::Reordered(list) => write!(f, "the order of the {list}s changed"),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableName::Single(name) => write!(f, "[{name}]"),
            TableName::Peer(name) | TableName::Service(name) => f.write_str(name),
        }
    }
}

impl Difference {
    /// One line for each change, such as `+ service api`, `www: + VIP 192.0.2.81` or `r1: hold_time 9s -> 3s`.
    pub fn lines(&self) -> Vec<String> {
        let kind = match &self.table {
            TableName::Single(_) => "",
            TableName::Peer(_) => "peer ",
            TableName::Service(_) => "service ",
        };
        match (&self.change, &self.table) {
            (TableChange::Added, TableName::Single(_)) => vec![format!("{} added", self.table)],
            (TableChange::Removed, TableName::Single(_)) => vec![format!("{} removed", self.table)],
            (TableChange::Reordered, TableName::Single(list)) => {
                vec![format!("the order of the {list}s changed")]
            }
            (TableChange::Reordered, table) => vec![format!("{table}: the order changed")],
            (TableChange::Added, _) => vec![format!("+ {kind}{}", self.table)],
            (TableChange::Removed, _) => vec![format!("- {kind}{}", self.table)],
            (TableChange::Changed(keys), _) => {
                keys.iter().map(|key| format!("{}: {key}", self.table)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
