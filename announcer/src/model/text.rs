//! Makes text from outside safe for a terminal and a log.
//!
//! Pure. Text from outside (a router, a web server, a program, a file, an operator) may contain control characters, which move a
//! terminal's cursor, and characters that change the direction of writing, which make a line look different. Each of them is
//! replaced by a space. In a value of the log it is escaped instead, so that nothing of it is lost.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

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

/// The text as one line of at most `most` characters, with `…` at its end if something was cut.
pub fn cut(text: &str, most: usize) -> String {
    let mut shown = one_line(text, most);
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// A value of a field of the log, as in `reason="HTTP 503 after 12 ms"` (logfmt). It stays as it is if it has no space, quote, `=`
/// or unsafe character. Otherwise it is put between quotes, with `\"`, `\\`, `\n` and escapes such as `\u{1b}`.
pub fn quoted(value: &str) -> Cow<'_, str> {
    let plain = |c: char| !(c.is_whitespace() || matches!(c, '"' | '=' | '\\') || is_unsafe(c));
    if !value.is_empty() && value.chars().all(plain) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if is_unsafe(c) => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text.push('"');
    Cow::Owned(text)
}

/// JSON text in which every unsafe character is written as an escape of JSON, so that a terminal can show it. JSON itself escapes
/// only some of them.
pub fn safe_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) {
            // Each of these characters is one unit of UTF-16. A write to a string does not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// A text from outside that is safe to print: one line, no control characters, at most 200 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintableText(String);

impl PrintableText {
    /// The most characters that are kept.
    const MOST: usize = 200;

    /// Makes a text safe, and cuts it.
    pub fn new(text: &str) -> Self {
        PrintableText(cut(text, Self::MOST))
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
    fn a_value_of_the_log_is_quoted_when_it_has_to_be() {
        for (value, want) in [
            ("r1", "r1"),
            ("192.0.2.80", "192.0.2.80"),
            ("2001:db8::80", "2001:db8::80"),
            ("", r#""""#),
            ("HTTP 503", r#""HTTP 503""#),
            ("a=b", r#""a=b""#),
            (r#"say "no""#, r#""say \"no\"""#),
            (r"C:\x", r#""C:\\x""#),
            ("two\nlines\t", r#""two\nlines\t""#),
            ("\u{1b}[2J", r#""\u{1b}[2J""#),
            ("a\u{202e}b", r#""a\u{202e}b""#),
            ("äß", "äß"),
        ] {
            assert_eq!(quoted(value), want, "{value:?}");
        }
    }

    #[test]
    fn json_on_a_terminal_moves_no_cursor_and_means_the_same() {
        let value = "\u{9b}31m\u{202e}\u{7f}\u{1b}ä\n";
        let json = serde_json::to_string(value).unwrap();
        let safe = safe_json(&json);
        assert!(!safe.chars().any(is_unsafe), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), value);
    }

    #[test]
    fn what_a_server_says_cannot_move_the_cursor() {
        assert_eq!(PrintableText::new("http://x/\u{1b}[2J\n\u{202e}ü").to_string(), "http://x/ [2J  ü");
        assert_eq!(PrintableText::new(&"x".repeat(201)).to_string(), "x".repeat(200) + "…");
        assert_eq!(PrintableText::new(&"x".repeat(200)).to_string(), "x".repeat(200));
    }
}
