use std::sync::Arc;

use super::*;
use crate::config;
use crate::config::tests::with_services;
use crate::damping::{DampingWait, Flapping};
use crate::director::Fact;
use crate::drain::{Drain, Drains};
use crate::health::check::{Evidence, Streak};
use crate::vip::Presence;

fn seen(streak: Streak) -> Evidence {
    Evidence { check: None, streak, last: None }
}

/// A standing by its picture.
fn standing(picture: &str) -> Standing {
    use NotAnnouncedReason as No;
    let flapping = Flapping { returns: 3, penalty: Duration::from_secs(30) };
    let sibling = "192.0.2.81".parse().unwrap();
    let failed = || seen(Streak::Failed { run: 3, fall: 3 });
    match picture {
        "announced" => Standing::Announced,
        "backup" => Standing::LastChoice(LastChoiceReason::Backup),
        "depreferred by a failure" => Standing::LastChoice(LastChoiceReason::Unhealthy(failed())),
        "depreferred by flapping" => Standing::LastChoice(LastChoiceReason::Flapping(flapping)),
        "drained" => Standing::Drained(Drain::default().into()),
        "stopping" => Standing::NotAnnounced(No::Stopping),
        "lo not read" => Standing::NotAnnounced(No::NotLookedFor("lo".into())),
        "no verdict yet" => Standing::NotAnnounced(No::NoVerdict(seen(Streak::None))),
        "verdict lapsed" => {
            Standing::NotAnnounced(No::NoVerdict(seen(Streak::Lapsed(Duration::from_secs(9)))))
        }
        "failed" => Standing::NotAnnounced(No::Unhealthy(failed())),
        "no VIP" => Standing::NotAnnounced(No::VipMissing("no right".into())),
        "lo down" => Standing::NotAnnounced(No::DeviceDown("no right".into())),
        "waits" => Standing::NotAnnounced(No::Waiting(DampingWait::Flapping(flapping))),
        "sibling failed" => Standing::NotAnnounced(No::Sibling(sibling)),
        other => panic!("{other}"),
    }
}

fn change(vip: &str, before: &str, after: &str) -> StandingChange {
    StandingChange {
        service: "www".parse().unwrap(),
        vip: vip.parse().unwrap(),
        before: standing(before),
        standing: standing(after),
    }
}

#[test]
fn the_level_says_what_a_person_has_to_do() {
    const INFO: Level = Level::INFO;
    const WARN: Level = Level::WARN;
    const ERROR: Level = Level::ERROR;
    for (before, after, level, level_if_last, message) in [
        // A failure withdraws it.
        ("announced", "failed", WARN, ERROR, "VIP was withdrawn"),
        ("announced", "verdict lapsed", WARN, ERROR, "VIP was withdrawn"),
        ("announced", "no VIP", WARN, ERROR, "VIP was withdrawn"),
        ("announced", "lo down", WARN, ERROR, "VIP was withdrawn"),
        ("announced", "sibling failed", WARN, ERROR, "VIP was withdrawn"),
        ("backup", "failed", WARN, ERROR, "VIP was withdrawn"),
        ("depreferred by a failure", "no VIP", WARN, ERROR, "VIP was withdrawn"),
        // An order withdraws it.
        ("announced", "drained", INFO, INFO, "VIP was drained"),
        ("announced", "stopping", INFO, INFO, "VIP was withdrawn"),
        ("announced", "no verdict yet", INFO, INFO, "VIP was withdrawn"),
        // It is less wanted by routers.
        ("announced", "depreferred by a failure", WARN, WARN, "VIP was made the last choice"),
        ("announced", "depreferred by flapping", WARN, WARN, "VIP was made the last choice"),
        ("announced", "backup", INFO, INFO, "VIP was made the last choice"),
        ("depreferred by flapping", "depreferred by a failure", INFO, INFO, "VIP was made the last choice"),
        // It does not come up.
        ("no verdict yet", "failed", WARN, WARN, "VIP is not announced"),
        ("lo not read", "no VIP", WARN, WARN, "VIP is not announced"),
        ("drained", "failed", WARN, WARN, "VIP is not announced"),
        ("drained", "depreferred by a failure", WARN, WARN, "VIP was made the last choice"),
        ("drained", "waits", INFO, INFO, "VIP is not announced"),
        ("drained", "no verdict yet", INFO, INFO, "VIP is not announced"),
        // It was known already that it fails.
        ("failed", "no VIP", INFO, INFO, "VIP is not announced"),
        ("failed", "waits", INFO, INFO, "VIP is not announced"),
        ("waits", "failed", INFO, INFO, "VIP is not announced"),
        ("failed", "depreferred by flapping", INFO, INFO, "VIP was made the last choice"),
        // It is well.
        ("failed", "announced", INFO, INFO, "VIP was announced"),
        ("depreferred by a failure", "announced", INFO, INFO, "VIP was announced"),
        ("failed", "drained", INFO, INFO, "VIP was drained"),
    ] {
        let change = change("192.0.2.80", before, after);
        assert_eq!((change.level(false), change.level(true)), (level, level_if_last), "{before} -> {after}");
        assert_eq!(change.message(false), message, "{before} -> {after}");
    }
    assert_eq!(change("192.0.2.80", "announced", "failed").message(true), "last VIP was withdrawn");
}

#[test]
fn vips_with_the_same_change_share_a_line_and_the_last_one_is_an_error() {
    let line = |level, message, vips: &[&str], reason: Option<&str>| ChangeLine {
        level,
        message,
        service: "www".into(),
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        reason: reason.map(str::to_owned),
    };
    let drained = [change("192.0.2.1", "announced", "drained"), change("192.0.2.2", "announced", "drained")];
    assert_eq!(
        lines(&drained, 0),
        [line(Level::INFO, "VIP was drained", &["192.0.2.1", "192.0.2.2"], Some("drained, no reason given"))]
    );
    let failed = [
        change("192.0.2.1", "announced", "failed"),
        change("192.0.2.2", "announced", "failed"),
        change("192.0.2.3", "failed", "waits"),
    ];
    let why = Some("not announced, 3 of 3 probes failed");
    let waits = standing("waits").to_string();
    let third = line(Level::INFO, "VIP is not announced", &["192.0.2.3"], Some(&waits));
    assert_eq!(
        lines(&failed, 1),
        [line(Level::WARN, "VIP was withdrawn", &["192.0.2.1", "192.0.2.2"], why), third.clone()]
    );
    assert_eq!(
        lines(&failed, 0),
        [
            line(Level::WARN, "VIP was withdrawn", &["192.0.2.1"], why),
            line(Level::ERROR, "last VIP was withdrawn", &["192.0.2.2"], why),
            third
        ]
    );
    let back = [change("192.0.2.1", "failed", "announced")];
    assert_eq!(lines(&back, 1), [line(Level::INFO, "VIP was announced", &["192.0.2.1"], None)]);
}

/// Three services: a file check each, so that the tests below need no server.
const CONFIG: &str = with_services!(
    r#"
[[service]]
name = "api"
vips = ["192.0.2.1", "192.0.2.2"]
[[service.check]]
tcp = 80

[[service]]
name = "www"
vips = ["192.0.2.3"]
[[service.check]]
tcp = 80
"#
);

fn director(now: Instant) -> Director {
    let drains = Drains::from_files([("www".to_owned(), Ok("reason: kernel\nby: ann".to_owned()))]);
    Director::new(Arc::new(config::parse("test.toml", CONFIG).unwrap()), drains, now)
}

fn missing(director: &mut Director, vip: &str, now: Instant) -> Vec<StandingChange> {
    director.handle(Fact::Vip(vip.parse().unwrap(), Presence::Missing("no right".into())), now)
}

#[test]
fn a_start_is_one_line() {
    let now = Instant::now();
    let (mut director, mut start) = (director(now), StartLog::new(now));
    let mut changes = missing(&mut director, "192.0.2.1", now);
    assert_eq!(changes.len(), 1);
    start.filter(&mut changes);
    assert_eq!((changes.len(), start.summary(&director, now)), (0, None), "one VIP has no verdict yet");
    drop(missing(&mut director, "192.0.2.2", now));
    let why = "api, 2 VIPs: not announced, the VIP is not on lo: no right; www: drained by ann: kernel";
    assert_eq!(
        start.summary(&director, now),
        Some(StartSummary {
            level: Level::ERROR,
            announced: 0,
            last_choice: 0,
            drained: 1,
            not_announced: 2,
            why: Some(why.into())
        })
    );
    assert_eq!((start.summary(&director, now), start.deadline()), (None, None), "once");
    let mut later = vec![change("192.0.2.1", "failed", "announced")];
    start.filter(&mut later);
    assert_eq!(later.len(), 1, "after the start, each change is logged");
}

#[test]
fn a_start_that_takes_too_long_is_summed_up_and_hides_no_failure() {
    let now = Instant::now();
    let (director, mut start) = (director(now), StartLog::new(now));
    let mut changes = vec![
        change("192.0.2.1", "no verdict yet", "announced"),
        change("192.0.2.1", "announced", "failed"),
        change("192.0.2.1", "failed", "announced"),
    ];
    start.filter(&mut changes);
    assert_eq!(changes, [change("192.0.2.1", "announced", "failed")]);
    assert_eq!(start.summary(&director, now), None);
    let summary = start.summary(&director, start.deadline().unwrap()).unwrap();
    assert_eq!((summary.level, summary.not_announced), (Level::INFO, 2), "nothing has failed yet");
}

#[test]
fn a_stop_during_the_start_needs_no_summary() {
    let now = Instant::now();
    let (mut director, mut start) = (director(now), StartLog::new(now));
    drop(director.handle(Fact::Stop, now));
    assert_eq!((start.summary(&director, now), start.deadline()), (None, None));
}
