//! `lab`: brings a containerlab topology up, with or without Docker, and load to it.

#![warn(clippy::print_stdout, clippy::print_stderr)] // the crate `output` prints

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Parser, Subcommand};
use lab::cancel::at_signal;
use lab::engine::{self, containerlab, must_be_root};
use lab::state::{self, State};
use lab::{Cancel, Engine, Lab, Options, director, enter, flows, generate, init, load};
use nix::unistd::Pid;

/// Starts a containerlab topology: in network namespaces, or with containerlab and Docker. Needs root.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Starts a lab; the first start builds the root filesystem of the nodes
    Up {
        /// The topology file
        #[arg(default_value = "lab/ecmp/ecmp.clab.yml")]
        topology: PathBuf,
        /// The lab's name; without it LAB_NAME, or the name in the file
        #[arg(long)]
        name: Option<String>,
        /// The engine that makes the nodes; without it LAB_ENGINE, or `netns`
        #[arg(long)]
        engine: Option<Engine>,
    },
    /// Ends a lab, and removes everything of it
    Down {
        /// The lab; without it LAB_NAME, or the only one that is up
        #[arg(long)]
        name: Option<String>,
        /// Those that `lab up` has started from topology files below this folder
        #[arg(long, value_name = "FOLDER", conflicts_with = "name")]
        below: Option<PathBuf>,
        /// All labs of this machine, of every user
        #[arg(long, conflicts_with_all = ["name", "below"])]
        all: bool,
    },
    /// Runs a command in a node, and exits with its exit code
    Exec {
        /// The lab; without it LAB_NAME, or the only one that is up
        #[arg(long)]
        name: Option<String>,
        /// The node
        node: String,
        /// The command; there is no shell
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Prints the labs that are up
    Status,
    /// Prints the topology `scale` or `lan` of a size; its file belongs beside the others
    Generate {
        /// `lan`, with all frontends and routers in one LAN, instead of `scale`
        #[arg(long)]
        lan: bool,
        /// How many frontends
        #[arg(long, value_parser = clap::value_parser!(u16).range(within(&generate::FRONTENDS)))]
        frontends: u16,
        /// How many routers
        #[arg(long, value_parser = clap::value_parser!(u16).range(within(&generate::ROUTERS)))]
        routers: u16,
    },
    /// Opens connections at a steady rate, counts their results, and prints them as JSON
    Load {
        /// New connections a second
        #[arg(long, default_value_t = 1000)]
        rate: u32,
        /// The duration, in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// The time limit of a connection, in milliseconds
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
        /// Print a line after each 100 ms, and the sums at the end
        #[arg(long)]
        live: bool,
        /// The URL, such as `http://192.0.2.80/`
        url: String,
    },
    /// Keeps connections open, opens new ones beside them, and prints what broke; a line of standard input begins a phase
    Flows {
        /// How many connections stay open
        #[arg(long, default_value_t = 1000)]
        flows: u32,
        /// The time between two requests of each of them, in milliseconds
        #[arg(long, default_value_t = 1000)]
        every_ms: u64,
        /// New connections a second, with one request each
        #[arg(long, default_value_t = 2000)]
        rate: u32,
        /// The longest duration, in seconds; a line `stop` ends it earlier
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// After this time without an answer, a connection counts as broken, in milliseconds
        #[arg(long, default_value_t = 5000)]
        timeout_ms: u64,
        /// An address of this host from which the long-lived connections come; may be given again
        #[arg(long)]
        flow_source: Vec<IpAddr>,
        /// The same for the new connections; two are enough for 2,000 a second
        #[arg(long)]
        new_source: Vec<IpAddr>,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// The URL, such as `http://192.0.2.80/`
        url: String,
    },
    /// Checks the health of hosts, and forwards the packets of VIPs to the healthy ones, which answer directly
    Director {
        /// The interface on which the packets arrive
        #[arg(long)]
        interface: String,
        /// A VIP; may be given again
        #[arg(long = "vip", required = true, value_name = "ADDRESS")]
        vips: Vec<IpAddr>,
        /// A host by its own address, for the VIPs of its family; may be given again
        #[arg(long = "host", required = true, value_name = "ADDRESS")]
        hosts: Vec<IpAddr>,
        /// A host that serves while no other of its family is healthy; may be given again
        #[arg(long, value_name = "ADDRESS")]
        fallback: Vec<IpAddr>,
        /// The TCP port that is forwarded, and checked
        #[arg(long, default_value_t = 80)]
        port: u16,
        /// The path of the HTTP check; an answer of 2xx is healthy
        #[arg(long, default_value = "/healthz")]
        path: String,
        /// The time from one check of a host to the next, in milliseconds
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
        interval_ms: u64,
        /// The time limit of a check, in milliseconds
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
        timeout_ms: u64,
        /// How packets get to a host
        #[arg(long, value_enum, default_value_t = director::Forward::Mac)]
        forward: director::Forward,
    },
}

fn main() -> ExitCode {
    if let Some(code) = hidden() {
        return code;
    }
    let arguments: Cli = match output::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    output::finish(match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            output::note(format_args!("lab: {error:#}"));
            ExitCode::FAILURE
        }
    })
}

/// Runs a hidden subcommand and returns its exit code; `None` if the arguments are not those of one. The library starts this
/// program with them, and they must stay single-threaded, because they enter or make namespaces.
fn hidden() -> Option<ExitCode> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [command, rest @ ..] = words.as_slice() else { return None };
    match (command.to_str()?, rest) {
        // Makes the namespaces of a node, and starts the next one in them.
        (state::NODE, [dir, node]) => Some(init::node(Path::new(dir), node.to_str()?, None)),
        // The same, in the network namespace of another node's first process.
        (state::NODE, [dir, node, pid]) => {
            Some(init::node(Path::new(dir), node.to_str()?, Some(parse_pid(pid)?)))
        }
        // The first process of a node.
        (state::INIT, [dir, node]) => Some(init::init(Path::new(dir), node.to_str()?)),
        // Enters the pid namespace of the node whose init has this pid, starts `EXEC` there, and waits for it.
        (enter::ENTER, [pid, command @ ..]) => Some(enter::enter(parse_pid(pid)?, command)),
        // Becomes containerlab, which ends when the process `parent` ends.
        (containerlab::CONTAINERLAB, [dir, parent, network, words @ ..]) => Some(
            containerlab::become_containerlab(Path::new(dir), parse_pid(parent)?, network.to_str()?, words),
        ),
        // Enters the other namespaces of the node, and becomes the command.
        (enter::EXEC, [pid, command @ ..]) => Some(enter::exec(parse_pid(pid)?, command)),
        _ => None,
    }
}

/// The range in the type that clap's parser takes.
fn within(range: &RangeInclusive<u16>) -> RangeInclusive<i64> {
    i64::from(*range.start())..=i64::from(*range.end())
}

fn parse_pid(pid: &OsString) -> Option<Pid> {
    pid.to_str()?.parse().ok().map(Pid::from_raw)
}

fn run(command: Cmd) -> Result<ExitCode> {
    match command {
        Cmd::Up { topology, name, engine } => up(topology, name, engine)?,
        Cmd::Down { name: None, below: None, all: true } => {
            must_be_root()?;
            for name in state::labs() {
                engine::down(&name)?;
            }
        }
        Cmd::Down { name: None, below: Some(folder), all: _ } => {
            must_be_root()?;
            down_below(&folder)?;
        }
        Cmd::Down { name, below: _, all: _ } => {
            must_be_root()?;
            engine::down(&lab_name(name)?)?;
        }
        Cmd::Exec { name, node, command } => {
            must_be_root()?;
            let lab = Lab::attach(&lab_name(name)?, &std::env::current_exe()?)?;
            let node = lab.node(&node)?;
            let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            let mut command = if is_terminal { node.at_terminal(&command) } else { node.command(&command) };
            let status = command.status().context("cannot enter the node")?;
            return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
        }
        Cmd::Status => return status(),
        Cmd::Generate { lan: false, frontends, routers } => {
            output::text(&generate::scale(frontends, routers));
        }
        Cmd::Generate { lan: true, frontends, routers } => {
            let most = generate::LAN_FRONTENDS.end();
            ensure!(frontends <= *most, "--frontends {frontends}: a LAN has at most {most}");
            output::text(&generate::lan(frontends, routers));
        }
        Cmd::Load { rate, seconds, timeout_ms, live, url } => {
            let mut plan =
                load::Plan::new(&url, rate, Duration::from_secs(seconds)).map_err(|e| anyhow!(e))?;
            plan.patience = Duration::from_millis(timeout_ms);
            return report(&plan, live);
        }
        Cmd::Flows { flows, every_ms, rate, seconds, timeout_ms, flow_source, new_source, json, url } => {
            let mut plan = flows::Plan::new(&url, Duration::from_secs(seconds)).map_err(|e| anyhow!(e))?;
            (plan.flows, plan.new.rate) = (flows, rate);
            (plan.flow_sources, plan.new_sources) = (flow_source, new_source);
            plan.every = Duration::from_millis(every_ms.max(1));
            plan.silence = Duration::from_millis(timeout_ms);
            plan.new.patience = plan.silence;
            return report_flows(&plan, json);
        }
        Cmd::Director { interface, vips, hosts, fallback, port, path, interval_ms, timeout_ms, forward } => {
            let (interval, timeout) = (Duration::from_millis(interval_ms), Duration::from_millis(timeout_ms));
            let plan =
                director::Plan { interface, vips, hosts, fallback, port, path, interval, timeout, forward };
            director::run(&plan, |sentence| output::line(sentence))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the labs that a person has started from topology files below a folder, not those of a test that is running.
fn down_below(folder: &Path) -> Result<()> {
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let here = |name: &String| {
        State::read(&state::dir(name))
            .is_ok_and(|state| state.owner.is_none() && state.topology.starts_with(&folder))
    };
    let labs: Vec<String> = state::labs().into_iter().filter(here).collect();
    if labs.is_empty() {
        output::line(format_args!("no lab of {} is up", folder.display()));
    }
    for name in labs {
        engine::down(&name)?;
        output::line(format_args!("lab `{name}` is down"));
    }
    Ok(())
}

fn up(topology: PathBuf, name: Option<String>, engine: Option<Engine>) -> Result<()> {
    must_be_root()?;
    let mut options = Options::new(&topology);
    options.program = std::env::current_exe()?;
    options.name = name;
    options.engine = engine;
    options.owner = None; // no process owns the lab, so that it stays when this one ends
    let cancel = Cancel::new();
    let interrupted = cancel.clone();
    at_signal(move || {
        output::note("lab: interrupted, cleaning up");
        interrupted.cancel();
    })?;
    let lab = Lab::start(&options, &cancel)?;
    let nodes: Vec<&str> = lab.nodes().map(lab::Node::name).collect();
    output::line(format_args!("lab `{}` is up: {}", lab.name(), nodes.join(", ")));
    lab.leave(); // without this, the lab would end here
    Ok(())
}

/// The name of the lab for a command: the given one, otherwise that in `LAB_NAME`, otherwise the only lab that exists.
fn lab_name(name: Option<String>) -> Result<String> {
    if let Some(name) = name.or_else(engine::named) {
        return Ok(name);
    }
    let mut labs = state::labs();
    match (labs.pop(), labs.is_empty()) {
        (Some(name), true) => Ok(name),
        (None, _) => bail!("no lab is up: `lab up` starts one"),
        (Some(last), false) => bail!("which one? `--name` {} or {last}", labs.join(", ")),
    }
}

/// Prints the running labs. Exit code 0: a lab is running, and all its nodes run.
fn status() -> Result<ExitCode> {
    let labs = state::labs();
    let mut whole = !labs.is_empty();
    for name in &labs {
        let dir = state::dir(name);
        let Ok(state) = State::read(&dir) else {
            output::line(format_args!("{name}: incomplete; `lab down --name {name}` removes it"));
            whole = false;
            continue;
        };
        output::line(format_args!("{name}: from {}", state.topology.display()));
        let running = engine::running(name, &state);
        for node in state.nodes.keys() {
            match running.get(node) {
                Some(pid) => output::line(format_args!("  {node:<12} running, pid {pid}")),
                None => {
                    output::line(format_args!("  {node:<12} ended"));
                    whole = false;
                }
            }
        }
    }
    if labs.is_empty() {
        output::line("no lab is up");
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the requests of the plan, and prints the results. Exit code 0: none was lost.
fn report(plan: &load::Plan, live: bool) -> Result<ExitCode> {
    let mut report = load::run(plan, |bucket| {
        if live {
            output::line(serde_json::to_string(bucket).unwrap_or_default());
        }
        if output::is_open() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if live {
        report.buckets.clear(); // written already
    }
    output::line(serde_json::to_string(&report)?);
    if !output::is_open() {
        return Ok(ExitCode::SUCCESS); // nobody reads the result
    }
    Ok(if report.total.lost() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Keeps the flows of the plan, and prints what broke in each phase. Exit code 0: nothing broke, and no new connection was lost.
fn report_flows(plan: &flows::Plan, json: bool) -> Result<ExitCode> {
    let control = flows::Control::new();
    let marks = control.clone();
    // It ends with this process, or with the input.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            match line.trim() {
                "" => {}
                "stop" => marks.stop(),
                name => marks.mark(name),
            }
        }
    });
    let report = flows::run(plan, &control)?;
    if json {
        output::line(serde_json::to_string(&report)?);
    } else {
        output::text(&report.to_string());
    }
    let is_whole = |phase: &flows::Phase| phase.flows.broken.is_empty() && phase.new.counts.lost() == 0;
    Ok(if report.phases.iter().all(is_whole) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
