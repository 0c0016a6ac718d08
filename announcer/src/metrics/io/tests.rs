use std::any::Any;
use std::collections::BTreeMap;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::bgp::io::peers::Peers;
use crate::bgp::router_id::Identity;
use crate::config::tests::with_services;
use crate::director::Director;
use crate::drain::Drains;
use crate::files::io::Files;
use crate::health::io::listener;
use crate::log::io::LogBuffer;
use crate::log::record::LogRecord;
use crate::memory::io::Trimmer;
use crate::metrics::Tally;
use crate::program::io::Programs;

const LONG: Duration = Duration::from_secs(20);

/// A listener with a director that answers, with a given number of VIPs.
struct TestListener {
    configs: watch::Sender<Arc<config::Config>>,
    bind_error: watch::Receiver<Vec<String>>,
    log: LogBuffer,
    _kept: Vec<Box<dyn std::any::Any + Send>>,
}

fn config(vips: u16, listen: Option<SocketAddr>) -> Arc<config::Config> {
    let vips: Vec<String> = (0..vips).map(|n| format!("10.20.{}.{}", n / 256, n % 256)).collect();
    let mut config = config::parse(
        "test",
        &format!(
            with_services!(
                "[[service]]\nname = \"www\"\nvips = {:?}\n[[service.check]]\nhttp = \"http://x/\"\n"
            ),
            vips
        ),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    config.metrics = listen.map(|listen| config::MetricsConfig { listen });
    Arc::new(config)
}

fn host(vips: u16, listen: SocketAddr) -> TestListener {
    let config = config(vips, Some(listen));
    let (configs, given) = watch::channel(config.clone());
    let (asks, mut asked) = mpsc::channel(1);
    let (reloads, _) = mpsc::channel(1);
    let (counts, reloaded) = watch::channel(Reloads::new(1.0));
    let (runs, hooks) = watch::channel(HookRuns::default());
    let (bind_errors, bind_error) = watch::channel(Vec::new());
    let (tallies, tally) = watch::channel(Tally::new(&config));
    let (drain_state, drains) = watch::channel(crate::drain::DrainFolderReport::default());
    let (drain_requests, _) = mpsc::channel(1);
    let (id, router_id) = watch::channel(Identity::default());
    let (peers_tx, peers) = watch::channel(Peers::default());
    let log = LogBuffer::default();
    let control = control::ControlContext {
        configs: given,
        router_id,
        peers,
        listener_watch: watch::channel(listener::ListenerReport::default()).1,
        drains,
        drain_requests,
        fallback: watch::channel(None).1,
        file_warning: watch::channel(Vec::new()).1,
        warnings: vec![bind_error.clone(), watch::channel(vec!["as a test".to_owned()]).1],
        files: Files::new(),
        programs: Programs::unconfined(Files::new()),
        asks,
        reloads,
        trimmer: Trimmer::default(),
        log: log.clone(),
        level_requests: mpsc::channel(1).0,
        started: Instant::now(),
    };
    let director = Director::new(config.clone(), Drains::default(), Instant::now());
    tokio::spawn(async move {
        while let Some(ask) = asked.recv().await {
            if let Ask::Figures(reply) = ask {
                let _ = reply.send(director.figures(Instant::now()));
            }
        }
    });
    tokio::spawn(serve(MetricsContext { control, reloads: reloaded, hooks, tally, bind_error: bind_errors }));
    let kept: Vec<Box<dyn Any + Send>> = vec![
        Box::new(counts),
        Box::new(runs),
        Box::new(id),
        Box::new(peers_tx),
        Box::new(tallies),
        Box::new(drain_state),
    ];
    TestListener { configs, bind_error, log, _kept: kept }
}

/// An address without a listener.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn connect(address: SocketAddr) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < LONG, "{error}"),
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the status with the fields, and the body.
async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(address).await;
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The body without the lengths of its chunks.
fn whole(body: &str) -> String {
    let mut text = String::new();
    let mut rest = body;
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        text += &after[..length];
        rest = after[length..].strip_prefix("\r\n").unwrap();
    }
    text
}

#[tokio::test]
async fn figures_are_at_metrics_and_the_rest_points_there() {
    let address = free();
    let _host = host(3, address);
    let (head, body) = ask(address, "GET /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let text = whole(&body);
    assert!(
        text.contains(
            "\nannouncer_vip_standing{service=\"www\",vip=\"10.20.0.2\",standing=\"starting\"} 1\n"
        )
    );
    assert!(text.contains("\nannouncer_warnings 1\n"), "a task has something to say");
    assert!(text.contains("\nprocess_start_time_seconds "));
    for (request, status, said) in [
        ("GET /", "200 OK", "/metrics"),
        ("GET /other", "404 Not Found", "/metrics"),
        ("POST /metrics", "405 Method Not Allowed", "GET"),
    ] {
        let (head, body) = ask(address, request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && body.contains(said), "{head}\n{body}");
    }
    let (head, body) = ask(address, "HEAD /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK") && body.is_empty());
}

#[tokio::test]
async fn lost_lines_of_the_log_are_counted_and_warned_of() {
    let address = free();
    let host = host(3, address);
    let text = whole(&ask(address, "GET /metrics").await.1);
    assert!(text.contains("\nannouncer_log_lines_lost_total 0\n"), "{text}");
    let line = "x".repeat(2 * 1024 * 1024);
    let time = std::time::SystemTime::UNIX_EPOCH;
    host.log.push(LogRecord::new(time, tracing::Level::INFO, "announcer", line)); // it does not fit into the buffer
    let text = whole(&ask(address, "GET /metrics").await.1);
    assert!(text.contains("\nannouncer_log_lines_lost_total 1\n"), "{text}");
    assert!(text.contains("\nannouncer_warnings 2\n"), "one more than without it");
}

#[tokio::test]
async fn the_metrics_of_a_large_host_are_sent_in_pieces_and_whole() {
    let address = free();
    let _host = host(1000, address);
    let (_, body) = ask(address, "GET /metrics").await;
    let text = whole(&body);
    assert!(text.len() > 10 * PIECE);
    let mut standings: BTreeMap<&str, u32> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("announcer_vip_standing{")) {
        *standings.entry(line.rsplit(' ').next().unwrap()).or_default() += 1;
    }
    assert_eq!(standings, BTreeMap::from([("0", 4000), ("1", 1000)]));
}

#[tokio::test]
async fn clients_that_do_not_read_keep_nobody_from_reading() {
    let address = free();
    let _host = host(1000, address);
    let mut idle = Vec::new();
    for _ in 0..CLIENTS - 1 {
        let mut stream = connect(address).await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        idle.push(stream);
    }
    let (head, _) = ask(address, "GET /metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_reload_moves_the_listener_and_one_that_cannot_be_is_a_warning() {
    let (first, second) = (free(), free());
    let mut host = host(1, first);
    ask(first, "GET /").await;
    let taken = std::net::TcpListener::bind(second).unwrap();
    host.configs.send_replace(config(1, Some(second)));
    let warned =
        timeout(LONG, host.bind_error.wait_for(|why| !why.is_empty())).await.unwrap().unwrap().concat();
    let want =
        format!("metrics cannot be read: `listen = \"{second}\"`: Address already in use (os error 98)");
    assert_eq!(warned, want);
    drop(taken);
    timeout(LONG, host.bind_error.wait_for(Vec::is_empty)).await.unwrap().unwrap();
    ask(second, "GET /").await;
    assert!(TcpStream::connect(first).await.is_err(), "nobody listens where it was");
    host.configs.send_replace(config(1, None));
    let start = Instant::now();
    while TcpStream::connect(second).await.is_ok() {
        assert!(start.elapsed() < LONG);
        sleep(Duration::from_millis(5)).await;
    }
}
