//! Compares the cost of the whole daemon, which probes services over HTTP every second, with a loop that only sends the requests:
//! `cargo bench -p announcer --bench probes`. It prints numbers and does not judge them.
//!
//! Each service has a VIP, and each probe opens a new connection from that VIP. The server, the loop and the daemon are separate
//! processes in a network namespace that this process makes, which needs root. The loop uses reqwest, with a client for each VIP
//! and one TLS configuration for all of them. Loop and daemon run in turns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

const INTERVAL: Duration = Duration::from_secs(1);
/// The time until all VIPs are announced and the start has no more effect.
const WARM: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(15);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("serve") => runtime.block_on(serve()),
        Some("ask") => runtime.block_on(ask(arguments[2].parse().unwrap())),
        Some(_) | None => compare(),
    }
}

/// The web server answers 200 to every request.
async fn serve() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80))).unwrap();
    let listener = socket.listen(4096).unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut asked = [0; 1024];
            if client.read(&mut asked).await.is_ok_and(|octets| octets > 0) {
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").await;
                let _ = client.read(&mut asked).await; // the client closes the connection
            }
        });
    }
}

fn vip(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 80, u8::try_from(index / 250).unwrap(), u8::try_from(index % 250 + 1).unwrap())
}

/// The loop that only sends requests.
async fn ask(services: usize) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut loops = JoinSet::new();
    for index in 0..services {
        let (vip, name) = (vip(index), format!("www{index}.example.com"));
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .tls_backend_preconfigured(tls.clone())
            .local_address(Some(vip.into()))
            .resolve(&name, SocketAddr::from((vip, 80)))
            .timeout(INTERVAL / 2)
            .build()
            .unwrap();
        loops.spawn(async move {
            sleep(INTERVAL.mul_f64(fastrand::f64())).await;
            let (url, mut beat) = (format!("http://{name}/healthz"), interval(INTERVAL));
            loop {
                beat.tick().await;
                client.get(&url).send().await.unwrap().bytes().await.unwrap();
            }
        });
    }
    loops.join_next().await.unwrap().unwrap();
}

fn compare() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root, for a network namespace");
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    ip(
        "link set lo up\nlink add v0 type veth peer name v1\naddr add 10.99.0.2/24 dev v0\nlink set v0 up\nlink set v1 up\n",
    );
    let mut server = Command::new(&this).arg("serve").spawn().unwrap();
    println!(
        "{:<34} {:>9} {:>12} {:>15} {:>9} {:>13}",
        "", "probes/s", "of a core", "user + system", "PSS", "of the loop"
    );
    let mut there = 0;
    for services in [100, 1000] {
        ip(&(there..services)
            .map(|index| format!("addr add {}/32 dev lo\n", vip(index)))
            .collect::<String>());
        there = services;
        let asked = measure(Command::new(&this).args(["ask", &services.to_string()]));
        asked.print(&format!("{services} asked by reqwest alone"), &asked);
        for watch in ["0", "5ms"] {
            configure(folder.path(), services, watch);
            let mut daemon = Command::new(env!("CARGO_BIN_EXE_announcer"));
            daemon.arg("--socket").arg(folder.path().join("socket")).arg("--state-dir").arg(folder.path());
            daemon.arg("run").arg("--config").arg(folder.path().join("announcer.toml")).stderr(Stdio::null());
            let what = if watch == "0" { "no listener watch" } else { "listener watch" };
            measure(&mut daemon).print(&format!("{services} services, {what}"), &asked);
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

fn ip(commands: &str) {
    let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    batch.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(batch.wait().unwrap().success());
}

fn configure(folder: &Path, services: usize, watch: &str) {
    let mut text = format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n[health]\nlistener_watch = \"{watch}\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.99.0.1\"\nasn = 65000\n"
    );
    for index in 0..services {
        write!(
            text,
            "[[service]]\nname = \"s{index}\"\nvips = [\"{}\"]\n\
             [[service.check]]\nhttp = \"http://www{index}.example.com/healthz\"\ninterval = \"1s\"\n",
            vip(index)
        )
        .unwrap();
    }
    fs::write(folder.join("announcer.toml"), text).unwrap();
}

/// The share of a core that a process used, in percent, its memory, in MB, and its connections per second.
struct Cost {
    user: f64,
    system: f64,
    pss: f64,
    connections: f64,
}

impl Cost {
    fn print(&self, what: &str, beside: &Cost) {
        let (core, other) = (self.user + self.system, beside.user + beside.system);
        println!(
            "{what:<34} {:>9.0} {core:>10.1} % {:>6.1} + {:<4.1} % {:>6.1} MB {:>12.2}x",
            self.connections,
            self.user,
            self.system,
            self.pss,
            core / other
        );
    }
}

/// Starts the process, measures it after `WARM`, and ends it.
fn measure(command: &mut Command) -> Cost {
    let mut child = command.spawn().unwrap();
    std::thread::sleep(WARM);
    let (began, used, made) = (Instant::now(), busy(&child), connections());
    std::thread::sleep(MEASURED);
    let (seconds, now, pss) = (began.elapsed().as_secs_f64(), busy(&child), pss(&child));
    let made = connections() - made;
    child.kill().unwrap();
    child.wait().unwrap();
    Cost {
        user: (now.0 - used.0) / seconds * 100.0,
        system: (now.1 - used.1) / seconds * 100.0,
        pss,
        connections: made / seconds,
    }
}

/// The CPU seconds that the process has used so far, in user mode and in the kernel (proc_pid_stat(5)).
fn busy(child: &Child) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap() as f64;
    (fields[11].parse::<f64>().unwrap() / ticks, fields[12].parse::<f64>().unwrap() / ticks)
}

/// The process's share of memory (PSS), in MB.
fn pss(child: &Child) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id())).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The number of connections opened in this namespace so far (tcpActiveOpens of RFC 4022).
fn connections() -> f64 {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let tcp = snmp.lines().filter(|line| line.starts_with("Tcp:")).nth(1).unwrap();
    tcp.split_whitespace().nth(5).unwrap().parse().unwrap()
}
