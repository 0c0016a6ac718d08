//! Reads one table of the file, key by key. It records an error for each unknown key, missing key and wrong type, and continues.
//!
//! Pure. Only the [`Key`] decides whether a key is required, and its default. [`parts`]: `[defaults]` and the files of `conf.d`;
//! [`missing`]: what is absent.

mod missing;
mod parts;
mod switch;

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::default_values::Defaults;
use super::document::Substituted;
use super::error::Fault;
use super::keys::{Key, Need, Section};
use super::unknown;
use super::value::{Value, ValueError};
use super::written::{WrittenList, WrittenValue};
use missing::wanted;
pub(super) use parts::read_part;

/// The keys of a table that are present.
#[derive(Debug, Default)]
pub(super) struct PresentKeys {
    pub(super) header: Range<usize>,
    pub(super) keys: Vec<(&'static str, Range<usize>)>,
    /// Keys that were probably meant by misspelt ones.
    pub(super) meant: Vec<&'static str>,
}

impl PresentKeys {
    /// The place of a key.
    pub(super) fn place(&self, name: &str) -> Option<Range<usize>> {
        self.keys.iter().find(|(key, _)| *key == name).map(|(_, place)| place.clone())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }
}

/// What all tables of a file have in common.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// The whole file, to find the table that a misplaced key belongs to.
    pub(super) whole: &'static Section,
    /// The tables of `[defaults]`.
    pub(super) defaults: Defaults<'a>,
    /// The values in which variables were replaced.
    pub(super) substituted: &'a Substituted,
}

/// A table of the file, being read.
#[derive(Debug)]
pub(super) struct Table<'a> {
    context: &'a Context<'a>,
    section: &'static Section,
    /// The header in messages.
    shown: Cow<'static, str>,
    entries: &'a DeTable<'a>,
    /// The table of `[defaults]` with the values of absent keys.
    defaults: Option<&'a DeTable<'a>>,
    /// The header, which is marked when a key is missing.
    header: Range<usize>,
    /// A required key that may be absent, because another key stands for it.
    waived: Option<&'static str>,
    faults: &'a mut Vec<Fault>,
}

/// Reads the file itself, whose `entries` end at `end`.
pub(super) fn read<T>(
    context: &Context<'_>,
    entries: &DeTable<'_>,
    end: Range<usize>,
    faults: &mut Vec<Fault>,
    read: impl FnOnce(&mut Table<'_>) -> T,
) -> T {
    let (section, shown) = (context.whole, context.whole.header.into());
    let mut table =
        Table { context, section, shown, entries, defaults: None, header: end, waived: None, faults };
    let file = read(&mut table);
    table.finish();
    file
}

impl<'a> Table<'a> {
    /// Reads a value, or its default if it is absent. `None`: it is optional and absent, or an error was recorded.
    pub(super) fn one<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value<'_>) -> Result<T, ValueError>,
    ) -> WrittenValue<T> {
        self.found(name, |table, key, found| table.value(key, found, false, &read))
    }

    /// Reads the valid values of an array, or the default if it is absent. `None` as in [`one`](Table::one).
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value<'_>) -> Result<T, ValueError>,
    ) -> WrittenList<T> {
        self.found(name, |table, key, found| table.values(key, found, &read))
    }

    /// The same, where one value of the array stands for several. They all have its place.
    pub(super) fn ranges<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value<'_>) -> Result<Vec<T>, ValueError>,
    ) -> WrittenList<T> {
        let written = self.list(name, read)?;
        let all = written.span();
        let each = |range: Spanned<Vec<T>>| {
            let span = range.span();
            range.into_inner().into_iter().map(move |one| Spanned::new(span.clone(), one))
        };
        Some(Spanned::new(all, written.into_inner().into_iter().flat_map(each).collect()))
    }

    /// The same.
    pub(super) fn set<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value<'_>) -> Result<T, ValueError>,
    ) -> WrittenList<T> {
        self.list(name, read)
    }

    /// Reads one value or an array of values, or the default if it is absent. `None` as in [`one`](Table::one).
    pub(super) fn one_or_list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value<'_>) -> Result<T, ValueError>,
    ) -> WrittenList<T> {
        self.found(name, |table, key, found| {
            if found.get_ref().is_array() {
                return table.values(key, found, &read);
            }
            let one = table.value(key, found, false, &read)?;
            Some(Spanned::new(one.span(), vec![one]))
        })
    }

    /// The same.
    pub(super) fn one_or_set<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Value<'_>) -> Result<T, ValueError>,
    ) -> WrittenList<T> {
        self.one_or_list(name, read)
    }

    /// The value of a key, or its default; `None` as in [`one`](Table::one).
    fn found<T>(
        &mut self,
        name: &'static str,
        judge: impl FnOnce(&mut Self, &'static Key, &Spanned<DeValue<'_>>) -> Option<T>,
    ) -> Option<T> {
        let key = self.section.key(name)?;
        if let Some(found) = self.entries.get(name).or_else(|| self.default(name)) {
            return judge(self, key, found);
        }
        let default = DeValue::parse(self.absent(key)?).ok()?.into_inner();
        judge(self, key, &Spanned::new(self.header.clone(), default))
    }

    fn values<T>(
        &mut self,
        key: &'static Key,
        found: &Spanned<DeValue<'_>>,
        read: impl Fn(&Value<'_>) -> Result<T, ValueError>,
    ) -> WrittenList<T> {
        let Some(elements) = found.get_ref().as_array() else {
            self.mistyped(key, found, "an array");
            return None;
        };
        if let (true, Need::Required(example) | Need::OneOf(example) | Need::Default(example)) =
            (elements.is_empty(), &key.need)
        {
            let help = format!("write at least one, as in `{} = {example}`", key.name);
            self.faults.push(Fault::new(found.span(), format!("`{}` is empty", key.name), help));
        }
        let good = elements.iter().filter_map(|element| self.value(key, element, true, &read)).collect();
        Some(Spanned::new(found.span(), good))
    }

    /// The table of a name, `[name]`.
    pub(super) fn table<T>(&mut self, name: &'static str, read: impl Fn(&mut Table<'_>) -> T) -> Option<T> {
        self.tables(name, read).pop()
    }

    /// The tables of a name, `[name]` or `[[name]]`. An absent optional table is read as an empty one, unless one of its keys has
    /// no default.
    pub(super) fn tables<T>(&mut self, name: &'static str, read: impl Fn(&mut Table<'_>) -> T) -> Vec<T> {
        let Some((key, section)) = self.section.key(name).and_then(|key| Some((key, key.section()?))) else {
            return Vec::new();
        };
        let Some(found) = self.entries.get(name) else {
            self.absent(key);
            let required = |key: &Key| matches!(key.need, Need::Required(_));
            if matches!(key.need, Need::OptionalTable(_)) && !section.keys().any(required) {
                return vec![self.below(key, section, &DeTable::new(), self.header.clone(), &read)];
            }
            return Vec::new();
        };
        let tables = match (&key.need, found.get_ref()) {
            (Need::Table(_) | Need::OptionalTable(_), DeValue::Table(_)) => vec![found],
            (Need::Tables(_) | Need::OptionalTables(_), DeValue::Array(array)) => array.iter().collect(),
            // If only a nested table is opened, TOML implies this one. Then its place is that of its name.
            _ if self.entries.keys().any(|written| written.span() == found.span()) => {
                let message = format!("a `{}` is missing above", section.header);
                self.faults.push(Fault::new(found.span(), message, wanted(section)));
                return Vec::new();
            }
            _ => {
                self.mistyped(key, found, &self.header_of(key, section));
                return Vec::new();
            }
        };
        if tables.is_empty() {
            self.absent(key);
        }
        let mut good = Vec::new();
        for table in tables {
            match table.get_ref().as_table() {
                Some(entries) => good.push(self.below(key, section, entries, table.span(), &read)),
                None => self.mistyped(key, table, &self.header_of(key, section)),
            }
        }
        good
    }

    fn below<T>(
        &mut self,
        key: &'static Key,
        section: &'static Section,
        entries: &DeTable<'_>,
        header: Range<usize>,
        read: impl Fn(&mut Table<'_>) -> T,
    ) -> T {
        // The defaults of a nested table that occurs once are in a nested table too: `[defaults.service.deprefer]`.
        let nested = || self.default(key.name)?.get_ref().as_table();
        let defaults = self.context.defaults.of(section).or_else(nested);
        let (context, shown) = (self.context, self.header_of(key, section));
        let faults = &mut *self.faults;
        let mut table = Table { context, section, shown, entries, defaults, header, waived: None, faults };
        let good = read(&mut table);
        table.finish();
        good
    }

    /// The place of the table, and the known keys that are present, in the order of the list. [`rules`](super::rules) need this to
    /// check which keys belong together.
    pub(super) fn present(&self) -> PresentKeys {
        let place = |key: &'static Key| {
            self.entries
                .iter()
                .find(|(name, _)| name.get_ref() == key.name)
                .map(|(name, _)| (key.name, name.span()))
        };
        let misspelt = self.entries.keys().filter(|name| self.section.key(name.get_ref()).is_none());
        PresentKeys {
            header: self.header.clone(),
            keys: self.section.keys().filter_map(place).collect(),
            meant: misspelt
                .filter_map(|name| unknown::meant(self.section, name.get_ref()))
                .map(|key| key.name)
                .collect(),
        }
    }

    /// Records an error for each key that the table does not have.
    fn finish(self) {
        for (written, value) in self.entries.iter() {
            let name: &str = written.get_ref();
            if self.section.key(name).is_none() {
                let help = unknown::suggestion(self.context.whole, self.section, name, value.get_ref());
                self.faults.push(unknown_key(written, value, &self.shown, help));
            }
        }
    }

    fn value<T>(
        &mut self,
        key: &'static Key,
        found: &Spanned<DeValue<'_>>,
        element: bool,
        read: impl Fn(&Value<'_>) -> Result<T, ValueError>,
    ) -> WrittenValue<T> {
        let substituted = self.context.substituted.get(&found.span().start);
        let secret = substituted.and_then(|value| value.shown.as_deref());
        let value = Value::new(key, element, found.get_ref(), secret);
        let mut result = read(&value);
        if substituted.is_some()
            && let Err(wrong) = &result
            && let Some(bare) = bare(found.get_ref())
        {
            // A number cannot be written in another way.
            let again = read(&Value::new(key, element, &bare, secret));
            if again.is_ok() || wrong.mistyped {
                result = again;
            }
        }
        if let (true, None, Err(wrong), Some(text)) =
            (substituted.is_some(), secret, &mut result, found.get_ref().as_str())
        {
            name_value(wrong, text, key);
        }
        if secret.is_some() && (result.is_err() || !value.keeps.get()) {
            self.faults.push(match result {
                Err(wrong) if value.printable.get() => {
                    Fault::new(found.span(), wrong.message, wrong.help).first()
                }
                Ok(_) | Err(_) => refused_secret(&value, found.span()),
            });
            return None;
        }
        match result {
            Ok(value) => Some(Spanned::new(found.span(), value)),
            Err(wrong) => {
                self.tell(found.span(), wrong);
                None
            }
        }
    }

    fn mistyped(&mut self, key: &'static Key, found: &Spanned<DeValue<'_>>, wanted: &str) {
        let secret =
            self.context.substituted.get(&found.span().start).and_then(|value| value.shown.as_deref());
        let wrong = Value::new(key, false, found.get_ref(), secret).not(wanted);
        self.tell_type(found.span(), wrong);
    }

    /// The message names the types, so that it can be printed even if the value has a credential.
    fn tell_type(&mut self, span: Range<usize>, wrong: ValueError) {
        let secret = self.context.substituted.get(&span.start).is_some_and(|value| value.shown.is_some());
        let fault = Fault::new(span, wrong.message, wrong.help);
        self.faults.push(if secret { fault.first() } else { fault });
    }

    fn tell(&mut self, span: Range<usize>, wrong: ValueError) {
        self.faults.push(Fault::new(span, wrong.message, wrong.help));
    }
}

/// The mistake of a key or a table that `header` does not have.
fn unknown_key(
    written: &Spanned<impl AsRef<str>>,
    value: &Spanned<DeValue<'_>>,
    header: &str,
    help: String,
) -> Fault {
    // For a table, the error marks its header.
    let table = value.span().start < written.span().start;
    let (span, what) = if table { (value.span(), "table") } else { (written.span(), "key") };
    let place = if header.is_empty() { String::new() } else { format!(" in `{header}`") };
    let message = format!("unknown {what} `{}`{place}", written.get_ref().as_ref().escape_debug());
    Fault::new(span, message, help)
}

/// The number or the boolean that a string spells.
fn bare<'a>(found: &'a DeValue<'_>) -> Option<DeValue<'a>> {
    match DeValue::parse(found.as_str()?).ok()?.into_inner() {
        bare @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => Some(bare),
        DeValue::String(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Adds the value of a variable, which the file does not show, to the mistake of a value.
fn name_value(wrong: &mut ValueError, text: &str, key: &Key) {
    let text = text.escape_debug().to_string();
    if !wrong.message.contains(&format!("`{text}`")) {
        wrong.message.push_str(&format!("; its value is `{text}` here"));
    }
    if let (true, Some(example)) = (wrong.mistyped, key.example()) {
        wrong.help = format!("set the variable to a value such as `{}`", example.trim_matches('"'));
    }
}

/// The mistake of a value with a credential, without the value.
fn refused_secret(value: &Value<'_>, span: Range<usize>) -> Fault {
    let (message, help) = match value.keeps.get() {
        true => (
            format!("{value} cannot have the value that the credential gives it"),
            format!("the value is not printed; the key is written as in `{} = {}`", value.key.name, value.key.example().unwrap_or_default()),
        ),
        false => (
            format!("{value} cannot have a value from a credential"),
            "announcer prints, logs or sends this key, so that it cannot be kept secret: use a variable of the environment".to_owned(),
        ),
    };
    Fault::new(span, message, help).first()
}
