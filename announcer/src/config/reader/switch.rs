//! A table that `NAME = true` opens with its defaults, and `NAME = false` closes.
//!
//! Pure.

use toml::de::{DeTable, DeValue};

use super::{Table, Value};

impl Table<'_> {
    /// The table of a name; `None`: it is absent or `false`. If the table of defaults has it, it is open unless it is `false` here.
    pub(in super::super) fn switch<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&mut Table<'_>) -> T,
    ) -> Option<T> {
        let key = self.section.key(name)?;
        let section = key.section()?;
        let own = self.entries.get(name);
        let found = own.or_else(|| self.default(name))?;
        let (empty, place) = (DeTable::new(), if own.is_some() { found.span() } else { self.header.clone() });
        match found.get_ref() {
            DeValue::Boolean(false) => None,
            DeValue::Boolean(true) => Some(self.below(key, section, &empty, place, &read)),
            DeValue::Table(entries) => {
                let entries = if own.is_some() { entries } else { &empty }; // those of the defaults are taken key by key
                Some(self.below(key, section, entries, place, &read))
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                let header = self.header_of(key, section);
                let wrong = Value::new(key, false, found.get_ref(), None).no_switch(&header);
                self.tell_type(found.span(), wrong);
                None
            }
        }
    }
}
