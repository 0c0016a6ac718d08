//! The lab `lan`: its frontends with plain ECMP or with the chain, and what they have counted.
//!
//! Touches the lab, and `/proc/stat`.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Lab, Node};
use procfs_core::FromRead;
use procfs_core::process::Stat;
use scene::{VIPS, next_hops, topology};
use serde_json::Value;
use until::until;

use crate::death::chrt;
use crate::results::chain::ChainMode;
use crate::stage::PATIENCE;

/// The frontends of the topology.
pub(super) const FRONTENDS: [&str; 4] = ["fe1", "fe2", "fe3", "fe4"];
/// Its routers.
const ROUTERS: [&str; 2] = ["r1", "r2"];
/// The VIP of all measurements.
pub(super) const VIP: &str = VIPS[0];
/// Where a frontend keeps the configuration that its lab has written, without `[chain]`.
const PLAIN: &str = "etc/announcer/plain.toml";
/// A ring and a FIB are steady after this time.
const STEADY: Duration = Duration::from_secs(1);

/// The running lab.
pub(super) struct Site {
    lab: Lab,
}

/// The address of a frontend in the LAN.
fn address(frontend: &str) -> Result<IpAddr> {
    let number: u8 = frontend.trim_start_matches("fe").parse()?;
    Ok(IpAddr::from([10, 100, 0, 10 + number]))
}

impl Site {
    /// Starts the lab; all frontends announce, with plain ECMP.
    pub(super) fn up() -> Result<Site> {
        let site = Site { lab: Lab::up(&topology("lan"))? };
        for frontend in FRONTENDS {
            let root = site.node(frontend)?.root();
            fs::copy(root.join("etc/announcer/announcer.toml"), root.join(PLAIN)).context(PLAIN)?;
            let key = root.join("etc/announcer/chain.key");
            fs::write(&key, "a key of the lab alone\n")?;
            fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;
        }
        // The load takes all of the processors. A router whose BFD has to wait for one would take the frontends for dead.
        for router in ROUTERS {
            let bfdd = site.node(router)?.pids_of("bfdd");
            bfdd.into_iter().try_for_each(|pid| chrt(&["-a", "-p"], pid))?;
        }
        site.wait_announced(&FRONTENDS)?;
        Ok(site)
    }

    pub(super) fn down(self) -> Result<()> {
        Ok(self.lab.down()?)
    }

    pub(super) fn node(&self, name: &str) -> Result<&Node> {
        Ok(self.lab.node(name)?)
    }

    /// Reloads every frontend with the configuration of this mode, and waits until it holds.
    pub(super) fn set(&self, mode: ChainMode) -> Result<()> {
        let members = FRONTENDS.iter().map(|frontend| Ok(address(frontend)?.to_string()));
        let members = members.collect::<Result<Vec<_>>>()?;
        let chain = mode.budget().map_or_else(String::new, |budget| {
            format!(
                "\n[chain]\ninterface = \"eth1\"\nmembers = {members:?}\nkey_file = \"/etc/announcer/chain.key\"\nbudget = {budget}\n"
            )
        });
        for frontend in FRONTENDS {
            let node = self.node(frontend)?;
            let plain = fs::read_to_string(node.root().join(PLAIN)).context(PLAIN)?;
            fs::write(node.root().join("etc/announcer/announcer.toml"), plain + &chain)?;
            node.must(&["announcer", "reload"])?;
        }
        let wanted = if mode.budget().is_some() { members.len() } else { 0 };
        for frontend in FRONTENDS {
            until(PATIENCE, || {
                let length = self.ring(frontend)?;
                ensure!(length == wanted, "the ring of {frontend} has {length} members, not {wanted}");
                anyhow::Ok(())
            })?;
        }
        self.wait_announced(&FRONTENDS)?;
        std::thread::sleep(STEADY);
        Ok(())
    }

    /// The length of a frontend's ring of IPv4; 0 without the chain.
    fn ring(&self, frontend: &str) -> Result<usize> {
        let output = self.node(frontend)?.exec(&["announcer", "chain", "--json"])?;
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or(Value::Null);
        Ok(usize::try_from(report["rings"]["ipv4"]["length"].as_u64().unwrap_or(0))?)
    }

    /// How many packets each frontend has forwarded until when, as its kernel says now; nothing without the chain.
    pub(super) fn forwarded(&self, mode: ChainMode) -> Result<Vec<Forwarded>> {
        let frontends = if mode.budget().is_some() { FRONTENDS.as_slice() } else { &[] };
        let counted = frontends.iter().map(|frontend| {
            let output = self.node(frontend)?.must(&[
                "nft",
                "-j",
                "list",
                "counter",
                "ip",
                "announcer",
                "forwarded",
            ])?;
            let at = Instant::now();
            Ok(Forwarded { at, packets: packets(&output).with_context(|| format!("nft: {output}"))? })
        });
        counted.collect()
    }

    /// Whether all routers have all frontends as next hops of the VIP now.
    ///
    /// # Errors
    /// When one has not.
    pub(super) fn all_announced(&self) -> Result<()> {
        self.announced(&FRONTENDS)
    }

    fn announced(&self, frontends: &[&str]) -> Result<()> {
        let wanted: BTreeSet<IpAddr> =
            frontends.iter().map(|frontend| address(frontend)).collect::<Result<_>>()?;
        ROUTERS.iter().try_for_each(|router| {
            let found = next_hops(self.node(router)?, VIP)?;
            ensure!(found == wanted, "{router} has {found:?} for {VIP}, not {wanted:?}");
            Ok(())
        })
    }

    /// Waits until the routers have just these frontends as next hops of the VIP.
    pub(super) fn wait_announced(&self, frontends: &[&str]) -> Result<()> {
        until(PATIENCE, || self.announced(frontends))
    }
}

/// What a frontend has forwarded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forwarded {
    at: Instant,
    packets: u64,
}

/// How many packets a second all frontends have forwarded between two counts.
pub(super) fn forwarded_per_s(before: &[Forwarded], after: &[Forwarded]) -> f64 {
    #[allow(clippy::cast_precision_loss)] // packets of seconds
    let rate = |(before, after): (&Forwarded, &Forwarded)| {
        after.packets.saturating_sub(before.packets) as f64 / after.at.duration_since(before.at).as_secs_f64()
    };
    before.iter().zip(after).map(rate).fold(0.0, |sum, rate| sum + rate)
}

/// The packets of the counter in the output of `nft -j`.
fn packets(output: &str) -> Option<u64> {
    let output: Value = serde_json::from_str(output).ok()?;
    output["nftables"].as_array()?.iter().find_map(|entry| entry["counter"]["packets"].as_u64())
}

/// The time of all processors of this machine since its start, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessorTime {
    busy: u64,
    all: u64,
}

/// What the processors have done until now. Processes with a nice value do not count as busy: they are of something else, unless this
/// program has such a value too.
pub(super) fn processor_time() -> Result<ProcessorTime> {
    let is_nice = Stat::from_file("/proc/self/stat")?.nice > 0;
    ProcessorTime::read(&fs::read_to_string("/proc/stat")?, is_nice).context("/proc/stat")
}

impl ProcessorTime {
    /// From the text of `/proc/stat` (proc_stat(5)).
    fn read(text: &str, nice_is_busy: bool) -> Option<ProcessorTime> {
        let ticks = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>().ok()?;
        // What follows is guests, whose time is part of `user` and `nice`.
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = *ticks.as_slice() else {
            return None;
        };
        let busy = user + system + irq + softirq + if nice_is_busy { nice } else { 0 };
        Some(ProcessorTime { busy, all: user + nice + system + idle + iowait + irq + softirq + steal })
    }

    /// How busy the processors were since then, in percent of all.
    pub(super) fn percent_since(self, before: ProcessorTime) -> f64 {
        #[allow(clippy::cast_precision_loss)] // ticks of seconds
        let (busy, all) = ((self.busy - before.busy) as f64, (self.all - before.all) as f64);
        busy / all.max(1.0) * 100.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_each_frontends_own_time() {
        let output = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"counter": {"family": "ip", "name": "forwarded", "table": "announcer", "handle": 7, "packets": 42, "bytes": 1680}}]}"#;
        assert_eq!((packets(output), packets("{}"), packets("")), (Some(42), None, None));
        let begin = Instant::now();
        let count = |ms: u64, packets| Forwarded { at: begin + Duration::from_millis(ms), packets };
        let (before, after) = ([count(0, 10), count(100, 0)], [count(500, 60), count(2100, 1000)]);
        assert_eq!(forwarded_per_s(&before, &after), 600.0);
        assert_eq!(forwarded_per_s(&[], &[]), 0.0);
    }

    #[test]
    fn nice_processes_and_waits_are_not_busy() {
        let text = "cpu  10 20 30 40 50 1 2 7 0 0\ncpu0 10 20 30 40 50 1 2 7 0 0\n";
        let before = ProcessorTime::read(text, false).unwrap();
        assert_eq!(before, ProcessorTime { busy: 43, all: 160 });
        assert_eq!(ProcessorTime::read(text, true).unwrap().busy, 63);
        let after = ProcessorTime { busy: 63, all: 240 };
        assert_eq!(after.percent_since(before), 25.0);
        assert_eq!(ProcessorTime::read("cpu 1 2 3", false), None);
    }
}
