//! What `status` prints, and `top` shows: a head line that says what is wrong, then the routers, then the services, the worst first.
//!
//! Pure. [`severity`] ranks, `rows` groups the VIPs of a service that have the same reason, `layout` cuts lines to the width of the
//! terminal and colours the marks, [`summary`] is the line and the exit code of `--check`.
//!
//! ```text
//! fe1: 4 of 32 VIPs not announced, 1 of 3 routers down, 1 VIP last choice, 3 VIPs drained
//! version 0.1.0, up 3d, AS 65001, router id 10.0.0.11
//! ROUTER
//!   FAIL   r2          10.0.2.1    down 3m  last up 2026-01-31T12:00:00Z: hold timer expired
//!   ok     r1          10.0.1.1    up 3d    32 prefixes acknowledged
//! SERVICE
//!   FAIL   api-public  0/4  3m   HTTP 503
//!   warn   mail        2/2  10s  192.0.2.7: last choice, it came back too often
//!   drain  shop        0/3  2h   drained by ann: new kernel
//!   ok     9 services  25/25     announced, sent to 2 of 3 routers
//! ```

mod layout;
pub mod rows;
pub mod severity;
pub mod summary;

pub use layout::{StatusLayout, age, columns, cut};
pub use severity::Severity;

use super::api::Status;
use super::names;
use layout::Line;

/// If more services are healthy, they are printed as one line.
const MOST_HEALTHY: usize = 8;
/// If the text has more lines, the healthy services are printed as one line too: it should fit into a small terminal.
const MOST_LINES: usize = 24;
/// How many warnings are printed without `--all`.
pub const MOST_WARNINGS: usize = 3;

/// Which part of the status is printed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Nothing is folded: each VIP has a line, and each warning.
    pub all: bool,
    /// Only this service, VIP or router.
    pub only: Option<String>,
    /// How lines are printed.
    pub layout: StatusLayout,
}

/// The text of `status`, without a line feed at its end.
///
/// # Errors
/// A sentence with the nearest names, if [`View::only`] is no service, VIP or router.
pub fn text(status: &Status, view: &View) -> Result<String, String> {
    let mut lines = Vec::new();
    match &view.only {
        None => {
            lines = whole(status, view.all, if view.all { usize::MAX } else { MOST_HEALTHY });
            if lines.len() > MOST_LINES && !view.all {
                lines = whole(status, false, 0);
            }
        }
        Some(name) => selected(status, name, &mut lines)?,
    }
    Ok(view.layout.text(&lines))
}

/// The lines of everything. If more than `most_healthy` services are healthy, they are one line.
fn whole(status: &Status, all: bool, most_healthy: usize) -> Vec<Line> {
    let [wrong, runs] = summary::head(status);
    let mut lines = vec![Line::head(wrong, summary::worst(status)), Line::plain(runs)];
    if all && !status.start.crash.is_empty() {
        lines.push(Line::plain(status.start.crash.clone()));
    }
    if let Some(chain) = status.chain.as_ref().filter(|chain| all || !chain.ok) {
        lines.push(Line::plain(format!("chain: {}", chain.text)));
    }
    routers(status, all, |_| true, &mut lines);
    services(status, all, most_healthy, &mut lines);
    warnings(status, all, &mut lines);
    lines
}

fn routers(status: &Status, all: bool, wanted: impl Fn(&str) -> bool, lines: &mut Vec<Line>) {
    let peers = || status.peers.iter().filter(|peer| wanted(&peer.name));
    if peers().next().is_none() {
        return;
    }
    lines.push(Line::title("ROUTER"));
    lines.extend(rows::routers(peers(), all));
}

fn services(status: &Status, all: bool, most_healthy: usize, lines: &mut Vec<Line>) {
    if status.services.is_empty() {
        return;
    }
    lines.push(Line::title("SERVICE"));
    let mut found: Vec<(Severity, Vec<Line>)> = Vec::new();
    let mut healthy = Vec::new();
    for service in &status.services {
        match severity::service(service) {
            Severity::Fine => healthy.push(service),
            worse @ (Severity::Ordered | Severity::Starting | Severity::Warning | Severity::Failed) => {
                found.push((worse, rows::service(service, all)))
            }
        }
    }
    found.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity)); // stable: the configuration's order stays within a severity
    lines.extend(found.into_iter().flat_map(|(_, lines)| lines));
    if healthy.len() > most_healthy {
        lines.push(rows::healthy(&healthy));
    } else {
        lines.extend(healthy.into_iter().flat_map(|service| rows::service(service, all)));
    }
}

fn warnings(status: &Status, all: bool, lines: &mut Vec<Line>) {
    let shown = if all { usize::MAX } else { MOST_WARNINGS };
    lines.extend(status.warnings.iter().take(shown).map(|warning| Line::warning(warning)));
    let more = status.warnings.len().saturating_sub(shown);
    if more > 0 {
        let warnings = if more == 1 { "warning" } else { "warnings" };
        lines.push(Line::plain(format!("  and {more} more {warnings}: `announcer status --all`")));
    }
    if all {
        lines.extend(status.listener_watch.iter().flat_map(rows::listeners));
    }
}

/// The lines of one service, VIP or router.
fn selected(status: &Status, name: &str, lines: &mut Vec<Line>) -> Result<(), String> {
    if status.peers.iter().any(|peer| peer.name == name) {
        routers(status, true, |peer| peer == name, lines);
        return Ok(());
    }
    let vip = name.parse().ok();
    let found: Vec<_> = status
        .services
        .iter()
        .filter(|service| service.name == name || service.vips.iter().any(|one| Some(one.address) == vip))
        .collect();
    if found.is_empty() {
        let vips: Vec<String> = status
            .services
            .iter()
            .flat_map(|service| service.vips.iter().map(|vip| vip.address.to_string()))
            .collect();
        let known = status
            .services
            .iter()
            .map(|service| service.name.as_str())
            .chain(status.peers.iter().map(|peer| peer.name.as_str()))
            .chain(vips.iter().map(String::as_str));
        return Err(names::unknown("service, VIP or router", name, known));
    }
    lines.push(Line::title("SERVICE"));
    for service in found {
        let mut shown = service.clone();
        if let Some(vip) = vip {
            shown.vips.retain(|one| one.address == vip);
        }
        lines.extend(rows::service(&shown, true));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
