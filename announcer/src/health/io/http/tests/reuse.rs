//! Tests of `reuse`, with servers that keep connections, close them at bad moments, or hang. The servers count connections and the
//! requests over each.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::health::io::tls::tests::{Authority, EACH};
use crate::health::reuse::PROBES;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 24));
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NEW: &str = "pass: HTTP 200 over a new connection";
const KEPT: &str = "pass: HTTP 200 over the kept connection";

/// What a server does with one request.
#[derive(Clone, Copy)]
enum Step {
    Say(&'static str),
    /// Says it, and closes.
    SayAndClose(&'static str),
    Close,
    Reset,
    /// Never answers, and keeps the connection open.
    Hang,
}
use Step::{Close, Hang, Say, SayAndClose};

/// Which request: the number of its connection and its number on it, from 0.
type Script = fn(connection: usize, request: usize) -> Step;

/// A server that keeps its connections.
struct KeepingServer {
    port: u16,
    /// The number of requests that have arrived over each connection.
    requests: Arc<Mutex<Vec<usize>>>,
    accepts: tokio::task::JoinHandle<()>,
}

impl KeepingServer {
    async fn start(script: Script) -> Self {
        Self::start_over(None, script).await
    }

    async fn start_over(tls: Option<TlsAcceptor>, script: Script) -> Self {
        let listener = TcpListener::bind((VIP, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let accepts = tokio::spawn(async move {
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                assert_eq!(from.ip(), VIP);
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(0);
                    seen.len() - 1
                };
                let (tls, seen) = (tls.clone(), seen.clone());
                tokio::spawn(async move {
                    let reset = |stream: &TcpStream| stream.set_zero_linger().unwrap();
                    match tls {
                        None => keep(stream, reset, number, &seen, script).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            keep(stream, |stream| reset(stream.get_ref().0), number, &seen, script).await;
                        }
                    }
                });
            }
        });
        KeepingServer { port, requests, accepts }
    }

    fn probe(&self, lines: &str) -> HttpProbe {
        self.probe_of("http", lines)
    }

    fn probe_of(&self, scheme: &str, lines: &str) -> HttpProbe {
        let url = format!("{scheme}://www.example.com:{}/healthz", self.port);
        probe(VIP, &url, &format!("reuse = true\n{lines}"))
    }

    fn requests(&self) -> Vec<usize> {
        self.requests.lock().unwrap().clone()
    }
}

async fn keep<T: AsyncRead + AsyncWrite + Unpin>(
    mut stream: T,
    reset: impl Fn(&T),
    connection: usize,
    requests: &Mutex<Vec<usize>>,
    script: Script,
) {
    for request in 0.. {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(octet) => head.push(octet),
                Err(_) => return,
            }
        }
        requests.lock().unwrap()[connection] += 1;
        match script(connection, request) {
            Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            SayAndClose(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                return drop(stream.shutdown().await);
            }
            Close => return drop(stream.shutdown().await),
            Step::Reset => return reset(&stream),
            Hang => {
                let _ = stream.read(&mut [0]).await;
                return;
            }
        }
        stream.flush().await.unwrap();
    }
}

/// Lets the client see what the server has done after its last answer.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Probes until a connection was opened because the one before had served its time, so that the next nine probes are over it.
async fn until_planned(http: &HttpProbe) {
    let mut opened = 0;
    for _ in 0..2 * PROBES {
        match text_of(&http.probe().await).as_str() {
            NEW => opened += 1,
            KEPT => {}
            other => panic!("{other}"),
        }
        if opened == 2 {
            return;
        }
    }
    panic!("a connection serves for ever");
}

#[tokio::test]
async fn each_connection_serves_ten_probes_and_the_answer_says_which_is_new() {
    let ours = Authority::new();
    let acceptor = ours.sign(&["www.example.com"], (1, 90)).acceptor(&[], EACH);
    let lines = format!("verify = \"require\"\nca_file = \"{}\"", ours.path());
    for (scheme, tls, lines) in [("http", None, ""), ("https", Some(acceptor), lines.as_str())] {
        let server = KeepingServer::start_over(tls, |_, _| Say(OK)).await;
        let http = server.probe_of(scheme, lines);
        let mut connections = 0;
        for _ in 0..4 * PROBES {
            let text = text_of(&http.probe().await);
            let is_new = server.requests().len() > connections;
            assert_eq!(text, if is_new { NEW } else { KEPT });
            connections = server.requests().len();
        }
        let [first, full @ .., last] = &server.requests()[..] else { panic!("few connections") };
        let most = usize::try_from(PROBES).unwrap();
        assert!((1..=most).contains(first) && *last <= most, "{:?}", server.requests());
        assert!(full.len() >= 2 && full.iter().all(|requests| *requests == most), "{:?}", server.requests());
    }
}

/// The connection of the next probe, over HTTP/2 too.
#[tokio::test]
async fn http_2_is_kept_too() {
    let ours = Authority::new();
    let identity = ours.sign(&["www.example.com"], (1, 90));
    let lines = format!("verify = \"require\"\nca_file = \"{}\"", ours.path());
    for (scheme, tls, lines) in [
        ("https", Some(identity.acceptor(&["h2", "http/1.1"], EACH)), lines.clone()),
        ("http", None, "http_version = \"2\"".to_owned()),
    ] {
        let listener = TcpListener::bind((VIP, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                seen.lock().unwrap().push(0);
                let (tls, seen) = (tls.clone(), seen.clone());
                tokio::spawn(async move {
                    match tls {
                        None => keep_two(stream, &seen).await,
                        Some(tls) => keep_two(tls.accept(stream).await.unwrap(), &seen).await,
                    }
                });
            }
        });
        let http = probe(
            VIP,
            &format!("{scheme}://www.example.com:{port}/healthz"),
            &format!("reuse = true\n{lines}"),
        );
        let mut texts = Vec::new();
        for _ in 0..3 * PROBES {
            texts.push(text_of(&http.probe().await));
            settle().await;
        }
        let requests = requests.lock().unwrap().clone();
        assert!(requests.len() >= 3 && requests[1] == PROBES, "{requests:?}");
        assert_eq!(texts.iter().filter(|text| *text == NEW).count(), requests.len(), "{texts:?}");
        assert!(texts.iter().all(|text| [NEW, KEPT].contains(&text.as_str())), "{texts:?}");
    }
}

async fn keep_two(io: impl AsyncRead + AsyncWrite + Unpin, requests: &Mutex<Vec<u32>>) {
    let mut server = h2::server::handshake(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = server.accept().await {
        assert_eq!(request.uri().path(), "/healthz");
        assert!(request.headers().get("host").is_none());
        *requests.lock().unwrap().last_mut().unwrap() += 1;
        respond.send_response(http::Response::new(()), true).unwrap();
    }
}

/// A process that is stopping accepts connections until it says so (GOAWAY with NO_ERROR). One that does so again and again fails.
#[tokio::test]
async fn a_new_connection_of_http_2_that_ends_before_the_request_is_tried_once_more() {
    for (stopping, passes) in [(1, true), (2, false)] {
        let listener = TcpListener::bind((VIP, 0)).await.unwrap();
        let url = format!("http://www.example.com:{}/healthz", listener.local_addr().unwrap().port());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                seen.lock().unwrap().push(0);
                if number >= stopping {
                    keep_two(stream, &seen).await;
                    continue;
                }
                tokio::spawn(async move {
                    let mut server = h2::server::handshake(stream).await.unwrap();
                    server.abrupt_shutdown(h2::Reason::NO_ERROR);
                    while server.accept().await.is_some() {}
                    // An end of TCP could arrive together with it, and alone it would be no order to try again.
                    std::future::pending::<()>().await;
                });
            }
        });
        let http = probe(VIP, &url, "reuse = true\nhttp_version = \"2\"");
        let text = text_of(&http.probe().await);
        assert_eq!(text == NEW, passes, "{text}");
        assert_eq!(text.starts_with("fail: "), !passes, "{text}");
        assert_eq!(requests.lock().unwrap().len(), 2, "connections");
    }
}

/// The server may close a kept connection at any time, and is healthy.
#[tokio::test]
async fn a_request_that_the_server_did_not_answer_because_it_closed_is_sent_again() {
    const TIMED_OUT: &str = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let scripts: [Script; 4] = [
        |_, request| if request == 1 { Close } else { Say(OK) },
        |_, request| if request == 1 { Step::Reset } else { Say(OK) },
        |_, request| if request == 1 { SayAndClose(TIMED_OUT) } else { Say(OK) },
        // Closes after its answer, without a word.
        |_, _| SayAndClose(OK),
    ];
    let ours = Authority::new();
    let identity = ours.sign(&["www.example.com"], (1, 90));
    for (at, script) in scripts.into_iter().enumerate() {
        for tls in [false, true] {
            let acceptor = tls.then(|| identity.acceptor(&[], EACH));
            let server = KeepingServer::start_over(acceptor, script).await;
            let http = match tls {
                true => server.probe_of("https", "verify = \"off\""),
                false => server.probe(""),
            };
            for round in 0..30 {
                let text = text_of(&http.probe().await);
                assert!(text.starts_with("pass: HTTP 200 over a new connection"), "{at} {round}: {text}");
                settle().await;
            }
            let most = if at == 3 { 1 } else { 2 };
            assert_eq!(server.requests().iter().max(), Some(&most), "{at}: {:?}", server.requests());
        }
    }
}

/// What says something about the server counts at once, and the next probe has a new connection.
#[tokio::test]
async fn a_failure_over_a_kept_connection_counts_and_ends_it() {
    let scripts: [(Script, &str); 4] = [
        (|_, request| if request == 1 { Hang } else { Say(OK) }, "fail: no answer within 1000 ms"),
        (
            |_, request| if request == 1 { SayAndClose("HTTP/1.1 20") } else { Say(OK) },
            "fail: connection closed without an answer",
        ),
        (
            |_, request| match request {
                1 => Say("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
                _ => Say(OK),
            },
            "fail: HTTP 503",
        ),
        (
            |_, request| match request {
                1 => SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
                _ => Say(OK),
            },
            "fail: answer cut short",
        ),
    ];
    for (script, want) in scripts {
        let server = KeepingServer::start(script).await;
        let http = server.probe("");
        let mut failures = 0;
        for _ in 0..40 {
            let before = server.requests().len();
            let text = text_of(&http.probe().await);
            if server.requests().len() > before {
                assert_eq!(text, NEW);
            } else {
                assert_eq!(text, want);
                failures += 1;
                if failures == 2 {
                    break;
                }
            }
        }
        assert_eq!(failures, 2, "{want}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_the_connection_is_from_a_new_one_each_time() {
    const CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    const LONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n123456789";
    let scripts: [(Script, &str); 4] = [
        (|_, _| Say(CLOSE), ""),
        (|_, _| SayAndClose("HTTP/1.1 200 OK\r\n\r\nuntil the end"), ""),
        (|_, _| Say("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), ""),
        (|_, _| Say(LONG), "max_body = 3"),
    ];
    for (script, lines) in scripts {
        let server = KeepingServer::start(script).await;
        let http = server.probe(lines);
        for _ in 0..3 {
            assert_eq!(
                text_of(&http.probe().await),
                "pass: HTTP 200 over a new connection that could not be kept"
            );
        }
        assert_eq!(server.requests(), [1, 1, 1]);
    }
}

/// A reload of a web server: the old process still answers over its connections, and nobody listens.
#[tokio::test]
async fn a_listener_that_is_gone_is_noticed_after_ten_probes() {
    let server = KeepingServer::start(|_, _| Say(OK)).await;
    let http = server.probe("");
    until_planned(&http).await;
    server.accepts.abort();
    settle().await;
    let mut texts = Vec::new();
    for _ in 0..PROBES + 2 {
        texts.push(text_of(&http.probe().await));
    }
    let kept = usize::try_from(PROBES).unwrap() - 1;
    assert!(texts[..kept].iter().all(|text| text == KEPT), "{texts:?}");
    assert!(texts[kept..].iter().all(|text| text == "fail: connection refused"), "{texts:?}");
}

#[tokio::test]
async fn probes_that_overlap_have_each_their_own_connection() {
    let server = KeepingServer::start(|_, _| Say(OK)).await;
    let http = server.probe("");
    let texts = futures_util::future::join_all((0..4).map(|_| http.probe())).await;
    assert!(texts.iter().all(|outcome| text_of(outcome) == NEW), "{texts:?}");
    assert_eq!(server.requests(), [1, 1, 1, 1]);
}

/// The next probe proves the listener again, also if another probe has kept a connection meanwhile.
#[tokio::test]
async fn a_failure_ends_the_connection_of_a_probe_that_has_passed_meanwhile() {
    // One of ten connections is not kept, since the first life is random.
    for _ in 0..3 {
        let server = KeepingServer::start(|connection, _| if connection == 0 { Hang } else { Say(OK) }).await;
        let http = server.probe("");
        let outcomes = futures_util::future::join(http.probe(), http.probe()).await;
        let texts = [text_of(&outcomes.0), text_of(&outcomes.1)];
        assert!(texts.iter().any(|text| text.starts_with("fail: no answer")), "{texts:?}");
        assert!(texts.iter().any(|text| text == NEW), "{texts:?}");
        assert_eq!(text_of(&http.probe().await), NEW);
    }
}

/// What arrives between two probes is no answer to the next one.
#[tokio::test]
async fn octets_that_nobody_has_asked_for_end_the_connection() {
    let listener = TcpListener::bind((VIP, 0)).await.unwrap();
    let url = format!("http://www.example.com:{}/healthz", listener.local_addr().unwrap().port());
    let http = probe(VIP, &url, "reuse = true");
    for _ in 0..5 {
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream
        };
        let both = futures_util::future::join(http.probe(), answer);
        let (outcome, mut stream) =
            tokio::time::timeout(Duration::from_secs(5), both).await.expect("a new connection");
        assert_eq!(text_of(&outcome), NEW);
        let late = b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(late).await.unwrap();
        settle().await;
    }
}

/// The certificate was judged at the handshake; the finding holds as long as the connection.
#[tokio::test]
async fn a_warning_of_the_handshake_comes_with_each_probe() {
    use crate::health::io::tls::tests::text_of as text_of_all;
    let ours = Authority::new();
    let acceptor = ours.sign(&["other.example.com"], (1, 90)).acceptor(&[], EACH);
    let server = KeepingServer::start_over(Some(acceptor), |_, _| Say(OK)).await;
    let http = server.probe_of("https", &format!("ca_file = \"{}\"", ours.path()));
    for _ in 0..2 * PROBES {
        let text = text_of_all(&http.probe().await);
        assert!(text.ends_with(", but the certificate is not for `www.example.com`"), "{text}");
    }
    assert!(server.requests().len() < 5, "{:?}", server.requests());
}

/// The fields of the request are those of a probe without `reuse`.
#[tokio::test]
async fn the_request_is_the_same_as_without_reuse() {
    const SCRIPT: &[HttpReply] = &[Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Hold];
    use super::HttpReply::Say;
    for (host, lines) in [
        ("www.example.com", "headers = [\"X-A: 1\", \"X-A: 2\"]"),
        ("127.0.0.99", "method = \"HEAD\"\nheaders = [\"User-Agent: a person\"]"),
        ("[2001:db8::1]", "body = \"ping\""),
    ] {
        let mut heads = Vec::new();
        for reuse in [false, true] {
            let mut server = HttpServer::start(VIP, SCRIPT).await;
            let url = server.url(host);
            let outcome = probe(VIP, &url, &format!("reuse = {reuse}\n{lines}")).probe().await;
            assert!(matches!(outcome, Outcome::Pass { .. }), "{outcome}");
            let head = server.request().await.1.replace(&server.address.port().to_string(), "PORT");
            let (first, fields) = head.split_once("\r\n").unwrap();
            let mut fields: Vec<String> = fields.lines().map(str::to_ascii_lowercase).collect();
            fields.sort();
            heads.push((first.to_owned(), fields));
        }
        assert_eq!(heads[0], heads[1]);
    }
}
