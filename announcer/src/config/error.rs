//! How errors are printed: what is wrong, where, and what to write instead.
//!
//! Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use toml::Spanned;

/// At most this many errors are printed; the rest are counted.
const SHOWN: usize = 100;

/// A mistake in the file, with its place in bytes.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: String,
    /// Another place that belongs to the mistake, with its text.
    pub(super) beside: Option<(Range<usize>, &'static str)>,
    /// Whether it says that something is missing. Such a mistake counts only if the whole file could be read.
    pub(super) absence: bool,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Fault { span, message: message.into(), help: help.into(), beside: None, absence: false }
    }

    pub(super) fn beside(self, span: Range<usize>, label: &'static str) -> Self {
        Fault { beside: Some((span, label)), ..self }
    }

    pub(super) fn absence(self) -> Self {
        Fault { absence: true, ..self }
    }
}

/// Records an error for each value that occurs twice.
pub(super) fn unique<'a, T: Hash + Eq + ToString + 'a>(
    values: impl IntoIterator<Item = &'a Spanned<T>>,
    help: &str,
    faults: &mut Vec<Fault>,
) {
    let mut seen: HashMap<&T, Range<usize>> = HashMap::new();
    for value in values {
        match seen.get(value.get_ref()) {
            Some(first) => {
                let message = format!("`{}` is named twice", value.get_ref().to_string());
                faults
                    .push(Fault::new(value.span(), message, help).beside(first.clone(), "first named here"));
            }
            None => drop(seen.insert(value.get_ref(), value.span())),
        }
    }
}

/// All mistakes in a configuration, in the order of the file; never empty.
///
/// `Display` prints without colour, one paragraph per error, without a line break at the end.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    name: String,
    text: String,
    /// The start of each line, in bytes.
    lines: Vec<usize>,
    faults: Vec<Fault>,
}

/// An error as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigError<'a> {
    /// The line of the file, from 1.
    pub line: usize,
    /// The column in characters, from 1; a tab is one.
    pub column: usize,
    /// What is wrong.
    pub message: &'a str,
    /// What to write instead.
    pub help: &'a str,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl ConfigErrors {
    pub(super) fn new(name: &str, text: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
        // A mistake in a default is found in each table that has it.
        let mut seen = HashSet::new();
        faults.retain(|fault| seen.insert((fault.span.clone(), fault.message.clone())));
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        ConfigErrors { name: name.to_owned(), text: text.to_owned(), lines, faults }
    }

    /// The number of errors.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// The text of the file; where it is not UTF-8, it has replacement characters.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All errors, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = ConfigError<'_>> {
        self.faults.iter().map(|fault| {
            let line = self.line(fault.span.start);
            let before = self.lines.get(line).and_then(|start| self.text.get(*start..fault.span.start));
            let column = before.unwrap_or_default().chars().count();
            ConfigError { line: line + 1, column: column + 1, message: &fault.message, help: &fault.help }
        })
    }

    /// The same text as `Display`, in colours for a terminal.
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut groups: Vec<Group<'_>> =
            self.faults.iter().take(SHOWN).map(|fault| self.group(fault)).collect();
        if let Some(more @ 1..) = self.len().checked_sub(SHOWN) {
            groups.push(Group::with_title(Level::ERROR.primary_title(format!("{more} more errors"))));
        }
        // Each error has its own report: within one report, the second title would not be `error:`.
        let reports: Vec<String> = groups.into_iter().map(|group| renderer.render(&[group])).collect();
        reports.join("\n\n")
    }

    fn group<'a>(&'a self, fault: &'a Fault) -> Group<'a> {
        let spans = std::iter::once(&fault.span).chain(fault.beside.iter().map(|(span, _)| span));
        let (first, last) = spans.fold((usize::MAX, 0), |(first, last), span| {
            (first.min(self.line(span.start)), last.max(self.line(span.start)))
        });
        // Only the printed lines are used, so that a long file with many errors does not take long.
        let from = self.lines.get(first).copied().unwrap_or_default();
        // The renderer makes control characters visible, except for these, which some terminals execute. The replacement has the
        // same length in bytes.
        let obeyed = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
        let shown = self.text.get(from..self.end_of(last)).unwrap_or_default().replace(obeyed, "·");
        let mark = |span: &Range<usize>| {
            let end = span.end.min(self.end_of(self.line(span.start))).max(span.start);
            span.start.saturating_sub(from)..end.saturating_sub(from)
        };
        let beside =
            fault.beside.iter().map(|(span, label)| AnnotationKind::Context.span(mark(span)).label(*label));
        let snippet = Snippet::source(shown)
            .path(&self.name)
            .line_start(first + 1)
            .annotation(AnnotationKind::Primary.span(mark(&fault.span)))
            .annotations(beside);
        Level::ERROR.primary_title(&fault.message).element(snippet).element(Level::HELP.message(&fault.help))
    }

    /// The line of a byte, from 0.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The end of a line, in bytes, without its line break.
    fn end_of(&self, line: usize) -> usize {
        let next = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let carriage = self.text.get(..next).is_some_and(|text| text.ends_with('\r'));
        if carriage && self.lines.get(line + 1).is_some() { next - 1 } else { next }
    }
}
