//! Makes text from outside safe for a terminal and a log.
//!
//! Pure. Text from outside (a router, a web server, a program, a file, an operator) may contain control characters, which move a
//! terminal's cursor, and characters that change the direction of writing, which make a line look different. Each of them is
//! replaced by a space.

use std::fmt;

/// The longest text in one line, in characters.
pub const LINE: usize = 1000;

/// The text as one line of at most `most` characters, without white space around it.
pub fn one_line(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    clean.trim().chars().take(most).collect()
}

/// Whether a character is invisible but changes the display: control characters (Unicode's Cc), characters that set the direction
/// of writing, characters without a width, and characters that end a line.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text from outside that is safe to print: one line, no control characters, at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintableText(String);

impl PrintableText {
    /// The most characters that are kept.
    const MOST: usize = 200;

    /// Makes a text safe, and cuts it.
    pub fn new(text: &str) -> Self {
        let mut shown = one_line(text, Self::MOST);
        if text.chars().nth(Self::MOST).is_some() {
            shown.push('…');
        }
        PrintableText(shown)
    }
}

impl fmt::Display for PrintableText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_moves_no_cursor() {
        for (text, want) in [
            ("plain", "plain"),
            ("  two\nlines\r\n", "two lines"),
            ("\x1b[2J\x07bell", "[2J bell"),
            ("c1 \u{9b}31m", "c1  31m"),
            ("a\u{202e}b\u{2066}c\u{2028}d", "a b c d"),
            ("äß 漢", "äß 漢"),
        ] {
            assert_eq!(one_line(text, LINE), want, "{text:?}");
        }
        assert_eq!(one_line("12345", 3), "123");
    }

    #[test]
    fn what_a_server_says_cannot_move_the_cursor() {
        assert_eq!(PrintableText::new("http://x/\u{1b}[2J\n\u{202e}ü").to_string(), "http://x/ [2J  ü");
        assert_eq!(PrintableText::new(&"x".repeat(201)).to_string(), "x".repeat(200) + "…");
        assert_eq!(PrintableText::new(&"x".repeat(200)).to_string(), "x".repeat(200));
    }
}
