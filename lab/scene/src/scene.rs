//! The lab for the scenarios: start it, cause faults, read the routers' logs, repair the faults.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use lab::engine::installed;
use lab::load::{self, Plan};
use lab::{Lab, Node};
use until::until;

use crate::capture::Capture;
use crate::fib::{self, Change};
use crate::log::{Log, Mark};
use crate::wire::{self, Message, between};

/// The VIPs of service `www`.
pub const VIPS: [&str; 2] = ["192.0.2.80", "2001:db8::80"];
/// The frontends.
pub const FRONTENDS: [&str; 3] = ["fe1", "fe2", "fe3"];
/// The routers.
pub const ROUTERS: [&str; 2] = ["r1", "r2"];
/// The longest time that an operation may take before it counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The running lab `ecmp`, with captures at its routers.
pub struct Scene {
    /// The lab.
    pub lab: Lab,
    /// In the order of [`ROUTERS`].
    pub routers: Vec<Router>,
}

/// A router, with its logs.
pub struct Router {
    /// Its node's name.
    pub name: &'static str,
    /// BGP on its links.
    pub wire: Log<Message>,
    /// Its FIB's changes.
    pub fib: Log<Change>,
    _capture: Capture<()>, // it ends with the router
}

/// The times after a fault or a repair until the slower router has reacted. The two times may be those of different routers.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// The withdraw or the announcement at the router's end of the link.
    pub wire: Duration,
    /// The next hop removed from the router's FIB, or added to it.
    pub fib: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "wire {:.1} ms, FIB {:.1} ms", ms(self.wire), ms(self.fib))
    }
}

impl Scene {
    /// Starts the lab and waits until every frontend serves every VIP.
    ///
    /// # Errors
    /// When the lab does not come up, or not all of it within [`PATIENCE`].
    pub fn up() -> Result<Scene> {
        Scene::of(Lab::up(&topology("ecmp"))?)
    }

    /// As [`Scene::up`], in a lab `ecmp` that the caller brought up.
    ///
    /// # Errors
    /// When not every VIP is served by every frontend within [`PATIENCE`].
    pub fn of(lab: Lab) -> Result<Scene> {
        let routers =
            ROUTERS.iter().map(|name| Router::listen(lab.node(name)?, name)).collect::<Result<_>>()?;
        let scene = Scene { lab, routers };
        scene.all_announced().context("after the lab came up")?;
        Ok(scene)
    }

    /// A node of the lab.
    ///
    /// # Errors
    /// When it has ended.
    pub fn node(&self, name: &str) -> Result<&Node> {
        Ok(self.lab.node(name)?)
    }

    /// Repairs all faults of a scenario, and waits until every frontend serves every VIP.
    ///
    /// # Errors
    /// When the repair takes longer than [`PATIENCE`].
    pub fn mend(&self) -> Result<()> {
        thread::scope(|scope| {
            let threads = FRONTENDS.map(|name| scope.spawn(move || self.mend_frontend(name)));
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
        })?;
        self.all_announced()
    }

    fn mend_frontend(&self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        node.must(&["/lab/web", "healthy"])?;
        node.exec(&["/lab/web", "start"])?; // it refuses if the server runs; a worker that is ending does not count
        node.must(&["/bin/sh", "-c", "rm -rf /var/lib/announcer/drain/*"])?;
        if node.daemons().is_empty() {
            node.exec(&["/lab/announcer", "start"])?; // it refuses if one is being started
        }
        node.exec(&["announcer", "undrain", "--all"])?; // this also ends the damping of VIPs that flap
        Ok(())
    }

    /// Waits until both routers have every frontend as a next hop of every VIP.
    ///
    /// # Errors
    /// When that takes longer than [`PATIENCE`]; the message says what each router has, and each daemon's status.
    pub fn all_announced(&self) -> Result<()> {
        for vip in VIPS {
            self.wait_next_hops(vip, &FRONTENDS)?;
        }
        Ok(())
    }

    /// Waits until both routers have just these frontends as next hops of a VIP.
    ///
    /// # Errors
    /// When that takes longer than [`PATIENCE`].
    pub fn wait_next_hops(&self, vip: &str, frontends: &[&str]) -> Result<()> {
        for (router, name) in ROUTERS.iter().enumerate() {
            let wanted: BTreeSet<IpAddr> = frontends.iter().map(|fe| address(router, fe, vip)).collect();
            until(PATIENCE, || {
                let found = self.next_hops(name, vip)?;
                ensure!(found == wanted, "{name} has {found:?} for {vip}, not {wanted:?}");
                Ok(())
            })
            .or_else(|error| self.with_statuses(error))?;
        }
        Ok(())
    }

    /// Always an error: the given one, and below it the status of each frontend's daemon.
    fn with_statuses(&self, error: anyhow::Error) -> Result<()> {
        let mut message = format!("{error:#}");
        for fe in FRONTENDS {
            let status = self.node(fe)?.exec(&["announcer", "status", "--all"])?;
            message += &format!("\n{fe}: {}{}", status.stdout, status.stderr);
        }
        bail!(message)
    }

    /// The next hops that a router's kernel has for a VIP.
    ///
    /// # Errors
    /// When the query fails.
    pub fn next_hops(&self, router: &str, vip: &str) -> Result<BTreeSet<IpAddr>> {
        next_hops(self.node(router)?, vip)
    }

    /// The pids on the host of all processes of a frontend's web server.
    ///
    /// # Errors
    /// When the node has ended.
    pub fn servers(&self, frontend: &str) -> Result<Vec<nix::unistd::Pid>> {
        Ok(self.node(frontend)?.pids_of(server(frontend)))
    }

    /// The times from `fault` until both routers have received the withdraw of `vip` by `frontend`, and have followed it. `mark`
    /// was taken before the fault.
    ///
    /// # Errors
    /// When one did not within [`PATIENCE`].
    pub fn withdrawn(&self, mark: Mark, fault: SystemTime, frontend: &str, vip: &str) -> Result<Figures> {
        self.reaction(mark, fault, frontend, vip, |message, vip| message.withdraws(vip), false)
    }

    /// The times from `cause` until both routers have received the announcement of `vip` by `frontend`, and have followed it.
    /// `mark` was taken before the cause.
    ///
    /// # Errors
    /// When one did not within [`PATIENCE`].
    pub fn announced(&self, mark: Mark, cause: SystemTime, frontend: &str, vip: &str) -> Result<Figures> {
        self.reaction(mark, cause, frontend, vip, |message, vip| message.announces(vip), true)
    }

    /// Waits at each router for the first BGP message that `says` it and for the change of the FIB after which the frontend is a
    /// next hop of `vip` (`there`) or is none.
    fn reaction(
        &self,
        mark: Mark,
        cause: SystemTime,
        frontend: &str,
        vip: &str,
        says: fn(&Message, IpAddr) -> bool,
        there: bool,
    ) -> Result<Figures> {
        let vip_address: IpAddr = vip.parse()?;
        let mut slower = Figures { wire: Duration::ZERO, fib: Duration::ZERO };
        for (index, router) in self.routers.iter().enumerate() {
            // The sessions run over IPv4 for both families, so the sender is the frontend's IPv4 address.
            let (session, hop) = (address(index, frontend, VIPS[0]), address(index, frontend, vip));
            let message = router.wire.wait(mark, PATIENCE, |message| {
                message.from == session && message.at >= cause && says(message, vip_address)
            });
            let message = message
                .with_context(|| format!("{} heard nothing from {frontend} about {vip}", router.name))?;
            // A FIB that changes before the message arrives does not follow the message.
            let change = router.fib.wait(mark, PATIENCE, |change| {
                change.prefix.addr() == vip_address
                    && change.at >= message.at
                    && change.next_hops.contains(&hop) == there
            });
            let change = change
                .with_context(|| format!("{}'s FIB did not follow {frontend} for {vip}", router.name))?;
            slower.wire = slower.wire.max(between(cause, message.at));
            slower.fib = slower.fib.max(between(cause, change.at));
        }
        Ok(slower)
    }

    /// Requests from the client, in the background.
    ///
    /// # Errors
    /// When the client's node has ended, or the URL is none.
    pub fn load(&self, vip: &str, rate: u32, lasts: Duration) -> Result<Load> {
        self.load_live(vip, rate, lasts, |_| ControlFlow::Continue(()))
    }

    /// As [`Scene::load`]; `live` sees each tenth of a second as it ends, and may end the load.
    ///
    /// # Errors
    /// As [`Scene::load`].
    pub fn load_live(
        &self,
        vip: &str,
        rate: u32,
        lasts: Duration,
        live: impl FnMut(&load::Bucket) -> ControlFlow<()> + Send + 'static,
    ) -> Result<Load> {
        let host = if vip.contains(':') { format!("[{vip}]") } else { vip.to_owned() };
        let plan = Plan::new(&format!("http://{host}/"), rate, lasts).map_err(anyhow::Error::msg)?;
        self.load_plan(plan, live)
    }

    /// Sends the requests of a plan from the client.
    ///
    /// # Errors
    /// As [`Scene::load`].
    pub fn load_plan(
        &self,
        plan: Plan,
        live: impl FnMut(&load::Bucket) -> ControlFlow<()> + Send + 'static,
    ) -> Result<Load> {
        let client = self.node("client")?.clone();
        let thread = thread::spawn(move || client.in_netns(|| load::run(&plan, live)));
        Ok(Load(thread))
    }

    /// Ends the lab and the captures. No process, interface or file of the lab is left.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn down(self) -> Result<()> {
        let Scene { lab, routers } = self;
        lab.down()?; // this also ends the captures in the routers
        drop(routers);
        Ok(())
    }
}

/// A load that is running.
pub struct Load(thread::JoinHandle<Result<std::io::Result<load::Report>, lab::Error>>);

impl Load {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it could not run.
    pub fn report(self) -> Result<load::Report> {
        match self.0.join() {
            Ok(report) => Ok(report??),
            Err(_) => bail!("the load's thread panicked"),
        }
    }
}

impl Router {
    /// Starts to capture BGP and to follow the FIB of a node.
    ///
    /// # Errors
    /// When the node has ended, or tcpdump does not start.
    pub fn listen(node: &Node, name: &'static str) -> Result<Router> {
        let (wire, fib) = (Log::default(), Log::default());
        fib::watch(node.netns()?, fib.clone())?;
        let log = wire.clone();
        let capture = Capture::start(node, wire::TCPDUMP, move |output| {
            if let Err(e) = wire::read(output, &log) {
                output::note(format_args!("{name}: the capture ended: {e:#}"));
            }
        });
        Ok(Router { name, wire, fib, _capture: capture.context(name)? })
    }
}

/// The next hops that a router's kernel has for a VIP.
///
/// # Errors
/// When the query fails.
pub fn next_hops(router: &Node, vip: &str) -> Result<BTreeSet<IpAddr>> {
    let family = if vip.contains(':') { "-6" } else { "-4" };
    let routes = router.must(&["ip", "-j", family, "route", "show", vip])?;
    let routes: serde_json::Value = serde_json::from_str(&routes).context("ip -j route")?;
    let mut found = BTreeSet::new();
    for route in routes.as_array().into_iter().flatten() {
        let many = route["nexthops"].as_array().into_iter().flatten();
        for hop in std::iter::once(route).chain(many) {
            let gateway = hop["gateway"].as_str().or_else(|| hop["via"]["host"].as_str());
            found.extend(gateway.and_then(|gateway| gateway.parse::<IpAddr>().ok()));
        }
    }
    Ok(found)
}

/// The process name of a frontend's web server.
pub fn server(frontend: &str) -> &'static str {
    if frontend == "fe3" { "haproxy" } else { "nginx" }
}

/// The address of a frontend on its link to the router with this index, in the family of `vip`.
pub fn address(router: usize, frontend: &str, vip: &str) -> IpAddr {
    let (router, frontend) = (router + 1, frontend.trim_start_matches("fe"));
    let text = match vip.contains(':') {
        false => format!("10.{router}.{frontend}.1"),
        true => format!("2001:db8:{router}:{frontend}::2"),
    };
    text.parse().unwrap_or_else(|_| unreachable!("`{text}` is an address by construction"))
}

/// A topology of the lab, by name.
pub fn topology(name: &str) -> PathBuf {
    lab_folder().join(name).join(format!("{name}.clab.yml"))
}

/// The folder with the topologies and with the files of their nodes: that of the checkout, or in the lab's image the installed one.
pub fn lab_folder() -> PathBuf {
    installed().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
}
