//! Prints lines: cuts them to the width of the terminal, and colours marks.
//!
//! Pure.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

use super::Severity;

/// How lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusLayout {
    /// The columns of the terminal; `None`: lines are never cut.
    pub width: Option<usize>,
    /// Whether marks have colours.
    pub colour: bool,
}

/// One line. The cells form columns with the other lines of the same kind; the text at the end is cut first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    kind: Kind,
    severity: Option<Severity>,
    cells: Vec<String>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Title,
    Plain,
    Router,
    Service,
}

impl Line {
    /// The first line, in the colour of the worst state.
    pub fn head(text: String, worst: Severity) -> Line {
        Line { severity: Some(worst), ..Line::of(Kind::Head, Vec::new(), text) }
    }

    /// The title of a part.
    pub fn title(text: &str) -> Line {
        Line::of(Kind::Title, Vec::new(), text.to_owned())
    }

    /// A line without a mark.
    pub fn plain(text: String) -> Line {
        Line::of(Kind::Plain, Vec::new(), text)
    }

    /// A warning.
    pub fn warning(text: &str) -> Line {
        Line {
            severity: Some(Severity::Warning),
            ..Line::of(Kind::Plain, Vec::new(), format!("warning: {text}"))
        }
    }

    /// A line of a router: name, address, state.
    pub fn router(severity: Severity, cells: [String; 3], text: String) -> Line {
        Line { severity: Some(severity), ..Line::of(Kind::Router, cells.to_vec(), text) }
    }

    /// A line of a service: name, how many VIPs of how many are announced, since when.
    pub fn service(severity: Severity, cells: [String; 3], text: String) -> Line {
        Line { severity: Some(severity), ..Line::of(Kind::Service, cells.to_vec(), text) }
    }

    fn of(kind: Kind, cells: Vec<String>, text: String) -> Line {
        Line { kind, severity: None, cells, text }
    }
}

/// The width of the column of marks.
const MARK: usize = 5;
/// A name takes at most a quarter of the terminal, and a longer one is cut, so that the reasons stay visible.
const NAME_SHARE: usize = 4;

impl StatusLayout {
    /// The lines as text.
    pub fn text(&self, lines: &[Line]) -> String {
        let width = |kind: Kind, column: usize| {
            let cells =
                lines.iter().filter(|line| line.kind == kind).filter_map(|line| line.cells.get(column));
            cells.map(|cell| columns(&self.cell(column, cell))).max().unwrap_or(0)
        };
        let text: Vec<String> = lines
            .iter()
            .map(|line| {
                let mut plain = String::new();
                if matches!(line.kind, Kind::Router | Kind::Service) {
                    plain.push_str(&format!("  {:MARK$}", line.severity.map_or("", Severity::mark)));
                }
                for (column, cell) in line.cells.iter().enumerate() {
                    let cell = self.cell(column, cell);
                    let pad = width(line.kind, column).saturating_sub(columns(&cell));
                    plain.push_str(&format!("  {cell}{}", " ".repeat(pad)));
                }
                if !line.cells.is_empty() && !line.text.is_empty() {
                    plain.push_str("  ");
                }
                plain.push_str(&line.text);
                self.paint(line, cut(plain.trim_end(), self.width))
            })
            .collect();
        text.join("\n")
    }

    /// A cell; a long name is cut.
    fn cell(&self, column: usize, text: &str) -> String {
        let most = self.width.filter(|_| column == 0).map(|width| (width / NAME_SHARE).max(8));
        cut(text, most)
    }

    /// The whole head or warning, or the mark of a line, in the colour of its severity.
    fn paint(&self, line: &Line, text: String) -> String {
        let Some(style) = style(line).filter(|_| self.colour) else { return text };
        let painted = |text: &str| format!("{style}{text}{style:#}");
        match line.kind {
            Kind::Head | Kind::Title | Kind::Plain => painted(&text),
            Kind::Router | Kind::Service => match text.split_at_checked(2 + MARK) {
                Some((mark, rest)) => painted(mark) + rest,
                None => text,
            },
        }
    }
}

fn style(line: &Line) -> Option<Style> {
    let colour = match line.severity? {
        Severity::Fine => AnsiColor::Green,
        Severity::Ordered | Severity::Starting => AnsiColor::Cyan,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Failed => AnsiColor::Red,
    };
    Some(Style::new().fg_color(Some(colour.into())))
}

/// At most `most` columns of a text; `…` stands for the rest.
pub fn cut(text: &str, most: Option<usize>) -> String {
    let Some(most) = most.filter(|most| columns(text) > *most) else { return text.to_owned() };
    let (mut kept, mut used) = (String::new(), 1);
    for char in text.chars() {
        used += char.width().unwrap_or(0);
        if used > most {
            break;
        }
        kept.push(char);
    }
    kept + "…"
}

/// How many columns a text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(|char| char.width().unwrap_or(0)).sum()
}

/// A time as a short text: its largest unit alone, such as `12s`, `3m`, `5h` or `9d`.
pub fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        172_800.. => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        for (seconds, want) in [
            (-1.0, "0s"),
            (0.9, "0s"),
            (59.9, "59s"),
            (60.0, "1m"),
            (3_599.0, "59m"),
            (3_600.0, "1h"),
            (172_799.0, "47h"),
            (259_200.0, "3d"),
        ] {
            assert_eq!(age(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn a_line_is_cut_at_its_end_and_never_wider_than_the_terminal() {
        let line = |text: &str| {
            Line::service(Severity::Failed, ["www".into(), "0/1".into(), "3m".into()], text.into())
        };
        for (width, want) in [
            (None, "  FAIL   www  0/1  3m  HTTP 503 漢漢"),
            (Some(36), "  FAIL   www  0/1  3m  HTTP 503 漢漢"),
            (Some(35), "  FAIL   www  0/1  3m  HTTP 503 漢…"),
            (Some(34), "  FAIL   www  0/1  3m  HTTP 503 …"),
            (Some(10), "  FAIL   …"),
        ] {
            let text = StatusLayout { width, colour: false }.text(&[line("HTTP 503 漢漢")]);
            assert_eq!(text, want, "{width:?}");
        }
    }

    #[test]
    fn colours_are_around_the_mark_and_never_cut() {
        let line =
            Line::service(Severity::Failed, ["www".into(), "0/1".into(), "3m".into()], "HTTP 503".into());
        let text = StatusLayout { width: Some(20), colour: true }.text(&[line]);
        assert_eq!(text, "\u{1b}[31m  FAIL \u{1b}[0m  www  0/1  …");
    }
}
