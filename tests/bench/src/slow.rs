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
use scene::log::Mark;
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
/// The largest weight that the `ip` of the lab knows, and the least.
const WHOLE: u32 = 256;
const LEAST: u32 = 1;
/// The next hops of each of the other two frontends while one is drained, all to the same address. The kernel rounds the share of a next
/// hop to whole buckets: 1 of 2 * 40 * 256 is less than half of one of 8,192 buckets, so that the drained frontend gets no new bucket,
/// and keeps one as long as it is in use. With weights of 16 bits (Linux 6.12) one next hop each is enough.
const HOPS: u32 = 40;
/// The numbers of the next hops of one run are below the next run's.
const NUMBERS: usize = 1000;

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
    for first in (1000..).step_by(NUMBERS).take(runs) {
        for candidate in PLAYERS {
            all.push(drained(stage, first, candidate, Hashing::Plain)?);
        }
        all.push(drained(stage, first, Candidate::Announcer, Hashing::Resilient)?);
    }
    Ok(table(&all))
}

fn drained(stage: &Stage, first: u32, candidate: Candidate, hashing: Hashing) -> Result<Drained> {
    stage.configure(candidate, &[VIP.to_owned()], CALM)?;
    stage.control(candidate, "start")?;
    stage.wait_hops(VIP, true)?;
    if hashing == Hashing::Resilient {
        groups(stage, first, Group::Made)?;
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
    let result = drain(stage, first, candidate, hashing);
    thread::sleep(AFTER);
    over.store(true, Ordering::Relaxed);
    let report = load.report()?;
    let took = result?;
    if hashing == Hashing::Resilient {
        groups(stage, first, Group::Gone)?;
    }
    stage.clear(candidate)?;
    ensure!(report.total.answered() > 0, "nothing answered");
    let done = Drained { candidate, hashing, sent: report.sent, counts: report.total, took };
    print!("{}", line(&done));
    Ok(done)
}

/// Drains, and stops the web server when the command has returned. Returns how long the command took.
fn drain(stage: &Stage, first: u32, candidate: Candidate, hashing: Hashing) -> Result<Duration> {
    let mark = Mark::now();
    let began = Instant::now();
    let returned = thread::scope(|scope| {
        let command = scope.spawn(|| match hashing {
            Hashing::Plain => stage.control(candidate, "drain"),
            Hashing::Resilient => Ok(stage.node()?.must(&["announcer", "drain", "--all", "--wait"])?),
        });
        if hashing == Hashing::Resilient {
            let vip = VIP.parse()?;
            for (index, router) in stage.scene.routers.iter().enumerate() {
                let hop = address(index, FRONTEND, VIP);
                router
                    .wire
                    .wait(mark, PATIENCE, |message| message.from == hop && message.withdraws(vip))
                    .with_context(|| format!("no withdraw at {}", router.name))?;
            }
            groups(stage, first, Group::Drained)?;
        }
        command.join().map_err(|_| anyhow::anyhow!("the command's thread panicked"))?
    });
    returned?;
    let took = began.elapsed();
    if hashing == Hashing::Resilient {
        groups(stage, first, Group::Left)?;
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

/// `first`: the number of the group. FRR adopts what it sees in the kernel, so each run has numbers of its own.
fn groups(stage: &Stage, first: u32, step: Group) -> Result<()> {
    // The next hops of each frontend; those of the drained one come first, so that its share is rounded by itself.
    let frontends = || FRONTENDS.into_iter().zip((first..).step_by(100).skip(1));
    let numbers = |number: u32, count: u32| number..number + count;
    let group = |members: Vec<String>| {
        format!("ip nexthop replace id {first} group {} {BUCKETS}\n", members.join("/"))
    };
    let others = || {
        let others = frontends().filter(|(frontend, _)| *frontend != FRONTEND);
        others.flat_map(|(_, number)| numbers(number, HOPS)).map(|number| format!("{number},{WHOLE}"))
    };
    for (index, router) in stage.scene.routers.iter().enumerate() {
        let mut script = String::from("set -e\n");
        let mut hops = |wanted: &dyn Fn(&str) -> std::ops::Range<u32>| -> std::fmt::Result {
            for ((frontend, number), link) in frontends().zip(2..) {
                let hop = address(index, frontend, VIP);
                for skip in wanted(frontend) {
                    writeln!(script, "ip nexthop replace id {} via {hop} dev eth{link}", number + skip)?;
                }
            }
            Ok(())
        };
        match step {
            Group::Made => {
                hops(&|_| 0..1)?;
                script += &group(frontends().map(|(_, number)| format!("{number},{WHOLE}")).collect());
                writeln!(script, "ip route replace {VIP}/32 nhid {first} metric 1")?; // preferred to that of FRR
            }
            Group::Drained => {
                hops(&|frontend| if frontend == FRONTEND { 0..0 } else { 1..HOPS })?;
                let drained = frontends().filter(|(frontend, _)| *frontend == FRONTEND);
                let drained = drained.map(|(_, number)| format!("{number},{LEAST}"));
                script += &group(drained.chain(others()).collect());
            }
            Group::Left => script += &group(others().collect()),
            Group::Gone => {
                writeln!(script, "ip route del {VIP}/32 nhid {first} metric 1; ip nexthop del id {first}")?
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
