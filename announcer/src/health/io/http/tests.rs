//! Tests with scripted servers, each on its own loopback address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::ProbeConfig;
use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::outcome::Shortage;
use crate::own_process::in_own_process;

mod early;
mod reuse;
mod secure;

/// Long enough for a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The actions of a server after it has read a request.
#[derive(Clone, Copy)]
enum HttpReply {
    Say(&'static str),
    Wait(u64),
    /// Sends it repeatedly, until the client has disconnected.
    Repeat(&'static str),
    /// Keeps the connection open, until the client has disconnected.
    Hold,
    Reset,
}
use HttpReply::{Hold, Repeat, Reset, Say, Wait};

/// The events that a server reports.
#[derive(Debug)]
enum ServerEvent {
    Request {
        from: SocketAddr,
        head: String,
    },
    /// The client has disconnected.
    Left,
}

struct HttpServer {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<ServerEvent>,
}

impl HttpServer {
    async fn start(vip: IpAddr, script: &'static [HttpReply]) -> HttpServer {
        let listener = TcpListener::bind((vip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, from, script, tell.clone()));
            }
        });
        HttpServer { address, seen }
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/healthz?deep=1", self.address.port())
    }

    async fn probe(&self) -> Outcome {
        self.probe_with("").await
    }

    /// With more lines of the check.
    async fn probe_with(&self, lines: &str) -> Outcome {
        probe(self.address.ip(), &self.url("www.example.com"), lines).probe().await
    }

    async fn request(&mut self) -> (SocketAddr, String) {
        loop {
            if let ServerEvent::Request { from, head } = self.seen.recv().await.unwrap() {
                return (from, head);
            }
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    from: SocketAddr,
    script: &'static [HttpReply],
    tell: mpsc::UnboundedSender<ServerEvent>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let _ = tell.send(ServerEvent::Request { from, head: String::from_utf8(head).unwrap() });
    for then in script {
        match then {
            Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Wait(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Repeat(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
            Hold => drop(stream.read(&mut [0]).await),
            Reset => stream.set_zero_linger().unwrap(),
        }
    }
    let _ = tell.send(ServerEvent::Left);
}

/// A probe of a URL, made from a configuration.
fn probe(vip: IpAddr, url: &str, lines: &str) -> HttpProbe {
    probe_within(TIMEOUT, vip, url, lines)
}

fn probe_within(timeout: Duration, vip: IpAddr, url: &str, lines: &str) -> HttpProbe {
    let check = a_check(&format!("http = \"{url}\"\n{lines}"));
    let target = Target::of_test(vip, check, timeout);
    let ProbeConfig::Http(http) = &target.config.probe else { panic!("no http") };
    HttpProbe::of(&Prober::new(Files::new()), &target, http)
}

fn vip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
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

const STATUS_LINE: &str = "fail: the status line is malformed; a correct one is `HTTP/1.1 200 OK`";

#[tokio::test]
async fn each_answer_has_its_reason() {
    let scripts: &[(&'static [HttpReply], &str)] = &[
        (&[Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], "pass: HTTP 200"),
        (&[Say("HTTP/1.1 204 No Content\r\n\r\n"), Hold], "pass: HTTP 204"),
        (&[Say("HTTP/1.0 200 OK\r\n\r\nuntil the end")], "pass: HTTP 200"),
        (
            &[Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), Hold],
            "pass: HTTP 200",
        ),
        (
            &[Say("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Hold],
            "pass: HTTP 200",
        ),
        (&[Wait(50), Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Hold], "pass: HTTP 200"),
        // The status is enough: the probe does not wait for the body.
        (&[Say("HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n"), Hold], "fail: HTTP 503"),
        (&[Say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")], "fail: HTTP 403"),
        (
            &[Say("HTTP/1.1 301 Moved\r\nLocation: https://www.example.com/\r\nContent-Length: 0\r\n\r\n")],
            "fail: HTTP 301 to https://www.example.com/",
        ),
        (&[Say("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")], "fail: HTTP 302"),
        (&[Hold], "fail: no answer within 1000 ms"),
        (&[Say("HTTP/1.1 200 OK\r\nX-Slow: "), Hold], "fail: no answer within 1000 ms"),
        (
            &[Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), Hold],
            "fail: no end of the answer within 1000 ms",
        ),
        (&[Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")], "fail: answer cut short"),
        (&[Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab")], "fail: answer cut short"),
        (
            &[Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab"), Hold],
            "fail: answer is not HTTP",
        ),
        (&[Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), Wait(20), Reset], "fail: answer cut short"),
        (&[Say("SSH-2.0-OpenSSH_9.9\r\n"), Hold], "fail: answer is not HTTP"),
        (&[Say("\0\x01\x02\x03\r\n\r\n")], "fail: answer is not HTTP"),
        // H8: the probe accepts what other clients accept, and distinguishes malformed answers from answers that are not HTTP.
        (&[Say("HTTP/1.1 200 OK\r\nX-Long: a,\r\n\tb\r\nContent-Length: 0\r\n\r\n")], "pass: HTTP 200"),
        (&[Say("HTTP/1.1 200 OK\r\nX-Space : a\r\nContent-Length : 0\r\n\r\n"), Hold], "pass: HTTP 200"),
        (
            &[Say("HTTP/1.1 200 OK\r\nX-Delete: a\u{7f}b\r\nContent-Length: 0\r\n\r\n"), Hold],
            "pass: HTTP 200",
        ),
        (
            &[Say("HTTP/1.1 200 OK\r\nno field\r\nX Y: z\r\nContent-Length: 0\r\n\r\n"), Hold],
            "pass: HTTP 200",
        ),
        (&[Say("HTTP/1.1 200 OK\nContent-Length: 0\n\n"), Hold], "pass: HTTP 200"),
        (
            &[Say("HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n y\r\nContent-Length: 0\r\n\r\n")],
            "fail: HTTP 301 to http://x/ y",
        ),
        (
            &[Say("HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\n\r\n")],
            "fail: a header field is malformed, with a NUL or a carriage return in it",
        ),
        (
            &[Say("HTTP/1.1 200 OK\r\nX-Return: a\rb\r\n\r\n")],
            "fail: a header field is malformed, with a NUL or a carriage return in it",
        ),
        (
            &[Say("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n")],
            "fail: the header field Content-Length is malformed, or there are two that differ",
        ),
        (
            &[Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok")],
            "fail: the header field Content-Length is malformed, or there are two that differ",
        ),
        (
            &[Say("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")],
            "fail: the header field Transfer-Encoding is malformed, or has no place in such an answer",
        ),
        // An answer that begins with `HTTP/1.` is HTTP, so its failure has no hint about TLS.
        (&[Say("HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\n\r\n")], STATUS_LINE),
        (&[Say("HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n")], STATUS_LINE),
        (&[Say("HTTP/1.0 OK\r\n\r\n")], STATUS_LINE),
        (&[Say("HTTP/1.1 20\r\n\r\n")], STATUS_LINE),
        // H21: the server's error page.
        (
            &[Say("HTTP/1.1 400 Bad\r\n\r\nThe plain HTTP request was sent to HTTPS port")],
            "fail: HTTP 400, the server says that the port uses TLS",
        ),
        (
            &[Say("HTTP/1.1 400 Bad\r\n\r\nNo required SSL certificate was sent")],
            "fail: the server requires a client certificate",
        ),
        (&[Say("HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\n"), Hold], "fail: HTTP 400"),
        (&[], "fail: connection closed without an answer"),
        (&[Say("HTTP/1.1 20")], "fail: connection closed without an answer"),
        (&[Reset], "fail: connection reset"),
    ];
    for (at, (script, want)) in scripts.iter().enumerate() {
        let server = HttpServer::start(vip(2), script).await;
        assert_eq!(text_of(&server.probe().await), *want, "script {at}");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    let holder = TcpSocket::new_v4().unwrap();
    holder.bind(SocketAddr::new(vip(3), 0)).unwrap();
    let url = format!("http://www.example.com:{}/", holder.local_addr().unwrap().port());
    assert_eq!(text_of(&probe(vip(3), &url, "").probe().await), "fail: connection refused");
}

#[tokio::test]
async fn a_full_queue_gives_no_connection() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(vip(3), 0)).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://www.example.com:{}/", address.port());
    let _fills = TcpStream::connect(address).await.unwrap();
    let outcome = probe_within(TIMEOUT, vip(3), &url, "").probe().await;
    assert_eq!(outcome.to_string(), "no connection within 1000 ms");
}

#[tokio::test]
async fn a_vip_that_is_not_on_the_host_is_asked_nowhere() {
    for missing in ["192.0.2.80", "2001:db8::80"] {
        let outcome = probe(missing.parse().unwrap(), "http://www.example.com/", "").probe().await;
        assert_eq!(text_of(&outcome), "fail: the VIP is not on this host");
    }
}

/// The limits on octets and fields end the probe, and not the timeout.
#[tokio::test]
async fn an_endless_header_is_too_long() {
    const FIELD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";
    let fields: &[HttpReply] = &[Say("HTTP/1.1 200 OK\r\n"), Repeat("X-More: and more\r\n")];
    let field = &[Say("HTTP/1.1 200 OK\r\nX-More: "), Repeat(FIELD)];
    for script in [fields, field] {
        let server = HttpServer::start(vip(4), script).await;
        let (ip, url) = (server.address.ip(), server.url("www.example.com"));
        let outcome = probe_within(Duration::from_secs(60), ip, &url, "").probe().await;
        let Outcome::Fail { reason, .. } = &outcome else { panic!("{outcome}") };
        assert_eq!(*reason, Failure::HeaderTooLong.into());
    }
}

#[tokio::test]
async fn an_endless_body_is_left_after_64_kib() {
    const LINE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    let mut server = HttpServer::start(vip(4), &[Say("HTTP/1.1 200 OK\r\n\r\n"), Repeat(LINE)]).await;
    assert_eq!(text_of(&server.probe().await), "pass: HTTP 200");
    while !matches!(server.seen.recv().await, Some(ServerEvent::Left)) {}
}

#[tokio::test]
async fn a_body_that_stalls_beyond_64_kib_passes() {
    static BODY: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", "x".repeat(65536))
    });
    let script: &'static [HttpReply] = Box::leak(Box::new([Say(&BODY), Hold]));
    assert_eq!(text_of(&HttpServer::start(vip(4), script).await.probe().await), "pass: HTTP 200");
}

#[tokio::test]
async fn asks_as_a_client_of_the_name_does_over_a_new_connection_each_time() {
    let mut server =
        HttpServer::start(vip(5), &[Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Hold]).await;
    let port = server.address.port();
    let http = probe(vip(5), &server.url("www.example.com"), "");
    let mut ports = Vec::new();
    for _ in 0..3 {
        assert_eq!(text_of(&http.probe().await), "pass: HTTP 200");
        let (from, head) = server.request().await;
        assert!(head.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nhost: www.example.com:{port}\r\n")), "{head}");
        assert!(
            head.contains(&format!("\r\nuser-agent: announcer/{}\r\n", env!("CARGO_PKG_VERSION"))),
            "{head}"
        );
        assert_eq!(from.ip(), vip(5));
        assert!(matches!(server.seen.recv().await, Some(ServerEvent::Left)), "the connection was kept");
        ports.push(from.port());
    }
    ports.dedup();
    assert_eq!(ports.len(), 3, "{ports:?}");
}

#[tokio::test]
async fn an_address_in_the_url_is_a_name_too() {
    let script = &[Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Hold];
    for (vip, host) in [
        (vip(6), "127.0.0.99"),
        (vip(6), "[2001:db8::1]"),
        (vip(6), "localhost"),
        (IpAddr::from(std::net::Ipv6Addr::LOCALHOST), "www.example.com"),
        (IpAddr::from(std::net::Ipv6Addr::LOCALHOST), "[2001:db8::1]"),
        (IpAddr::from(std::net::Ipv6Addr::LOCALHOST), "127.0.0.99"),
    ] {
        let mut server = HttpServer::start(vip, script).await;
        let url = server.url(host);
        assert_eq!(text_of(&probe(vip, &url, "").probe().await), "pass: HTTP 200", "{host}");
        let (from, head) = server.request().await;
        assert_eq!(from.ip(), vip);
        let hosts: Vec<_> =
            head.lines().filter(|line| line.to_ascii_lowercase().starts_with("host:")).collect();
        assert_eq!(hosts.len(), 1, "{head}");
        assert!(hosts[0].ends_with(&format!(" {host}:{}", server.address.port())), "{head}");
    }
}

#[tokio::test]
async fn a_fixed_target_is_asked_in_place_of_the_vip_with_the_host_of_the_url() {
    let mut server =
        HttpServer::start(vip(9), &[Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Hold]).await;
    let missing: IpAddr = "192.0.2.80".parse().unwrap();
    let port = server.address.port();
    let (whole, address) = (server.address.to_string(), server.address.ip().to_string());
    for (url, target, host) in [
        ("http://www.example.com/", &whole, "www.example.com".to_owned()),
        ("http://www.example.com:81/", &whole, "www.example.com:81".to_owned()),
        ("http://[2001:db8::1]/", &whole, "[2001:db8::1]".to_owned()),
        (&format!("http://192.0.2.80:{port}/"), &address, format!("192.0.2.80:{port}")),
        (&format!("http://www.example.com:{port}/"), &address, format!("www.example.com:{port}")),
    ] {
        let http = probe(missing, url, &format!("target = \"{target}\""));
        assert_eq!(text_of(&http.probe().await), "pass: HTTP 200", "{url}");
        let (from, head) = server.request().await;
        assert_ne!(from.ip(), missing);
        assert!(head.to_ascii_lowercase().contains(&format!("\r\nhost: {host}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_before_it_is_asked_speaks_no_http() {
    let listener = TcpListener::bind((vip(9), 0)).await.unwrap();
    let url = format!("http://www.example.com:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
            drop(stream.read(&mut [0; 4096]).await);
        }
    });
    assert_eq!(text_of(&probe(vip(9), &url, "").probe().await), "fail: answer is not HTTP");
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let proxies = "export HTTP_PROXY=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1 \
                   ALL_PROXY=http://127.0.0.1:1 all_proxy=http://127.0.0.1:1;";
    in_own_process("health::io::http::tests::alone_with_a_proxy", proxies);
}

#[tokio::test]
#[ignore = "runs alone"]
async fn alone_with_a_proxy() {
    assert!(std::env::var("HTTP_PROXY").is_ok());
    let server = HttpServer::start(vip(7), &[Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]).await;
    assert_eq!(text_of(&server.probe().await), "pass: HTTP 200");
}

#[test]
fn a_lack_of_file_descriptors_is_no_verdict() {
    in_own_process("health::io::http::tests::alone_without_files", "ulimit -n 64;");
}

#[tokio::test]
#[ignore = "runs alone"]
async fn alone_without_files() {
    let server = HttpServer::start(vip(8), &[Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]).await;
    let http = probe(vip(8), &server.url("www.example.com"), "");
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    assert_eq!(http.probe().await, Outcome::Skipped(Shortage::Files));
    drop(files);
    assert_eq!(text_of(&http.probe().await), "pass: HTTP 200");
}

#[tokio::test]
async fn header_and_json_have_to_be_as_expected() {
    const GOOD: &[HttpReply] = &[Say(
        "HTTP/1.1 200 OK\r\nX-Ready: yes\r\nContent-Length: 35\r\n\r\n{\"status\": \"ok\", \"db\": {\"lag\": 2}}\n",
    )];
    const NO_JSON: &[HttpReply] = &[Say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")];
    for (script, lines, want) in [
        (GOOD, "expect_header = 'x-ready: ^yes$'", "pass: HTTP 200"),
        (GOOD, "expect_header = ['x-ready', 'content-length']", "pass: HTTP 200"),
        (GOOD, "expect_header = ['x-ready', 'x-ready: no']", "fail: the header field `x-ready` is `yes`"),
        (GOOD, "expect_header = 'x-missing'", "fail: the answer has no header field `x-missing`"),
        (GOOD, "expect_json = ['/status = \"ok\"', '/db/lag = 2']", "pass: HTTP 200"),
        (GOOD, "expect_json = '/db/lag = 0'", "fail: `/db/lag` of the body is `2`"),
        (GOOD, "expect_json = '/db/lead = 0'", "fail: the JSON of the body has no `/db/lead`"),
        (GOOD, "expect_json = '/status = \"ok\"'\nmax_body = 30", "fail: body is longer than 30 octets"),
        (
            GOOD,
            "expect_json = '/status = \"ok\"'\nexpect_body = 'lead'",
            "fail: `expect_body` is not in the body",
        ),
        (NO_JSON, "expect_json = '/status = \"ok\"'", "fail: the body is not JSON"),
    ] {
        let server = HttpServer::start(vip(61), script).await;
        assert_eq!(text_of(&server.probe_with(lines).await), want, "{lines}");
    }
}
