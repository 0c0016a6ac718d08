//! What should happen: the routes that the routers should have, and what a web server that crashes or hangs does to a service.
//!
//! Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use announcer::config::{CheckConfig, Config, OnFailure, ProbeConfig, ServiceConfig};
use announcer::model::Family;
use ipnet::IpNet;

use crate::plan::{Owner, Plan, Port};

/// A route that a router should have while all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The index of the router.
    pub(crate) router: usize,
    /// The index of the frontend that announces it.
    pub(crate) frontend: usize,
    /// The index of its service in the frontend's configuration.
    pub(crate) service: usize,
    /// Where it leads.
    pub(crate) prefix: IpNet,
    /// The next hops that it may have.
    pub(crate) hops: BTreeSet<IpAddr>,
    /// The frontend's addresses of the sessions that carry it.
    pub(crate) senders: BTreeSet<IpAddr>,
}

/// The routes that a frontend should give to the routers.
pub(crate) fn routes(plan: &Plan, frontend: usize, config: &Config) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let sessions =
        plan.frontends.get(frontend).map(|frontend| frontend.sessions.as_slice()).unwrap_or_default();
    for session in sessions {
        let port = plan.segments[session.segment].port(Owner::Frontend(frontend));
        let own: BTreeSet<IpAddr> =
            port.into_iter().flat_map(Port::addresses).map(|net| net.addr()).collect();
        let peer = config.peers.iter().find(|peer| peer.name.as_str() == session.peer);
        for (index, service) in config.services.iter().enumerate() {
            if peer.is_some_and(|peer| !service.recipients.include(&peer.name)) {
                continue;
            }
            let mut hops = own.clone();
            let overrides = peer.map(|peer| (peer.overrides.next_hop_v4, peer.overrides.next_hop_v6));
            let attributes = (service.attributes.next_hop_v4, service.attributes.next_hop_v6);
            for (v4, v6) in overrides.into_iter().chain([attributes]) {
                hops.extend(v4.map(IpAddr::V4));
                hops.extend(v6.map(IpAddr::V6));
            }
            let prefixes: BTreeSet<IpNet> = service.vips.iter().map(|vip| service.prefix_of(*vip)).collect();
            for prefix in prefixes {
                if !session.families.contains(&Family::of(prefix.addr())) {
                    continue;
                }
                let same = |route: &&mut Route| (route.router, route.prefix) == (session.router, prefix);
                match routes.iter_mut().find(same) {
                    Some(route) => {
                        route.hops.append(&mut hops.clone());
                        route.senders.insert(session.from);
                    }
                    None => routes.push(Route {
                        router: session.router,
                        frontend,
                        service: index,
                        prefix,
                        hops: hops.clone(),
                        senders: BTreeSet::from([session.from]),
                    }),
                }
            }
        }
    }
    routes
}

/// What happens to a web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its processes are killed: nothing listens any more.
    Crash,
    /// Its processes are stopped: connections are accepted, and no request is answered.
    Hang,
}

/// What a fault of the web server does to the routes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// They are withdrawn within this time, which the checks need if every probe begins as late as it may.
    Withdrawn(Duration),
    /// They stay, with the attributes of the last choice or as they are; so says `on_failure`, or no check notices the fault.
    Kept,
}

/// The effect of a fault on a service.
pub(crate) fn effect(service: &ServiceConfig, fault: Fault) -> Effect {
    let votes: Vec<Option<Duration>> =
        service.checks.iter().map(|check| withdraws(check, service, fault)).collect();
    let enough = service.require.of(votes.len());
    if votes.iter().filter(|vote| vote.is_none()).count() >= enough {
        return Effect::Kept;
    }
    // It is withdrawn when so many have failed that the others are too few.
    let mut times: Vec<Duration> = votes.iter().flatten().copied().collect();
    times.sort_unstable();
    let needed = votes.len() - enough; // this many may fail
    times.get(needed).map_or(Effect::Kept, |time| Effect::Withdrawn(*time))
}

/// After which time at most a check votes for a withdraw; `None`: it never does.
fn withdraws(check: &CheckConfig, service: &ServiceConfig, fault: Fault) -> Option<Duration> {
    let notices = match (&check.probe, fault) {
        (ProbeConfig::Http(_) | ProbeConfig::Tls(_) | ProbeConfig::Tcp(_), Fault::Crash)
        | (ProbeConfig::Http(_) | ProbeConfig::Tls(_), Fault::Hang) => true,
        // The kernel accepts connections for a server that hangs.
        (ProbeConfig::Tcp(tcp), Fault::Hang) => tcp.talk.expect.is_some(),
        // The web server of the lab answers none of these.
        (
            ProbeConfig::Exec(_)
            | ProbeConfig::File(_)
            | ProbeConfig::Dns(_)
            | ProbeConfig::Grpc(_)
            | ProbeConfig::Ntp(_)
            | ProbeConfig::Udp(_)
            | ProbeConfig::Icmp(_),
            _,
        ) => false,
    };
    let on_failure = match fault {
        // Where nothing listens, the VIP is withdrawn whatever `on_failure` says.
        Fault::Crash if check.port().is_some() => OnFailure::Withdraw,
        Fault::Crash | Fault::Hang => check.on_failure.unwrap_or(service.on_failure),
    };
    (notices && on_failure == OnFailure::Withdraw).then(|| check_falls(check))
}

/// The time from a fault to the verdict, if the first probe after it begins as late as it may. A probe that hangs ends after
/// `timeout`; the next one begins `fast_interval` after its beginning, or when it has ended.
fn check_falls(check: &CheckConfig) -> Duration {
    check.interval + check.fast_interval.max(check.timeout) * (check.fall - 1) + check.timeout
}

/// The time from a fault until every check of a service that notices it has its verdict, in the same way.
pub(crate) fn time_to_fall(service: &ServiceConfig) -> Duration {
    service.checks.iter().map(check_falls).max().unwrap_or_default()
}

/// The time from the return of the web server to the announcement, in the same way.
pub(crate) fn time_to_rise(service: &ServiceConfig) -> Duration {
    let checks = service.checks.iter();
    let rise = |check: &CheckConfig| check.interval + check.fast_interval.max(check.timeout) * check.rise;
    checks.map(rise).max().unwrap_or_default() + service.announce_delay
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(checks: &str, keys: &str) -> ServiceConfig {
        let text = format!(
            "[bgp]\nasn = 65001\n[[peer]]\nname = \"r1\"\naddress = \"10.0.0.1\"\nasn = 65000\n[[service]]\nname = \"www\"\n\
             vips = [\"192.0.2.80\"]\n{keys}\n{checks}"
        );
        let config = announcer::config::parse("test", &text).unwrap_or_else(|errors| panic!("{errors}"));
        config.services.into_iter().next().unwrap()
    }

    #[test]
    fn a_service_is_withdrawn_when_too_few_checks_can_pass() {
        let http = "[[service.check]]\nhttp = \"http://www.example.com/healthz\"\ninterval = \"1s\"\ntimeout = \"200ms\"\nfall = 3\n";
        let tcp = "[[service.check]]\ntcp = 80\n";
        let spoken = "[[service.check]]\ntcp = 80\nexpect = \"^220\"\nfall = 1\n";
        let file = "[[service.check]]\nfile = \"/run/www.up\"\n";
        let target = "[[service.check]]\nhttp = \"http://www.example.com/\"\ntarget = \"127.0.0.1\"\n";
        let withdrawn = |ms| Effect::Withdrawn(Duration::from_millis(ms));
        for (checks, keys, crash, hang) in [
            (http.to_owned(), "", withdrawn(3200), withdrawn(3200)),
            // A server that hangs still has connections.
            (tcp.to_owned(), "", withdrawn(4000), Effect::Kept),
            (spoken.to_owned(), "", withdrawn(2000), withdrawn(2000)),
            (file.to_owned(), "", Effect::Kept, Effect::Kept),
            // Where nothing listens, `on_failure` does not count; at another address than the VIP it does.
            (http.to_owned(), "on_failure = \"deprefer\"", withdrawn(3200), Effect::Kept),
            (target.to_owned(), "on_failure = \"warn\"", Effect::Kept, Effect::Kept),
            (format!("{http}{file}"), "require = \"any\"", Effect::Kept, Effect::Kept),
            (format!("{http}{file}"), "", withdrawn(3200), withdrawn(3200)),
            // Both have to fail, so the slower one counts.
            (format!("{http}{spoken}"), "require = \"any\"", withdrawn(3200), withdrawn(3200)),
            (format!("{http}{spoken}"), "", withdrawn(2000), withdrawn(2000)),
        ] {
            let service = service(&checks, keys);
            assert_eq!(effect(&service, Fault::Crash), crash, "crash: {keys}\n{checks}");
            assert_eq!(effect(&service, Fault::Hang), hang, "hang: {keys}\n{checks}");
        }
    }

    #[test]
    fn verdicts_take_as_long_as_the_slowest_check_and_the_return_also_the_delay() {
        let checks = "[[service.check]]\nhttp = \"http://www.example.com/\"\ninterval = \"1s\"\ntimeout = \"200ms\"\nrise = 2\n";
        let service = service(checks, "announce_delay = \"5s\"");
        assert_eq!(time_to_fall(&service), Duration::from_millis(3200));
        assert_eq!(time_to_rise(&service), Duration::from_secs(8));
    }
}
