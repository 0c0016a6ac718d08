use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::config::kind::http;
use crate::health::outcome::{Reason, Shortage, TimeoutPhase};

/// The time of all events in tests for which the time does not matter.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// `+` pass, `s` slow pass, `-` fail, `t` timeout, `!` skipped.
fn outcome(mark: char) -> Outcome {
    let took = Duration::from_millis(1);
    match mark {
        '+' => Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took },
        's' => Outcome::Pass { answer: http::Answer::Status(200).into(), warning: None, took: LATE },
        '-' => Outcome::Fail { reason: Reason::Refused, took },
        't' => {
            Outcome::Fail { reason: Reason::TimedOut { waiting: TimeoutPhase::Answer, after: took }, took }
        }
        '!' => Outcome::Skipped(Shortage::Files),
        other => panic!("no mark: {other}"),
    }
}

/// The `slow` of the tests is shorter than this, and longer than the other answers.
const LATE: Duration = Duration::from_millis(400);

/// The state after each probe: `?` unknown, `U` up, `S` up and slow, `T` down by timeouts, `D` down.
fn states(check: &mut Check, probes: &str) -> String {
    let state = |(at, probe): (usize, char)| {
        let _ = check.observe(at as u64, outcome(probe), *START);
        match check.verdict() {
            Verdict::Unknown => '?',
            Verdict::Up => {
                if check.is_slow() {
                    'S'
                } else {
                    'U'
                }
            }
            Verdict::Down => {
                if check.is_timed_out() {
                    'T'
                } else {
                    'D'
                }
            }
        }
    };
    probes.chars().enumerate().map(state).collect()
}

/// Rise 2, fall 3, slow 300 ms.
fn timed(initial: Verdict) -> Check {
    Check::new(2, 3, initial, *START).slow_after(Some(Duration::from_millis(300)))
}

#[test]
fn a_timeout_is_a_failure_and_no_death() {
    for (probes, want) in [
        ("++ttt", "?UUUT"),
        ("++--t", "?UUUT"),
        ("++t--", "?UUUT"),
        ("++---", "?UUUD"),
        // Only failures in a row that are no timeouts withdraw: an overloaded server resets a connection now and then.
        ("++ttt-t-t--t---", "?UUUTTTTTTTTTTD"),
        // What was dead comes back by passes alone.
        ("++---tttttt++", "?UUUDDDDDDDDU"),
        ("++---ttt++ttt", "?UUUDDDDDUUUT"),
        ("ttt", "??T"),
        ("tt-", "??T"),
        ("---ttt", "??DDDD"),
        ("++tt!t", "?UUUUT"),
    ] {
        assert_eq!(states(&mut timed(Verdict::Unknown), probes), want, "{probes}");
    }
    assert_eq!(states(&mut timed(Verdict::Down), "tttt"), "DDDD", "an inherited verdict");
    let mut gone = timed(Verdict::Up);
    assert_eq!(gone.vanished(0), Some(Verdict::Down));
    assert_eq!(states(&mut gone, "tttt++"), "DDDDDU");
}

#[test]
fn late_answers_are_judged_by_rise_and_fall() {
    for (probes, want) in [
        ("++ss+sss", "?UUUUUUS"),
        ("++sss+s++", "?UUUSSSSU"),
        // A failure is no answer: late ones count on, and those in time begin again.
        ("++sst-s", "?UUUUUS"),
        ("++sss+t++", "?UUUSSSSU"),
        // All of the passes that make it healthy have to be in time.
        ("sss", "?SS"),
        ("s+", "?S"),
        ("s++", "?SU"),
        ("++---ss++", "?UUUDDSSU"),
        ("++---++", "?UUUDDU"),
        ("++ss!s", "?UUUUS"),
        ("++sssttt", "?UUUSSST"),
    ] {
        assert_eq!(states(&mut timed(Verdict::Unknown), probes), want, "{probes}");
    }
    let mut without = timed(Verdict::Unknown).slow_after(None);
    assert_eq!(states(&mut without, "sssss"), "?UUUU");
}

#[test]
fn slow_answers_read_as_a_sentence() {
    let mut check = timed(Verdict::Up);
    let seen: Vec<String> = "+ss+sss+"
        .chars()
        .enumerate()
        .map(|(at, probe)| {
            let _ = check.observe(at as u64, outcome(probe), *START);
            check.slowness().map_or_else(String::new, |seen| seen.to_string())
        })
        .collect();
    let late = |run| format!("{run} of 3 probes were slow (last: HTTP 200 after 400 ms)");
    let in_time = "1 of 2 probes were in time (last: HTTP 200 after 1 ms)".to_owned();
    assert_eq!(seen, [String::new(), late(1), late(2), String::new(), late(1), late(2), late(3), in_time]);
}

#[test]
fn the_next_process_finds_timeouts_and_slow_answers() {
    for (probes, next, want) in [
        ("++ttt", "ttt", "TTT"),
        ("++ttt", "---", "TTD"),
        ("++sss", "s+s++", "SSSSU"),
        ("++---", "ttt", "DDD"),
    ] {
        let mut check = timed(Verdict::Unknown);
        let _ = states(&mut check, probes);
        let slow = Some(Duration::from_millis(300));
        let mut next_check = Check::resumed(2, 3, check.found(), *START, *START).slow_after(slow);
        assert_eq!(states(&mut next_check, next), want, "{probes} {next}");
    }
}

/// U up, D down, ? unknown, . no change.
fn mark(change: Option<Verdict>) -> char {
    match change {
        None => '.',
        Some(Verdict::Up) => 'U',
        Some(Verdict::Down) => 'D',
        Some(Verdict::Unknown) => '?',
    }
}

fn draw(mut check: Check, probes: &str) -> String {
    probes
        .chars()
        .enumerate()
        .map(|(at, probe)| mark(check.observe(at as u64, outcome(probe), *START)))
        .collect()
}

#[test]
fn rise_two_fall_three() {
    for (probes, want) in [
        ("++", ".U"),
        ("+-++", "...U"),
        ("++--+---", ".U.....D"),
        ("---", "..D"),
        ("--+---", ".....D"),
        ("---+-++", "..D...U"),
        ("+++++", ".U..."),
        ("-----", "..D.."),
        ("+-+-+-+-", "........"),
        ("++---++---", ".U..D.U..D"),
    ] {
        assert_eq!(draw(Check::new(2, 3, Verdict::Unknown, *START), probes), want, "{probes}");
    }
}

#[test]
fn rise_one_fall_one_follows_each_probe() {
    assert_eq!(draw(Check::new(1, 1, Verdict::Unknown, *START), "+-+--"), "UDUD.");
}

#[test]
fn a_skipped_probe_neither_counts_nor_breaks_a_run() {
    for (probes, want) in [("+!+", "..U"), ("++-!-!-", ".U....D"), ("!!!!", "....")] {
        assert_eq!(draw(Check::new(2, 3, Verdict::Unknown, *START), probes), want, "{probes}");
    }
}

#[test]
fn an_inherited_verdict_stands_until_as_many_probes_speak_against_it() {
    for (initial, probes, want) in [
        (Verdict::Up, "+++", "..."),
        (Verdict::Up, "---", "..D"),
        (Verdict::Up, "--+--", "....."),
        (Verdict::Down, "--++", "...U"),
    ] {
        assert_eq!(draw(Check::new(2, 3, initial, *START), probes), want, "{initial} {probes}");
    }
}

#[test]
fn a_late_outcome_does_not_override_a_newer_one() {
    let mut check = Check::new(2, 1, Verdict::Unknown, *START);
    assert_eq!(check.observe(2, outcome('+'), *START), None);
    assert_eq!(check.observe(3, outcome('+'), *START), Some(Verdict::Up));
    assert_eq!(check.observe(1, outcome('-'), *START), None, "started before the newest that passed");
    assert_eq!((check.verdict(), check.last()), (Verdict::Up, Some(&outcome('+'))));
    assert_eq!(check.observe(4, outcome('-'), *START), Some(Verdict::Down));
    assert_eq!(check.observe(0, outcome('+'), *START), None);
    assert_eq!(check.streak(), Streak::Failed { run: 1, fall: 1 });
}

#[test]
fn an_older_outcome_still_counts_behind_a_skipped_one() {
    let mut check = Check::new(1, 1, Verdict::Unknown, *START);
    assert_eq!(check.observe(5, outcome('!'), *START), None);
    assert_eq!(check.observe(4, outcome('-'), *START), Some(Verdict::Down));
}

#[test]
fn probes_hurry_while_the_verdict_may_change() {
    let mut check = Check::new(2, 3, Verdict::Unknown, *START);
    let seen: String = "++-+---+-++"
        .chars()
        .enumerate()
        .map(|(at, probe)| {
            let _ = check.observe(at as u64, outcome(probe), *START);
            if check.settling() { 's' } else { '.' }
        })
        .collect();
    assert_eq!(seen, "s.s.ss.s.s.");
    assert!(Check::new(2, 3, Verdict::Unknown, *START).settling());
    assert!(!Check::new(2, 3, Verdict::Up, *START).settling());
}

#[test]
fn nothing_that_listens_is_down_at_once_and_takes_rise_passes() {
    let mut check = Check::new(2, 3, Verdict::Unknown, *START);
    for sequence in [1, 2] {
        let _ = check.observe(sequence, outcome('+'), *START);
    }
    assert_eq!(check.vanished(4), Some(Verdict::Down));
    assert_eq!(check.vanished(4), None);
    assert_eq!(check.streak().to_string(), "nothing listens any more");
    assert_eq!(check.observe(3, outcome('+'), *START), None, "was started before");
    assert!(check.absent());
    assert_eq!(check.observe(4, outcome('+'), *START), None);
    assert!(check.absent(), "until it is up");
    assert_eq!(check.observe(5, outcome('+'), *START), Some(Verdict::Up));
    assert!(!check.absent());
}

#[test]
fn refusals_in_a_row_are_an_absence_and_other_failures_are_not() {
    let timed_out = || Outcome::Fail { reason: Reason::Closed, took: Duration::ZERO };
    let mut check = Check::new(1, 2, Verdict::Unknown, *START);
    for (sequence, failed, absent) in
        [(1, timed_out(), false), (2, outcome('-'), false), (3, outcome('-'), true), (4, timed_out(), false)]
    {
        let _ = check.observe(sequence, failed, *START);
        assert_eq!(check.absent(), absent, "{sequence}");
    }
}

#[test]
fn what_is_not_renewed_is_unknown_and_takes_rise_passes() {
    let mut check = Check::new(2, 3, Verdict::Up, *START);
    let later = *START + Duration::from_secs(1);
    let _ = check.observe(1, outcome('!'), later);
    assert_eq!(check.renewed(), later, "who cannot ask is alive");
    assert!(check.lapse(Duration::from_secs(3)));
    assert_eq!(
        (check.verdict(), check.streak().to_string()),
        (Verdict::Unknown, "no probe has ended for 3s".into())
    );
    assert_eq!(check.observe(2, outcome('+'), later), None);
    assert_eq!(check.observe(3, outcome('+'), later), Some(Verdict::Up));
    let mut down = Check::new(2, 3, Verdict::Down, *START);
    assert!(!down.lapse(Duration::from_secs(3)));
    assert_eq!((down.verdict(), down.streak()), (Verdict::Down, Streak::None));
}

#[test]
fn a_streak_reads_as_a_sentence() {
    let mut check = Check::new(2, 3, Verdict::Unknown, *START);
    assert_eq!(check.streak().to_string(), "no probe has answered yet");
    let said: Vec<String> = "+----"
        .chars()
        .enumerate()
        .map(|(at, probe)| {
            let _ = check.observe(at as u64, outcome(probe), *START);
            check.streak().to_string()
        })
        .collect();
    assert_eq!(
        said,
        [
            "1 of 2 probes passed",
            "1 of 3 probes failed",
            "2 of 3 probes failed",
            "3 of 3 probes failed",
            "3 of 3 probes failed"
        ]
    );
}

/// Outcomes that arrive in any order.
fn arrivals() -> impl Strategy<Value = Vec<(u64, char)>> {
    prop::collection::vec((0..60u64, prop::sample::select(vec!['+', '-', '!'])), 0..80)
}

/// The outcomes that count: without skipped ones, and without those that are older than an earlier one.
fn counted(arrivals: &[(u64, char)]) -> String {
    let mut newest = 0;
    arrivals
        .iter()
        .filter(|(_, probe)| *probe != '!')
        .filter(|(sequence, _)| {
            *sequence >= newest && {
                newest = *sequence;
                true
            }
        })
        .map(|(_, probe)| probe)
        .collect()
}

proptest! {
    /// A change to Up comes with the `rise`th pass in a row, and to Down with the `fall`th failure, of those that count;
    /// changes alternate, never go back to Unknown, and the verdict is the last of them.
    #[test]
    fn verdicts_follow_runs(arrivals in arrivals(), rise in 1..5u32, fall in 1..5u32) {
        let mut check = Check::new(rise, fall, Verdict::Unknown, *START);
        let mut before = Verdict::Unknown;
        for (at, (sequence, probe)) in arrivals.iter().enumerate() {
            let change = check.observe(*sequence, outcome(*probe), *START);
            let so_far = counted(&arrivals[..=at]);
            let risen = so_far.ends_with(&"+".repeat(rise as usize));
            let fallen = so_far.ends_with(&"-".repeat(fall as usize));
            let want = if risen { Verdict::Up } else if fallen { Verdict::Down } else { before };
            prop_assert_eq!(check.verdict(), want);
            prop_assert_eq!(change, (want != before).then_some(want));
            before = want;
        }
    }

    /// A late outcome changes nothing.
    #[test]
    fn late_outcomes_leave_no_trace(arrivals in arrivals(), late in prop::sample::select(vec!['+', '-', '!'])) {
        let mut check = Check::new(2, 3, Verdict::Unknown, *START);
        for (sequence, probe) in &arrivals {
            let _ = check.observe(sequence + 1, outcome(*probe), *START);
        }
        prop_assume!(check.newest.is_some());
        let (verdict, streak, last) = (check.verdict(), check.streak(), check.last().cloned());
        prop_assert_eq!(check.observe(0, outcome(late), *START), None);
        prop_assert_eq!((verdict, streak, last.as_ref()), (check.verdict(), check.streak(), check.last()));
    }
}

#[test]
fn a_lease_starts_again_with_another_rise_and_fall() {
    let check = Check::new(2, 3, Verdict::Up, *START);
    let later = *START + Duration::from_secs(10);
    assert_eq!(check.clone().counting(1, 1, later).renewed(), later);
    let mut check = check;
    let _ = check.observe(1, outcome('+'), later);
    assert_eq!(check.counting(1, 1, *START).renewed(), later, "a later result counts");
}

#[test]
fn failures_do_not_count_in_the_start_period_and_passes_do() {
    let second = Duration::from_secs(1);
    // A probe each second, a period of 5 s, rise 2, fall 3.
    for (initial, probes, want) in [
        (Verdict::Unknown, "-----", "?????"),
        (Verdict::Unknown, "--------", "???????D"),
        (Verdict::Unknown, "--+---", "?????D"),
        (Verdict::Unknown, "--++", "???U"),
        (Verdict::Unknown, "++---", "?UUUD"),
        (Verdict::Unknown, "--+-t-", "?????D"),
        (Verdict::Up, "---", "UUD"),
        (Verdict::Down, "--++", "DDDU"),
    ] {
        let mut check = Check::new(2, 3, initial, *START).starting(second * 5, *START);
        let state = |(at, probe): (usize, char)| {
            let _ = check.observe(at as u64, outcome(probe), *START + second * u32::try_from(at).unwrap());
            match check.verdict() {
                Verdict::Unknown => '?',
                Verdict::Up => 'U',
                Verdict::Down => 'D',
            }
        };
        let seen: String = probes.chars().enumerate().map(state).collect();
        assert_eq!(seen, want, "{initial} {probes}");
    }
    let mut check = Check::new(2, 3, Verdict::Unknown, *START).starting(second * 30, *START);
    let _ = check.observe(1, outcome('-'), *START);
    assert_eq!(
        check.evidence().to_string(),
        "failures do not count yet (`start_period`) (last: connection refused after 1 ms)"
    );
}
