//! What a table of the configuration and a key of it are: what the reader, its messages and the documents go by.
//!
//! Pure. The keys themselves are declared with [`table`](super::table), each once, in the file of their table.

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// As it is written: `[bgp]`, `[[peer]]`; empty for the file itself.
    pub header: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// Its keys in lists of lists, as they are declared, in the order in which they are documented.
    pub keys: &'static [&'static [&'static [Key]]],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Whether it has to be there.
    pub need: Need,
    /// What it says, with its bounds.
    pub doc: &'static str,
}

/// Whether a key has to be there. Values are in TOML, quotes included.
#[derive(Debug)]
pub enum Need {
    /// It has to be, as in this example.
    Required(&'static str),
    /// It may be, as in this example; the key's doc says what holds without it.
    Optional(&'static str),
    /// Without it, this value holds.
    Default(&'static str),
    /// One key of this need has to be there, and no more; as in this example.
    OneOf(&'static str),
    /// A table that has to be there once.
    Table(&'static Section),
    /// A table that may be there once; without it, its keys' defaults hold.
    OptionalTable(&'static Section),
    /// A table that has to be there at least once.
    Tables(&'static Section),
    /// A table that may be there any number of times.
    OptionalTables(&'static Section),
}

pub(super) const fn table(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::Table(section), doc: section.doc }
}

pub(super) const fn optional_table(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::OptionalTable(section), doc: section.doc }
}

pub(super) const fn tables(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::Tables(section), doc: section.doc }
}

pub(super) const fn optional_tables(name: &'static str, section: &'static Section) -> Key {
    Key { name, need: Need::OptionalTables(section), doc: section.doc }
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

    /// Itself and the tables in it, in the order in which they are documented.
    pub fn all(&'static self) -> Vec<&'static Section> {
        let below = self.keys().filter_map(Key::section).flat_map(Section::all);
        std::iter::once(self).chain(below).collect()
    }
}

impl Key {
    /// The table that it opens, if it opens one.
    pub fn section(&self) -> Option<&'static Section> {
        match self.need {
            Need::Table(section) | Need::OptionalTable(section) => Some(section),
            Need::Tables(section) | Need::OptionalTables(section) => Some(section),
            Need::Required(_) | Need::OneOf(_) | Need::Optional(_) | Need::Default(_) => None,
        }
    }

    /// A good value, in TOML: the default if it has one.
    pub fn example(&self) -> Option<&'static str> {
        match self.need {
            Need::Required(value) | Need::OneOf(value) | Need::Optional(value) | Need::Default(value) => {
                Some(value)
            }
            Need::Table(_) | Need::OptionalTable(_) | Need::Tables(_) | Need::OptionalTables(_) => None,
        }
    }

    /// As a person looks for it: `asn`, `[[peer]]`.
    pub fn shown(&self) -> &'static str {
        self.section().map_or(self.name, |section| section.header)
    }
}
