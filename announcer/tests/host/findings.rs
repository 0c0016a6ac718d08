//! What the daemon watches of the findings of `dsr-setup doctor`: each fault is made for real, is a warning and a metric, and goes away.
//! The daemon runs as another user than root, with the capabilities of its unit alone.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use dsr_setup::doctor::code::{Code, Watcher};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Uid, chown};

use super::{Host, V4, V6};
use crate::common::{is_root, text};

const NOBODY: u32 = 65_534;

/// A healthy host with a daemon that has looked at it at least once.
fn watched() -> Option<Host> {
    if !is_root() {
        return None;
    }
    let mut host = Host::new();
    configure(&host, &[V4, V6]);
    for path in [host.dir.path().to_owned(), host.state_dir()] {
        chown(&path, Some(Uid::from_raw(NOBODY)), None).unwrap();
    }
    let (socket, state_dir) = (host.dir.path().join("socket"), host.state_dir());
    let capabilities = "-all,+net_admin,+sys_nice";
    let mut run: Command =
        host.netns.command(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    for kind in ["inh-caps", "ambient-caps", "bounding-set"] {
        run.arg(format!("--{kind}={capabilities}"));
    }
    run.args(["--", env!("CARGO_BIN_EXE_announcer"), "--socket"])
        .arg(socket)
        .arg("--state-dir")
        .arg(state_dir);
    run.args(["run", "--config"]);
    host.start_by(run);
    host.wait("looked at", |host| finding(host, "vip-missing").is_some());
    Some(host)
}

/// Writes the configuration, with metrics.
fn configure(host: &Host, vips: &[&str]) {
    host.configure(vips, "2s");
    let config = std::fs::read_to_string(host.config()).unwrap();
    std::fs::write(host.config(), config + "[metrics]\nlisten = \"127.0.0.1:9180\"\n").unwrap();
}

/// The figures of the metrics whose names begin so, by what is between the braces.
fn figures(host: &Host, metric: &str) -> BTreeMap<String, String> {
    let script = "exec 3<>/dev/tcp/127.0.0.1/9180; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let output = host.netns.command(&["bash", "-c", script]).output().unwrap();
    let figure = |line: &str| {
        let (label, value) = line.strip_prefix(metric)?.strip_prefix('{')?.split_once("} ")?;
        Some((label.to_owned(), value.to_owned()))
    };
    text(&output.stdout).lines().filter_map(figure).collect()
}

fn finding(host: &Host, code: &str) -> Option<String> {
    figures(host, "announcer_finding").get(&format!("code=\"{code}\"")).cloned()
}

/// Waits until the fault is a metric and, with these words, a warning.
fn finds(host: &Host, code: &str, words: &str) {
    host.wait(code, |host| finding(host, code).as_deref() == Some("1"));
    host.warns(words);
    let others: Vec<String> = figures(host, "announcer_finding")
        .into_iter()
        .filter(|(label, value)| value != "0" && *label != format!("code=\"{code}\""))
        .map(|(label, _)| label)
        .collect();
    assert_eq!(others, [""; 0], "besides {code}");
}

/// Waits until no warning and no finding is left.
fn is_healthy_again(host: &Host) {
    host.wait("healthy again", |host| figures(host, "announcer_finding").values().all(|value| value == "0"));
    host.warns_no_more();
}

/// Runs `body` on a thread in the namespace of the host.
fn inside<T: Send + 'static>(host: &Host, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", host.netns.pid())).unwrap();
    std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        body()
    })
}

/// A server that does not accept, with the smallest backlog; the kernel lets two connections wait.
fn server(host: &Host) -> socket2::Socket {
    let listen = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"[::]:80".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(1).unwrap();
        socket
    };
    inside(host, listen).join().unwrap()
}

fn connect(host: &Host) -> std::io::Result<TcpStream> {
    let vip = SocketAddr::new(V4.parse().unwrap(), 80);
    inside(host, move || TcpStream::connect_timeout(&vip, Duration::from_millis(300))).join().unwrap()
}

pub(crate) fn a_healthy_host_has_no_finding_and_no_warning() {
    let Some(host) = watched() else { return };
    let watched = Code::ALL.iter().filter(|code| code.watcher() == Watcher::Daemon);
    let want = watched.map(|code| (format!("code=\"{code}\""), "0".to_owned())).collect();
    assert_eq!(figures(&host, "announcer_finding"), want);
    assert_eq!(host.warnings(), [""; 0]);
    // Nobody listens: there is no queue.
    assert_eq!(figures(&host, "announcer_listener_queue"), BTreeMap::new());
}

pub(crate) fn a_full_accept_queue_is_found_and_its_length_is_a_figure() {
    let Some(host) = watched() else { return };
    let server = server(&host);
    let of_both = |value: &str| {
        [V4, V6]
            .map(|vip| (format!("vip=\"{vip}\""), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>()
    };
    host.wait("an empty queue", |host| figures(host, "announcer_listener_queue") == of_both("0"));
    assert_eq!(figures(&host, "announcer_listener_queue_limit"), of_both("1"));
    let clients = [connect(&host).unwrap(), connect(&host).unwrap()];
    finds(
        &host,
        "backlog-overflow",
        "backlog-overflow: 2 connections wait at [::]:80 until the server accepts them, and 1 may",
    );
    assert_eq!(figures(&host, "announcer_listener_queue"), of_both("2"));
    let accepted = [server.accept().unwrap(), server.accept().unwrap()];
    is_healthy_again(&host);
    assert_eq!(figures(&host, "announcer_listener_queue"), of_both("0"));
    drop((clients, accepted));

    // The queue is full for a moment, and the kernel drops a connection: this is a finding although the queue is empty again.
    let clients = [connect(&host).unwrap(), connect(&host).unwrap()];
    assert!(connect(&host).is_err());
    let accepted = [server.accept().unwrap(), server.accept().unwrap()];
    finds(&host, "backlog-overflow", "connections were dropped just now because an accept queue was full");
    drop((clients, accepted));
}

pub(crate) fn a_vip_that_a_reload_adds_is_watched_too() {
    let Some(host) = watched() else { return };
    let _server = server(&host);
    configure(&host, &[V4, V6, "192.0.2.81"]);
    assert!(host.announcer(&["reload"]).status().unwrap().success());
    host.wait("its queue", |host| {
        figures(host, "announcer_listener_queue").contains_key("vip=\"192.0.2.81\"")
    });
    is_healthy_again(&host);
}

pub(crate) fn a_missing_way_back_is_found() {
    let Some(host) = watched() else { return };
    host.netns.run("ip route del default");
    finds(&host, "no-return-route", "no-return-route: there is no way from 192.0.2.80 to 203.0.113.1");
    host.netns.run("ip route add default via 10.0.0.2");
    is_healthy_again(&host);
    host.netns.run("ip -6 route replace unreachable default metric 1");
    finds(&host, "no-return-route", "no-return-route: there is no way from 2001:db8::80 to ");
    host.netns.run("ip -6 route del unreachable default metric 1");
    is_healthy_again(&host);
}

pub(crate) fn a_vip_that_is_a_source_is_found() {
    let Some(host) = watched() else { return };
    host.netns.run(&format!("ip route replace default via 10.0.0.2 src {V4}"));
    finds(
        &host,
        "vip-is-source",
        "vip-is-source: the kernel chooses 192.0.2.80 as the source of packets to 203.0.113.1",
    );
    host.netns.run("ip route replace default via 10.0.0.2");
    is_healthy_again(&host);
}

/// The warnings of these are the keeper's.
pub(crate) fn arp_settings_and_a_vip_on_another_interface_are_found() {
    let Some(host) = watched() else { return };
    host.netns.set_sysctl("all/arp_ignore", 0);
    finds(&host, "arp-answered", "this host answers ARP for the VIPs on lo");
    assert_eq!(host.warnings().len(), 1, "{:?}", host.warnings());
    host.netns.set_sysctl("all/arp_ignore", 1);
    is_healthy_again(&host);
    host.netns.run(&format!("ip addr add {V4}/32 dev v0"));
    finds(&host, "vip-on-other-interface", "192.0.2.80/32 is also on v0");
    assert_eq!(host.warnings().len(), 1, "{:?}", host.warnings());
    host.netns.run(&format!("ip addr del {V4}/32 dev v0"));
    is_healthy_again(&host);
}

/// IPv6 is switched off on lo, so that the daemon cannot put the VIP there.
pub(crate) fn a_vip_that_cannot_be_put_on_lo_is_found() {
    let Some(host) = watched() else { return };
    let ipv6 = |value: u8| {
        let script = format!("echo {value} > /proc/sys/net/ipv6/conf/lo/disable_ipv6");
        assert!(host.netns.command(&["sh", "-c", &script]).status().unwrap().success());
    };
    ipv6(1);
    finds(&host, "vip-missing", "vip-missing: 2001:db8::80 is on no interface of this host");
    ipv6(0);
    is_healthy_again(&host);
}

/// The limit of the table is that of the whole kernel, so that the entries have to be real: packets to nobody, by UDP. They end after the
/// time that is set here.
pub(crate) fn a_full_table_of_connections_is_found() {
    let Some(host) = watched() else { return };
    let Ok(max) = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max") else {
        return until::skipped("this kernel has no conntrack");
    };
    let max: usize = max.trim().parse().unwrap();
    let rule = "table ip t { chain c { type filter hook output priority 0; ct state established accept; }; }";
    assert!(host.netns.command(&["nft", rule]).status().unwrap().success());
    let addresses = max / 60_000 + 1;
    for number in 1..=addresses {
        host.netns.run(&format!("ip addr add 198.51.100.{number}/32 dev v0"));
    }
    let fill = move || {
        for number in 1..=addresses {
            let socket = UdpSocket::bind(format!("198.51.100.{number}:0")).unwrap();
            for port in 1..=60_000_u16 {
                let _ = socket.send_to(b"x", ("10.0.0.1", port)); // a packet that is refused has its entry, too
            }
        }
    };
    inside(&host, fill).join().unwrap();
    finds(&host, "conntrack-full", "conntrack-full: the table of connections has ");
    assert!(host.netns.command(&["nft", "flush", "ruleset"]).status().unwrap().success());
    // An entry of UDP without an answer ends after 30 s.
    host.wait_for("healthy again", Duration::from_secs(90), |host| {
        finding(host, "conntrack-full").as_deref() == Some("0")
    });
    is_healthy_again(&host);
}
