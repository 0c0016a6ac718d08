//! The known state, and how it is drawn.
//!
//! Pure. A line is a list of words with a style each. The code that draws it knows the colours and the size of the terminal.

use std::collections::VecDeque;
use std::time::SystemTime;

use lab::load::{BUCKET, Bucket, Counts};
use scene::wire::between;
use scene::{FRONTENDS, Figures, ROUTERS, server};

use crate::flows::FLOWS;
use crate::script::{FrontendState, RATE, Row, STEPS, ScriptEvent, VIP};

/// The smallest width of a terminal for a picture, in columns.
pub(crate) const WIDTH: usize = 80;
/// The smallest height, in lines.
pub(crate) const HEIGHT: usize = 24;
/// The number of buckets for the rates, each of [`BUCKET`]: half a second.
const WINDOW: usize = 5;

/// The style of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As they are.
    Plain,
    /// A heading.
    Bold,
    /// Less important.
    Dim,
    /// Broken: a dead server, a removed route.
    Red,
    /// Serving.
    Green,
    /// Not serving, but not broken: drained, stopped or coming back. Also lost requests.
    Yellow,
    /// An action of the script.
    Cyan,
}

/// Words, each with its style.
#[derive(Debug, Clone)]
pub(crate) struct Line(pub(crate) Vec<(Style, String)>);

impl Line {
    fn of(style: Style, text: impl Into<String>) -> Line {
        Line(vec![(style, text.into())])
    }

    fn empty() -> Line {
        Line(Vec::new())
    }

    fn and(mut self, style: Style, text: impl Into<String>) -> Line {
        self.0.push((style, text.into()));
        self
    }
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The script has done something to the lab.
    Cause,
    /// A router has received a withdraw or a NOTIFICATION, or its FIB has lost a next hop.
    Gone,
    /// A router has received an announcement, or its FIB has got a next hop.
    Back,
}

struct Event {
    at: SystemTime,
    line: Line,
}

/// Everything that is known about the lab and the requests.
pub(crate) struct View {
    /// The zero of the clock.
    start: SystemTime,
    stage: LabStage,
    /// In the order of `FRONTENDS`.
    frontend_states: [FrontendState; 3],
    /// Whether a router's FIB leads to a frontend: by frontend, then by router.
    in_fib: [[bool; 2]; 3],
    /// The last buckets, for the rates.
    recent: VecDeque<Bucket>,
    /// The requests that were lost since the start.
    lost: u64,
    /// How many long-lived connections have broken; `None`: they were not opened yet.
    broken: Option<usize>,
    /// When the action of the last step began.
    cause: Option<SystemTime>,
    /// How many steps have begun.
    begun: usize,
    /// The results of the steps that are over.
    rows: Vec<Row>,
    /// Events that are not in `lines` yet, because they are not sorted.
    fresh: Vec<Event>,
    /// Every line since the start: the welcome, the topology, the events, and what each step has lost.
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabStage {
    Starting,
    Up,
    Serving,
}

impl View {
    /// A view without events.
    pub(crate) fn new(start: SystemTime) -> View {
        let welcome = Line::of(Style::Dim, "Two FRR routers, three frontends and a client come up …");
        View {
            start,
            stage: LabStage::Starting,
            frontend_states: [FrontendState::Serves; 3],
            in_fib: [[true; 2]; 3],
            recent: VecDeque::new(),
            lost: 0,
            broken: None,
            cause: None,
            begun: 0,
            rows: Vec::new(),
            fresh: Vec::new(),
            lines: vec![welcome],
        }
    }

    /// Whether there is a lab that has to be ended.
    pub(crate) fn lab_is_up(&self) -> bool {
        self.stage != LabStage::Starting
    }

    /// Whether every frontend serves, and requests are sent.
    pub(crate) fn is_serving(&self) -> bool {
        self.stage == LabStage::Serving
    }

    /// Whether some requests have been counted.
    pub(crate) fn has_rates(&self) -> bool {
        !self.recent.is_empty()
    }

    /// Whether all steps are done.
    pub(crate) fn is_over(&self) -> bool {
        self.rows.len() == STEPS.len()
    }

    /// Processes a message of the script.
    pub(crate) fn handle(&mut self, event: ScriptEvent) {
        match event {
            ScriptEvent::LabUp => self.stage = LabStage::Up,
            ScriptEvent::Serving(logs) => {
                self.stage = LabStage::Serving;
                self.start = logs.at;
                self.lines.extend(topology());
            }
            ScriptEvent::Begin { step: index, at } => {
                let Some(step) = STEPS.get(index) else { return };
                self.cause = Some(at);
                self.begun = index + 1;
                if let Some(place) = FRONTENDS.iter().position(|frontend| *frontend == step.frontend) {
                    self.frontend_states[place] = step.then;
                }
                self.event(at, EventKind::Cause, format!("{}: {}", step.frontend, step.what));
                self.settle();
            }
            ScriptEvent::Over(row) => {
                if let (1.., Some(step)) = (row.requests.lost(), STEPS.get(self.rows.len())) {
                    let Counts { status, refused, reset, timed_out, other, ok: _ } = &row.requests;
                    let all = [
                        (*refused, "refused"),
                        (*reset, "reset"),
                        (*timed_out, "timed out"),
                        (status.values().sum(), "answered with an error"),
                        (*other, "without a route"),
                    ];
                    let some = all.into_iter().filter(|(count, _)| *count > 0);
                    let some: Vec<String> = some.map(|(count, how)| format!("{count} {how}")).collect();
                    let text = format!("{:24}{}: lost {}", "", step.frontend, some.join(", "));
                    self.lines.push(Line::of(Style::Yellow, text));
                }
                self.rows.push(row);
            }
            ScriptEvent::FlowsOpen(_) => self.flows_broken(0),
            ScriptEvent::FlowsEnded(broken) => {
                self.flows_broken(broken);
                let style = if broken == 0 { Style::Green } else { Style::Red };
                let text = format!("{:24}{FLOWS} long-lived connections: {broken} broke", "");
                self.lines.push(Line::of(style, text));
            }
        }
    }

    /// Sets how many long-lived connections have broken so far.
    pub(crate) fn flows_broken(&mut self, broken: usize) {
        self.broken = Some(broken);
    }

    /// Adds an event; it is shown at the next [`View::settle`].
    pub(crate) fn event(&mut self, at: SystemTime, kind: EventKind, text: String) {
        let style = match kind {
            EventKind::Cause => Style::Cyan,
            EventKind::Gone => Style::Red,
            EventKind::Back => Style::Green,
        };
        let since = match (kind, self.cause) {
            (EventKind::Gone | EventKind::Back, Some(cause)) => {
                format!("+{:.1} ms", between(cause, at).as_secs_f64() * 1e3)
            }
            (EventKind::Cause, _) | (_, None) => String::new(),
        };
        let line = Line::of(Style::Dim, format!(" {:>8}  ", self.clock(at)))
            .and(Style::Plain, format!("{since:>11}  "))
            .and(style, text);
        self.fresh.push(Event { at, line });
    }

    /// Records that the FIB of the router with this index now leads to the frontends with the names `hops`, and to no others. Adds
    /// an event if that is a change.
    pub(crate) fn fib(&mut self, router: usize, at: SystemTime, hops: &[&str]) {
        let mut kind = None;
        for (place, frontend) in FRONTENDS.iter().enumerate() {
            let there = hops.contains(frontend);
            if self.in_fib[place][router] != there {
                kind = Some(if there { EventKind::Back } else { EventKind::Gone });
                self.in_fib[place][router] = there;
            }
        }
        if let Some(kind) = kind {
            let hops = if hops.is_empty() { "nobody".to_owned() } else { hops.join(", ") };
            self.event(at, kind, format!("{}'s FIB leads to {hops}", ROUTERS[router]));
        }
    }

    /// Adds the results of a tenth of a second of requests.
    pub(crate) fn requests(&mut self, bucket: &Bucket) {
        self.lost += bucket.counts.lost();
        self.recent.push_back(bucket.clone());
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
    }

    /// Sorts the new events by time, and adds them to the lines. Events of several logs do not arrive in order.
    pub(crate) fn settle(&mut self) {
        self.fresh.sort_by_key(|event| event.at);
        self.lines.extend(self.fresh.drain(..).map(|event| event.line));
    }

    /// The lines after the first `shown`. Sets `shown` to the number of all lines.
    pub(crate) fn lines_since(&self, shown: &mut usize) -> Vec<Line> {
        let lines = self.lines.iter().skip(*shown).cloned().collect();
        *shown = self.lines.len();
        lines
    }

    /// One line with the rate of each frontend, for outputs without a picture.
    pub(crate) fn rates(&self, now: SystemTime) -> Line {
        let rates = FRONTENDS.iter().map(|frontend| format!("{frontend} {:>4}/s   ", self.rate(frontend)));
        let text =
            format!(" {:>8}               {}lost {}", self.clock(now), rates.collect::<String>(), self.lost);
        Line::of(Style::Dim, text)
    }

    /// The picture: the topology, the table, and as many of the newest events as `height` has room for. `width` is at least
    /// [`WIDTH`].
    pub(crate) fn frame(&self, now: SystemTime, width: usize, height: usize) -> Vec<Line> {
        let mut lines =
            vec![title().and(Style::Dim, format!("{:>1$} s", self.clock(now), width.min(100) - 66))];
        lines.push(Line::empty());
        lines.extend(self.drawing(width.min(100)));
        lines.push(Line::empty());
        lines.extend(self.table());
        lines.push(Line::empty());
        let room = height.saturating_sub(lines.len());
        let events = self.lines.iter().skip(1 + topology().len()); // without the welcome and the topology
        lines.extend(events.clone().skip(events.len().saturating_sub(room)).cloned());
        lines
    }

    /// The lines that stay at the end: the figures, and before them all events if they were only `drawn` on the alternate screen.
    /// `whole`: every step has succeeded, so the figures are explained.
    pub(crate) fn last_words(&self, drawn: bool, whole: bool) -> Vec<Line> {
        let mut lines = if drawn { self.lines[1..].to_vec() } else { Vec::new() };
        lines.push(Line::empty());
        lines.extend(self.table());
        lines.push(Line::empty());
        if whole {
            let note = [
                "Times are from the fault or the command until the slower router had the UPDATE at its",
                "end of the link (tcpdump), and the change in its kernel (rtnetlink). announcer notices a",
                "crash when no socket listens: it asks the kernel every few milliseconds. A return needs",
                "2 probes that pass, 100 ms apart here.",
                "Lost: connections that the killed server had accepted. The frontends pass packets of",
                "connections that they do not know on to each other ([chain]): the others go on when the",
                "routes change, and so do long-lived ones while a frontend is drained and returns.",
            ];
            lines.extend(note.map(|text| Line::of(Style::Dim, format!(" {text}"))));
            lines.push(Line::of(Style::Green, " Every step had the expected result; the lab was removed."));
        }
        lines
    }

    /// The topology, with each frontend's routes and rate.
    fn drawing(&self, width: usize) -> Vec<Line> {
        let bar = width.saturating_sub(62);
        let head = format!("{:34}r1 r2{:>w$}", "", "requests/s", w = bar + 8);
        let mut lines = vec![Line::of(Style::Dim, head)];
        for (place, frontend) in FRONTENDS.into_iter().enumerate() {
            let state = self.frontend_states[place];
            let dot = |there: bool| match there {
                true => (Style::Green, "●  ".to_owned()),
                false => (Style::Red, "○  ".to_owned()),
            };
            let routes = self.in_fib[place];
            let (style, standing) = standing(state, routes.contains(&true), frontend);
            let rate = self.rate(frontend);
            let mut line = Line::of(Style::Dim, TRUNK[place]).and(Style::Bold, format!("{frontend} "));
            line = line.and(Style::Plain, format!("{:<9} ", server(frontend)));
            line.0.extend(routes.map(dot));
            line = line.and(style, format!(" {:<bar$} ", blocks(rate, bar)));
            lines.push(line.and(Style::Plain, format!("{rate:>5}  ")).and(style, standing));
        }
        let lost = if self.lost == 0 { Style::Dim } else { Style::Plain };
        let text = format!("{RATE} new connections a second to {VIP}; {} lost so far", self.lost);
        lines.push(Line::of(lost, format!(" {text}")));
        lines.push(match self.broken {
            None => Line::of(Style::Dim, " long-lived connections will be opened before fe2 is drained"),
            Some(0) => Line::of(Style::Dim, format!(" {FLOWS} long-lived connections; 0 broke")),
            Some(broken) => Line::of(Style::Red, format!(" {FLOWS} long-lived connections; {broken} broke")),
        });
        lines
    }

    /// The results of each step, one line each.
    fn table(&self) -> Vec<Line> {
        let head = format!(" {:<37}{:>13}{:>13}{:>15}", "step", "to the wire", "to the FIB", "requests lost");
        let mut lines = vec![Line::of(Style::Bold, head)];
        for (index, step) in STEPS.iter().enumerate() {
            let what = format!(" {} {:<33}", step.frontend, step.what);
            lines.push(match self.rows.get(index) {
                Some(Row { figures: Figures { wire, fib }, requests }) => {
                    let ms = |time: &std::time::Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
                    let lost = format!("{} of {}", requests.lost(), requests.lost() + requests.answered());
                    Line::of(Style::Plain, format!("{what}{:>13}{:>13}{lost:>15}", ms(wire), ms(fib)))
                }
                None if index < self.begun => Line::of(Style::Cyan, format!("{what}{:>13}", "…")),
                None => Line::of(Style::Dim, what),
            });
        }
        lines
    }

    /// The requests per second that a frontend has answered with success, in the last half second.
    fn rate(&self, frontend: &str) -> u64 {
        let window = self.recent.iter().filter_map(|bucket| bucket.counts.ok.get(frontend)).sum::<u64>();
        let millis = BUCKET.as_millis() as u64 * self.recent.len().max(1) as u64;
        window * 1000 / millis
    }

    /// The seconds from the start to this time.
    fn clock(&self, at: SystemTime) -> String {
        format!("{:.3}", between(self.start, at).as_secs_f64())
    }
}

/// The left part of the drawing of the topology, one line for each frontend.
const TRUNK: [&str; 3] = ["          ┌─ r1 ─┬─ ", " client ──┤      ├─ ", "          └─ r2 ─┴─ "];

/// The topology, which is printed once above the events.
fn topology() -> Vec<Line> {
    let mut lines = vec![Line::empty(), title()];
    lines.extend(FRONTENDS.into_iter().zip(TRUNK).map(|(frontend, trunk)| {
        let line = Line::of(Style::Dim, trunk).and(Style::Bold, frontend);
        line.and(Style::Plain, format!(" announcer, {:<8} {VIP} on lo", server(frontend)))
    }));
    lines.push(Line::empty());
    lines
}

fn title() -> Line {
    Line::of(Style::Bold, " announcer")
        .and(Style::Plain, ": one VIP on three frontends, live on two FRR routers")
}

/// The state of a frontend as a word, and its colour.
fn standing(state: FrontendState, routed: bool, frontend: &str) -> (Style, String) {
    match (state, routed) {
        (FrontendState::Serves, true) => (Style::Green, "announced".to_owned()),
        (FrontendState::Serves, false) => (Style::Yellow, "coming back".to_owned()),
        (FrontendState::Crashed, _) => (Style::Red, format!("{} killed", server(frontend))),
        (FrontendState::Drained, _) => (Style::Yellow, "drained".to_owned()),
        (FrontendState::Stopped, _) => (Style::Yellow, "daemon stopped".to_owned()),
    }
}

/// A bar of at most `width` columns. A little more than half of all requests fills it: when one of three frontends is away, each of
/// the others gets half.
fn blocks(rate: u64, width: usize) -> String {
    let eighths = (rate as usize * width * 8 / (RATE as usize * 55 / 100)).min(width * 8);
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    "█".repeat(eighths / 8) + part[eighths % 8]
}
