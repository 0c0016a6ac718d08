use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::bgp::fsm::StateName;
use crate::bgp::io::peers::Peers;
use crate::bgp::router_id::Identity;
use crate::config::tests::with_services;
use crate::director::{Director, Fact};
use crate::drain::Drains;
use crate::files::io::Files;
use crate::health::ProbeFact;
use crate::health::io::listener;
use crate::health::outcome::Outcome;
use crate::history::History;
use crate::log::io::LogBuffer;
use crate::log::record::LogRecord;
use crate::memory::io::Trimmer;
use crate::metrics::Tally;
use crate::program::io::Programs;
use crate::systemd::io::Notifier;
use crate::takeover::io::descriptors::Descriptors;
use crate::takeover::{Start, StartReport};
use crate::vip::Presence;

const LONG: Duration = Duration::from_secs(20);

/// A listener with a director that answers, with a given number of VIPs.
struct TestListener {
    configs: watch::Sender<Arc<config::Config>>,
    bind_error: watch::Receiver<Vec<String>>,
    peers: watch::Sender<Peers>,
    director: tokio::task::JoinHandle<()>,
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
    config.metrics =
        listen.map(|listen| config::MetricsConfig { listen, hosts: vec!["fe1.example.com".into()] });
    Arc::new(config)
}

fn host(vips: u16, listen: SocketAddr) -> TestListener {
    host_of(config(vips, Some(listen)))
}

fn host_of(config: Arc<config::Config>) -> TestListener {
    let (configs, given) = watch::channel(config.clone());
    let (asks, mut asked) = mpsc::channel(1);
    let (reloads, _) = mpsc::channel(1);
    let (counts, reloaded) = watch::channel(Reloads::new(1.0, config::ConfigDigest::of(b"")));
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
        bfd: watch::channel(Arc::default()).1,
        chain: watch::channel(Arc::default()).1,
        chain_requests: mpsc::channel(1).0,
        guard: mpsc::channel(1).0,
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
        upgrades: mpsc::channel(1).0,
        start: watch::channel(StartReport {
            how: Start::Cold,
            gap: None,
            bfd_pause: None,
            installed: None,
            rolled_back: false,
            not_continued: None,
        })
        .1,
        descriptors: Descriptors::new(Notifier::none()),
        state_usable: control::StateUsable(Arc::new(|| true)),
        history: watch::channel(History::default()).1,
        trimmer: Trimmer::default(),
        log: log.clone(),
        level_requests: mpsc::channel(1).0,
        started: Instant::now(),
    };
    let mut deciding = Director::new(config.clone(), Drains::default(), Instant::now());
    announce(&mut deciding, &config);
    let director = tokio::spawn(async move {
        while let Some(ask) = asked.recv().await {
            if let Ask::Figures(reply) = ask {
                let _ = reply.send(deciding.figures(Instant::now()));
            }
        }
    });
    tokio::spawn(serve(MetricsContext {
        control,
        reloads: reloaded,
        hooks,
        tally,
        program: watch::channel(DiskProgram::Same).1,
        findings: watch::channel(HostFindings::default()).1,
        bind_error: bind_errors,
    }));
    let kept: Vec<Box<dyn Any + Send>> =
        vec![Box::new(counts), Box::new(runs), Box::new(id), Box::new(tallies), Box::new(drain_state)];
    TestListener { configs, bind_error, peers: peers_tx, director, log, _kept: kept }
}

/// The first VIP of a service that is healthy in each host of these tests.
fn announce(director: &mut Director, config: &config::Config) {
    let Some(service) = config.services.iter().find(|service| service.name.as_str() == "ready") else {
        return;
    };
    let (vip, at) = (service.vips[0], Instant::now());
    let outcome = Outcome::Pass {
        answer: crate::config::kind::tcp::Answer::Connected.into(),
        took: Duration::ZERO,
        warning: None,
    };
    let probed = ProbeFact { service: service.name.clone(), vip, check: 0, sequence: 1, outcome, at };
    let _ = director.handle(Fact::Vip(vip, Presence::Present), at);
    let _ = director.handle(Fact::Probed(probed), at);
    director.rib();
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
    send(address, &format!("{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).await
}

/// The same, with the whole request.
async fn send(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = connect(address).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The whole body: a short one has its length in the head, and one of pieces has the length of each (RFC 9112 §7.1).
fn whole(head: &str, body: &str) -> String {
    if !head.contains("transfer-encoding: chunked") {
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        return body.to_owned();
    }
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
    let text = whole(&head, &body);
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
    let (head, body) = ask(address, "GET /metrics").await;
    let text = whole(&head, &body);
    assert!(text.contains("\nannouncer_log_lines_lost_total 0\n"), "{text}");
    let line = "x".repeat(2 * 1024 * 1024);
    let time = std::time::SystemTime::UNIX_EPOCH;
    host.log.push(LogRecord::new(time, tracing::Level::INFO, "announcer", line)); // it does not fit into the buffer
    let (head, body) = ask(address, "GET /metrics").await;
    let text = whole(&head, &body);
    assert!(text.contains("\nannouncer_log_lines_lost_total 1\n"), "{text}");
    assert!(text.contains("\nannouncer_warnings 2\n"), "one more than without it");
}

#[tokio::test]
async fn the_metrics_of_a_large_host_are_sent_in_pieces_and_whole() {
    let address = free();
    let _host = host(1000, address);
    let (head, body) = ask(address, "GET /metrics").await;
    let text = whole(&head, &body);
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
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
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

#[tokio::test]
async fn a_request_for_another_host_is_refused_whatever_it_asks_for() {
    let address = free();
    let _host = host(1, address);
    let request =
        |path: &str, fields: &str, version: &str| format!("GET {path} HTTP/{version}\r\n{fields}\r\n");
    for (path, fields, version, status) in [
        ("/", "Host: localhost:9179\r\n", "1.1", "200"),
        ("/", "Host: fe1.example.com:9179\r\n", "1.1", "200"),
        ("/", "", "1.0", "200"),
        ("/metrics", "Host: evil.example\r\n", "1.1", "421"),
        ("/livez", "Host: evil.example:9179\r\n", "1.1", "421"),
        ("/readyz", "Host: \r\n", "1.1", "421"),
        ("/", "", "1.1", "421"),
        ("/", "Host: 127.0.0.1\r\nHost: evil.example\r\n", "1.1", "421"),
        ("http://evil.example/metrics", "Host: 127.0.0.1\r\n", "1.1", "421"),
    ] {
        let (head, body) = send(address, &request(path, fields, version)).await;
        assert!(head.starts_with(&format!("HTTP/{version} {status}")), "{path} {fields}: {head}");
        assert_eq!(body.contains("neither an address nor"), status == "421", "{body}");
    }
}

#[tokio::test]
async fn the_daemon_is_alive_while_the_director_answers_and_ready_when_a_router_acknowledged_a_vip() {
    let address = free();
    let ready = "[[service]]\nname = \"ready\"\nvips = [\"192.0.2.80\", \"192.0.2.81\"]\n[[service.check]]\ntcp = 80\nrise = 1\n";
    let config =
        config::parse("x", &format!(with_services!("{}[metrics]\nlisten = \"{}\"\n"), ready, address));
    let host = host_of(Arc::new(config.unwrap_or_else(|errors| panic!("{errors}"))));
    let readiness = async || {
        let (head, body) = ask(address, "GET /readyz").await;
        format!("{} {}", head.split(' ').nth(1).unwrap(), whole(&head, &body))
    };
    assert_eq!(readiness().await, "503 0 of 2 VIPs were sent to a router; `announcer status` says why\n");
    let peer = host.configs.borrow().peers[0].clone();
    let (session, status) = watch::channel(SessionReport::new());
    host.peers.send_replace(Peers::new(vec![(peer, status)]));
    let up =
        |acknowledged| SessionReport { state: StateName::Established, acknowledged, ..SessionReport::new() };
    session.send_replace(up(0));
    assert!(readiness().await.starts_with("503 0 of 2"), "it is being sent");
    session.send_replace(up(9));
    assert_eq!(readiness().await, "200 1 of 2 VIPs were sent to a router; `announcer status` says why\n");

    session.send_replace(SessionReport::new());
    let (head, body) = ask(address, "GET /livez").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && whole(&head, &body) == "the director answers\n",
        "without any session"
    );
    host.director.abort();
    let (head, _) = ask(address, "GET /livez").await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(readiness().await.starts_with("503"));
}
