use std::collections::BTreeSet;

use super::*;
use crate::config::tests::with_services;

fn config() -> Config {
    let text = with_services!(
        "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n[[service.check]]\ntcp = 80\n\
         [[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\n[[service.check]]\ntcp = 25\n"
    );
    crate::config::parse("x", text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The drains of these files; those whose names end in `!` are prepared.
fn in_force(files: &str, generation: Generation) -> DrainsInForce {
    let names = || files.split_whitespace().map(|name| name.trim_end_matches('!'));
    let prepared: BTreeSet<&str> =
        files.split_whitespace().filter_map(|name| name.strip_suffix('!')).collect();
    let drains =
        Drains::from_files(names().map(|name| (name.to_owned(), Ok("by: ann\nreason: disk".to_owned()))));
    DrainsInForce { drains: drains.preparing(&prepared), generation }
}

/// The events, as in `www: begun (www mail)`, and the waits, as in `www@3`.
fn words((events, waits): (Vec<HookEvent>, Vec<FollowWait>)) -> String {
    let waits = waits.iter().map(|wait| format!("{}@{}", wait.target.arguments(), wait.generation));
    events.iter().map(word).chain(waits).collect::<Vec<_>>().join(", ")
}

fn word(event: &HookEvent) -> String {
    match &event.source {
        EventSource::Drain { target, services } => {
            let services: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
            format!("{}: {} -> {} ({})", target.arguments(), event.before, event.state, services.join(" "))
        }
        EventSource::Vip { .. } | EventSource::Session(_) => panic!("{event:?}"),
    }
}

#[test]
fn a_drain_begins_is_followed_and_ends() {
    let config = config();
    let mut drains = DrainEvents::default();
    let mut now = DrainsInForce::default();
    for (files, generation, want) in [
        ("", 1, ""),
        ("www@ann", 2, "www: ended -> begun (www), www@2"),
        ("www@ann www@bob", 3, ""),
        ("www@bob _all!", 4, "--all: ended -> begun (www mail)"),
        ("_all", 5, "www: begun -> ended (www), --all@5"),
        (
            "_all _peer-r1 _vip-192.0.2.25 _family-ipv6",
            6,
            "192.0.2.25: ended -> begun (mail), --family ipv6: ended -> begun (www), --peer r1: ended -> begun (), \
          192.0.2.25@6, --family ipv6@6, --peer r1@6",
        ),
    ] {
        now = in_force(files, generation);
        assert_eq!(words(drains.changed(&now, &config)), want, "{files}");
    }
    let wait = |target, generation| FollowWait { target, generation };
    let followed = drains.followed(wait(DrainTarget::All, 5), &now.drains, &config).unwrap();
    assert_eq!(word(&followed), "--all: begun -> drained (www mail)");
    assert_eq!(followed.message, "the routers have followed: drained by ann: disk");
    assert_eq!(drains.followed(wait(DrainTarget::All, 5), &now.drains, &config), None, "once");
    let www = DrainTarget::Service("www".into());
    assert_eq!(drains.followed(wait(www.clone(), 2), &now.drains, &config), None, "it has ended before");
    // It begins again: the wait of the former drain does not count.
    assert_eq!(
        words(drains.changed(&in_force("www", 9), &config))
            .split(", ")
            .filter(|word| word.starts_with("www"))
            .collect::<Vec<_>>(),
        ["www: ended -> begun (www)", "www@9"]
    );
    assert_eq!(drains.followed(wait(www, 2), &now.drains, &config), None);
}

#[test]
fn after_a_takeover_the_drains_in_force_are_no_events_and_their_ends_are() {
    let (config, now) = (config(), in_force("www", 1));
    let mut drains = DrainEvents::continued(&now.drains);
    assert_eq!(words(drains.changed(&now, &config)), "");
    assert_eq!(words(drains.changed(&in_force("", 2), &config)), "www: drained -> ended (www)");
}
