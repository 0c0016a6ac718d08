use std::net::IpAddr;

use super::*;
use crate::director::{NotAnnouncedReason, Standing, StandingChange};
use crate::drain::Drain;
use crate::hook::event::EventSource;

fn change(vip: u8, standing: Standing) -> HookEvent {
    changed(vip, STARTING, standing)
}

fn changed(vip: u8, before: Standing, standing: Standing) -> HookEvent {
    let service = "www".parse().unwrap();
    HookEvent::of_standing(&StandingChange { service, vip: [192, 0, 2, vip].into(), standing, before })
}

fn vip(call: &HookCall) -> u8 {
    match call.event.source {
        EventSource::Vip { vip: IpAddr::V4(vip), .. } => vip.octets()[3],
        EventSource::Vip { .. } | EventSource::Session(_) | EventSource::Drain { .. } => 0,
    }
}

fn calls(queue: &mut HookQueue) -> Vec<(u8, &'static str, &'static str)> {
    let one = |call: HookCall| (vip(&call), call.previous, call.event.state);
    std::iter::from_fn(|| queue.take()).map(one).collect()
}

const GONE: Standing = Standing::NotAnnounced(NotAnnouncedReason::Stopping);
const STARTING: Standing = Standing::NotAnnounced(NotAnnouncedReason::NotLookedFor(String::new()));

fn drained() -> Standing {
    Standing::Drained(Drain::default().into())
}

#[test]
fn each_vip_is_reported_in_order_once_and_as_it_is_when_its_turn_comes() {
    let mut queue = HookQueue::default();
    for vip in [1, 2, 3] {
        assert!(!queue.changed(change(vip, Standing::Announced), vip.into()));
    }
    assert!(queue.changed(change(1, drained()), 4), "it replaces one");
    assert_eq!(queue.first(), Some(1), "and keeps its place");
    let want = [(1, "starting", "drained"), (2, "starting", "announced"), (3, "starting", "announced")];
    assert_eq!(calls(&mut queue), want);
    queue.changed(change(2, GONE), 5);
    assert_eq!(calls(&mut queue), [(2, "announced", "not_announced")]);
}

#[test]
fn what_was_reported_is_not_reported_again() {
    let mut queue = HookQueue::default();
    queue.changed(change(1, STARTING), 1);
    assert_eq!(calls(&mut queue), [], "every VIP begins as starting");
    queue.changed(change(1, Standing::Announced), 2);
    queue.changed(change(2, Standing::Announced), 3);
    queue.changed(change(1, STARTING), 4);
    assert_eq!(calls(&mut queue), [(2, "starting", "announced")], "it came and went before the hook's turn");
    queue.changed(change(1, GONE), 5);
    assert_eq!(calls(&mut queue), [(1, "starting", "not_announced")]);
}

#[test]
fn a_hook_that_is_new_reports_the_state_before_its_first_event() {
    let mut queue = HookQueue::default();
    queue.changed(changed(1, Standing::Announced, drained()), 1);
    queue.changed(changed(1, drained(), GONE), 2);
    assert_eq!(calls(&mut queue), [(1, "announced", "not_announced")]);
}

#[test]
fn ten_thousand_changes_of_one_vip_are_one_call() {
    let mut queue = HookQueue::default();
    for _ in 0..5_000 {
        queue.changed(change(1, GONE), 1);
        queue.changed(change(1, Standing::Announced), 2);
    }
    assert_eq!((queue.order.len(), queue.waiting()), (1, 1));
}

#[test]
fn a_run_that_cannot_be_started_has_reported_nothing_and_is_tried_again() {
    let fails = |queue: &mut HookQueue| {
        let call = queue.take().unwrap();
        queue.ended(call, HookResult::NotStarted)
    };
    let mut queue = HookQueue::default();
    queue.changed(change(1, Standing::Announced), 1);
    assert_eq!(fails(&mut queue), FIRST_PAUSE);
    assert_eq!(fails(&mut queue), FIRST_PAUSE * 2);
    assert_eq!(calls(&mut queue), [(1, "starting", "announced")], "it is still to be reported");
    for _ in 0..40 {
        queue.changed(change(2, Standing::Announced), 2);
        assert!(fails(&mut queue) <= LONGEST_PAUSE);
    }
    let call = queue.take().unwrap();
    assert_eq!(queue.ended(call, HookResult::Failed), Duration::ZERO, "it was started");
    queue.changed(change(2, GONE), 3);
    assert_eq!(fails(&mut queue), FIRST_PAUSE, "the pauses begin anew");
}

#[test]
fn what_changed_during_a_run_that_could_not_be_started_is_one_change() {
    for (meanwhile, want) in [(drained(), vec![(1, "starting", "drained")]), (STARTING, vec![])] {
        let mut queue = HookQueue::default();
        queue.changed(change(1, Standing::Announced), 1);
        let call = queue.take().unwrap();
        queue.changed(change(1, meanwhile), 2);
        queue.changed(change(2, Standing::Announced), 3);
        queue.ended(call, HookResult::NotStarted);
        let another = (2, "starting", "announced");
        assert_eq!(calls(&mut queue), [want, vec![another]].concat());
    }
}
