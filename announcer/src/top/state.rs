//! The view as a machine: events go in, requests come out.
//!
//! Pure. The time is what the last tick said. One request waits for its answer at a time, beside that for an explanation, so a
//! daemon that does not answer gets no queue of requests.

use std::time::Duration;

use super::fit::{heights, safe, wrap};
use super::keys::{HELP, KeyPress};
use super::list::{self, ListRow, ListSettings, Subject};
use super::samples::PollSamples;
use crate::control::api::{Change, Request, Response, Status};
use crate::control::status::age;

/// The time between two polls.
const PERIOD: Duration = Duration::from_secs(1);
/// How many changes are asked for.
const CHANGES: usize = 100;
/// A daemon that has not answered for this time is named in the view.
const SLOW: Duration = Duration::from_secs(2);

/// What happens.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one event exists at a time")]
pub enum TopEvent {
    /// A key.
    Key(KeyPress),
    /// The time since the view began.
    Tick(Duration),
    /// The terminal has this size.
    Resize {
        /// Its columns.
        columns: u16,
        /// Its rows.
        rows: u16,
    },
    /// The answer to a request, or why there is none.
    Answer(Request, Result<Response, AskError>),
}

/// Why there is no answer, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskError {
    /// It may come later: the daemon may be restarting.
    NoAnswer(String),
    /// It will never come: there are no rights to ask.
    Forbidden(String),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a handful of actions exist at a time")]
pub enum TopAction {
    /// Send a request.
    Ask(Request),
    /// End.
    End,
    /// End with this error.
    Fail(String),
}

/// What covers the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pane {
    List,
    /// The list, while the filter is typed.
    Filter,
    Explanation(Explanation),
    /// How many lines are scrolled past.
    Help(usize),
}

/// An explanation of what was selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation {
    pub(super) subject: Subject,
    /// None until the daemon has answered.
    pub(super) lines: Option<Vec<String>>,
    /// How many lines are scrolled past.
    pub(super) scroll: usize,
}

/// The view.
#[derive(Debug)]
pub struct TopState {
    pub(super) colour: bool,
    pub(super) pane: Pane,
    pub(super) settings: ListSettings,
    pub(super) status: Option<Box<Status>>,
    /// The newest first.
    pub(super) changes: Vec<Change>,
    pub(super) samples: PollSamples,
    pub(super) rows: Vec<ListRow>,
    /// The selected row.
    pub(super) selected: Option<usize>,
    /// What was selected. It is found again when rows move.
    subject: Option<Subject>,
    /// The first row that is shown.
    pub(super) offset: usize,
    size: (u16, u16),
    now: Duration,
    next_poll: Duration,
    /// Since when the poll waits for an answer.
    asked: Option<Duration>,
    /// When the last status came.
    answered: Option<Duration>,
    /// Why the last request had no answer.
    problem: Option<String>,
}

impl TopState {
    /// A view that knows nothing yet. `colour`: whether marks have colours.
    pub fn new(colour: bool) -> Self {
        TopState {
            colour,
            pane: Pane::List,
            settings: ListSettings::default(),
            status: None,
            changes: Vec::new(),
            samples: PollSamples::default(),
            rows: Vec::new(),
            selected: None,
            subject: None,
            offset: 0,
            size: (80, 24),
            now: Duration::ZERO,
            next_poll: Duration::ZERO,
            asked: None,
            answered: None,
            problem: None,
        }
    }

    /// Takes an event, and says what to do.
    pub fn on(&mut self, event: TopEvent) -> Vec<TopAction> {
        let actions = match event {
            TopEvent::Key(key) => self.key(key),
            TopEvent::Tick(now) => self.tick(now),
            TopEvent::Resize { columns, rows } => {
                self.size = (columns, rows);
                Vec::new()
            }
            TopEvent::Answer(request, answer) => self.answer(request, answer),
        };
        self.arrange();
        actions
    }

    /// What stands in place of the line about the daemon while it does not answer.
    pub(super) fn notice(&self) -> Option<String> {
        let waits = self.asked.map(|asked| self.now.saturating_sub(asked)).filter(|waits| *waits >= SLOW);
        let why = match (&self.problem, waits) {
            (Some(problem), _) => problem.clone(),
            (None, Some(waits)) => format!("announcer has not answered for {}", age(waits.as_secs_f64())),
            (None, None) => return None,
        };
        let old = self.answered.map(|at| age(self.now.saturating_sub(at).as_secs_f64()));
        let old = old.map(|old| format!("{old} old: ")).unwrap_or_default();
        Some(format!("{old}{why}; trying again"))
    }

    fn tick(&mut self, now: Duration) -> Vec<TopAction> {
        self.now = now;
        if self.asked.is_some() || now < self.next_poll {
            return Vec::new();
        }
        self.next_poll = now + PERIOD;
        self.poll(Request::Status)
    }

    fn poll(&mut self, request: Request) -> Vec<TopAction> {
        self.asked = Some(self.now);
        vec![TopAction::Ask(request)]
    }

    /// A poll is a status, then the history, then the explanation that is shown.
    fn answer(&mut self, request: Request, answer: Result<Response, AskError>) -> Vec<TopAction> {
        let is_poll = matches!(request, Request::Status | Request::History { .. });
        if is_poll {
            self.asked = None;
        }
        let response = match answer {
            Ok(response) => response,
            Err(AskError::NoAnswer(why)) => {
                self.problem = Some(why);
                return Vec::new();
            }
            Err(AskError::Forbidden(why)) => return vec![TopAction::Fail(why)],
        };
        match response {
            Response::Status { status } => {
                self.problem = None;
                self.answered = Some(self.now);
                self.samples.add(&status);
                self.status = Some(status);
                self.poll(Request::History { limit: Some(CHANGES) })
            }
            Response::History(list) => {
                self.changes = list.changes;
                self.changes.reverse();
                match &self.pane {
                    Pane::Explanation(shown) => vec![TopAction::Ask(shown.subject.request())],
                    Pane::List | Pane::Filter | Pane::Help(_) => Vec::new(),
                }
            }
            Response::Vip(details) => self.explained(&request, details.lines),
            Response::Peer(details) => self.explained(&request, details.lines),
            Response::Error(error) if is_poll => {
                self.problem = Some(error.text);
                Vec::new()
            }
            Response::Error(error) => self.explained(&request, vec![error.text]),
            Response::Done { .. }
            | Response::Waits(_)
            | Response::Chain(_)
            | Response::Site(_)
            | Response::OpenApi => Vec::new(),
        }
    }

    fn explained(&mut self, request: &Request, lines: Vec<String>) -> Vec<TopAction> {
        if let Pane::Explanation(shown) = &mut self.pane
            && shown.subject.request() == *request
        {
            shown.lines = Some(lines);
        }
        Vec::new()
    }

    fn key(&mut self, key: KeyPress) -> Vec<TopAction> {
        if key == KeyPress::Interrupt {
            return vec![TopAction::End];
        }
        match &self.pane {
            Pane::Filter => self.key_of_filter(key),
            Pane::List => return self.key_of_list(key),
            Pane::Explanation(_) | Pane::Help(_) => return self.key_of_text(key),
        }
        Vec::new()
    }

    fn key_of_filter(&mut self, key: KeyPress) {
        match key {
            KeyPress::Char(char) => self.settings.filter.push(char),
            KeyPress::Backspace => {
                self.settings.filter.pop();
            }
            KeyPress::Enter => self.pane = Pane::List,
            KeyPress::Escape => {
                self.settings.filter.clear();
                self.pane = Pane::List;
            }
            KeyPress::Up => self.select(-1),
            KeyPress::Down => self.select(1),
            KeyPress::PageUp | KeyPress::PageDown | KeyPress::Home | KeyPress::End | KeyPress::Interrupt => {}
        }
    }

    fn key_of_list(&mut self, key: KeyPress) -> Vec<TopAction> {
        let page = i32::from(self.list_height()).max(1);
        match key {
            KeyPress::Char('q') => return vec![TopAction::End],
            KeyPress::Char('/') => self.pane = Pane::Filter,
            KeyPress::Char('p') => self.settings.problems_only = !self.settings.problems_only,
            KeyPress::Char('a') => self.settings.all = !self.settings.all,
            KeyPress::Char('s') => self.settings.order = self.settings.order.next(),
            KeyPress::Char('?') => self.pane = Pane::Help(0),
            KeyPress::Escape => self.settings.filter.clear(),
            KeyPress::Enter => {
                if let Some(subject) = self.subject.clone() {
                    let ask = TopAction::Ask(subject.request());
                    self.pane = Pane::Explanation(Explanation { subject, lines: None, scroll: 0 });
                    return vec![ask];
                }
            }
            KeyPress::Up | KeyPress::Char('k') => self.select(-1),
            KeyPress::Down | KeyPress::Char('j') => self.select(1),
            KeyPress::PageUp => self.select(-page),
            KeyPress::PageDown => self.select(page),
            KeyPress::Home | KeyPress::Char('g') => self.select(i32::MIN),
            KeyPress::End | KeyPress::Char('G') => self.select(i32::MAX),
            KeyPress::Char(_) | KeyPress::Backspace | KeyPress::Interrupt => {}
        }
        Vec::new()
    }

    fn key_of_text(&mut self, key: KeyPress) -> Vec<TopAction> {
        let page = usize::from(self.size.1.saturating_sub(2)).max(1);
        let last = self.last_scroll();
        let scroll = match &mut self.pane {
            Pane::Explanation(shown) => &mut shown.scroll,
            Pane::Help(scroll) => scroll,
            Pane::List | Pane::Filter => return Vec::new(),
        };
        let new = match key {
            KeyPress::Char('q') => return vec![TopAction::End],
            KeyPress::Escape | KeyPress::Backspace | KeyPress::Enter | KeyPress::Char('?') => {
                self.pane = Pane::List;
                return Vec::new();
            }
            KeyPress::Up | KeyPress::Char('k') => scroll.saturating_sub(1),
            KeyPress::Down | KeyPress::Char('j') => *scroll + 1,
            KeyPress::PageUp => scroll.saturating_sub(page),
            KeyPress::PageDown => *scroll + page,
            KeyPress::Home | KeyPress::Char('g') => 0,
            KeyPress::End | KeyPress::Char('G') => last,
            KeyPress::Char(_) | KeyPress::Interrupt => *scroll,
        };
        *scroll = new.min(last);
        Vec::new()
    }

    /// Moves the selection by some entries.
    fn select(&mut self, by: i32) {
        let entries: Vec<usize> = (0..self.rows.len()).filter(|row| self.is_entry(*row)).collect();
        let at = entries.iter().position(|row| Some(*row) == self.selected).unwrap_or(0);
        let last = entries.len().saturating_sub(1);
        let by = isize::try_from(by).unwrap_or(0);
        let at = at.saturating_add_signed(by).min(last);
        self.selected = entries.get(at).copied();
        self.subject = self.selected.and_then(|row| self.rows.get(row)?.subject().cloned());
    }

    fn is_entry(&self, row: usize) -> bool {
        self.rows.get(row).is_some_and(|row| row.subject().is_some())
    }

    /// Makes the rows anew, finds what was selected in them, and scrolls to it.
    fn arrange(&mut self) {
        self.rows = self.status.as_ref().map(|status| list::rows(status, &self.settings)).unwrap_or_default();
        let found = self.subject.as_ref().and_then(|subject| list::find(&self.rows, subject));
        let near = || {
            // What was selected is gone: the entry that is now in its place, or else the last one.
            let at = self.selected.unwrap_or(0);
            let (before, after) = (0..self.rows.len().min(at), at..self.rows.len());
            after.into_iter().find(|row| self.is_entry(*row)).or(before.rev().find(|row| self.is_entry(*row)))
        };
        self.selected = found.or_else(near);
        if found.is_none() {
            self.subject = self.selected.and_then(|row| self.rows.get(row)?.subject().cloned());
        }
        let height = usize::from(self.list_height()).max(1);
        let last = self.rows.len().saturating_sub(height);
        let at = self.selected.unwrap_or(0);
        let is_first = !(0..at).any(|row| self.is_entry(row));
        let is_last = !(at + 1..self.rows.len()).any(|row| self.is_entry(row));
        self.offset = match () {
            () if is_first => 0,
            () if is_last => last,
            () => self.offset.clamp((at + 1).saturating_sub(height), at).min(last),
        };
    }

    /// How many rows of the list are shown.
    fn list_height(&self) -> u16 {
        heights(self.size.1, self.rows.len()).list
    }

    /// The title and the lines of an explanation or of the help in this width, and how many lines are scrolled past.
    pub(super) fn text(&self, width: usize) -> (String, Vec<String>, usize) {
        let wrapped =
            |lines: &mut dyn Iterator<Item = &str>| lines.flat_map(|line| wrap(&safe(line), width)).collect();
        match &self.pane {
            Pane::Explanation(shown) => {
                let lines = match &shown.lines {
                    Some(lines) => wrapped(&mut lines.iter().map(String::as_str)),
                    None => vec!["waiting for the answer".to_owned()],
                };
                (format!("EXPLAIN {}", shown.subject.name()), lines, shown.scroll)
            }
            Pane::Help(scroll) => ("HELP".into(), wrapped(&mut HELP.iter().copied()), *scroll),
            Pane::List | Pane::Filter => (String::new(), Vec::new(), 0),
        }
    }

    /// How many lines can be scrolled past.
    pub(super) fn last_scroll(&self) -> usize {
        let (width, height) = self.size;
        let (_, lines, _) = self.text(usize::from(width));
        lines.len().saturating_sub(usize::from(height.saturating_sub(2)).max(1))
    }

    /// The size of the terminal: columns and rows.
    #[cfg(test)]
    pub(super) fn size(&self) -> (u16, u16) {
        self.size
    }
}
