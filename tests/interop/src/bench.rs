//! The lab that the cases run on: one frontend with announcer and nginx, one router, which runs one implementation after the other.
//!
//! The cases wait for states; after [`PATIENCE`] a wait has failed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Lab, Node};
use nix::sys::signal::Signal;
use scene::{VIPS, topology};
use until::until;

use crate::bfd::INTERVAL;
use crate::router::{BfdEnds, FRONTEND, ROUTER, Route, Router, Setup};

/// The longest time of a wait before it counts as failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// The file of our TCP MD5 key.
const KEY: &str = "etc/announcer/router.key";

/// The running lab `interop`, with a capture at the router's end of the link.
pub(crate) struct Bench {
    /// The lab.
    lab: Lab,
    /// The captured messages at the router's end of the link.
    pub(crate) seen: scene::Router,
}

impl Bench {
    /// Brings the lab up.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn up() -> Result<Bench> {
        let lab = Lab::up(&topology("interop"))?;
        let seen = scene::Router::listen(lab.node("router")?, "router")?;
        Ok(Bench { lab, seen })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub(crate) fn down(self) -> Result<()> {
        drop(self.seen);
        Ok(self.lab.down()?)
    }

    /// The router's node.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn router(&self) -> Result<&Node> {
        Ok(self.lab.node("router")?)
    }

    /// The frontend's node.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn frontend(&self) -> Result<&Node> {
        Ok(self.lab.node("fe")?)
    }

    /// Starts both ends as `setup` says.
    ///
    /// # Errors
    /// When one refuses its configuration.
    pub(crate) fn start(&self, router: &dyn Router, setup: &Setup) -> Result<()> {
        self.stop(router)?;
        let _ = fs::remove_file(self.router()?.root().join(router.log())); // at first it does not exist
        for (path, text) in router.files(setup) {
            write(self.router()?, path, &text)?;
        }
        self.start_router(router)?;
        self.key(setup.password.unwrap_or("none"))?;
        write(self.frontend()?, "etc/announcer/announcer.toml", &announcer(setup))?;
        self.start_announcer()
    }

    /// Writes the key for announcer, which it uses from its next start on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn key(&self, key: &str) -> Result<()> {
        write(self.frontend()?, KEY, key)?;
        let file = self.frontend()?.root().join(KEY);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).context("the key's mode")
    }

    /// Starts announcer.
    ///
    /// # Errors
    /// When it refuses its configuration; the error has its own message.
    pub(crate) fn start_announcer(&self) -> Result<()> {
        let fe = self.frontend()?;
        fe.must(&["announcer", "validate"])?;
        fe.must(&["/lab/announcer", "start"])?;
        Ok(())
    }

    /// Stops announcer by SIGTERM.
    ///
    /// # Errors
    /// When it does not stop.
    pub(crate) fn stop_announcer(&self) -> Result<()> {
        self.frontend()?.must(&["/lab/announcer", "stop"])?;
        Ok(())
    }

    /// Starts the router.
    ///
    /// # Errors
    /// When it refuses its configuration.
    pub(crate) fn start_router(&self, router: &dyn Router) -> Result<()> {
        self.router()?.must(&["/bin/sh", "-c", router.start()])?;
        Ok(())
    }

    /// Ends every process of the router by a signal, and waits until they are gone.
    ///
    /// # Errors
    /// When they do not end.
    pub(crate) fn end_router(&self, router: &dyn Router, signal: Signal) -> Result<()> {
        let node = self.router()?;
        for name in router.processes() {
            node.kill(name, signal);
            until(PATIENCE, || {
                ensure!(node.pids_of(name).is_empty(), "`{name}` did not end by {signal}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Ends announcer and the router, and undoes the changes of a case on the frontend.
    ///
    /// # Errors
    /// When one does not end.
    pub(crate) fn stop(&self, router: &dyn Router) -> Result<()> {
        self.stop_announcer()?;
        self.end_router(router, Signal::SIGKILL)?;
        self.frontend()?.must(&["/lab/web", "healthy"])?;
        self.frontend()?.must(&["nft", "flush", "ruleset"])?;
        Ok(())
    }

    /// Waits until the router has exactly the route `wanted` for every VIP, or no route if `wanted` is none.
    ///
    /// # Errors
    /// When that takes longer than [`PATIENCE`]; the error has the router's routes and announcer's status.
    pub(crate) fn routes(&self, router: &dyn Router, wanted: Option<&Route>) -> Result<()> {
        for vip in VIPS {
            let wanted = wanted.map(|route| of(route, vip));
            let seen = until(PATIENCE, || {
                let route = router.route(self.router()?, vip)?;
                let route = route.map(|route| comparable(route, wanted.as_ref()));
                ensure!(route == wanted, "{vip}: {route:?}, not {wanted:?}");
                Ok(())
            });
            self.with_status(seen)?;
        }
        Ok(())
    }

    /// Waits until the router reports that the session is Established.
    ///
    /// # Errors
    /// When that takes longer than [`PATIENCE`].
    pub(crate) fn established(&self, router: &dyn Router) -> Result<()> {
        let seen = until(PATIENCE, || {
            ensure!(router.established(self.router()?)?, "the session did not come up");
            Ok(())
        });
        self.with_status(seen)
    }

    /// Adds announcer's status to an error.
    fn with_status(&self, seen: Result<()>) -> Result<()> {
        match seen {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error:#}\n{}", self.status()?),
        }
    }

    /// Waits until a counter of the router's kernel is above `before`.
    ///
    /// # Errors
    /// When that takes longer than [`PATIENCE`].
    pub(crate) fn dropped(&self, counter: &str, before: u64) -> Result<()> {
        let seen = until(PATIENCE, || {
            ensure!(self.counter(counter)? > before, "the router's kernel dropped nothing");
            Ok(())
        });
        self.with_status(seen)
    }

    /// announcer's status.
    ///
    /// # Errors
    /// When the node has ended.
    pub(crate) fn status(&self) -> Result<String> {
        let output = self.frontend()?.exec(&["announcer", "status", "--all"])?;
        Ok(output.stdout + &output.stderr)
    }

    /// The last lines of the router's log.
    ///
    /// # Errors
    /// When the node has ended.
    pub(crate) fn log(&self, router: &dyn Router) -> Result<String> {
        let text = fs::read_to_string(self.router()?.root().join(router.log())).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        Ok(format!("its log ends:\n{}", lines[lines.len().saturating_sub(8)..].join("\n")))
    }

    /// A counter of the router's kernel, by its name in `/proc/net/netstat`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/net/netstat", self.router()?.pid()))?;
        let lines: Vec<&str> = text.lines().collect();
        let pairs = lines.chunks_exact(2).flat_map(|pair| pair[0].split(' ').zip(pair[1].split(' ')));
        let mut found = pairs.filter(|(known, _)| *known == name);
        let (_, value) = found.next().with_context(|| format!("the kernel does not count {name}"))?;
        Ok(value.parse()?)
    }
}

/// The expected route for a VIP: the next hop is of its family, unless the route has one.
fn of(route: &Route, vip: &str) -> Route {
    let next_hop = if vip.contains(':') { crate::router::FRONTEND_V6 } else { FRONTEND };
    Route { next_hop: route.next_hop.or_else(|| next_hop.parse().ok()), ..route.clone() }
}

/// The route without the local preference that routers add to eBGP routes.
fn comparable(route: Route, wanted: Option<&Route>) -> Route {
    let local_pref = wanted.and_then(|wanted| wanted.local_pref).and(route.local_pref);
    Route { local_pref, ..route }
}

fn announcer(setup: &Setup) -> String {
    let Setup { router_asn, frontend_asn, password, ttl_security, bfd, unnumbered, peer, service } = setup;
    let address =
        if *unnumbered { "interface = \"eth1\"".to_owned() } else { format!("address = \"{ROUTER}\"") };
    let asn = if router_asn == frontend_asn { "\"internal\"".to_owned() } else { router_asn.to_string() };
    let password = password.map(|_| format!("password_file = \"/{KEY}\"\n")).unwrap_or_default();
    let bfd = match bfd {
        BfdEnds::None => String::new(),
        BfdEnds::Both | BfdEnds::OnlyOurs => format!("bfd = {{ interval = \"{INTERVAL}ms\" }}\n"),
    };
    let ttl = if *ttl_security { "ttl_security = true\n" } else { "" };
    format!(
        "[bgp]\nasn = {frontend_asn}\nrouter_id = \"{FRONTEND}\"\nsettle = \"0s\"\n\n[[peer]]\nname = \"router\"\n\
         {address}\nasn = {asn}\n{password}{ttl}{bfd}{peer}\n[[service]]\nname = \"www\"\n\
         vips = [\"{}\", \"{}\"]\n{service}\n[[service.check]]\n\
         http = \"http://www.example.com/healthz\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\nrise = 1\nfall = 2\n",
        VIPS[0], VIPS[1]
    )
}

fn write(node: &Node, path: &str, text: &str) -> Result<()> {
    let file = node.root().join(path);
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    ensure!(!path.starts_with('/'), "`{path}` is below the node's root");
    fs::write(&file, text).with_context(|| format!("{}", file.display()))?;
    // OpenBGPD and FRR refuse files that others may write; FRR reads them as its own user.
    let mode = if path == "etc/bgpd.conf" { 0o600 } else { 0o644 };
    fs::set_permissions(&file, fs::Permissions::from_mode(mode))
        .with_context(|| format!("{}", file.display()))
}
