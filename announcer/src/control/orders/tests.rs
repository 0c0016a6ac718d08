use super::*;
use crate::config;
use crate::config::tests::with_services;

const CONFIG: &str = with_services!(
    r#"
[[service]]
name = "www"
vips = ["192.0.2.80"]
[[service.check]]
tcp = 80
[[service]]
name = "mail"
vips = ["192.0.2.25"]
[[service.check]]
tcp = 25
"#
);

fn config() -> Config {
    config::parse("x", CONFIG).unwrap_or_else(|errors| panic!("{errors}"))
}

fn drains(names: &[&str]) -> Drains {
    Drains::from_files(names.iter().map(|name| ((*name).to_owned(), Ok("kernel".to_owned()))))
}

/// Targets from words as on the command line: `www`, an address, `family:ipv6`, `peer:r1`, `all`.
fn targets(words: &[&str]) -> Targets {
    let mut targets = Targets::default();
    for word in words {
        match (word.split_once(':'), word.parse()) {
            (_, Ok(vip)) => targets.vips.push(vip),
            (Some(("family", name)), _) => targets.families.push(name.to_owned()),
            (Some(("peer", name)), _) => targets.peers.push(name.to_owned()),
            (_, _) if *word == "all" => targets.all = true,
            (_, _) => targets.services.push((*word).to_owned()),
        }
    }
    targets
}

#[test]
fn each_kind_of_name_is_known_or_refused_with_the_nearest_names() {
    let drained = drains(&["old@ann", "_vip-192.0.2.99", "_peer-r9"]);
    for (words, undrain, want) in [
        (&["www"][..], false, "www"),
        (
            &["www", "192.0.2.80", "www", "family:ipv6", "peer:r1"],
            false,
            "www _vip-192.0.2.80 _family-ipv6 _peer-r1",
        ),
        (&["all"], false, "_all"),
        (&[], false, "error: name a service, an address, a family or a router, or write `--all`"),
        (&["www", "all"], false, "error: write either names or `--all`"),
        (&["ww"], false, "error: there is no service `ww`; did you mean `www`?"),
        (&["../x"], false, "error: there is no service `../x`; there is www, mail"),
        (
            &["192.0.2.81"],
            false,
            "error: there is no VIP `192.0.2.81`; did you mean `192.0.2.80` or `192.0.2.25`?",
        ),
        (&["peer:r2"], false, "error: there is no peer `r2`; did you mean `r1`?"),
        (&["family:ipx"], false, "error: `ipx` is not a supported family; write `ipv4` or `ipv6`"),
        (&["old"], false, "error: there is no service `old`; there is www, mail"),
        // What the configuration no longer has may still be drained.
        (&["old", "192.0.2.99", "peer:r9"], true, "old _vip-192.0.2.99 _peer-r9"),
        (&["ol"], true, "error: there is no service `ol`; did you mean `old`?"),
        (&["r9"], true, "error: there is no service `r9`; there is www, mail, old"),
    ] {
        let found = targets(words).find(&config(), undrain.then_some(&drained));
        let shown = match found {
            Ok(all) => all.iter().map(DrainTarget::file).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, want, "{words:?}");
    }
}

#[test]
fn an_order_is_read_as_it_was_sent() {
    let order = DrainOrder {
        targets: targets(&["www", "2001:db8::80", "family:ipv6", "peer:r1"]),
        reason: Some("disk".into()),
        for_ms: Some(1),
        wait_ms: Some(2),
        until_reboot: true,
        ..DrainOrder::default()
    };
    let text = serde_json::to_string(&order).unwrap();
    assert_eq!(
        text,
        r#"{"services":["www"],"vips":["2001:db8::80"],"families":["ipv6"],"peers":["r1"],"reason":"disk","for_ms":1,"until_reboot":true,"wait_ms":2}"#
    );
    assert_eq!(serde_json::from_str::<DrainOrder>(&text).unwrap(), order);
    let order = UndrainOrder { targets: targets(&["all"]), force: true, ..UndrainOrder::default() };
    let text = serde_json::to_string(&order).unwrap();
    assert_eq!(text, r#"{"all":true,"force":true}"#);
    assert_eq!(serde_json::from_str::<UndrainOrder>(&text).unwrap(), order);
}

fn facts() -> OrderFacts {
    OrderFacts {
        operator: Operator::new(1000, Some("ann".into()), None),
        now: humantime::parse_rfc3339("2026-01-31T12:00:00Z").unwrap(),
        boot: BootId::parse("0a1b2c3d-0000-4000-8000-00000000000f"),
    }
}

#[test]
fn an_order_becomes_a_change_with_its_end_and_its_limits() {
    let www = || vec![DrainTarget::Service("www".into())];
    let seconds = Duration::from_secs;
    let none = DrainOrder::default();
    let defaults = DrainConfig { prepare: seconds(7), deadline: seconds(20) };
    let long = "x".repeat(70_000);
    let hours = Some(7_200_000);
    for (order, defaults, want) in [
        (none.clone(), None, "drain by ann at 2026-01-31T12:00:00Z, no reason given; prepare 0ns, None"),
        (
            DrainOrder { reason: Some("disk".into()), for_ms: hours, ..none.clone() },
            None,
            "drain by ann at 2026-01-31T12:00:00Z until 2026-01-31T14:00:00Z: disk; prepare 0ns, None",
        ),
        (
            DrainOrder { until_reboot: true, wait_ms: Some(10_000), ..none.clone() },
            None,
            "drain by ann at 2026-01-31T12:00:00Z until the next boot of the host, no reason given; prepare 0ns, timeout 10s \
             deadline 300s prepare 0ns",
        ),
        (
            DrainOrder { wait_ms: Some(10_000), ..none.clone() },
            Some(&defaults),
            "drain by ann at 2026-01-31T12:00:00Z, no reason given; prepare 7s, timeout 10s deadline 20s prepare 7s",
        ),
        (
            DrainOrder {
                wait_ms: Some(1_000),
                prepare_ms: Some(0),
                deadline_ms: Some(9_000),
                ..none.clone()
            },
            Some(&defaults),
            "drain by ann at 2026-01-31T12:00:00Z, no reason given; prepare 0ns, timeout 1s deadline 9s prepare 0ns",
        ),
        (DrainOrder { extend_ms: hours, force: true, ..none.clone() }, None, "extend 7200s true"),
        (
            DrainOrder { extend_ms: hours, for_ms: hours, ..none.clone() },
            None,
            "error: `--extend` only moves the end of a drain; use it without other options",
        ),
        (
            DrainOrder { for_ms: Some(u64::MAX), ..none.clone() },
            None,
            "error: `--for` is too long: a drain without it does not end by itself",
        ),
        (
            DrainOrder { reason: Some(long), ..none.clone() },
            None,
            "error: the reason has 70000 octets; write at most 1000, such as the number of a ticket",
        ),
    ] {
        let shown = match order.job(www(), facts(), defaults) {
            Err(error) => error.to_string(),
            Ok(DrainJob { change: DrainChange::Drain { drain, prepare, .. }, wait, .. }) => {
                let wait = match wait {
                    Some(DrainWait::Drained(DrainLimits { prepare, timeout, deadline })) => {
                        format!("timeout {timeout:?} deadline {deadline:?} prepare {prepare:?}")
                    }
                    other => format!("{other:?}"),
                };
                format!("drain{drain}; prepare {prepare:?}, {wait}")
            }
            Ok(DrainJob { change: DrainChange::Extend { by, force, .. }, .. }) => {
                format!("extend {by:?} {force}")
            }
            Ok(other) => panic!("{other:?}"),
        };
        assert_eq!(shown, want, "{order:?}");
    }
    let blind = OrderFacts { boot: None, ..facts() };
    let order = DrainOrder { until_reboot: true, ..none };
    assert!(
        order.job(www(), blind, None).unwrap_err().to_string().contains("boot id of the host cannot be read")
    );
}

#[test]
fn an_undrain_says_what_stays_drained_and_what_was_not() {
    let targets = |names: &[&str]| names.iter().map(|name| DrainTarget::of_file(name)).collect::<Vec<_>>();
    for (undrained, absent, drained, want) in [
        (&["www"][..], &[][..], &[][..], &[][..]),
        (&["www"], &["www"], &[], &["www was not drained by name"]),
        (&["_all"], &["_all"], &[], &["there was no drain of all services"]),
        (&["_peer-r1"], &["_peer-r1"], &[], &["router r1 was not drained"]),
        (&["_all"], &[], &["mail"], &["mail stays drained: kernel; `announcer undrain mail` ends that"]),
        (&["www"], &[], &["mail", "_peer-r1", "_family-ipv6", "_vip-192.0.2.25"], &[]),
        (
            &["www", "mail"],
            &[],
            &["_all", "_vip-192.0.2.25"],
            &[
                "192.0.2.25 stays drained: kernel; `announcer undrain 192.0.2.25` ends that",
                "every service stays drained: kernel; `announcer undrain --all` ends that",
            ],
        ),
        (
            &["_vip-192.0.2.80"],
            &[],
            &["_family-ipv4", "www"],
            &[
                "www stays drained: kernel; `announcer undrain www` ends that",
                "every IPv4 VIP stays drained: kernel; `announcer undrain --family ipv4` ends that",
            ],
        ),
    ] {
        let plan = ChangePlan { absent: targets(absent), ..ChangePlan::default() };
        assert_eq!(undrain_notes(&targets(undrained), &plan, &drains(drained), &config()), want);
    }
    let drains = drains(&["www@bob"]);
    let kept = drains.iter().cloned().collect();
    let plan = ChangePlan { kept, ..ChangePlan::default() };
    assert_eq!(
        undrain_notes(&targets(&["www"]), &plan, &drains, &config()),
        ["www stays drained: kernel; `announcer undrain www --force` ends that"]
    );
}

#[test]
fn every_field_of_an_order_has_its_name() {
    let targets = Targets {
        services: vec!["www".into()],
        vips: vec!["192.0.2.80".parse().unwrap()],
        families: vec!["ipv4".into()],
        peers: vec!["r1".into()],
        all: true,
    };
    let (one, text) = (Some(1), Some(String::new()));
    let drain = DrainOrder {
        targets: targets.clone(),
        reason: text.clone(),
        by: text.clone(),
        force: true,
        for_ms: one,
        until_reboot: true,
        extend_ms: one,
        prepare_ms: one,
        wait_ms: one,
        deadline_ms: one,
    };
    let undrain = UndrainOrder { targets, by: text, force: true, wait_ms: one };
    let fields = |order: serde_json::Value| order.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (drain, undrain) =
        (fields(serde_json::to_value(&drain).unwrap()), fields(serde_json::to_value(&undrain).unwrap()));
    assert_eq!((drain.len(), undrain.len()), (14, 8));
    assert!(drain.iter().all(|name| DrainOrder::has_field(name)) && !DrainOrder::has_field("for"));
    assert!(undrain.iter().all(|name| UndrainOrder::has_field(name)) && !UndrainOrder::has_field("for_ms"));
}

#[test]
fn only_root_forces() {
    for (force, uid, want) in [(false, 1000, true), (true, 0, true), (false, 0, true), (true, 1000, false)] {
        assert_eq!(may_force(force, uid).is_ok(), want, "{force} {uid}");
    }
}
