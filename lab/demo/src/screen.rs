//! Writes to the terminal, or to another standard output.
//!
//! Touches standard output. On a terminal, the picture is drawn on the alternate screen, so that the earlier text comes back
//! afterwards, followed by the figures. On other outputs, and on a terminal that is too small, lines are printed.

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use terminal_size::{Height, Width, terminal_size};

use crate::view::{HEIGHT, Line, Style, View, WIDTH};

/// How often rates are printed if no picture is drawn.
const RATES_EVERY: Duration = Duration::from_secs(1);

/// The output.
pub(crate) struct Screen {
    mode: Mode,
    colours: bool,
    shown: usize,
    next: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Lines,
    /// A picture, once there is something to draw.
    Picture,
    /// The terminal is on its alternate screen.
    Drawing,
    /// The terminal is restored.
    Closed,
}

impl Screen {
    /// `plain`: no picture, even if there could be one.
    pub(crate) fn new(plain: bool) -> Screen {
        let terminal = io::stdout().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let large = terminal_size().is_some_and(|(Width(wide), Height(high))| {
            usize::from(wide) >= WIDTH && usize::from(high) >= HEIGHT
        });
        let mode = if terminal && large && !plain { Mode::Picture } else { Mode::Lines };
        Screen { mode, colours: terminal && !plain, shown: 0, next: SystemTime::now() }
    }

    /// Shows the current state.
    pub(crate) fn show(&mut self, view: &View, now: SystemTime) {
        match self.mode {
            Mode::Lines => {
                let lines = view.lines_since(&mut self.shown);
                self.print(&lines);
                if view.has_rates() && !view.is_over() && now >= self.next {
                    self.next = now + RATES_EVERY;
                    self.print(&[view.rates(now)]);
                }
            }
            Mode::Picture if !view.is_serving() => {
                let lines = view.lines_since(&mut self.shown);
                self.print(&lines);
            }
            Mode::Picture => {
                self.mode = Mode::Drawing;
                output::text("\x1b[?1049h\x1b[?25l\x1b[2J");
                self.draw(view, now);
            }
            Mode::Drawing => self.draw(view, now),
            Mode::Closed => {}
        }
    }

    fn draw(&self, view: &View, now: SystemTime) {
        let size = terminal_size().map_or((WIDTH, HEIGHT), |(Width(w), Height(h))| (w.into(), h.into()));
        let mut frame = String::from("\x1b[H");
        let lines = view.frame(now, size.0, size.1);
        for (index, line) in lines.iter().take(size.1).enumerate() {
            if index > 0 {
                frame += "\r\n";
            }
            frame += &self.text(line, size.0);
            frame += "\x1b[K";
        }
        frame += "\x1b[J";
        output::text(&frame);
    }

    /// Prints lines that stay.
    pub(crate) fn print(&self, lines: &[Line]) {
        lines.iter().for_each(|line| output::line(self.text(line, usize::MAX)));
    }

    fn text(&self, line: &Line, width: usize) -> String {
        let mut left = width;
        let mut text = String::new();
        for (style, words) in &line.0 {
            let words: String = words.chars().take(left).collect();
            left -= words.chars().count();
            match (self.colours, style.code()) {
                (true, Some(code)) => text += &format!("\x1b[{code}m{words}\x1b[0m"),
                (true, None) | (false, _) => text += &words,
            }
        }
        if self.colours { text } else { text.trim_end().to_owned() }
    }

    /// Whether a picture was drawn that is no longer visible.
    pub(crate) fn has_drawn(&self) -> bool {
        self.mode == Mode::Closed
    }

    /// Restores the terminal.
    pub(crate) fn close(&mut self) {
        if self.mode == Mode::Drawing {
            self.mode = Mode::Closed;
            output::text("\x1b[?25h\x1b[?1049l");
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Style::Plain => None,
            Style::Bold => Some("1"),
            Style::Dim => Some("2"),
            Style::Red => Some("31"),
            Style::Green => Some("32"),
            Style::Yellow => Some("33"),
            Style::Cyan => Some("36"),
        }
    }
}
