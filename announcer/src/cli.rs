//! The command line: the commands, and the text that they print.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing::warn;

use crate::bgp::io::password::{self, PasswordFinding};
use crate::config;
use crate::config::io::ConfigText;
use crate::control::api::{ListenerWatchStatus, Request, Response, Scope, Status};
use crate::control::io::client::{self, ClientError};
use crate::control::names;
use crate::control::request::{drain_names, service_names};
use crate::daemon::{self, Options};
use crate::drain::{self, Drain, DrainChange};
use crate::health::io::{one_shot, trust};
use crate::health::outcome::Outcome;
use crate::log::{self, filter};
use crate::model::ServiceName;

/// Announces this host's VIPs by BGP while its own HTTP server is healthy.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/announcer/control.sock")]
    socket: PathBuf,
    /// The state directory, with the drains.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/announcer")]
    state_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the daemon in the foreground; SIGTERM withdraws every VIP before it ends.
    ///
    /// SIGINT and SIGQUIT do the same. SIGHUP reloads, SIGUSR1 probes at once. SIGUSR2 and SIGALRM have no effect.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
        /// The level of the log: error, warn, info, debug, trace, or a filter such as `announcer::bgp=debug`.
        #[arg(long, value_name = "FILTER", default_value = "info")]
        log: String,
    },
    /// Check a configuration and print all mistakes in it.
    Validate {
        /// The configuration; `-` reads standard input.
        #[arg(value_name = "FILE", default_value = config::DEFAULT_PATH)]
        file: PathBuf,
    },
    /// Print what is announced, what is not, and why.
    Status {
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Explain the state of a VIP, or of a router and its session.
    Explain {
        /// The VIP's address, or the name of a peer.
        #[arg(value_name = "VIP|PEER")]
        what: String,
        /// Of a VIP, only what was sent to this router.
        #[arg(long, value_name = "NAME")]
        peer: Option<String>,
    },
    /// Run each check of a service once, without the daemon, and print the results.
    Check {
        /// The service, by name.
        service: String,
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
    },
    /// Let the daemon probe now, without waiting for the interval; SIGUSR1 does the same.
    Recheck {
        /// The services, by name; without one, every service.
        #[arg(value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// Apply the changed configuration; peers and checks that stay the same are not affected.
    Reload {
        /// Even if this withdraws every VIP, ends every session that carries a route to a VIP, or ends a drain.
        #[arg(long)]
        force: bool,
    },
    /// Withdraw services for maintenance, until `undrain`; restarts and reboots do not end it.
    Drain {
        #[command(flatten)]
        scope: ScopeArguments,
        /// The reason, for other operators.
        #[arg(long, value_name = "TEXT", value_parser = drain::reason)]
        reason: Option<String>,
        /// Return only when the routers have acknowledged it and have had time to follow.
        #[arg(long)]
        wait: bool,
        /// How long to wait before giving up with exit code 1.
        #[arg(long, value_name = "TIME", default_value = "10s", requires = "wait", value_parser = humantime::parse_duration)]
        timeout: Duration,
        /// The configuration with the names, for use while the daemon does not run.
        #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
    },
    /// End a drain; a healthy service is announced again.
    Undrain {
        #[command(flatten)]
        scope: ScopeArguments,
        /// The configuration with the names, for use while the daemon does not run.
        #[arg(long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeArguments {
    /// The services, by name.
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Every service, also those that are configured later.
    #[arg(long)]
    all: bool,
}

impl ScopeArguments {
    fn scope(self) -> Scope {
        if self.all { Scope::All } else { Scope::Services(self.services) }
    }
}

/// Why a command failed, as a text for a person. The variant is the exit code.
#[derive(Debug)]
pub enum CommandError {
    /// 1: the command failed or was refused. If the text is empty, it was already printed.
    No(String),
    /// 2: wrong usage or wrong configuration.
    Usage(String),
}

/// Runs the command.
///
/// # Errors
/// A message for standard error, and the exit code that goes with it.
pub fn call(arguments: Arguments) -> Result<(), CommandError> {
    let Arguments { command, socket, state_dir } = arguments;
    match command {
        CliCommand::Run { config, log } => run(Options { config, socket, state_dir }, &log),
        CliCommand::Validate { file } => {
            let text = ConfigText::read(&file).map_err(usage)?;
            let config = text.parse_looking(useless_ca_file).map_err(usage)?;
            for unseen in text.parse_looking(any_ca_file).err().iter().flat_map(config::ConfigErrors::iter) {
                output::note(format_args!(
                    "warning: line {}: {}; its certificates were not checked",
                    unseen.line, unseen.message
                ));
            }
            check_keys(&config)?;
            config.warnings().iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
            let vips = config.vips().count();
            output::line(format_args!(
                "{}: good, {}",
                file.display(),
                counts(config.peers.len(), config.services.len(), vips)
            ));
            Ok(())
        }
        CliCommand::Status { json } => {
            let answer = client::ask(&socket, &Request::Status, Duration::ZERO).map_err(no)?;
            let Response::Status { status } = answer else { return print_answer(answer) };
            let text = if json { serde_json::to_string_pretty(&status).map_err(no)? } else { table(&status) };
            output::line(text.trim_end());
            Ok(())
        }
        CliCommand::Explain { what, peer } => {
            let request = match what.parse() {
                Ok(vip) => Request::Explain { vip, peer },
                Err(_) if peer.is_none() => Request::ExplainPeer { peer: what },
                Err(_) => return Err(CommandError::Usage("error: `--peer` is only for a VIP".into())),
            };
            print_answer(client::ask(&socket, &request, Duration::ZERO).map_err(no)?)
        }
        CliCommand::Check { service, config } => check(&config, &service),
        CliCommand::Recheck { services } => {
            let what = if services.is_empty() { Scope::All } else { Scope::Services(services) };
            print_answer(client::ask(&socket, &Request::Recheck { what }, Duration::ZERO).map_err(no)?)
        }
        CliCommand::Reload { force } => {
            // Sessions that have to restart do so later, in the background.
            print_answer(client::ask(&socket, &Request::Reload { force }, Duration::ZERO).map_err(no)?)
        }
        CliCommand::Drain { scope, reason, wait, timeout, config } => {
            let wait_ms = wait.then(|| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
            let patience = if wait { timeout } else { Duration::ZERO };
            let by = std::env::var("SUDO_USER").ok();
            let what = scope.scope();
            let request =
                Request::Drain { what: what.clone(), reason: reason.clone(), by: by.clone(), wait_ms };
            match client::ask(&socket, &request, patience) {
                Err(ClientError::NotRunning(_)) => {
                    let names = drain_names(&what, &offline_names(&config, &what, &[])?).map_err(usage)?;
                    let by = Some(by.unwrap_or_else(|| "an operator".into()));
                    let drain = Drain { reason, by, at: Some(client::timestamp()) };
                    offline(
                        &state_dir,
                        &DrainChange::Drain { names, drain },
                        "the drain holds from its next start",
                    )
                }
                answer => print_answer(answer.map_err(no)?),
            }
        }
        CliCommand::Undrain { scope, config } => {
            let what = scope.scope();
            match client::ask(&socket, &Request::Undrain { what: what.clone() }, Duration::ZERO) {
                Err(ClientError::NotRunning(_)) => {
                    let drains =
                        client::offline_drains(&state_dir).map_err(|error| cannot(&state_dir, &error))?;
                    let drained: Vec<String> = drains.named.into_keys().collect();
                    let names =
                        drain_names(&what, &offline_names(&config, &what, &drained)?).map_err(usage)?;
                    offline(&state_dir, &DrainChange::Undrain { names }, "the drain has ended")
                }
                answer => print_answer(answer.map_err(no)?),
            }
        }
    }
}

/// The names that a drain without a daemon may have: those of the configuration, and those that are already drained. If the
/// configuration cannot be used, a drain must still be possible: every name is accepted, and a warning says which names could not be
/// compared with the configuration, and why.
fn offline_names(config: &Path, what: &Scope, drained: &[String]) -> Result<Vec<String>, CommandError> {
    let mut names = drained.to_vec();
    match (ConfigText::read(config).and_then(|text| Ok(text.parse()?)), what) {
        (Ok(config), _) => {
            let services =
                service_names(&config).into_iter().filter(|name| !drained.iter().any(|d| d == name));
            names.extend(services.map(str::to_owned));
        }
        (Err(error), Scope::Services(asked)) => {
            for name in asked {
                name.parse::<ServiceName>().map_err(|why| usage(format!("error: {why}")))?;
            }
            let unknown: Vec<String> = asked.iter().filter(|name| !drained.contains(name)).cloned().collect();
            if !unknown.is_empty() {
                output::note(error);
                output::note(format_args!(
                    "warning: the configuration cannot be used, so it is not known whether there is a service {}",
                    unknown.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
                ));
            }
            names.extend(unknown);
        }
        (Err(_), Scope::All) => {}
    }
    Ok(names)
}

/// The problem with a `ca_file`, also if this process cannot read it.
fn any_ca_file(file: &Path) -> Result<(), String> {
    trust::check(file).map_err(|finding| finding.to_string())
}

/// The problem with a `ca_file`, if it does not depend on the user who reads the file.
fn useless_ca_file(file: &Path) -> Result<(), String> {
    match trust::check(file) {
        Err(finding @ trust::CaFileFinding::Wrong(_)) => Err(finding.to_string()),
        Err(trust::CaFileFinding::Unseen(_)) | Ok(()) => Ok(()),
    }
}

/// Checks the files of the keys, which are not part of the configuration's text. A file that the daemon would refuse is an error.
/// For a file that this process cannot read, it prints a warning.
fn check_keys(config: &config::Config) -> Result<(), CommandError> {
    let mut wrong = Vec::new();
    for peer in &config.peers {
        let Some(file) = &peer.password_file else { continue };
        match password::check(file) {
            Ok(oddity) => oddity
                .iter()
                .for_each(|what| output::note(format_args!("warning: peer `{}`: {what}", peer.name))),
            Err(PasswordFinding::Wrong(error)) => wrong.push(format!("error: peer `{}`: {error}", peer.name)),
            Err(unseen @ PasswordFinding::Unseen(_)) => {
                output::note(format_args!("warning: peer `{}`: {unseen}", peer.name))
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(CommandError::Usage(wrong.join("\n"))) }
}

/// Runs each check of a service once.
fn check(file: &Path, name: &str) -> Result<(), CommandError> {
    let config = ConfigText::read(file).and_then(|text| Ok(text.parse()?)).map_err(usage)?;
    let Some(service) = config.services.iter().find(|service| service.name.as_str() == name) else {
        return Err(CommandError::Usage(names::unknown("service", name, service_names(&config))));
    };
    let mut failed = 0;
    for seen in one_shot::run(service).map_err(no)? {
        output::line(format_args!("{}  {}  {}", seen.vip, seen.check, seen.outcome));
        if let Some(hint) = &seen.hint {
            output::line(format_args!("    hint: {hint}"));
        }
        failed += usize::from(!matches!(seen.outcome, Outcome::Pass { .. }));
    }
    match failed {
        0 => Ok(()),
        1 => Err(CommandError::No("error: 1 probe did not pass".into())),
        _ => Err(CommandError::No(format!("error: {failed} probes did not pass"))),
    }
}

fn run(options: Options, log: &str) -> Result<(), CommandError> {
    // The outcome of a probe has the error of the probe. The libraries must not log it again for each probe.
    filter::check(log).map_err(|why| CommandError::Usage(format!("error: `--log {log}`: {why}")))?;
    let filter = tracing_subscriber::EnvFilter::try_new(format!("info,hyper_util=error,{log}"))
        .map_err(|e| CommandError::Usage(format!("error: `--log {log}` is not a filter: {e}")))?;
    let text = ConfigText::read(&options.config).map_err(usage)?;
    let config = text.parse().map_err(usage)?;
    // The writer is dropped last: it writes the last lines.
    let (buffer, _writer) = log::io::start().map_err(no)?;
    let lines = buffer.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone())
        .with_target(false)
        .init();
    log::io::log_panics();
    // A problem with the file of one service must not stop the other services. The VIPs of this service are not announced until the
    // file can be used.
    for error in text.parse_looking(any_ca_file).err().iter().flat_map(config::ConfigErrors::iter) {
        warn!(config = %options.config.display(), line = error.line, error = error.message, help = error.help,
            "certificates cannot be verified, the check fails");
    }
    daemon::run(options, config, buffer.clone()).map_err(|error| {
        // Standard error may stand still, and belongs to the log. With its causes: the outermost sentence of an `anyhow` error does
        // not say why.
        buffer.push(
            format!(
                "error: {error:#}
"
            )
            .as_bytes(),
        );
        CommandError::No(String::new())
    })
}

fn usage(error: impl std::fmt::Display) -> CommandError {
    CommandError::Usage(error.to_string())
}

fn no(error: impl std::fmt::Display) -> CommandError {
    CommandError::No(format!("error: {error}"))
}

fn offline(state_dir: &Path, change: &DrainChange, then: &str) -> Result<(), CommandError> {
    let absent = client::offline(state_dir, change).map_err(|error| cannot(state_dir, &error))?;
    absent.iter().for_each(|name| output::line(format_args!("{name} was not drained")));
    output::line(format_args!("announcer is not running; {then}"));
    Ok(())
}

fn cannot(state_dir: &Path, error: &std::io::Error) -> CommandError {
    no(format!("announcer is not running, and `{}` cannot be changed: {error}", state_dir.display()))
}

fn print_answer(answer: Response) -> Result<(), CommandError> {
    match answer {
        Response::Done { notes } => {
            notes.iter().for_each(output::line);
            Ok(())
        }
        Response::Refused { message } => Err(CommandError::Usage(message)),
        Response::Timeout { message } | Response::Failed { message } => Err(no(message)),
        Response::Status { .. } => Err(no("announcer sent an unexpected answer")),
    }
}

fn counts(peers: usize, services: usize, vips: usize) -> String {
    let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}, {}", some(peers, "peer"), some(services, "service"), some(vips, "VIP"))
}

/// The text of `status`: the peers, then each VIP's standing as a sentence, then the warnings.
fn table(status: &Status) -> String {
    let mut lines = vec![format!(
        "announcer {} pid {}, AS {}, router id {}, up {}",
        status.version,
        status.pid,
        status.asn,
        status.router_id.as_deref().unwrap_or("not known yet"),
        age(status.uptime)
    )];
    let width = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0);
    let wide = width(&mut status.peers.iter().map(|peer| peer.name.len()));
    for peer in &status.peers {
        let reason = peer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(format!(
            "peer {:wide$}  {} AS {}  {} for {}, {}{reason}",
            peer.name,
            peer.address,
            peer.asn.map_or_else(|| "external".to_owned(), |asn| asn.to_string()),
            peer.state,
            age(peer.since),
            peer.prefixes(),
        ));
        lines.extend(peer.hint.iter().map(|hint| format!("     {:wide$}  hint: {hint}", "")));
        lines.extend(peer.not_sent.iter().map(|why| format!("     {:wide$}  {why}", "")));
    }
    let vips = || status.services.iter().flat_map(|s| s.vips.iter().map(move |vip| (s, vip)));
    let wide = width(&mut vips().map(|(service, _)| service.name.len()));
    let address_wide = width(&mut vips().map(|(_, vip)| vip.address.to_string().len()));
    for (service, vip) in vips() {
        let address = vip.address.to_string();
        lines.push(format!(
            "{:wide$}  {address:address_wide$}  {} (for {})",
            service.name,
            vip.reason,
            age(vip.since)
        ));
    }
    lines.extend(status.listener_watch.iter().map(listeners));
    lines.extend(status.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

/// The listener watch in one line, and below it some of the VIPs that only probes check.
fn listeners(watch: &ListenerWatchStatus) -> String {
    const SHOWN: usize = 3;
    if let Some(why) = &watch.blind {
        return format!("warning: listeners cannot be read, only probes notice a crash: {why}");
    }
    let what = if watch.targets == 1 { "listener" } else { "listeners" };
    let mut lines =
        vec![format!("{} {what} watched every {} ms, by {}", watch.targets, watch.period_ms, watch.by)];
    lines.extend(watch.disarmed.iter().take(SHOWN).map(|why| format!("  watched only by probes: {why}")));
    let more = watch.disarmed.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

/// A duration as text for people.
fn age(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.max(0.0) as u64)).to_string()
}
