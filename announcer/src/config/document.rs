//! A parsed file whose places are places in the whole configuration.
//!
//! Pure.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The table of a file that begins at `start`.
pub(super) fn parse<'a>(text: &'a str, start: usize) -> DeTable<'a> {
    let (document, _) = DeTable::parse_recoverable(text);
    Places { start }.table(document.into_inner())
}

/// What is changed in a parsed file.
struct Places {
    start: usize,
}

impl Places {
    fn table<'a>(&self, table: DeTable<'a>) -> DeTable<'a> {
        if self.start == 0 {
            return table;
        }
        let key = |name: Spanned<Cow<'a, str>>| {
            let span = name.span();
            Spanned::new(span.start + self.start..span.end + self.start, name.into_inner())
        };
        table.into_iter().map(|(name, value)| (key(name), self.value(value))).collect()
    }

    fn value<'a>(&self, value: Spanned<DeValue<'a>>) -> Spanned<DeValue<'a>> {
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::Table(table) => DeValue::Table(self.table(table)),
            DeValue::Array(mut array) => {
                for element in array.iter_mut() {
                    let place = element.span();
                    let taken = std::mem::replace(element.get_mut(), DeValue::Boolean(false));
                    *element = self.value(Spanned::new(place, taken));
                }
                DeValue::Array(array)
            }
            other @ (DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)) => other,
        };
        Spanned::new(span.start + self.start..span.end + self.start, value)
    }
}
