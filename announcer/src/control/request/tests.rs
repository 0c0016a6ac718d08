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

fn services(names: &[&str]) -> Scope {
    Scope::Services(names.iter().map(|name| (*name).to_owned()).collect())
}

fn drains(names: &[&str]) -> Drains {
    Drains::from_files(names.iter().map(|name| ((*name).to_owned(), Ok("kernel".to_owned()))))
}

/// The job as a short text, or the refusal.
fn shown(request: Request, drained: &[&str]) -> String {
    match job(request, "ann".into(), "now".into(), &config(), &drains(drained)) {
        Ok(Job::Query(Query::Status)) => "status".into(),
        Ok(Job::Query(Query::Explain { vip, peer })) => format!("explain {vip} {peer:?}"),
        Ok(Job::Query(Query::ExplainPeer { peer })) => format!("explain peer {peer}"),
        Ok(Job::Query(Query::Recheck { services, note })) => format!("recheck {services:?}, {note}"),
        Ok(Job::Command(Command::Reload { mode })) => format!("reload {mode:?}"),
        Ok(Job::Command(Command::Log(order))) => format!("log {order:?}"),
        Ok(Job::Command(Command::Drain { change: DrainChange::Drain { names, drain }, wait })) => {
            format!("drain {} {drain} {wait:?}", names.join("+"))
        }
        Ok(Job::Command(Command::Drain { change: DrainChange::Undrain { names }, wait: None })) => {
            format!("undrain {}", names.join("+"))
        }
        Err(error) => error.text,
        other => panic!("{other:?}"),
    }
}

fn drain(what: Scope, reason: Option<&str>, wait_ms: Option<u64>) -> Request {
    Request::Drain { what, reason: reason.map(str::to_owned), by: None, wait_ms }
}

// W17: `announcer undrain nonsuch` did nothing and said that it was done.
#[test]
fn each_request_is_a_job_or_a_refusal_that_says_what_there_is() {
    let long = "x".repeat(70_000);
    let did_you_mean = "there is no service `ww`; did you mean `www`?";
    for (request, drained, want) in [
        (Request::Status, &[][..], "status"),
        (Request::Reload { force: false, dry_run: false }, &[], "reload Careful"),
        (Request::Reload { force: true, dry_run: false }, &[], "reload Forced"),
        (Request::Reload { force: true, dry_run: true }, &[], "reload DryRun"),
        (
            Request::Log { filter: "debug".into(), seconds: 600 },
            &[],
            r#"log LevelOrder { filter: "debug", lasts: 600s }"#,
        ),
        (
            Request::Log { filter: "debug".into(), seconds: 0 },
            &[],
            "the level can be changed for at most 24h, and for more than 0s; `--for 0s` is not",
        ),
        (drain(Scope::All, None, None), &[], "drain _all  by ann at now, no reason given None"),
        (
            drain(services(&["www", "mail"]), Some("disk"), Some(7)),
            &[],
            "drain www+mail  by ann at now: disk Some(7ms)",
        ),
        (drain(services(&[]), None, None), &[], "name a service, or `--all`"),
        (drain(services(&["www", "ww"]), None, None), &[], did_you_mean),
        (drain(services(&["old"]), None, None), &["old"], "there is no service `old`; there is www, mail"),
        (
            drain(services(&["www"]), Some(&long), None),
            &[],
            "the reason has 70000 octets; write at most 1000, such as the number of a ticket",
        ),
        (Request::Undrain { what: services(&["www"]) }, &[], "undrain www"),
        (Request::Undrain { what: services(&["www", "www"]) }, &[], "undrain www"),
        (Request::Undrain { what: Scope::All }, &[], "undrain _all"),
        (Request::Undrain { what: services(&["old"]) }, &["old"], "undrain old"),
        (Request::Undrain { what: services(&["ww"]) }, &["old"], did_you_mean),
        (
            Request::Undrain { what: services(&["../x"]) },
            &["old"],
            "there is no service `../x`; there is www, mail, old",
        ),
        (Request::Recheck { what: Scope::All }, &[], "recheck None, every service is probed now"),
        (Request::Recheck { what: services(&["www"]) }, &[], "recheck Some([\"www\"]), probed now: www"),
        (Request::Recheck { what: services(&["ww"]) }, &[], did_you_mean),
    ] {
        assert_eq!(shown(request.clone(), drained), want, "{request:?}");
    }
}

#[test]
fn who_asks_is_the_sockets_word_and_sudos() {
    for (uid, user, claimed, want) in [
        (1000, Some("ann"), None, "ann"),
        (1000, Some("ann"), Some("root"), "ann"),
        (1000, None, None, "uid 1000"),
        (0, Some("root"), None, "root"),
        (0, Some("root"), Some("root"), "root"),
        (0, Some("root"), Some("ann"), "ann (sudo)"),
    ] {
        assert_eq!(who(uid, user.map(str::to_owned), claimed.map(str::to_owned)), want);
    }
}

#[test]
fn an_undrain_says_what_stays_drained_and_what_was_not() {
    let all: Vec<crate::model::ServiceName> = config().services.into_iter().map(|s| s.name).collect();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (undrained, absent, drained, want) in [
        (&["www"][..], &[][..], &[][..], &[][..]),
        (&["www"], &["www"], &[], &["www was not drained by name"]),
        (&["_all"], &["_all"], &[], &["there was no drain of all services"]),
        (&["_all"], &[], &["mail"], &["mail stays drained: kernel; `announcer undrain mail` ends that"]),
        (&["www"], &[], &["_all"], &["www stays drained: kernel; `announcer undrain --all` ends that"]),
        (&["www"], &[], &["mail"], &[]),
        (
            &["www", "mail"],
            &[],
            &["_all"],
            &[
                "www stays drained: kernel; `announcer undrain --all` ends that",
                "mail stays drained: kernel; `announcer undrain --all` ends that",
            ],
        ),
    ] {
        assert_eq!(undrain_notes(&names(undrained), &names(absent), &drains(drained), &all), want);
    }
}

#[test]
fn a_wait_says_what_is_missing() {
    let settle = Duration::from_secs(1);
    let message = |waited| match wait_response(&waited, settle) {
        Response::Done { notes } => format!("done{}", notes.concat()),
        Response::Error(error) => {
            assert_eq!(error.code, ErrorCode::Timeout);
            error.text
        }
        other @ (Response::Status { .. }
        | Response::Vip(_)
        | Response::Peer(_)
        | Response::History(_)
        | Response::OpenApi) => panic!("{other:?}"),
    };
    assert_eq!(message(WaitResult::Settled), "done");
    assert_eq!(
        message(WaitResult::TimeIsUp(vec!["r1".into(), "r2".into()])),
        "drained, but not acknowledged by r1, r2 in time"
    );
    assert!(message(WaitResult::TimeIsUp(vec![])).contains("set `--timeout` to more than `settle`, 1s"));
}
