//! The status page of a running daemon: its requests, its limits, and what a browser shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "page/browser.rs"]
mod browser;
mod chromium;
mod daemon;
#[path = "page/pictures.rs"]
mod pictures;
mod scripted;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use daemon::{Daemon, FIXTURE, command, in_new_netns, link_to_router, write_config};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scripted::{CAPABILITIES, OPEN, keepalive, message, open_body};
use serde_json::Value;
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);
const ADDRESS: &str = "127.0.0.1:9180";
const PAGE: &str = "[status]\nlisten = \"127.0.0.1:9180\"\nhosts = [\"fe1.example.com\"]\n";
const SERVICE: &str = "[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\", \"2001:db8::80\"]\n\
                       [[service.check]]\nexec = [\"/bin/true\"]\ninterval = \"100ms\"\n";

fn connect() -> TcpStream {
    let stream = until(PATIENCE, || TcpStream::connect(ADDRESS)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request; its answer as head and body.
fn ask(request: &str) -> (String, String) {
    let mut stream = connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer:?}"));
    (head.to_owned(), body.to_owned())
}

fn get(path: &str) -> (String, String) {
    ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

fn json(path: &str) -> Value {
    let (head, body) = get(path);
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    serde_json::from_str(&body).unwrap()
}

/// Begins a stream, and reads until its first event.
fn stream() -> (TcpStream, String) {
    let mut stream = connect();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let text = read_until(&mut stream, "event: status\n");
    (stream, text)
}

/// Reads until a text came. The end of the stream panics.
fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut octets = [0; 16 * 1024];
    while !text.contains(wanted) {
        let read = stream.read(&mut octets).unwrap();
        text.push_str(&String::from_utf8_lossy(&octets[..read]));
        assert!(read > 0, "{text}");
    }
    text
}

#[test]
fn it_answers_reads_alone_and_only_for_its_own_names() {
    in_new_netns(|folder| {
        let _daemon = Daemon::start(folder, &format!("{FIXTURE}{SERVICE}{PAGE}"));
        let (head, body) = get("/");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && body == announcer::page::HTML, "{head}");
        for line in [
            "content-type: text/html; charset=utf-8",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            &format!("content-security-policy: {}", announcer::page::policy()),
        ] {
            assert!(head.lines().any(|found| found == line), "{line}: {head}");
        }
        let (only_head, body) = ask("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(only_head.starts_with("HTTP/1.1 200 OK\r\n") && body.is_empty(), "{only_head}");
        assert!(
            ask("HEAD /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").0.starts_with("HTTP/1.1 200 OK\r\n")
        );

        for (request, want) in [
            ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "405"),
            ("POST /api/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "405"),
            ("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
            ("GET /api/explain/vip/x HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"),
            ("GET /api/explain/vip/192.0.2.81 HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
            ("GET /api/status HTTP/1.1\r\nHost: evil.example:9180\r\n\r\n", "421"),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "421"),
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:9180\r\n\r\n", "200"),
            ("GET / HTTP/1.1\r\nHost: fe1.example.com:9180\r\n\r\n", "200"),
        ] {
            let (head, _) = ask(request);
            assert!(head.starts_with(&format!("HTTP/1.1 {want} ")), "{request}: {head}");
            assert!(head.contains("content-security-policy: default-src 'none'; "), "{head}");
        }

        let probed = |state: &Value| {
            let probes = state["page"]["samples"]["192.0.2.80"][0]["probes"].as_array().unwrap().clone();
            assert!(probes.iter().all(|probe| probe[0] == 0 && probe[1].as_u64().unwrap() > 0), "{probes:?}");
            probes.len()
        };
        let state =
            until(PATIENCE, || Some(json("/api/status")).filter(|s| probed(s) > 2).ok_or(())).unwrap();
        assert_eq!(state["schema"], 1);
        assert_eq!(state["page"]["light"]["mark"], "FAIL", "there is no router: {}", state["page"]);
        let explained = json("/api/explain/vip/2001%3Adb8%3A%3A80");
        assert!(
            explained["lines"][0].as_str().unwrap().starts_with("2001:db8::80 of service www"),
            "{explained}"
        );
    });
}

#[test]
fn sixteen_pages_follow_the_events_and_the_next_one_is_refused_with_a_sentence() {
    in_new_netns(|folder| {
        let _daemon = Daemon::start(folder, &format!("{FIXTURE}{SERVICE}{PAGE}"));
        let mut streams: Vec<TcpStream> = (0..16).map(|_| stream().0).collect();
        assert!(get_stream().is_none());
        let (head, body) = get("/api/events");
        assert!(
            head.starts_with("HTTP/1.1 503 ") && body.contains("16 pages already follow"),
            "{head} {body}"
        );
        assert!(json("/api/status")["page"].is_object(), "the state can still be asked for");
        drop(streams.pop());
        let (mut another, _) = until(PATIENCE, || match get_stream() {
            Some(stream) => Ok((stream, ())),
            None => Err(()),
        })
        .unwrap();
        // A drain is seen as a change, at once, and in the next state.
        assert!(command(folder, &["drain", "www", "--reason", "a test"]).status().unwrap().success());
        let text = read_until(&mut another, "event: change\n");
        assert!(text.contains("event: "), "{text}");
        read_until(&mut another, "\"reason\":\"a test\"");
    });
}

/// The table of a chain of three hosts; this one is 10.9.9.11.
fn chain(folder: &Path) -> String {
    let key = folder.join("key");
    std::fs::write(&key, "a key of the test, long enough\n").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    format!(
        "[chain]\ninterface = \"fe\"\nmembers = [\"10.9.9.11\", \"10.9.9.12\", \"10.9.9.13\"]\nkey_file = \"{}\"\nforward = false\n",
        key.display()
    )
}

#[test]
fn the_state_has_the_members_of_the_chain() {
    in_new_netns(|folder| {
        link_to_router();
        let config = format!("{FIXTURE}{SERVICE}{PAGE}");
        let _daemon = Daemon::start(folder, &config);
        assert!(json("/api/status")["page"]["chain"].is_null(), "there is none");
        let with_chain = format!("{config}{}", chain(folder));
        write_config(folder, &with_chain);
        assert!(command(folder, &["reload"]).status().unwrap().success());
        let page = until(PATIENCE, || {
            let page = json("/api/status")["page"]["chain"].clone();
            if page["members"][0]["vips"]["announced"] == 2 { Ok(page) } else { Err(page) }
        });
        let page = page.unwrap_or_else(|last| panic!("{last}"));
        let states: Vec<&str> = page["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| member["state"].as_str().unwrap())
            .collect();
        assert_eq!(states, ["alive", "unknown", "unknown"]);
        assert_eq!(page["marks"]["10.9.9.11"], "ok");
        assert_eq!(page["marks"]["10.9.9.13"], "warn");
    });
}

/// A stream, if there is a place.
fn get_stream() -> Option<TcpStream> {
    let mut stream = connect();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut octets = [0; 12];
    stream.read_exact(&mut octets).unwrap();
    (&octets == b"HTTP/1.1 200").then_some(stream)
}

#[test]
fn a_reload_opens_moves_and_closes_it() {
    in_new_netns(|folder| {
        let config = format!("{FIXTURE}{SERVICE}");
        let daemon = Daemon::start(folder, &config);
        daemon.until_status(PATIENCE, "it runs", |_| true);
        assert!(TcpStream::connect(ADDRESS).is_err(), "it is off by default");
        let reload = |config: &str| {
            write_config(folder, config);
            assert!(command(folder, &["reload"]).status().unwrap().success());
        };
        reload(&format!("{config}{PAGE}"));
        let (mut follower, _) = stream();
        reload(&format!("{config}{}", PAGE.replace("9180", "9181")));
        until(PATIENCE, || TcpStream::connect("127.0.0.1:9181")).unwrap();
        until(PATIENCE, || TcpStream::connect(ADDRESS).map_or(Ok(()), Err)).unwrap();
        let mut rest = Vec::new();
        let ended = follower.read_to_end(&mut rest);
        assert!(
            ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
        reload(&config);
        until(PATIENCE, || TcpStream::connect("127.0.0.1:9181").map_or(Ok(()), Err)).unwrap();
    });
}

#[test]
fn clients_that_send_half_a_request_disturb_nobody() {
    in_new_netns(|folder| {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        let daemon = Daemon::start(folder, &format!("{FIXTURE}{SERVICE}{PAGE}"));
        get("/");
        let memory = resident(&daemon);
        let clients: Vec<TcpStream> = (0..1500)
            .map(|_| {
                let mut client = connect();
                let _ = client.write_all(b"GET / HTTP/1.1\r\nHost: local"); // it may be disconnected already
                client
            })
            .collect();
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
        assert!(descriptors < 400, "{descriptors}: the oldest clients are disconnected");
        let start = Instant::now();
        assert!(get("/").0.starts_with("HTTP/1.1 200 "));
        assert!(json("/api/status")["page"].is_object());
        daemon.status().unwrap();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}"); // 1,500 clients before them, and less than a second if nothing else runs
        let grown = resident(&daemon).saturating_sub(memory);
        assert!(grown < 32 * 1024, "{grown} KiB");
        drop(clients);
    });
}

/// The memory of a daemon, in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The router 10.9.9.`id`, which sends these messages on each session, and then only reads.
fn router(id: u8, after: Vec<u8>) {
    let listener = TcpListener::bind((Ipv4Addr::new(10, 9, 9, id), 1179)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let open = message(OPEN, &open_body(65000, 180, [10, 9, 9, id], CAPABILITIES));
            let after = after.clone();
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(&[open, keepalive(), after].concat());
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
}

/// The table of the router 10.9.9.`id`.
fn peer(id: u8) -> String {
    format!(
        "[[peer]]\nname = \"r{id}\"\naddress = \"10.9.9.{id}\"\nport = 1179\nasn = 65000\nhold_time = \"180s\"\nnext_hop_v6 = \"2001:db8:9::11\"\n"
    )
}
