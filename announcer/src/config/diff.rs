//! Computes what a new configuration changes, key by key.
//!
//! Pure. It compares the [`canonical`] text of both configurations, which has every key, so that no key can be forgotten. It
//! compares peers, services and checks by their names: another order is not a difference.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::{Config, canonical};

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
}

/// A key that differs. Keys of nested tables are written `deprefer.prepend` and `check site: interval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: String,
    /// Its value before, as TOML; `None`: the key was absent.
    pub before: Option<String>,
    /// Its new value, as TOML; `None`: the key is absent.
    pub after: Option<String>,
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
    canonical(config).parse().unwrap_or_default()
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
}

/// The keys that differ between two tables, including the keys of nested tables.
fn keys(old: &Table, new: &Table) -> Vec<KeyChange> {
    let mut found = Vec::new();
    for key in names(old, new) {
        match (old.get(key), new.get(key)) {
            (before, after) if before == after => {}
            (Some(Value::Table(before)), Some(Value::Table(after))) => {
                let below = keys(before, after).into_iter();
                found.extend(below.map(|one| KeyChange { key: format!("{key}.{}", one.key), ..one }));
            }
            (Some(Value::Array(before)), Some(Value::Array(after)))
                if before.iter().chain(after).all(Value::is_table) =>
            {
                let (mut below, name_of) = (Vec::new(), TableName::Single);
                compare_named(old, new, key, &name_of, &mut below);
                below.iter().for_each(|one| in_list(key, one, &mut found));
            }
            (before, after) => found.push(KeyChange {
                key: key.to_owned(),
                before: before.map(ToString::to_string),
                after: after.map(ToString::to_string),
            }),
        }
    }
    found
}

/// Adds a table of a nested list, such as a check of a service.
fn in_list(list: &str, one: &Difference, found: &mut Vec<KeyChange>) {
    let (TableName::Single(name) | TableName::Peer(name) | TableName::Service(name)) = &one.table;
    let whole = format!("{list} {name}");
    match &one.change {
        TableChange::Added => {
            found.push(KeyChange { key: whole, before: None, after: Some("new".into()) });
        }
        TableChange::Removed => {
            found.push(KeyChange { key: whole, before: Some("removed".into()), after: None });
        }
        TableChange::Changed(keys) => found
            .extend(keys.iter().map(|key| KeyChange { key: format!("{whole}: {}", key.key), ..key.clone() })),
    }
}

/// A value that is longer than this is not printed.
const LONGEST_VALUE: usize = 40;

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |value: &Option<String>| value.as_ref().is_none_or(|text| text.len() <= LONGEST_VALUE);
        match (&self.before, &self.after) {
            (Some(before), Some(after)) if short(&self.before) && short(&self.after) => {
                write!(f, "`{}` from {before} to {after}", self.key)
            }
            (None, Some(after)) if short(&self.after) => write!(f, "`{}` is {after}", self.key),
            (Some(_), None) => write!(f, "`{}` is gone", self.key),
            (Some(_) | None, Some(_) | None) => write!(f, "`{}`", self.key),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableName::Single(name) => write!(f, "`[{name}]`"),
            TableName::Peer(name) => write!(f, "peer {name}"),
            TableName::Service(name) => write!(f, "service {name}"),
        }
    }
}

impl fmt::Display for Difference {
    /// For example "changed peer r1: `med` from 10 to 20".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            TableChange::Added => write!(f, "new {}", self.table),
            TableChange::Removed => write!(f, "removed {}", self.table),
            TableChange::Changed(keys) => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                write!(f, "changed {}: {}", self.table, keys.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const OLD: &str = r#"
[bgp]
asn = 65001

[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000

[[peer]]
name = "r2"
address = "10.0.1.2"
asn = 65000

[[service]]
name = "www"
vips = ["192.0.2.80"]

[[service.check]]
name = "site"
http = "http://www.example.com/"

[[service.check]]
name = "port"
tcp = 80

[[service]]
name = "mail"
vips = ["192.0.2.25"]

[[service.check]]
tcp = 25
"#;

    /// The differences after a change of the text `OLD`.
    fn texts(change: impl Fn(&str) -> String) -> Vec<String> {
        let parsed = |text: &str| parse("x", text).unwrap_or_else(|errors| panic!("{errors}"));
        let found = differences(&parsed(OLD), &parsed(&change(OLD)));
        found.iter().map(ToString::to_string).collect()
    }

    // W18: a reload that added `[hooks]`, `[health]` or `[metrics]` was called "changed settings of `[bgp]`".
    #[test]
    fn every_table_and_key_that_differs_is_named() {
        let append = |text: &'static str| move |old: &str| format!("{old}\n{text}\n");
        let replace = |from: &'static str, to: &'static str| move |old: &str| old.replacen(from, to, 1);
        type Edit = Box<dyn Fn(&str) -> String>;
        let table: Vec<(&str, Edit, &[&str])> = vec![
            ("nothing", Box::new(str::to_owned), &[]),
            ("a comment", Box::new(append("# more")), &[]),
            ("a default written out", Box::new(append("[health]\nlistener_watch = \"5ms\"")), &[]),
            ("hooks", Box::new(append("[hooks]\non_change = [\"/bin/true\"]")), &["new `[hooks]`"]),
            ("metrics", Box::new(append("[metrics]\nlisten = \"127.0.0.1:9179\"")), &["new `[metrics]`"]),
            (
                "health",
                Box::new(append("[health]\nlistener_watch = \"10ms\"")),
                &["changed `[health]`: `listener_watch` from \"5ms\" to \"10ms\""],
            ),
            (
                "bgp",
                Box::new(replace("asn = 65001", "asn = 65002\nrouter_id = \"10.0.0.1\"")),
                &["changed `[bgp]`: `asn` from 65001 to 65002, `router_id` is \"10.0.0.1\""],
            ),
            (
                "a peer's key",
                Box::new(replace("asn = 65000", "asn = 65000\nmed = 7")),
                &["changed peer r1: `med` is 7"],
            ),
            ("a peer's name", Box::new(replace("\"r2\"", "\"r3\"")), &["new peer r3", "removed peer r2"]),
            (
                "a service's key below",
                Box::new(replace("[[service.check]]", "[service.deprefer]\nprepend = 5\n[[service.check]]")),
                &["changed service www: `deprefer.prepend` from 3 to 5"],
            ),
            (
                "a check's key",
                Box::new(replace("tcp = 80", "tcp = 81")),
                &["changed service www: `check port: tcp` from 80 to 81"],
            ),
            (
                "a check's name",
                Box::new(replace("name = \"port\"", "name = \"gate\"")),
                &["changed service www: `check gate` is new, `check port` is gone"],
            ),
            (
                "a long value",
                Box::new(replace(
                    "\"192.0.2.25\"",
                    "\"192.0.2.25\", \"192.0.2.26\", \"192.0.2.27\", \"192.0.2.28\"",
                )),
                &["changed service mail: `vips`"],
            ),
        ];
        for (what, change, want) in table {
            assert_eq!(texts(change), want, "{what}");
        }
    }

    #[test]
    fn a_value_of_forty_octets_is_printed_and_a_longer_one_is_not() {
        let short = Some("x".repeat(40));
        let long = Some("x".repeat(41));
        for (before, after, want) in [
            (&None, &short, format!("`k` is {}", "x".repeat(40))),
            (&None, &long, "`k`".into()),
            (&short, &short, format!("`k` from {0} to {0}", "x".repeat(40))),
            (&short, &long, "`k`".into()),
            (&long, &short, "`k`".into()),
            (&long, &None, "`k` is gone".into()),
        ] {
            let change = KeyChange { key: "k".into(), before: before.clone(), after: after.clone() };
            assert_eq!(change.to_string(), want);
        }
    }

    #[test]
    fn another_order_is_no_difference() {
        let swapped = OLD
            .replace("\"r1\"", "\"r0\"")
            .replace("10.0.1.1\"", "10.0.1.0\"")
            .replace("\"r2\"", "\"r1\"")
            .replace("10.0.1.2\"", "10.0.1.1\"")
            .replace("\"r0\"", "\"r2\"")
            .replace("10.0.1.0\"", "10.0.1.2\"");
        assert_eq!(texts(|_| swapped.clone()), Vec::<String>::new());
    }
}
