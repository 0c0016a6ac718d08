//! Explains the state of a VIP in sentences: the results of its checks, the decision, and the routes that were sent to each router.
//!
//! Pure. `explain` uses the same data as `status`, so that they cannot contradict each other.

pub mod changes;
pub mod peer;
mod remedy;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::{CheckConfig, PeerConfig, ServiceConfig, SlowLimit};
use crate::delivery::Delivery;
use crate::director::{CheckReport, VipReport};
use crate::drain::Order;
use crate::model::{Asn, Attributes, Family, Overrides, PeerName, Recipients, Weight};
use crate::rib::NextHop;
use crate::vip::Presence;

/// A router, with the facts that concern a VIP.
#[derive(Debug, Clone)]
pub struct RouterExplanation {
    /// Its configured name.
    pub name: String,
    /// The attributes that it replaces.
    pub overrides: Overrides,
    /// Whether it is in our AS.
    pub internal: bool,
    /// Our AS, which is in AS_PATH unless the router is in it.
    pub asn: Asn,
    /// The next hop of the session for the VIP's family, for routes without their own; `None`: there is none.
    pub next_hop: Option<NextHop>,
    /// The state of its session.
    pub session: SessionExplanation,
}

/// The state of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionExplanation {
    /// It is not Established: with the name of the state, and the reason if it is known.
    Down(String, Option<String>),
    /// It is Established, but the routes of the VIP's family are not sent, for this reason.
    DoesNotSend(String),
    /// It is Established, and the router's kernel has acknowledged everything; when, if that is still known.
    Acknowledged(Option<Instant>),
    /// It is Established, and the last change is not acknowledged yet.
    Sending,
}

/// A VIP, with the data for its explanation.
#[derive(Debug)]
pub struct VipExplanation<'a> {
    /// The VIP.
    pub vip: &'a VipReport,
    /// Its service.
    pub service: &'a crate::config::ServiceConfig,
    /// The weight of its routes; `None`: they have none.
    pub weight: Option<Weight>,
    /// The orders that withdraw it.
    pub drains: Vec<&'a Order>,
    /// How far its route has got to all routers.
    pub delivery: Delivery<'a>,
    /// The routers to print.
    pub routers: Vec<RouterExplanation>,
}

/// The sentences, one line each. A line that belongs to the line before is indented.
pub fn explain(story: &VipExplanation<'_>, now: Instant) -> Vec<String> {
    let VipExplanation { vip, service, weight, drains, delivery, routers } = story;
    let mut lines = vec![format!(
        "{} of service {}: {} (for {})",
        vip.address,
        service.name,
        delivery.beside(&vip.standing),
        span(now, vip.since)
    )];
    lines.push(match &vip.presence {
        Presence::Present => format!("The VIP is on {}.", service.device()),
        Presence::Unknown => format!("The addresses of {} were not read yet.", service.device()),
        Presence::Missing(problem) => format!("{}.", capitalized(&problem.missing_sentence())),
        Presence::DeviceDown(problem) => format!("{}.", problem.down_sentence()),
    });
    let needed = service.require.of(service.checks.len());
    if service.checks.len() > 1 {
        lines.push(format!("{needed} of its {} checks have to pass.", service.checks.len()));
    }
    for (check, config) in vip.checks.iter().zip(&service.checks) {
        self::check(check, config, vip.address, now, &mut lines);
    }
    lines.extend(remedy::remedy(vip, service));
    if drains.is_empty() {
        lines.push("It is not drained.".into());
    }
    for Order { target, drain, .. } in drains {
        lines.push(format!("It is drained{drain}: `announcer undrain {}` ends that.", target.arguments()));
    }
    lines.extend(recipients(service));
    if service.backup {
        lines.push("Its service is a backup: it is the last choice while it is healthy.".into());
    }
    lines.extend(weight.map(|weight| weight_sentence(weight, service)));
    for router in routers {
        lines.push(format!("Router {} {}.", router.name, session_sentence(router, vip, now)));
    }
    lines
}

/// A sentence with a capital letter at its beginning.
fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Which routers get its routes, and why; `None`: all.
fn recipients(service: &ServiceConfig) -> Option<String> {
    let (names, why) = match &service.recipients {
        Recipients::All => return None,
        Recipients::Only(names) => (names, "because of `peers`".to_owned()),
        Recipients::SameVrf(names) => {
            let why = match &service.vrf {
                Some(vrf) => format!("because of `vrf`: the others are not in the VRF `{vrf}`"),
                None => "because the others are in a VRF".to_owned(),
            };
            (names, why)
        }
    };
    let names: Vec<&str> = names.iter().map(PeerName::as_str).collect();
    Some(format!("Its service is announced to {} alone, {why}.", names.join(" and ")))
}

/// The weight, and where it comes from.
fn weight_sentence(weight: Weight, service: &ServiceConfig) -> String {
    let from = match &service.weight_file {
        Some(file) => format!("`weight_file`, which is `{}`", file.display()),
        None => "`weight`".to_owned(),
    };
    format!(
        "Its service has weight {weight} by {from}: a router that follows weights compares it with those of the other frontends."
    )
}

fn check(check: &CheckReport, config: &CheckConfig, vip: IpAddr, now: Instant, lines: &mut Vec<String>) {
    let every = humantime::format_duration(config.interval);
    let slow = check.slow.as_ref().map(|seen| format!(", {}", seen.streak)).unwrap_or_default();
    let timeout = match check.on_timeout {
        same if same == check.on_failure => String::new(),
        other => format!(", a timeout would {other}"),
    };
    let late = config.slow.map(|SlowLimit { after, effect }| {
        format!(", answers slower than {} would {effect}", humantime::format_duration(after))
    });
    lines.push(format!(
        "Check `{}` asks {} every {every}: {}, {}{slow}; a failure would {}{timeout}{}.",
        check.name,
        request(config, vip),
        check.verdict,
        check.evidence.streak,
        check.on_failure,
        late.unwrap_or_default()
    ));
    for (at, outcome) in check.history.iter().rev() {
        lines.push(format!("    {} ago: {outcome}", span(now, *at)));
    }
    let (renewed, lease) = check.renewed;
    lines.push(format!(
        "    Its probe loop last reported {} ago; the verdict is valid for {} after a report.",
        span(now, renewed),
        humantime::format_duration(lease)
    ));
}

/// The request of a check, and its address.
pub fn request(config: &CheckConfig, vip: IpAddr) -> String {
    let at = config.target.as_ref().map_or_else(|| vip.to_string(), ToString::to_string);
    config.probe.request(&at)
}

fn session_sentence(router: &RouterExplanation, vip: &VipReport, now: Instant) -> String {
    match &router.session {
        SessionExplanation::Down(state, None) => format!("gets no route to it: the session is {state}"),
        SessionExplanation::Down(state, Some(why)) => {
            format!("gets no route to it: the session is {state}, {why}")
        }
        SessionExplanation::DoesNotSend(why) => format!("gets no route to it: {why}"),
        SessionExplanation::Sending if vip.standing.is_advertised() => {
            "is being sent the route, and its kernel has not acknowledged all of it yet".into()
        }
        SessionExplanation::Sending => {
            "is being sent the withdraw, and its kernel has not acknowledged it yet".into()
        }
        SessionExplanation::Acknowledged(at) => {
            let when = at.map(|at| format!(" {} ago", span(now, at))).unwrap_or_default();
            match &vip.route {
                Some(route) => {
                    let sent = sent(&router.overrides.over(route), router, vip);
                    format!("was sent {}{sent}; its kernel acknowledged the UPDATE{when}", vip.prefix)
                }
                None => format!("is not sent {}; its kernel acknowledged the withdraw{when}", vip.prefix),
            }
        }
    }
}

/// Why the configuration sends the routes of a service and a family not to a router.
pub fn not_wanted(service: &ServiceConfig, peer: &PeerConfig, family: Family) -> String {
    if service.recipients.include(&peer.name) {
        return format!("`families` of this peer does not contain {family}");
    }
    match &service.recipients {
        Recipients::All | Recipients::Only(_) => {
            format!("`peers` of service `{}` does not name it", service.name)
        }
        Recipients::SameVrf(_) => match (&peer.vrf, &service.vrf) {
            (_, None) => format!("it is in a VRF, and service `{}` is in no VRF", service.name),
            (None, Some(_)) => format!("it is in no VRF, and service `{}` is in a VRF", service.name),
            (Some(_), Some(_)) => format!("it is not in the same VRF as service `{}`", service.name),
        },
    }
}

/// The next hop, the AS path, and the attributes that differ from the defaults.
fn sent(route: &Attributes, router: &RouterExplanation, vip: &VipReport) -> String {
    let own = match Family::of(vip.address) {
        Family::V4 => route.next_hop_v4.map(NextHop::V4),
        Family::V6 => route.next_hop_v6.map(NextHop::V6),
    };
    let next_hop =
        own.or(router.next_hop).map(|next_hop| format!(" with next hop {next_hop}")).unwrap_or_default();
    let path = match router.internal {
        true => "an empty AS path".to_owned(),
        false => {
            let path = vec![router.asn.to_string(); usize::from(route.prepend) + 1];
            format!("AS path {}", path.join(" "))
        }
    };
    format!("{next_hop}, {path}{}", attributes(route, router.internal))
}

/// The attributes of a route that differ from the defaults.
fn attributes(route: &Attributes, internal: bool) -> String {
    let mut parts = Vec::new();
    parts.extend(route.med.map(|med| format!("MED {med}")));
    if internal {
        parts.push(format!("local preference {}", route.local_pref.unwrap_or(100)));
    }
    let all =
        |what: &str, list: Vec<String>| (!list.is_empty()).then(|| format!("{what} {}", list.join(" ")));
    let texts = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>();
    parts.extend(all("communities", texts(&mut route.communities.iter().map(ToString::to_string))));
    parts.extend(all(
        "extended communities",
        texts(&mut route.extended_communities.iter().map(ToString::to_string)),
    ));
    parts.extend(all(
        "large communities",
        texts(&mut route.large_communities.iter().map(ToString::to_string)),
    ));
    if parts.is_empty() { String::new() } else { format!(", {}", parts.join(", ")) }
}

/// The time between two instants, to a tenth of a second below ten.
fn span(now: Instant, then: Instant) -> String {
    let time = now.saturating_duration_since(then);
    if time < Duration::from_secs(10) {
        format!("{}.{}s", time.as_secs(), time.subsec_millis() / 100)
    } else {
        humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
    }
}

#[cfg(test)]
mod tests;
