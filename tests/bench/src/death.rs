//! A host dies, with BFD and without: every packet from and to it is dropped, while its links stay up.
//!
//! Touches the lab. The routers decide here: they wait for a detection time (BFD) or for the hold time. Each way to announce sends BFD
//! itself. The processes that send it run with SCHED_RR at both ends, as announcer's thread does by itself, and so do the threads of this
//! program that read the changes of the FIBs: otherwise the measurement would be of processes that wait for a processor.
//!
//! The moment of the death is that of the last packet that a router got from the host. The program that drops the packets is started some
//! 10 to 50 ms before that; each run prints it.

mod link;

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::Node;
use nix::unistd::Pid;
use scene::log::Mark;
use scene::wire::between;
use scene::{address, fib};
use until::until;

use crate::candidate::Candidate;
use crate::results::{AfterBfd, Death, RouterDeath, RouterSoftware};
use crate::stage::{FAST, FRONTEND, PATIENCE, Pace, Stage, VIP, ms};
use crate::turn::{KEEPALIVE, with_load};

/// The interval of BFD, in milliseconds, with a multiplier of 3.
pub(crate) const INTERVAL: u32 = 50;
/// The ways to announce, and whether BFD is configured.
pub(crate) const WAYS: [(Candidate, bool); 4] = [
    (Candidate::Announcer, true),
    (Candidate::Frr, true),
    (Candidate::AnycastHealthchecker, true),
    (Candidate::Announcer, false),
];
/// Longer than a router with BIRD refuses the frontend after a loss (`error wait time 1,3`). A candidate that connects earlier is refused;
/// FRR then tries again only after two minutes, which is not what is measured here.
const ERROR_WAIT: Duration = Duration::from_secs(4);
/// The last packet of the host may have been captured this much before the program that drops its packets was started, or after it has
/// ended: under 2,000 connections a second there is a packet each millisecond.
const TOLERANCE: Duration = Duration::from_millis(50);
/// The configuration of BIRD for this comparison, in the router's node.
const BIRD_CONF: &str = "run/death.conf";

/// Lets the host die `runs` times in each way, with each kind of router that is not among the `known` results so often. `keep` gets all
/// results after each kind.
///
/// # Errors
/// When a lab fails, or an event does not end as expected.
pub(crate) fn measure(
    runs: usize,
    known: Vec<Death>,
    keep: impl Fn(&[Death]) -> Result<()>,
) -> Result<Vec<Death>> {
    let mut all = known;
    for software in RouterSoftware::ALL {
        if all.iter().filter(|one| one.router == software).count() >= runs * WAYS.len() {
            continue;
        }
        let stage = Stage::up(software.topology())?;
        let ended = with(&stage, software, runs, &mut all);
        stage.down()?;
        keep(&all)?;
        ended?;
    }
    Ok(all)
}

fn with(stage: &Stage, software: RouterSoftware, runs: usize, all: &mut Vec<Death>) -> Result<()> {
    for run in 0..runs {
        for turn in 0..WAYS.len() {
            let (candidate, bfd) = WAYS[(run + turn) % WAYS.len()];
            let began = Instant::now();
            let died = die(stage, software, candidate, bfd, (run as f64 + fastrand::f64()) / runs as f64)
                .with_context(|| format!("{}, {}, BFD: {bfd}", software.title(), candidate.title()))?;
            println!(
                "{}, run {} of {runs}, {:28} BFD {:5} {:7.0} ms, {:5} lost  ({:.1} s)",
                software.title(),
                run + 1,
                candidate.title(),
                bfd,
                died.slower_ms(),
                died.lost,
                began.elapsed().as_secs_f64()
            );
            for (router, one) in stage.scene.routers.iter().zip(&died.routers) {
                println!("    {}: {one:.1?}", router.name);
            }
            all.push(died);
        }
    }
    Ok(())
}

/// One death. `phase` is its position between two KEEPALIVEs, 0 to 1.
fn die(
    stage: &Stage,
    software: RouterSoftware,
    candidate: Candidate,
    bfd: bool,
    phase: f64,
) -> Result<Death> {
    for (index, router) in stage.scene.routers.iter().enumerate() {
        let node = stage.scene.node(router.name)?;
        configure(node, software, address(index, FRONTEND, VIP), bfd)?;
        real_time(node)?;
    }
    let pace = Pace { bfd_ms: bfd.then_some(INTERVAL), ..FAST };
    stage.configure(candidate, &[VIP.to_owned()], pace)?;
    thread::sleep(ERROR_WAIT);
    stage.control(candidate, "start")?;
    stage.wait_hops(VIP, true)?;
    real_time(stage.node()?)?;
    for (index, router) in stage.scene.routers.iter().enumerate().filter(|_| bfd) {
        let frontend = address(index, FRONTEND, VIP);
        let node = stage.scene.node(router.name)?;
        until(PATIENCE, || {
            let said = sessions(node, software)?;
            ensure!(is_up(&said, frontend), "BFD with {frontend} is not up: {said}");
            anyhow::Ok(())
        })?;
    }
    thread::sleep(Duration::from_secs(1) + KEEPALIVE.mul_f64(phase));
    let captures = stage.scene.routers.iter().enumerate().map(|(index, router)| {
        link::listen(stage.scene.node(router.name)?, address(index, FRONTEND, VIP), VIP)
    });
    let captures = captures.collect::<Result<Vec<_>>>()?;
    let own = Pid::this();
    for thread in threads(own)?.into_iter().filter(|(_, name)| name == fib::THREAD) {
        chrt(&["-p"], thread.0)?;
    }
    let ((before, after, changed), lost) = with_load(stage, || {
        stage.wait_hops(VIP, true)?; // on a busy machine, checks may have failed under this load
        let (mark, before) = (Mark::now(), SystemTime::now());
        stage.node()?.must(&["nft", "-f", "/bench/silence"])?;
        let after = SystemTime::now();
        Ok((before, after, without_host(stage, mark)?))
    })?;
    let found = captures.into_iter().map(|capture| link::moments(&capture.end()??, bfd));
    let found = found.collect::<Result<Vec<_>>>()?;
    stage.clear(candidate)?;
    let died = found.iter().map(|moments| moments.last).max().context("no routers")?;
    ensure!(
        (before - TOLERANCE..=after + TOLERANCE).contains(&died),
        "the last packet of the host was captured {:.1} ms after the program that drops them was started, which took {:.1} ms",
        ms(between(before, died)),
        ms(between(before, after))
    );
    println!("    the last packet {:.1} ms after the start of nft", ms(between(before, died)));
    let routers = found.iter().zip(changed).map(|(moments, changed)| RouterDeath {
        fib_ms: ms(between(died, changed)),
        after_bfd: moments.last_bfd.zip(moments.down).map(|(last, down)| AfterBfd {
            down_ms: ms(between(last, down)),
            fib_ms: ms(between(last, changed)),
        }),
    });
    Ok(Death { router: software, candidate, bfd, routers: routers.collect(), lost })
}

/// Waits until no router has the host as a next hop of the VIP; returns when that was, router by router.
fn without_host(stage: &Stage, mark: Mark) -> Result<Vec<SystemTime>> {
    let vip: IpAddr = VIP.parse()?;
    let changed = stage.scene.routers.iter().enumerate().map(|(index, router)| {
        let hop = address(index, FRONTEND, VIP);
        let change = router
            .fib
            .wait(mark, PATIENCE, |change| change.prefix.addr() == vip && !change.next_hops.contains(&hop));
        Ok(change.with_context(|| format!("{}'s FIB did not follow", router.name))?.at)
    });
    changed.collect()
}

/// Configures BFD with the frontend at a router, or removes it.
fn configure(node: &Node, software: RouterSoftware, frontend: IpAddr, bfd: bool) -> Result<()> {
    match software {
        RouterSoftware::Frr => {
            let interval = INTERVAL.to_string();
            let neighbor = format!("neighbor {frontend} bfd");
            let mut lines = vec!["configure terminal".to_owned()];
            if bfd {
                lines.extend(["bfd", "profile BENCH", "detect-multiplier 3"].map(str::to_owned));
                lines.extend([
                    format!("receive-interval {interval}"),
                    format!("transmit-interval {interval}"),
                ]);
                lines.extend(["exit", "exit", "router bgp 65000"].map(str::to_owned));
                lines.extend([neighbor.clone(), format!("{neighbor} profile BENCH")]);
            } else {
                lines.extend(["router bgp 65000".to_owned(), format!("no {neighbor}")]);
            }
            let words = lines.iter().flat_map(|line| ["-c", line]);
            let command: Vec<&str> = std::iter::once("vtysh").chain(words).collect();
            node.exec(&command)?; // it refuses to remove what is not there
        }
        RouterSoftware::Bird => {
            let text = fs::read_to_string(node.root().join("etc/bird/bird.conf")).context("bird.conf")?;
            let head = "protocol bgp fe1 from FRONTEND {";
            ensure!(text.contains(head), "bird.conf has no fe1");
            let options = format!("{head}\n\tbfd {{ interval {INTERVAL} ms; multiplier 3; }};");
            let text = if bfd { text.replace(head, &options) + "\nprotocol bfd { }\n" } else { text };
            fs::write(node.root().join(BIRD_CONF), text).context(BIRD_CONF)?;
            let said = node.must(&["birdc", "configure", &format!("\"/{BIRD_CONF}\"")])?;
            ensure!(said.contains("econfigur"), "{said}");
        }
    }
    Ok(())
}

/// Gives the processes that send BFD real-time priority.
fn real_time(node: &Node) -> Result<()> {
    ["bfdd", "bird"]
        .into_iter()
        .flat_map(|name| node.pids_of(name))
        .try_for_each(|pid| chrt(&["-a", "-p"], pid))
}

/// Gives a process or thread the real-time scheduling of announcer's BFD thread.
pub(crate) fn chrt(options: &[&str], pid: Pid) -> Result<()> {
    let status = Command::new("chrt").arg("-r").args(options).args(["10", &pid.to_string()]).status();
    ensure!(status.context("chrt")?.success(), "chrt failed");
    Ok(())
}

/// The threads of a process, with their names.
fn threads(process: Pid) -> Result<Vec<(Pid, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        // One that has ended since has no name.
        if let (Some(number), Ok(name)) = (number, fs::read_to_string(path.join("comm"))) {
            found.push((Pid::from_raw(number), name.trim_end().to_owned()));
        }
    }
    Ok(found)
}

/// What a router says of its BFD sessions, one a line: the address, and whether it is up.
fn sessions(node: &Node, software: RouterSoftware) -> Result<String> {
    Ok(match software {
        RouterSoftware::Frr => node.must(&["vtysh", "-c", "show bfd peers brief"])?,
        RouterSoftware::Bird => node.must(&["birdc", "show", "bfd", "sessions"])?,
    })
}

/// Whether the session with a frontend is up in such lines.
fn is_up(said: &str, frontend: IpAddr) -> bool {
    let frontend = frontend.to_string();
    said.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&frontend.as_str()) && words.iter().any(|word| word.eq_ignore_ascii_case("up"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_up_if_its_line_says_so() {
        let frr = "Session count: 1\nSessionId  LocalAddress  PeerAddress  Status\n\
                   3          10.1.1.0      10.1.1.1     up\n4          10.1.2.0      10.1.2.1     down\n";
        let bird = "bfd1:\nIP address  Interface  State  Since  Interval  Timeout\n\
                    10.1.1.1    eth2       Up     12:00  0.050     0.150\n10.1.2.1    eth3       Down   12:00  1.000     0.000\n";
        for said in [frr, bird] {
            let up = |ip: [u8; 4]| is_up(said, IpAddr::from(ip));
            assert_eq!((up([10, 1, 1, 1]), up([10, 1, 2, 1]), up([10, 1, 3, 1])), (true, false, false));
        }
    }
}
