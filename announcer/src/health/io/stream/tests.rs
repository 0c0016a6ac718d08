//! Tests of unix sockets as targets, with scripted servers, each with its socket in its own folder.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::config::tests::a_check;
use crate::files::io::Files;
use crate::health::Target;
use crate::health::io::probe;
use crate::health::io::prober::Prober;
use crate::health::outcome::Outcome;

const TIMEOUT: Duration = Duration::from_secs(1);

/// A folder, with the path of a socket in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    (folder, path)
}

/// The outcome of one probe, without its time.
async fn probed(path: &Path, check: &str) -> String {
    // A VIP that is not on this host: nothing is bound to it.
    let vip: IpAddr = "192.0.2.80".parse().unwrap();
    let check = a_check(&format!("{check}\ntarget = \"unix:{}\"", path.display()));
    let target = Target::of_test(vip, check, TIMEOUT);
    match probe::once(&Prober::new(Files::new()), &target).await {
        Outcome::Pass { answer, .. } => format!("pass: {answer}"),
        Outcome::Fail { reason, .. } => format!("fail {}: {reason}", reason.label()),
        Outcome::Skipped(shortage) => format!("skipped: {shortage}"),
    }
}

/// A server that reads until a blank line, says `answer`, and then waits for the client; it tells what it has read.
fn serve(path: &Path, answer: &'static str) -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let listener = UnixListener::bind(path).unwrap();
    let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(octet) => head.push(octet),
                        Err(_) => return,
                    }
                }
                let _ = tell.send(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = stream.read(&mut [0]).await;
            });
        }
    });
    heard
}

const HTTP: &str = "http = \"http://www.example.com/healthz?deep=1\"";
const TCP: &str = "tcp = 1\nsend = \"PING\\r\\n\\r\\n\"\nexpect = \"^HTTP\"";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn http_and_tcp_are_asked_over_a_unix_socket() {
    let (_folder, path) = folder();
    let mut heard = serve(&path, OK);
    for (check, want) in [
        (HTTP.to_owned(), "pass: HTTP 200"),
        (format!("{HTTP}\nexpect_body = \"no\""), "fail no_match: `expect_body` is not in the body"),
        (format!("{HTTP}\nmethod = \"POST\""), "pass: HTTP 200"),
        (format!("{HTTP}\nreuse = true"), "pass: HTTP 200 over a new connection"),
        (TCP.to_owned(), "pass: answered as expected"),
        ("tcp = 1".to_owned(), "pass: connected"),
        (
            TCP.replace("^HTTP", "^220"),
            "fail unexpected: answered unexpectedly: HTTP/1.1 200 OK  Content-Length: 2    ok",
        ),
    ] {
        let text = probed(&path, &check).await;
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            want.split_whitespace().collect::<Vec<_>>(),
            "{check}"
        );
    }
    let head = heard.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: www.example.com\r\n"), "{head}");
}

/// A unix socket has no addresses that the header could name.
#[tokio::test]
async fn the_header_of_the_proxy_protocol_is_sent_and_names_no_addresses() {
    let (_folder, path) = folder();
    let mut heard = serve(&path, OK);
    for check in [HTTP, TCP] {
        let text = probed(&path, &format!("{check}\nsend_proxy = \"v1\"")).await;
        assert!(text.starts_with("pass: "), "{check}: {text}");
        let head = heard.recv().await.unwrap();
        assert!(head.starts_with("PROXY UNKNOWN\r\n"), "{head}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_or_says_something_else_fails() {
    let (_folder, path) = folder();
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(probed(&path, HTTP).await, "fail timeout_answer: no answer within 1000 ms");
    assert_eq!(probed(&path, TCP).await, "fail timeout_answer: no answer within 1000 ms");
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let _heard = serve(&path, "SSH-2.0-OpenSSH_9.9\r\n");
    assert_eq!(probed(&path, HTTP).await, "fail not_http: answer is not HTTP");
}

#[tokio::test]
async fn each_reason_for_no_connection_has_its_word() {
    let (_folder, path) = folder();
    let (missing, refused) =
        ("fail socket_missing: the socket does not exist", "fail refused: nobody listens on the socket");
    assert_eq!(probed(&path, HTTP).await, missing);
    std::fs::write(&path, "").unwrap();
    assert_eq!(probed(&path, HTTP).await, refused, "a file that is no socket");
    assert_eq!(probed(&path.join("x"), HTTP).await, missing, "a file is no folder");
    std::fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    for check in [HTTP, TCP, "tls = \"www.example.com\"", "grpc = \"http://www.example.com\""] {
        assert_eq!(probed(&path, check).await, refused, "{check}");
    }
    std::fs::remove_file(&path).unwrap();
    let _datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let want = "fail not_stream: the socket is not one for connections (SOCK_STREAM)";
    assert_eq!(probed(&path, HTTP).await, want);
}

/// It does not wait, as a connection over TCP does.
#[tokio::test]
async fn a_full_queue_fails_at_once() {
    let (_folder, path) = folder();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let _fills = std::os::unix::net::UnixStream::connect(&path).unwrap();
    for check in [HTTP, TCP] {
        let start = std::time::Instant::now();
        let want = "fail queue_full: the queue of connections of the socket is full";
        assert_eq!(probed(&path, check).await, want);
        assert!(start.elapsed() < TIMEOUT / 2);
    }
}
