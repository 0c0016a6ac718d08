//! Reads the tables with other rules: `[defaults]`, and the files of `conf.d`.
//!
//! Pure.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::error::Fault;
use super::super::keys::{Key, Need, Section};
use super::super::unknown;
use super::super::written::WrittenValue;
use super::{Context, Table, unknown_key};

/// Reads a file of `conf.d`, in which only the tables `only` can be. `main` is the name of the main file.
pub(in super::super) fn read_part<T>(
    context: &Context<'_>,
    entries: &DeTable<'_>,
    only: &'static str,
    main: &str,
    faults: &mut Vec<Fault>,
    read: impl FnOnce(&mut Table<'_>) -> T,
) -> T {
    let (section, shown) = (context.whole, context.whole.header);
    let header = section.key(only).map_or(only, Key::shown);
    let has_only = format!("a file of `conf.d` has only `{header}` and the tables below it");
    for (written, value) in entries.iter().filter(|(name, _)| name.get_ref() != only) {
        let name: &str = written.get_ref();
        faults.push(match section.key(name) {
            Some(key) => {
                let message = format!("`{}` cannot be in a file of `conf.d`", key.shown());
                Fault::new(value.span(), message, format!("write it in `{main}`; {has_only}"))
            }
            None => {
                // A suggestion of a table that cannot be here either would be of no use.
                let meant = unknown::meant(section, name).filter(|key| key.name == only);
                let help = meant.map(|_| unknown::suggestion(section, section, name, value.get_ref()));
                unknown_key(written, value, shown, help.unwrap_or_else(|| has_only.clone()))
            }
        });
    }
    read(&mut Table {
        context,
        section,
        shown: shown.into(),
        entries,
        defaults: None,
        header: 0..0,
        waived: None,
        faults,
    })
}

impl<'a> Table<'a> {
    /// Whether a key is present, here or in the defaults.
    pub(in super::super) fn has(&self, name: &str) -> bool {
        self.entries.get(name).or_else(|| self.default(name)).is_some()
    }

    /// The value of a key in the defaults.
    pub(super) fn default(&self, name: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        let can_be_one = self.section.key(name).is_some_and(|key| key.own.is_none());
        self.defaults.filter(|_| can_be_one)?.get(name)
    }

    /// The header of a table below this one: `[service.deprefer]`, or `[defaults.service.deprefer]` in the defaults.
    pub(super) fn header_of(&self, key: &Key, section: &'static Section) -> Cow<'static, str> {
        match self.shown.strip_suffix(']').filter(|shown| shown.starts_with("[defaults.")) {
            Some(above) => format!("{above}.{}]", key.name).into(),
            None => section.header.into(),
        }
    }

    /// Forgets a value that comes from the defaults.
    pub(in super::super) fn own_only<T>(&self, name: &str, value: &mut WrittenValue<T>) {
        if self.entries.get(name).is_none() {
            *value = None;
        }
    }

    /// Reads keys as if there were no table of `[defaults]`.
    pub(in super::super) fn without_defaults<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let defaults = self.defaults.take();
        let keys = read(self);
        self.defaults = defaults;
        keys
    }

    /// Checks the table `[defaults.NAME]` of the keys of `section`, which `read` reads: each key has to be one that can be a default,
    /// and its value has to be valid.
    pub(in super::super) fn defaults<T>(
        &mut self,
        name: &str,
        header: &'static str,
        read: impl FnOnce(&mut Table<'_>) -> T,
    ) {
        let Some(found) = self.entries.get(name) else { return };
        let Some(Need::Defaults(section)) = self.section.key(name).map(|key| &key.need) else { return };
        let Some(entries) = found.get_ref().as_table() else {
            let message = format!("`{name}` must be written as `{header}`");
            let help = format!("write `{header}` on its own line, and its keys below it");
            self.faults.push(Fault::new(found.span(), message, help));
            return;
        };
        let mut faults = Vec::new();
        let (context, shown, faults_of) = (self.context, header.into(), &mut faults);
        let mut table = Table {
            context,
            section,
            shown,
            entries,
            defaults: None,
            header: found.span(),
            waived: None,
            faults: faults_of,
        };
        read(&mut table);
        table.finish();
        let own = entries
            .iter()
            .filter(|(name, _)| section.key(name.get_ref()).is_some_and(|key| key.own.is_some()));
        let refused: Vec<_> = own.map(|(_, value)| value.span()).collect();
        // No key is required here. A value that cannot be here need not be right.
        let counts =
            |fault: &Fault| !fault.absence && !refused.iter().any(|place| place.contains(&fault.span.start));
        faults.retain(counts);
        for (written, value) in entries.iter() {
            let Some((key, why)) = section.key(written.get_ref()).and_then(|key| Some((key, key.own?)))
            else {
                continue;
            };
            let span = if key.section().is_some() { value.span() } else { written.span() };
            self.faults.push(Fault::new(span, format!("`{}` cannot be a default", key.shown()), why));
        }
        self.faults.append(&mut faults);
    }
}
