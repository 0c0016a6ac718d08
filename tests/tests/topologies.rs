//! Tests every topology of the lab except `ecmp`, which `e2e` uses: it starts, its routers use all frontends, a crash is withdrawn
//! and the return is announced. It also tests `scale` with a hundred frontends and one router, and `l2`, where a director forwards.
//!
//! The labs run one after the other.

mod generated;
#[path = "topologies/l2.rs"]
mod l2;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::load::{self, Plan};
use lab::{Lab, Node, generate};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use scene::{PATIENCE, VIPS, doctor_finds_nothing, next_hops, server, topology};
use until::until;

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let trial = |name: &'static str| {
        Trial::test(name, move || play(name).map_err(|e| Failed::from(format!("{e:#}"))))
    };
    let mut trials = Vec::from(["bird", "mixed", "v6only", "unnumbered", "scale", "lan"].map(trial));
    trials.push(Trial::test("l2", || l2::play().map_err(|e| Failed::from(format!("{e:#}")))));
    trials.push(Trial::test("a_hundred_frontends_at_one_router", || {
        hundred().map_err(|e| Failed::from(format!("{e:#}")))
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The number of requests to each VIP with many frontends.
const ASKED: usize = 600;

/// One router uses all of many frontends. A frontend that crashes or loses power is removed and gets no requests.
fn hundred() -> Result<()> {
    // A container needs about a second to start, a node of namespaces a twentieth of that.
    let count =
        if std::env::var("LAB_ENGINE").is_ok_and(|engine| engine == "containerlab") { 30 } else { 100 };
    let begun = Instant::now();
    let lab = generated::up("hundred", &generate::scale(count, 1))?;
    let (routers, count) = ([lab.node("r1")?], usize::from(count));
    println!("  {count} frontends up after {:.1?}", begun.elapsed());
    served_by(&routers, count)?;
    println!("  served by all after {:.1?}", begun.elapsed());
    let spread = |there: usize, without: &str| -> Result<()> {
        for (vip, report) in VIPS.iter().zip(ask_both(&lab, ASKED)?) {
            let total = report.total;
            let heard = total.ok.len();
            let most = total.ok.values().max().copied().unwrap_or_default();
            println!("  {vip}: {} answers from {heard}, at most {most} from one", total.answered());
            ensure!(total.lost() == 0, "{vip}: {} lost: {total:?}", total.lost());
            ensure!(!total.ok.contains_key(without), "{vip} is still answered by {without}");
            // On average, each of a hundred frontends gets six requests. One or two may get none by chance, but not one in twenty.
            ensure!(heard * 20 >= there * 19, "{vip} was answered by {heard} of {there} alone");
        }
        Ok(())
    };
    spread(count, "nobody")?;

    let crashed = lab.node("fe1")?;
    let at = Instant::now();
    ensure!(crashed.kill(server("fe1"), Signal::SIGKILL) > 0, "no server was killed");
    served_by(&routers, count - 1).context("after the crash")?;
    println!("  a crash: out of the FIB after {:.1?}", at.elapsed());
    spread(count - 1, "fe1")?;
    crashed.must(&["/lab/web", "start"])?;
    served_by(&routers, count).context("after the return")?;

    let last = format!("fe{count}");
    let at = Instant::now();
    lab.node(&last)?.power_off()?;
    served_by(&routers, count - 1).context("after the power cut")?;
    println!("  power-off: out of the FIB after {:.1?}", at.elapsed());
    spread(count - 1, &last)?;
    lab.down()?;
    println!("  in all {:.1?}", begun.elapsed());
    Ok(())
}

/// The nodes of a role.
fn nodes<'a>(lab: &'a Lab, prefix: &str) -> Vec<&'a Node> {
    let numbered = |name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u16>().is_ok());
    lab.nodes().filter(|node| numbered(node.name())).collect()
}

fn play(name: &str) -> Result<()> {
    let lab = Lab::up(&topology(name))?;
    let (routers, frontends) = (nodes(&lab, "r"), nodes(&lab, "fe"));
    ensure!(
        routers.len() >= 2 && frontends.len() >= 3,
        "{} routers, {} frontends",
        routers.len(),
        frontends.len()
    );
    let all: BTreeSet<&str> = frontends.iter().map(|node| node.name()).collect();
    let begun = Instant::now();
    served_by(&routers, frontends.len())?;
    println!("  served by {} at {} routers after {:.1?}", all.len(), routers.len(), begun.elapsed());

    for (vip, report) in VIPS.iter().zip(ask_both(&lab, 300)?) {
        ensure!(
            report.total.lost() == 0,
            "{} of {} lost at {vip}: {:?}",
            report.total.lost(),
            report.sent,
            report.total
        );
        let heard: BTreeSet<&str> = report.total.ok.keys().map(String::as_str).collect();
        ensure!(heard == all, "{vip} was answered by {heard:?} alone");
    }
    doctor_finds_nothing(&frontends)?;

    let first = lab.node("fe1")?;
    ensure!(first.kill(server("fe1"), Signal::SIGKILL) > 0, "no server was killed");
    served_by(&routers, frontends.len() - 1).context("after the crash")?;
    for (vip, report) in VIPS.iter().zip(ask_both(&lab, 300)?) {
        ensure!(
            report.total.lost() == 0,
            "{} of {} lost at {vip}: {:?}",
            report.total.lost(),
            report.sent,
            report.total
        );
        ensure!(!report.total.ok.contains_key("fe1"), "{vip} is still answered by fe1");
    }
    first.must(&["/lab/web", "start"])?;
    served_by(&routers, frontends.len()).context("after the return")?;
    lab.down()?;
    Ok(())
}

/// Waits until every router's FIB has this number of next hops for each VIP.
fn served_by(routers: &[&Node], count: usize) -> Result<()> {
    for router in routers {
        for vip in VIPS {
            until(PATIENCE, || {
                let (name, found) = (router.name(), next_hops(router, vip)?);
                ensure!(found.len() == count, "{name} has {found:?} for {vip}, not {count} next hops");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Requests to both VIPs at the same time, 300 a second each.
fn ask_both(lab: &Lab, requests: usize) -> Result<[load::Report; 2]> {
    let [v4, v6] = VIPS;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| ask(lab, v6, requests));
        let first = ask(lab, v4, requests)?;
        match other.join() {
            Ok(other) => Ok([first, other?]),
            Err(_) => bail!("a thread panicked"),
        }
    })
}

/// Requests from the client, 300 a second.
fn ask(lab: &Lab, vip: &str, requests: usize) -> Result<load::Report> {
    let host = if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() };
    let lasts = Duration::from_secs_f64(requests as f64 / 300.0);
    let plan = Plan::new(&format!("http://{host}/"), 300, lasts).map_err(anyhow::Error::msg)?;
    Ok(lab.node("client")?.in_netns(|| load::run(&plan, |_| ControlFlow::Continue(())))??)
}
