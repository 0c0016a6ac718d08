//! Runs `announcer check` against real servers: Unbound, chrony, nginx and HAProxy from Debian. Each test runs in its own network
//! namespace. A server that is not installed is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod daemon;
mod real_server;

use std::path::Path;
use std::time::Duration;

use daemon::{FIXTURE, command, in_new_netns, ip, write_config};
use nix::sys::signal::Signal;
use real_server::{RealServer, nginx};
use until::assert_until;

const PATIENCE: Duration = Duration::from_secs(20);

/// What `announcer check` prints of these checks of the VIPs, without the times; a check a line, in the order of the checks for each VIP.
fn seen(folder: &Path, vips: &[&str], checks: &[String]) -> Vec<String> {
    let vips: Vec<String> = vips.iter().map(|vip| format!("\"{vip}\"")).collect();
    let checks: String = checks
        .iter()
        .enumerate()
        .map(|(at, check)| format!("[[service.check]]\nname = \"c{at}\"\ntimeout = \"400ms\"\n{check}\n"))
        .collect();
    let service = format!("[[service]]\nname = \"www\"\nvips = [{}]\n{checks}", vips.join(", "));
    write_config(folder, &format!("{FIXTURE}{service}"));
    let output =
        command(folder, &["check", "www", "--config"]).arg(folder.join("announcer.toml")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().filter(|line| !line.starts_with(' '));
    let lines: Vec<String> = lines.map(|line| line.split(" after ").next().unwrap().to_owned()).collect();
    assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    lines
}

/// Runs each check of the VIP, and compares what it prints.
fn all_are(folder: &Path, vip: &str, wanted: &[(&str, &str)]) {
    let checks: Vec<String> = wanted.iter().map(|(check, _)| (*check).to_owned()).collect();
    let lines: Vec<String> =
        wanted.iter().enumerate().map(|(at, (_, text))| format!("{vip}  c{at}  {text}")).collect();
    assert_eq!(seen(folder, &[vip], &checks), lines);
}

/// The kernel answers; one address of the link has nobody.
#[test]
fn the_kernel_is_pinged_if_it_permits_it() {
    in_new_netns(|folder| {
        ip("address add 192.0.2.53/32 dev lo");
        let range = |text: &str| std::fs::write("/proc/sys/net/ipv4/ping_group_range", text).unwrap();
        let denied = "this host does not let the group of announcer ping: `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`; the units of announcer do not set it";
        range("1 0"); // the kernel's default: no group
        all_are(folder, "192.0.2.53", &[("icmp = 56", denied), ("icmp = 56\ntarget = \"::1\"", denied)]);
        range("0 0");
        daemon::link_to_router();
        let wanted: &[(&str, &str)] = &[
            ("icmp = 56", "echo reply"),
            ("icmp = 0", "echo reply"),
            ("icmp = 8972", "echo reply"),
            ("icmp = 56\ntarget = \"::1\"", "echo reply"),
            ("icmp = 56\ntarget = \"10.9.9.1\"", "echo reply"),
            ("icmp = 56\ntarget = \"10.9.9.77\"", "no answer within 400 ms"),
        ];
        all_are(folder, "192.0.2.53", wanted);
    });
}

#[test]
fn chrony_is_asked_for_the_time() {
    in_new_netns(|folder| {
        ip("address add 192.0.2.53/32 dev lo");
        ip("address add 192.0.2.54/32 dev lo");
        let start = |name: &str, address: &str, lines: &str| {
            let config = folder.join(name);
            let common = format!(
                "bindaddress {address}\nallow\ncmdport 0\nbindcmdaddress /\npidfile {}.pid\n{lines}",
                config.display()
            );
            std::fs::write(&config, common).unwrap();
            // -x: it does not set the clock of this host.
            RealServer::start("chronyd", &["-d", "-x", "-u", "root", "-f", config.to_str().unwrap()])
        };
        // The clock of this host as a source of its own, of stratum 4; and a server without a source.
        let Some(server) = start("local", "192.0.2.53", "local stratum 4\n") else { return };
        let _unsynchronised = start("none", "192.0.2.54", "").unwrap();
        let one = |vip: &str, check: &str| seen(folder, &[vip], &[check.to_owned()]).remove(0);
        assert_until(PATIENCE, "chrony answers", || {
            one("192.0.2.53", "ntp = 123").contains("stratum")
                && !one("192.0.2.54", "ntp = 123").contains("refused")
        });
        let said = one("192.0.2.53", "ntp = 123\nmax_offset = \"100ms\"");
        assert!(said.starts_with("192.0.2.53  c0  stratum 4, offset "), "{said}");
        let stopped: &[(&str, &str)] =
            &[("ntp = 123", "no answer within 400 ms"), ("ntp = 124", "connection refused")];
        all_are(folder, "192.0.2.53", &[("ntp = 123\nmax_stratum = 3", "the server's stratum is 4")]);
        all_are(folder, "192.0.2.54", &[("ntp = 123", "the server's clock is not synchronised")]);
        server.signal(Signal::SIGSTOP);
        all_are(folder, "192.0.2.53", stopped);
    });
}

const UNBOUND: &str = r#"
server:
    directory: ""
    chroot: ""
    username: ""
    pidfile: ""
    do-daemonize: no
    use-syslog: no
    interface: 192.0.2.53@53
    interface: 192.0.2.53@853
    interface: 2001:db8::53@53
    tls-service-key: "FOLDER/key.pem"
    tls-service-pem: "FOLDER/cert.pem"
    access-control: 0.0.0.0/0 allow
    access-control: ::/0 allow
    module-config: "iterator"
    local-zone: "example.com." static
    local-data: "www.example.com. A 192.0.2.80"
    local-data: "www.example.com. A 192.0.2.81"
    local-data: "www.example.com. AAAA 2001:db8::80"
    local-data: "example.com. MX 10 mail.example.com."
    local-data: 'big.example.com. TXT "LONG"'
    local-zone: "refused.example." refuse
"#;

#[test]
fn unbound_is_asked_by_udp_tcp_and_tls() {
    in_new_netns(|folder| {
        ip("address add 192.0.2.53/32 dev lo");
        ip("address add 2001:db8::53/128 dev lo nodad");
        let key = rcgen::generate_simple_self_signed(["dns.example.com".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), key.cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
        let long = format!("{}\" \"{0}\" \"{0}\" \"{0}\" \"{0}\" \"{0}", "x".repeat(250));
        let path = folder.to_str().unwrap();
        let config = folder.join("unbound.conf");
        std::fs::write(&config, UNBOUND.replace("FOLDER", path).replace("LONG", &long)).unwrap();
        let Some(server) = RealServer::start("unbound", &["-d", "-c", config.to_str().unwrap()]) else {
            return;
        };
        assert_until(PATIENCE, "unbound listens", || {
            ["192.0.2.53:53", "192.0.2.53:853", "[2001:db8::53]:53"]
                .iter()
                .all(|to| std::net::TcpStream::connect(to).is_ok())
        });
        let www = "dns = \"www.example.com\"";
        let ca = format!("ca_file = \"{path}/cert.pem\"\nverify = \"require\"\ntransport = \"tls\"");
        let tls = format!("{www}\ntls_name = \"dns.example.com\"\n{ca}");
        let unnamed = format!("{www}\n{ca}");
        let both = "the records 192.0.2.80, 192.0.2.81";
        let sorted = format!("{www}\nexpect_answer = [\"192.0.2.81\", \"192.0.2.80\"]");
        let lines = seen(folder, &["192.0.2.53"], std::slice::from_ref(&sorted));
        // Unbound rotates the records.
        assert!(
            lines == [format!("192.0.2.53  c0  {both}")] || lines[0].ends_with("192.0.2.81, 192.0.2.80"),
            "{lines:?}"
        );
        let wanted: &[(&str, &str)] = &[
            ("dns = \"www.example.com\"\nrecord_type = \"AAAA\"", "the records 2001:db8::80"),
            (
                "dns = \"WWW.example.com.\"\nrecord_type = \"AAAA\"\nexpect_answer = [\"2001:db8::81\"]",
                "`2001:db8::81` is not in the answer, which has 2001:db8::80",
            ),
            (
                "dns = \"example.com\"\nrecord_type = \"MX\"\ntransport = \"tcp\"",
                "the records 10 mail.example.com.",
            ),
            ("dns = \"none.example.com\"", "answered NXDOMAIN"),
            ("dns = \"none.example.com\"\nexpect_rcode = \"NXDOMAIN\"", "NXDOMAIN"),
            ("dns = \"refused.example\"\nexpect_rcode = \"REFUSED\"", "REFUSED"),
            ("dns = \"example.com\"", "answered NOERROR, without a record of type A"),
            (
                "dns = \"big.example.com\"\nrecord_type = \"TXT\"",
                "the answer is too long for UDP: write `transport = \"tcp\"`",
            ),
            (&format!("{tls}\nrecord_type = \"AAAA\""), "the records 2001:db8::80"),
            (&unnamed, "the certificate is not for `192.0.2.53`"),
            ("dns = \"www.example.com\"\ndns_port = 54", "connection refused"),
            (
                "dns = \"www.example.com\"\nrecord_type = \"AAAA\"\ntarget = \"[2001:db8::53]:53\"",
                "the records 2001:db8::80",
            ),
        ];
        all_are(folder, "192.0.2.53", wanted);
        server.signal(Signal::SIGSTOP);
        let hung: &[(&str, &str)] = &[
            (www, "no answer within 400 ms"),
            ("dns = \"www.example.com\"\ntransport = \"tcp\"", "no answer within 400 ms"),
            (&tls, "no TLS within 400 ms"),
        ];
        all_are(folder, "192.0.2.53", hung);
    });
}

const NGINX: &str = "  server {
    listen 192.0.2.53:443 ssl;
    listen 192.0.2.53:444 ssl proxy_protocol;
    ssl_certificate FOLDER/cert.pem;
    ssl_certificate_key FOLDER/key.pem;
    ssl_client_certificate FOLDER/ca.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_verify_client on;
    location = / { return 200 \"$ssl_client_verify $proxy_protocol_addr\\n\"; }
  }
";

const HAPROXY: &str = "defaults
  mode http
  timeout client 5s
  timeout connect 5s
  timeout server 5s
frontend www
  bind 192.0.2.53:443 ssl crt FOLDER/both.pem ca-file FOLDER/ca.pem verify required
  bind 192.0.2.53:444 accept-proxy ssl crt FOLDER/both.pem ca-file FOLDER/ca.pem verify required
  http-request return status 200 content-type text/plain lf-string \"SUCCESS %[src]\\n\"
";

/// An authority, a server's certificate, a client's certificate of that authority, and one of another authority, as files.
fn write_certificates(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let issuer = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, theirs) = (issuer("ours"), issuer("theirs"));
    write("ca.pem", &ours.pem());
    for (name, issuer) in [("client", &ours), ("other", &theirs)] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["announcer".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        write(&format!("{name}.pem"), &certificate.pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
    let server = rcgen::generate_simple_self_signed(["www.example.com".to_owned()]).unwrap();
    let (certificate, key) = (server.cert.pem(), server.signing_key.serialize_pem());
    write("cert.pem", &certificate);
    write("key.pem", &key);
    write("both.pem", &(certificate + &key));
}

#[test]
fn web_servers_require_a_client_certificate() {
    in_new_netns(|folder| {
        ip("address add 192.0.2.53/32 dev lo");
        write_certificates(folder);
        let path = folder.to_str().unwrap();
        let client = |name: &str| {
            format!(
                "client_certificate = \"{path}/{name}.pem\"\nclient_key = \"{path}/{name}.key\"\nverify = \"off\""
            )
        };
        let (ours, other, none) = (client("client"), client("other"), "verify = \"off\"".to_owned());
        let wrong_key = ours.replace("client.key", "other.key");
        let unfit = format!(
            "the client certificate cannot be used: the key in `{path}/other.key` does not belong to the first certificate in \
             `{path}/client.pem`"
        );
        let (requires, refuses) =
            ("the server requires a client certificate", "the server does not accept the client certificate");
        let unknown = "TLS failed: the server sent the alert unknown_ca: it does not trust the issuer of the client certificate, or \
                       an intermediate certificate is missing in `client_certificate`";
        let https =
            |lines: &str| format!("http = \"https://www.example.com/\"\nexpect_body = \"^SUCCESS\"\n{lines}");
        let tls = |lines: &str| format!("tls = \"www.example.com\"\n{lines}");
        let proxied = |lines: &str| {
            format!("http = \"https://www.example.com:444/\"\nexpect_body = \"SUCCESS 192.0.2.53$\"\n{lines}")
                .replace('$', "\\\\s")
        };
        for (program, text, words) in
            [("nginx", nginx(NGINX), vec!["-c"]), ("haproxy", HAPROXY.to_owned(), vec!["-db", "-f"])]
        {
            let config = folder.join("server.conf");
            std::fs::write(&config, text.replace("FOLDER", path)).unwrap();
            let words: Vec<&str> = words.into_iter().chain([config.to_str().unwrap()]).collect();
            let Some(_server) = RealServer::start(program, &words) else { continue };
            assert_until(PATIENCE, "it listens", || {
                ["192.0.2.53:443", "192.0.2.53:444"].iter().all(|to| std::net::TcpStream::connect(to).is_ok())
            });
            // nginx refuses by HTTP, after the handshake.
            let is_nginx = program == "nginx";
            let in_handshake = |alert: &'static str| if is_nginx { "TLS 1.3" } else { alert };
            let v2 = format!("{ours}\nsend_proxy = \"v2\"");
            let wanted: &[(&str, &str)] = &[
                (&https(&ours), "HTTP 200"),
                (&https(&none), requires),
                (&https(&other), if is_nginx { refuses } else { unknown }),
                (&https(&wrong_key), &unfit),
                (&tls(&ours), "TLS 1.3"),
                (&tls(&none), in_handshake(requires)),
                (&tls(&other), in_handshake(unknown)),
                (&tls(&wrong_key), &unfit),
                (&proxied(&v2), "HTTP 200"),
                (&proxied(&v2.replace("v2", "v1")), "HTTP 200"),
            ];
            all_are(folder, "192.0.2.53", wanted);
            let unproxied = seen(folder, &["192.0.2.53"], &[proxied(&ours)]).remove(0);
            assert!(unproxied.starts_with("192.0.2.53  c0  connection "), "without the header: {unproxied}");
            all_are(folder, "192.0.2.53", &[(&https(&wrong_key), &unfit)]);
        }
        let validated = command(folder, &["validate"]).arg(folder.join("announcer.toml")).output().unwrap();
        let said = String::from_utf8(validated.stderr).unwrap();
        assert!(!validated.status.success() && said.contains(&unfit), "{said}");
    });
}
