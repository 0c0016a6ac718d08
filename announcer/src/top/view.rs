//! Draws the view to a buffer of ratatui, which any backend can show.
//!
//! Pure. Every size of a terminal is drawn, also none at all: what does not fit is left out, the least important first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::fit::{heights, safe};
use super::list::{self, ListRow};
use super::samples::bar;
use super::state::{Pane, TopState};
use crate::control::status::{Severity, columns, cut, summary};

/// The width of the column of marks.
const MARK: usize = 5;
/// From this width on there are sparklines.
const SPARKLINES_FROM: usize = 60;

/// Draws the view to the whole of a buffer, which is empty.
pub fn paint(state: &TopState, buffer: &mut Buffer) {
    let area = buffer.area;
    let mut page = Page { width: area.width, left: area, colour: state.colour, buffer };
    match &state.pane {
        Pane::List | Pane::Filter => list_pane(state, &mut page),
        Pane::Explanation(_) | Pane::Help(_) => text_pane(state, &mut page),
    }
}

/// The part of the terminal that is free, from its top on.
struct Page<'a> {
    width: u16,
    left: Rect,
    colour: bool,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    /// Draws a line below the last one, if there is room.
    fn line(&mut self, line: &Line<'_>) {
        if self.left.height > 0 && self.width > 0 {
            self.buffer.set_line(self.left.x, self.left.y, line, self.width);
            self.skip(1);
        }
    }

    fn skip(&mut self, rows: u16) {
        let rows = rows.min(self.left.height);
        self.left.y += rows;
        self.left.height -= rows;
    }

    fn columns(&self) -> usize {
        usize::from(self.width)
    }

    /// A text that is cut to the width of the terminal.
    fn cut(&self, text: &str) -> String {
        cut(&safe(text), Some(self.columns()))
    }

    fn severity(&self, severity: Severity) -> Style {
        if !self.colour {
            return Style::new();
        }
        Style::new().fg(match severity {
            Severity::Fine => Color::Green,
            Severity::Ordered | Severity::Starting => Color::Cyan,
            Severity::Warning => Color::Yellow,
            Severity::Failed => Color::Red,
        })
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn reversed() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn list_pane(state: &TopState, page: &mut Page<'_>) {
    let heights = heights(page.left.height, state.rows.len());
    let start = page.left;
    head(state, page, heights.head);
    page.left = Rect { y: start.y + heights.head, height: start.height - heights.head, ..start };
    let after = page.left.height - heights.list;
    list(state, page, heights.list);
    page.skip(page.left.height.saturating_sub(after));
    changes(state, page, heights.changes);
    page.skip(page.left.height.saturating_sub(heights.keys));
    page.line(&keys(state, page));
}

fn head(state: &TopState, page: &mut Page<'_>, height: u16) {
    let notice = state.notice();
    let [wrong, runs] = match &state.status {
        Some(status) => summary::head(status),
        None if notice.is_some() => ["announcer top".into(), String::new()],
        None => ["announcer top: waiting for the first answer".into(), String::new()],
    };
    let style = match &state.status {
        Some(status) => page.severity(summary::worst(status)).patch(bold()),
        None => bold(),
    };
    // If there is one line, a daemon that does not answer matters more than what it has said last.
    if height >= 2 || notice.is_none() {
        page.line(&Line::styled(page.cut(&wrong), style));
    }
    match notice {
        Some(notice) => page.line(&Line::styled(page.cut(&notice), reversed())),
        None if height >= 2 => page.line(&Line::raw(page.cut(&runs))),
        None => {}
    }
}

fn list(state: &TopState, page: &mut Page<'_>, height: u16) {
    let widths = Widths::of(&state.rows, page.columns());
    let shown = state.rows.iter().enumerate().skip(state.offset).take(usize::from(height));
    for (index, row) in shown {
        match row {
            ListRow::Title(title) => page.line(&Line::styled(page.cut(title), bold())),
            ListRow::Note(note) => {
                let style =
                    if note.starts_with("warning") { page.severity(Severity::Warning) } else { Style::new() };
                page.line(&Line::styled(page.cut(note), style));
            }
            ListRow::Entry { row, .. } => {
                let selected = state.selected == Some(index);
                let mark = format!("{} {:MARK$}", if selected { '>' } else { ' ' }, row.severity.mark());
                let mut spans = vec![Span::styled(mark, page.severity(row.severity))];
                let cells = if row.vips.is_empty() { widths.routers } else { widths.services };
                for (cell, width) in row.cells.iter().zip(cells) {
                    spans.push(Span::raw(format!("  {}", padded(cell, width))));
                }
                if widths.bars > 0 && !row.vips.is_empty() {
                    let samples = state.samples.worst(&row.vips, widths.bars);
                    spans.push(Span::raw(" ".repeat(2 + widths.bars - samples.len())));
                    let bar = |severity: &Severity| {
                        Span::styled(bar(*severity).to_string(), page.severity(*severity))
                    };
                    spans.extend(samples.iter().map(bar));
                }
                let used = spans.iter().map(|span| columns(&span.content)).sum::<usize>() + 2;
                let room = page.columns().saturating_sub(used);
                if room > 0 {
                    spans.push(Span::raw(format!("  {}", cut(&safe(&row.text), Some(room)))));
                }
                let line = Line::from(spans);
                page.line(&if selected { line.patch_style(bold()) } else { line });
            }
        }
    }
}

/// The widths of the columns.
struct Widths {
    routers: [usize; 3],
    services: [usize; 3],
    bars: usize,
}

impl Widths {
    fn of(rows: &[ListRow], terminal: usize) -> Self {
        let mut widths = Widths { routers: [0; 3], services: [0; 3], bars: 0 };
        for row in rows {
            if let ListRow::Entry { row, .. } = row {
                let cells = if row.vips.is_empty() { &mut widths.routers } else { &mut widths.services };
                for (width, cell) in cells.iter_mut().zip(&row.cells) {
                    *width = columns(cell).max(*width);
                }
            }
        }
        // As in `status`, a name takes at most a quarter of the terminal.
        let most = (terminal / 4).max(8);
        widths.routers[0] = widths.routers[0].min(most);
        widths.services[0] = widths.services[0].min(most);
        if terminal >= SPARKLINES_FROM {
            widths.bars = (terminal / 8).min(super::samples::KEPT);
        }
        widths
    }
}

/// A text in a column of this width.
fn padded(text: &str, width: usize) -> String {
    let text = cut(&safe(text), Some(width));
    let pad = width.saturating_sub(columns(&text));
    text + &" ".repeat(pad)
}

fn changes(state: &TopState, page: &mut Page<'_>, height: u16) {
    let end = page.left.height.saturating_sub(height);
    if height > 0 {
        page.line(&Line::styled(page.cut("EVENT"), bold()));
    }
    for change in state.changes.iter().filter(|change| list::is_shown(change, &state.settings)) {
        if page.left.height <= end {
            break;
        }
        let time = change.time.split_once('T').map_or(change.time.as_str(), |(_, time)| time);
        let wire = change.wire_ms.map(|wire| format!(" ({} ms to the wire)", wire.last)).unwrap_or_default();
        page.line(&Line::raw(page.cut(&format!("  {time}  {}{wire}", change.sentence()))));
    }
}

fn keys(state: &TopState, page: &Page<'_>) -> Line<'static> {
    if state.pane == Pane::Filter {
        // The end of a long filter is what is being typed.
        let filter = safe(&state.settings.filter);
        let over = (columns(&filter) + 2).saturating_sub(page.columns());
        let shown: String = filter.chars().skip(over).collect();
        return Line::from(vec![Span::raw(format!("/{shown}")), Span::styled(" ", reversed())]);
    }
    let mut parts = Vec::new();
    if !state.settings.filter.is_empty() {
        parts.push(format!("filter `{}`", safe(&state.settings.filter)));
    }
    if state.settings.problems_only {
        parts.push("only problems".into());
    }
    let set = if parts.is_empty() { String::new() } else { format!("[{}] ", parts.join(", ")) };
    let order = state.settings.order.words();
    let keys = format!("{set}q quit  ? help  / filter  p problems  Enter explain  a all  s {order}");
    Line::styled(page.cut(&keys), if page.colour { Style::new().fg(Color::Cyan) } else { Style::new() })
}

fn text_pane(state: &TopState, page: &mut Page<'_>) {
    let (title, lines, scroll) = state.text(page.columns());
    match state.notice() {
        Some(notice) => page.line(&Line::styled(page.cut(&notice), reversed())),
        None => page.line(&Line::styled(page.cut(&title), bold())),
    }
    let height = usize::from(page.left.height.saturating_sub(1));
    let scroll = scroll.min(state.last_scroll());
    for line in lines.iter().skip(scroll).take(height) {
        page.line(&Line::raw(line.as_str()));
    }
    page.skip(page.left.height.saturating_sub(1));
    let more = lines.len() > scroll + height;
    let more = if more { "Down more  " } else { "" };
    page.line(&Line::raw(page.cut(&format!("{more}Escape back  q quit"))));
}
