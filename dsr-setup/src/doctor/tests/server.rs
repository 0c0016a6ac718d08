//! The server, its queues and its certificates.

use super::*;

#[test]
fn the_server_and_its_queues() {
    let listens =
        |all: Vec<ListeningSocket>| move |seen: &mut Observations, _: &mut Question| seen.listeners = Ok(all);
    let only_v6 = ListeningSocket { is_v6_only: true, ..listener("::", 80) };
    let full = ListeningSocket { queue: 129, ..listener("::", 80) };
    let full_elsewhere = ListeningSocket { queue: 129, ..listener("127.0.0.1", 5432) };
    check(vec![
        ("none", change(listens(vec![])), &[(ServerNotListening, Error), (ServerNotListening, Error)]),
        (
            "another port",
            change(listens(vec![listener("::", 22)])),
            &[(ServerNotListening, Error), (ServerNotListening, Error)],
        ),
        ("443 is enough without named ports", change(listens(vec![listener("::", 443)])), &[]),
        (
            "a named port",
            change(|_, question| drop(question.ports.insert(ip(VIP), [80, 8080].into()))),
            &[(ServerNotListening, Error)],
        ),
        (
            "both families by two sockets",
            change(listens(vec![listener("0.0.0.0", 80), only_v6.clone()])),
            &[],
        ),
        ("IPv4 only", change(listens(vec![listener("0.0.0.0", 80)])), &[(ServerOtherFamily, Error)]),
        ("IPv6 only", change(listens(vec![only_v6])), &[(ServerOtherFamily, Error)]),
        (
            "loopback only",
            change(listens(vec![listener("127.0.0.1", 80), listener("::1", 80)])),
            &[(ServerOnLoopback, Error), (ServerOnLoopback, Error)],
        ),
        (
            "at another address of the family",
            change(listens(vec![listener("10.0.1.11", 80), listener(VIP6, 80)])),
            &[(ServerNotListening, Error)],
        ),
        (
            "at the VIPs, one of them mapped",
            change(listens(vec![listener("::ffff:192.0.2.80", 80), listener(VIP6, 80)])),
            &[],
        ),
        ("a full queue", change(listens(vec![full])), &[(BacklogOverflow, Error)]),
        ("a full queue of another server", change(listens(vec![full_elsewhere, listener("::", 80)])), &[]),
        (
            "an overflow long ago",
            change(|seen, _| {
                let counters = Counters { listen_overflows: 3, ..Counters::default() };
                seen.counters = Ok((counters, counters));
            }),
            &[(BacklogOverflow, Note)],
        ),
        (
            "an overflow now",
            change(|seen, _| {
                seen.counters =
                    Ok((Counters::default(), Counters { listen_overflows: 3, ..Counters::default() }));
            }),
            &[(BacklogOverflow, Error)],
        ),
        (
            "cookies always",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/tcp_syncookies".into(), 2);
            }),
            &[(SynCookies, Warning)],
        ),
        (
            "cookies when needed, and not needed",
            change(|seen, _| {
                seen.settings.insert("net/ipv4/tcp_syncookies".into(), 1);
            }),
            &[],
        ),
        (
            "cookies now",
            change(|seen, _| {
                seen.counters =
                    Ok((Counters::default(), Counters { cookies_sent: 1, ..Counters::default() }));
            }),
            &[(SynCookies, Warning)],
        ),
        (
            "cookies long ago",
            change(|seen, _| {
                let counters = Counters { cookies_sent: 1, ..Counters::default() };
                seen.counters = Ok((counters, counters));
            }),
            &[(SynCookies, Note)],
        ),
    ]);
}

/// Written as `ADDRESS waiting/limit`, each at port 80 of the VIP.
#[test]
fn the_fullest_accept_queue_of_a_vip_is_its_figure() {
    for (sockets, want) in [
        ("", None),
        (":: 3/128", Some((3, 128))),
        (":: 3/128, 192.0.2.80 5/128", Some((5, 128))),
        ("192.0.2.80 5/4096, :: 3/128", Some((3, 128))),
        (":: 3/128, 192.0.2.80 5/4096", Some((3, 128))),
        (":: 0/128, 192.0.2.80 0/4096", Some((0, 128))),
        (":: 1/0, 192.0.2.80 5/128", Some((1, 0))),
        ("192.0.2.81 5/128", None),
    ] {
        let (mut seen, mut question) = healthy();
        question.ports = [(ip(VIP), [80].into()), (ip(VIP6), [81].into())].into();
        let socket = |text: &str| {
            let (address, (queue, backlog)) =
                text.split_once(' ').map(|(a, q)| (a, q.split_once('/').unwrap())).unwrap();
            let (queue, backlog) = (queue.parse().unwrap(), backlog.parse().unwrap());
            ListeningSocket { queue, backlog, ..listener(address, 80) }
        };
        seen.listeners = Ok(sockets.split(", ").filter(|text| !text.is_empty()).map(socket).collect());
        let want = want.map(|(waiting, limit)| (ip(VIP), AcceptQueue { waiting, limit }));
        assert_eq!(accept_queues(&seen, &question), want.into_iter().collect(), "{sockets}");
    }
}

#[test]
fn certificates_and_the_clock() {
    const DAY: i64 = 86_400;
    let shows = |begins: i64, ends: i64| {
        move |seen: &mut Observations, _: &mut Question| {
            let validity = Validity { begins: NOW + begins * DAY, ends: NOW + ends * DAY };
            seen.tls = vec![TlsProbe { vip: ip(VIP), port: 443, validity }];
        }
    };
    check(vec![
        ("good", change(shows(-1, 90)), &[]),
        ("ends soon", change(shows(-1, 13)), &[(CertificateEnds, Warning)]),
        ("ends in exactly 14 days", change(shows(-1, 14)), &[]),
        ("has ended", change(shows(-9, 0)), &[(CertificateEnds, Error)]),
        ("begins later", change(shows(1, 90)), &[(ClockWrong, Error)]),
        ("the clock says 1970", change(|seen, _| seen.now = 86_400), &[(ClockWrong, Error)]),
    ]);
}
