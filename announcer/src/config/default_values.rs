//! The tables of `[defaults]` as the [`reader`](super::reader) uses them: values for the keys that a table does not have.
//!
//! Pure.

use toml::de::DeTable;

use super::keys::{Key, Need, Section};

/// The tables of `[defaults]` that are present, each with the header of the tables that it is for.
#[derive(Debug, Default)]
pub(super) struct Defaults<'a>(Vec<(&'static str, &'a DeTable<'a>)>);

impl<'a> Defaults<'a> {
    /// Those of a file. `section` describes `[defaults]`.
    pub(super) fn of_file(section: &Section, document: &'a DeTable<'a>) -> Self {
        let all = document.get("defaults").and_then(|defaults| defaults.get_ref().as_table());
        let found = |key: &Key| match key.need {
            Need::Defaults(section) => Some((section.header, all?.get(key.name)?.get_ref().as_table()?)),
            Need::Required(_)
            | Need::Optional(_)
            | Need::Default(_)
            | Need::OneOf(_)
            | Need::Table(_)
            | Need::OptionalTable(_)
            | Need::Tables(_)
            | Need::OptionalTables(_) => None,
        };
        Defaults(section.keys().filter_map(found).collect())
    }

    /// The values for a table of this section.
    pub(super) fn of(&self, section: &Section) -> Option<&'a DeTable<'a>> {
        self.0.iter().find(|(header, _)| *header == section.header).map(|(_, table)| *table)
    }
}
