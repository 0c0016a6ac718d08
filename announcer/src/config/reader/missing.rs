//! What the reader says of a key or a table that is missing.
//!
//! Pure.

use super::super::error::Fault;
use super::super::keys::{Key, Need, Section};
use super::super::unknown;
use super::Table;

impl Table<'_> {
    /// Lets a required key be absent: another key stands for it.
    pub(in super::super) fn waive(&mut self, key: &'static str) {
        self.waived = Some(key);
    }

    /// The default of an absent key, in TOML; records an error if the key is required.
    pub(super) fn absent(&mut self, key: &Key) -> Option<&'static str> {
        let misspelt = |name: &str| {
            self.section.key(name).is_none()
                && unknown::meant(self.section, name).is_some_and(|near| near.name == key.name)
        };
        let (message, help) = match &key.need {
            // The rules check which one is required.
            Need::Optional(_) | Need::OptionalTable(_) | Need::OptionalTables(_) | Need::OneOf(_) => {
                return None;
            }
            Need::Defaults(_) => {
                return None;
            }
            Need::Default(value) => return Some(value),
            Need::Required(_) if self.waived == Some(key.name) => return None,
            // `finish` checks whether an unknown key was meant as this one.
            Need::Required(_) | Need::Table(_) | Need::Tables(_)
                if self.entries.keys().any(|written| misspelt(written.get_ref())) =>
            {
                return None;
            }
            Need::Required(example) => (
                format!("`{}` is missing from `{}`", key.name, self.section.header),
                format!("add a line such as `{} = {example}`", key.name),
            ),
            Need::Table(section) | Need::Tables(section) if self.section.header.is_empty() => {
                (format!("`{}` is missing", section.header), wanted(section))
            }
            Need::Table(section) | Need::Tables(section) => {
                (format!("this `{}` has no `{}`", self.section.header, section.header), wanted(section))
            }
        };
        self.faults.push(Fault::new(self.header.clone(), message, help).absence());
        None
    }
}

/// What to write to add a table.
pub(super) fn wanted(section: &Section) -> String {
    let mut lines = Vec::new();
    let (mut below, mut one_of) = (String::new(), false);
    for key in section.keys() {
        match &key.need {
            Need::Required(example) => lines.push(format!("`{} = {example}`", key.name)),
            Need::Table(table) | Need::Tables(table) => {
                below.push_str(&format!("; below it, {}", wanted(table)))
            }
            Need::OneOf(example) if !one_of => {
                one_of = true;
                lines.push(format!("`{} = {example}`", key.name));
            }
            Need::OneOf(_) | Need::Optional(_) | Need::Default(_) => {}
            Need::OptionalTable(_) | Need::OptionalTables(_) | Need::Defaults(_) => {}
        }
    }
    format!("add `{}` with lines such as {}{below}", section.header, lines.join(", "))
}
