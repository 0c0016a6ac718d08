//! The lines of `status`, which are those of `top` too: one for each router, and one for all VIPs of a service that have the same reason.
//!
//! Pure.

use std::net::IpAddr;

use super::layout::{Line, age};
use super::severity::{self, Severity, is_advertised, is_unsent};
use crate::control::api::{ListenerWatchStatus, PeerStatus, ServiceStatus, VipStatus};

/// How many VIPs that only probes check are listed.
const MOST_DISARMED: usize = 3;

/// A line of a router or of a service, before it is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// The mark.
    pub severity: Severity,
    /// Of a router: name, address, state. Of a service: name, how many VIPs of how many are announced, since when.
    pub cells: [String; 3],
    /// The reason.
    pub text: String,
    /// The VIPs that it is about; none for a router.
    pub vips: Vec<IpAddr>,
}

/// The lines of routers, the worst first.
pub(super) fn routers<'a>(peers: impl Iterator<Item = &'a PeerStatus>, all: bool) -> Vec<Line> {
    let mut peers: Vec<&PeerStatus> = peers.collect();
    peers.sort_by_key(|peer| std::cmp::Reverse(severity::router(peer)));
    peers.into_iter().flat_map(|peer| router(peer, all)).collect()
}

/// The line of a router.
pub fn router_row(peer: &PeerStatus) -> StatusRow {
    let (state, text) = if peer.session.is_some() {
        let text = peer.not_sent.first().map_or_else(|| peer.prefixes(), |why| why.text.clone());
        let text = match &peer.bfd {
            Some(bfd) => format!("{text}; BFD {}", bfd.state.to_lowercase()),
            None => text,
        };
        (format!("up {}", age(peer.lasts)), text)
    } else {
        let up = match &peer.last_up {
            Some(time) => format!("last up {time}"),
            None => "never up".to_owned(),
        };
        let why = peer.reason.as_ref().map_or(&peer.state, |reason| &reason.text);
        (format!("down {}", age(peer.down.unwrap_or(peer.lasts))), format!("{why}; {up}"))
    };
    let cells = [peer.name.clone(), peer.address.clone(), state];
    StatusRow {
        severity: severity::router(peer),
        cells,
        text: in_vrf(text, peer.vrf.as_deref()),
        vips: Vec::new(),
    }
}

/// With the VRF at the end, if there is one.
fn in_vrf(text: String, vrf: Option<&str>) -> String {
    match vrf {
        Some(vrf) => format!("{text}; VRF {vrf}"),
        None => text,
    }
}

fn router(peer: &PeerStatus, all: bool) -> Vec<Line> {
    let StatusRow { severity, cells, text, .. } = router_row(peer);
    let mut lines = vec![Line::router(severity, cells, text)];
    lines.extend(peer.hint.iter().map(|hint| Line::plain(format!("         hint: {hint}"))));
    if all {
        lines.extend(peer.not_sent.iter().skip(1).map(|why| Line::plain(format!("         {}", why.text))));
    }
    lines
}

/// The VIPs of a service with the same reason.
struct Group<'a> {
    severity: Severity,
    text: String,
    vips: Vec<&'a VipStatus>,
}

/// The lines of a service, the worst first; with `all` a line for each VIP.
pub(super) fn service(service: &ServiceStatus, all: bool) -> Vec<Line> {
    let line = |row: StatusRow| Line::service(row.severity, row.cells, row.text);
    service_rows(service, all).into_iter().map(line).collect()
}

/// The same, before they are laid out. Only the first has the name and the count.
pub fn service_rows(service: &ServiceStatus, all: bool) -> Vec<StatusRow> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for vip in &service.vips {
        let (severity, text) = (severity::vip(vip), reason(vip));
        match groups.iter_mut().find(|group| !all && (group.severity, &group.text) == (severity, &text)) {
            Some(group) => group.vips.push(vip),
            None => groups.push(Group { severity, text, vips: vec![vip] }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.severity));
    let total = service.vips.len();
    let advertised = service.vips.iter().filter(|vip| is_advertised(vip)).count();
    // If a service has trouble, its healthy VIPs are in the count alone.
    let troubled = groups.iter().any(|group| group.severity != Severity::Fine);
    groups.retain(|group| all || !troubled || group.severity != Severity::Fine);
    let row = |(index, group): (usize, Group<'_>)| {
        let (name, count) = match index {
            0 => (service.name.clone(), format!("{advertised}/{total}")),
            _ => (String::new(), String::new()),
        };
        let since = group.vips.iter().map(|vip| vip.lasts).fold(0.0, f64::max);
        StatusRow {
            severity: group.severity,
            cells: [name, count, age(since)],
            text: in_vrf(with_vips(&group, total, all), service.vrf.as_deref()),
            vips: group.vips.iter().map(|vip| vip.address).collect(),
        }
    };
    groups.into_iter().enumerate().map(row).collect()
}

/// The reason of a group, and before it which VIPs it is about, unless it is about all.
fn with_vips(group: &Group<'_>, total: usize, all: bool) -> String {
    let first = group.vips.first().map(|vip| vip.address.to_string()).unwrap_or_default();
    match group.vips.len() {
        1 if total > 1 || all => format!("{first}: {}", group.text),
        count if count < total => format!("{first} and {} more: {}", count - 1, group.text),
        _ => group.text.clone(),
    }
}

/// The reason of a VIP without its numbers, so that VIPs with the same trouble have the same text.
fn reason(vip: &VipStatus) -> String {
    let sent = &vip.routers;
    match vip.standing.as_str() {
        _ if is_unsent(vip) => "ready, but sent to no router".to_owned(),
        "announced" if sent.acknowledged < sent.wanted => {
            format!("sent to {} of {} routers", sent.acknowledged, sent.wanted)
        }
        "announced" => "announced".to_owned(),
        "last_choice" => format!("last choice, {}", vip.brief),
        _ => vip.brief.clone(),
    }
}

/// One line for all healthy services.
pub(super) fn healthy(services: &[&ServiceStatus]) -> Line {
    let vips = || services.iter().flat_map(|service| service.vips.iter());
    let sent = vips().map(|vip| (vip.routers.acknowledged, vip.routers.wanted));
    // The VIP that the fewest routers acknowledged speaks for all.
    let worst = sent.min_by_key(|(acknowledged, wanted)| (*acknowledged as i64 - *wanted as i64, *wanted));
    let text = match worst {
        Some((acknowledged, wanted)) if acknowledged < wanted => {
            format!("announced, sent to {acknowledged} of {wanted} routers")
        }
        Some(_) | None => "announced".to_owned(),
    };
    let count = vips().count();
    let cells = [format!("{} services", services.len()), format!("{count}/{count}"), String::new()];
    Line::service(Severity::Fine, cells, text)
}

/// The listener watch in one line, and below it some of the VIPs that only probes check.
pub(super) fn listeners(watch: &ListenerWatchStatus) -> Vec<Line> {
    if let Some(why) = &watch.blind {
        return vec![Line::warning(&format!("listeners cannot be read, only probes notice a crash: {why}"))];
    }
    let what = if watch.targets == 1 { "listener" } else { "listeners" };
    let head = format!("{} {what} watched every {} ms, by {}", watch.targets, watch.period_ms, watch.by);
    let mut lines = vec![Line::plain(head)];
    let disarmed = watch.disarmed.iter().take(MOST_DISARMED);
    lines.extend(disarmed.map(|why| Line::plain(format!("  watched only by probes: {why}"))));
    let more = watch.disarmed.len().saturating_sub(MOST_DISARMED);
    if more > 0 {
        lines.push(Line::plain(format!("  and {more} more")));
    }
    lines
}
