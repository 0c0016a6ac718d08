//! The chain of the frontends in the demo, and the long-lived connections that it keeps.
//!
//! Touches the lab.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::flows::{Control, Plan, Report};
use scene::{FRONTENDS, PATIENCE, Scene};
use until::until;

use crate::script::VIP;

/// How many connections stay open.
pub(crate) const FLOWS: u32 = 300;
/// The time between two requests of each of them. With their acknowledgements, all together stay below `budget` of `[chain]`, which is
/// 1,000 packets a second on each frontend, so none of them waits.
const EVERY: Duration = Duration::from_secs(1);
/// Where they come from: an address that only they use. A server remembers a connection for a minute after its end (TIME-WAIT), and
/// would take packets of another one with the same address and port. The routers have a route to 10.9.0.0/24.
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 10);
/// The longest time for which they could be needed.
const LONGEST: Duration = Duration::from_secs(600);

/// Adds `[chain]` to the configuration of frontend $1, and reloads it. r1 alone has routes to the addresses in `members`.
const SWITCH_ON: &str = r#"set -eu
ip route replace 10.1.0.0/16 via "10.1.$1.0"
(umask 77 && echo "a key of the lab alone" >/etc/announcer/chain.key)
cat /etc/announcer/announcer.toml - >/run/announcer.toml <<'END'

[chain]
interface = "eth1"
members = ["10.1.1.1", "10.1.2.1", "10.1.3.1"]
key_file = "/etc/announcer/chain.key"
vxlan = 4242
END
mount --bind /run/announcer.toml /etc/announcer/announcer.toml
announcer reload
"#;

/// Switches the chain on at every frontend, and waits until each of them has all in its ring.
pub(crate) fn switch_chain_on(scene: &Scene) -> Result<()> {
    for frontend in FRONTENDS {
        let number = frontend.trim_start_matches("fe");
        scene.node(frontend)?.must(&["sh", "-c", SWITCH_ON, "sh", number]).context("[chain]")?;
    }
    for frontend in FRONTENDS {
        until(PATIENCE, || {
            let chain = scene.node(frontend)?.must(&["announcer", "chain", "--json"])?;
            let chain: serde_json::Value = serde_json::from_str(&chain).context("announcer chain --json")?;
            let length = chain["rings"]["ipv4"]["length"].as_u64();
            ensure!(length == Some(FRONTENDS.len() as u64), "the ring of {frontend} is not whole: {chain}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Long-lived connections from the client. They end when this is dropped.
pub(crate) struct Flows {
    pub(crate) control: Control,
    thread: Option<thread::JoinHandle<Result<std::io::Result<Report>, lab::Error>>>,
}

impl Flows {
    /// Opens them, and waits until all are open.
    pub(crate) fn open(scene: &Scene) -> Result<Flows> {
        let mut plan = Plan::new(&format!("http://{VIP}/"), LONGEST).map_err(anyhow::Error::msg)?;
        (plan.flows, plan.every, plan.new.rate) = (FLOWS, EVERY, 0);
        plan.flow_sources = vec![SOURCE.into()];
        let (control, node) = (Control::new(), scene.node("client")?.clone());
        node.must(&["ip", "address", "replace", &format!("{SOURCE}/32"), "dev", "lo"])?;
        let own = control.clone();
        let thread = thread::spawn(move || node.in_netns(|| lab::flows::run(&plan, &own)));
        let flows = Flows { control, thread: Some(thread) };
        until(PATIENCE, || {
            let open = flows.control.open_flows();
            ensure!(open == u64::from(FLOWS), "{open} of {FLOWS} long-lived connections are open");
            Ok(())
        })?;
        Ok(flows)
    }

    /// Ends them, and returns how many broke before.
    pub(crate) fn close(mut self) -> Result<usize> {
        self.control.stop();
        let Some(thread) = self.thread.take() else { bail!("they were ended before") };
        match thread.join() {
            Ok(report) => Ok(broken(&report??)),
            Err(_) => bail!("the thread of the long-lived connections panicked"),
        }
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.control.stop();
    }
}

/// How many have broken so far.
pub(crate) fn broken(report: &Report) -> usize {
    report.phases.iter().map(|phase| phase.flows.broken.len()).sum()
}
