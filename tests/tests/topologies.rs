//! Every topology of the lab but `ecmp`, which `e2e` is about: it comes up, its routers serve by all frontends, a crash
//! is withdrawn and its return announced.
//!
//! One lab after the other.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::scene::{PATIENCE, VIPS, next_hops, server, topology};
use lab::load::{self, Plan};
use lab::{Lab, Node};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let trial = |name: &'static str| {
        Trial::test(name, move || play(name).map_err(|e| Failed::from(format!("{e:#}"))))
    };
    let trials = ["bird", "mixed", "v6only", "scale"].map(trial);
    libtest_mimic::run(&arguments, trials.into()).exit_code()
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

    for vip in VIPS {
        let report = ask(&lab, vip)?;
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

    let first = lab.node("fe1")?;
    ensure!(first.kill(server("fe1"), Signal::SIGKILL) > 0, "no server was killed");
    served_by(&routers, frontends.len() - 1).context("after the crash")?;
    for vip in VIPS {
        let report = ask(&lab, vip)?;
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

/// Waits until every router's FIB has that many next hops for each VIP.
fn served_by(routers: &[&Node], count: usize) -> Result<()> {
    for router in routers {
        for vip in VIPS {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let found: BTreeSet<IpAddr> = next_hops(router, vip)?;
                if found.len() == count {
                    break;
                }
                let name = router.name();
                ensure!(Instant::now() < deadline, "{name} has {found:?} for {vip}, not {count} next hops");
                thread::sleep(Duration::from_millis(50)); // between looks at a table, not instead of one
            }
        }
    }
    Ok(())
}

/// A second's requests from the client.
fn ask(lab: &Lab, vip: &str) -> Result<load::Report> {
    let host = if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() };
    let plan =
        Plan::new(&format!("http://{host}/"), 300, Duration::from_secs(1)).map_err(anyhow::Error::msg)?;
    Ok(lab.node("client")?.in_netns(|| load::run(&plan, |_| ControlFlow::Continue(())))??)
}
