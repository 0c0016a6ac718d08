//! Wrong configurations, at least one for each rule; `bad.txt` has the printed errors.

mod check;
mod peer;
mod service;
mod syntax;
mod tables;

/// A title, and the words of the good file that are replaced, each with its replacement.
pub(super) type BadCase = (&'static str, &'static [(&'static str, &'static str)]);

/// All cases, in the order of `bad.txt`.
pub(super) const BAD: [&[BadCase]; 5] =
    [syntax::CASES, peer::CASES, service::CASES, check::CASES, tables::CASES];
