//! The lab: its frontends with or without the chain, their faults, and the client with long-lived connections.
//!
//! Touches the lab.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::flows::{Control, Plan, Report};
use lab::{Cut, Lab, Node};
use nix::sys::signal::Signal;
use scene::{PATIENCE, doctor_finds_nothing, next_hops};
use until::until;

use crate::network::{Network, ROUTERS, number};
use crate::{generated, joins};

/// `deadline` of `[drain]` in both modes: how long a host that stops waits for its connections.
pub(crate) const DEADLINE: Duration = Duration::from_secs(8);

/// The device that announcer makes for `vxlan`.
const VXLAN_DEVICE: &str = "announcer0";

/// What the frontends do with a packet of a connection that they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They answer RST.
    Plain,
    /// They forward it to the next member of the chain.
    Chain,
}

/// The running lab.
pub(crate) struct Site {
    lab: Lab,
    pub(crate) network: Network,
    /// `None`: what the topology has started.
    mode: Option<Mode>,
    /// `fe1` and so on.
    pub(crate) frontends: Vec<String>,
    /// How many clients were started.
    clients: AtomicU8,
}

/// A client that is running.
pub(crate) struct Client {
    pub(crate) control: Control,
    flows: u64,
    thread: thread::JoinHandle<Result<std::io::Result<Report>, lab::Error>>,
}

impl Site {
    /// Starts the lab with this number of frontends.
    pub(crate) fn up(network: Network, frontends: u16) -> Result<Site> {
        let (name, topology) = network.topology(frontends);
        let lab = generated::up(name, &topology)?;
        let frontends = (1..=frontends).map(|n| format!("fe{n}")).collect();
        Ok(Site { lab, network, mode: None, frontends, clients: AtomicU8::new(0) })
    }

    pub(crate) fn down(self) -> Result<()> {
        Ok(self.lab.down()?)
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        Ok(self.lab.node(name)?)
    }

    /// What a frontend's announcer.toml has in this mode beyond the lab's.
    fn more(&self, mode: Mode) -> Result<String> {
        let chain = match mode {
            Mode::Plain => String::new(),
            Mode::Chain => self.network.chain(&self.frontends)?,
        };
        Ok(format!("\n[drain]\ndeadline = \"{}s\"\n{chain}", DEADLINE.as_secs()))
    }

    /// Waits until all frontends announce in this mode. If they are in another one, they are stopped and started before.
    pub(crate) fn set(&mut self, mode: Mode) -> Result<()> {
        if self.mode != Some(mode) {
            self.start_all(mode)?;
            self.mode = Some(mode);
        }
        self.wait_all()
    }

    pub(crate) fn has_chain(&self) -> bool {
        self.mode == Some(Mode::Chain)
    }

    fn start_all(&self, mode: Mode) -> Result<()> {
        let more = self.more(mode)?;
        let again = |frontend: &str| -> Result<()> {
            let node = self.node(frontend)?;
            node.must(&["/lab/announcer", "stop"])?;
            node.must(&["/lab/web", "stop"])?;
            // Without the chain, a client's RST goes to any frontend, and its former connection stays here for up to two minutes. A stop
            // would wait for it.
            node.must(&["ss", "-tK", "( sport = :80 )"])?;
            fs::write(node.root().join("etc/lab/more.toml"), &more)?;
            let key = node.root().join("etc/announcer/chain.key");
            fs::write(&key, "a key of the lab alone\n")?;
            fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            self.start_host(frontend)
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.frontends.iter().map(|frontend| scope.spawn(|| again(frontend))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
        })
    }

    /// Waits until the routers have just these frontends as next hops of both VIPs.
    pub(crate) fn wait(&self, frontends: &[&str]) -> Result<()> {
        for vip in scene::VIPS {
            for r in 1..=ROUTERS {
                let next_hop = |frontend: &&str| self.network.next_hop(r, frontend, vip);
                let wanted: BTreeSet<IpAddr> = frontends.iter().map(next_hop).collect::<Result<_>>()?;
                let router = format!("r{r}");
                until(PATIENCE, || {
                    let found = next_hops(self.node(&router)?, vip)?;
                    ensure!(found == wanted, "{router} has {found:?} for {vip}, not {wanted:?}");
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// As [`Site::wait`], for all frontends but these.
    pub(crate) fn wait_without(&self, gone: &[&str]) -> Result<()> {
        let there = self.frontends.iter().map(String::as_str).filter(|frontend| !gone.contains(frontend));
        self.wait(&there.collect::<Vec<_>>())
    }

    pub(crate) fn wait_all(&self) -> Result<()> {
        self.wait_without(&[])
    }

    /// The frontend withdraws its VIPs and serves its connections on.
    pub(crate) fn drain(&self, frontend: &str) -> Result<()> {
        self.node(frontend)?.must(&["announcer", "drain", "--all", "--reason", "a test"])?;
        Ok(())
    }

    pub(crate) fn undrain(&self, frontend: &str) -> Result<()> {
        self.node(frontend)?.must(&["announcer", "undrain", "--all"])?;
        Ok(())
    }

    /// SIGKILL to all processes of the web server.
    pub(crate) fn kill_server(&self, frontend: &str) -> Result<()> {
        let node = self.node(frontend)?;
        ensure!(node.kill("nginx", Signal::SIGKILL) > 0, "no server was killed");
        until(PATIENCE, || {
            ensure!(node.pids_of("nginx").is_empty(), "nginx of {frontend} still runs after SIGKILL");
            Ok(())
        })
    }

    pub(crate) fn start_server(&self, frontend: &str) -> Result<()> {
        self.node(frontend)?.must(&["/lab/web", "start"])?;
        Ok(())
    }

    /// SIGKILL to the daemon.
    pub(crate) fn kill_daemon(&self, frontend: &str) -> Result<()> {
        self.node(frontend)?.must(&["/lab/announcer", "kill"])?;
        Ok(())
    }

    /// SIGTERM to the daemon. Returns when it has ended.
    pub(crate) fn stop_daemon(&self, frontend: &str) -> Result<()> {
        self.node(frontend)?.must(&["/lab/announcer", "stop"])?;
        Ok(())
    }

    /// Checks that hosts have taken packets for their flows from other members: otherwise the flows have survived for another reason. The
    /// daemons read the counters every few seconds, so those of the last moments are waited for.
    pub(crate) fn check_chain(&self, vip: &str) -> Result<()> {
        let (accepted, over_budget) = until(PATIENCE, || {
            let (mut accepted, mut over_budget) = (0, 0);
            for frontend in &self.frontends {
                let [taken, over] = self.counters(frontend, vip)?;
                (accepted, over_budget) = (accepted + taken, over_budget + over);
            }
            ensure!(accepted > 0, "no member has taken a packet for its flows from another one");
            Ok((accepted, over_budget))
        })?;
        println!(
            "the members have taken {accepted} packets for their flows from each other; {over_budget} were over the budget"
        );
        Ok(())
    }

    /// The packets that a frontend has taken from other members, and those that were over its budget, as its daemon has read them last.
    fn counters(&self, frontend: &str, vip: &str) -> Result<[u64; 2]> {
        let family = if vip.contains(':') { "ipv6" } else { "ipv4" };
        let chain = self.node(frontend)?.must(&["announcer", "chain", "--json"])?;
        let chain: serde_json::Value = serde_json::from_str(&chain).context("announcer chain --json")?;
        let ring = &chain["rings"][family];
        ensure!(ring.is_object(), "{frontend} is in no ring of {family}: {chain}");
        // A daemon that was just started has not read them yet.
        let counter = |name: &str| ring["counters"][name].as_u64().unwrap_or(0);
        Ok([counter("accepted"), counter("over_budget") + counter("flood")])
    }

    /// Checks that no session with a router has begun before its host was in the rings.
    pub(crate) fn check_joins(&self) -> Result<()> {
        for frontend in &self.frontends {
            let log = fs::read_to_string(self.node(frontend)?.root().join("var/log/announcer.log"))?;
            let early = joins::too_early(&log);
            ensure!(
                early.is_empty(),
                "{frontend} had sessions before it was in the rings:\n{}",
                early.join("\n")
            );
        }
        Ok(())
    }

    /// The time, as in the logs.
    pub(crate) fn now(&self) -> Result<String> {
        Ok(self.node("client")?.must(&["date", "-u", "+%FT%T.%3NZ"])?.trim().to_owned())
    }

    /// Prints what the daemons and the servers have logged since that time, and what the chain has counted.
    pub(crate) fn print_logs(&self, since: &str) {
        for frontend in &self.frontends {
            let Ok(node) = self.node(frontend) else { continue };
            for log in ["var/log/announcer.log", "var/log/nginx/error.log"] {
                let text = fs::read_to_string(node.root().join(log)).unwrap_or_default();
                // The lines begin with the time; nginx writes it in another form.
                for line in text.lines().filter(|line| line >= &since || !line.contains('T')) {
                    println!("  {frontend}: {line}");
                }
            }
            match node.must(&["announcer", "chain"]) {
                Ok(chain) => println!("{frontend}:\n{chain}"),
                Err(error) => println!("{frontend}: {error}"),
            }
        }
    }

    /// Checks that `dsr-setup doctor` finds nothing on any frontend, also beside the rules of the chain.
    pub(crate) fn check_doctor(&self) -> Result<()> {
        let nodes = self.frontends.iter().map(|frontend| self.node(frontend)).collect::<Result<Vec<_>>>()?;
        doctor_finds_nothing(&nodes)
    }

    /// Checks that the chain has left no rule and no device in the kernel.
    pub(crate) fn check_nothing_left(&self, frontend: &str) -> Result<()> {
        let node = self.node(frontend)?;
        let rules = node.must(&["nft", "list", "ruleset"])?;
        ensure!(rules.trim().is_empty(), "{frontend} still has these rules:\n{rules}");
        let links = node.must(&["ip", "-o", "link"])?;
        ensure!(!links.contains(VXLAN_DEVICE), "{frontend} still has the device {VXLAN_DEVICE}:\n{links}");
        Ok(())
    }

    pub(crate) fn start_daemon(&self, frontend: &str) -> Result<()> {
        self.node(frontend)?.must(&["/lab/announcer", "start"])?;
        Ok(())
    }

    /// Cuts all links of the frontend, as a loss of power does.
    pub(crate) fn cut_links(&self, frontend: &str) -> Result<()> {
        let node = self.node(frontend)?;
        Ok(self.network.links().iter().try_for_each(|link| node.cut(link, Cut::Carrier))?)
    }

    /// All that a host without power had in memory is gone: its processes, its nftables rules, its VXLAN. The node itself stays, so that
    /// the host can [start](Site::start_host) again.
    pub(crate) fn end_host(&self, frontend: &str) -> Result<()> {
        let node = self.node(frontend)?;
        self.kill_daemon(frontend)?;
        self.kill_server(frontend)?;
        // A run of nft that the daemon had begun would outlive it, and install rules afterwards.
        until(PATIENCE, || {
            ensure!(node.pids_of("nft").is_empty(), "nft still runs on {frontend}");
            Ok(())
        })?;
        node.must(&["nft", "flush", "ruleset"])?;
        if node.must(&["ip", "-o", "link"])?.contains(VXLAN_DEVICE) {
            node.must(&["ip", "link", "delete", VXLAN_DEVICE])?;
        }
        Ok(())
    }

    /// A host starts: link, addresses, web server and daemon. Returns when it has announced its VIPs to all routers.
    pub(crate) fn start_host(&self, frontend: &str) -> Result<()> {
        let node = self.node(frontend)?;
        self.network.links().iter().try_for_each(|link| node.mend(link))?;
        node.must(&[self.network.script(), &number(frontend)?.to_string(), &ROUTERS.to_string()])?;
        Ok(())
    }

    /// Starts a client, and waits until all its flows are open.
    pub(crate) fn client(&self, vip: &str, flows: u32, rate: u32, silence: Duration) -> Result<Client> {
        let host = if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() };
        let lasts = Duration::from_secs(600);
        let mut plan = Plan::new(&format!("http://{host}/"), lasts).map_err(anyhow::Error::msg)?;
        (plan.flows, plan.new.rate, plan.silence, plan.new.patience) = (flows, rate, silence, silence);
        // Those of nodes/scale/client.
        let source = |n: u8| match vip.contains(':') {
            true => format!("2001:db8:9::{n}").parse(),
            false => format!("10.9.0.{n}").parse(),
        };
        // The next client gets the other half. Its connections break at the same places of the same schedule, and a server that has not
        // heard of a break yet would answer those with the same address and port.
        let first = 10 + 5 * (self.clients.fetch_add(1, Ordering::Relaxed) % 2);
        plan.flow_sources = vec![source(first)?];
        plan.new_sources = (first + 1..first + 5).map(source).collect::<Result<_, _>>()?;
        let control = Control::new();
        let (node, own) = (self.node("client")?.clone(), control.clone());
        let thread = thread::spawn(move || node.in_netns(|| lab::flows::run(&plan, &own)));
        let client = Client { control, flows: flows.into(), thread };
        client.wait_open()?;
        Ok(client)
    }
}

impl Client {
    fn wait_open(&self) -> Result<()> {
        until(PATIENCE, || {
            let open = self.control.open_flows();
            let report = self.control.report();
            ensure!(open == self.flows, "{open} of {} flows are open:\n{report}", self.flows);
            Ok(())
        })
    }

    /// Opens every flow again, so that the flows are spread over the frontends that announce now.
    pub(crate) fn renew(&self) -> Result<()> {
        self.control.renew();
        thread::sleep(Duration::from_millis(1500)); // each closes instead of its next request, of which there is one a second
        self.wait_open().context("after all flows were renewed")
    }

    /// Waits until no flow can be silent without having been noticed, ends the client, and returns what it saw.
    pub(crate) fn report(self, silence: Duration) -> Result<Report> {
        self.control.mark("end");
        thread::sleep(silence);
        self.control.stop();
        match self.thread.join() {
            Ok(report) => Ok(report??),
            Err(_) => bail!("the client's thread panicked"),
        }
    }
}

/// Ends a client when it is dropped, at the latest when its scenario has failed.
pub(crate) struct Ending(pub(crate) Control);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop();
    }
}
