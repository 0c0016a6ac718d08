//! Tests with scripted servers, each on its own loopback address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::endpoint::ServerAddress;
use crate::health::outcome::Shortage;

/// Long enough for a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The actions of a server on a connection.
#[derive(Clone, Copy)]
enum TcpReply {
    Say(&'static str),
    /// Sends it repeatedly, until the client has disconnected.
    Repeat(&'static str),
    /// Reads until this text or the end.
    Hear(&'static str),
    /// Keeps the connection open.
    Hold,
    Reset,
}
use TcpReply::{Hear, Hold, Repeat, Reset, Say};

/// How the server has seen the end of a connection.
#[derive(Debug, PartialEq, Eq)]
struct ClosedConnection {
    from: IpAddr,
    heard: String,
    by: Result<(), io::ErrorKind>,
}

struct TcpServer {
    tcp: TcpProbe,
    ended: mpsc::UnboundedReceiver<ClosedConnection>,
}

impl TcpServer {
    async fn start(vip: IpAddr, send: &str, expect: Option<&str>, script: &'static [TcpReply]) -> TcpServer {
        let listener = TcpListener::bind((vip, 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        let (tell, ended) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                let tell = tell.clone();
                tokio::spawn(async move {
                    let (heard, by) = serve(stream, script).await;
                    let _ =
                        tell.send(ClosedConnection { from: from.ip(), heard, by: by.map_err(|e| e.kind()) });
                });
            }
        });
        let expect = expect.map(pattern);
        let tcp = TcpProbe {
            endpoint: Endpoint {
                from: Some(vip),
                to: ServerAddress::Ip(to),
                host: None,
                proxy: None,
                vrf: None,
            },
            send: send.into(),
            expect,
            timeout: TIMEOUT,
        };
        TcpServer { tcp, ended }
    }
}

async fn serve(mut stream: TcpStream, script: &[TcpReply]) -> (String, io::Result<()>) {
    let mut heard = Vec::new();
    for then in script {
        match then {
            Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Repeat(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
            Hear(text) => {
                while !heard.ends_with(text.as_bytes()) && stream.read_buf(&mut heard).await.unwrap() > 0 {}
            }
            Hold => {
                let ended = stream.read_to_end(&mut heard).await;
                return (String::from_utf8(heard).unwrap(), ended.map(drop));
            }
            Reset => stream.set_zero_linger().unwrap(),
        }
    }
    (String::from_utf8(heard).unwrap(), Ok(()))
}

fn pattern(text: &str) -> Pattern {
    let check = crate::config::tests::a_check(&format!("tcp = 1\nexpect = '{text}'"));
    let crate::config::ProbeConfig::Tcp(tcp) = check.probe else { panic!("{check:?}") };
    tcp.talk.expect.unwrap()
}

fn vip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, last))
}

/// The outcome without its time; checks that the time is within the timeout.
fn text_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pass { answer, took, .. } => {
            assert!(*took < TIMEOUT, "{took:?}");
            format!("pass: {answer}")
        }
        Outcome::Fail { reason, took } => {
            assert!(*took < TIMEOUT * 2, "{took:?}");
            format!("fail: {reason}")
        }
        Outcome::Skipped(shortage) => format!("skipped: {shortage}"),
    }
}

#[tokio::test]
async fn each_answer_has_its_reason() {
    type TcpCase = (&'static str, Option<&'static str>, &'static [TcpReply], &'static str);
    const LINE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    let rows: &[TcpCase] = &[
        ("", None, &[Hold], "pass: connected"),
        ("", None, &[Say("220 mail\r\n"), Hold], "pass: connected"),
        ("", None, &[], "pass: connected"),
        ("", Some("^220 "), &[Say("220 mail\r\n"), Hold], "pass: answered as expected"),
        ("", Some("^220 "), &[Say("22"), Say("0 mail\r\n"), Hold], "pass: answered as expected"),
        (
            "PING\r\n",
            Some(r"\+PONG"),
            &[Hear("PING\r\n"), Say("+PONG\r\n"), Hold],
            "pass: answered as expected",
        ),
        ("PING\r\n", Some(r"\+PONG"), &[Hear("PING\r\n"), Say("+PONG\r\n")], "pass: answered as expected"),
        ("", Some("^220 "), &[Say("554 no\r\nservice")], "fail: answered unexpectedly: 554 no  service"),
        // The expected text could still arrive, but has not.
        ("", Some("^220 "), &[Say("421 busy"), Hold], "fail: answered unexpectedly: 421 busy"),
        ("", Some("^220 "), &[Say("421 busy"), Reset], "fail: answered unexpectedly: 421 busy"),
        ("", Some("^220 "), &[], "fail: connection closed without an answer"),
        ("", Some("^220 "), &[Reset], "fail: connection reset"),
        ("", Some("^220 "), &[Hold], "fail: no answer within 1000 ms"),
        ("PING\r\n", Some("x"), &[Hear("PING\r\n"), Hold], "fail: no answer within 1000 ms"),
    ];
    for (at, (send, expect, script, want)) in rows.iter().enumerate() {
        let server = TcpServer::start(vip(2), send, *expect, script).await;
        assert_eq!(text_of(&server.tcp.probe().await), *want, "row {at}");
    }
    let endless = TcpServer::start(vip(2), "", Some("never"), &[Repeat(LINE)]).await;
    let said = text_of(&endless.tcp.probe().await);
    assert!(said.starts_with("fail: answered unexpectedly: 0123456789abcdef") && said.len() < 300, "{said}");
}

#[tokio::test]
async fn comes_from_the_vip_and_leaves_without_a_reset() {
    let banner: &'static str = Box::leak(format!("220 mail\r\n{}", "x".repeat(9000)).into_boxed_str());
    let script: &'static [TcpReply] = Box::leak(Box::new([Say(banner), Hold]));
    for vip in [vip(3), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)] {
        let mut server = TcpServer::start(vip, "QUIT\r\n", Some("220 mail"), script).await;
        for _ in 0..20 {
            assert_eq!(text_of(&server.tcp.probe().await), "pass: answered as expected");
            let ended = server.ended.recv().await.unwrap();
            assert_eq!(ended, ClosedConnection { from: vip, heard: "QUIT\r\n".into(), by: Ok(()) });
        }
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    let holder = TcpSocket::new_v4().unwrap();
    holder.bind(SocketAddr::new(vip(4), 0)).unwrap();
    let to = holder.local_addr().unwrap();
    let tcp = TcpProbe {
        endpoint: Endpoint {
            from: Some(vip(4)),
            to: ServerAddress::Ip(to),
            host: None,
            proxy: None,
            vrf: None,
        },
        send: String::new(),
        expect: None,
        timeout: TIMEOUT,
    };
    assert_eq!(text_of(&tcp.probe().await), "fail: connection refused");
}

#[tokio::test]
async fn a_full_queue_gives_no_connection() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(vip(5), 0)).unwrap();
    let listener = socket.listen(0).unwrap();
    let to = listener.local_addr().unwrap();
    let _fills = TcpStream::connect(to).await.unwrap();
    let tcp = TcpProbe {
        endpoint: Endpoint {
            from: Some(vip(5)),
            to: ServerAddress::Ip(to),
            host: None,
            proxy: None,
            vrf: None,
        },
        send: String::new(),
        expect: None,
        timeout: TIMEOUT,
    };
    assert_eq!(text_of(&tcp.probe().await), "fail: no connection within 1000 ms");
}

#[tokio::test]
async fn a_vip_that_is_not_on_the_host_is_asked_nowhere() {
    for missing in ["192.0.2.80", "2001:db8::80"] {
        let missing: IpAddr = missing.parse().unwrap();
        let to = SocketAddr::new(missing, 80);
        let tcp = TcpProbe {
            endpoint: Endpoint {
                from: Some(missing),
                to: ServerAddress::Ip(to),
                host: None,
                proxy: None,
                vrf: None,
            },
            send: String::new(),
            expect: None,
            timeout: TIMEOUT,
        };
        assert_eq!(text_of(&tcp.probe().await), "fail: the VIP is not on this host");
    }
}

#[tokio::test]
async fn a_target_is_asked_from_wherever_the_kernel_likes() {
    let mut server = TcpServer::start(vip(6), "", None, &[Hold]).await;
    server.tcp.endpoint.from = None;
    assert_eq!(text_of(&server.tcp.probe().await), "pass: connected");
    assert_ne!(server.ended.recv().await.unwrap().from, vip(7));
    let none = probe_error(
        &server.tcp.endpoint,
        &io::Error::from_raw_os_error(nix::errno::Errno::EADDRNOTAVAIL as i32),
    );
    assert_eq!(none, ProbeError::Skip(Shortage::Ports));
}
