//! `announcer-lab`: plays failures against announcer in the lab, with the project's own files or with the user's.
//!
//! ```text
//! main        the command line               own      the project's own scenarios, by their program
//! files       reads the user's files    ->   router_file, named, web    pure: what is in them
//! plan        pure: the lab that they describe; place: on which link a peer is; assign: addresses
//! topology    pure: the topology file and the scripts of the nodes
//! expect      pure: which routes there should be, and what a fault does to them
//! stage       the running lab: what is seen at the routers, the requests of the client
//! scenarios   what is done, and what has to be seen
//! interrupt   Ctrl-C
//! ```

#![warn(clippy::print_stdout, clippy::print_stderr)] // the crate `output` prints
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod assign;
mod expect;
mod files;
mod header;
mod interrupt;
mod named;
mod own;
mod place;
mod plan;
mod router_file;
mod scenarios;
mod stage;
mod topology;
mod web;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use lab::engine::must_be_root;
use lab::state::Process;
use lab::{Lab, Options};

use crate::interrupt::Interrupt;
use crate::plan::Plan;
use crate::scenarios::{Scenario, Victim};
use crate::stage::Stage;

/// Plays failures against announcer in a lab of network namespaces: crash, hang, drain, reboot, and the loss of a router. Needs root.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Plays scenarios: with --config and --router those of `announcer-lab list`, against your own files; without them those of the
    /// project
    ///
    /// With your own files, each --config is a frontend and each --router is a router. The lab connects them as the addresses in the
    /// files say, answers the checks by its own nginx, and sends requests from a client behind the first router. Nothing is played if
    /// the files do not fit: the program says why, and its exit code is 2. If a scenario failed, the exit code is 1.
    Test {
        /// The scenarios to play; without one, all. Without --config and --router: words of names of the project's scenarios
        scenarios: Vec<String>,
        /// A configuration of announcer: one frontend
        #[arg(long, value_name = "FILE", requires = "router")]
        config: Vec<PathBuf>,
        /// A configuration of FRR or BIRD 2: one router
        #[arg(long, value_name = "FILE", requires = "config")]
        router: Vec<PathBuf>,
        /// An nginx.conf for the frontends, instead of one that answers the checks
        #[arg(long, value_name = "FILE", requires = "config")]
        web: Option<PathBuf>,
        /// How long a change may take beyond what checks and timers need, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "config")]
        patience: u32,
    },
    /// Prints the scenarios that are played against your own files
    List,
}

fn main() -> ExitCode {
    let arguments: Cli = match output::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    output::finish(match run(arguments.command) {
        Ok(code) => code,
        Err(error) if matches!(error.downcast_ref(), Some(lab::Error::Interrupted)) => {
            ExitCode::from(interrupt::INTERRUPTED)
        }
        Err(error) => {
            output::note(format_args!("announcer-lab: {error:#}"));
            ExitCode::FAILURE
        }
    })
}

fn run(command: Cmd) -> Result<ExitCode> {
    match command {
        Cmd::List => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Cmd::Test { scenarios, config, router, web: _, patience: _ }
            if config.is_empty() && router.is_empty() =>
        {
            own::own(&scenarios)
        }
        Cmd::Test { scenarios, config, router, web, patience } => {
            let chosen = match chosen(&scenarios) {
                Ok(chosen) => chosen,
                Err(error) => {
                    let _ = error.print(); // there is no other place for a message
                    return Ok(ExitCode::from(2));
                }
            };
            let patience = Duration::from_secs(u64::from(patience));
            play_own_files(&chosen, &config, &router, web.as_deref(), patience)
        }
    }
}

fn list() {
    for scenario in Scenario::value_variants() {
        let help = scenario.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        output::line(format_args!("{:<8} {}", scenario.name(), help.unwrap_or_default()));
    }
}

/// The scenarios of these names; all of them if there is no name.
fn chosen(words: &[String]) -> Result<Vec<Scenario>, clap::Error> {
    if words.is_empty() {
        return Ok(Scenario::value_variants().to_vec());
    }
    let named = |word: &String| {
        Scenario::from_str(word, false).map_err(|_| {
            let all: Vec<&str> = Scenario::value_variants().iter().map(|scenario| scenario.name()).collect();
            let message =
                format!("there is no scenario `{word}` for your own files: write {}", all.join(", "));
            Cli::command().error(clap::error::ErrorKind::InvalidValue, message)
        })
    };
    words.iter().map(named).collect()
}

/// Plays scenarios in a lab of the user's own files. Exit code 0: each was as it should be; 1: one was not; 2: the files were
/// refused.
fn play_own_files(
    scenarios: &[Scenario],
    configs: &[PathBuf],
    routers: &[PathBuf],
    web: Option<&Path>,
    patience: Duration,
) -> Result<ExitCode> {
    let options = options();
    let name = options.name.clone().unwrap_or_default();
    ensure!(
        options.program.exists(),
        "{} is missing, which makes the nodes: `make build` builds it",
        options.program.display()
    );
    let inputs = match files::read(name.clone(), configs, routers, web) {
        Ok(inputs) => inputs,
        Err(refused) => {
            refused.iter().for_each(output::note);
            return Ok(ExitCode::from(2));
        }
    };
    must_be_root()?;
    output::text(&header::header(&inputs.plan, &inputs.configs, web));
    let folder = tempfile::Builder::new().prefix("announcer-lab-").tempdir().context("a temporary folder")?;
    let interrupt = Interrupt::of(name, folder.path().to_path_buf())?;
    let topology = files::write(folder.path(), &inputs.plan, &inputs.sources)?;
    let lab = match Lab::start(&Options { topology, ..options }, &interrupt.cancel) {
        Ok(lab) => lab,
        Err(error) => {
            let Some(refusal) = refused_by_router(&inputs.plan, &error) else { return Err(error.into()) };
            output::note(refusal);
            return Ok(ExitCode::from(2));
        }
    };
    interrupt.up()?;
    let played = Stage::of(lab, inputs, patience).map(|stage| {
        let code = play_all(&stage, scenarios, &interrupt);
        (stage, code)
    });
    interrupt.wait_for_the_end();
    let (stage, code) = played?;
    stage.down()?;
    Ok(code)
}

/// What a router says about its file, if it does not start with it.
fn refused_by_router(plan: &Plan, error: &lab::Error) -> Option<String> {
    let lab::Error::Exec { node, command, output, .. } = error else { return None };
    let router =
        plan.routers.iter().find(|router| router.name == *node && *command == topology::START_ROUTER)?;
    let said: String = output.lines().map(|line| format!("\n  {line}")).collect();
    Some(format!("{}: {} does not start with it:{said}", router.file, router.daemon))
}

/// Plays the scenarios one after the other, and prints a line for each.
fn play_all(stage: &Stage, scenarios: &[Scenario], interrupt: &Interrupt) -> ExitCode {
    let frontends = 0..stage.inputs.plan.frontends.len();
    if let Err(error) = stage.all_announced(scenarios::patience(stage)) {
        interrupt.wait_for_the_end();
        output::line(format_args!("{:<7} {:<4} FAILED: {error:#}", "start", ""));
        frontends.for_each(|frontend| status(stage, frontend));
        return ExitCode::FAILURE;
    }
    output::line(format_args!("{:<7} {:<4} ok      every VIP is announced to every router", "start", ""));
    let mut code = ExitCode::SUCCESS;
    for scenario in scenarios {
        for victim in scenario.victims(stage) {
            let node = match victim {
                Victim::Frontend(index) => &stage.inputs.plan.frontends[index].name,
                Victim::Router(index) => &stage.inputs.plan.routers[index].name,
            };
            let name = scenario.name();
            match scenarios::play(stage, *scenario, victim) {
                Ok(text) => output::line(format_args!("{name:<7} {node:<4} ok      {text}")),
                Err(error) => {
                    interrupt.wait_for_the_end();
                    output::line(format_args!("{name:<7} {node:<4} FAILED: {error:#}"));
                    match victim {
                        Victim::Frontend(index) => status(stage, index),
                        Victim::Router(_) => frontends.clone().for_each(|frontend| status(stage, frontend)),
                    }
                    if let Err(error) = stage.all_announced(Duration::ZERO) {
                        output::line(format_args!("the scenarios after it are not played: {error:#}"));
                        return ExitCode::FAILURE;
                    }
                    code = ExitCode::FAILURE;
                }
            }
        }
    }
    code
}

fn status(stage: &Stage, frontend: usize) {
    let name = &stage.inputs.plan.frontends[frontend].name;
    output::line(format_args!("{name}: announcer status --all"));
    stage.status(frontend).lines().for_each(|line| output::line(format_args!("  {line}")));
}

/// How the lab is made. Its name is that of this process, so that it never meets another lab. The programs and the packages of the
/// nodes are those of the clone that has the current folder or this program; elsewhere, `lab` is beside this program.
fn options() -> Options {
    let program = std::env::current_exe().unwrap_or_default();
    let clone =
        program.ancestors().map(|folder| folder.join("lab")).find(|lab| lab.join("images/rootfs").exists());
    let mut options = Options::new(Path::new("own.clab.yml"));
    if !options.images.exists() {
        match clone {
            Some(lab) => options = Options::new(&lab.join("own.clab.yml")),
            None if std::env::var_os("LAB_PROGRAM").is_none() => {
                options.program = program.with_file_name("lab")
            }
            None => {}
        }
    }
    options.name = Some(format!("own-{}", std::process::id()));
    options.owner = Process::myself();
    options
}
