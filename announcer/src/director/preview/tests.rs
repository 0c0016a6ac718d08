use std::time::Duration;

use super::*;
use crate::config;
use crate::config::kind::http;
use crate::config::tests::with_services;
use crate::director::{Fact, Presence};
use crate::drain::Drains;
use crate::health::ProbeFact;
use crate::health::outcome::{Outcome, Reason};

const CONFIG: &str = with_services!(
    r#"
[[service]]
name = "www"
vips = ["192.0.2.80", "192.0.2.81"]
require = "any"
[[service.check]]
name = "a"
file = "/run/a"
rise = 1
[[service.check]]
name = "b"
file = "/run/b"
fall = 1
[[service]]
name = "mail"
vips = ["192.0.2.25"]
[[service.check]]
name = "m"
file = "/run/m"
rise = 1
"#
);

fn config(changes: &[(&str, &str)]) -> Arc<Config> {
    let text = changes.iter().fold(CONFIG.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    Arc::new(config::parse("test.toml", &text).unwrap_or_else(|errors| panic!("{errors}")))
}

/// A director under the configuration above: both VIPs of `www` are announced, although its check `b` failed. `mail` is announced
/// if it is `healthy`. All probes ended at `now`.
fn director(healthy: bool, drained: &[&str], now: Instant) -> Director {
    let files = drained.iter().map(|name| ((*name).to_owned(), Ok(String::new())));
    let mut director = Director::new(config(&[]), Drains::from_files(files), now);
    for vip in ["192.0.2.80", "192.0.2.81", "192.0.2.25"] {
        let vip: IpAddr = vip.parse().unwrap();
        let _ = director.handle(Fact::Vip(vip, Presence::Present), now);
        let www = vip != "192.0.2.25".parse::<IpAddr>().unwrap();
        let took = Duration::from_millis(1);
        let pass = Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took };
        let fail = Outcome::Fail { reason: Reason::Refused, took };
        let outcomes = if www { vec![pass, fail] } else { vec![if healthy { pass } else { fail }] };
        for (check, outcome) in outcomes.into_iter().enumerate() {
            let service = "www".parse().unwrap();
            let probed = ProbeFact { service, vip, check, sequence: 1, outcome, at: now };
            let _ = director.handle(Fact::Probed(probed), now);
        }
    }
    director
}

/// A reload that withdraws every announced VIP is detected before it is made, whichever key causes it (W6).
#[test]
fn a_reload_that_would_withdraw_every_vip_is_known_whichever_key_does_it() {
    let every: &[&[(&str, &str)]] = &[
        &[("require = \"any\"", "require = \"all\"")],
        &[("require = \"any\"", "require = 2")],
        &[("require = \"any\"\n", "")],
        &[("\"192.0.2.80\", \"192.0.2.81\"", "\"192.0.2.82\", \"192.0.2.83\"")],
        &[
            ("require = \"any\"", "require = \"any\"\nprefix = \"192.0.2.80/29\""),
            ("0.2.81\"", "0.2.81\", \"192.0.2.82\""),
        ],
        &[("name = \"www\"", "name = \"web\""), ("require = \"any\"", "require = \"all\"")],
    ];
    let now = Instant::now();
    for changes in every {
        let preview = director(false, &[], now).would(&config(changes), now);
        assert!(preview.withdraws_every_vip(), "{changes:?}: {preview:?}");
        assert!(matches!(preview.refusal(), Some(Refusal::WithdrawsEveryVip(vips)) if vips.len() == 2));
        // `mail` stays.
        let preview = director(true, &[], now).would(&config(changes), now);
        assert!(!preview.withdraws_every_vip(), "{changes:?}: {preview:?}");
        assert_eq!(preview.refusal(), None, "{changes:?}");
    }
}

#[test]
fn a_reload_that_leaves_a_vip_announced_is_not_refused() {
    let some: &[&[(&str, &str)]] = &[
        &[],
        &[("require = \"any\"", "require = 1")],
        &[("require = \"any\"", "require = \"all\"\non_failure = \"deprefer\"")],
        &[("require = \"any\"", "require = \"all\"\non_failure = \"warn\"")],
        &[("\"192.0.2.80\", \"192.0.2.81\"", "\"192.0.2.81\"")],
        &[("name = \"www\"", "name = \"web\"")],
        &[("file = \"/run/a\"", "file = \"/run/c\"")],
    ];
    let now = Instant::now();
    for changes in some {
        assert_eq!(director(false, &[], now).would(&config(changes), now).refusal(), None, "{changes:?}");
    }
    // If nothing is announced, nothing can be withdrawn.
    let preview =
        director(false, &["_all"], now).would(&config(&[("require = \"any\"", "require = \"all\"")]), now);
    assert_eq!(preview.refusal(), None);
    assert!(director(false, &[], now).would(&config(&[]), now).changes().next().is_none());
}

/// A reload that moves a drained VIP to a service that is not drained would end its drain (W22).
#[test]
fn a_reload_that_would_end_a_drain_is_known() {
    let rename = ("name = \"www\"", "name = \"web\"");
    let now = Instant::now();
    let moved = [
        ("\"192.0.2.80\", \"192.0.2.81\"", "\"192.0.2.80\""),
        ("\"192.0.2.25\"", "\"192.0.2.25\", \"192.0.2.81\""),
    ];
    let removed = [("\"192.0.2.80\", \"192.0.2.81\"", "\"192.0.2.80\"")];
    let require = [("require = \"any\"", "require = \"all\"")];
    for (drained, changes, ended) in [
        (&["www"][..], &[rename][..], &["192.0.2.80", "192.0.2.81"][..]),
        (&["www"], &moved, &["192.0.2.81"]),
        (&["www", "web"], &[rename], &[]),
        (&["www", "_all"], &[rename], &[]),
        (&["_all"], &moved, &[]),
        (&["www"], &removed, &[]),
        (&["www"], &require, &[]),
        (&["mail"], &[rename], &[]),
    ] {
        // The VIP that moves to `mail` could not be announced there at once, but its drain would still end.
        for healthy in [true, false] {
            let preview = director(healthy, drained, now).would(&config(changes), now);
            let vips: Vec<String> = preview.ended_drains().map(|vip| vip.vip.to_string()).collect();
            assert_eq!(vips, ended, "{drained:?} {changes:?}");
            let refused = matches!(preview.refusal(), Some(Refusal::EndsDrains(_)));
            assert_eq!(refused, !ended.is_empty(), "{drained:?} {changes:?}");
        }
    }
}

#[test]
fn a_preview_changes_nothing_and_is_what_the_reload_then_does() {
    let now = Instant::now();
    let mut director = director(true, &["mail"], now);
    let before = (director.rib(), director.decisions(), director.deadline(), director.take_paced());
    let config =
        config(&[("require = \"any\"", "require = \"all\""), ("name = \"mail\"", "name = \"post\"")]);
    let preview = director.would(&config, now);
    let after = (director.rib(), director.decisions(), director.deadline(), before.3.clone());
    assert_eq!(before, after);
    assert!(director.take_paced().is_empty() && director.take_watched().is_some());
    let _ = director.reload(Arc::clone(&config), 2, now);
    let decided = director.decisions();
    for vip in preview.vips {
        assert_eq!(vip.after.as_ref(), decided.get(&vip.vip));
    }
}

/// An expired lease does not count as an effect of the reload, and neither does the time for which the process was stopped.
#[test]
fn what_only_time_changes_is_not_the_doing_of_the_reload() {
    let now = Instant::now();
    let director = director(true, &[], now);
    let lapsed = now + Duration::from_millis(4_100); // 3 x interval + timeout
    assert_eq!(director.would(&config(&[]), lapsed).refusal(), None);
    let stood_still = now + Duration::from_secs(60);
    let preview = director.would(&config(&[("require = \"any\"", "require = 1")]), stood_still);
    assert!(preview.vips.iter().all(|vip| is_announced(&vip.after)), "{preview:?}");
}

#[test]
fn a_refusal_says_which_vips_and_why() {
    let now = Instant::now();
    let refusal = |drained: &[&str], changes: &[(&str, &str)]| {
        director(false, drained, now).would(&config(changes), now).refusal().unwrap().to_string()
    };
    assert_eq!(
        refusal(&[], &[("require = \"any\"", "require = \"all\"")]),
        "this would withdraw every VIP that is announced: 192.0.2.80 of www would be not announced, check `b`: 1 of 1 probes \
         failed (last: connection refused after 1 ms); 192.0.2.81 of www would be not announced, check `b`: 1 of 1 probes failed \
         (last: connection refused after 1 ms)"
    );
    assert_eq!(
        refusal(&["www"], &[("name = \"www\"", "name = \"web\"")]),
        "this would end a drain: 192.0.2.80 of www is drained and would belong to web, which is not; 192.0.2.81 of www is \
         drained and would belong to web, which is not"
    );
    let five = "\"192.0.2.80\", \"192.0.2.81\", \"192.0.2.82\", \"192.0.2.83\", \"192.0.2.84\"";
    let config = config(&[("\"192.0.2.80\", \"192.0.2.81\"", five)]);
    let files = [("www".to_owned(), Ok(String::new()))];
    let director = Director::new(Arc::clone(&config), Drains::from_files(files), now);
    let renamed = config::parse(
        "test.toml",
        &CONFIG.replace("\"www\"", "\"web\"").replace("\"192.0.2.80\", \"192.0.2.81\"", five),
    );
    let refusal = director.would(&Arc::new(renamed.unwrap()), now).refusal().unwrap().to_string();
    assert!(refusal.ends_with("; and 2 more"), "{refusal}");
}
