use super::super::SessionProgress;
use super::super::tests::{route, router, up};
use super::*;
use crate::director::figures::{ServiceFigures, VipFigures};
use crate::health::shortages::Shortages;
use crate::model::{Family, Generation};

/// A host with services, on a clock of its own. Each step says how the VIPs and routers are.
struct Host {
    alarm: DeliveryAlarm,
    start: Instant,
}

const V4: &[Family] = &[Family::V4];

/// VIPs of services, each with the generation of its route; `None`: not announced.
type Services<'a> = &'a [(&'a str, &'a [Option<Generation>])];

const ONE: Services<'_> = &[("www", &[Some(1)])];
const FOUR: Services<'_> = &[("api", &[Some(1), None]), ("www", &[Some(1), Some(1), Some(1)])];

fn figures(services: Services<'_>) -> Figures {
    let mut last = 0;
    let mut vip = |generation: &Option<Generation>| {
        last += 1;
        VipFigures {
            address: IpAddr::from([192, 0, 2, last]),
            standing: "",
            reason: "",
            route: generation.and_then(route),
        }
    };
    let mut service = |(name, vips): &(&str, &[Option<Generation>])| ServiceFigures {
        name: name.parse().unwrap(),
        drained: false,
        vips: vips.iter().map(&mut vip).collect(),
        weight: None,
        certificates: Vec::new(),
    };
    let services = services.iter().map(&mut service).collect();
    Figures { services, shortages: Shortages::default(), lapses: 0, warnings: 0 }
}

impl Host {
    fn new() -> Self {
        Host { alarm: DeliveryAlarm::default(), start: Instant::now() }
    }

    /// The lines of the log after `seconds`, where each router has acknowledged this generation; `None`: it has no session.
    fn at(&mut self, seconds: u64, services: Services<'_>, routers: &[Option<Generation>]) -> Vec<String> {
        let routers: Vec<RouterSession> = (routers.iter().enumerate())
            .map(|(index, acknowledged)| {
                let progress = acknowledged.map_or(SessionProgress::Down, up);
                router(&format!("r{}", index + 1), V4, progress)
            })
            .collect();
        let now = self.start + Duration::from_secs(seconds);
        let news = self.alarm.observe(&figures(services), &routers, now);
        let line = |news: DeliveryNews| match news {
            DeliveryNews::NoRouterLeft { vips } => format!("none left, {vips}"),
            DeliveryNews::Lost { service, first, vips } => format!("lost {service} {first}, {vips}"),
            DeliveryNews::SentAgain { vips } => format!("again, {vips}"),
        };
        news.into_iter().map(line).collect()
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn when_the_last_session_ends_there_is_one_line_and_one_when_routes_are_sent_again() {
    let mut host = Host::new();
    assert_eq!(host.at(0, FOUR, &[Some(1), Some(1)]), NOTHING);
    assert_eq!(host.at(1, FOUR, &[Some(1), None]), NOTHING, "one router has them");
    assert_eq!(host.at(2, FOUR, &[None, None]), ["none left, 4"]);
    let warning = "no session is established: 4 VIPs of 2 services are ready, but were sent to no router";
    assert_eq!(host.alarm.warnings(), [warning]);
    assert_eq!(host.at(3, FOUR, &[None, None]), NOTHING, "once");
    assert_eq!(host.at(60, FOUR, &[Some(0), None]), NOTHING, "they are being sent");
    assert_eq!(host.at(61, FOUR, &[Some(1), None]), ["again, 4"]);
    assert!(host.alarm.warnings().is_empty());
    assert_eq!(host.at(62, FOUR, &[Some(1), Some(1)]), NOTHING);
    assert_eq!(host.at(63, FOUR, &[None, None]), ["none left, 4"], "this is another time");
}

#[test]
fn before_the_first_session_there_is_no_alarm_for_ten_seconds() {
    let mut host = Host::new();
    assert_eq!(host.at(0, ONE, &[None]), NOTHING);
    assert_eq!(host.alarm.deadline(), Some(host.start + PATIENCE));
    assert_eq!(host.at(9, ONE, &[None]), NOTHING);
    assert!(host.alarm.warnings().is_empty());
    assert_eq!(host.at(10, ONE, &[None]), ["none left, 1"]);
    assert_eq!(host.alarm.warnings(), ["www 192.0.2.1 is ready, but was sent to no router"]);
    assert_eq!(host.alarm.deadline(), None);

    let mut host = Host::new();
    host.at(0, ONE, &[None]);
    assert_eq!(host.at(3, ONE, &[Some(1)]), NOTHING, "the first session is in time");
}

#[test]
fn a_vip_that_becomes_ready_without_a_session_is_no_second_line() {
    let mut host = Host::new();
    host.at(0, &[("www", &[Some(1), None])], &[Some(1)]);
    assert_eq!(host.at(1, &[("www", &[Some(1), None])], &[None]), ["none left, 1"]);
    host.at(2, &[("www", &[Some(1), Some(2)])], &[None]);
    assert_eq!(host.at(20, &[("www", &[Some(1), Some(2)])], &[None]), NOTHING);
    let warning = "www 192.0.2.1 and 1 more are ready, but were sent to no router";
    assert_eq!(host.alarm.warnings(), [warning]);
}

#[test]
fn a_route_that_changes_is_waited_for_and_one_that_no_session_sends_is_not() {
    let mut host = Host::new();
    host.at(0, ONE, &[Some(1), Some(1)]);
    let changed: Services<'_> = &[("www", &[Some(2)])];
    assert_eq!(host.at(100, changed, &[Some(1), Some(1)]), NOTHING, "both are being sent it");
    assert_eq!(host.at(105, changed, &[Some(1), None]), NOTHING);
    assert_eq!(host.at(110, changed, &[Some(1), None]), ["lost www 192.0.2.1, 1"], "for ten seconds");
    assert_eq!(host.at(120, changed, &[Some(2), None]), ["again, 1"]);
    let again: Services<'_> = &[("www", &[Some(3)])];
    host.at(130, again, &[Some(2), None]);
    assert_eq!(host.at(131, again, &[None, None]), ["none left, 1"], "nobody sends it any more");
}

#[test]
fn a_drained_vip_is_forgotten_and_so_is_its_alarm() {
    let drained: Services<'_> = &[("www", &[None])];
    let mut host = Host::new();
    host.at(0, ONE, &[Some(1)]);
    assert_eq!(host.at(1, drained, &[Some(2)]), NOTHING, "no router should have it");
    assert_eq!(host.at(2, drained, &[None]), NOTHING);
    assert!(host.alarm.warnings().is_empty());
    host.at(3, &[("www", &[Some(3)])], &[None]);
    assert_eq!(host.at(13, &[("www", &[Some(3)])], &[None]), ["none left, 1"]);
    assert_eq!(host.at(14, drained, &[None]), NOTHING);
    assert!(host.alarm.warnings().is_empty());
}

#[test]
fn a_family_that_no_peer_has_is_a_matter_of_the_configuration() {
    let mut host = Host::new();
    host.at(0, ONE, &[]);
    assert_eq!(host.at(60, ONE, &[]), NOTHING);
    assert!(host.alarm.warnings().is_empty() && host.alarm.deadline().is_none());
}

#[test]
fn what_only_some_vips_lack_is_one_line_for_each_service() {
    let mut host = Host::new();
    let v4_and_v6 = |first: SessionProgress, second: SessionProgress| {
        [router("r1", V4, first), router("r2", &[Family::V6], second)]
    };
    let now = host.start;
    let all = host.alarm.observe(&figures(FOUR), &v4_and_v6(up(1), up(1)), now);
    assert!(all.is_empty());
    let lost = host.alarm.observe(&figures(FOUR), &v4_and_v6(SessionProgress::Down, up(1)), now);
    let line = |service: &str, last: u8, vips| DeliveryNews::Lost {
        service: service.parse().unwrap(),
        first: IpAddr::from([192, 0, 2, last]),
        vips,
    };
    assert_eq!(lost, [line("api", 1, 1), line("www", 3, 3)]);
    assert_eq!(host.alarm.warnings().len(), 2, "one for each service");
}
