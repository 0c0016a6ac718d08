//! `announcer drain` and `announcer undrain`, also while no daemon runs: a drain is a file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::{CommandError, no, print_notes, usage};
use crate::config::io::ConfigText;
use crate::config::{self, Config};
use crate::control::api::{Request, Response};
use crate::control::io::client::{self, ClientError};
use crate::control::orders::{DrainOrder, OrderError, OrderFacts, Targets, UndrainOrder, is_name};
use crate::drain::progress::{DEADLINE, DRAIN_TIMEOUT, UNDRAIN_TIMEOUT};
use crate::drain::{self, DrainChange, DrainTarget, Drains};

#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    #[command(flatten)]
    scope: ScopeArguments,
    /// The reason, for other operators.
    #[arg(long, value_name = "TEXT", value_parser = drain::reason)]
    reason: Option<String>,
    /// End the drain after this time, by the clock of the host.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "until_reboot")]
    time: Option<Duration>,
    /// End the drain when the host boots.
    #[arg(long)]
    until_reboot: bool,
    /// Let a drain with an end go on for this time longer.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration,
        conflicts_with_all = ["time", "until_reboot", "reason", "wait", "prepare", "command"])]
    extend: Option<Duration>,
    /// Announce the VIPs as the last choice for this time, before they are withdrawn.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    prepare: Option<Duration>,
    /// Return only when the routers' kernels have acknowledged the withdraw (TCP), the routers have had time to follow, and no
    /// connection is served here any more.
    #[arg(long)]
    wait: bool,
    /// How long to wait for the routers' acknowledgement before giving up with exit code 1.
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How long connections may go on after the withdraw; without it, `deadline` of `[drain]`, or 5m.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// Drain also if no other router would be sent a VIP or too few other frontends would announce it (`min_announcers`), or extend the
    /// drain of another person. Only root may do it.
    #[arg(long)]
    force: bool,
    /// The configuration with the names, for use while the daemon does not run.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print JSON, for programs.
    #[arg(long, conflicts_with = "command")]
    pub(super) json: bool,
    /// A command to run when it is drained, after `--`. If it succeeds, the drain ends, and the return of the VIPs is waited for.
    #[arg(last = true, value_name = "COMMAND", requires = "wait")]
    command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct UndrainArguments {
    #[command(flatten)]
    scope: ScopeArguments,
    /// Return only when each VIP is announced, and acknowledged by every connected router (TCP).
    #[arg(long)]
    wait: bool,
    /// How long to wait before giving up with exit code 1.
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// End the drains of other people too. Only root may do it.
    #[arg(long)]
    force: bool,
    /// The configuration with the names, for use while the daemon does not run.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct ScopeArguments {
    /// Services by name, and VIPs.
    #[arg(value_name = "SERVICE|VIP")]
    names: Vec<String>,
    /// Every VIP of a family: ipv4 or ipv6.
    #[arg(long, value_name = "FAMILY")]
    family: Vec<String>,
    /// Every route to a router, by name. Its session stays up.
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Every service, also those that are configured later.
    #[arg(long, conflicts_with_all = ["names", "family", "peer"])]
    all: bool,
}

impl ScopeArguments {
    fn targets(self) -> Targets {
        let ScopeArguments { names, family, peer, all } = self;
        let (vips, services): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| name.parse::<IpAddr>().is_ok());
        let vips = vips.iter().filter_map(|vip| vip.parse().ok()).collect();
        Targets { services, vips, families: family, peers: peer, all }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn drain(arguments: DrainArguments, socket: &Path, state_dir: &Path) -> Result<(), CommandError> {
    let DrainArguments { scope, reason, time, until_reboot, extend, prepare, .. } = arguments;
    let DrainArguments { wait, timeout, deadline, force, config, command, json, .. } = arguments;
    let order = DrainOrder {
        targets: scope.targets(),
        reason,
        by: std::env::var("SUDO_USER").ok(),
        force,
        for_ms: time.map(millis),
        until_reboot,
        extend_ms: extend.map(millis),
        prepare_ms: prepare.map(millis),
        wait_ms: wait.then(|| millis(timeout)),
        deadline_ms: deadline.map(millis),
    };
    let names = arguments_of(&order.targets);
    if wait {
        output::note(
            "routers with plain ECMP move open connections to other frontends, at `--prepare` and at the withdraw",
        );
    }
    // The daemon knows `[drain]`. Its limits are far below a day, and a daemon that hangs is noticed by its connection too.
    let patience = match wait {
        true => Duration::from_secs(86_400).max(deadline.unwrap_or(DEADLINE)) + timeout.max(DRAIN_TIMEOUT),
        false => Duration::ZERO,
    };
    let going_on = format!("the drain goes on; `announcer undrain {names}` ends it");
    let request = Request::Drain(order.clone());
    let answer = match wait {
        true => client::ask_watching(socket, &request, patience),
        false => client::ask(socket, &request, patience),
    };
    match answer {
        Err(ClientError::NotRunning(_)) if !command.is_empty() => {
            return Err(no("announcer is not running, so nothing was drained, and the command was not run"));
        }
        Err(ClientError::NotRunning(_)) => return drain_offline(&order, &config, state_dir, json),
        Err(ClientError::Interrupted) => return Err(no(format!("interrupted; {going_on}"))),
        Err(error) => return Err(CommandError::Client(error)),
        Ok(Response::Error(error)) => return Err(CommandError::Api(error)),
        Ok(answer) => print_notes(answer, json)?,
    }
    match command.split_first() {
        Some((program, arguments)) => {
            run(program, arguments, &going_on)?;
            let order = UndrainOrder {
                targets: order.targets,
                by: order.by,
                force: false,
                wait_ms: Some(millis(UNDRAIN_TIMEOUT)),
            };
            match ask_undrain(socket, order, UNDRAIN_TIMEOUT, false)? {
                true => Ok(()),
                false => Err(no(format!("announcer is not running any more; {going_on}"))),
            }
        }
        None => Ok(()),
    }
}

/// The arguments that name the same targets.
fn arguments_of(targets: &Targets) -> String {
    let all = targets.named().unwrap_or_default();
    all.iter().map(DrainTarget::arguments).collect::<Vec<_>>().join(" ")
}

/// Runs the command of a drain, with our input and output.
fn run(program: &str, arguments: &[String], going_on: &str) -> Result<(), CommandError> {
    match process::Command::new(program).args(arguments).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(no(format!("`{program}` ended with {status}; {going_on}"))),
        Err(error) => Err(no(format!("`{program}` was not run: {error}; {going_on}"))),
    }
}

pub(super) fn undrain(
    arguments: UndrainArguments,
    socket: &Path,
    state_dir: &Path,
) -> Result<(), CommandError> {
    let UndrainArguments { scope, wait, timeout, force, config, json } = arguments;
    let order = UndrainOrder {
        targets: scope.targets(),
        by: std::env::var("SUDO_USER").ok(),
        force,
        wait_ms: wait.then(|| millis(timeout)),
    };
    match ask_undrain(socket, order.clone(), if wait { timeout } else { Duration::ZERO }, json)? {
        true => Ok(()),
        false => undrain_offline(&order, &config, state_dir, json),
    }
}

/// Asks the daemon to undrain; `false`: none runs.
fn ask_undrain(
    socket: &Path,
    order: UndrainOrder,
    patience: Duration,
    json: bool,
) -> Result<bool, CommandError> {
    match super::ask(socket, &Request::Undrain(order), patience) {
        Err(CommandError::Client(ClientError::NotRunning(_))) => Ok(false),
        answer => print_notes(answer?, json).map(|()| true),
    }
}

fn wrong(error: OrderError) -> CommandError {
    usage(error)
}

fn drain_offline(
    order: &DrainOrder,
    config: &Path,
    state_dir: &Path,
    json: bool,
) -> Result<(), CommandError> {
    let drains = client::offline_drains(state_dir).map_err(|error| cannot(state_dir, &error))?;
    let (targets, config) = offline_targets(&order.targets, config, order.extend_ms.map(|_| &drains))?;
    let facts = OrderFacts {
        operator: client::user(order.by.clone()),
        now: SystemTime::now(),
        boot: drain::io::boot_id(),
    };
    let defaults = config.as_ref().and_then(|config| config.drain.as_ref());
    let job = order.job(targets, facts, defaults).map_err(wrong)?;
    offline(state_dir, &job.change, "the drain holds from its next start", json)
}

fn undrain_offline(
    order: &UndrainOrder,
    config: &Path,
    state_dir: &Path,
    json: bool,
) -> Result<(), CommandError> {
    let drains = client::offline_drains(state_dir).map_err(|error| cannot(state_dir, &error))?;
    let (targets, _) = offline_targets(&order.targets, config, Some(&drains))?;
    let job = order.job(targets, client::user(order.by.clone()));
    offline(state_dir, &job.change, "the drain has ended", json)
}

/// The targets of an order without a daemon. If the configuration cannot be used, a drain must still be possible: every name is
/// accepted, and a warning says which names could not be compared with the configuration, and why.
fn offline_targets(
    targets: &Targets,
    file: &Path,
    drained: Option<&Drains>,
) -> Result<(Vec<DrainTarget>, Option<Config>), CommandError> {
    match ConfigText::read(file).and_then(|text| Ok(text.parse()?)) {
        Ok(config) => Ok((targets.find(&config, drained).map_err(wrong)?, Some(config))),
        Err(error) => {
            let all = targets.named().map_err(wrong)?;
            all.iter().try_for_each(|target| is_name(target).map_err(usage))?;
            let is_known = |target: &&DrainTarget| match target {
                DrainTarget::Family(_) | DrainTarget::All => true,
                DrainTarget::Service(_) | DrainTarget::Vip(_) | DrainTarget::Peer(_) => {
                    drained.is_some_and(|drains| !drains.of(target).is_empty())
                }
            };
            let unknown: Vec<String> =
                all.iter().filter(|target| !is_known(target)).map(kind_and_name).collect();
            if !unknown.is_empty() {
                output::note(error);
                output::note(format_args!(
                    "warning: the configuration cannot be used, so it is not known whether there is {}",
                    unknown.join(" or ")
                ));
            }
            Ok((all, None))
        }
    }
}

/// As in "a service `www`".
fn kind_and_name(target: &DrainTarget) -> String {
    match target {
        DrainTarget::Service(name) => format!("a service `{name}`"),
        DrainTarget::Vip(vip) => format!("a VIP `{vip}`"),
        DrainTarget::Peer(name) => format!("a peer `{name}`"),
        DrainTarget::Family(_) | DrainTarget::All => target.to_string(),
    }
}

fn offline(state_dir: &Path, change: &DrainChange, then: &str, json: bool) -> Result<(), CommandError> {
    let plan = client::offline(state_dir, change).map_err(|error| cannot(state_dir, &error))?;
    let plan = plan.map_err(|why| usage(format!("error: {why}")))?;
    let mut notes: Vec<String> =
        plan.absent.iter().map(|target| format!("{target} was not drained")).collect();
    notes.push(format!("announcer is not running; {then}"));
    print_notes(Response::Done { notes }, json)
}

fn cannot(state_dir: &Path, error: &std::io::Error) -> CommandError {
    no(format!("announcer is not running, and `{}` cannot be changed: {error}", state_dir.display()))
}
