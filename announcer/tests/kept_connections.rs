//! Runs checks with `reuse`, and checks of unix sockets, against real servers: nginx and HAProxy from Debian. Each test runs in its own network
//! namespace. A server that is not installed is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod real_server;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use daemon::{Daemon, FIXTURE, command, in_new_netns, ip, write_config};
use nix::sys::signal::Signal;
use real_server::RealServer;
use until::assert_until;

const PATIENCE: Duration = Duration::from_secs(20);
/// The most probes over one connection.
const PROBES: u32 = 10;

/// Starts nginx with these servers; it writes a line of `connection number_of_the_request protocol` for each request.
fn nginx(folder: &Path, servers: &str) -> Option<RealServer> {
    let dir = folder.display();
    let text = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {dir}/pid;\nerror_log {dir}/error.log;\nevents {{}}\n\
         http {{\n  log_format requests \"$connection $connection_requests $server_protocol $https\";\n  \
         access_log {dir}/requests requests;\n{servers}}}\n"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    RealServer::start("nginx", &["-e", "stderr", "-c", file.to_str().unwrap()])
}

/// How many requests came over each connection of nginx, by `protocol https`.
fn requests(folder: &Path) -> BTreeMap<String, BTreeMap<u64, u32>> {
    let mut all: BTreeMap<String, BTreeMap<u64, u32>> = BTreeMap::new();
    for line in std::fs::read_to_string(folder.join("requests")).unwrap_or_default().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [connection, _, protocol, https] = words[..] else { continue };
        *all.entry(format!("{protocol} {https}"))
            .or_default()
            .entry(connection.parse().unwrap())
            .or_default() += 1;
    }
    all
}

/// How many probes had this result, by the metrics of the daemon.
fn probes(result: &str) -> f64 {
    let mut stream = TcpStream::connect("127.0.0.1:9999").unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9999\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let wanted = format!("result=\"{result}\"");
    text.lines()
        .filter(|line| line.starts_with("announcer_probes_total{") && line.contains(&wanted))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// The configuration of a daemon with these checks of 192.0.2.80, every 50 ms.
fn config(checks: &[String]) -> String {
    let checks: String = checks
        .iter()
        .enumerate()
        .map(|(at, check)| {
            format!(
                "[[service.check]]\nname = \"c{at}\"\ninterval = \"50ms\"\ntimeout = \"400ms\"\n{check}\n"
            )
        })
        .collect();
    format!(
        "{FIXTURE}[metrics]\nlisten = \"127.0.0.1:9999\"\n[[service]]\nname = \"www\"\nvips = [\"192.0.2.80\"]\n{checks}"
    )
}

/// What `announcer check` prints, without the times and the hints; a check a line.
fn seen(folder: &Path, checks: &[String]) -> Vec<String> {
    write_config(folder, &config(checks));
    let output =
        command(folder, &["check", "www", "--config"]).arg(folder.join("announcer.toml")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().filter(|line| !line.starts_with(' '));
    let lines: Vec<String> = lines.map(|line| line.split(" after ").next().unwrap().to_owned()).collect();
    assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    lines
}

/// The test of [`servers_end_with_a_test_that_is_killed`].
#[test]
#[ignore = "another test runs it, and kills it"]
fn starts_nginx_and_waits() {
    in_new_netns(|folder| {
        let Some(server) = nginx(folder, "") else { return };
        let children = format!("/proc/{0}/task/{0}/children", server.pid());
        assert_until(PATIENCE, "a worker", || {
            let workers = std::fs::read_to_string(&children).unwrap();
            // The name of the process says that it is ready for signals.
            let is_worker = |pid: &str| command_line(pid).contains("worker process");
            let all = workers.split_whitespace().next().is_some_and(is_worker);
            if all {
                println!("processes of nginx: {} {workers}", server.pid());
            }
            all
        });
        std::thread::sleep(PATIENCE * 2);
    });
}

/// The command line of a process; empty, if it has ended.
fn command_line(pid: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

#[test]
fn servers_end_with_a_test_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "starts_nginx_and_waits"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines().map_while(Result::ok);
    let running =
        lines.into_iter().find_map(|line| Some(line.split_once("processes of nginx: ")?.1.to_owned()));
    test.kill().unwrap();
    test.wait().unwrap();
    let Some(running) = running else { return }; // it was skipped, and has said so
    let pids: Vec<&str> = running.split_whitespace().collect();
    assert_eq!(pids.len(), 2, "a master process and a worker");
    assert_until(PATIENCE, "both have ended", || pids.iter().all(|pid| command_line(pid).is_empty()));
}

/// Waits until so many more probes have passed; none may have failed.
fn until_passed(more: f64) {
    let (passed, failed) = (probes("pass"), probes("fail"));
    assert_until(PATIENCE, "probes pass", || probes("pass") >= passed + more);
    assert!(probes("fail") <= failed, "probes failed");
}

#[test]
fn nginx_gets_ten_requests_over_each_connection_and_no_probe_fails_when_it_is_reloaded() {
    in_new_netns(|folder| {
        ip("address add 192.0.2.80/32 dev lo");
        let key = rcgen::generate_simple_self_signed(["www.example.com".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), key.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
        let dir = folder.display();
        let servers = format!(
            "  server {{ listen 192.0.2.80:8080; location / {{ return 200 ok; }} }}\n  \
             server {{ listen 192.0.2.80:8443 ssl http2; ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; \
             location / {{ return 200 ok; }} }}\n"
        );
        let Some(server) = nginx(folder, &servers) else { return };
        assert_until(PATIENCE, "nginx listens", || TcpStream::connect("192.0.2.80:8443").is_ok());
        let https = format!(
            "http = \"https://www.example.com:8443/\"\nreuse = true\nverify = \"require\"\nca_file = \"{dir}/cert.pem\""
        );
        let checks = [
            "http = \"http://www.example.com:8080/\"\nreuse = true".to_owned(),
            https.clone(),
            format!("{https}\nhttp_version = \"1.1\""),
        ];
        let new = |at: usize| format!("192.0.2.80  c{at}  HTTP 200 over a new connection");
        assert_eq!(seen(folder, &checks), [new(0), new(1), new(2)]);
        let daemon = Daemon::start(folder, &config(&checks));
        daemon.until_all_are(PATIENCE, "announced");
        until_passed(200.0);
        let before = requests(folder);
        for protocol in ["HTTP/1.1 ", "HTTP/2.0 on", "HTTP/1.1 on"] {
            let connections: Vec<u32> = before[protocol].values().copied().collect();
            assert!(connections.iter().all(|requests| *requests <= PROBES), "{protocol}: {connections:?}");
            let full = connections.iter().filter(|requests| **requests == PROBES).count();
            assert!(full >= 3, "{protocol}: {connections:?}");
        }
        for _ in 0..5 {
            server.signal(Signal::SIGHUP);
            until_passed(30.0);
        }
        server.signal(Signal::SIGQUIT);
        daemon.until_all_are(PATIENCE, "not_announced");
    });
}

/// nginx takes the header of the PROXY protocol only at the beginning of a connection: a header before each request is a request that it
/// does not understand.
#[test]
fn the_header_of_the_proxy_protocol_is_sent_once_for_a_kept_connection() {
    in_new_netns(|folder| {
        ip("address add 192.0.2.80/32 dev lo");
        let servers = "  server { listen 192.0.2.80:8080 proxy_protocol; location / { return 200 $proxy_protocol_addr; } }\n";
        let Some(_server) = nginx(folder, servers) else { return };
        assert_until(PATIENCE, "nginx listens", || TcpStream::connect("192.0.2.80:8080").is_ok());
        let check = "http = \"http://www.example.com:8080/\"\nexpect_body = \"^192.0.2.80$\"\nreuse = true";
        let checks = ["v1", "v2"].map(|version| format!("{check}\nsend_proxy = \"{version}\""));
        let new = |at: usize| format!("192.0.2.80  c{at}  HTTP 200 over a new connection");
        assert_eq!(seen(folder, &checks), [new(0), new(1)]);
        let without = seen(folder, &[check.to_owned()]).remove(0);
        assert!(!without.contains("HTTP 200"), "{without}");
        std::fs::write(folder.join("requests"), "").unwrap();
        let daemon = Daemon::start(folder, &config(&checks));
        daemon.until_all_are(PATIENCE, "announced");
        until_passed(100.0);
        let connections: Vec<u32> = requests(folder)["HTTP/1.1 "].values().copied().collect();
        assert!(connections.iter().all(|requests| *requests <= PROBES), "{connections:?}");
        let full = connections.iter().filter(|requests| **requests == PROBES).count();
        assert!(full >= 3, "{connections:?}");
    });
}

/// HAProxy closes each connection at the moment of the next request, again and again.
#[test]
fn haproxy_that_closes_its_idle_connections_is_healthy() {
    in_new_netns(|folder| {
        ip("address add 192.0.2.80/32 dev lo");
        let file = folder.join("haproxy.cfg");
        let text = "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n  \
                    timeout http-keep-alive 50\nfrontend www\n  bind 192.0.2.80:8080\n  http-request return status 200\n";
        std::fs::write(&file, text).unwrap();
        let Some(_server) = RealServer::start("haproxy", &["-db", "-f", file.to_str().unwrap()]) else {
            return;
        };
        assert_until(PATIENCE, "HAProxy listens", || TcpStream::connect("192.0.2.80:8080").is_ok());
        let check = "http = \"http://www.example.com:8080/\"\nreuse = true".to_owned();
        let daemon = Daemon::start(folder, &config(&[check]));
        daemon.until_all_are(PATIENCE, "announced");
        until_passed(150.0);
    });
}

#[test]
fn nginx_and_haproxy_are_asked_over_their_unix_sockets() {
    in_new_netns(|folder| {
        let dir = folder.display();
        let servers =
            format!("  server {{ listen unix:{dir}/nginx.sock; location / {{ return 200 $host; }} }}\n");
        let Some(nginx) = nginx(folder, &servers) else { return };
        let file = folder.join("haproxy.cfg");
        let text = format!(
            "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n\
             frontend www\n  bind unix@{dir}/haproxy.sock\n  http-request return status 200 content-type text/plain lf-string \"%[req.hdr(host)]\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let Some(haproxy) = RealServer::start("haproxy", &["-db", "-f", file.to_str().unwrap()]) else {
            return;
        };
        for socket in ["nginx.sock", "haproxy.sock"] {
            let path = folder.join(socket);
            assert_until(PATIENCE, socket, || std::os::unix::net::UnixStream::connect(&path).is_ok());
        }
        let checks = ["nginx.sock", "haproxy.sock"].map(|socket| {
            let target = format!("target = \"unix:{dir}/{socket}\"");
            [
                format!("http = \"http://www.example.com/\"\nexpect_body = \"^www.example.com$\"\n{target}"),
                format!("http = \"http://www.example.com/\"\nreuse = true\n{target}"),
                format!("tcp = 80\nsend = \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect = \"200 OK\"\n{target}"),
            ]
        });
        let checks = checks.concat();
        let answers = ["HTTP 200", "HTTP 200 over a new connection", "answered as expected"];
        let lines: Vec<String> = [answers, answers]
            .concat()
            .iter()
            .enumerate()
            .map(|(at, text)| format!("192.0.2.80  c{at}  {text}"))
            .collect();
        assert_eq!(seen(folder, &checks), lines);
        // A socket of another user, as a daemon without capabilities sees it.
        std::os::unix::fs::chown(folder.join("haproxy.sock"), Some(65534), Some(65534)).unwrap();
        std::fs::set_permissions(
            folder.join("haproxy.sock"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        let output = Command::new("setpriv")
            .args([
                "--bounding-set",
                "-dac_override,-dac_read_search",
                env!("CARGO_BIN_EXE_announcer"),
                "check",
                "www",
            ])
            .arg("--config")
            .arg(folder.join("announcer.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("c3  announcer is not permitted to connect to the socket after "), "{said}");
        assert!(said.contains("`usermod -aG GROUP announcer`"), "{said}");
        // The daemon: no VIP is bound, and the server's end is noticed.
        let daemon = Daemon::start(folder, &config(&checks[..3]));
        daemon.until_all_are(PATIENCE, "announced");
        let explained = command(folder, &["explain", "192.0.2.80"]).output().unwrap();
        let explained = String::from_utf8(explained.stdout).unwrap();
        assert!(
            explained.contains(&format!("http://www.example.com/ at unix:{dir}/nginx.sock")),
            "{explained}"
        );
        assert!(explained.contains(&format!("for a connection at unix:{dir}/nginx.sock")), "{explained}");
        nginx.signal(Signal::SIGKILL);
        drop(nginx);
        daemon.until_status(PATIENCE, "nobody listens", |status| {
            status.services[0].vips[0].reason.text.contains("nobody listens on the socket")
        });
        drop(haproxy);
    });
}
