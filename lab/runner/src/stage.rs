//! The running lab of a plan: its nodes, what the routers receive and do, and the requests of the client.
//!
//! Touches the lab.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use lab::load::{self, Counts, Plan as LoadPlan};
use lab::{Lab, Node};
use nix::sys::signal::{Signal, kill};
use scene::PATIENCE;
use scene::fib::Change;
use scene::log::Mark;
use scene::wire::{Message, between};
use until::until;

use crate::expect::{Route, routes};
use crate::files::Inputs;
use crate::plan::MOST_ROUTERS;
use crate::topology::CLIENT;
use crate::web::{self, LoadTarget};

/// The names of the routers: a lab has at most as many.
const ROUTERS: [&str; MOST_ROUTERS] = ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"];
/// New connections of the client a second.
const RATE: u32 = 200;
/// A FIB that is as wanted and has not changed for this time does not have to change: a restarted router may take over the routes
/// that it finds in the kernel.
const UNCHANGED: Duration = Duration::from_secs(2);
/// The longest load. Each scenario ends its own.
const LONGEST_LOAD: Duration = Duration::from_secs(24 * 3600);

/// The running lab.
pub(crate) struct Stage {
    /// What the user gave.
    pub(crate) inputs: Inputs,
    /// Every route that should be there while all is well.
    pub(crate) routes: Vec<Route>,
    /// What the client asks for; `None`: nothing that it could ask for is served.
    pub(crate) target: Option<LoadTarget>,
    /// How long a change may take beyond what checks and timers need.
    pub(crate) patience: Duration,
    lab: Lab,
    /// In the order of the plan's routers.
    watched: Vec<scene::Router>,
}

/// What was seen of a change at a router, counted from its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The index of the router.
    pub(crate) router: usize,
    /// The message at the router's end of the link; `None`: it was not waited for.
    pub(crate) wire: Option<Duration>,
    /// The change of the router's FIB; `None`: it had changed before, or never had to.
    pub(crate) fib: Option<Duration>,
}

/// The change of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The frontend is no next hop any more.
    Gone,
    /// The frontend is a next hop again.
    There,
}

/// Whether a message has to be seen, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Only the FIB counts: the frontend can say nothing.
    Silent,
    /// The withdraw or the announcement has to arrive.
    Heard,
}

impl Stage {
    /// Begins to watch the routers of a lab that is up.
    ///
    /// # Errors
    /// When a router has ended, or cannot be watched.
    pub(crate) fn of(lab: Lab, inputs: Inputs, patience: Duration) -> Result<Stage> {
        let names = inputs.plan.routers.iter().zip(ROUTERS);
        let watched = names
            .map(|(router, name)| scene::Router::listen(lab.node(&router.name)?, name))
            .collect::<Result<_>>()?;
        let of =
            |(index, config): (usize, &crate::plan::ConfigFile)| routes(&inputs.plan, index, &config.config);
        let routes = inputs.configs.iter().enumerate().flat_map(of).collect();
        let target = inputs.configs.iter().find_map(|config| web::load(&config.config, inputs.own_web));
        Ok(Stage { inputs, routes, target, patience, lab, watched })
    }

    /// The node of a frontend.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn frontend(&self, index: usize) -> Result<&Node> {
        Ok(self.lab.node(&self.inputs.plan.frontends[index].name)?)
    }

    /// The node of a router.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn router(&self, index: usize) -> Result<&Node> {
        Ok(self.lab.node(&self.inputs.plan.routers[index].name)?)
    }

    /// The routes of a frontend.
    pub(crate) fn routes_of(&self, frontend: usize) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| route.frontend == frontend)
    }

    /// Waits until every router has every route.
    ///
    /// # Errors
    /// When one is missing after `patience`: it says which.
    pub(crate) fn all_announced(&self, patience: Duration) -> Result<()> {
        self.routes.iter().try_for_each(|route| until(patience, || self.is(route, Wanted::There)))
    }

    /// Checks whether a router has a route now.
    ///
    /// # Errors
    /// When it is not as wanted: it says what was expected and what was seen.
    pub(crate) fn is(&self, route: &Route, wanted: Wanted) -> Result<()> {
        let found = scene::next_hops(self.router(route.router)?, &prefix(route))?;
        let there = found.iter().any(|hop| route.hops.contains(hop));
        ensure!(
            there == (wanted == Wanted::There),
            "expected {} {} {} in the FIB of {}, and saw {}",
            match wanted {
                Wanted::There => "a route to",
                Wanted::Gone => "no route to",
            },
            prefix(route),
            self.via(route),
            self.inputs.plan.routers[route.router].name,
            if found.is_empty() { "no next hop".to_owned() } else { format!("via {}", list(&found)) }
        );
        Ok(())
    }

    fn via(&self, route: &Route) -> String {
        format!("over {} ({})", self.inputs.plan.frontends[route.frontend].name, list(&route.hops))
    }

    /// Waits until a router has received the withdraw or the announcement of a route and its FIB has changed. `cause` is the time of
    /// the fault or of the repair; `mark` was taken before it.
    ///
    /// # Errors
    /// When that takes longer than `patience`: it says what was expected and what was seen.
    pub(crate) fn change(
        &self,
        (mark, cause): (Mark, SystemTime),
        route: &Route,
        wanted: Wanted,
        wire: Wire,
        patience: Duration,
    ) -> Result<Seen> {
        let router = &self.watched[route.router];
        let vip = route.prefix.addr();
        let says = |message: &Message| match wanted {
            Wanted::Gone => message.withdraws(vip),
            Wanted::There => message.announces(vip),
        };
        let heard = match wire {
            Wire::Silent => None,
            Wire::Heard => {
                let found = router.wire.wait(mark, patience, |message| {
                    message.at >= cause && route.senders.contains(&message.from) && says(message)
                });
                let what = match wanted {
                    Wanted::Gone => "a withdraw",
                    Wanted::There => "an announcement",
                };
                Some(found.with_context(|| {
                    format!(
                        "expected {what} of {} by {} at {}, and saw none within {patience:.1?}",
                        prefix(route),
                        self.inputs.plan.frontends[route.frontend].name,
                        self.inputs.plan.routers[route.router].name
                    )
                })?)
            }
        };
        // A FIB that changes before the message arrives does not follow the message.
        let from = heard.as_ref().map_or(cause, |message| message.at);
        let fits = |change: &Change| {
            let there = change.next_hops.iter().any(|hop| route.hops.contains(hop));
            change.prefix == route.prefix && change.at >= from && there == (wanted == Wanted::There)
        };
        let entered = Instant::now();
        let fib = until(patience, || match router.fib.since(mark).iter().find(|change| fits(change)) {
            Some(change) => Ok(Some(between(cause, change.at))),
            None if entered.elapsed() > UNCHANGED => self.is(route, wanted).map(|()| None),
            None => bail!("the FIB of {} did not change", router.name),
        })?;
        Ok(Seen { router: route.router, wire: heard.map(|message| between(cause, message.at)), fib })
    }

    /// Kills all processes of a frontend, without those that keep the node.
    ///
    /// # Errors
    /// When the node has ended, or processes are left.
    pub(crate) fn kill_all(&self, frontend: usize) -> Result<()> {
        let node = self.frontend(frontend)?;
        until(PATIENCE, || {
            let keepers = node.pids_of("sleep");
            let mut left = node.processes();
            left.retain(|pid| *pid != node.pid() && !keepers.contains(pid));
            for pid in &left {
                let _ = kill(*pid, Signal::SIGKILL); // it may have ended already
            }
            ensure!(left.is_empty(), "{} processes did not end", left.len());
            Ok(())
        })
    }

    /// Starts the requests of the client.
    ///
    /// # Errors
    /// When the client has ended.
    pub(crate) fn load(&self) -> Result<Load> {
        let Some(LoadTarget { url, host }) = &self.target else { return Ok(Load(None)) };
        let plan = LoadPlan::new(url, RATE, LONGEST_LOAD).map_err(anyhow::Error::msg)?;
        let plan = match host {
            Some(host) => plan.for_host(host),
            None => plan,
        };
        let client = self.lab.node(CLIENT)?.clone();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let live = move |_: &load::Bucket| match ended.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let thread = thread::spawn(move || client.in_netns(|| load::run(&plan, live)));
        Ok(Load(Some((end, thread))))
    }

    /// What `announcer status --all` of a frontend says.
    pub(crate) fn status(&self, frontend: usize) -> String {
        let said =
            self.frontend(frontend).and_then(|node| Ok(node.exec(&["announcer", "status", "--all"])?));
        match said {
            Ok(output) => output.stdout + &output.stderr,
            Err(error) => format!("{error:#}"),
        }
    }

    /// Ends the lab.
    ///
    /// # Errors
    /// When something of it cannot be ended.
    pub(crate) fn down(self) -> Result<()> {
        let Stage { lab, watched, .. } = self;
        lab.down()?; // this also ends the captures in the routers
        drop(watched);
        Ok(())
    }
}

type LoadThread = thread::JoinHandle<Result<std::io::Result<load::Report>, lab::Error>>;

/// The requests of the client, if it sends any.
pub(crate) struct Load(Option<(Arc<AtomicBool>, LoadThread)>);

impl Load {
    /// Ends the requests; returns how many were sent, and their results. `None`: none was sent.
    ///
    /// # Errors
    /// When the client could not send them.
    pub(crate) fn end(self) -> Result<Option<(u64, Counts)>> {
        let Some((end, thread)) = self.0 else { return Ok(None) };
        end.store(true, Ordering::Relaxed);
        match thread.join() {
            Ok(report) => {
                let report = report??;
                Ok(Some((report.sent, report.total)))
            }
            Err(_) => bail!("the load's thread panicked"),
        }
    }
}

/// A route's prefix as people write it: a host without its length.
pub(crate) fn prefix(route: &Route) -> String {
    let net = route.prefix;
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn list<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> String {
    addresses.into_iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}
