//! Tests with scripted servers.

use std::net::{IpAddr, Ipv4Addr};

use tokio::net::UdpSocket;

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::io::tls::tests::text_of;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 54));
/// The limit of the probes that reach it.
const TIMEOUT: Duration = Duration::from_millis(300);
/// No probe should reach it.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);

async fn probe(port: u16, timeout: Duration, lines: &str) -> String {
    let target = Target::of_test(VIP, a_check(&format!("udp = {port}\n{lines}")), timeout);
    let ProbeConfig::Udp(udp) = &target.config.probe else { panic!("no udp") };
    text_of(&UdpProbe::of(&Prober::new(Files::new()), &target, udp).probe().await)
}

/// A server that answers `ping` with these datagrams, and nothing else; returns its port.
async fn server(answers: &'static [&'static [u8]]) -> u16 {
    let socket = UdpSocket::bind((VIP, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut request = [0; 64];
        loop {
            let (length, from) = socket.recv_from(&mut request).await.unwrap();
            assert_eq!(from.ip(), VIP, "the datagram comes from the VIP");
            for answer in answers.iter().filter(|_| &request[..length] == b"ping") {
                socket.send_to(answer, from).await.unwrap();
            }
        }
    });
    port
}

#[tokio::test]
async fn the_first_expected_datagram_counts() {
    type Row = (&'static [&'static [u8]], &'static str, Duration, &'static str);
    const PONG: &str = "send = \"ping\"\nexpect = \"^pong\"";
    const HEX: &str = "send_hex = \"70696e67\"\nexpect_hex = \"01\"";
    const PING: &str = "send = \"ping\"";
    const ROWS: &[Row] = &[
        (&[b"pong"], PONG, LONG_TIMEOUT, "pass: answered with the expected datagram"),
        (&[b"no", b"pong"], PONG, LONG_TIMEOUT, "pass: answered with the expected datagram"),
        (&[b"\x00\x01"], HEX, LONG_TIMEOUT, "pass: answered with the expected datagram"),
        (&[b""], PING, LONG_TIMEOUT, "pass: answered with a datagram"),
        (&[b"\x00\xff"], PONG, TIMEOUT, "fail: answered with another datagram: 00ff"),
        (&[], PING, TIMEOUT, "fail: no answer within 300 ms"),
        (&[b"pong"], "", TIMEOUT, "fail: no answer within 300 ms"),
    ];
    for (answers, lines, timeout, want) in ROWS {
        assert_eq!(probe(server(answers).await, *timeout, lines).await, *want, "{lines}");
    }
    let unused = UdpSocket::bind((VIP, 0)).await.unwrap().local_addr().unwrap().port();
    assert_eq!(probe(unused, LONG_TIMEOUT, "").await, "fail: connection refused");
    // A server that never stops sending holds the probe no longer than its timeout.
    let socket = UdpSocket::bind((VIP, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (_, from) = socket.recv_from(&mut []).await.unwrap();
        while socket.send_to(b"no", from).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(probe(port, TIMEOUT, "expect = \"yes\"").await, "fail: answered with another datagram: no");
}
