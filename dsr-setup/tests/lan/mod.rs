//! A host and a router on one cable, each in its own network namespace, and doctor on the host.
#![allow(dead_code, unreachable_pub, reason = "as in tests/common")]

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlink_packet_route::address::{AddressAttribute, AddressProtocol, AddressScope};
use tempfile::TempDir;

use crate::common::{Netns, text};

pub const VIP: &str = "192.0.2.80";
pub const VIP6: &str = "2001:db8::80";
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The host has eth0 (10.0.1.11, 2001:db8:1::11), the router r0 (10.0.1.1, 2001:db8:1::1) at the other end. `dsr-setup apply` has put both
/// VIPs on lo, a server listens on port 80, and default routes lead to the router.
pub struct Lan {
    pub host: Netns,
    pub router: Netns,
    dir: TempDir,
    servers: RefCell<Vec<TcpListener>>,
}

impl Lan {
    pub fn healthy() -> Lan {
        let (host, router) = (Netns::new(), Netns::new());
        let lan = Lan { host, router, dir: TempDir::new().unwrap(), servers: RefCell::default() };
        for netns in [&lan.host, &lan.router] {
            write(netns, "net/ipv4/ip_forward", 0); // a namespace begins with what the host has
            write(netns, "net/ipv6/conf/default/accept_dad", 0);
            netns.run("ip link set lo up");
        }
        lan.cable("eth0", "r0", 1);
        lan.host("ip route add default via 10.0.1.1");
        lan.host("ip -6 route add default via 2001:db8:1::1");
        let apply = lan.program(&[], &["apply", "--vip", VIP, "--vip", VIP6]);
        assert_eq!(apply.0, 0, "{apply:?}");
        lan.serve("[::]:80");
        lan
    }

    /// Another cable: eth1 (10.0.2.11) and r1 (10.0.2.1).
    pub fn second_segment(&self) {
        self.cable("eth1", "r1", 2);
    }

    fn cable(&self, here: &str, there: &str, number: u8) {
        let pid = self.router.pid();
        self.host(&format!("ip link add {here} type veth peer name {there} netns {pid}"));
        for (netns, name, last) in [(&self.host, here, 11), (&self.router, there, 1)] {
            netns.run(&format!("ip link set {name} up"));
            netns.run(&format!("ip addr add 10.0.{number}.{last}/24 dev {name}"));
            netns.run(&format!("ip -6 addr add 2001:db8:{number}::{last}/64 dev {name} nodad"));
        }
        let is_up = || self.host.run(&format!("ip -6 addr show dev {here} scope link")).contains("fe80::");
        self.until("link-local address", is_up);
    }

    pub fn host(&self, line: &str) {
        self.host.run(line);
    }

    pub fn router(&self, line: &str) {
        self.router.run(line);
    }

    /// The Ethernet address of an interface. `/sys` shows that of another namespace.
    pub fn mac(netns: &Netns, interface: &str) -> String {
        let shown = netns.run(&format!("ip -o link show dev {interface}"));
        shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned()
    }

    /// Adds the IPv4 VIP to lo with another protocol. The ip(8) of Debian 12 cannot.
    pub fn add_with_protocol(&self, protocol: u8) {
        let added = self.inside_host(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                let mut request = handle.address().add(1, VIP.parse().unwrap(), 32);
                request.message_mut().header.scope = AddressScope::Link;
                let protocol = AddressAttribute::Protocol(AddressProtocol::Other(protocol));
                request.message_mut().attributes.push(protocol);
                request.execute().await.unwrap();
            });
        });
        added.join().unwrap();
    }

    /// Writes a setting of the host.
    pub fn set(&self, path: &str, value: i32) {
        write(&self.host, path, value);
    }

    /// Adds a rule to a chain of the hook input.
    pub fn nft(&self, rule: &str) {
        self.host("nft add table inet f");
        let chain = ["nft", "add chain inet f input { type filter hook input priority 0; policy accept; }"];
        let rule = format!("add rule inet f input {rule}");
        for line in [chain, ["nft", &rule]] {
            assert!(self.host.command(&line).status().unwrap().success(), "{line:?}");
        }
    }

    pub fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "no {what} within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs dsr-setup on the host, behind `wrapper`: exit code, standard output, standard error.
    pub fn program(&self, wrapper: &[&str], arguments: &[&str]) -> (i32, String, String) {
        let line: Vec<&str> = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_dsr-setup")]).collect();
        let state = self.dir.path().join("state");
        let output = self.host.command(&line).args(arguments).arg("--state-dir").arg(state).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// Runs doctor, for both VIPs if the arguments name none.
    pub fn doctor(&self, wrapper: &[&str], arguments: &[&str]) -> (i32, String, String) {
        let names_vips = arguments.iter().any(|argument| ["--vip", "--config"].contains(argument));
        let vips: &[&str] = if names_vips { &[] } else { &["--vip", VIP, "--vip", VIP6] };
        self.program(wrapper, &[&["doctor"], vips, arguments].concat())
    }

    pub fn text(&self, arguments: &[&str]) -> (i32, String, String) {
        self.doctor(&[], arguments)
    }

    /// Runs doctor, and compares its findings, as `severity code` or `severity code vip`, and its exit code. Everything was checked.
    pub fn expect(&self, arguments: &[&str], want: &[&str]) {
        let (code, printed, errors) = self.doctor(&[], &[arguments, &["--json"]].concat());
        assert_eq!(errors, "", "{printed}");
        let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let mut found = Vec::new();
        for finding in report["findings"].as_array().unwrap() {
            let word = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            let words = [word("severity"), word("code"), word("vip")];
            found.push(words.join(" ").trim_end().to_owned());
            assert!(!word("evidence").is_empty() && !word("repair").is_empty(), "{finding}");
        }
        found.sort();
        let mut want: Vec<String> = want.iter().map(|line| (*line).to_owned()).collect();
        want.sort();
        assert_eq!(found, want, "{printed}");
        assert_eq!(report["not_checked"], serde_json::json!([]), "{printed}");
        let has = |severity: &str| want.iter().any(|line| line.starts_with(severity));
        let exit = if has("error") {
            1
        } else if has("warning") {
            3
        } else {
            0
        };
        assert_eq!(code, exit, "{printed}");
    }

    /// Starts a server that accepts everything at this address of the host.
    pub fn serve(&self, address: &str) {
        let address: SocketAddr = address.parse().unwrap();
        let listener = self.inside_host(move || TcpListener::bind(address).unwrap()).join().unwrap();
        self.servers.borrow_mut().push(listener);
    }

    pub fn stop_server(&self) {
        self.servers.borrow_mut().clear();
    }

    /// Runs `body` in the namespace of the host.
    pub fn inside_host<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        inside(&self.host, body)
    }

    pub fn inside_router<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        inside(&self.router, body)
    }

    /// Connects to the IPv4 VIP from the router again and again, for so long.
    pub fn connect_from_router(&self, time: Duration) -> JoinHandle<()> {
        self.router("ip route replace 192.0.2.80/32 via 10.0.1.11");
        self.inside_router(move || {
            let end = Instant::now() + time;
            while Instant::now() < end {
                let _ = TcpStream::connect_timeout(
                    &SocketAddr::new(VIP.parse().unwrap(), 80),
                    Duration::from_millis(100),
                );
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    }

    /// Sends so many UDP packets to the VIP, each of which is a connection of its own: from each port of several addresses.
    pub fn fill_conntrack(&self, connections: usize) {
        let addresses = connections / 60_000 + 1;
        for number in 1..=addresses {
            self.router(&format!("ip addr add 198.51.100.{number}/32 dev lo"));
        }
        let sent = self.inside_router(move || {
            for number in 1..=addresses {
                let socket = UdpSocket::bind(format!("198.51.100.{number}:0")).unwrap();
                for port in 1..=60_000_u16 {
                    let _ = socket.send_to(b"x", (VIP, port));
                }
            }
        });
        sent.join().unwrap();
    }

    /// Starts `openssl s_server` on port 443 with a certificate that begins and ends so many days from now.
    pub fn tls_server(&self, begins: i64, ends: i64) -> Process {
        let day = |days: i64| time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let mut params = rcgen::CertificateParams::new(["www.example.com".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (day(begins), day(ends));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let path = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        let line = ["openssl", "s_server", "-quiet", "-accept", "*:443", "-cert", &certificate, "-key", &key];
        let mut command = self.host.command(&line);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(command.spawn().unwrap());
        self.until("TLS server", || self.host.run("ss -Hltn").contains(":443"));
        process
    }

    /// A process with this name in a namespace.
    pub fn process_named(&self, name: &str, netns: &Netns) -> Process {
        let path = self.dir.path().join(name);
        if !path.exists() {
            std::fs::copy("/bin/sleep", &path).unwrap();
        }
        let path = path.to_str().unwrap();
        let child = netns.command(&[path, "60"]).stdin(Stdio::null()).spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        self.until("process", || std::fs::read_to_string(&comm).is_ok_and(|found| found.trim() == name));
        Process(child)
    }

    /// Writes a configuration.
    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("announcer.toml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// A process that ends with the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write(netns: &Netns, path: &str, value: i32) {
    let script = format!("echo {value} > /proc/sys/{path}");
    assert!(netns.command(&["sh", "-c", &script]).status().unwrap().success(), "{path}");
}

fn inside<T: Send + 'static>(netns: &Netns, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", netns.pid())).unwrap();
    std::thread::spawn(move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        body()
    })
}
