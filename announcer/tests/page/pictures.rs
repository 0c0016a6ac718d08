//! The pictures of the page in the documents.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use until::until;

use crate::chromium::Browser;
use crate::daemon::{Daemon, command, in_new_netns, ip, link_to_router};
use crate::{ADDRESS, PAGE, PATIENCE, json, peer, router};

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
