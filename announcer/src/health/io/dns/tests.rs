//! Tests with scripted servers: each answer, none, and garbage, by UDP, TCP and TLS.

use std::net::{IpAddr, Ipv4Addr};

use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::io::tls::tests::{Authority, EACH, text_of};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 53));
/// The limit of the probes that reach it.
const TIMEOUT: Duration = Duration::from_millis(300);
/// No probe should reach it.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);

async fn probe(port: u16, timeout: Duration, lines: &str) -> String {
    let check = a_check(&format!("dns = \"www.example.com\"\ndns_port = {port}\n{lines}"));
    let target = Target::of_test(VIP, check, timeout);
    let ProbeConfig::Dns(dns) = &target.config.probe else { panic!("no dns") };
    text_of(&DnsProbe::of(&Prober::new(Files::new()), &target, dns).probe().await)
}

/// The answer to a query: the A record 192.0.2.80.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut answer = query[..query.len() - 11].to_vec(); // without OPT
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
    answer
}

/// A server that answers each datagram with these; returns its port.
async fn datagrams(answers: fn(&[u8]) -> Vec<Vec<u8>>) -> u16 {
    let socket = UdpSocket::bind((VIP, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut query = [0; 2048];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            assert_eq!(from.ip(), VIP, "the query comes from the VIP");
            for answer in answers(&query[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    port
}

#[tokio::test]
async fn by_udp_the_first_answer_to_the_query_counts() {
    type Server = fn(&[u8]) -> Vec<Vec<u8>>;
    let garbage: Server = |_| vec![b"garbage".to_vec()];
    let other: Server = |query| vec![answer(&[&[!query[0]], &query[1..]].concat())];
    // Another number, another name, nothing, and then the answer: only the last one counts (RFC 5452 section 9.1).
    let late: Server = |query| {
        let mut renamed = answer(query);
        renamed[13] ^= 1;
        vec![answer(&[&[!query[0]], &query[1..]].concat()), renamed, Vec::new(), answer(query)]
    };
    for (server, timeout, want) in [
        ((|query| vec![answer(query)]) as Server, LONG_TIMEOUT, "pass: the records 192.0.2.80"),
        (late, LONG_TIMEOUT, "pass: the records 192.0.2.80"),
        (garbage, TIMEOUT, "fail: answer is not DNS"),
        (other, TIMEOUT, "fail: answered another query"),
        (|_| Vec::new(), TIMEOUT, "fail: no answer within 300 ms"),
    ] {
        assert_eq!(probe(datagrams(server).await, timeout, "").await, want);
    }
    let unused = UdpSocket::bind((VIP, 0)).await.unwrap().local_addr().unwrap().port();
    assert_eq!(probe(unused, LONG_TIMEOUT, "").await, "fail: connection refused");
    let missing = a_check("dns = \"www.example.com\"");
    let target = Target::of_test("192.0.2.80".parse().unwrap(), missing, TIMEOUT);
    let ProbeConfig::Dns(dns) = &target.config.probe else { panic!("no dns") };
    let said = DnsProbe::of(&Prober::new(Files::new()), &target, dns).probe().await;
    assert_eq!(text_of(&said), "fail: the VIP is not on this host");
}

/// What a server on a connection does with the query.
#[derive(Clone, Copy)]
enum DnsReaction {
    Answer,
    Close,
    Hang,
    /// Answers with these octets.
    Say(&'static [u8]),
}

async fn react(mut stream: impl AsyncRead + AsyncWrite + Unpin, reaction: DnsReaction) {
    let Ok(length) = stream.read_u16().await else { return };
    let mut query = vec![0; length.into()];
    stream.read_exact(&mut query).await.unwrap();
    let said = match reaction {
        DnsReaction::Close => return,
        DnsReaction::Hang => Vec::new(),
        DnsReaction::Say(octets) => octets.to_vec(),
        DnsReaction::Answer => {
            let answer = answer(&query);
            [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat()
        }
    };
    // In two pieces, as a network may bring it.
    let (first, second) = said.split_at(said.len() / 2);
    for piece in [first, second] {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    let _ = stream.read(&mut [0]).await;
}

/// A server on connections; returns its port.
async fn connections(reaction: DnsReaction, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind((VIP, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            match &tls {
                None => react(stream, reaction).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        react(stream, reaction).await;
                    }
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn by_tcp_the_answer_is_behind_its_length() {
    for (reaction, timeout, want) in [
        (DnsReaction::Answer, LONG_TIMEOUT, "pass: the records 192.0.2.80"),
        (DnsReaction::Close, LONG_TIMEOUT, "fail: connection closed without an answer"),
        (DnsReaction::Hang, TIMEOUT, "fail: no answer within 300 ms"),
        (
            DnsReaction::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            TIMEOUT,
            "fail: no end of the answer within 300 ms",
        ),
        (DnsReaction::Say(b"\x00\x04none"), LONG_TIMEOUT, "fail: answer is not DNS"),
        (DnsReaction::Say(b"\x00\x00"), LONG_TIMEOUT, "fail: answer is not DNS"),
    ] {
        let port = connections(reaction, None).await;
        assert_eq!(probe(port, timeout, "transport = \"tcp\"").await, want);
    }
}

#[tokio::test]
async fn by_tls_the_certificate_is_judged() {
    let authority = Authority::new();
    let acceptor = |names: &[&str]| authority.sign(names, (1, 90)).acceptor(&[], EACH);
    let tls = format!("transport = \"tls\"\nverify = \"require\"\nca_file = \"{}\"\n", authority.path());
    let named = format!("{tls}tls_name = \"dns.example.com\"");
    for (names, lines, want) in [
        (&["dns.example.com"], &named, "pass: the records 192.0.2.80"),
        (&["127.0.1.53"], &tls, "pass: the records 192.0.2.80"),
        (&["127.0.1.53"], &named, "fail: the certificate is not for `dns.example.com`"),
    ] {
        let port = connections(DnsReaction::Answer, Some(acceptor(names))).await;
        assert_eq!(probe(port, LONG_TIMEOUT, lines).await, want);
    }
    let port = connections(DnsReaction::Hang, Some(acceptor(&["127.0.1.53"]))).await;
    assert_eq!(probe(port, TIMEOUT, &tls).await, "fail: no answer within 300 ms");
    let port = connections(DnsReaction::Say(b"\x00\x01"), None).await;
    let said = probe(port, LONG_TIMEOUT, &tls).await;
    assert!(said.starts_with("fail: "), "{said}");
}
