//! What the client sees: requests at the highest rate (wrk), and flows that a change of the frontends breaks (`lab flows`).
//!
//! Touches the lab. [`figures`] is pure.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::flows::{Control, Plan, Report};
use until::until;

use super::site::{FRONTENDS, Site, VIP};
use crate::results::chain::{ChainFlows, ChainMode, Requests};
use crate::stage::PATIENCE;

/// The connections of wrk at the same time; one thread serves them.
const CONNECTIONS: &str = "-c64";
/// For how long wrk runs.
const LASTS: &str = "-d5s";
/// The flows that are counted.
const FLOWS: u32 = 600;
/// New connections a second beside them.
const RATE: u32 = 500;
/// The time between two requests of a flow.
const EVERY: Duration = Duration::from_millis(500);
/// After this time without an answer, a flow is broken.
const SILENCE: Duration = Duration::from_secs(2);
/// Until every flow has sent a request after a change, and its answer or RST is there.
const SETTLE: Duration = Duration::from_millis(1500);

/// How requests use connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    /// A new one for each request.
    New,
    /// Connections that stay open.
    Kept,
}

/// Requests for some seconds, as many as are answered.
pub(super) fn requests(site: &Site, connections: Connections) -> Result<Requests> {
    let header: &[&str] = match connections {
        Connections::New => &["-H", "Connection: close"],
        Connections::Kept => &[],
    };
    let url = format!("http://{VIP}:80/"); // the client knows no names of ports
    let words = [&["wrk", "-t1", CONNECTIONS, LASTS], header, &[url.as_str()]].concat();
    let output = site.node("client")?.must(&words)?;
    figures(&output).with_context(|| format!("wrk: {output}"))
}

/// The figures in the output of wrk.
fn figures(output: &str) -> Result<Requests> {
    let line = |name: &str| output.lines().find_map(|line| line.trim().strip_prefix(name));
    let per_s = line("Requests/sec:").context("no rate")?.trim().parse()?;
    // `connect 0, read 12, write 0, timeout 0`, if there were any.
    let errors = line("Socket errors:")
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok());
    let other = line("Non-2xx or 3xx responses:").map_or(Ok(0), |count| count.trim().parse::<u64>())?;
    Ok(Requests { per_s, errors: errors.sum::<u64>() + other })
}

/// Keeps flows open while this frontend leaves and returns.
pub(super) fn flows(site: &Site, mode: ChainMode, frontend: &str) -> Result<ChainFlows> {
    // What is left of the last client's flows would answer in the place of a new one with the same port: the old workers end them.
    for frontend in FRONTENDS {
        site.node(frontend)?.must(&["/usr/sbin/nginx", "-s", "reload"])?;
    }
    let mut plan =
        Plan::new(&format!("http://{VIP}/"), Duration::from_secs(120)).map_err(anyhow::Error::msg)?;
    (plan.flows, plan.every, plan.silence) = (FLOWS, EVERY, SILENCE);
    (plan.new.rate, plan.new.patience) = (RATE, SILENCE);
    // Those of nodes/lan/client.
    plan.flow_sources = vec!["10.9.0.10".parse()?];
    plan.new_sources = vec!["10.9.0.11".parse()?, "10.9.0.12".parse()?];
    let control = Control::new();
    let (node, own) = (site.node("client")?.clone(), control.clone());
    let client = thread::spawn(move || node.in_netns(|| lab::flows::run(&plan, &own)));
    let played = leave_and_return(site, frontend, &control);
    control.stop();
    let report = match client.join() {
        Ok(report) => report??,
        Err(_) => bail!("the client's thread panicked"),
    };
    // For the next measurement.
    site.node(frontend)?.must(&["announcer", "undrain", "--all"])?;
    played?;
    counted(mode, &report).with_context(|| format!("{report}"))
}

fn leave_and_return(site: &Site, frontend: &str, control: &Control) -> Result<()> {
    let all_open = || {
        until(PATIENCE, || {
            let open = control.open_flows();
            ensure!(open == u64::from(FLOWS), "{open} of {FLOWS} flows are open");
            anyhow::Ok(())
        })
    };
    let stay: Vec<&str> = FRONTENDS.into_iter().filter(|other| *other != frontend).collect();
    all_open()?;
    control.mark("leaves");
    site.node(frontend)?.must(&["announcer", "drain", "--all", "--reason", "the benchmark"])?;
    site.wait_announced(&stay)?;
    thread::sleep(SETTLE);
    // Otherwise the frontend that returns would find only flows that have survived its leaving.
    control.mark("renewal");
    control.renew();
    thread::sleep(SETTLE);
    all_open()?;
    control.mark("returns");
    site.node(frontend)?.must(&["announcer", "undrain", "--all"])?;
    site.wait_announced(&FRONTENDS)?;
    thread::sleep(SETTLE + SILENCE);
    Ok(())
}

/// What broke in the two phases.
fn counted(mode: ChainMode, report: &Report) -> Result<ChainFlows> {
    let phase = |name: &str| report.phase(name).with_context(|| format!("the phase `{name}` is missing"));
    let (leaves, returns) = (phase("leaves")?, phase("returns")?);
    Ok(ChainFlows {
        mode,
        flows: u64::from(FLOWS),
        leaves: leaves.flows.broken.len() as u64,
        returns: returns.flows.broken.len() as u64,
        new_lost: leaves.new.counts.lost() + returns.new.counts.lost(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_wrk_has_the_rate_and_the_errors() {
        let clean = "Running 5s test @ http://192.0.2.80/\n  1 threads and 64 connections\n\
                     Requests/sec:  14940.12\nTransfer/sec:      2.15MB\n";
        assert_eq!(figures(clean).unwrap(), Requests { per_s: 14940.12, errors: 0 });
        let errors = "  74701 requests in 5.00s, 10.76MB read\n  Socket errors: connect 1, read 12, write 0, timeout 3\n  \
                      Non-2xx or 3xx responses: 5\nRequests/sec:    99.5\n";
        assert_eq!(figures(errors).unwrap(), Requests { per_s: 99.5, errors: 21 });
        assert!(figures("unable to connect").is_err());
    }
}
