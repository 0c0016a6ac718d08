//! Tests over TLS, of HTTP/2, and of the expected answer.

use hyper::body::Bytes;
use reqwest::Method;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::health::io::tls::tests::{Authority, EACH, text_of as text_of_all};

/// The parts of a request that a server has received.
#[derive(Debug, PartialEq, Eq)]
struct ReceivedRequest {
    version: http::Version,
    method: Method,
    uri: String,
    host: Option<String>,
    body: String,
}

/// A server with one answer, for every version of HTTP.
struct TlsSite {
    port: u16,
    asked: mpsc::UnboundedReceiver<ReceivedRequest>,
}

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 22));

impl TlsSite {
    async fn start(tls: Option<TlsAcceptor>, two: bool, status: u16, body: &'static [u8]) -> TlsSite {
        let listener = TcpListener::bind((VIP, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, tell) = (tls.clone(), tell.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return talk(stream, two, status, body, tell).await };
                    if let Ok(stream) = tls.accept(stream).await {
                        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        talk(stream, two, status, body, tell).await;
                    }
                });
            }
        });
        TlsSite { port, asked }
    }

    async fn probe(&self, scheme: &str, lines: &str) -> String {
        let url = format!("{scheme}://www.example.com:{}/healthz?deep=1", self.port);
        // The time is long enough for every machine, because this test is not about time.
        text_of_all(&probe_within(Duration::from_secs(20), VIP, &url, lines).probe().await)
    }
}

async fn talk(
    io: impl AsyncRead + AsyncWrite + Unpin,
    two: bool,
    status: u16,
    body: &'static [u8],
    tell: mpsc::UnboundedSender<ReceivedRequest>,
) {
    if two { talk_two(io, status, body, tell).await } else { talk_one(io, status, body, tell).await }
}

async fn talk_two(
    io: impl AsyncRead + AsyncWrite + Unpin,
    status: u16,
    body: &'static [u8],
    tell: mpsc::UnboundedSender<ReceivedRequest>,
) {
    let Ok(mut server) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, mut respond))) = server.accept().await {
        let (head, mut sent) = request.into_parts();
        let tell = tell.clone();
        tokio::spawn(async move {
            let mut text = Vec::new();
            while let Some(Ok(data)) = sent.data().await {
                text.extend_from_slice(&data);
            }
            let host = head.uri.authority().map(ToString::to_string);
            let uri = head.uri.path_and_query().unwrap().to_string();
            let body_of_it = String::from_utf8(text).unwrap();
            let asked =
                ReceivedRequest { version: head.version, method: head.method, uri, host, body: body_of_it };
            let _ = tell.send(asked);
            let answer = http::Response::builder().status(status).body(()).unwrap();
            let mut stream = respond.send_response(answer, false).unwrap();
            let _ = stream.send_data(Bytes::from_static(body), true);
        });
    }
}

async fn talk_one(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    status: u16,
    body: &'static [u8],
    tell: mpsc::UnboundedSender<ReceivedRequest>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut sent = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
    io.read_exact(&mut sent).await.unwrap();
    let mut words = head.split(' ');
    let _ = tell.send(ReceivedRequest {
        method: words.next().unwrap().parse().unwrap(),
        uri: words.next().unwrap().to_owned(),
        version: http::Version::HTTP_11,
        host: field("host"),
        body: String::from_utf8(sent).unwrap(),
    });
    let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = io.write_all(answer.as_bytes()).await;
    let _ = io.write_all(body).await;
    let _ = io.flush().await;
    let _ = io.read(&mut [0]).await;
}

#[tokio::test]
async fn each_version_is_spoken_as_the_check_and_the_server_have_it() {
    use http::Version;
    let ours = Authority::new();
    let identity = ours.sign(&["www.example.com"], (1, 90));
    let acceptor = |alpn: &[&str]| Some(identity.acceptor(alpn, EACH));
    let lines = format!("verify = \"require\"\nca_file = \"{}\"\nhttp_version = ", ours.path());
    let (none, both) = ("fail: the server chose none of the offered protocols", &["h2", "http/1.1"][..]);
    for (server, two, scheme, version, want, spoken) in [
        (acceptor(both), false, "https", "auto", "pass: HTTP 200", Some(Version::HTTP_2)),
        (acceptor(both), false, "https", "1.1", "pass: HTTP 200", Some(Version::HTTP_11)),
        (acceptor(both), false, "https", "2", "pass: HTTP 200", Some(Version::HTTP_2)),
        (acceptor(&["http/1.1"]), false, "https", "auto", "pass: HTTP 200", Some(Version::HTTP_11)),
        (acceptor(&["http/1.1"]), false, "https", "2", none, None),
        (acceptor(&[]), false, "https", "auto", "pass: HTTP 200", Some(Version::HTTP_11)),
        (acceptor(&[]), false, "https", "2", none, None),
        (None, false, "http", "auto", "pass: HTTP 200", Some(Version::HTTP_11)),
        (None, true, "http", "2", "pass: HTTP 200", Some(Version::HTTP_2)),
        (None, true, "http", "1.1", "fail: answer is not HTTP", None),
    ] {
        let mut site = TlsSite::start(server, two, 200, b"ok").await;
        let lines = if scheme == "https" { &lines } else { "http_version = " };
        let version = format!("{lines}\"{version}\"");
        let answer = site.probe(scheme, &version).await;
        assert_eq!(answer, want, "{scheme} {version}");
        let Some(spoken) = spoken else { continue };
        let want = ReceivedRequest {
            version: spoken,
            method: Method::GET,
            uri: "/healthz?deep=1".into(),
            host: Some(format!("www.example.com:{}", site.port)),
            body: String::new(),
        };
        assert_eq!(site.asked.recv().await.unwrap(), want);
    }
}

#[tokio::test]
async fn a_server_of_http_1_is_no_server_of_http_2() {
    // An HTTP/1 server takes the HTTP/2 preface for a request. If it closes at once, this may happen before our request is sent,
    // and its answer is lost.
    for script in [
        &[Say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), Wait(50)][..],
        &[Say("HTTP/1.1 505 HTTP Version Not Supported\r\nServer: a server of some name\r\n\r\n"), Wait(50)],
    ] {
        let server = HttpServer::start(vip(10), script).await;
        assert_eq!(text_of(&server.probe_with("http_version = \"2\"").await), "fail: answer is not HTTP/2");
    }
    for (script, want) in [
        (&[Wait(2000)][..], "fail: no answer within 1000 ms"),
        (&[Wait(50), Reset], "fail: connection reset"),
    ] {
        let server = HttpServer::start(vip(10), script).await;
        assert_eq!(text_of(&server.probe_with("http_version = \"2\"").await), want);
    }
}

#[tokio::test]
async fn the_request_is_as_the_check_has_it() {
    for two in [false, true] {
        let mut site = TlsSite::start(None, two, 201, b"").await;
        let version = if two { "http_version = \"2\"\n" } else { "" };
        let lines = format!("{version}method = \"POST\"\nbody = \"ping ü\"\nheaders = [\"X-A: 1\"]");
        assert_eq!(site.probe("http", &lines).await, "pass: HTTP 201");
        let asked = site.asked.recv().await.unwrap();
        assert_eq!((asked.method, asked.body.as_str()), (Method::POST, "ping ü"));
    }
    let mut server =
        HttpServer::start(vip(10), &[Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Hold]).await;
    let lines = "method = \"HEAD\"\nheaders = [\"X-A: 1\", \"X-A: 2\", \"User-Agent: a person\"]";
    assert_eq!(text_of(&server.probe_with(lines).await), "pass: HTTP 200");
    let (_, head) = server.request().await;
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("head /healthz?deep=1 http/1.1\r\n"), "{head}");
    for line in ["x-a: 1\r\n", "x-a: 2\r\n", "user-agent: a person\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    assert_eq!(head.matches("user-agent").count(), 1, "{head}");
}

#[tokio::test]
async fn an_answer_passes_as_the_check_says() {
    static LONG: [u8; 200_000] = [b'x'; 200_000];
    const SHA1: &str = "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"; // of "hello world"
    const SHA256: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    let hello: &'static [u8] = b"hello world";
    for two in [false, true] {
        let version = if two { "http_version = \"2\"\n" } else { "" };
        for (status, body, lines, want) in [
            (200, hello, "", "pass: HTTP 200"),
            (404, hello, "expect_status = [\"200-299\", 404]", "pass: HTTP 404"),
            (301, hello, "expect_status = 301", "pass: HTTP 301"),
            (200, hello, "expect_status = \"201-299\"", "fail: HTTP 200"),
            (299, hello, "expect_status = \"200-299\"", "pass: HTTP 299"),
            (300, hello, "expect_status = \"200-299\"", "fail: HTTP 300"),
            (200, hello, "expect_body = '^hello\\s\\w+$'", "pass: HTTP 200"),
            (200, hello, "expect_body = 'hello$'", "fail: `expect_body` is not in the body"),
            (200, b"\xffok", "expect_body = 'ok$'", "pass: HTTP 200"),
            (
                200,
                hello,
                "expect_body = 'world'\nmax_body = 10",
                "fail: `expect_body` is not in the first 10 octets of the body",
            ),
            (200, hello, "expect_body = 'world'\nmax_body = 11", "pass: HTTP 200"),
            (200, hello, &format!("expect_digest = \"{SHA1}\"\nmax_body = 11"), "pass: HTTP 200"),
            (200, hello, &format!("expect_digest = \"{}\"", SHA256.to_uppercase()), "pass: HTTP 200"),
            (
                200,
                hello,
                &format!("expect_digest = \"{SHA1}\"\nmax_body = 10"),
                "fail: body is longer than 10 octets",
            ),
            (
                200,
                b"hello",
                &format!("expect_digest = \"{SHA1}\""),
                "fail: body has the digest aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
            ),
            (200, &LONG, "", "pass: HTTP 200"),
            (200, &LONG, "max_body = 200000\nexpect_body = 'x'", "pass: HTTP 200"),
            (
                200,
                &LONG,
                "max_body = 200000\nexpect_digest = \"62951f943c41cdd326e5ce2b53a779e7916a820d\"",
                "pass: HTTP 200",
            ),
        ] {
            let site = TlsSite::start(None, two, status, body).await;
            let answer = site.probe("http", &format!("{version}{lines}")).await;
            assert_eq!(answer, want, "{version}{lines}");
        }
    }
}

// H20: a body with gzip that was not requested looks like another page.
#[tokio::test]
async fn a_body_that_is_not_as_expected_is_reported_with_its_encoding() {
    const GZIP: &[HttpReply] =
        &[Say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\u{1f}z"), Hold];
    const PLAIN: &[HttpReply] =
        &[Say("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"), Hold];
    let digest = format!("expect_digest = \"{}\"", "0".repeat(40));
    for (script, lines, want) in [
        (
            GZIP,
            "expect_body = 'ok'",
            "`expect_body` is not in the body, which has the Content-Encoding `gzip`",
        ),
        (PLAIN, "expect_body = 'no'", "`expect_body` is not in the body"),
        (
            GZIP,
            &digest,
            "body has the digest 6ccb7ee6ebb6ff4e3a7b7b7b5a0d0c0a3a3b7f0e, with the Content-Encoding `gzip`",
        ),
    ] {
        let said = text_of(&HttpServer::start(vip(10), script).await.probe_with(lines).await);
        let (head, tail) = want.split_once(" digest ").unwrap_or((want, ""));
        let tail = tail.split_once(',').map_or("", |(_, tail)| tail);
        assert!(said.starts_with(&format!("fail: {head}")) && said.ends_with(tail), "{said}");
    }
}

// H9: servers answer 411 without it.
#[tokio::test]
async fn a_request_without_a_body_says_so_where_its_method_has_one() {
    for (method, want) in [("POST", 1), ("PUT", 1), ("PATCH", 1), ("GET", 0), ("DELETE", 0), ("HEAD", 0)] {
        let mut server = HttpServer::start(vip(10), &[Say("HTTP/1.1 204 No Content\r\n\r\n"), Hold]).await;
        let outcome = server.probe_with(&format!("method = \"{method}\"")).await;
        assert_eq!(text_of(&outcome), "pass: HTTP 204");
        let head = server.request().await.1.to_ascii_lowercase();
        assert_eq!(head.matches("\r\ncontent-length: 0\r\n").count(), want, "{head}");
        assert_eq!(head.matches("content-length").count(), want, "{head}");
    }
    let mut site = TlsSite::start(None, true, 200, b"").await;
    assert_eq!(site.probe("http", "http_version = \"2\"\nmethod = \"POST\"").await, "pass: HTTP 200");
    assert_eq!(site.asked.recv().await.unwrap().method, Method::POST);
}

#[tokio::test]
async fn a_certificate_that_counts_lets_nothing_be_asked() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let identity = theirs.sign(&["www.example.com"], (1, 90));
    let mut site = TlsSite::start(Some(identity.acceptor(&["h2"], EACH)), false, 200, b"").await;
    let lines = format!("ca_file = \"{}\"\n", ours.path());
    let wrong = "the certificate's chain does not end at a trusted certificate";
    let required = site.probe("https", &format!("{lines}verify = \"require\"")).await;
    assert_eq!(required, format!("fail: {wrong}"));
    assert!(site.asked.try_recv().is_err());
    assert_eq!(site.probe("https", &lines).await, format!("pass: HTTP 200, but {wrong}"));
    assert_eq!(site.asked.recv().await.unwrap().uri, "/healthz?deep=1");
}

/// The client has no pool, so that its handshakes are polled in the task of the probe.
#[tokio::test]
async fn probes_that_overlap_have_each_their_own_findings() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let acceptor = theirs.sign(&["www.example.com"], (1, 90)).acceptor(&[], EACH);
    let site = TlsSite::start(Some(acceptor), false, 200, b"").await;
    let url = format!("https://www.example.com:{}/", site.port);
    let http = probe_within(Duration::from_secs(20), VIP, &url, &format!("ca_file = \"{}\"", ours.path()));
    let wrong = "pass: HTTP 200, but the certificate's chain does not end at a trusted certificate";
    let (one, two, three) = tokio::join!(http.probe(), http.probe(), http.probe());
    for outcome in [one, two, three, http.probe().await] {
        assert_eq!(text_of_all(&outcome), wrong);
    }
}

#[tokio::test]
async fn what_is_no_tls_has_its_reason() {
    for (says, want) in [
        (Some("HTTP/1.1 400 Bad Request\r\n\r\n"), "fail: answer is not TLS"),
        (Some(""), "fail: connection closed without an answer"),
        (None, "fail: no TLS within 1000 ms"),
        // An alert: handshake failure.
        (
            Some("\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}"),
            "fail: TLS failed: the server sent the alert handshake_failure: it has no version, cipher or signature in common \
             with announcer, or it requires a client certificate: write `client_certificate`",
        ),
    ] {
        let listener = TcpListener::bind((VIP, 0)).await.unwrap();
        let url = format!("https://www.example.com:{}/", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            match says {
                Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                None => tokio::time::sleep(TIMEOUT * 2).await,
            }
        });
        assert_eq!(text_of_all(&probe_within(TIMEOUT, VIP, &url, "").probe().await), want);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(VIP, 0)).unwrap();
    let url = format!("https://www.example.com:{}/", socket.local_addr().unwrap().port());
    assert_eq!(text_of_all(&super::probe(VIP, &url, "").probe().await), "fail: connection refused");
    let listener = socket.listen(0).unwrap();
    let _fills = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let outcome = probe_within(TIMEOUT, VIP, &url, "").probe().await;
    assert_eq!(text_of_all(&outcome), "fail: no connection within 1000 ms");
}

#[tokio::test]
async fn an_address_in_the_url_is_what_the_certificate_has_to_have() {
    let ours = Authority::new();
    let acceptor = ours.sign(&["192.0.2.80"], (1, 90)).acceptor(&["h2", "http/1.1"], EACH);
    let mut site = TlsSite::start(Some(acceptor), false, 200, b"").await;
    let lines = format!("verify = \"require\"\nca_file = \"{}\"", ours.path());
    for (host, want) in [
        ("192.0.2.80", "pass: HTTP 200".to_owned()),
        ("192.0.2.81", "fail: the certificate is not for `192.0.2.81`".to_owned()),
    ] {
        let url = format!("https://{host}:{}/", site.port);
        assert_eq!(
            text_of_all(&probe_within(Duration::from_secs(20), VIP, &url, &lines).probe().await),
            want
        );
    }
    let asked = site.asked.recv().await.unwrap();
    // With HTTP/2 it would have to be the address of the connection.
    assert_eq!(asked.host, Some(format!("192.0.2.80:{}", site.port)));
}
