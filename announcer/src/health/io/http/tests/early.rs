//! Tests with servers that answer before they read the request, as scripts behind inetd do (H1). The servers have their own
//! threads, so that the answer arrives at any time.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::health::io::tls::tests::{Authority, EACH, text_of as text_of_all};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 23));

/// What an early server does after its answer.
#[derive(Clone, Copy)]
enum EarlyServerEnd {
    /// Reads until the client has disconnected.
    Read,
    /// Closes without having read.
    Close,
    /// Closes after some time: the request has arrived, but was not read.
    CloseLate,
}

/// Sends `answer` at once to each client; returns the port, and what the server has received.
fn serve(answer: &'static str, after: EarlyServerEnd) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((VIP, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = answer_early(client.unwrap(), answer, after, &tell); // the client may have disconnected
        }
    });
    (port, heard)
}

fn answer_early(
    mut client: impl Read + Write,
    answer: &str,
    after: EarlyServerEnd,
    tell: &Sender<String>,
) -> std::io::Result<()> {
    client.write_all(answer.as_bytes())?;
    client.flush()?;
    match after {
        EarlyServerEnd::Read => {
            let mut request = Vec::new();
            let _ = client.read_to_end(&mut request); // a reset is an end too
            let _ = tell.send(String::from_utf8(request).unwrap());
        }
        EarlyServerEnd::Close => {}
        EarlyServerEnd::CloseLate => std::thread::sleep(Duration::from_millis(2)),
    }
    Ok(())
}

async fn probes(port: u16, scheme: &str, lines: &str, want: &str) {
    let url = format!("{scheme}://www.example.com:{port}/healthz");
    let http = probe_within(Duration::from_secs(20), VIP, &url, lines);
    for round in 0..60 {
        assert_eq!(text_of_all(&http.probe().await), want, "round {round}");
    }
}

#[tokio::test]
async fn a_server_that_answers_before_it_reads_has_the_same_verdict_every_time() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    for after in [EarlyServerEnd::Read, EarlyServerEnd::Close, EarlyServerEnd::CloseLate] {
        probes(serve(OK, after).0, "http", "expect_body = 'ok'", "pass: HTTP 200").await;
        probes(serve(BUSY, after).0, "http", "", "fail: HTTP 503").await;
    }
    // What real servers send, and HTTP forbids.
    for (answer, want) in [
        ("HTTP/1.1 301 Moved\r\nLocation:\r\n /x\r\nContent-Length: 0\r\n\r\n", "fail: HTTP 301 to /x"),
        ("HTTP/1.1 301 Moved\r\nLocation : /x\r\nContent-Length: 0\r\n\r\n", "fail: HTTP 301 to /x"),
        ("HTTP/1.1 200 OK\r\nX A\r\nContent-Length: 0\r\n\r\n", "pass: HTTP 200"),
    ] {
        probes(serve(answer, EarlyServerEnd::Read).0, "http", "", want).await;
    }
    // The client sees an orderly end or a reset, depending on whether the request had arrived.
    for after in [EarlyServerEnd::Close, EarlyServerEnd::CloseLate] {
        let until_closed = serve("HTTP/1.0 200 OK\r\n\r\nuntil the end", after).0;
        probes(until_closed, "http", "expect_body = 'end$'", "pass: HTTP 200").await;
    }
    probes(serve("SSH-2.0-OpenSSH_9.9\r\n", EarlyServerEnd::Read).0, "http", "", "fail: answer is not HTTP")
        .await;
}

#[tokio::test]
async fn an_early_answer_is_still_asked_for_as_any_other_is() {
    let (port, heard) = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", EarlyServerEnd::Read);
    let body = "x".repeat(50_000);
    let lines = format!("method = \"POST\"\nbody = \"{body}\"\nheaders = [\"X-A: 1\"]");
    probes(port, "http", &lines, "pass: HTTP 200").await;
    let mut requests: Vec<String> = heard.try_iter().filter(|request| !request.is_empty()).collect();
    assert!(requests.len() >= 50, "{}", requests.len());
    requests.dedup_by_key(|request| {
        let mut lines: Vec<_> = request.lines().map(str::to_ascii_lowercase).collect();
        lines.sort();
        lines
    });
    let [request] = requests.as_slice() else { panic!("the two ways to ask differ: {requests:?}") };
    let head = request.to_ascii_lowercase();
    assert!(head.starts_with("post /healthz http/1.1\r\n") && request.ends_with(&body), "{head}");
    for line in ["x-a: 1", "accept: */*", &format!("host: www.example.com:{port}"), "content-length: 50000"] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{head}");
    }
}

#[tokio::test]
async fn an_early_answer_over_tls_counts_too() {
    let ours = Authority::new();
    let config = ours.sign(&["www.example.com"], (1, 90)).config(&["http/1.1"], EACH);
    let listener = TcpListener::bind((VIP, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
            let stream = rustls::StreamOwned::new(session, client.unwrap());
            let (tell, _heard) = channel();
            let _ = answer_early(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                EarlyServerEnd::Read,
                &tell,
            );
        }
    });
    let lines = format!("verify = \"require\"\nca_file = \"{}\"", ours.path());
    probes(port, "https", &lines, "pass: HTTP 200").await;
}
