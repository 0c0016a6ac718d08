//! Tests of the header of the PROXY protocol, with scripted servers that read it first.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::proxy::ProxyVersion;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::Target;
use crate::health::io::probe::once;
use crate::health::io::prober::Prober;
use crate::health::io::tls::tests::{Authority, EACH, text_of};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 57));
/// The limit of the probes that reach it.
const TIMEOUT: Duration = Duration::from_millis(300);
/// No probe should reach it.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads the header of the PROXY protocol with its source and destination, and nothing behind it.
pub(in crate::health::io) async fn read_header(
    stream: &mut TcpStream,
) -> (ProxyVersion, SocketAddr, SocketAddr) {
    let mut octets = vec![stream.read_u8().await.unwrap()];
    if octets == b"P" {
        while !octets.ends_with(b"\r\n") {
            octets.push(stream.read_u8().await.unwrap());
        }
        let line = String::from_utf8(octets).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["PROXY", "TCP4", from, to, from_port, to_port] = words[..] else { panic!("{line}") };
        let address = |ip: &str, port: &str| SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap());
        return (ProxyVersion::V1, address(from, from_port), address(to, to_port));
    }
    octets.resize(16 + 12, 0);
    stream.read_exact(&mut octets[1..]).await.unwrap();
    assert_eq!(&octets[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(&octets[12..16], [0x21, 0x11, 0, 12], "version 2, PROXY, TCP over IPv4, 12 octets");
    let address = |ip: usize, port: usize| {
        let ip: [u8; 4] = octets[ip..ip + 4].try_into().unwrap();
        SocketAddr::new(ip.into(), u16::from_be_bytes(octets[port..port + 2].try_into().unwrap()))
    };
    (ProxyVersion::V2, address(16, 24), address(20, 26))
}

/// What a server does after the header.
#[derive(Clone, Copy)]
enum AfterHeader {
    Answer,
    Hang,
    Say(&'static str),
}

/// Answers a request of HTTP; to a client that waits for a greeting, it says one.
pub(in crate::health::io) async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, greets: bool) {
    if !greets {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(octet) = stream.read_u8().await else { return };
            head.push(octet);
        }
        assert!(head.starts_with(b"GET /healthz HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    }
    let said = if greets { "220 ready\r\n" } else { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" };
    stream.write_all(said.as_bytes()).await.unwrap();
    let _ = stream.read(&mut [0]).await;
}

/// A server that needs a header of this version; returns its port.
async fn server(version: ProxyVersion, after: AfterHeader, greets: bool, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind((VIP, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, from) = listener.accept().await.unwrap();
            let header = read_header(&mut stream).await;
            assert_eq!(header, (version, from, listener.local_addr().unwrap()));
            match (after, &tls) {
                (AfterHeader::Hang, _) => drop(stream.read(&mut [0; 4096]).await),
                (AfterHeader::Say(text), _) => {
                    let _ = stream.read(&mut [0; 4096]).await;
                    stream.write_all(text.as_bytes()).await.unwrap();
                }
                (AfterHeader::Answer, None) => answer(stream, greets).await,
                (AfterHeader::Answer, Some(tls)) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        answer(stream, greets).await;
                    }
                }
            }
            // With `Hang`, the connection stays open for longer than the probe.
            tokio::time::sleep(TIMEOUT * 2).await;
        }
    });
    port
}

async fn probe(timeout: Duration, lines: &str) -> String {
    let target = Target::of_test(VIP, a_check(lines), timeout);
    let mut said = String::new();
    // On a busy machine the end of a short timeout may be noticed too late to count.
    for _ in 0..5 {
        said = text_of(&once(&Prober::new(Files::new()), &target).await);
        if !said.starts_with("skipped") {
            break;
        }
    }
    said
}

#[tokio::test]
async fn the_header_of_the_proxy_protocol_comes_before_everything_else() {
    let acceptor = || Authority::new().sign(&["www.example.com"], (1, 90)).acceptor(&[], EACH);
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for (kind, greets, secure, pass, hang, garbage) in [
            (
                "http = \"http://www.example.com:PORT/healthz\"",
                false,
                false,
                "pass: HTTP 200",
                "fail: no answer within 300 ms",
                "fail: answer is not HTTP",
            ),
            (
                "http = \"http://www.example.com:PORT/healthz\"\nreuse = true",
                false,
                false,
                "pass: HTTP 200 over a new connection",
                "fail: no answer within 300 ms",
                "fail: answer is not HTTP",
            ),
            (
                "http = \"https://www.example.com:PORT/healthz\"\nverify = \"off\"",
                false,
                true,
                "pass: HTTP 200",
                "fail: no TLS within 300 ms",
                "fail: answer is not TLS",
            ),
            (
                "tls = \"www.example.com:PORT\"\nverify = \"off\"",
                true,
                true,
                "pass: TLS 1.3",
                "fail: no TLS within 300 ms",
                "fail: answer is not TLS",
            ),
            (
                "tcp = PORT\nsend = \"x\"\nexpect = \"^220\"",
                true,
                false,
                "pass: answered as expected",
                "fail: no answer within 300 ms",
                "fail: answered unexpectedly: garbage, and more of it",
            ),
        ] {
            for (after, timeout, want) in [
                (AfterHeader::Answer, LONG_TIMEOUT, pass),
                (AfterHeader::Hang, TIMEOUT, hang),
                (AfterHeader::Say("garbage, and more of it"), LONG_TIMEOUT, garbage),
            ] {
                let tls = secure.then(acceptor);
                let port = server(version, after, greets, tls).await;
                let lines = format!("{kind}\nsend_proxy = \"{version}\"").replace("PORT", &port.to_string());
                assert_eq!(probe(timeout, &lines).await, want, "{lines}");
            }
        }
    }
}
