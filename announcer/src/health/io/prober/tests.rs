//! Each test has its own prober, so that no test sees the probes of another (W23).

use std::time::Duration;

use super::*;
use crate::config::kind::file;

#[test]
fn loops_that_start_together_take_turns_and_one_alone_waits_for_none() {
    let (now, mut start_times) = (std::time::Instant::now(), StartTimes { last: None });
    assert!((0..1000).all(|n| start_times.next(now) == APART * n));
    assert_eq!(start_times.next(now + APART * 1010), Duration::ZERO);
}

async fn passes() -> Outcome {
    Outcome::Pass { answer: file::Answer::Exists.into(), warning: None, took: Duration::ZERO }
}

#[tokio::test]
async fn a_probe_is_admitted_when_few_others_are_starting() {
    let prober = Prober::new(Files::new());
    let places = prober.0.starting.acquire_many(u32::try_from(MAX_STARTING).unwrap()).await.unwrap();
    let mut waiting = Box::pin(prober.admit(passes()));
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err(), "there is no place");
    drop(places);
    assert!(matches!(waiting.await, Outcome::Pass { .. }));
    assert_eq!(prober.0.starting.available_permits(), MAX_STARTING, "its place is free again");
}

// W23: the probes of another test, or of another daemon in this process, were once counted here.
#[tokio::test]
async fn each_prober_has_its_own_limit_turns_and_count() {
    let (one, other) = (Prober::new(Files::new()), Prober::new(Files::new()));
    let _places = one.0.starting.acquire_many(u32::try_from(MAX_STARTING).unwrap()).await.unwrap();
    assert!(matches!(other.admit(passes()).await, Outcome::Pass { .. }));
    assert_eq!((one.number(), one.number(), one.clone().issued(), other.issued()), (1, 2, 3, 1));
    assert_eq!(one.turn(), Duration::ZERO);
    assert!(one.turn() > Duration::ZERO, "the second loop of a daemon waits");
    assert_eq!(other.turn(), Duration::ZERO, "and not for one of another");
}
