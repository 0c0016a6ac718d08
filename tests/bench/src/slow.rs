//! A frontend is drained under long requests: 2,000 new ones a second, each answered after 1.5 s.
//!
//! Touches the lab. First with the routers' plain ECMP, which sends a part of all open connections to another frontend when the number
//! of next hops changes. Then with a router that hashes resiliently: a static route to a resilient group of next hops
//! (`ip-nexthop(8)`), whose operator gives the drained frontend the least weight after the withdraw, and removes it when `drain`
//! has returned. BGP says there when to act, and does not choose the next hop.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::load::{Counts, Plan};
use scene::{FRONTENDS, address};

use crate::candidate::Candidate;
use crate::stage::{CALM, FRONTEND, PATIENCE, Stage, VIP, copy, within_bench};
use crate::turn::RATE;

/// How long the application needs for an answer, as `tests/bench/slow` says; only for the page.
const ANSWER: &str = "1.5 s";
/// Long enough that requests are open on every frontend, and as many end as begin.
const BEFORE: Duration = Duration::from_secs(5);
/// Requests go on for so long after the web server has stopped.
const AFTER: Duration = Duration::from_secs(3);
/// A request that takes longer than this is lost.
const PATIENT: Duration = Duration::from_secs(8);
/// The candidates of this comparison.
const PLAYERS: [Candidate; 2] = [Candidate::Announcer, Candidate::Exabgp];
/// Few flows share a bucket. A bucket without packets for 2 s may be given away: a request is silent for 1.5 s.
const BUCKETS: &str = "type resilient buckets 8192 idle_timer 2";
/// A frontend is so many members of the group. A weight is from 1 to 256 in the `ip` of the lab, and of 8,192 buckets a single member
/// with the least weight would keep 16 instead of none.
const MEMBERS: u32 = 40;
const WHOLE: u32 = 256;
const LEAST: u32 = 1;

/// How the routers choose a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hashing {
    Plain,
    Resilient,
}

/// One drain.
struct Drained {
    candidate: Candidate,
    hashing: Hashing,
    sent: u64,
    counts: Counts,
    took: Duration,
}

/// Drains the frontend under each way of hashing, and returns the table.
///
/// # Errors
/// When the lab fails, or a candidate does not get as far as a drain.
pub(crate) fn compare(stage: &mut Stage, runs: usize) -> Result<String> {
    for frontend in FRONTENDS {
        let node = stage.scene.node(frontend)?;
        copy(&within_bench("slow"), &node.root().join("bench/slow"))?;
        node.must(&["/usr/sbin/haproxy", "-D", "-f", "/bench/slow/haproxy.cfg"])?;
    }
    stage.keep_what_runs()?;
    let mut all = Vec::new();
    for _ in 0..runs {
        for candidate in PLAYERS {
            all.push(drained(stage, candidate, Hashing::Plain)?);
        }
        all.push(drained(stage, Candidate::Announcer, Hashing::Resilient)?);
    }
    Ok(table(&all))
}

fn drained(stage: &Stage, candidate: Candidate, hashing: Hashing) -> Result<Drained> {
    stage.configure(candidate, &[VIP.to_owned()], CALM)?;
    stage.control(candidate, "start")?;
    stage.wait_hops(VIP, true)?;
    if hashing == Hashing::Resilient {
        groups(stage, Group::Made)?;
    }
    let mut plan = Plan::new(&format!("http://{VIP}/slow"), RATE, Duration::from_secs(600))
        .map_err(anyhow::Error::msg)?;
    plan.patience = PATIENT;
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let load = stage.scene.load_plan(plan, move |_| {
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    thread::sleep(BEFORE);
    let result = drain(stage, candidate, hashing);
    thread::sleep(AFTER);
    over.store(true, Ordering::Relaxed);
    let report = load.report()?;
    let took = result?;
    if hashing == Hashing::Resilient {
        groups(stage, Group::Gone)?;
    }
    stage.clear(candidate)?;
    ensure!(report.total.answered() > 0, "nothing answered");
    let done = Drained { candidate, hashing, sent: report.sent, counts: report.total, took };
    print!("{}", line(&done));
    Ok(done)
}

/// Drains, and stops the web server when the command has returned. Returns how long the command took.
fn drain(stage: &Stage, candidate: Candidate, hashing: Hashing) -> Result<Duration> {
    let mark = stage.scene.mark();
    let began = Instant::now();
    let returned = thread::scope(|scope| {
        let command = scope.spawn(|| stage.control(candidate, "drain"));
        if hashing == Hashing::Resilient {
            let vip = VIP.parse()?;
            for (index, router) in stage.scene.routers.iter().enumerate() {
                let hop = address(index, FRONTEND, VIP);
                router
                    .wire
                    .wait(mark.wire(index), PATIENCE, |message| message.from == hop && message.withdraws(vip))
                    .with_context(|| format!("no withdraw at {}", router.name))?;
            }
            groups(stage, Group::Drained)?;
        }
        command.join().map_err(|_| anyhow::anyhow!("the command's thread panicked"))?
    });
    returned?;
    let took = began.elapsed();
    if hashing == Hashing::Resilient {
        groups(stage, Group::Left)?;
    }
    stage.node()?.must(&["/lab/web", "stop"])?;
    Ok(took)
}

/// What the routers' operator does with the resilient groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Made,
    Drained,
    Left,
    Gone,
}

fn groups(stage: &Stage, step: Group) -> Result<()> {
    let frontends = || FRONTENDS.into_iter().zip(1..);
    let group = |weight: u32| {
        let mut members = Vec::new();
        for (frontend, number) in frontends() {
            let weight = if frontend == FRONTEND { weight } else { WHOLE };
            if weight > 0 {
                members.extend((0..MEMBERS).map(|member| format!("{},{weight}", number * 1000 + member)));
            }
        }
        format!("id 1 group {} {BUCKETS}", members.join("/"))
    };
    for (index, router) in stage.scene.routers.iter().enumerate() {
        let mut script = String::from("set -e\n");
        match step {
            Group::Made => {
                for (frontend, number) in frontends() {
                    let hop = address(index, frontend, VIP);
                    for member in 0..MEMBERS {
                        let (id, link) = (number * 1000 + member, number + 1);
                        writeln!(script, "ip nexthop add id {id} via {hop} dev eth{link}")?;
                    }
                }
                writeln!(script, "ip nexthop add {}", group(WHOLE))?;
                writeln!(script, "ip route add {VIP}/32 nhid 1")?;
            }
            Group::Drained => writeln!(script, "ip nexthop replace {}", group(LEAST))?,
            Group::Left => writeln!(script, "ip nexthop replace {}", group(0))?,
            Group::Gone => {
                writeln!(script, "ip route del {VIP}/32 nhid 1; ip nexthop del id 1")?;
                for (_, number) in frontends() {
                    for member in 0..MEMBERS {
                        writeln!(script, "ip nexthop del id {}", number * 1000 + member)?;
                    }
                }
            }
        }
        stage.scene.node(router.name)?.must(&["/bin/sh", "-c", &script])?;
    }
    Ok(())
}

fn line(drained: &Drained) -> String {
    let counts = &drained.counts;
    let hashing = match drained.hashing {
        Hashing::Plain => "plain ECMP",
        Hashing::Resilient => "resilient",
    };
    format!(
        "| {} | {hashing} | {} | {} | {} | {} | {:.1} s |\n",
        drained.candidate.title(),
        drained.sent,
        counts.lost(),
        counts.reset,
        counts.refused,
        drained.took.as_secs_f64()
    )
}

fn table(all: &[Drained]) -> String {
    let mut page = format!(
        "One of three frontends is drained, and its web server ended gracefully when the command has returned. {RATE} requests a second, \
         each answered after {ANSWER}.\n\n\
         | drained by | routers | requests | lost | of these reset | refused | the command took |\n|---|---|---|---|---|---|---|\n"
    );
    for drained in all {
        page += &line(drained);
    }
    page
}
