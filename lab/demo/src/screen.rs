//! The terminal, or whatever standard output is.
//!
//! Touches standard output. On a terminal the picture is drawn on the alternate screen, so that what was there before
//! comes back, with the figures below it; elsewhere, and where it is too small, lines are printed.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use terminal_size::{Height, Width, terminal_size};

use crate::view::{HEIGHT, Line, Style, View, WIDTH};

/// How often rates are printed where they cannot be drawn.
const RATES_EVERY: Duration = Duration::from_secs(1);

/// Where it is shown.
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
    /// And is as it was again.
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

    /// Shows how things stand.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(crate) fn show(&mut self, view: &View, now: SystemTime) -> io::Result<()> {
        match self.mode {
            Mode::Lines => {
                let lines = view.lines_since(&mut self.shown);
                self.print(&lines)?;
                if view.has_rates() && !view.is_over() && now >= self.next {
                    self.next = now + RATES_EVERY;
                    self.print(&[view.rates(now)])?;
                }
                Ok(())
            }
            Mode::Picture if !view.is_serving() => {
                let lines = view.lines_since(&mut self.shown);
                self.print(&lines)
            }
            Mode::Picture => {
                self.mode = Mode::Drawing;
                write!(io::stdout(), "\x1b[?1049h\x1b[?25l\x1b[2J")?;
                self.draw(view, now)
            }
            Mode::Drawing => self.draw(view, now),
            Mode::Closed => Ok(()),
        }
    }

    fn draw(&self, view: &View, now: SystemTime) -> io::Result<()> {
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
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }

    /// Prints lines that stay.
    ///
    /// # Errors
    /// When nobody reads them any more.
    pub(crate) fn print(&self, lines: &[Line]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        lines.iter().try_for_each(|line| writeln!(out, "{}", self.text(line, usize::MAX)))?;
        out.flush()
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

    /// Whether what was shown is gone.
    pub(crate) fn has_drawn(&self) -> bool {
        self.mode == Mode::Closed
    }

    /// Gives the terminal back as it was.
    pub(crate) fn close(&mut self) {
        if self.mode == Mode::Drawing {
            self.mode = Mode::Closed;
            let _ = write!(io::stdout(), "\x1b[?25h\x1b[?1049l"); // nobody sees it, then
            let _ = io::stdout().flush();
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
