//! The server, its queues and its certificates.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::is_root;
use crate::fault;
use crate::lan::{Lan, VIP, VIP6};

pub(crate) fn the_server_does_not_listen() {
    fault(
        Lan::stop_server,
        &[],
        &["error server-not-listening 192.0.2.80", "error server-not-listening 2001:db8::80"],
    );
}

pub(crate) fn the_server_listens_for_the_other_family() {
    fault(
        |lan| {
            lan.stop_server();
            lan.serve("0.0.0.0:80");
        },
        &[],
        &["error server-other-family 2001:db8::80"],
    );
}

pub(crate) fn the_server_listens_on_loopback_only() {
    fault(
        |lan| {
            lan.stop_server();
            lan.serve("127.0.0.1:80");
            lan.serve("[2001:db8::80]:80");
        },
        &["--vip", VIP, "--vip", VIP6],
        &["error server-on-loopback-address 192.0.2.80"],
    );
    fault(
        |lan| {
            lan.stop_server();
            lan.serve("127.0.0.1:80");
        },
        &["--vip", VIP],
        &["error server-on-loopback-address 192.0.2.80"],
    );
}

/// A server that never accepts, with room for one connection.
pub(crate) fn the_backlog_overflows() {
    if !is_root() {
        return;
    }
    let lan = Lan::healthy();
    lan.stop_server();
    let server = lan.inside_host(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"[::]:80".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(1).unwrap();
        socket
    });
    let server = server.join().unwrap();
    let clients = lan.inside_host(|| {
        let connect = |_| {
            TcpStream::connect_timeout(&SocketAddr::new(VIP.parse().unwrap(), 80), Duration::from_millis(300))
        };
        (0..4).map(connect).collect::<Vec<_>>()
    });
    let clients = clients.join().unwrap();
    assert!(clients.iter().any(Result::is_err), "every connection was accepted");
    lan.expect(&[], &["error backlog-overflow"]);
    let (_, text, _) = lan.text(&[]);
    assert!(text.contains("connections wait at [::]:80 until the server accepts them, and 1 may"), "{text}");
    assert!(text.contains("TcpExtListenOverflows"), "{text}");
    drop(server);
}

pub(crate) fn syn_cookies_are_always_used() {
    fault(|lan| lan.set("net/ipv4/tcp_syncookies", 2), &[], &["warning syn-cookies"]);
}

pub(crate) fn a_certificate_ends_soon_has_ended_or_begins_later() {
    if !is_root() {
        return;
    }
    for (begins, ends, want) in [
        (-1, 90, vec![]),
        (-1, 3, vec!["warning certificate-ends 192.0.2.80", "warning certificate-ends 2001:db8::80"]),
        (-9, -1, vec!["error certificate-ends 192.0.2.80", "error certificate-ends 2001:db8::80"]),
        (2, 90, vec!["error clock-wrong 192.0.2.80", "error clock-wrong 2001:db8::80"]),
    ] {
        let lan = Lan::healthy();
        let _server = lan.tls_server(begins, ends);
        lan.expect(&[], &want);
    }
}
