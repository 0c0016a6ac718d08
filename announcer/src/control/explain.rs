//! A VIP's whole story in sentences: what was seen, what follows from it, and what was sent to each router.
//!
//! Pure. `explain` reads what `status` reads, so that they cannot disagree.

pub mod peer;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::CheckConfig;
use crate::director::{CheckReport, VipReport};
use crate::drain::Drain;
use crate::model::{Attributes, Overrides};
use crate::vip::Presence;

/// What one router has to do with a VIP.
#[derive(Debug, Clone)]
pub struct RouterExplanation {
    /// Its configured name.
    pub name: String,
    /// What it replaces.
    pub overrides: Overrides,
    /// Whether it is in our AS.
    pub internal: bool,
    /// How its session stands.
    pub session: SessionExplanation,
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionExplanation {
    /// It is not Established: the state's name, and why if that is known.
    Down(String, Option<String>),
    /// It is, and the routes of the VIP's family are not sent on it, for this reason.
    DoesNotSend(String),
    /// It is, and the router's kernel has acknowledged all that is decided.
    Acknowledged,
    /// It is, and the last change is still on its way.
    Sending,
}

/// A VIP with its surroundings.
#[derive(Debug)]
pub struct VipExplanation<'a> {
    /// The VIP.
    pub vip: &'a VipReport,
    /// Its service.
    pub service: &'a crate::config::ServiceConfig,
    /// The drain that holds it back, if one does.
    pub drain: Option<&'a Drain>,
    /// The routers that are of interest.
    pub routers: Vec<RouterExplanation>,
}

/// The sentences, a line each; what belongs to the line before is indented.
pub fn explain(story: &VipExplanation<'_>, now: Instant) -> Vec<String> {
    let VipExplanation { vip, service, drain, routers } = story;
    let mut lines = vec![format!(
        "{} of service {}: {} (for {})",
        vip.address,
        service.name,
        vip.standing,
        span(now, vip.since)
    )];
    lines.push(match &vip.presence {
        Presence::Present => "The VIP is on lo.".into(),
        Presence::Unknown => "Nobody has looked at lo yet.".into(),
        Presence::Missing(why) => format!("The VIP is not on lo: {why}."),
        Presence::LoDown(why) => format!("lo is down, and could not be set up: {why}."),
    });
    let needed = service.require.of(service.checks.len());
    if service.checks.len() > 1 {
        lines.push(format!("{needed} of its {} checks have to pass.", service.checks.len()));
    }
    for (check, config) in vip.checks.iter().zip(&service.checks) {
        self::check(check, config, vip.address, now, &mut lines);
    }
    lines.push(match drain {
        Some(drain) => format!("It is drained{drain}: `announcer undrain` ends that."),
        None => "No drain holds it back.".into(),
    });
    if service.backup {
        lines.push("Its service is a backup: it is the last choice while all is well.".into());
    }
    for router in routers {
        lines.push(format!("Router {} {}.", router.name, session_sentence(router, vip)));
    }
    lines
}

fn check(check: &CheckReport, config: &CheckConfig, vip: IpAddr, now: Instant, lines: &mut Vec<String>) {
    let every = humantime::format_duration(config.interval);
    lines.push(format!(
        "Check `{}` asks {} every {every}: {}, {}; a failure would {}.",
        check.name,
        request(config, vip),
        check.verdict,
        check.evidence.streak,
        check.on_failure
    ));
    for (at, outcome) in check.history.iter().rev() {
        lines.push(format!("    {} ago: {outcome}", span(now, *at)));
    }
    let (renewed, lease) = check.renewed;
    lines.push(format!(
        "    Its probe loop was heard of {} ago; the verdict holds for {} from there.",
        span(now, renewed),
        humantime::format_duration(lease)
    ));
}

/// What a check asks, and where.
pub fn request(config: &CheckConfig, vip: IpAddr) -> String {
    let at = config.target.as_ref().map_or_else(|| vip.to_string(), ToString::to_string);
    config.probe.request(&at)
}

fn session_sentence(router: &RouterExplanation, vip: &VipReport) -> String {
    match &router.session {
        SessionExplanation::Down(state, None) => format!("knows nothing from us: the session is {state}"),
        SessionExplanation::Down(state, Some(why)) => {
            format!("knows nothing from us: the session is {state}, {why}")
        }
        SessionExplanation::DoesNotSend(why) => format!("gets no route to it: {why}"),
        SessionExplanation::Sending if vip.standing.is_advertised() => {
            "is being sent the route, and its kernel has not acknowledged all of it yet".into()
        }
        SessionExplanation::Sending => {
            "is being sent the withdraw, and its kernel has not acknowledged it yet".into()
        }
        SessionExplanation::Acknowledged => match &vip.route {
            Some(route) => {
                let attributes = attributes(&router.overrides.over(route), router.internal);
                format!("was sent {}{attributes}; its kernel has acknowledged all", vip.prefix)
            }
            None => format!("is not sent {}; its kernel has acknowledged all withdrawals", vip.prefix),
        },
    }
}

/// What is worth saying of a route: all that is not as it is without configuration.
fn attributes(route: &Attributes, internal: bool) -> String {
    let mut parts = Vec::new();
    parts.extend(route.med.map(|med| format!("MED {med}")));
    if internal {
        parts.push(format!("local preference {}", route.local_pref.unwrap_or(100)));
    } else if route.prepend > 0 {
        parts.push(format!("our AS prepended {} times more", route.prepend));
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
    if parts.is_empty() { String::new() } else { format!(", with {}", parts.join(", ")) }
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
