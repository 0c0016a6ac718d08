//! The cost of the whole daemon, which probes services every second: over HTTP and HTTPS, with `reuse` and without, and beside a loop
//! that only sends the requests. `make bench-probes`, or `cargo bench -p announcer --bench probes -- ROUNDS`. It prints a table for
//! docs/benchmarks.md, and does not judge it.
//!
//! Each service has a VIP, and each probe comes from that VIP. The server, the loop and the daemon are separate processes in a network
//! namespace that this process makes, which needs root. The word `page` writes the table into docs/benchmarks.md. The loop uses reqwest, with a client for each VIP, a new connection for each
//! request, and one TLS configuration for all of them. All rows are measured in turns, in each round once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_rustls::TlsAcceptor;

const INTERVAL: Duration = Duration::from_secs(1);
/// The time until all VIPs are announced and the start has no more effect.
const WARM: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(15);
/// How often each row is measured, unless the command line says another number.
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("serve") => runtime.block_on(serve(Path::new(&arguments[2]))),
        Some("ask") => runtime.block_on(ask(arguments[2].parse().unwrap())),
        // cargo adds `--bench`.
        Some(_) | None => {
            let rounds = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
            compare(rounds, arguments.iter().any(|word| word == "page"));
        }
    }
}

/// The web server answers 200 to every request, at port 80, and at port 443 with the certificate of the folder. It keeps connections,
/// and writes into the folder how many requests it has answered.
async fn serve(folder: &Path) {
    let chain = vec![CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(accept(80, |client| async move { Ok(client) }));
    tokio::spawn(accept(443, move |client| {
        let tls = tls.clone();
        async move { tls.accept(client).await }
    }));
    let new = folder.join("requests.new");
    loop {
        fs::write(&new, ANSWERED.load(Ordering::Relaxed).to_string()).unwrap();
        fs::rename(&new, folder.join("requests")).unwrap();
        sleep(Duration::from_millis(20)).await;
    }
}

static ANSWERED: AtomicU64 = AtomicU64::new(0);

async fn accept<S, F>(port: u16, open: impl Fn(TcpStream) -> F + Clone + Send + 'static)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = std::io::Result<S>> + Send + 'static,
{
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
    let listener = socket.listen(4096).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        let open = open.clone();
        tokio::spawn(async move {
            let Ok(mut client) = open(client).await else { return };
            let mut asked = [0; 1024];
            while client.read(&mut asked).await.is_ok_and(|octets| octets > 0) {
                ANSWERED.fetch_add(1, Ordering::Relaxed);
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").await;
                let _ = client.flush().await;
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

/// What is measured.
#[derive(Clone, Copy)]
enum Row {
    /// The loop that only sends the requests.
    Loop,
    /// The daemon: the scheme, the lines of each check, and the listener watch.
    Daemon(&'static str, &'static str, &'static str),
}

const ROWS: [(&str, Row); 6] = [
    ("http, asked by reqwest alone", Row::Loop),
    ("http, no listener watch", Row::Daemon("http", "", "0")),
    ("http", Row::Daemon("http", "", "5ms")),
    ("http, `reuse`", Row::Daemon("http", "reuse = true", "5ms")),
    ("https", Row::Daemon("https", "", "5ms")),
    ("https, `reuse`", Row::Daemon("https", "reuse = true", "5ms")),
];

fn compare(rounds: usize, write: bool) {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root, for a network namespace");
    let folder = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    ip(
        "link set lo up\nlink add v0 type veth peer name v1\naddr add 10.99.0.2/24 dev v0\nlink set v0 up\nlink set v1 up\n",
    );
    let identity = rcgen::generate_simple_self_signed(["*.example.com".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), identity.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), identity.signing_key.serialize_pem()).unwrap();
    let mut server = Command::new(&this).arg("serve").arg(folder.path()).spawn().unwrap();
    let mut table = "| services | | probes a second | connections a second | % of a core | user + system | RSS, MiB | PSS, MiB |\n\
                     |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut there = 0;
    for services in [100, 1000] {
        ip(&(there..services)
            .map(|index| format!("addr add {}/32 dev lo\n", vip(index)))
            .collect::<String>());
        there = services;
        let mut costs: [Vec<Cost>; ROWS.len()] = std::array::from_fn(|_| Vec::new());
        for _ in 0..rounds {
            for ((_, row), costs) in ROWS.iter().zip(&mut costs) {
                costs.push(row.measure(folder.path(), services, &this));
            }
        }
        for ((title, _), costs) in ROWS.iter().zip(&costs) {
            table += &line(services, title, costs);
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    println!("{table}");
    if write {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
        let page = fs::read_to_string(&kept).unwrap();
        fs::write(&kept, with_section(&page, &section(rounds, &table))).unwrap();
    }
}

const HEADING: &str = "\n## New and kept connections\n";

/// The section of docs/benchmarks.md.
fn section(rounds: usize, table: &str) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |name| name.trim_start_matches([' ', '\t', ':']));
    format!(
        "{HEADING}\nThe whole daemon with so many services, a check each, every second (`make bench-probes`): over HTTP and HTTPS, with `reuse` \
         and without. One loop of reqwest, which only sends the requests over new connections, is beside it. The rows are measured in turns; \
         medians of {rounds} rounds, with minimum and maximum. The kernel's memory for the connections is not counted. Measured on: {cores} cores \
         ({model}); Linux {}.\n\n{table}",
        release.trim(),
    )
}

/// The page with another section, which is before that about memory if there was none.
fn with_section(page: &str, section: &str) -> String {
    let start = [HEADING, "\n## Memory and CPU\n"]
        .iter()
        .find_map(|heading| page.find(heading))
        .unwrap_or(page.len());
    let rest = &page[start..];
    let rest = rest.strip_prefix(HEADING).map_or(rest, |old| &old[old.find("\n## ").unwrap_or(old.len())..]);
    format!("{}{section}{rest}", &page[..start])
}

impl Row {
    fn measure(self, folder: &Path, services: usize, this: &Path) -> Cost {
        match self {
            Row::Loop => measure(Command::new(this).args(["ask", &services.to_string()]), folder),
            Row::Daemon(scheme, lines, watch) => {
                configure(folder, services, scheme, lines, watch);
                let mut daemon = Command::new(env!("CARGO_BIN_EXE_announcer"));
                daemon.arg("--socket").arg(folder.join("socket")).arg("--state-dir").arg(folder);
                daemon.arg("run").arg("--config").arg(folder.join("announcer.toml")).stderr(Stdio::null());
                measure(&mut daemon, folder)
            }
        }
    }
}

/// One row: medians, and the least and the most of a core.
fn line(services: usize, title: &str, costs: &[Cost]) -> String {
    let sorted = |value: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |value: fn(&Cost) -> f64| {
        let values = sorted(value);
        values[values.len() / 2]
    };
    let core = sorted(|cost| cost.user + cost.system);
    format!(
        "| {services} | {title} | {:.0} | {:.0} | {:.1} ({:.1} to {:.1}) | {:.1} + {:.1} | {:.1} | {:.1} |\n",
        median(|cost| cost.requests),
        median(|cost| cost.connections),
        core[core.len() / 2],
        core[0],
        core[core.len() - 1],
        median(|cost| cost.user),
        median(|cost| cost.system),
        median(|cost| cost.rss),
        median(|cost| cost.pss),
    )
}

fn ip(commands: &str) {
    let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    batch.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(batch.wait().unwrap().success());
}

fn configure(folder: &Path, services: usize, scheme: &str, lines: &str, watch: &str) {
    let mut text = format!(
        "[bgp]\nasn = 65001\nrouter_id = \"10.0.1.11\"\n[health]\nlistener_watch = \"{watch}\"\n\
         [[peer]]\nname = \"r1\"\naddress = \"10.99.0.1\"\nasn = 65000\n\
         [defaults.check]\ninterval = \"1s\"\nverify = \"require\"\nca_file = \"{}/cert.pem\"\n{lines}\n",
        folder.display()
    );
    for index in 0..services {
        write!(
            text,
            "[[service]]\nname = \"s{index}\"\nvips = [\"{}\"]\n\
             [[service.check]]\nhttp = \"{scheme}://www{index}.example.com/healthz\"\n",
            vip(index)
        )
        .unwrap();
    }
    fs::write(folder.join("announcer.toml"), text).unwrap();
}

/// The share of a core that a process used, in percent, its memory, in MB, and its requests and connections per second.
struct Cost {
    user: f64,
    system: f64,
    rss: f64,
    pss: f64,
    requests: f64,
    connections: f64,
}

/// Starts the process, measures it after `WARM`, and ends it.
fn measure(command: &mut Command, folder: &Path) -> Cost {
    let mut child = command.spawn().unwrap();
    std::thread::sleep(WARM);
    let (began, used, made, asked) = (Instant::now(), busy(&child), connections(), requests(folder));
    std::thread::sleep(MEASURED);
    let (seconds, now) = (began.elapsed().as_secs_f64(), busy(&child));
    let (made, asked) = (connections() - made, requests(folder) - asked);
    let (rss, pss) = (memory(&child, "Rss:"), memory(&child, "Pss:"));
    child.kill().unwrap();
    child.wait().unwrap();
    Cost {
        user: (now.0 - used.0) / seconds * 100.0,
        system: (now.1 - used.1) / seconds * 100.0,
        rss,
        pss,
        requests: asked / seconds,
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

/// The process's memory, in MB: its resident set (RSS), or its share of it (PSS).
fn memory(child: &Child, which: &str) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id())).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The number of requests that the server has answered so far.
fn requests(folder: &Path) -> f64 {
    fs::read_to_string(folder.join("requests")).unwrap().parse().unwrap()
}

/// The number of connections opened in this namespace so far (tcpActiveOpens of RFC 4022).
fn connections() -> f64 {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let tcp = snmp.lines().filter(|line| line.starts_with("Tcp:")).nth(1).unwrap();
    tcp.split_whitespace().nth(5).unwrap().parse().unwrap()
}
