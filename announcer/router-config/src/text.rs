//! A configuration under construction: lines, and comments in the form of the system.

/// The width at which comments break, in characters.
const WIDTH: usize = 100;

/// The lines of a configuration.
pub(crate) struct Text {
    /// What begins a comment, as `#`.
    comment: &'static str,
    lines: Vec<String>,
}

impl Text {
    /// Without lines.
    pub(crate) fn new(comment: &'static str) -> Self {
        Text { comment, lines: Vec::new() }
    }

    /// A comment, broken into lines. Control characters are replaced: a line feed would end the comment.
    pub(crate) fn note(&mut self, text: &str) {
        let text = text.replace(char::is_control, "\u{fffd}");
        let mut line = self.comment.to_owned();
        for word in text.split(' ') {
            if line.chars().count() + word.chars().count() >= WIDTH && line != self.comment {
                self.lines.push(std::mem::replace(&mut line, self.comment.to_owned()));
            }
            line.push(' ');
            line.push_str(word);
        }
        self.lines.push(line);
    }

    /// A comment that is a command for the router's shell. It is never broken.
    pub(crate) fn shell(&mut self, command: &str) {
        self.lines.push(format!("{} $ {command}", self.comment));
    }

    /// A comment that is a line of the configuration which depends on something that is not known.
    pub(crate) fn maybe(&mut self, line: &str) {
        self.lines.push(format!("{} {line}", self.comment));
    }

    /// A line.
    pub(crate) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Lines, of which each may be several.
    pub(crate) fn lines<T: Into<String>>(&mut self, lines: impl IntoIterator<Item = T>) {
        self.lines.extend(lines.into_iter().map(Into::into));
    }

    /// An empty line.
    pub(crate) fn blank(&mut self) {
        self.lines.push(String::new());
    }

    /// The whole, with a line feed at its end.
    pub(crate) fn finish(self) -> String {
        self.lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_break_and_commands_do_not() {
        let mut text = Text::new("!");
        text.note(&"word ".repeat(30).trim_end().replace("word word word", "three words here"));
        text.shell(&"x".repeat(120));
        let text = text.finish();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[..2].iter().all(|line| line.len() <= WIDTH && line.starts_with("! ")), "{text}");
        assert_eq!(lines[2], format!("! $ {}", "x".repeat(120)));
    }

    #[test]
    fn nothing_ends_a_comment() {
        let mut text = Text::new("#");
        text.note("a\nrouter bgp 1\r\u{85}x");
        assert_eq!(text.finish(), "# a\u{fffd}router bgp 1\u{fffd}\u{fffd}x\n");
    }
}
