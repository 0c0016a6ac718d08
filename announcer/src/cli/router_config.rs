//! `announcer router-config`: the router's side of a session, as a configuration for the router's system.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ipnet::IpNet;
use router_config::{Frontends, System, UnknownSystem, configuration};

use super::{CommandError, usage};
use crate::config::io::ConfigText;
use crate::config::{self, Config, PeerConfig};
use crate::control::names;
use crate::router_side;

#[derive(Debug, Args)]
pub(super) struct RouterConfigArguments {
    /// The configuration; `-` reads standard input.
    #[arg(value_name = "FILE", default_value = config::DEFAULT_PATH)]
    file: PathBuf,
    /// The router's system; without it, `os` of the `[[peer]]`.
    #[arg(long = "for", value_name = "SYSTEM", value_parser = systems())]
    system: Option<System>,
    /// The router, by the name of its `[[peer]]`; it may be left out if there is only one.
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// The address from which a frontend opens its session, once for each frontend; without it, `source_address` of the `[[peer]]`.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "frontend_range")]
    frontend: Vec<IpAddr>,
    /// The network of all frontends, as in `10.0.1.0/24`: the router accepts a session from any of its addresses.
    #[arg(long, value_name = "NETWORK")]
    frontend_range: Option<IpNet>,
    /// Print the commands that show on the router whether it works, in place of the configuration.
    #[arg(long)]
    verify: bool,
}

/// The names of the systems, for the help and the completions too.
fn systems() -> impl TypedValueParser<Value = System> {
    PossibleValuesParser::new(System::ALL.map(System::name)).try_map(|name| name.parse::<System>())
}

pub(super) fn call(arguments: &RouterConfigArguments) -> Result<(), CommandError> {
    let RouterConfigArguments { file, system, peer, frontend, frontend_range, verify } = arguments;
    let config = ConfigText::read(file).and_then(|text| Ok(text.parse()?)).map_err(usage)?;
    let peer = choose(&config, peer.as_deref())?;
    let Some(system) = system.or(peer.os) else {
        let known = UnknownSystem::names();
        return Err(CommandError::Usage(format!(
            "error: the system of `{}` is not known: add `--for SYSTEM`, or `os` to its `[[peer]]`: {known}",
            peer.name
        )));
    };
    let frontends = match frontend_range {
        Some(range) => Ok(Frontends::Range(range.trunc())),
        None => router_side::written_frontends(peer, frontend),
    };
    let facts = frontends
        .and_then(|frontends| router_side::facts(&config, peer, frontends))
        .map_err(|error| CommandError::Usage(format!("error: {error}")))?;
    if *verify {
        if facts.unnumbered {
            output::line("# FRONTEND-INTERFACE: write the router's interface on the link of the frontend.");
        }
        if !matches!(facts.frontends, Frontends::Addresses(_)) {
            output::line("# FRONTEND-ADDRESS: write the address of the frontend.");
        }
        let mut last = None;
        for command in router_side::shown(system, &facts) {
            if last != Some(command.question) {
                output::line(format_args!("# {}", command.question));
            }
            last = Some(command.question);
            output::line(command.command);
        }
    } else {
        output::line(configuration(system, &facts).trim_end());
    }
    Ok(())
}

/// The peer of this name, or the only one.
fn choose<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a PeerConfig, CommandError> {
    let names = || config.peers.iter().map(|peer| peer.name.as_str());
    match (name, config.peers.as_slice()) {
        (Some(name), peers) => {
            let found = peers.iter().find(|peer| peer.name.as_str() == name);
            found.ok_or_else(|| CommandError::Usage(names::unknown("peer", name, names())))
        }
        (None, [peer]) => Ok(peer),
        (None, _) => Err(CommandError::Usage(format!(
            "error: the configuration has several routers: add `--peer` with one of {}",
            names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ))),
    }
}
