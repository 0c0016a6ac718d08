//! The rows of the list: the routers, then the services, filtered and sorted.
//!
//! Pure. The rows have the words and the groups of `status`.

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::control::api::{Change, PeerStatus, Request, ServiceStatus, Status};
use crate::control::status::rows::{StatusRow, router_row, service_rows};
use crate::control::status::{MOST_WARNINGS, Severity, severity};

/// In which order routers and services stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowOrder {
    /// The worst first.
    #[default]
    Worst,
    /// By name.
    Name,
    /// As in the configuration.
    Configured,
}

impl RowOrder {
    /// The next order, after the last one the first.
    pub fn next(self) -> Self {
        match self {
            RowOrder::Worst => RowOrder::Name,
            RowOrder::Name => RowOrder::Configured,
            RowOrder::Configured => RowOrder::Worst,
        }
    }

    /// Its words.
    pub fn words(self) -> &'static str {
        match self {
            RowOrder::Worst => "worst first",
            RowOrder::Name => "by name",
            RowOrder::Configured => "as configured",
        }
    }
}

/// Which rows are shown, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListSettings {
    /// A part of the names and addresses to show; empty: all.
    pub filter: String,
    /// Only what has failed, warns or starts.
    pub problems_only: bool,
    /// A row for each VIP, also for those with the same reason.
    pub all: bool,
    /// The order.
    pub order: RowOrder,
}

/// What a row is about, and what Enter explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A router, by its name.
    Router(String),
    /// A VIP; of several VIPs with the same reason the first.
    Vip {
        /// Its service.
        service: String,
        /// Its address.
        vip: IpAddr,
    },
}

impl Subject {
    /// The request for its explanation.
    pub fn request(&self) -> Request {
        match self {
            Subject::Router(name) => Request::ExplainPeer { peer: name.clone() },
            Subject::Vip { vip, .. } => Request::Explain { vip: *vip, peer: None },
        }
    }

    /// Its name, for a title.
    pub fn name(&self) -> String {
        match self {
            Subject::Router(name) => format!("router {name}"),
            Subject::Vip { service, vip } => format!("{service} {vip}"),
        }
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListRow {
    /// The title of a part.
    Title(&'static str),
    /// A router, or VIPs of a service with the same reason.
    Entry {
        /// What it is about.
        subject: Subject,
        /// Its cells.
        row: StatusRow,
    },
    /// A sentence: a warning, or why there are no rows.
    Note(String),
}

impl ListRow {
    /// What can be selected in it.
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            ListRow::Entry { subject, .. } => Some(subject),
            ListRow::Title(_) | ListRow::Note(_) => None,
        }
    }
}

/// The rows of a status.
pub fn rows(status: &Status, settings: &ListSettings) -> Vec<ListRow> {
    let mut rows = vec![ListRow::Title("ROUTER")];
    rows.extend(routers(status, settings));
    rows.push(ListRow::Title("SERVICE"));
    rows.extend(services(status, settings));
    if rows.iter().all(|row| row.subject().is_none()) {
        return vec![ListRow::Note(nothing(settings))];
    }
    if settings.filter.is_empty() {
        let shown = status.warnings.iter().take(MOST_WARNINGS);
        rows.extend(shown.map(|warning| ListRow::Note(format!("warning: {warning}"))));
        let more = status.warnings.len().saturating_sub(MOST_WARNINGS);
        if more > 0 {
            let warnings = if more == 1 { "warning" } else { "warnings" };
            rows.push(ListRow::Note(format!("and {more} more {warnings}: `announcer status --all`")));
        }
    }
    rows
}

/// Whether a change is about something that the filter shows.
pub fn is_shown(change: &Change, settings: &ListSettings) -> bool {
    contains(&change.name(), &settings.filter)
}

fn nothing(settings: &ListSettings) -> String {
    match (settings.filter.is_empty(), settings.problems_only) {
        (true, true) => "there are no problems; `p` shows all".into(),
        (true, false) => "there is no router and no service".into(),
        (false, true) => format!("no problem has `{}` in its name; Escape shows all", settings.filter),
        (false, false) => format!("no name has `{}` in it; Escape shows all", settings.filter),
    }
}

/// Whether the name contains the filter; capital letters do not matter.
fn contains(name: &str, filter: &str) -> bool {
    name.to_lowercase().contains(&filter.to_lowercase())
}

fn is_problem(severity: Severity) -> bool {
    severity > Severity::Ordered
}

fn routers(status: &Status, settings: &ListSettings) -> Vec<ListRow> {
    let wanted = |peer: &&PeerStatus| {
        (contains(&peer.name, &settings.filter) || contains(&peer.address, &settings.filter))
            && (!settings.problems_only || is_problem(severity::router(peer)))
    };
    let mut found: Vec<&PeerStatus> = status.peers.iter().filter(wanted).collect();
    match settings.order {
        RowOrder::Worst => found.sort_by_key(|peer| Reverse(severity::router(peer))),
        RowOrder::Name => found.sort_by(|a, b| a.name.cmp(&b.name)),
        RowOrder::Configured => {}
    }
    let row = |peer: &PeerStatus| ListRow::Entry {
        subject: Subject::Router(peer.name.clone()),
        row: router_row(peer),
    };
    found.into_iter().map(row).collect()
}

fn services(status: &Status, settings: &ListSettings) -> Vec<ListRow> {
    let mut found: Vec<ServiceStatus> = status.services.to_vec();
    for service in found.iter_mut().filter(|service| !contains(&service.name, &settings.filter)) {
        service.vips.retain(|vip| contains(&vip.address.to_string(), &settings.filter));
    }
    match settings.order {
        RowOrder::Worst => found.sort_by_key(|service| Reverse(severity::service(service))),
        RowOrder::Name => found.sort_by(|a, b| a.name.cmp(&b.name)),
        RowOrder::Configured => {}
    }
    let entries = |service: &ServiceStatus| {
        let rows = service_rows(service, settings.all);
        let rows = rows.into_iter().filter(|row| !settings.problems_only || is_problem(row.severity));
        let entry = |row: StatusRow| {
            let subject = Subject::Vip { service: service.name.clone(), vip: *row.vips.first()? };
            Some(ListRow::Entry { subject, row })
        };
        rows.filter_map(entry).collect::<Vec<_>>()
    };
    found.iter().flat_map(entries).collect()
}

/// The row that shows what was selected: the row with it, else the first of its service.
pub fn find(rows: &[ListRow], selected: &Subject) -> Option<usize> {
    let is_it = |row: &ListRow| match (row, selected) {
        (ListRow::Entry { row, .. }, Subject::Vip { vip, .. }) => row.vips.contains(vip),
        (ListRow::Entry { subject, .. }, Subject::Router(_)) => subject == selected,
        (ListRow::Title(_) | ListRow::Note(_), _) => false,
    };
    let is_near = |row: &ListRow| match (row.subject(), selected) {
        (Some(Subject::Vip { service, .. }), Subject::Vip { service: wanted, .. }) => service == wanted,
        (_, _) => false,
    };
    rows.iter().position(is_it).or_else(|| rows.iter().position(is_near))
}
