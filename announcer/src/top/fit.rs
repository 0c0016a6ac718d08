//! Fits the view into a terminal: how high its parts are, and where lines are wrapped.
//!
//! Pure.

use crate::control::status::columns;
use crate::model::text;

/// How many rows of the terminal each part has. Above the list is the head, and below the changes is the line of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heights {
    /// The head: what is wrong, and what runs.
    pub head: u16,
    /// The list.
    pub list: u16,
    /// The last changes, with their title.
    pub changes: u16,
    /// The keys.
    pub keys: u16,
}

/// The heights in a terminal with `rows` rows, for a list of `length` rows.
pub fn heights(rows: u16, length: usize) -> Heights {
    let head = match rows {
        0..2 => rows,
        2..8 => 1,
        8.. => 2,
    };
    let keys = u16::from(rows >= 3);
    let free = rows.saturating_sub(head + keys);
    // The changes get what the list leaves, and at least a fifth.
    let left = free.saturating_sub(u16::try_from(length).unwrap_or(u16::MAX));
    let changes = if free >= 8 { left.clamp(free / 5 + 1, free / 2 + 1) } else { 0 };
    Heights { head, list: free - changes, changes, keys }
}

/// A text from the daemon without characters that change the display.
pub fn safe(text: &str) -> String {
    text.chars().map(|char| if text::is_unsafe(char) { ' ' } else { char }).collect()
}

/// A line as lines of at most `width` columns, cut at spaces where possible. Lines after the first are indented as the first.
pub fn wrap(line: &str, width: usize) -> Vec<String> {
    let indent: String = line.chars().take_while(|char| *char == ' ').take(width / 2).collect();
    let mut lines = Vec::new();
    let mut current = indent.clone();
    for word in line.trim_start().split(' ') {
        let mut word = word;
        if columns(&current) + 1 + columns(word) > width && current.trim() != "" {
            lines.push(std::mem::replace(&mut current, indent.clone()));
        }
        if current.trim() != "" {
            current.push(' ');
        }
        // A word that is longer than a line.
        while !word.is_empty() && columns(&current) + columns(word) > width {
            let end = fitting(word, width.saturating_sub(columns(&current)));
            current.push_str(&word[..end]);
            lines.push(std::mem::replace(&mut current, indent.clone()));
            word = &word[end..];
        }
        current.push_str(word);
    }
    lines.push(current);
    lines
}

/// How many octets of a text fit into this many columns: at least its first character.
fn fitting(text: &str, room: usize) -> usize {
    let mut used = 0;
    for (at, char) in text.char_indices() {
        used += columns(char.encode_utf8(&mut [0; 4]));
        if used > room && at > 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_wrapped_at_spaces_and_keeps_its_indent() {
        for (line, width, want) in [
            ("one two three", 80, &["one two three"][..]),
            ("one two three", 8, &["one two", "three"]),
            ("  one two", 6, &["  one", "  two"]),
            ("abcdefgh ij", 3, &["abc", "def", "gh", "ij"]),
            ("漢字漢", 4, &["漢字", "漢"]),
            ("漢", 1, &["漢", ""]),
            ("", 5, &[""]),
            ("ab", 0, &["a", "b", ""]),
        ] {
            assert_eq!(wrap(line, width), want, "{line:?} {width}");
        }
    }

    #[test]
    fn the_parts_fill_the_terminal_and_the_list_has_the_most() {
        for rows in 0..200 {
            for length in [0, 1, 5, 17, 40, 100_000] {
                let Heights { head, list, changes, keys } = heights(rows, length);
                assert_eq!(head + list + changes + keys, rows, "{rows} {length}");
                assert!(usize::from(list) + 1 >= length.min(usize::from(changes)), "{rows} {length}");
            }
        }
    }
}
