//! How errors are printed: what is wrong, where, and what to write instead.
//!
//! Pure.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use toml::Spanned;

use super::sources::{Source, Sources};

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
    /// Whether other mistakes at the same place are consequences of it.
    pub(super) first: bool,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Fault { span, message: message.into(), help: help.into(), beside: None, absence: false, first: false }
    }

    /// The same in a file that begins at `start`.
    pub(super) fn moved(self, start: usize) -> Self {
        let place = |span: Range<usize>| span.start + start..span.end + start;
        let beside = self.beside.map(|(span, label)| (place(span), label));
        Fault { span: place(self.span), beside, ..self }
    }

    pub(super) fn beside(self, span: Range<usize>, label: &'static str) -> Self {
        Fault { beside: Some((span, label)), ..self }
    }

    /// A mistake of a value whose other mistakes are consequences, or must not be printed because they could quote a credential.
    pub(super) fn first(self) -> Self {
        Fault { first: true, ..self }
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

/// All mistakes in a configuration, in the order of its files; never empty.
///
/// `Display` prints without colour, one paragraph per error, without a line break at the end.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    sources: Sources,
    /// The start of each line of each file, in bytes of the file.
    lines: Vec<Vec<usize>>,
    faults: Vec<Fault>,
}

/// An error as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigError<'a> {
    /// The file, by its name in messages.
    pub file: &'a str,
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
    pub(super) fn new(sources: Sources, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
        let firsts: HashSet<usize> =
            faults.iter().filter(|fault| fault.first).map(|fault| fault.span.start).collect();
        faults.retain(|fault| fault.first || !firsts.contains(&fault.span.start));
        // A mistake in a default is found in each table that has it.
        let mut seen = HashSet::new();
        faults.retain(|fault| seen.insert((fault.span.clone(), fault.message.clone())));
        let starts =
            |text: &str| std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let lines = sources.texts().map(starts).collect();
        ConfigErrors { sources, lines, faults }
    }

    /// The number of errors.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// The files with an error, by their names in messages, in their order.
    pub fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.iter().map(|error| error.file.to_owned()).collect();
        files.dedup(); // the errors are in the order of the files
        files
    }

    /// All errors, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = ConfigError<'_>> {
        self.faults.iter().map(|fault| {
            let Some(view) = self.view(&fault.span) else { return ConfigError::nowhere(fault) };
            let (line, at) = (view.line(view.at), view.at);
            let before = view.lines.get(line).and_then(|start| view.source.text.get(*start..at));
            let column = before.unwrap_or_default().chars().count();
            ConfigError {
                file: &view.source.name,
                line: line + 1,
                column: column + 1,
                message: &fault.message,
                help: &fault.help,
            }
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
        let title = Level::ERROR.primary_title(&fault.message);
        let help = Level::HELP.message(&fault.help);
        let Some(view) = self.view(&fault.span) else { return title.element(help) };
        let beside = fault.beside.iter().filter_map(|(span, label)| Some((self.view(span)?, *label)));
        let (here, elsewhere): (Vec<_>, Vec<_>) = beside.partition(|(other, _)| other.index == view.index);
        let mut lines = vec![view.line(view.at)];
        lines.extend(here.iter().map(|(other, _)| other.line(other.at)));
        let part = view.part(&lines);
        let marks =
            here.iter().map(|(other, label)| AnnotationKind::Context.span(part.mark(other)).label(*label));
        let snippet = part.snippet(AnnotationKind::Primary.span(part.mark(&view))).annotations(marks);
        let mut group = title.element(snippet);
        for (other, label) in elsewhere {
            let part = other.part(&[other.line(other.at)]);
            group = group.element(part.snippet(AnnotationKind::Context.span(part.mark(&other)).label(label)));
        }
        group.element(help)
    }

    /// A place as a place of its file.
    fn view(&self, span: &Range<usize>) -> Option<ErrorPlace<'_>> {
        let index = self.sources.index_of(span.start);
        let source = self.sources.iter().nth(index)?;
        let local = |at: usize| at.saturating_sub(source.start);
        Some(ErrorPlace {
            index,
            source,
            lines: self.lines.get(index)?,
            at: local(span.start),
            end: local(span.end),
        })
    }
}

impl<'a> ConfigError<'a> {
    /// Of a configuration without a file, which does not occur.
    fn nowhere(fault: &'a Fault) -> Self {
        ConfigError { file: "", line: 1, column: 1, message: &fault.message, help: &fault.help }
    }
}

/// A place of a file, from `at` to `end` in bytes of the file.
struct ErrorPlace<'a> {
    index: usize,
    source: &'a Source,
    lines: &'a [usize],
    at: usize,
    end: usize,
}

/// Some lines of a file, as they are printed.
struct ErrorLines<'a> {
    name: &'a str,
    /// The first line, from 0, and its start in bytes.
    first: usize,
    from: usize,
    shown: String,
}

impl<'a> ErrorPlace<'a> {
    /// The line of a byte, from 0.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The end of a line, in bytes, without its line break.
    fn end_of(&self, line: usize) -> usize {
        let next = self.lines.get(line + 1).map_or(self.source.text.len(), |next| next - 1);
        let carriage = self.source.text.get(..next).is_some_and(|text| text.ends_with('\r'));
        if carriage && self.lines.get(line + 1).is_some() { next - 1 } else { next }
    }

    /// The part of the file with these lines. Only the printed lines are used, so that a long file with many errors does not take
    /// long.
    fn part(&self, lines: &[usize]) -> ErrorLines<'a> {
        let (first, last) =
            (lines.iter().copied().min().unwrap_or(0), lines.iter().copied().max().unwrap_or(0));
        let from = self.lines.get(first).copied().unwrap_or_default();
        // The renderer makes control characters visible, except for these, which some terminals execute. The replacement has the
        // same length in bytes.
        let obeyed = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
        let shown = self.source.text.get(from..self.end_of(last)).unwrap_or_default().replace(obeyed, "·");
        ErrorLines { name: &self.source.name, first, from, shown }
    }
}

impl<'a> ErrorLines<'a> {
    /// The place of a view of the same file in this part, at most to the end of its line.
    fn mark(&self, view: &ErrorPlace<'_>) -> Range<usize> {
        let end = view.end.min(view.end_of(view.line(view.at))).max(view.at);
        view.at.saturating_sub(self.from)..end.saturating_sub(self.from)
    }

    fn snippet(&self, annotation: Annotation<'a>) -> Snippet<'a, Annotation<'a>> {
        Snippet::source(self.shown.clone()).path(self.name).line_start(self.first + 1).annotation(annotation)
    }
}
