//! The notes about a translation.

use std::fmt;

use crate::node::{Node, Place};

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// An option without an equivalent.
    Dropped,
    /// A value that the configuration does not have and that the user has to fill in.
    Missing,
    /// An option that was translated, and that behaves differently.
    Differs,
    /// An option that announcer does not need.
    Unneeded,
}

impl NoteKind {
    /// All kinds, the most important first.
    pub const ALL: [NoteKind; 4] =
        [NoteKind::Dropped, NoteKind::Missing, NoteKind::Differs, NoteKind::Unneeded];

    /// Whether the result lacks something.
    pub fn is_loss(self) -> bool {
        match self {
            NoteKind::Dropped | NoteKind::Missing => true,
            NoteKind::Differs | NoteKind::Unneeded => false,
        }
    }

    /// The word before the option, in messages.
    pub fn word(self) -> &'static str {
        match self {
            NoteKind::Dropped => "dropped",
            NoteKind::Missing => "missing",
            NoteKind::Differs => "differs",
            NoteKind::Unneeded => "not needed",
        }
    }

    /// The heading above the notes of this kind, in the result.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            NoteKind::Dropped => "Dropped, because announcer has no equivalent:",
            NoteKind::Missing => "Missing; write it before you use this file:",
            NoteKind::Differs => "Translated, but announcer behaves differently:",
            NoteKind::Unneeded => "Not needed:",
        }
    }
}

/// A note about an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// Where the option is.
    pub place: Place,
    /// The name of the option, with its value where that matters.
    pub option: String,
    /// The reason.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} `{}`: {}", self.place, self.kind.word(), self.option, self.text)
    }
}

/// The notes of one translation; each note once.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Note>);

impl Report {
    fn add(&mut self, kind: NoteKind, place: &Place, option: &str, text: impl Into<String>) {
        let note =
            Note { kind, place: place.clone(), option: printable(option), text: printable(&text.into()) };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// An option has no equivalent.
    pub(crate) fn dropped(&mut self, node: &Node, text: impl Into<String>) {
        self.add(NoteKind::Dropped, &node.place, &node.name, text);
    }

    /// A value is missing.
    pub(crate) fn missing(&mut self, place: &Place, option: &str, text: impl Into<String>) {
        self.add(NoteKind::Missing, place, option, text);
    }

    /// An option behaves differently.
    pub(crate) fn differs(&mut self, node: &Node, text: impl Into<String>) {
        self.add(NoteKind::Differs, &node.place, &node.name, text);
    }

    /// An option is not needed.
    pub(crate) fn unneeded(&mut self, node: &Node, text: impl Into<String>) {
        self.add(NoteKind::Unneeded, &node.place, &node.name, text);
    }

    /// The notes in the order of the input.
    pub(crate) fn notes(mut self) -> Vec<Note> {
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        self.0
    }
}

/// Text from outside on one line, without control characters.
pub(crate) fn printable(text: &str) -> String {
    let short: String = text.chars().take(300).collect();
    short.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
