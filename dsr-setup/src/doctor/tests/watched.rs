//! The codes that the daemon watches.

use super::*;

/// The snapshot of the daemon, which has only what `io::doctor::watched` reads.
fn watched() -> (Observations, Question) {
    let (seen, question) = healthy();
    let Observations { links, addresses, paths, sources, arp, listeners, counters, conntrack, .. } = seen;
    let nothing = Observations::nothing(NOW);
    let seen =
        Observations { links, addresses, paths, sources, arp, listeners, counters, conntrack, ..nothing };
    (seen, question)
}

/// A code, and the change of a healthy host that it names.
type WatchedFault = (Code, fn(&mut Observations));

/// Each code that is watched is found in the snapshot of the daemon. A code that needs more must not be one of them.
#[test]
fn each_watched_code_is_found_in_what_the_daemon_reads() {
    let (seen, question) = watched();
    let report = examine_watched(&seen, &question);
    assert_eq!((report.findings, report.not_checked), (vec![], vec![]));
    let faults: Vec<WatchedFault> = vec![
        (VipMissing, |seen| drop(seen.addresses.remove(0))),
        (LoDown, |seen| seen.links[0].is_up = false),
        (VipTentative, |seen| seen.addresses[1].is_tentative = true),
        (VipDadfailed, |seen| seen.addresses[1].is_dadfailed = true),
        (VipOnOtherInterface, |seen| seen.addresses.push(address("192.0.2.80/32", "eth0", None))),
        (VipPrefixLength, |seen| seen.addresses.push(address("192.0.2.80/24", "lo", None))),
        (ArpAnswered, |seen| seen.arp = arp("all.arp_ignore=0 all.arp_announce=2 eth0.arp_ignore=0")),
        (VipIsSource, |seen| seen.sources[0].source = ip(VIP)),
        (NoReturnRoute, |seen| seen.paths[0].error = Some("Network is unreachable".into())),
        (ConntrackFull, |seen| seen.conntrack = Some(ConntrackState { count: 100, max: 100 })),
        (BacklogOverflow, |seen| {
            seen.listeners = Ok(vec![ListeningSocket { queue: 129, ..listener("::", 80) }]);
        }),
    ];
    let all: Vec<Code> = faults.iter().map(|(code, _)| *code).collect();
    let want: Vec<Code> =
        Code::ALL.iter().copied().filter(|code| code.watcher() == Watcher::Daemon).collect();
    assert_eq!(all, want);
    for (code, change) in faults {
        let (mut seen, question) = watched();
        change(&mut seen);
        let found: Vec<Code> =
            examine_watched(&seen, &question).findings.iter().map(|finding| finding.code).collect();
        assert_eq!(found, [code]);
    }
}

#[test]
fn what_is_not_watched_is_no_finding_and_no_gap_of_the_daemon() {
    let (mut seen, question) = watched();
    let old = Counters { listen_overflows: 3, ..Counters::default() };
    seen.counters = Ok((old, old));
    seen.listeners = Ok(vec![]);
    // A note, and a server that does not listen.
    assert_eq!(examine(&seen, &question).findings.len(), 3);
    let report = examine_watched(&seen, &question);
    assert_eq!((report.findings, report.not_checked), (vec![], vec![]));

    seen.counters = Err(Unseen("netstat is not there".into()));
    let gap = NotChecked { codes: vec![BacklogOverflow], reason: "netstat is not there".into() };
    assert_eq!(examine_watched(&seen, &question).not_checked, [gap]);
}
