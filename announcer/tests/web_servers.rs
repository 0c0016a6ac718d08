//! Tests the lines for web servers in docs/configuration.md with the real servers: nginx, HAProxy and Apache from Debian (case H15).
//! Also the PROXY protocol, with nginx and HAProxy. Each test runs in its own network namespace. A server that is not installed is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use announcer::control::api::Status;
use daemon::{Daemon, FIXTURE, command, in_new_netns};
use until::assert_until;

const PATIENCE: Duration = Duration::from_secs(20);
const DOCUMENT: &str = include_str!("../../docs/configuration.md");

/// The VIPs in the documented lines.
const VIPS: [&str; 2] = ["203.0.113.10", "2001:db8::10"];

/// A web server that is killed when this is dropped, and when the test is killed. It is one process.
struct WebServer(Child);

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl WebServer {
    /// Starts the server and waits until it listens.
    fn start(command: &[&str]) -> WebServer {
        let mut child = Command::new("setpriv");
        child.args(["--pdeathsig", "KILL", "--"]).args(command).stdin(Stdio::null());
        let server = WebServer(child.spawn().unwrap());
        assert_until(PATIENCE, "the web server listens", || {
            ["127.0.0.1:8080", "[::1]:8080"].iter().all(|to| std::net::TcpStream::connect(to).is_ok())
        });
        server
    }
}

/// The texts between backticks in the line of the document about this server: the line that is written, then the one that it
/// replaces, if there is one, and then another one that allows the probes, if there is one.
fn documented(server: &str) -> Vec<&'static str> {
    let mut lines = DOCUMENT.lines().filter(|line| line.starts_with(&format!("- {server}: `")));
    let (line, None) = (lines.next().unwrap(), lines.next()) else { panic!("two lines about {server}") };
    line.split('`').skip(1).step_by(2).collect()
}

/// Where Debian has the program; none if it is not installed.
fn installed(program: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin"].map(|folder| Path::new(folder).join(program));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        until::skipped(format_args!("{program} is not installed"));
    }
    found
}

/// Whether all VIPs have this standing.
fn all_are(status: &Status, standing: &str) -> bool {
    let vips = &status.services[0].vips;
    vips.len() == VIPS.len() && vips.iter().all(|vip| vip.standing == standing)
}

/// Runs the server with the line that refuses the VIPs, and with each line that allows them. `start` starts it with a line.
fn refuses_then_allows(folder: &Path, refuses: &str, allows: &[&str], start: impl Fn(&str) -> WebServer) {
    std::fs::write(folder.join("healthz"), "ok\n").unwrap();
    let vips = VIPS.map(|vip| format!("\"{vip}\"")).join(", ");
    let config = format!(
        "{FIXTURE}[[service]]\nname = \"www\"\nvips = [{vips}]\n\
         [[service.check]]\nhttp = \"http://www.example.com:8080/healthz\"\ninterval = \"100ms\"\n"
    );
    let server = start(refuses);
    let daemon = Daemon::start(folder, &config);
    let status = daemon.until_status(PATIENCE, "refused", |status| {
        all_are(status, "not_announced")
            && status.services[0].vips.iter().all(|vip| vip.reason.text.contains("HTTP 403"))
    });
    // The status and the check are as the document says.
    let output =
        command(folder, &["check", "www", "--config"]).arg(folder.join("announcer.toml")).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    for vip in VIPS {
        assert!(shown.contains(&format!("let the server allow {vip}")), "{shown}{status:#?}");
    }
    drop(server);
    for line in allows {
        let server = start(line);
        daemon.until_status(PATIENCE, line, |status| all_are(status, "announced"));
        drop(server);
        daemon.until_status(PATIENCE, "stopped", |status| all_are(status, "not_announced"));
    }
}

/// Starts a server with a configuration file in the folder; `words` are its arguments before the path of the file.
fn start_with(folder: &Path, program: &Path, words: &[&str], text: &str) -> WebServer {
    let file = folder.join("server.conf");
    std::fs::write(&file, text).unwrap();
    let mut command = vec![program.to_str().unwrap()];
    command.extend(words);
    command.push(file.to_str().unwrap());
    WebServer::start(&command)
}

#[test]
fn the_lines_for_nginx_let_the_probes_in() {
    in_new_netns(nginx);
}

fn nginx(folder: &Path) {
    let Some(program) = installed("nginx") else { return };
    let [allows, refuses] = documented("nginx")[..] else { panic!("two texts about nginx") };
    refuses_then_allows(folder, refuses, &[allows], |line| {
        let dir = folder.display();
        let text = format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {dir}/pid;\nerror_log stderr crit;\nevents {{}}\n\
             http {{\n  access_log off;\n  server {{\n    listen 8080;\n    listen [::]:8080;\n    root {dir};\n    \
             location = /healthz {{ {line} }}\n  }}\n}}\n"
        );
        start_with(folder, &program, &["-c"], &text)
    });
}

#[test]
fn the_line_for_haproxy_lets_the_probes_in() {
    in_new_netns(haproxy);
}

fn haproxy(folder: &Path) {
    let Some(program) = installed("haproxy") else { return };
    let [allows] = documented("HAProxy")[..] else { panic!("one text about HAProxy") };
    let refuses = "http-request deny unless { src 127.0.0.1 ::1 }";
    refuses_then_allows(folder, refuses, &[allows], |line| {
        let text = format!(
            "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n\
             frontend www\n  bind 0.0.0.0:8080\n  bind [::]:8080 v6only\n  {line}\n  http-request return status 200\n"
        );
        start_with(folder, &program, &["-db", "-f"], &text)
    });
}

#[test]
fn the_lines_for_apache_let_the_probes_in() {
    in_new_netns(apache);
}

fn apache(folder: &Path) {
    let Some(program) = installed("apache2") else { return };
    let [allows, refuses, local] = documented("Apache")[..] else { panic!("three texts about Apache") };
    // It serves the file as its own user.
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    refuses_then_allows(folder, refuses, &[allows, local], |line| {
        let modules = ["mpm_event", "authz_core", "authz_host"]
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .concat();
        let dir = folder.display();
        let text = format!(
            "{modules}ServerName www.example.com\nServerRoot {dir}\nDefaultRuntimeDir {dir}\nPidFile {dir}/pid\n\
             ErrorLog {dir}/log\nUser www-data\nGroup www-data\nListen 0.0.0.0:8080\nListen [::]:8080\n\
             DocumentRoot {dir}\n<Location /healthz>\n{line}\n</Location>\n"
        );
        start_with(folder, &program, &["-X", "-f"], &text)
    });
}

/// The checks of the PROXY protocol: where (8082 has HTTP/2 alone), its keys, and what the server sees. Only the last one fails: it
/// sends no header.
const PROXIED: [(&str, &str, &str); 7] = [
    ("127.0.0.1:8081", "send_proxy = \"v1\"", "^127.0.0.1 "),
    ("127.0.0.1:8081", "send_proxy = \"v2\"", "^127.0.0.1 "),
    ("[::1]:8081", "send_proxy = \"v1\"", "^::1 "),
    ("[::1]:8081", "send_proxy = \"v2\"", "^::1 "),
    ("127.0.0.1:8081", "send_proxy = \"v2\"\nmethod = \"POST\"\nbody = \"x\"", "^127.0.0.1 "),
    ("127.0.0.1:8082", "send_proxy = \"v2\"\nhttp_version = \"2\"", "^127.0.0.1 "),
    ("127.0.0.1:8081", "", "^127.0.0.1 "),
];

/// Checks a server that needs the header of the PROXY protocol at the ports 8081 and 8082, and answers with the address of the client.
fn proxied(folder: &Path, server: &str, _running: &WebServer) {
    let http = (1..).zip(PROXIED).map(|(number, (target, keys, want))| {
        format!(
            "[[service.check]]\nname = \"http-{number}\"\nhttp = \"http://www.example.com/\"\ntarget = \"{target}\"\n\
             expect_body = \"{want}\"\n{keys}\n"
        )
    });
    let tcp = "[[service.check]]\nname = \"tcp\"\ntcp = 8081\ntarget = \"[::1]\"\nsend = \"GET / HTTP/1.0\\r\\n\\r\\n\"\n\
               expect = \"(?s)200.*::1 \"\nsend_proxy = \"v2\"\n";
    let checks = http.collect::<String>() + tcp;
    let config = format!("{FIXTURE}[[service]]\nname = \"www\"\nvips = [\"{}\"]\n{checks}", VIPS[0]);
    daemon::write_config(folder, &config);
    let output =
        command(folder, &["check", "www", "--config"]).arg(folder.join("announcer.toml")).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for number in 1..PROXIED.len() {
        assert!(shown.contains(&format!("  http-{number}  HTTP 200 after ")), "{server}: {shown}{said}");
    }
    assert!(shown.contains("  tcp  answered as expected after "), "{server}: {shown}{said}");
    assert!(!shown.contains(&format!("  http-{}  HTTP 200", PROXIED.len())), "{server}: {shown}");
    assert!(said.contains("1 probe did not pass"), "{server}: {shown}{said}");
}

#[test]
fn nginx_takes_the_header_of_the_proxy_protocol() {
    in_new_netns(|folder| {
        let Some(program) = installed("nginx") else { return };
        let dir = folder.display();
        let text = format!(
            "daemon off;\nmaster_process off;\nuser root;\npid {dir}/pid;\nerror_log stderr crit;\nevents {{}}\n\
             http {{\n  access_log off;\n  server {{\n    listen 8080;\n    listen [::]:8080;\n    \
             listen 127.0.0.1:8081 proxy_protocol;\n    listen [::1]:8081 proxy_protocol;\n    \
             listen 127.0.0.1:8082 proxy_protocol http2;\n    \
             location = / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port\\n\"; }}\n  }}\n}}\n"
        );
        proxied(folder, "nginx", &start_with(folder, &program, &["-c"], &text));
    });
}

#[test]
fn haproxy_takes_the_header_of_the_proxy_protocol() {
    in_new_netns(|folder| {
        let Some(program) = installed("haproxy") else { return };
        let text = "defaults\n  mode http\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n\
             frontend www\n  bind 0.0.0.0:8080\n  bind [::]:8080 v6only\n  bind 127.0.0.1:8081 accept-proxy\n  \
             bind [::1]:8081 accept-proxy\n  bind 127.0.0.1:8082 accept-proxy proto h2\n  \
             http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port]\\n\"\n";
        proxied(folder, "HAProxy", &start_with(folder, &program, &["-db", "-f"], text));
    });
}
