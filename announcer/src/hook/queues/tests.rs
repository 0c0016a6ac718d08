use std::time::Duration;

use super::*;
use crate::director::{NotAnnouncedReason, Standing, StandingChange};
use crate::program::{ProgramEnd, RunPhase, StartError};

/// Services `s0`, `s1` and so on, each with a hook and a VIP.
fn table(services: u8) -> HookTable {
    let services: String = (0..services)
        .map(|n| {
            format!(
                "[[service]]\nname = \"s{n}\"\nvips = [\"192.0.2.{}\"]\nhooks = {{ on_change = [\"/h\"] }}\n\
                 [[service.check]]\ntcp = 80\n",
                n + 1
            )
        })
        .collect();
    let text =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture.toml")).to_owned() + &services;
    HookTable::of(&crate::config::parse("x", &text).unwrap_or_else(|errors| panic!("{errors}")))
}

/// The VIP of a service is announced, or gone.
fn event(service: u8, announced: bool) -> HookEvent {
    let gone = || Standing::NotAnnounced(NotAnnouncedReason::Stopping);
    let (before, standing) =
        if announced { (gone(), Standing::Announced) } else { (Standing::Announced, gone()) };
    let (service, vip) = (format!("s{service}").parse().unwrap(), [192, 0, 2, service + 1].into());
    HookEvent::of_standing(&StandingChange { service, vip, standing, before })
}

fn names(taken: &[(HookOwner, HookCall)]) -> Vec<String> {
    let name = |owner: &HookOwner| match owner {
        HookOwner::Service(name) => name.to_string(),
        HookOwner::Host | HookOwner::Peer(_) => owner.to_string(),
    };
    taken.iter().map(|(owner, _)| name(owner)).collect()
}

fn take_all(queues: &mut HookQueues, now: Instant) -> Vec<(HookOwner, HookCall)> {
    std::iter::from_fn(|| queues.take(now)).collect()
}

#[test]
fn a_hook_that_hangs_delays_only_itself() {
    let (table, now) = (table(3), Instant::now());
    let mut queues = HookQueues::default();
    queues.changed(&event(0, true), &table);
    assert_eq!(names(&take_all(&mut queues, now)), ["s0"]);
    queues.changed(&event(0, false), &table);
    queues.changed(&event(2, true), &table);
    queues.changed(&event(1, true), &table);
    assert_eq!(
        names(&take_all(&mut queues, now)),
        ["s2", "s1"],
        "the oldest change is first, and s0 runs already"
    );
    assert_eq!(queues.runs().pending, 4);
}

#[test]
fn a_limited_number_of_hooks_runs_and_none_waits_for_ever() {
    let (table, now) = (table(12), Instant::now());
    let mut queues = HookQueues::default();
    for service in (0..12).rev() {
        queues.changed(&event(service, true), &table);
    }
    let mut running = take_all(&mut queues, now);
    assert_eq!(running.len(), MOST_RUNNING);
    assert_eq!(names(&running[..1]), ["s11"]);
    // s11 has something new each time, and is not preferred.
    let (owner, call) = running.remove(0);
    queues.changed(&event(11, false), &table);
    queues.ended(&owner, call, HookResult::Ok, now);
    assert_eq!(names(&take_all(&mut queues, now)), ["s3"]);
}

#[test]
fn a_hook_that_cannot_be_started_waits_and_the_others_do_not() {
    let (table, now) = (table(2), Instant::now());
    let mut queues = HookQueues::default();
    queues.changed(&event(0, true), &table);
    let (owner, call) = queues.take(now).unwrap();
    queues.ended(&owner, call, HookResult::NotStarted, now);
    assert_eq!((queues.take(now), queues.runs().pending), (None, 1));
    let again = queues.deadline().unwrap();
    assert_eq!(again - now, Duration::from_secs(1));
    queues.changed(&event(1, true), &table);
    assert_eq!(names(&take_all(&mut queues, now)), ["s1"]);
    assert_eq!(names(&take_all(&mut queues, again)), ["s0"]);
    assert_eq!(queues.deadline(), None, "nothing waits");
}

#[test]
fn a_reload_ends_the_waits_and_drops_the_runs_of_hooks_that_are_gone() {
    let (two, now) = (table(2), Instant::now());
    let mut queues = HookQueues::default();
    for service in [0, 1] {
        queues.changed(&event(service, true), &two);
        let (owner, call) = queues.take(now).unwrap();
        queues.ended(&owner, call, HookResult::NotStarted, now);
    }
    queues.configured(&table(1));
    assert_eq!(names(&take_all(&mut queues, now)), ["s0"]);
    assert_eq!(queues.runs().pending, 1);
}

#[test]
fn each_end_is_counted_once() {
    let ends = [
        (ProgramEnd::Code(0), HookResult::Ok),
        (ProgramEnd::Code(3), HookResult::Failed),
        (ProgramEnd::Signal("SIGSEGV"), HookResult::Failed),
        (ProgramEnd::Endless, HookResult::Failed),
        (ProgramEnd::TimedOut(RunPhase::Start), HookResult::TimedOut),
        (ProgramEnd::TimedOut(RunPhase::Exit), HookResult::TimedOut),
        (ProgramEnd::Lingering, HookResult::NotStarted),
        (ProgramEnd::NotStarted(StartError::NotExecutable), HookResult::NotStarted),
    ];
    let (table, now) = (table(8), Instant::now());
    let mut queues = HookQueues::default();
    for (service, (end, want)) in (0..).zip(ends) {
        assert_eq!(HookResult::of(&end), want, "{end}");
        queues.changed(&event(service, true), &table);
        let (owner, call) = queues.take(now).unwrap();
        queues.ended(&owner, call, want, now);
    }
    let want = HookRuns { ok: 1, failed: 3, timeout: 2, not_started: 2, replaced: 0, pending: 2 };
    assert_eq!(queues.runs(), want);
}
