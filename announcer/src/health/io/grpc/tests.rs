//! Tests with a server of HTTP/2 that answers as gRPC servers do, and with servers that do not.

use std::net::{IpAddr, Ipv4Addr};

use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::ProbeConfig;
use crate::config::proxy::ProxyVersion;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::io::connect::tests::read_header;
use crate::health::io::tls::tests::{Authority, EACH, text_of};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 55));
/// The limit of the probes that reach it.
const TIMEOUT: Duration = Duration::from_millis(300);
/// No probe should reach it.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);

async fn probe(port: u16, timeout: Duration, scheme: &str, lines: &str) -> String {
    let check = a_check(&format!("grpc = \"{scheme}://www.example.com:{port}\"\n{lines}"));
    let target = Target::of_test(VIP, check, timeout);
    let ProbeConfig::Grpc(grpc) = &target.config.probe else { panic!("no grpc") };
    text_of(&GrpcProbe::of(&Prober::new(Files::new()), &target, grpc).probe().await)
}

/// What a server does with a connection.
#[derive(Clone, Copy)]
enum GrpcReaction {
    /// Answers with this state, and the status 0 in trailers; for the service `a.B` with NOT_FOUND in the header.
    State(u8),
    Http(StatusCode),
    Reset,
    /// Answers the header and no more.
    Half,
    /// Reads the request and hangs.
    Hang,
    /// Sends these octets and closes.
    Say(&'static [u8]),
}

async fn react(mut stream: impl AsyncRead + AsyncWrite + Unpin, reaction: GrpcReaction) {
    if let GrpcReaction::Say(octets) = reaction {
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream.write_all(octets).await;
        return;
    }
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut held = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/grpc.health.v1.Health/Check"));
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.uri().host(), Some("www.example.com"));
        let mut body = request.into_body();
        let mut asked = Vec::new();
        // The connection has to be polled for the data to arrive.
        while let Some(Some(data)) = std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(data) = body.poll_data(context) {
                return std::task::Poll::Ready(Some(data));
            }
            match connection.poll_closed(context) {
                std::task::Poll::Ready(_) => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        })
        .await
        {
            asked.extend_from_slice(&data.unwrap());
        }
        let ok = || Response::builder().header("content-type", "application/grpc");
        match reaction {
            GrpcReaction::State(_) if asked == grpc::request(Some("a.B")) => {
                let answer =
                    ok().header("grpc-status", "5").header("grpc-message", "no%20a.B").body(()).unwrap();
                respond.send_response(answer, true).unwrap();
            }
            GrpcReaction::State(state) => {
                assert_eq!(asked, grpc::request(None));
                let mut send = respond.send_response(ok().body(()).unwrap(), false).unwrap();
                send.send_data(vec![0, 0, 0, 0, 2, 8, state].into(), false).unwrap();
                let trailers =
                    [(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))];
                send.send_trailers(trailers.into_iter().collect()).unwrap();
            }
            GrpcReaction::Http(status) => {
                respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
            }
            GrpcReaction::Reset => respond.send_reset(ErrorCode::REFUSED_STREAM),
            GrpcReaction::Half => held.push(respond.send_response(ok().body(()).unwrap(), false).unwrap()),
            GrpcReaction::Hang | GrpcReaction::Say(_) => {
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn server(reaction: GrpcReaction, tls: Option<TlsAcceptor>) -> u16 {
    server_behind(None, reaction, tls).await
}

/// A server that needs the header of the PROXY protocol first, if a version is given; returns its port.
async fn server_behind(proxy: Option<ProxyVersion>, reaction: GrpcReaction, tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind((VIP, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, from) = listener.accept().await.unwrap();
            assert_eq!(from.ip(), VIP, "the probe comes from the VIP");
            if let Some(version) = proxy {
                assert_eq!(read_header(&mut stream).await, (version, from, listener.local_addr().unwrap()));
            }
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
async fn the_state_of_the_server_is_asked() {
    let half = "fail: no end of the answer within 300 ms";
    for (reaction, lines, timeout, want) in [
        (GrpcReaction::State(1), "", LONG_TIMEOUT, "pass: SERVING"),
        (GrpcReaction::State(2), "", LONG_TIMEOUT, "fail: the state is NOT_SERVING"),
        (
            GrpcReaction::State(1),
            "grpc_service = \"a.B\"",
            LONG_TIMEOUT,
            "fail: gRPC status NOT_FOUND: no a.B",
        ),
        (GrpcReaction::Http(StatusCode::NOT_FOUND), "", LONG_TIMEOUT, "fail: HTTP 404"),
        (GrpcReaction::Http(StatusCode::OK), "", LONG_TIMEOUT, "fail: answer is not gRPC"),
        (GrpcReaction::Reset, "", LONG_TIMEOUT, "fail: the server ended the request with an error of HTTP/2"),
        (GrpcReaction::Half, "", TIMEOUT, half),
        (GrpcReaction::Hang, "", TIMEOUT, "fail: no answer within 300 ms"),
        (
            GrpcReaction::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "",
            LONG_TIMEOUT,
            "fail: answer is not HTTP/2",
        ),
        (GrpcReaction::Say(b""), "", LONG_TIMEOUT, "fail: connection closed without an answer"),
    ] {
        assert_eq!(probe(server(reaction, None).await, timeout, "http", lines).await, want);
    }
}

#[tokio::test]
async fn the_header_of_the_proxy_protocol_comes_first() {
    let certificate = Authority::new().sign(&["www.example.com"], (1, 90));
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for (scheme, tls) in [("http", None), ("https", Some(certificate.acceptor(&["h2"], EACH)))] {
            let port = server_behind(Some(version), GrpcReaction::State(1), tls).await;
            let lines = format!("send_proxy = \"{version}\"\nverify = \"off\"");
            let lines = if scheme == "http" { lines.replace("verify = \"off\"", "") } else { lines };
            assert_eq!(probe(port, LONG_TIMEOUT, scheme, &lines).await, "pass: SERVING");
        }
    }
}

#[tokio::test]
async fn over_tls_it_is_asked_by_alpn() {
    let authority = Authority::new();
    let certificate = authority.sign(&["www.example.com"], (1, 90));
    let lines = format!("verify = \"require\"\nca_file = \"{}\"", authority.path());
    for (alpn, lines, want) in [
        (&["h2"][..], lines.as_str(), "pass: SERVING"),
        (&[], &lines, "fail: the server chose none of the offered protocols"),
        (&["http/1.1"], &lines, "fail: the server chose none of the offered protocols"),
        (
            &["h2"],
            "verify = \"require\"",
            "fail: the certificate is not trusted: its chain does not end at a trusted certificate",
        ),
    ] {
        let port = server(GrpcReaction::State(1), Some(certificate.acceptor(alpn, EACH))).await;
        let said = probe(port, LONG_TIMEOUT, "https", lines).await;
        assert!(said == want || (said.contains("chain") && want.contains("chain")), "{said}");
    }
}
