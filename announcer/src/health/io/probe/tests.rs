//! Tests in virtual time, with probes that return given outcomes.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::config::kind::http;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::io::prober::START_GRID;
use crate::health::outcome::Reason;

const INTERVAL: Duration = Duration::from_millis(200);

fn pass() -> Outcome {
    Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took: Duration::ZERO }
}

fn hung() -> Outcome {
    Outcome::Fail { reason: Reason::Closed, took: Duration::ZERO }
}

/// A loop under test, and the times at which it started probes, since its own start.
struct LoopUnderTest {
    pace: watch::Sender<Pace>,
    facts: mpsc::Receiver<Observation>,
    starts: Rc<RefCell<Vec<Duration>>>,
    most_at_once: Rc<RefCell<usize>>,
    epoch: Instant,
    task: tokio::task::JoinHandle<()>,
}

impl LoopUnderTest {
    /// The `n`th probe, from 0, lasts `lasts(n)`.
    fn start(interval: Duration, room: usize, lasts: fn(usize) -> Duration) -> LoopUnderTest {
        LoopUnderTest::of(Prober::new(Files::new()), interval, room, lasts)
    }

    /// The same, in a daemon with other loops.
    fn of(prober: Prober, interval: Duration, room: usize, lasts: fn(usize) -> Duration) -> LoopUnderTest {
        let (pace, paced) = watch::channel(Pace { interval, rechecks: 0 });
        let (send, facts) = mpsc::channel(room);
        let (starts, most_at_once) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(0)));
        let epoch = Instant::now();
        let (log, most, alive) = (starts.clone(), most_at_once.clone(), Rc::new(()));
        let probe = move || {
            let number = log.borrow().len();
            log.borrow_mut().push(epoch.elapsed());
            let mine = alive.clone();
            let now_alive = Rc::strong_count(&mine) - 1;
            let before = *most.borrow();
            *most.borrow_mut() = before.max(now_alive);
            async move {
                sleep(lasts(number)).await;
                drop(mine);
                if lasts(number).is_zero() { pass() } else { hung() }
            }
        };
        let task = tokio::task::spawn_local(async move {
            drive(&prober, probe, Duration::ZERO, paced, send, |seen| seen).await;
        });
        LoopUnderTest { pace, facts, starts, most_at_once, epoch, task }
    }

    fn gaps(&self) -> Vec<Duration> {
        self.starts.borrow().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn started(&self) -> usize {
        self.starts.borrow().len()
    }
}

/// A test's body in virtual time.
fn virtually(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// Compares two times: virtual timers are exact to a millisecond.
fn near(gap: Duration, want: Duration) -> bool {
    gap.abs_diff(want) <= Duration::from_millis(1)
}

#[test]
fn the_first_probe_is_soon_and_the_rest_keep_a_grid_of_their_own() {
    let mut phases = Vec::new();
    for _ in 0..20 {
        virtually(async {
            let run = LoopUnderTest::start(Duration::from_secs(1), 64, |_| Duration::ZERO);
            sleep(Duration::from_secs(20)).await;
            assert!(run.starts.borrow()[0] <= FIRST + START_GRID);
            let gaps = run.gaps();
            assert!(gaps[0] <= Duration::from_secs(1) + START_GRID);
            assert!(gaps[1..].iter().all(|gap| near(*gap, Duration::from_secs(1))), "{gaps:?}");
            let last = *run.starts.borrow().last().unwrap();
            // There is no drift: the time from the second to the last start is a multiple of the interval.
            assert!(near(last - run.starts.borrow()[1], Duration::from_secs(run.started() as u64 - 2)));
            phases.push(last.subsec_millis());
        });
    }
    phases.sort_unstable();
    phases.dedup();
    assert!(phases.len() > 10, "fleets would probe in step: {phases:?}");
}

#[test]
fn probes_of_all_loops_share_their_starts() {
    virtually(async {
        let prober = Prober::new(Files::new());
        let runs: Vec<LoopUnderTest> = (0..20)
            .map(|_| LoopUnderTest::of(prober.clone(), Duration::from_secs(1), 64, |_| Duration::ZERO))
            .collect();
        sleep(Duration::from_secs(5)).await;
        let stride = START_GRID.as_micros();
        let mut phases: Vec<u128> = runs
            .iter()
            .flat_map(|run| run.starts.borrow().iter().map(|start| start.as_micros()).collect::<Vec<_>>())
            .map(|start| start % stride)
            .collect();
        phases.sort_unstable();
        phases.dedup_by(|a, b| a.abs_diff(*b) <= 1000);
        assert!(phases.len() <= 2, "a phase for all, seen from both sides of a stride: {phases:?}");
    });
}

#[test]
fn a_slow_probe_does_not_delay_the_next_and_is_reported_before_it() {
    virtually(async {
        let mut run =
            LoopUnderTest::start(INTERVAL, 64, |n| Duration::from_millis(if n == 1 { 900 } else { 0 }));
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(run.facts.recv().await.unwrap());
        }
        assert!(run.gaps()[1..].iter().all(|gap| near(*gap, INTERVAL)), "{:?}", run.gaps());
        let order: Vec<u64> = seen.iter().map(|seen| seen.sequence).collect();
        assert_eq!(seen[1].outcome, hung(), "as it was started, before those that ended sooner");
        assert!(order.is_sorted(), "{order:?}");
    });
}

#[test]
fn eight_are_in_flight_and_the_ninth_waits() {
    virtually(async {
        let mut run = LoopUnderTest::start(Duration::from_millis(50), 64, |_| Duration::from_secs(1));
        for _ in 0..20 {
            assert_eq!(run.facts.recv().await.unwrap().outcome, hung());
        }
        assert_eq!(*run.most_at_once.borrow(), MOST);
        let starts = run.starts.borrow();
        assert!(starts[7] < Duration::from_millis(500));
        assert!(near(starts[8], starts[0] + Duration::from_secs(1)), "{starts:?}");
        // With `fall = 3`, a hanging server is noticed after the timeout and two intervals.
        assert!(starts[2] < Duration::from_millis(160), "{starts:?}");
    });
}

#[test]
fn a_receiver_that_is_slow_costs_no_outcome_and_no_memory() {
    virtually(async {
        let mut run = LoopUnderTest::start(INTERVAL, 1, |_| Duration::ZERO);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(run.started(), MOST + 1, "one is in the channel, the others wait");
        let now = run.epoch.elapsed();
        let mut before = 0;
        for _ in 0..=MOST {
            let seen = run.facts.recv().await.unwrap();
            assert!(seen.sequence > before);
            assert!(seen.at - run.epoch < Duration::from_secs(3), "known long before it was taken");
            before = seen.sequence;
        }
        // This is not on the grid, so that no probe is due now.
        sleep(INTERVAL * 3 + START_GRID / 2).await;
        assert!(near(run.starts.borrow()[MOST + 1], now), "the next starts as soon as there is room");
        assert_eq!(run.started(), MOST + 1 + 4, "and no burst makes up for those that were missed");
    });
}

#[test]
fn a_kick_probes_now() {
    virtually(async {
        let mut run = LoopUnderTest::start(Duration::from_secs(60), 64, |_| Duration::ZERO);
        run.facts.recv().await.unwrap();
        run.pace.send_modify(|pace| pace.rechecks += 1);
        let kicked = run.epoch.elapsed();
        let seen = timeout(Duration::from_millis(5), run.facts.recv()).await.unwrap().unwrap();
        assert!(near(seen.at - run.epoch, kicked));
        run.pace.send_modify(|pace| pace.interval = Duration::from_secs(50));
        sleep(Duration::from_millis(5)).await;
        assert_eq!(run.started(), 2, "another pace is no kick");
    });
}

#[test]
fn a_shorter_interval_counts_from_the_last_probe_and_a_longer_one_from_the_next() {
    virtually(async {
        let mut run = LoopUnderTest::start(Duration::from_secs(10), 64, |_| Duration::ZERO);
        for _ in 0..3 {
            run.facts.recv().await.unwrap();
        }
        let last = run.epoch.elapsed();
        advance(Duration::from_millis(50)).await;
        run.pace.send_modify(|pace| pace.interval = INTERVAL);
        run.facts.recv().await.unwrap();
        assert!(near(run.epoch.elapsed(), last + INTERVAL), "{:?}", run.gaps());
        run.pace.send_modify(|pace| pace.interval = Duration::from_secs(10));
        for _ in 0..3 {
            run.facts.recv().await.unwrap();
        }
        let gaps = run.gaps();
        assert!(near(gaps[3], INTERVAL), "{gaps:?}");
        assert!(gaps[4] >= INTERVAL && gaps[4] <= Duration::from_millis(10_001), "{gaps:?}");
        assert!(near(gaps[5], Duration::from_secs(10)), "{gaps:?}");
    });
}

#[test]
fn it_ends_when_nobody_paces_it_or_listens_and_probes_end_with_it() {
    virtually(async {
        let mut run = LoopUnderTest::start(INTERVAL, 4, |_| Duration::ZERO);
        run.facts.recv().await.unwrap();
        drop(run.pace);
        timeout(Duration::from_millis(1), run.task).await.unwrap().unwrap();

        let mut run = LoopUnderTest::start(INTERVAL, 4, |_| Duration::from_secs(9));
        run.facts.recv().await.unwrap();
        assert_eq!(*run.most_at_once.borrow(), MOST);
        run.facts.close();
        timeout(Duration::from_millis(1), run.task).await.unwrap().unwrap();
    });
}

#[test]
fn a_loop_that_is_started_anew_goes_on_counting() {
    virtually(async {
        let (prober, mut before) = (Prober::new(Files::new()), 0);
        for _ in 0..3 {
            let mut run = LoopUnderTest::of(prober.clone(), INTERVAL, 4, |_| Duration::ZERO);
            for _ in 0..2 {
                let seen = run.facts.recv().await.unwrap();
                assert!(seen.sequence > before);
                before = seen.sequence;
            }
            run.task.abort();
        }
    });
}

#[tokio::test]
async fn a_target_is_probed_over_http_and_named_in_what_is_reported() {
    use tokio::io::AsyncWriteExt;
    let vip = std::net::IpAddr::from([127, 0, 0, 9]);
    let listener = tokio::net::TcpListener::bind((vip, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = a_check(&format!("http = \"http://www.example.com:{port}/\"\ntimeout = \"200ms\""));
    let target = Target { service: "www".parse().unwrap(), vip, check: 1, config, vrf: None };
    let (_pace, paced) = watch::channel(Pace { interval: INTERVAL, rechecks: 0 });
    let (send, mut facts) = mpsc::channel(1);
    let start = std::time::Instant::now();
    let task = tokio::spawn(run(Prober::new(Files::new()), target.clone(), paced, send));
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    let probed = facts.recv().await.unwrap();
    assert_eq!((&probed.service, probed.vip, probed.check), (&target.service, vip, 1));
    let Outcome::Pass { answer, .. } = probed.outcome else { panic!("{}", probed.outcome) };
    assert_eq!(answer, http::Answer::Status(204).into());
    assert!(probed.at > start && probed.at.elapsed() < INTERVAL);
    task.abort();
}
