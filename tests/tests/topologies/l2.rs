//! The topology `l2`: a director forwards by MAC address, to frontends that `dsr-setup` alone has prepared.
//!
//! Touches the lab.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Lab, Node};
use nix::sys::signal::Signal;
use scene::{PATIENCE, VIPS, doctor_finds_nothing, topology};
use until::until;

use super::{ask, ask_both};

/// As in `lab director`: the time from one check of a host to the next, and the time limit of a check.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(200);
/// What a busy machine may need beyond that.
const SLACK: Duration = Duration::from_secs(1);
/// Requests to each VIP.
const REQUESTS: usize = 300;

pub(crate) fn play() -> Result<()> {
    let lab = Lab::up(&topology("l2"))?;
    let frontends = ["fe1", "fe2", "fe3"];
    served_by(&lab, &frontends)?;
    doctor_finds_nothing(&[lab.node("fe1")?, lab.node("fe2")?, lab.node("fe3")?])?;
    one_way(&lab)?;
    icmp_errors(&lab)?;
    arp(&lab)?;
    for (fault, signal) in [("crash", Signal::SIGKILL), ("hang", Signal::SIGSTOP)] {
        dead(&lab, fault, signal)?;
        served_by(&lab, &["fe2", "fe3"])?;
        alive(&lab, "fe1", signal)?;
        served_by(&lab, &frontends)?;
    }

    for frontend in frontends {
        ensure!(lab.node(frontend)?.kill("nginx", Signal::SIGKILL) > 0, "no server was killed");
    }
    for vip in VIPS {
        until_log(&lab, vip, "forwarded to the fallback ")?;
    }
    served_by(&lab, &["sorry"])?;
    ensure!(lab.node("sorry")?.kill("nginx", Signal::SIGKILL) > 0, "no server was killed");
    for vip in VIPS {
        until_log(&lab, vip, "not forwarded, no host is healthy")?;
        let counts = ask(&lab, vip, 30)?.total;
        ensure!(counts.refused == 30, "{vip}, without a host: {counts:?}");
    }
    for node in ["sorry", "fe1", "fe2", "fe3"] {
        lab.node(node)?.must(&["/lab/web", "start"])?;
    }
    for vip in VIPS {
        until_log(&lab, vip, "13")?; // all three: the list ends with fe3
    }
    served_by(&lab, &frontends)?;

    let director = lab.node("director")?;
    director.must(&[
        "start-stop-daemon",
        "--stop",
        "--retry",
        "TERM/10",
        "--pidfile",
        "/run/director.pid",
    ])?;
    let left = director.must(&["nft", "list", "ruleset"])?;
    ensure!(left.trim().is_empty(), "the director has left {left}");
    lab.down()?;
    Ok(())
}

/// Each VIP is answered by these nodes, and no request is lost.
fn served_by(lab: &Lab, names: &[&str]) -> Result<()> {
    for (vip, report) in VIPS.iter().zip(ask_both(lab, REQUESTS)?) {
        let counts = report.total;
        let heard: Vec<&str> = counts.ok.keys().map(String::as_str).collect();
        ensure!(counts.lost() == 0 && heard == names, "{vip}, wanted from {names:?}: {counts:?}");
    }
    Ok(())
}

/// A tcpdump that runs in a node until it is read.
struct Capture {
    tcpdump: Child,
    /// What it prints. A thread reads all the time: tcpdump would lose packets while nobody reads.
    lines: Receiver<String>,
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill(); // if this fails, it has ended already
        let _ = self.tcpdump.wait();
    }
}

impl Capture {
    /// Returns when it captures. `filter` is that of pcap-filter(7).
    fn begin(node: &Node, interface: &str, filter: &str) -> Result<Capture> {
        let words = ["tcpdump", "-lnei", interface, "--immediate-mode", "-s", "128", filter];
        let mut tcpdump = node.spawn(&words)?;
        let said = lines_of(tcpdump.stderr.take().context("no standard error")?);
        let lines = lines_of(tcpdump.stdout.take().context("no standard output")?);
        let capture = Capture { tcpdump, lines };
        loop {
            let line = said.recv_timeout(PATIENCE).with_context(|| format!("no capture of `{filter}`"))?;
            if line.starts_with("listening on") {
                return Ok(capture);
            }
        }
    }

    /// Everything that was captured, one packet a line, as soon as `done` says that it is enough.
    fn lines(self, done: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        until(PATIENCE, || {
            lines.extend(self.lines.try_iter());
            ensure!(done(&lines), "not all was captured: {} lines, the last {:?}", lines.len(), lines.last());
            Ok(())
        })?;
        // An answer would have been captured by now, but perhaps not printed.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(300)) {
            lines.push(line);
        }
        Ok(lines)
    }
}

/// The lines of a program's output, as they come.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The director sees each packet of a client twice, when it arrives and when it is forwarded, and no answer at all.
fn one_way(lab: &Lab) -> Result<()> {
    let director = lab.node("director")?;
    for vip in VIPS {
        let capture = Capture::begin(director, "eth1", &format!("host {vip} and tcp"))?;
        let counts = ask(lab, vip, REQUESTS)?.total;
        ensure!(counts.lost() == 0, "{vip}: {counts:?}");
        let (to, from) = (format!(" > {vip}.80: "), format!(" {vip}.80 > "));
        // A connection has at least SYN, ACK and the request.
        let forwarded = |lines: &[String]| lines.iter().filter(|line| line.contains(&to)).count();
        let lines = capture.lines(|lines| forwarded(lines) >= REQUESTS * 3 * 2)?;
        let answers: Vec<&String> = lines.iter().filter(|line| line.contains(&from)).collect();
        println!(
            "  {vip}: the director saw {} packets to it and {} from it",
            forwarded(&lines),
            answers.len()
        );
        ensure!(answers.is_empty(), "{vip}: the director saw an answer: {:?}", answers.first());
    }
    Ok(())
}

/// Sends a datagram from a VIP to a closed port of the client, and prints `refused` when the ICMP error about it arrives.
const CLOSED_PORT: &str = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.bind((sys.argv[1], 0))
    client.connect((sys.argv[2], 9))
    client.settimeout(5)
    client.send(b'x')
    try:
        client.recv(1)
    except ConnectionRefusedError:
        print('refused')
";

/// An ICMP error about a packet from a VIP reaches the frontend that has sent the packet, whichever it is.
fn icmp_errors(lab: &Lab) -> Result<()> {
    for frontend in ["fe1", "fe2", "fe3"] {
        for (vip, client) in VIPS.iter().zip(["10.9.0.1", "2001:db8:9::1"]) {
            let said = lab.node(frontend)?.must(&["python3", "-c", CLOSED_PORT, vip, client])?;
            ensure!(said.trim() == "refused", "{frontend}: no ICMP error about a packet from {vip}: {said}");
        }
    }
    Ok(())
}

/// The MAC address of a node in the LAN.
fn mac(node: &Node) -> Result<String> {
    Ok(node.must(&["cat", "/sys/class/net/eth1/address"])?.trim().to_owned())
}

/// The hosts that answer when r1 asks the LAN who has a VIP, by their MAC addresses.
fn answering(lab: &Lab, vip: &str) -> Result<BTreeSet<String>> {
    let router = lab.node("r1")?;
    // Replies of ARP, and neighbour advertisements (type 136).
    let filter = if vip.contains(':') { "icmp6 and ip6[40] == 136" } else { "arp and arp[6:2] == 2" };
    let capture = Capture::begin(router, "eth2", filter)?;
    router.exec(&["ip", "neighbour", "del", vip, "dev", "eth2"])?; // it may not be there
    router.must(&["ping", "-c", "3", "-i", "0.3", "-W", "2", vip])?;
    let fits =
        |line: &&String| line.contains(&format!(" {vip} is-at ")) || line.contains(&format!("tgt is {vip}"));
    let lines = capture.lines(|lines| lines.iter().any(|line| fits(&line)))?;
    let sender = |line: &String| line.split_whitespace().nth(1).map(str::to_owned); // after the time
    Ok(lines.iter().filter(fits).filter_map(sender).collect())
}

/// With the kernel's defaults, a frontend answers ARP for the VIP on its lo. After `dsr-setup apply`, only the director does.
fn arp(lab: &Lab) -> Result<()> {
    let (director, frontend) = (lab.node("director")?, lab.node("fe1")?);
    let right = BTreeSet::from([mac(director)?]);
    for vip in VIPS {
        let found = answering(lab, vip)?;
        ensure!(found == right, "{vip}: {found:?} answer, and the director is {right:?}");
    }
    frontend.must(&["dsr-setup", "remove"])?;
    frontend.must(&["ip", "address", "add", "192.0.2.80/32", "dev", "lo"])?;
    let found = answering(lab, VIPS[0])?;
    println!("  ARP with the kernel's defaults on fe1: {} hosts answer", found.len());
    ensure!(
        found == BTreeSet::from([mac(director)?, mac(frontend)?]),
        "with the kernel's defaults: {found:?}"
    );
    frontend.must(&["ip", "address", "del", "192.0.2.80/32", "dev", "lo"])?;
    frontend.must(&["dsr-setup", "apply"])?;
    let found = answering(lab, VIPS[0])?;
    ensure!(found == right, "after apply: {found:?}");
    // r1 may have learnt the wrong one.
    lab.node("r1")?.exec(&["ip", "neighbour", "flush", "dev", "eth2"])?;
    Ok(())
}

/// A server of fe1 that does not answer any more is out of the director's rules within its check interval.
fn dead(lab: &Lab, fault: &str, signal: Signal) -> Result<()> {
    let (director, frontend) = (lab.node("director")?, lab.node("fe1")?);
    let mac = mac(frontend)?;
    let at = Instant::now();
    ensure!(frontend.kill("nginx", signal) > 0, "no server got the signal");
    until(PATIENCE, || {
        let rules = director.must(&["nft", "list", "table", "netdev", "director"])?;
        ensure!(!rules.contains(&mac), "fe1 ({mac}) is still in the rules");
        Ok(())
    })?;
    let took = at.elapsed();
    println!("  {fault}: out of the rules after {took:.1?}");
    ensure!(took <= INTERVAL + TIMEOUT + SLACK, "{fault}: out of the rules after {took:.1?} only");
    Ok(())
}

/// Lets the server of a frontend serve again, after this signal.
fn alive(lab: &Lab, name: &str, signal: Signal) -> Result<()> {
    let verb = if signal == Signal::SIGSTOP { "resume" } else { "start" };
    lab.node(name)?.must(&["/lab/web", verb])?;
    for vip in VIPS {
        until_log(lab, vip, "11, ")?; // fe1 is the first of the list again
    }
    Ok(())
}

/// Waits until the last sentence of the director about a VIP has these words.
fn until_log(lab: &Lab, vip: &str, words: &str) -> Result<()> {
    let path = lab.node("director")?.root().join("var/log/director.log");
    until(PATIENCE, || {
        let mut log = String::new();
        std::fs::File::open(&path)?.read_to_string(&mut log)?;
        let last = log.lines().rfind(|line| line.starts_with(&format!("{vip}: "))).unwrap_or_default();
        ensure!(last.contains(words), "the director says `{last}`, without `{words}`");
        Ok(())
    })
}
