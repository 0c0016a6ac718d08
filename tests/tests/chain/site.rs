//! The lab `lan`: its frontends with or without the chain, their faults, and the client with long-lived connections.
//!
//! Touches the lab.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::flows::{Control, Plan, Report};
use lab::{Cut, Lab, Node, generate};
use nix::sys::signal::Signal;
use scene::{PATIENCE, next_hops};
use until::until;

use crate::generated;

const ROUTERS: u16 = 2;

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
    mode: Mode,
    /// `fe1` and so on.
    pub(crate) frontends: Vec<String>,
}

/// A client that is running.
pub(crate) struct Client {
    pub(crate) control: Control,
    flows: u64,
    thread: thread::JoinHandle<Result<std::io::Result<Report>, lab::Error>>,
}

/// The address of a frontend in the LAN, in the family of `vip`.
fn address(frontend: &str, vip: &str) -> Result<IpAddr> {
    let host = 10 + frontend.trim_start_matches("fe").parse::<u8>()?;
    let text = if vip.contains(':') { format!("2001:db8:100::{host}") } else { format!("10.100.0.{host}") };
    Ok(text.parse()?)
}

impl Site {
    /// Starts the lab with this number of frontends, in the mode [`Mode::Plain`].
    pub(crate) fn up(frontends: u16) -> Result<Site> {
        let lab = generated::up("lan", &generate::lan(frontends, ROUTERS))?;
        Ok(Site { lab, mode: Mode::Plain, frontends: (1..=frontends).map(|n| format!("fe{n}")).collect() })
    }

    pub(crate) fn down(self) -> Result<()> {
        Ok(self.lab.down()?)
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        Ok(self.lab.node(name)?)
    }

    /// What a frontend's announcer.toml has in this mode beyond the lab's.
    fn more(&self, mode: Mode) -> Result<String> {
        if mode == Mode::Plain {
            return Ok(String::new());
        }
        let members = self.frontends.iter().map(|frontend| Ok(address(frontend, "")?.to_string()));
        let members = members.collect::<Result<Vec<_>>>()?;
        Ok(format!(
            "\n[chain]\ninterface = \"eth1\"\nmembers = {members:?}\nkey_file = \"/etc/announcer/chain.key\"\n"
        ))
    }

    /// Waits until all frontends announce in this mode. If they are in another one, they are stopped and started before.
    pub(crate) fn set(&mut self, mode: Mode) -> Result<()> {
        if self.mode != mode {
            self.start_all(mode)?;
            self.mode = mode;
        }
        self.wait_all()
    }

    fn start_all(&self, mode: Mode) -> Result<()> {
        let more = self.more(mode)?;
        let again = |frontend: &str| -> Result<()> {
            let node = self.node(frontend)?;
            node.must(&["/lab/announcer", "stop"])?;
            node.must(&["/lab/web", "stop"])?;
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
            let wanted: BTreeSet<IpAddr> =
                frontends.iter().map(|frontend| address(frontend, vip)).collect::<Result<_>>()?;
            for r in 1..=ROUTERS {
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

    pub(crate) fn start_daemon(&self, frontend: &str) -> Result<()> {
        self.node(frontend)?.must(&["/lab/announcer", "start"])?;
        Ok(())
    }

    /// The frontend is cut from the LAN, and all that it had in memory is gone: its processes and its nftables rules. The node itself
    /// stays, so that the host can [start](Site::start_host) again.
    pub(crate) fn lose_power(&self, frontend: &str) -> Result<()> {
        let node = self.node(frontend)?;
        node.cut("eth1", Cut::Carrier)?;
        self.kill_daemon(frontend)?;
        self.kill_server(frontend)?;
        node.must(&["nft", "flush", "ruleset"])?;
        Ok(())
    }

    /// A host starts: link, addresses, web server and daemon. Returns when it has announced its VIPs to all routers.
    pub(crate) fn start_host(&self, frontend: &str) -> Result<()> {
        let node = self.node(frontend)?;
        node.mend("eth1")?;
        let number = frontend.trim_start_matches("fe");
        node.must(&["/lan/frontend", number, &ROUTERS.to_string()])?;
        Ok(())
    }

    /// Starts a client, and waits until all its flows are open.
    pub(crate) fn client(&self, vip: &str, flows: u32, rate: u32, silence: Duration) -> Result<Client> {
        let host = if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() };
        let lasts = Duration::from_secs(600);
        let mut plan = Plan::new(&format!("http://{host}/"), lasts).map_err(anyhow::Error::msg)?;
        (plan.flows, plan.new.rate, plan.silence, plan.new.patience) = (flows, rate, silence, silence);
        // Those of nodes/lan/client.
        let source = |n: u8| match vip.contains(':') {
            true => format!("2001:db8:9::{n}").parse(),
            false => format!("10.9.0.{n}").parse(),
        };
        plan.flow_sources = vec![source(10)?];
        plan.new_sources = (11..=19).map(source).collect::<Result<_, _>>()?;
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
