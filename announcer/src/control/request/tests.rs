use super::*;
use crate::config;
use crate::config::tests::with_services;
use crate::control::api::ChainOrder;
use crate::control::orders::{DrainOrder, Targets, UndrainOrder};
use crate::drain::{DrainChange, DrainTarget, Operator};

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

/// The job as a short text, or the refusal.
fn shown(request: Request, drained: &[&str]) -> String {
    shown_with(&config(), request, drained)
}

/// The same, with another configuration.
fn shown_with(config: &Config, request: Request, drained: &[&str]) -> String {
    let operator = Operator::new(1000, Some("ann".into()), None);
    let facts = OrderFacts { operator, now: std::time::SystemTime::UNIX_EPOCH, boot: None };
    let drains = Drains::from_files(drained.iter().map(|name| ((*name).to_owned(), Ok(String::new()))));
    match job(request, facts, config, &drains) {
        Ok(Job::Query(Query::Status)) => "status".into(),
        Ok(Job::Query(Query::Explain { vip, peer })) => format!("explain {vip} {peer:?}"),
        Ok(Job::Query(Query::ExplainPeer { peer })) => format!("explain peer {peer}"),
        Ok(Job::Query(Query::Recheck { services, note })) => format!("recheck {services:?}, {note}"),
        Ok(Job::Command(Command::Reload { mode })) => format!("reload {mode:?}"),
        Ok(Job::Command(Command::Upgrade { successor, force })) => format!("upgrade {successor:?} {force}"),
        Ok(Job::Command(Command::Log(order))) => format!("log {order:?}"),
        Ok(Job::Query(Query::Waits)) => "waits".into(),
        Ok(Job::Command(Command::Drain(job))) => match *job {
            DrainJob { change: DrainChange::Drain { targets, .. }, wait, .. } => {
                format!("drain {} {}", files(&targets), wait.is_some())
            }
            DrainJob { change: DrainChange::Undrain { targets, force, .. }, wait, .. } => {
                format!("undrain {} {force} {}", files(&targets), wait.is_some())
            }
            other => panic!("{other:?}"),
        },
        Err(error) => format!("error: {}", error.text),
        Ok(Job::Query(Query::Chain)) => "chain".into(),
        Ok(Job::Query(Query::Site)) => "site".into(),
        Ok(Job::Command(Command::Chain(off))) => format!("chain off {}", off.is_some()),
        other @ Ok(Job::Events | Job::Query(Query::History { .. } | Query::OpenApi)) => panic!("{other:?}"),
    }
}

fn files(targets: &[DrainTarget]) -> String {
    targets.iter().map(DrainTarget::file).collect::<Vec<_>>().join("+")
}

fn drain(names: &[&str], wait_ms: Option<u64>) -> Request {
    let services = names.iter().map(|name| (*name).to_owned()).collect();
    let targets = Targets { services, ..Targets::default() };
    Request::Drain(DrainOrder { targets, wait_ms, ..DrainOrder::default() })
}

fn undrain(names: &[&str], force: bool) -> Request {
    let services = names.iter().map(|name| (*name).to_owned()).collect();
    let targets = Targets { services, ..Targets::default() };
    Request::Undrain(UndrainOrder { targets, force, ..UndrainOrder::default() })
}

// W17: `announcer undrain nonsuch` did nothing and said that it was done.
#[test]
fn each_request_is_a_job_or_a_refusal_that_says_what_there_is() {
    let did_you_mean = "error: there is no service `ww`; did you mean `www`?";
    for (request, drained, want) in [
        (Request::Status, &[][..], "status"),
        (Request::Waits, &[], "waits"),
        (Request::Reload { force: false, dry_run: false }, &[], "reload Careful"),
        (Request::Reload { force: true, dry_run: false }, &[], "reload Forced"),
        (Request::Reload { force: true, dry_run: true }, &[], "reload DryRun"),
        (drain(&["www", "mail"], Some(7)), &[], "drain www+mail true"),
        (drain(&["www", "ww"], None), &[], did_you_mean),
        (drain(&["old"], None), &["old"], "error: there is no service `old`; there is www, mail"),
        (undrain(&["www", "www"], false), &[], "undrain www false false"),
        (undrain(&["old"], true), &["old@bob"], "undrain old true false"),
        (undrain(&["ww"], false), &["old"], did_you_mean),
        (Request::Recheck { what: Scope::All }, &[], "recheck None, every service is probed now"),
        (Request::Recheck { what: services(&["www"]) }, &[], "recheck Some([\"www\"]), probed now: www"),
        (Request::Recheck { what: services(&["ww"]) }, &[], did_you_mean),
        (Request::Recheck { what: services(&[]) }, &[], "error: name a service, or `--all`"),
    ] {
        assert_eq!(shown(request.clone(), drained), want, "{request:?}");
    }
}

#[test]
fn without_a_chain_each_request_about_it_is_refused() {
    let chain =
        "[chain]\ninterface = \"eth0\"\nmembers = [\"10.0.1.11\", \"10.0.1.12\"]\nkey_file = \"/key\"\n";
    let with = config::parse("x", &format!("{CONFIG}{chain}")).unwrap_or_else(|errors| panic!("{errors}"));
    let off = ChainOrder { off: true, reason: Some("new switch".into()), by: None };
    for (request, want) in [
        (Request::Chain, "chain"),
        (Request::Site, "site"),
        (Request::SwitchChain(off), "chain off true"),
        (Request::SwitchChain(ChainOrder::default()), "chain off false"),
    ] {
        assert_eq!(shown_with(&with, request.clone(), &[]), want);
        assert_eq!(shown(request, &[]), format!("error: {}", chain::NOT_CONFIGURED));
    }
    let no_reason = ChainOrder { off: true, ..ChainOrder::default() };
    assert!(shown_with(&with, Request::SwitchChain(no_reason), &[]).starts_with("error: write a reason"));
}
