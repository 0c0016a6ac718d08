//! A parsed file whose places are places in the whole configuration, and whose strings have no variables any more.
//!
//! Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use dsr_setup::substitution::{Expansion, SubstitutionError, Variables, expand};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Fault;

/// A value in which variables were replaced.
#[derive(Debug)]
pub(super) struct SubstitutedValue {
    /// The form that is shown if it has a part from a credential.
    pub(super) shown: Option<String>,
}

/// The values in which variables were replaced, by the places where they begin.
pub(super) type Substituted = HashMap<usize, SubstitutedValue>;

/// The table of a file that begins at `start`, with variables replaced in its strings.
pub(super) fn parse<'a>(
    text: &'a str,
    start: usize,
    variables: &Variables,
    substituted: &mut Substituted,
    faults: &mut Vec<Fault>,
) -> DeTable<'a> {
    let (document, _) = DeTable::parse_recoverable(text);
    if start == 0 && !text.contains("${") {
        return document.into_inner();
    }
    Changes { start, variables, substituted, faults }.table(document.into_inner())
}

/// What is changed in a parsed file.
struct Changes<'c> {
    start: usize,
    variables: &'c Variables,
    substituted: &'c mut Substituted,
    faults: &'c mut Vec<Fault>,
}

impl Changes<'_> {
    fn table<'a>(&mut self, table: DeTable<'a>) -> DeTable<'a> {
        let mut changed = DeTable::new();
        for (name, value) in table {
            let name = Spanned::new(self.place(name.span()), name.into_inner());
            changed.insert(name, self.value(value));
        }
        changed
    }

    fn value<'a>(&mut self, value: Spanned<DeValue<'a>>) -> Spanned<DeValue<'a>> {
        let place = self.place(value.span());
        let value = match value.into_inner() {
            DeValue::Table(table) => DeValue::Table(self.table(table)),
            DeValue::Array(mut array) => {
                for element in array.iter_mut() {
                    let span = element.span();
                    let taken = std::mem::replace(element.get_mut(), DeValue::Boolean(false));
                    *element = self.value(Spanned::new(span, taken));
                }
                DeValue::Array(array)
            }
            DeValue::String(text) => DeValue::String(self.string(text, &place)),
            other
            @ (DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_)) => other,
        };
        Spanned::new(place, value)
    }

    fn string<'a>(&mut self, text: Cow<'a, str>, place: &Range<usize>) -> Cow<'a, str> {
        match expand(&text, self.variables) {
            Ok(None) => text,
            Ok(Some(Expansion { text, shown })) => {
                self.substituted.insert(place.start, SubstitutedValue { shown });
                Cow::Owned(text)
            }
            Err(SubstitutionError { message, help, unset: _ }) => {
                self.faults.push(Fault::new(place.clone(), message, help).first());
                text
            }
        }
    }

    fn place(&self, span: Range<usize>) -> Range<usize> {
        span.start + self.start..span.end + self.start
    }
}
