//! The status page of a running daemon: its requests, its limits, and what a browser shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod chromium;
mod daemon;
mod scripted;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chromium::Browser;
use daemon::{Daemon, FIXTURE, command, in_new_netns, ip, link_to_router, write_config};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use scripted::{CAPABILITIES, NOTIFICATION, OPEN, keepalive, message, open_body};
use serde_json::Value;
use until::until;

const PATIENCE: Duration = Duration::from_secs(30);
const ADDRESS: &str = "127.0.0.1:9180";
/// Text that would change the page if it became a part of the document.
const HOSTILE: &str = "<script>owned=1</script><img src=x onerror=owned=1>";

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

/// A server that answers each connection with this text.
fn server(port: u16, answer: String) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = stream.write_all(answer.as_bytes());
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
}

/// A host with hostile texts from everything that it hears: probes, a router, an operator.
fn hostile_host(folder: &Path) -> Daemon {
    link_to_router();
    let shutdown = [&[6, 2, u8::try_from(HOSTILE.len()).unwrap()], HOSTILE.as_bytes()].concat();
    ip("address add 10.9.9.2/24 dev router");
    router(1, Vec::new());
    router(2, message(NOTIFICATION, &shutdown));
    server(8025, format!("554 {HOSTILE}\r\n"));
    server(
        8080,
        format!("HTTP/1.1 301 {HOSTILE}\r\nLocation: http://x/{HOSTILE}\r\nContent-Length: 0\r\n\r\n"),
    );
    let service = |name: &str, vip: &str, check: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nvips = [{vip}]\n[[service.check]]\n{check}\ninterval = \"200ms\"\n"
        )
    };
    let config = [
        "[bgp]\nasn = 65001\nrouter_id = \"10.9.9.11\"\n".to_owned(),
        peer(1),
        peer(2),
        service("www", "\"192.0.2.80\", \"192.0.2.81\"", "exec = [\"/bin/true\"]"),
        service("shop", "\"192.0.2.90\"", "exec = [\"/bin/true\"]"),
        service(
            "program",
            "\"192.0.2.1\"",
            &format!("exec = [\"/bin/sh\", \"-c\", '''echo \"{HOSTILE}\"; exit 2''']"),
        ),
        service("lines", "\"192.0.2.2\"", "tcp = 8025\ntarget = \"127.0.0.1\"\nexpect = \"^220 \""),
        service(
            "redirect",
            "\"192.0.2.3\"",
            "http = \"http://www.example.com:8080/\"\ntarget = \"127.0.0.1\"",
        ),
        PAGE.to_owned(),
        chain(folder),
    ];
    let daemon = Daemon::start(folder, &config.concat());
    daemon.until_status(PATIENCE, "a session, and VIPs", |status| {
        let announced = status.services[0].vips.iter().all(|vip| vip.standing == "announced");
        status.peers[0].state == "Established" && announced
    });
    // What was announced before the session was established has no time to the wire.
    for words in [&["drain", "www"][..], &["undrain", "www"]] {
        assert!(command(folder, words).status().unwrap().success());
    }
    let drain = command(folder, &["drain", "shop", "--reason", HOSTILE]).status().unwrap();
    assert!(drain.success());
    daemon
}

/// The VIPs with hostile reasons.
const SICK: [&str; 3] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];

/// The least contrast of the texts with what is behind them (WCAG 2.2, 1.4.3), and where it is.
const CONTRAST: &str = r#"(() => {
  const parts = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (node) => { for (; node; node = node.parentElement) { const c = parts(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = [99, ""];
  for (const node of document.querySelectorAll("header *, main *")) {
    if (!node.getClientRects().length || ![...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < least[0]) least = [contrast, node.textContent];
  }
  return least;
})()"#;

#[test]
fn a_browser_shows_everything_and_runs_nothing_from_outside() {
    in_new_netns(|folder| {
        let Some(mut browser) = Browser::start() else {
            eprintln!("skipped: chromium is not installed");
            return;
        };
        let mut daemon = hostile_host(folder);
        let page = format!("http://{ADDRESS}/");
        connect();
        for (width, height, scheme) in
            [(360, 740, "light"), (360, 740, "dark"), (1280, 900, "light"), (1280, 900, "dark")]
        {
            browser.open(&page, width, height, scheme);
            browser.until("document.querySelectorAll('.vip').length === 6");
            let way = format!("{width} {scheme}");
            // Everything from outside is there, as text.
            browser.until(&format!(
                "document.body.textContent.split({HOSTILE:?}).length > 6 && document.querySelector('#drains li').textContent.includes({HOSTILE:?}) \
                 && document.querySelector('#routers').textContent.includes({HOSTILE:?})"
            ));
            for vip in SICK {
                browser.until(&format!(
                    "[...document.querySelectorAll('.service')].some((s) => s.textContent.includes('{vip}') && s.textContent.includes('<img src=x'))"
                ));
            }
            // The one light, and the worst first.
            browser.until("document.getElementById('word').textContent === 'FAIL'");
            browser.until("document.querySelector('.service').className === 'service is-fail'");
            browser.until("document.getElementById('sentence').textContent.includes('3 of 6 VIPs not announced, 1 of 2 routers down')");
            browser.until("document.title.startsWith('FAIL ')");
            // The probes: each as a shape, with words for those who do not see it.
            browser.until("document.querySelectorAll('svg.strip').length === 6");
            browser.until("[...document.querySelectorAll('svg.strip')].every((s) => /of the last [1-9]\\d* probes/.test(s.getAttribute('aria-label')))");
            browser.until("document.querySelectorAll('.strip .failed[d^=M]').length >= 3 && document.querySelectorAll('.strip .pass[d^=M]').length >= 3");
            // Events, with the time to the wire.
            browser.until("[...document.querySelectorAll('#events .wire')].some((wire) => wire.textContent.endsWith(' ms to the wire'))");
            // The members of the chain.
            browser.until("document.querySelectorAll('#chain tbody tr').length === 3");
            browser.until(
                "document.querySelector('#chain tbody tr').textContent.startsWith('10.9.9.11this host')",
            );
            browser.until(
                "document.querySelectorAll('#chain tbody tr')[2].textContent.startsWith('10.9.9.13unknown')",
            );
            browser.until("document.documentElement.scrollWidth <= innerWidth");
            let contrast = browser.value(CONTRAST);
            assert!(contrast[0].as_f64().unwrap() >= 4.5, "{way}: {contrast}");
            let dark = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(dark == "rgb(16, 21, 26)", scheme == "dark", "{way}: {dark}");
        }
        by_keyboard(&mut browser);
        // Nothing from outside became a part of the document.
        assert_eq!(browser.value("document.querySelectorAll('script').length"), 1);
        assert_eq!(browser.value("document.querySelectorAll('img, iframe, object').length"), 0);
        assert_eq!(browser.value("typeof owned"), "undefined");
        assert_eq!(
            browser.value("(() => { try { document.body.innerHTML = 'x'; return 'put in'; } catch (e) { return e.name; } })()"),
            "TypeError",
            "the policy forbids it"
        );
        browser.reports.retain(|report| !report.contains("TrustedHTML"));
        assert_eq!(browser.reports, [""; 0], "errors, exceptions and violations of the policy");
        // Without a daemon, the page says so; and it comes back.
        daemon.signal(Signal::SIGKILL);
        daemon.child.wait().unwrap();
        browser.until("document.getElementById('word').textContent === 'NO CONNECTION'");
        browser.until(
            "document.getElementById('connection').textContent.startsWith('No connection to announcer for ')",
        );
        drop(daemon);
        let _again = Daemon::spawn(folder, daemon::run(folder, &[]).stderr(std::process::Stdio::null()));
        browser.until("document.getElementById('word').textContent === 'FAIL'");
    });
}

/// Writes the pictures of docs/operations.md: `make page-pictures`.
#[test]
#[ignore = "it writes files"]
fn pictures() {
    in_new_netns(|folder| {
        let mut browser = Browser::start().expect("chromium");
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS).unwrap();
        nix::unistd::sethostname("fe1").unwrap();
        let _daemon = a_busy_host(folder);
        for (name, width, height, scheme) in
            [("status-page.png", 1280, 800, "light"), ("status-page-phone.png", 360, 1000, "dark")]
        {
            browser.open(&format!("http://{ADDRESS}/"), width, height, scheme);
            browser.until("document.querySelectorAll('.vip').length === 14");
            browser.until(
                "document.querySelector('.strip').getAttribute('aria-label').includes('last 60 probes')",
            );
            browser.until("document.querySelectorAll('.is-fail .failed[d^=M]').length === 2");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
            std::fs::write(file, browser.picture()).unwrap();
        }
    });
}

/// A host with three routers and five services, of which one has just failed and one is drained.
fn a_busy_host(folder: &Path) -> Daemon {
    link_to_router();
    ip("address add 10.9.9.2/24 dev router");
    ip("address add 10.9.9.3/24 dev router");
    for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/all/{key}"), value).unwrap();
    }
    router(1, Vec::new());
    router(2, Vec::new());
    let answer =
        |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let failing = Arc::new(AtomicBool::new(false));
    web_server(8081, Duration::from_micros(300), answer("200 OK"), answer("200 OK"), failing.clone());
    web_server(
        8082,
        Duration::from_millis(8),
        answer("200 OK"),
        answer("503 Service Unavailable"),
        failing.clone(),
    );
    web_server(8083, Duration::from_millis(40), answer("200 OK"), answer("200 OK"), failing.clone());
    let service = |name: &str, vips: &[&str], port: u16| {
        format!(
            "[[service]]\nname = \"{name}\"\nvips = {vips:?}\n[[service.check]]\nhttp = \"http://www.example.com:{port}/\"\n\
             target = \"127.0.0.1\"\ninterval = \"100ms\"\n"
        )
    };
    let config = [
        "[bgp]\nasn = 65001\nrouter_id = \"10.9.9.11\"\n".to_owned(),
        [peer(1), peer(2), peer(3)].concat(),
        service("www", &["192.0.2.80", "192.0.2.81", "2001:db8::80", "2001:db8::81"], 8081),
        service("api-public", &["192.0.2.10", "192.0.2.11"], 8082),
        service("images", &["192.0.2.20", "192.0.2.21"], 8083),
        service("shop", &["192.0.2.90", "192.0.2.91"], 8081),
        service("mail", &["192.0.2.25", "192.0.2.26", "192.0.2.27", "192.0.2.28"], 8083),
        PAGE.to_owned(),
    ];
    let daemon = Daemon::start(folder, &config.concat());
    daemon.until_all_are(PATIENCE, "announced");
    let drain = command(folder, &["drain", "shop", "--reason", "new kernel"]).status().unwrap();
    assert!(drain.success());
    let probes =
        || json("/api/status")["page"]["samples"]["192.0.2.10"][0]["probes"].as_array().unwrap().len();
    until(PATIENCE, || if probes() == 60 { Ok(()) } else { Err(()) }).unwrap();
    failing.store(true, Ordering::Relaxed);
    daemon.until_status(PATIENCE, "api-public fails", |status| {
        status.services[1].vips.iter().all(|vip| vip.standing == "not_announced")
    });
    std::thread::sleep(Duration::from_secs(1)); // a few more failures for the picture
    daemon
}

/// A web server whose answers take about `takes`; it gives the second answer while `failing` is set.
fn web_server(port: u16, takes: Duration, answer: String, failure: String, failing: Arc<AtomicBool>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let answer = if failing.load(Ordering::Relaxed) { failure.clone() } else { answer.clone() };
            std::thread::spawn(move || {
                std::thread::sleep(takes * (2 + number * 7 % 5) / 4);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
}

/// Tab reaches a VIP and shows where it is, Enter opens the view of the VIP, Escape goes back to where it was.
fn by_keyboard(browser: &mut Browser) {
    let focused =
        |browser: &mut Browser| browser.value("document.activeElement.hash || document.activeElement.id");
    for _ in 0..10 {
        browser.press("Tab");
        if focused(browser) == "#vip/192.0.2.2" {
            break;
        }
    }
    assert_eq!(focused(browser), "#vip/192.0.2.2");
    let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "the focus is visible");
    browser.press("Enter");
    browser.until("location.hash === '#vip/192.0.2.2' && document.getElementById('overview').hidden");
    browser.until("document.getElementById('vip-title').textContent === '192.0.2.2 of lines'");
    browser.until("[...document.querySelectorAll('#vip-lines .line')].some((line) => line.textContent.startsWith('Check `tcp` asks '))");
    browser.until(&format!("document.getElementById('vip-lines').textContent.includes({HOSTILE:?})"));
    browser.until("document.querySelectorAll('#vip .strip').length === 1");
    browser.press("Escape");
    browser.until("location.hash === '' && document.getElementById('vip').hidden && !document.getElementById('overview').hidden");
    assert_eq!(focused(browser), "#vip/192.0.2.2", "back where it was");
}
