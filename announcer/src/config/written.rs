//! Values as they are written, with their places in the file.
//!
//! Pure.

use std::collections::BTreeSet;

use toml::Spanned;

/// A value with its place; `None`: it is absent, or it is wrong and an error was recorded.
pub(super) type WrittenValue<T> = Option<Spanned<T>>;
/// An array with its place, and its valid values with their places.
pub(super) type WrittenList<T> = WrittenValue<Vec<Spanned<T>>>;

/// The value without its place.
pub(super) fn one<T: Clone>(value: &WrittenValue<T>) -> Option<T> {
    value.as_ref().map(|value| value.get_ref().clone())
}

/// The values without their places.
pub(super) fn all<T: Clone, C: FromIterator<T>>(values: &WrittenList<T>) -> C {
    values.iter().flat_map(|values| values.get_ref()).map(|value| value.get_ref().clone()).collect()
}

/// A value without a place in a file.
pub(super) fn nowhere<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// Values without a place in a file.
pub(super) fn list<'a, T: Clone + 'a>(values: impl IntoIterator<Item = &'a T>) -> WrittenList<T> {
    Some(nowhere(values.into_iter().cloned().map(nowhere).collect()))
}

/// The same, where `None` says that the key is absent.
pub(super) fn maybe_list<T: Clone>(values: &Option<BTreeSet<T>>) -> WrittenList<T> {
    values.as_ref().and_then(list)
}
