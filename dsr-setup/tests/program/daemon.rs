//! `remove` beside a running announcer, which would put the VIPs back.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::common::is_root;
use crate::host::{Host, done};

/// A fake announcer that returns one VIP with this standing for each request.
pub(crate) fn announcer(socket: &Path, standing: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let head = BufReader::new(&stream).lines().map(Result::unwrap);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            assert_eq!(head[0], "GET /v1/status HTTP/1.1");
            let answer = format!(
                r#"{{"schema":1,"services":[{{"name":"www","vips":[{{"address":"192.0.2.80","standing":"{standing}"}}]}}]}}"#
            );
            let length = answer.len();
            write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}").unwrap();
        }
    });
}

/// Case W21: the daemon puts back its VIPs, also while they are drained, and the host would answer ARP for them.
#[test]
fn remove_refuses_while_announcer_holds_a_vip_unless_forced() {
    if !is_root() {
        return;
    }
    for standing in ["announced", "not_announced", "drained"] {
        let host = Host::new();
        assert_eq!(host.apply().0, 0);
        let before = host.lo();
        announcer(&host.socket(), standing);
        let refusal = "error: announcer runs and holds 192.0.2.80: it would put it back; stop it first with `systemctl stop \
                       announcer`, or use `--force`\n";
        assert_eq!(host.remove(&[]), (1, String::new(), refusal.into()), "{standing}");
        assert_eq!(host.remove(&["--vip", "192.0.2.80"]), (1, String::new(), refusal.into()), "{standing}");
        assert_eq!((host.lo(), host.netns.sysctl("all/arp_ignore")), (before, "1".into()));

        // A VIP that it does not hold may be removed.
        assert_eq!(host.remove(&["--vip", "2001:db8::80"]), done("remove 2001:db8::80/128 from lo\n"));
        assert_eq!(host.remove(&["--force"]).0, 0);
        assert!(!host.lo().contains("192.0.2.80"));
        assert_eq!(host.remove(&[]), done(""));
    }
}

#[test]
fn remove_goes_on_when_the_daemon_is_gone() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.apply().0, 0);
    drop(UnixListener::bind(host.socket()).unwrap()); // a stale socket without a listener
    assert_eq!(host.remove(&[]).0, 0);
    assert!(!host.lo().contains("2001:db8::80"));
}

#[test]
fn remove_refuses_when_the_daemon_cannot_be_understood() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.apply().0, 0);
    let listener = UnixListener::bind(host.socket()).unwrap();
    std::thread::spawn(move || drop(listener.accept()));
    let (code, stdout, stderr) = host.remove(&[]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: cannot ask announcer at `"), "{stderr}");
    assert!(host.lo().contains("192.0.2.80"));
}
