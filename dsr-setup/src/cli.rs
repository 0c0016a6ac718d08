//! The commands, and the text that they print.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::STATE_DIR;
use crate::config::{self, ConfigError};
use crate::folder::{files_of_folder, folder_of};
use crate::io::announcer::{self, AskError};
use crate::io::regular::{self, FileError};
use crate::io::units;
use crate::io::{self as host, Error, Host, StepResult};
use crate::plan::{DesiredState, Forwarding, HostState, Owner, Step, in_use, plan};
use crate::substitution::{self, Variable, Variables};
use crate::units::{UNITS, Unit};
use crate::warning::{self, Warning};

/// The longest configuration, in octets: about 100,000 services.
const LONGEST_CONFIG: u64 = 64 * 1024 * 1024;

/// Sets up a frontend for VIPs whose packets a router sends to it directly (DSR): the VIPs on lo, and ARP settings
/// so that the host does not answer for them (arp_ignore = 1, arp_announce = 2). If the configuration has `[chain]`, and it forwards
/// packets, also tcp_fwmark_accept = 1, so that connections keep the mark of the rules.
///
/// It does not change what is already there, and it undoes only its own changes.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// The directory of the state file, which has the changed settings and their old values
    #[arg(long, global = true, value_name = "DIR", default_value = STATE_DIR)]
    state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the steps that `apply` would do, and exit with 1 if there are any, else with 0
    ///
    /// A configuration without a VIP is allowed: then there are no steps.
    Plan(VipSource),

    /// Do these steps, and print each when it is done; print nothing if there are none
    ///
    /// Stops at the first step that fails; the steps before it stay done, and another `apply` continues from there.
    /// Needs CAP_NET_ADMIN if there are steps to do. Never removes a VIP. A configuration without a VIP is allowed: then there is
    /// nothing to do.
    Apply(VipSource),

    /// Undo what `apply` and the announcer daemon did here, and nothing else
    ///
    /// Without `--vip`, this is also what `[chain]` has left: the nftables tables `ip announcer` and `ip6 announcer`, and the device
    /// announcer0. With nftables installed, it needs CAP_NET_ADMIN, also if there are no steps.
    ///
    /// VIPs that another program has put on lo stay, and so do settings that were changed since. lo stays up. Refused while
    /// announcer runs and holds one of the VIPs, drained or not: it would put them back.
    Remove(Remove),

    /// Let a web server start after the VIPs are on lo, and stop after announcer has withdrawn them
    ///
    /// The units of announcer know the common web servers. For any other web server, this writes a drop-in for its unit. Only
    /// services are accepted.
    Order(Order),
}

#[derive(Debug, Args)]
struct VipSource {
    /// The announcer configuration with the VIPs (`[[service]] vips`) and `[chain]`; also the files of `conf.d` beside it
    #[arg(long, value_name = "FILE", default_value = "/etc/announcer/announcer.toml")]
    config: PathBuf,

    /// A VIP, instead of the configuration; repeat it for more
    #[arg(long = "vip", value_name = "ADDRESS", value_parser = config::vip, conflicts_with = "config")]
    vips: Vec<IpAddr>,
}

#[derive(Debug, Args)]
struct Remove {
    /// Remove only this VIP, and do not change the settings; repeat it for more
    #[arg(long = "vip", value_name = "ADDRESS", value_parser = config::vip)]
    vips: Vec<IpAddr>,

    /// Remove them even while announcer holds the VIPs: clients lose their connections, and announcer puts the VIPs back
    #[arg(long)]
    force: bool,

    /// The control socket of announcer, to ask which VIPs it holds
    #[arg(long, value_name = "SOCKET", default_value = "/run/announcer/control.sock")]
    socket: PathBuf,
}

#[derive(Debug, Args)]
struct Order {
    /// The web server's unit, as in `caddy.service`; more units can follow
    #[arg(value_name = "UNIT", required = true, value_parser = Unit::parse)]
    units: Vec<Unit>,

    /// Remove the drop-in again
    #[arg(long)]
    remove: bool,

    /// The directory of the operator's units and drop-ins
    #[arg(long, value_name = "DIR", default_value = UNITS)]
    units_dir: PathBuf,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration file does not exist, or cannot be read.
    #[error("cannot read `{}`: {error}{}", path.display(), hint(error))]
    ConfigFile {
        /// The path of the file.
        path: PathBuf,
        /// Why.
        error: FileError,
    },
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The state of the host cannot be read.
    #[error("cannot read the host: {0}")]
    Observe(Error),
    /// There are steps to do, but this process has no right to do them.
    #[error("{0}")]
    NotPermitted(Error),
    /// A step failed.
    #[error("`{step}` failed: {error}{}", not_done(*after))]
    Step {
        /// Which.
        step: Step,
        /// Why.
        error: Error,
        /// How many steps after it were not done.
        after: usize,
    },
    /// A running daemon holds VIPs that the steps affect: VIPs that are removed, or all if the ARP settings are restored.
    #[error(
        "announcer runs and holds {}: it would put {} back; stop it first with `systemctl stop announcer`, or use `--force`",
        join(.0), if .0.len() == 1 { "it" } else { "them" }
    )]
    InUse(BTreeSet<IpAddr>),
    /// A drop-in could not be written or removed.
    #[error("`{}`: {error}", path.display())]
    DropIn {
        /// The drop-in.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The state file cannot be read, so the changes cannot be undone.
    #[error("{0}")]
    Record(String),
    /// A daemon listens, but does not return which VIPs it holds.
    #[error("cannot ask announcer at `{}` which VIPs it holds: {error}; `--force` continues without this answer", socket.display())]
    Ask {
        /// Its control socket.
        socket: PathBuf,
        /// The error.
        error: AskError,
    },
}

impl Failure {
    /// 1 for a step that failed or was refused; 2 for wrong usage, a wrong configuration, or a host or state file that cannot be
    /// read.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::ConfigFile { .. } | Failure::Config(_) | Failure::Observe(_) | Failure::Record(_) => {
                ExitCode::from(2)
            }
            Failure::NotPermitted(_)
            | Failure::Step { .. }
            | Failure::InUse(_)
            | Failure::DropIn { .. }
            | Failure::Ask { .. } => ExitCode::from(1),
        }
    }
}

/// What to do about a configuration file that does not exist.
fn hint(error: &FileError) -> &'static str {
    match error {
        FileError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            "; name another file with `--config`, or VIPs with `--vip`"
        }
        FileError::Io(_)
        | FileError::NotRegular
        | FileError::TooLarge(_)
        | FileError::WritableByOthers(_) => "",
    }
}

/// The end of a message: how many steps after the failed one were not done.
fn not_done(steps: usize) -> String {
    match steps {
        0 => String::new(),
        1 => "; 1 step after it was not done".into(),
        n => format!("; {n} steps after it were not done"),
    }
}

fn join(vips: &BTreeSet<IpAddr>) -> String {
    vips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Runs the command; returns the exit code.
///
/// # Errors
/// Why the command failed.
pub async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let (connection, host) = Host::connect(&cli.state_dir).map_err(Failure::Observe)?;
    tokio::spawn(connection);
    match cli.command {
        Command::Plan(source) => {
            let Some((vips, forwarding)) = source.read()? else { return Ok(ExitCode::SUCCESS) };
            let observed = observe(&host).await?;
            let steps = plan(&observed, &DesiredState::Present(vips.clone(), forwarding));
            steps.iter().for_each(output::line);
            warn(&observed, &vips);
            Ok(ExitCode::from(u8::from(!steps.is_empty())))
        }
        Command::Apply(source) => {
            let Some((vips, forwarding)) = source.read()? else { return Ok(ExitCode::SUCCESS) };
            let observed = observe(&host).await?;
            warn(&observed, &vips);
            carry_out(&host, plan(&observed, &DesiredState::Present(vips, forwarding))).await
        }
        Command::Remove(remove) => {
            let mut observed = observe(&host).await?;
            let named: BTreeSet<IpAddr> = remove.vips.into_iter().collect();
            // Without the state file, the settings would stay changed without a message. Single VIPs have a mark, so they can be
            // removed.
            if let (Some(error), true) = (&observed.record_error, named.is_empty()) {
                return Err(Failure::Record(error.clone()));
            }
            named.iter().filter(|vip| is_foreign(&observed, **vip)).for_each(|vip| {
                output::note(format_args!("{vip} was put on lo by another program: it stays"));
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
            let desired = if named.is_empty() { DesiredState::Clean } else { DesiredState::Absent(named) };
            let steps = plan(&observed, &desired);
            if !steps.is_empty() && !remove.force {
                refuse_if_held(&steps, &remove.socket).await?;
            }
            carry_out(&host, steps).await
        }
        Command::Order(order) => order.carry_out(),
    }
}

impl Order {
    /// Writes or removes the drop-in of each unit, and prints the path of each that has changed.
    fn carry_out(self) -> Result<ExitCode, Failure> {
        let mut is_changed = false;
        for unit in &self.units {
            if !self.remove && !units::exists(&self.units_dir, unit) {
                output::note(format_args!(
                    "warning: systemd has no unit `{}` yet; the drop-in has no effect until there is one",
                    unit.name()
                ));
            }
            let (verb, done) = if self.remove {
                ("removed", units::remove(&self.units_dir, unit))
            } else {
                ("wrote", units::write(&self.units_dir, unit))
            };
            if let Some(path) = done.map_err(|(path, error)| Failure::DropIn { path, error })? {
                is_changed = true;
                output::line(format_args!("{verb} {}", path.display()));
            }
        }
        if is_changed {
            output::line("`systemctl daemon-reload` lets systemd read it");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl VipSource {
    /// The VIPs of the command line, otherwise those of the configuration's files, and whether their chain forwards packets. If they name
    /// no VIP, which is allowed, it prints this, and there is nothing to do.
    fn read(self) -> Result<Option<(BTreeSet<IpAddr>, Forwarding)>, Failure> {
        if !self.vips.is_empty() {
            return Ok(Some((self.vips.into_iter().collect(), Forwarding::No)));
        }
        let folder = folder_of(&self.config);
        let path = self.config;
        let names = match regular::names_of_trusted(&folder) {
            Ok(names) => names,
            Err(error) => return Err(Failure::ConfigFile { path: folder, error }),
        };
        let others = files_of_folder(names).into_iter().map(|name| folder.join(name));
        let (mut vips, mut forwarding) = (BTreeSet::new(), Forwarding::No);
        for path in std::iter::once(path.clone()).chain(others) {
            let name = path.display().to_string();
            match regular::read_trusted(&path, LONGEST_CONFIG) {
                Ok(octets) => {
                    let text = config::decode(&name, octets)?;
                    vips.extend(config::vips(&name, &text, &environment(&text))?);
                    forwarding = forwarding.max(config::forwarding(&text));
                }
                Err(error) => return Err(Failure::ConfigFile { path, error }),
            }
        }
        let name = path.display();
        if vips.is_empty() {
            output::note(format_args!(
                "warning: `{name}` names no VIP: there is nothing to do; add a `[[service]]` with `vips`"
            ));
        }
        Ok((!vips.is_empty()).then_some((vips, forwarding)))
    }
}

/// The variables of the environment that a text names. announcer refuses a VIP from a credential.
fn environment(text: &str) -> Variables {
    let value = |name: String| Some((name.clone(), Variable::Environment(std::env::var(&name).ok()?)));
    substitution::names(text).into_iter().filter_map(value).collect()
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
fn warn(observed: &HostState, vips: &BTreeSet<IpAddr>) {
    let record = observed.record_error.clone().map(Warning::Record);
    for warning in warning::of_addresses(&observed.lo, vips).into_iter().chain(record) {
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

/// Does the steps in order, and prints each when it is done. It stops at the first that fails. `NotRecorded` means that the step
/// was done, but the state file could not be written.
async fn carry_out(host: &Host, steps: Vec<Step>) -> Result<ExitCode, Failure> {
    if !steps.is_empty() {
        host::permitted().map_err(Failure::NotPermitted)?;
    }
    let mut left = steps.len();
    for step in steps {
        left -= 1;
        match host.carry_out(&step).await {
            Ok(done) => {
                output::line(&step);
                if let StepResult::NotRecorded(error) = done {
                    output::note(format_args!("warning: {error}; `dsr-setup remove` will not undo this"));
                }
            }
            Err(error) => return Err(Failure::Step { step, error, after: left }),
        }
    }
    Ok(ExitCode::SUCCESS)
}
