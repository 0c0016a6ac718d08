//! Tests with scripted servers.

use std::net::{IpAddr, Ipv4Addr};

use tokio::net::UdpSocket;

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::io::tls::tests::text_of;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 56));
/// The limit of the probes that reach it.
const TIMEOUT: Duration = Duration::from_millis(300);
/// No probe should reach it.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);

async fn probe(port: u16, timeout: Duration, lines: &str) -> String {
    let target = Target::of_test(VIP, a_check(&format!("ntp = {port}\n{lines}")), timeout);
    let ProbeConfig::Ntp(ntp) = &target.config.probe else { panic!("no ntp") };
    text_of(&NtpProbe::of(&Prober::new(Files::new()), &target, ntp).probe().await)
}

/// A server of stratum 2 whose clock is so many seconds ahead of ours, and which changes its answers; returns its port.
async fn server(ahead: u64, change: fn(&mut Vec<u8>)) -> u16 {
    let socket = UdpSocket::bind((VIP, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut request = [0; 64];
        loop {
            let (length, from) = socket.recv_from(&mut request).await.unwrap();
            assert_eq!((length, request[0], from.ip()), (48, 0x23, VIP));
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let seconds = u32::try_from((now.as_secs() + 2_208_988_800 + ahead) % (1 << 32)).unwrap();
            let part = u32::try_from((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000).unwrap();
            let mut answer = vec![0; 48];
            (answer[0], answer[1]) = (0x24, 2);
            answer[24..32].copy_from_slice(&request[40..48]);
            for at in [32, 40] {
                answer[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
                answer[at + 4..at + 8].copy_from_slice(&part.to_be_bytes());
            }
            change(&mut answer);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn the_answer_and_the_clock_are_judged() {
    // A busy machine may need a second for the answer.
    let near = "max_offset = \"5s\"";
    let said = probe(server(0, |_| {}).await, LONG_TIMEOUT, near).await;
    assert!(said.starts_with("pass: stratum 2, offset "), "{said}");
    let said = probe(server(60, |_| {}).await, LONG_TIMEOUT, near).await;
    assert!(said.starts_with("fail: the clocks differ, offset +"), "{said}");
    let said = probe(server(60, |_| {}).await, LONG_TIMEOUT, "").await;
    assert!(said.starts_with("pass: stratum 2, offset +"), "{said}");
    type NtpChange = fn(&mut Vec<u8>);
    for (change, lines, timeout, want) in [
        (
            (|answer| answer[0] = 0xe4) as NtpChange,
            "",
            LONG_TIMEOUT,
            "fail: the server's clock is not synchronised",
        ),
        (|_| {}, "max_stratum = 1", LONG_TIMEOUT, "fail: the server's stratum is 2"),
        (|answer| answer[24] ^= 1, "", TIMEOUT, "fail: answered another request"),
        (|answer| answer.truncate(20), "", TIMEOUT, "fail: answer is not NTP"),
    ] {
        assert_eq!(probe(server(0, change).await, timeout, lines).await, want);
    }
    let silent = UdpSocket::bind((VIP, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    assert_eq!(probe(port, TIMEOUT, "").await, "fail: no answer within 300 ms");
    drop(silent);
    assert_eq!(probe(port, LONG_TIMEOUT, "").await, "fail: connection refused");
}
