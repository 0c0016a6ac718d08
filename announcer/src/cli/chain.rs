//! `announcer chain`: the ring, its members, and the packets that were forwarded; and the switch of the forwarding.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{CommandError, ask, json, print_notes, unexpected, width};
use crate::control::api::{ChainOrder, Request, Response};
use crate::control::chain::text;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ChainArguments {
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    order: Option<ChainCommand>,
}

#[derive(Debug, Subcommand)]
enum ChainCommand {
    /// Forward nothing from this host, until `chain on`; restarts and reboots do not end it.
    ///
    /// Packets whose way along the ring has begun at another host are still passed on, because the flows of others depend on it.
    Off {
        /// The reason, for other operators.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Forward again.
    On {
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },
}

impl ChainArguments {
    /// Whether the output is JSON.
    pub(super) fn is_json(&self) -> bool {
        match &self.order {
            None => self.json,
            Some(ChainCommand::Off { json, .. } | ChainCommand::On { json }) => *json,
        }
    }
}

pub(super) fn call(arguments: ChainArguments, socket: &Path) -> Result<(), CommandError> {
    let is_json = arguments.is_json();
    let by = std::env::var("SUDO_USER").ok();
    let order = match arguments.order {
        None => return show(is_json, socket),
        Some(ChainCommand::Off { reason, .. }) => ChainOrder { off: true, reason: Some(reason), by },
        Some(ChainCommand::On { .. }) => ChainOrder { off: false, reason: None, by },
    };
    print_notes(ask(socket, &Request::SwitchChain(order), Duration::ZERO)?, is_json)
}

fn show(is_json: bool, socket: &Path) -> Result<(), CommandError> {
    let Response::Chain(report) = ask(socket, &Request::Chain, Duration::ZERO)? else {
        return Err(unexpected());
    };
    if is_json {
        output::line(json(&report));
    } else {
        output::line(text(&report, width()));
    }
    Ok(())
}
