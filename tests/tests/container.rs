//! Tests the daemon's container image with Docker: it has NET_ADMIN alone, and a read-only root filesystem.
//!
//! The test is skipped, with a message, if Docker's engine cannot be reached. It builds the image from the programs of `make build`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod machine;

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};

use until::assert_until;

use self::machine::{Machine, PATIENCE};

const HERE: &str = env!("CARGO_MANIFEST_DIR");
/// Set in the process that plays the web server.
const SERVER: &str = "CONTAINER_TEST_SERVER";

const CONFIG: &str = r#"
[bgp]
asn = 65001

[[peer]]
name = "r1"
address = "10.0.1.1"
asn = 65000

[[service]]
name = "www"
vips = ["192.0.2.80"]

[[service.check]]
http = "http://www.example.com/"
"#;

const ROUTER: &str = "ip prefix-list VIPS permit 192.0.2.0/24 ge 32
route-map VIPS-IN permit 10
 match ip address prefix-list VIPS
router bgp 65000
 neighbor 10.0.1.11 remote-as 65001
 address-family ipv4 unicast
  neighbor 10.0.1.11 route-map VIPS-IN in
";

/// Runs a program; if it fails, the panic has its whole output.
fn must(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A container and its image, which are removed when this is dropped.
struct Container {
    id: String,
    image: String,
}

impl Drop for Container {
    fn drop(&mut self) {
        for arguments in [["rm", "--force", &self.id], ["rmi", "--force", &self.image]] {
            let _ = Command::new("docker").args(arguments).output();
        }
    }
}

/// The web server in the container's network namespace.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It is no test: the process of the web server runs it.
#[test]
fn the_web_server() {
    if std::env::var_os(SERVER).is_none() {
        return;
    }
    for connection in TcpListener::bind("0.0.0.0:80").unwrap().incoming() {
        let _ = connection.unwrap().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}

#[test]
fn the_image_announces_with_net_admin_alone() {
    let engine = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    if !engine.is_ok_and(|output| output.status.success()) {
        return until::skipped("Docker's engine cannot be reached");
    }
    let router = match Machine::boot() {
        Ok(machine) => machine,
        Err(why) => return until::skipped(format_args!("no systemd can be booted here: {}", why.trim())),
    };
    let programs = Path::new(HERE).join("../target/lab/bin");
    let image = format!("announcer-test:{}", std::process::id());
    let build = Path::new(HERE).join("../announcer/packaging/image/build");
    must(build.to_str().unwrap(), &[programs.to_str().unwrap(), &image]);

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("announcer.toml"), CONFIG).unwrap();
    let etc = format!("{}:/etc/announcer:ro", folder.path().display());
    let options = [
        "run",
        "--detach",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        "/run/announcer",
        "--tmpfs",
        "/var/lib/announcer",
        "--volume",
        &etc,
        "--cap-drop",
        "ALL",
        "--cap-add",
        "NET_ADMIN",
        "--security-opt",
        "no-new-privileges",
        &image,
    ];
    let container = Container { id: must("docker", &options), image: image.clone() };
    let pid = must("docker", &["inspect", "--format", "{{.State.Pid}}", &container.id]);
    let capabilities = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(capabilities.contains("CapBnd:\t0000000000001000\n"), "{capabilities}");

    must(
        "sh",
        &[
            "-ec",
            &format!(
                "ip link add ctr-fe type veth peer name ctr-r
                 ip link set ctr-fe name eth0 netns {pid}; ip link set ctr-r name eth0 netns {}
                 nsenter --net=/proc/{pid}/ns/net sh -ec 'ip address add 10.0.1.11/24 dev eth0; ip link set eth0 up
                 ip route add default via 10.0.1.1'",
                router.pid
            ),
        ],
    );
    router.must("ip address add 10.0.1.1/24 dev eth0; ip link set eth0 up");
    router.write("/etc/frr/frr.conf", ROUTER);
    router.must(
        "sed -i 's/^bgpd=no/bgpd=yes/' /etc/frr/daemons && chown frr:frr /etc/frr/* && \
         rm -f /etc/systemd/system/frr.service && systemctl daemon-reload && systemctl start frr",
    );
    let net = format!("--net=/proc/{pid}/ns/net");
    let start = || {
        let mut command = Command::new("nsenter");
        command.args([&net, std::env::current_exe().unwrap().to_str().unwrap(), "--exact", "the_web_server"]);
        Server(command.env(SERVER, "1").spawn().unwrap())
    };
    let in_fib = || router.run("ip route get 192.0.2.80").1.contains("via 10.0.1.11");
    let server = start();
    assert_until(PATIENCE * 3, "announced", in_fib);
    let status = must("docker", &["exec", &container.id, "/usr/bin/announcer", "status"]);
    assert!(status.contains("r1") && status.contains("www"), "{status}");
    assert!(router.run("curl -sf -m 2 http://192.0.2.80/").0 == 0);
    drop(server);
    assert_until(PATIENCE, "withdrawn after the end of the server", || !in_fib());
    let _server = start();
    assert_until(PATIENCE, "announced again", in_fib);
    // `docker stop` withdraws the VIP. An image without a shell needs no `init`.
    must("docker", &["stop", "--time", "30", &container.id]);
    assert!(!in_fib());
    assert_eq!(must("docker", &["inspect", "--format", "{{.State.ExitCode}}", &container.id]), "0");
}
