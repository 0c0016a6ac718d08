use super::*;
use crate::bgp::hint::{LocalSettings, Setting};
use crate::bgp::notification::Notification;
use crate::bgp::open::OpenError;
use crate::model::PeerAsn;

const SECOND: Duration = Duration::from_secs(1);

fn closed() -> DownReason {
    TcpFailure::Closed.into()
}

fn reset() -> DownReason {
    TcpFailure::Reset.into()
}

fn refused() -> DownReason {
    TcpFailure::Refused.into()
}

fn silent() -> DownReason {
    TcpFailure::NoAnswer(SECOND * 5).into()
}

fn notified(kind: (u8, u8)) -> DownReason {
    DownReason::Notified(Notification::bare(kind))
}

fn wrong_as() -> DownReason {
    OpenError::WrongAs { got: 65002, want: PeerAsn::External }.into()
}

fn low_ttl() -> Clues {
    let ours = LocalSettings { settings: [Setting::TtlSecurity].into(), ..LocalSettings::default() };
    Clues { counters: [crate::bgp::hint::KernelCounter::LowTtl].into(), ours, ..Clues::default() }
}

/// Runs tries that end in these ways, with `apart` between two of them. Returns the logged lines, by the number of the try.
fn tries(
    outage: &mut Outage,
    from: Instant,
    apart: Duration,
    ends: &[DownReason],
) -> (Instant, Vec<(usize, u64)>) {
    let (mut at, mut lines) = (from, vec![]);
    for (n, why) in ends.iter().enumerate() {
        at += apart;
        lines.extend(outage.try_ended(why.clone(), &Clues::default(), at).map(|line| (n, line.tries)));
    }
    (at, lines)
}

// B11: FIN and RST alternate with an FRR that has no such neighbour, and with a BIRD or GoBGP that waits after an error.
#[test]
fn one_line_for_one_cause_whatever_way_the_tries_end() {
    let start = Instant::now();
    let mut outage = Outage::default();
    let turns: Vec<DownReason> = (0..1000).map(|n| if n % 3 == 0 { closed() } else { reset() }).collect();
    assert_eq!(tries(&mut outage, start, SECOND * 5, &turns).1, [(0, 1)]);

    let mut outage = Outage::default();
    let turns: Vec<DownReason> = (0..1000)
        .map(|n| match n % 4 {
            0 => wrong_as(),
            1 => closed(),
            2 => refused(),
            _ => reset(),
        })
        .collect();
    assert_eq!(tries(&mut outage, start, SECOND * 5, &turns).1, [(0, 1)]);

    let mut outage = Outage::default();
    let turns: Vec<DownReason> = (0..1000).map(|n| if n % 2 == 0 { silent() } else { refused() }).collect();
    assert_eq!(tries(&mut outage, start, SECOND * 5, &turns).1, [(0, 1), (1, 1)], "each once");
}

// B11
#[test]
fn another_cause_is_a_line_with_the_count_of_the_tries_before_it() {
    let mut outage = Outage::default();
    let mut ends = vec![refused(); 100];
    ends.extend(vec![silent(); 3]);
    ends.extend(vec![refused(); 200]);
    let (at, lines) = tries(&mut outage, Instant::now(), SECOND * 5, &ends);
    // A cause is logged again after it was the only one for 330 s.
    assert_eq!(lines, [(0, 1), (100, 100), (169, 69)]);
    assert_eq!(outage.established(), 304, "and the session says how many tries it took");
    assert_eq!(outage.reason(at), None);
}

#[test]
fn a_try_that_waits_is_logged_and_is_no_try_that_ended() {
    let now = Instant::now();
    let mut outage = Outage::default();
    let line = outage.try_waits(silent(), &Clues::default(), now).unwrap();
    assert_eq!(line.tries, 0);
    assert_eq!(outage.try_ended(silent(), &Clues::default(), now), None, "it is logged already");
    assert_eq!(outage.established(), 2);
}

#[test]
fn sixteen_causes_are_remembered_as_logged() {
    // Causes that take turns, three times each.
    for (causes, lines) in [(16, 16), (17, 3 * 17)] {
        let wrong_as = |got| DownReason::from(OpenError::WrongAs { got, want: PeerAsn::External });
        let turns: Vec<DownReason> = (0..3 * causes).map(|n| wrong_as(64512 + n % causes)).collect();
        let (_, logged) = tries(&mut Outage::default(), Instant::now(), SECOND, &turns);
        assert_eq!(logged.len(), lines, "{causes} causes");
    }
}

// B12: the true cause is shown in each look.
#[test]
fn what_was_learnt_stays_until_something_contradicts_it() {
    let mut now = Instant::now();
    let mut outage = Outage::default();
    let mut hear = |outage: &mut Outage, why: DownReason, clues: &Clues| {
        now += SECOND * 10;
        let _ = outage.try_ended(why, clues, now);
        outage.reason(now).map(|(reason, hint)| (reason, hint.unwrap_or_default())).unwrap()
    };
    let plain = Clues::default();
    assert_eq!(
        hear(&mut outage, wrong_as(), &plain).0,
        "its OPEN has AS 65002, we expect another AS than ours, 0s ago"
    );
    for (why, times) in [
        (closed(), "(once)"),
        (reset(), "(2 times)"),
        (reset(), "(3 times)"),
        (refused(), "(once)"),
        (notified((6, 5)), "(once)"),
        (closed(), "(once)"),
    ] {
        let (reason, hint) = hear(&mut outage, why, &plain);
        assert!(reason.starts_with("its OPEN has AS 65002") && reason.contains("; since then "), "{reason}");
        assert!(reason.ends_with(times), "{times}: {reason}");
        assert!(hint.contains("asn = 65002"), "{hint}");
        // That nothing accepts connections is newer, and its hint comes first.
        let refused = reason.contains("refused");
        assert_eq!(hint.starts_with("check that the router's BGP daemon runs"), refused, "{hint}");
        assert_eq!(hint.contains("; before that: compare `asn`"), refused, "{hint}");
    }
    // Another cause is shown first, followed by the learnt cause.
    let (reason, hint) = hear(&mut outage, silent(), &plain);
    assert!(reason.starts_with("no answer") && reason.contains("; before that its OPEN has AS"), "{reason}");
    assert!(hint.contains("password"), "{hint}");
    // The new NOTIFICATION replaces the learnt cause.
    let (reason, _) = hear(&mut outage, notified((2, 2)), &plain);
    assert_eq!(reason, "the peer sent NOTIFICATION: OPEN Message Error/Bad Peer AS, 0s ago");
    assert!(hear(&mut outage, closed(), &plain).0.contains("Bad Peer AS"));
    // An accepted OPEN of the router does not mean that the router accepts ours.
    outage.open_accepted();
    assert!(hear(&mut outage, closed(), &plain).0.contains("Bad Peer AS"));
    outage.established();
    assert!(!hear(&mut outage, closed(), &plain).0.contains("Bad Peer AS"));
}

// B12
#[test]
fn an_open_that_is_accepted_contradicts_a_wrong_one_and_a_low_ttl() {
    let now = Instant::now();
    for (why, clues) in [(wrong_as(), Clues::default()), (silent(), low_ttl())] {
        let mut outage = Outage::default();
        let _ = outage.try_ended(why.clone(), &clues, now);
        let _ = outage.try_ended(closed(), &Clues::default(), now);
        let shown = |outage: &Outage| outage.reason(now).unwrap().0.contains(&why.to_string());
        assert!(shown(&outage), "{why}");
        outage.open_accepted();
        assert!(!shown(&outage), "{why}");
    }
}

#[test]
fn a_refusal_that_goes_on_is_no_wait_after_an_error() {
    let start = Instant::now();
    let mut outage = Outage::default();
    let _ = outage.try_ended(wrong_as(), &Clues::default(), start);
    let (at, lines) = tries(&mut outage, start, SECOND * 10, &vec![refused(); 100]);
    assert_eq!(lines, [(33, 34)], "its daemon is off: that is news");
    let (reason, hint) = outage.reason(at).unwrap();
    assert!(reason.starts_with("connection refused") && reason.contains("before that its OPEN"), "{reason}");
    assert!(hint.unwrap().contains("BGP daemon runs"));
}

#[test]
fn a_session_that_ended_begins_a_new_outage() {
    let now = Instant::now();
    let mut outage = Outage::default();
    assert_eq!(outage.last(), None);
    let _ = outage.try_ended(wrong_as(), &Clues::default(), now);
    assert_eq!(outage.last().unwrap().why, wrong_as());
    outage.established();
    assert_eq!(outage, Outage::default());
    assert!(outage.session_ended(notified((6, 2)), &Clues::default(), now).is_some());
    assert_eq!(outage.last().unwrap().why, notified((6, 2)));
    assert_eq!(
        outage.reason(now).unwrap().0,
        "the peer sent NOTIFICATION: Cease/Administrative Shutdown, 0s ago"
    );
    assert_eq!(outage.try_ended(closed(), &Clues::default(), now), None, "that is one cause");
}
