//! The types that describe a table of the configuration and its keys. The reader, its messages and the documents use them.
//!
//! Pure. The keys themselves are declared with [`table`](super::table), each once, in the file of their table.

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// The header in the file: `[bgp]`, `[[peer]]`; empty for the file itself.
    pub header: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// Its keys, in lists of lists, in the order of the documents.
    pub keys: &'static [&'static [&'static [Key]]],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Whether the key is required.
    pub need: Need,
    /// Its meaning, with its bounds.
    pub doc: &'static str,
    /// Why it cannot be in a table of `[defaults]`: what to write instead; `None`: it can be there.
    pub own: Option<&'static str>,
}

/// Whether a key is required. Values are in TOML, with quotes.
#[derive(Debug)]
pub enum Need {
    /// It is required; with an example.
    Required(&'static str),
    /// It is optional; with an example. The key's doc says what happens without it.
    Optional(&'static str),
    /// It has this default.
    Default(&'static str),
    /// Exactly one of the keys with this need is required; with an example.
    OneOf(&'static str),
    /// A table that is required once.
    Table(&'static Section),
    /// An optional table; without it, its keys have their defaults.
    OptionalTable(&'static Section),
    /// A table that is required at least once.
    Tables(&'static Section),
    /// A table that may occur any number of times.
    OptionalTables(&'static Section),
    /// A table of defaults for the keys of this table: it has the same keys, except for those with [`Key::own`].
    Defaults(&'static Section),
}

pub(super) const fn table(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::Table(section), doc: section.doc, own: None }
}

pub(super) const fn optional_table(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::OptionalTable(section), doc: section.doc, own: None }
}

pub(super) const fn tables(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::Tables(section), doc: section.doc, own: None }
}

pub(super) const fn optional_tables(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::OptionalTables(section), doc: section.doc, own: None }
}

impl Section {
    /// Its keys, in the order in which they are documented.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().copied().flatten().copied().flatten()
    }

    /// Its key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// This table and the tables in it, in the order of the documents.
    pub fn all(&'static self) -> Vec<&'static Section> {
        let below = self.keys().filter_map(Key::section).flat_map(Section::all);
        std::iter::once(self).chain(below).collect()
    }
}

impl Key {
    /// The table that this key opens, if it opens one.
    pub fn section(&self) -> Option<&'static Section> {
        match self.need {
            Need::Table(section) | Need::OptionalTable(section) => Some(section),
            Need::Tables(section) | Need::OptionalTables(section) => Some(section),
            Need::Required(_) | Need::OneOf(_) | Need::Optional(_) | Need::Default(_) => None,
            Need::Defaults(_) => None, // its keys are those of another table, which is listed already
        }
    }

    /// A valid value, in TOML: the default if there is one.
    pub fn example(&self) -> Option<&'static str> {
        match self.need {
            Need::Required(value) | Need::OneOf(value) | Need::Optional(value) | Need::Default(value) => {
                Some(value)
            }
            Need::Table(_) | Need::OptionalTable(_) | Need::Tables(_) | Need::OptionalTables(_) => None,
            Need::Defaults(_) => None,
        }
    }

    /// The name in messages: `asn`, `[[peer]]`.
    pub fn shown(&self) -> &'static str {
        self.section().map_or(self.name, |section| section.header)
    }
}
