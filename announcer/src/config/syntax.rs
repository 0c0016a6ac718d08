//! The syntax errors of TOML, and which part of a broken file can still be checked.
//!
//! Pure. A line with a syntax error is reported and left out, and the rest is read without that line. After a broken table header
//! nothing is read, because it is not known to which table the keys belong.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::Fault;

/// The part of the text that can be read, with every byte at its old place; every syntax error goes to `faults`.
pub(super) fn trusted<'a>(text: &'a str, faults: &mut Vec<Fault>) -> Cow<'a, str> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut errors: Vec<(Range<usize>, &str)> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(text.len()..text.len()), error.message()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);

    let mut arrays = Vec::new();
    document.get_ref().values().for_each(|value| find_arrays(value.get_ref(), value.span(), &mut arrays));
    arrays.sort_by_key(|array| array.start);
    let array_of = |at: usize| {
        let before = arrays.partition_point(|array| array.start <= at);
        arrays.get(..before).and_then(<[_]>::last).filter(|array| within(array, at))
    };
    let unclosed: HashSet<&Range<usize>> = errors
        .iter()
        .filter(|(_, message)| {
            message.starts_with("unexpected `=`") || message.starts_with("unclosed array,")
        })
        .filter_map(|(span, _)| array_of(span.start))
        .collect();

    // Further errors in the same line or in the same array are consequences of the first one.
    let mut excused: Option<Range<usize>> = None;
    let mut reported: Option<Range<usize>> = None;
    for (span, message) in &errors {
        let here = span.start;
        if excused.as_ref().is_some_and(|excused| within(excused, here)) {
            continue;
        }
        let array = array_of(here);
        if let Some((at, c, what)) = look_alike(text, line(text, here)) {
            let message = format!("this is a {what} (U+{:04X})", u32::from(c));
            let help = match c.is_whitespace() || is_invisible(c) {
                true => "write a plain space, or nothing".to_owned(),
                false => "write a plain `\"`".to_owned(),
            };
            faults.push(Fault::new(at..at + c.len_utf8(), message, help));
            excused = Some(line(text, here));
        } else if let Some(array) = array.filter(|array| unclosed.contains(array)) {
            let help = "write `]` after its last value";
            faults.push(Fault::new(array.start..array.start + 1, "this array is not closed", help));
            excused = Some(array.clone());
        } else if let Some(word) = bare_word(text, here) {
            if reported.as_ref() != Some(&word) {
                let bare = text.get(word.clone()).unwrap_or_default();
                let help = format!("if it is text, write `\"{bare}\"`");
                faults.push(Fault::new(word.clone(), format!("`{bare}` is not a TOML value"), help));
            }
            reported = Some(word);
        } else {
            faults.push(structure(span.clone(), message));
            let line = line(text, here);
            excused = Some(line.start..array.map_or(line.end, |array| array.end.max(line.end)));
        }
    }
    let places = errors.iter().map(|(span, _)| span.start);
    set_aside(text, places).filter(|rest| DeTable::parse(rest).is_ok()).unwrap_or_default().into()
}

/// The first character of a line, outside of strings and comments, that looks like a space or a quotation mark but is none for
/// TOML.
fn look_alike(text: &str, line: Range<usize>) -> Option<(usize, char, &'static str)> {
    let mut open: Option<char> = None;
    for (at, c) in text.get(line.clone())?.char_indices() {
        match (open, c) {
            (Some(mark), _) if mark == c => open = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => open = Some(c),
            (None, '#') => return None,
            (None, _) => {
                let what = match c {
                    '\u{a0}' | '\u{2007}' | '\u{202f}' => "no-break space",
                    '\u{feff}' => "byte order mark",
                    '“' | '”' | '„' | '‘' | '’' | '«' | '»' => "typographic quotation mark",
                    c if is_invisible(c) => "character that is invisible",
                    c if c.is_whitespace() && !c.is_ascii() => "space that TOML does not accept",
                    _ => continue,
                };
                return Some((line.start + at, c, what));
            }
        }
    }
    None
}

/// Whether a character is invisible on a screen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// The text with blanks instead of the lines of these places, which are in order.
fn set_aside(text: &str, places: impl Iterator<Item = usize>) -> Option<String> {
    let mut rest = text.as_bytes().to_vec();
    let mut done = 0;
    for place in places {
        if place < done {
            continue;
        }
        let line = line(text, place);
        let header = text.get(line.clone())?.trim_start().starts_with('[');
        let aside = if header { line.start..text.len() } else { line };
        done = aside.end;
        rest.get_mut(aside)?.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(rest).ok()
}

/// Converts a message of the TOML library to our own message and help.
fn structure(span: Range<usize>, message: &str) -> Fault {
    match message.split_once(", expected ") {
        Some(("missing comma between array elements", _)) => Fault::new(
            span,
            "a `,` is missing in this array",
            "write `,` between two values, and `]` after the last",
        ),
        Some((what, "nothing")) => Fault::new(span, what, "remove the marked text"),
        Some((what, expected)) => Fault::new(span, what, format!("here TOML expects {expected}")),
        None if message == "duplicate key" => Fault::new(
            span,
            "this key was given before",
            "write each key once in its table, and `[[…]]` for tables that may come more than once",
        ),
        None => Fault::new(span, message, "see https://toml.io for what TOML allows here"),
    }
}

/// The word at the place of a value, if it would be a value with quotes.
fn bare_word(text: &str, at: usize) -> Option<Range<usize>> {
    let apart = |c: char| c.is_whitespace() || ",=[]{}#\"'".contains(c);
    let (before, after) = (text.get(..at)?, text.get(at..)?);
    let start =
        before.rfind(apart).map_or(0, |last| last + before[last..].chars().next().map_or(1, char::len_utf8));
    let end = at + after.find(apart).unwrap_or(after.len());
    let word = text.get(start..end)?;
    let behind = text.get(..start)?.trim_end_matches([' ', '\t']);
    let value_place = match behind.chars().next_back()? {
        '=' | ',' => true,
        // A header also opens with brackets, but at the start of its line.
        '[' => !text.get(line(text, start))?.trim_start().starts_with('['),
        _ => false,
    };
    let quoted = format!("\"{word}\"");
    let helps = DeValue::parse(word).is_err() && DeValue::parse(&quoted).is_ok();
    (!word.is_empty() && value_place && helps).then_some(start..end)
}

/// The arrays that are written with brackets, outermost only.
fn find_arrays(value: &DeValue<'_>, span: Range<usize>, arrays: &mut Vec<Range<usize>>) {
    match value {
        // Of `[[table]]`, array and first table have the header's span.
        DeValue::Array(array) if array.first().is_some_and(|first| first.span() == span) => {
            for value in array.iter() {
                find_arrays(value.get_ref(), value.span(), arrays);
            }
        }
        DeValue::Array(_) => arrays.push(span),
        DeValue::Table(table) => {
            for value in table.values() {
                find_arrays(value.get_ref(), value.span(), arrays);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}

fn within(range: &Range<usize>, at: usize) -> bool {
    (range.start..=range.end).contains(&at)
}

/// The line of a place, without its newline.
fn line(text: &str, at: usize) -> Range<usize> {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let end = text.get(at..).and_then(|after| after.find('\n')).map_or(text.len(), |newline| at + newline);
    start..end
}
