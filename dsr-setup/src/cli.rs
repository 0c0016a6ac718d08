//! The commands, and the text that they print.

mod devices;
mod doctor;
mod failure;
mod order;
mod persist;
mod source;
mod tunnel;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::devices::{Devices, MissingVrf, devices};
pub use self::failure::Failure;
use self::order::Order;
use self::source::VipSource;
use self::tunnel::TunnelOptions;
use self::watch::Watch;
use crate::config;
use crate::io::device::DeviceName;
use crate::io::lock::{self, Role};
use crate::io::{self as host, Error, Host, StepResult, announcer};
use crate::plan::{DesiredState, Forwarding, HostState, Owner, Step, in_use, plan};
use crate::report::Report;
use crate::{LOOPBACK, STATE_DIR};

/// Sets up a frontend for VIPs whose packets a router or a director sends to it directly (DSR): the VIPs on lo, and ARP settings
/// so that the host does not answer for them (arp_ignore = 1, arp_announce = 2). Where it is needed, also rp_filter = 2, so that
/// requests which arrive by another interface than that of the replies are not dropped. If the configuration has `[chain]`, and it
/// forwards packets, also tcp_fwmark_accept = 1, so that connections keep the mark of the rules.
///
/// It changes nothing that another program has set up, and it undoes only its own changes.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// The directory of the state file, which has the changed settings and their old values
    #[arg(long, global = true, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,

    /// The interface that has the VIPs: lo, a dummy interface, or a VRF, which exists already. The daemon uses lo. A service with `vrf` in
    /// the configuration has its VIPs on the device of its VRF, whatever is written here
    #[arg(long, global = true, value_name = "NAME", default_value = LOOPBACK)]
    device: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the steps that `apply` would do with their reasons, and exit with 1 if there are any, else with 0
    ///
    /// The exit code is also 1 if another program has put a VIP on this host in a way that harms. A configuration without a VIP is
    /// allowed: then there are no steps.
    Plan(Compare),

    /// Do these steps, and print each when it is done; print nothing if there are none
    ///
    /// Stops at the first step that fails; the steps before it stay done, and another `apply` continues from there.
    /// Needs CAP_NET_ADMIN if there are steps to do. Never removes a VIP. A configuration without a VIP is allowed: then there is
    /// nothing to do. A VIP that another program has put on this host is not changed; if it harms there, a warning says what to do, and
    /// the exit code is 1.
    Apply(Apply),

    /// Print a sentence for each thing that is not as `apply` leaves it, and exit with 1 if there are any, else with 0
    ///
    /// It changes nothing, and needs no capability.
    Check(Compare),

    /// Repair what has drifted, at once and until it is stopped, and print each repair on standard error
    ///
    /// VIPs that another program removes or changes are put back within milliseconds, settings and the tunnels of `--tunnel` within two
    /// seconds. It removes nothing, also when it ends. SIGHUP lets it read the configuration again. The unit dsr-setup-watch.service runs it.
    ///
    /// While announcer runs, announcer keeps the VIPs, and only the settings are repaired. After `systemctl stop announcer`, what
    /// announcer has removed is not put back; after a crash it is, if the configuration names it.
    Watch(Watch),

    /// Undo what `apply` and the announcer daemon did here, and nothing else
    ///
    /// Without a VIP, this is also what `apply --tunnel` has changed, and what `[chain]` has left: the nftables tables `ip announcer`
    /// and `ip6 announcer`, and the device announcer0. With nftables installed, it needs CAP_NET_ADMIN, also if there are no steps.
    ///
    /// VIPs that another program has put on lo stay, and so do settings that were changed since. lo stays up. Refused while
    /// announcer runs and holds one of the VIPs, drained or not, and while `watch` keeps the VIPs: they would put them back.
    Remove(Remove),

    /// Let a web server start after the VIPs are on lo, and stop after announcer has withdrawn them
    ///
    /// The units of announcer know the common web servers. For any other web server, this writes a drop-in for its unit. Only
    /// services are accepted.
    Order(Order),

    /// Find what harms the VIPs on this host and around it, with probes, and print what repairs it; change nothing
    ///
    /// Prints nothing if nothing is found. Each finding has a stable code; docs/dsr-doctor.md lists them. Without root, it prints what it
    /// could not check. It sends ARP and ND requests for the VIPs on the LAN, echo requests to routers, and TLS handshakes to the VIPs.
    ///
    /// Exit code 0: nothing, or only notes; 1: at least one error; 3: at least one warning, and no error; 2: wrong usage or
    /// configuration, or a host that cannot be read.
    Doctor(doctor::Doctor),

    /// Print or install what keeps the VIPs and the settings over a reboot, without announcer
    ///
    /// Without `--install`, it prints the files, and changes nothing. A file that something else has written is never changed. Not
    /// needed where `dsr-setup.service` is enabled.
    Persist(persist::Persist),
}

#[derive(Debug, Args)]
struct Compare {
    #[command(flatten)]
    source: VipSource,

    #[command(flatten)]
    tunnels: TunnelOptions,

    /// Print JSON: the steps, and the warnings
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Apply {
    #[command(flatten)]
    source: VipSource,

    #[command(flatten)]
    tunnels: TunnelOptions,

    /// Move VIPs of ours from another interface to that of `--device` even while announcer holds them
    #[arg(long)]
    force: bool,

    /// The control socket of announcer, to ask which VIPs it holds
    #[arg(long, value_name = "SOCKET", default_value = SOCKET)]
    socket: PathBuf,
}

#[derive(Debug, Args)]
struct Remove {
    /// Remove only these VIPs, and do not change the settings
    #[arg(value_name = "VIP", value_parser = config::vip)]
    vips: Vec<IpAddr>,

    /// Another form of the argument VIP
    #[arg(long = "vip", value_name = "VIP", value_parser = config::vip, hide = true)]
    options: Vec<IpAddr>,

    /// Remove them even while announcer or `watch` keeps the VIPs: clients lose their connections, and the VIPs are put back
    #[arg(long)]
    force: bool,

    /// The control socket of announcer, to ask which VIPs it holds
    #[arg(long, value_name = "SOCKET", default_value = SOCKET)]
    socket: PathBuf,
}

/// Where the daemon listens by default.
const SOCKET: &str = "/run/announcer/control.sock";

/// Runs the command; returns the exit code.
///
/// # Errors
/// Why the command failed.
pub async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let command = match cli.command {
        Command::Order(order) => return order.carry_out(),
        Command::Persist(persist) => return persist.carry_out(cli.device),
        command @ (Command::Plan(_)
        | Command::Apply(_)
        | Command::Check(_)
        | Command::Watch(_)
        | Command::Remove(_)
        | Command::Doctor(_)) => command,
    };
    let (connection, host) = Host::connect(&cli.state_dir).map_err(Failure::Observe)?;
    tokio::spawn(connection);
    let host = host.on(&DeviceName::Option(cli.device.clone())).await?;
    match command {
        Command::Plan(compare) => {
            let Some((reports, missing)) = compare.reports(&host).await? else {
                return Ok(ExitCode::SUCCESS);
            };
            if !compare.json {
                reports.iter().flat_map(Report::plan).for_each(output::line);
                missing.iter().for_each(|vrf| output::note(format_args!("warning: {vrf}")));
                reports.iter().for_each(warn);
            }
            Ok(code(&reports, &missing))
        }
        Command::Check(compare) => {
            let Some((reports, missing)) = compare.reports(&host).await? else {
                return Ok(ExitCode::SUCCESS);
            };
            if !compare.json {
                missing.iter().for_each(output::line);
                reports.iter().flat_map(Report::check).for_each(output::line);
                let warnings = reports.iter().flat_map(Report::all_warnings);
                warnings.for_each(|warning| output::note(format_args!("warning: {warning}")));
            }
            Ok(code(&reports, &missing))
        }
        Command::Apply(apply) => {
            let Some((by_vrf, forwarding)) = apply.source.read()? else { return Ok(ExitCode::SUCCESS) };
            let devices = devices(&host, &by_vrf).await?;
            devices.missing.iter().for_each(|vrf| output::note(format_args!("warning: {vrf}")));
            let mut is_refused = !devices.missing.is_empty();
            for (host, vips) in devices.all {
                is_refused |= apply.carry_out(&host, vips, forwarding).await?;
            }
            Ok(ExitCode::from(u8::from(is_refused)))
        }
        Command::Watch(watch) => watch.carry_out(&host).await,
        Command::Remove(remove) => remove.carry_out(&host).await,
        Command::Order(order) => order.carry_out(),
        Command::Persist(persist) => persist.carry_out(cli.device),
        Command::Doctor(doctor) => doctor.carry_out(&host).await,
    }
}

/// 1 if something is not as it should be.
fn code(reports: &[Report], missing: &[MissingVrf]) -> ExitCode {
    ExitCode::from(u8::from(!missing.is_empty() || !reports.iter().all(Report::is_good)))
}

impl Apply {
    /// Puts the VIPs on the device of `host`; whether something was refused.
    async fn carry_out(
        &self,
        host: &Host,
        vips: BTreeSet<IpAddr>,
        forwarding: Forwarding,
    ) -> Result<bool, Failure> {
        let observed = observe(host).await?;
        let steps = plan(&observed, &DesiredState::Present(vips.clone(), forwarding));
        let tunnels = self.tunnels.report(host, &vips, &steps).await?;
        let report = Report::new(&observed, &vips, steps, tunnels);
        warn(&report);
        if !self.force && report.steps.iter().any(|step| matches!(step, Step::RemoveElsewhere { .. })) {
            refuse_if_held(&report.steps, &self.socket).await?;
        }
        tunnel::carry_out(host, &report.tunnels.before).await?;
        let is_refused = report.all_refused().next().is_some();
        carry_out(host, report.steps, &report.device).await?;
        tunnel::carry_out(host, &report.tunnels.after).await?;
        Ok(is_refused)
    }
}

impl Compare {
    /// Compares each device of the VIPs with what is wanted, and prints JSON if that is asked for. Also the VRFs that do not exist. `None`:
    /// there is no VIP.
    async fn reports(&self, host: &Host) -> Result<Option<(Vec<Report>, Vec<MissingVrf>)>, Failure> {
        let Some((by_vrf, forwarding)) = self.source.read()? else { return Ok(None) };
        let mut reports: Vec<Report> = Vec::new();
        let Devices { all, missing } = devices(host, &by_vrf).await?;
        for (host, vips) in all {
            let observed = observe(&host).await?;
            let mut steps = plan(&observed, &DesiredState::Present(vips.clone(), forwarding));
            let tunnels = self.tunnels.report(&host, &vips, &steps).await?;
            // The settings of the host are set once.
            steps.retain(|step| {
                !matches!(step, Step::Set { .. }) || !reports.iter().any(|report| report.steps.contains(step))
            });
            reports.push(Report::new(&observed, &vips, steps, tunnels));
        }
        if self.json {
            let missing = missing.iter().map(ToString::to_string).collect();
            output::line(Report::json(&reports, missing).map_err(Failure::Json)?);
        }
        Ok(Some((reports, missing)))
    }
}

impl Remove {
    async fn carry_out(self, host: &Host) -> Result<ExitCode, Failure> {
        let mut observed = observe(host).await?;
        let named: BTreeSet<IpAddr> = self.vips.into_iter().chain(self.options).collect();
        // Without the state file, the settings would stay changed without a message. Single VIPs have a mark, so they can be
        // removed.
        if let (Some(error), true) = (&observed.record_error, named.is_empty()) {
            return Err(Failure::Record(error.clone()));
        }
        named.iter().filter(|vip| is_foreign(&observed, **vip)).for_each(|vip| {
            output::note(format_args!(
                "{vip} was put on {} by another program: it stays",
                observed.lo.device
            ));
        });
        if named.is_empty() {
            observed.chain = host.observe_chain().await.map_err(chain_failure)?;
            if let Some(error) = &observed.chain.error {
                output::note(format_args!(
                    "warning: the rules of the chain stay, if there are any: {error}; `nft delete table ip announcer` and \
                     `nft delete table ip6 announcer` remove them"
                ));
            }
        }
        let removes_all = named.is_empty();
        let desired = if removes_all { DesiredState::Clean } else { DesiredState::Absent(named) };
        let steps = plan(&observed, &desired);
        let tunnels = if removes_all { tunnel::undo(host).await? } else { Vec::new() };
        let has_steps = !steps.is_empty() || !tunnels.is_empty();
        if has_steps && !self.force {
            refuse_if_held(&steps, &self.socket).await?;
            refuse_if_watched(&observed.lo.device).await?;
        }
        tunnel::carry_out(host, &tunnels).await?;
        carry_out(host, steps, &observed.lo.device).await
    }
}

/// Why the rules and the device of the chain cannot be read.
fn chain_failure(error: Error) -> Failure {
    if matches!(error, Error::NotPermitted) { Failure::NotPermitted(error) } else { Failure::Observe(error) }
}

async fn observe(host: &Host) -> Result<HostState, Failure> {
    host.observe().await.map_err(Failure::Observe)
}

/// Whether the VIP is on `lo` and another program has put it there.
fn is_foreign(observed: &HostState, vip: IpAddr) -> bool {
    observed.lo.addresses.iter().any(|on_lo| on_lo.net.addr() == vip && on_lo.owner == Owner::Foreign)
}

/// Prints the warnings about the host for which there are no steps.
fn warn(report: &Report) {
    for warning in report.all_refused().chain(report.all_warnings()) {
        output::note(format_args!("warning: {warning}"));
    }
}

/// An error if a running daemon holds VIPs that these steps affect: those that are removed, and all of them if ARP settings are
/// restored. If no daemon listens at `socket`, it is no error.
async fn refuse_if_held(steps: &[Step], socket: &Path) -> Result<(), Failure> {
    let held =
        announcer::held(socket).await.map_err(|error| Failure::Ask { socket: socket.to_owned(), error })?;
    let in_use = in_use(steps, &held);
    if in_use.is_empty() { Ok(()) } else { Err(Failure::InUse(in_use)) }
}

/// An error if `dsr-setup watch` keeps the VIPs. A process that does not count keeps nothing.
async fn refuse_if_watched(device: &str) -> Result<(), Failure> {
    match lock::holder(device, Role::Question).await {
        Ok(Some(holder)) if holder.role == Role::Watch => {
            Err(Failure::Watched { holder: holder.name(), device: device.to_owned() })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Does the steps in order, and prints each when it is done. It stops at the first that fails. `NotRecorded` means that the step
/// was done, but the state file could not be written.
async fn carry_out(host: &Host, steps: Vec<Step>, device: &str) -> Result<ExitCode, Failure> {
    if !steps.is_empty() {
        host::permitted().map_err(Failure::NotPermitted)?;
    }
    let mut left = steps.len();
    for step in steps {
        left -= 1;
        match host.carry_out(&step).await {
            Ok(done) => {
                output::line(step.on(device));
                if let StepResult::NotRecorded(error) = done {
                    output::note(format_args!("warning: {error}; `dsr-setup remove` will not undo this"));
                }
            }
            Err(error) => {
                let step = step.on(device).to_string();
                return Err(Failure::Step { step, error, after: left });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
