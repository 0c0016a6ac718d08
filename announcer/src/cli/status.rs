//! `announcer status`: what is wrong, what is announced, and what is not.

use std::io::IsTerminal;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, ColorChoice};

use super::{CommandError, ask, json, unexpected};
use crate::control::api::{Request, Response};
use crate::control::chain::table;
use crate::control::io::client::ClientError;
use crate::control::status::summary::{self, MonitoringResult};
use crate::control::status::{self, StatusLayout, View};

/// Clears the terminal, and begins at its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Only this service, VIP or router.
    #[arg(value_name = "SERVICE|VIP|PEER")]
    what: Option<String>,
    /// Print each VIP and each warning.
    #[arg(long)]
    all: bool,
    /// Print each VIP on each member of the chain, and mark the VIPs that too few members announce.
    #[arg(long, conflicts_with_all = ["what", "all"])]
    members: bool,
    /// Print one line with performance data, for a monitoring system.
    ///
    /// Exit code 0: all is as wanted, also when it is drained. 1: a warning, for example a router is down while another has
    /// everything. 2: a VIP that should be announced is not, or was sent to no router, or announcer does not run. 3: the state is
    /// not known.
    #[arg(long, conflicts_with_all = ["what", "all", "members", "watch", "json"])]
    check: bool,
    /// Print it again and again, every TIME, until Ctrl-C.
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
        value_parser = humantime::parse_duration, conflicts_with = "json")]
    watch: Option<Duration>,
    /// When to use colours; with NO_COLOR in the environment, `auto` means never.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    /// Print JSON, for programs.
    #[arg(long, conflicts_with = "what")]
    pub(super) json: bool,
}

pub(super) fn call(arguments: &StatusArguments, socket: &Path) -> Result<(), CommandError> {
    if arguments.check {
        return check(socket);
    }
    let Some(period) = arguments.watch else { return once(arguments, socket) };
    while output::is_open() {
        if std::io::stdout().is_terminal() {
            output::text(CLEAR);
        }
        match once(arguments, socket) {
            Ok(()) => {}
            // The daemon may be restarting.
            Err(error @ CommandError::Client(_)) => output::line(error.message()),
            Err(error) => return Err(error),
        }
        sleep(period);
    }
    Ok(())
}

fn once(arguments: &StatusArguments, socket: &Path) -> Result<(), CommandError> {
    if arguments.members {
        return members(arguments, socket);
    }
    let answer = ask(socket, &Request::Status, Duration::ZERO)?;
    let Response::Status { status } = answer else { return Err(unexpected()) };
    if arguments.json {
        output::line(json(&status));
        return Ok(());
    }
    let view = View { all: arguments.all, only: arguments.what.clone(), layout: layout(arguments.color) };
    output::line(status::text(&status, &view).map_err(CommandError::Usage)?);
    Ok(())
}

/// The VIPs of the whole site.
fn members(arguments: &StatusArguments, socket: &Path) -> Result<(), CommandError> {
    let Response::Site(site) = ask(socket, &Request::Site, Duration::ZERO)? else { return Err(unexpected()) };
    if arguments.json {
        output::line(json(&site));
    } else {
        output::line(table(&site, layout(arguments.color).width));
    }
    Ok(())
}

/// How standard output takes lines.
fn layout(color: ColorChoice) -> StatusLayout {
    let terminal = std::io::stdout().is_terminal();
    let colour = match color {
        ColorChoice::Auto => terminal && !super::is_without_colours(),
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    StatusLayout { width: super::width(), colour }
}

fn check(socket: &Path) -> Result<(), CommandError> {
    let (result, line) = match ask(socket, &Request::Status, Duration::ZERO) {
        Ok(Response::Status { status }) => summary::check(&status),
        Ok(_) => without(MonitoringResult::Unknown, &unexpected().message()),
        Err(CommandError::Client(error @ ClientError::Forbidden(_))) => {
            without(MonitoringResult::Unknown, &error.to_string())
        }
        Err(CommandError::Client(error)) => without(MonitoringResult::Critical, &error.to_string()),
        Err(error) => without(MonitoringResult::Unknown, &error.message()),
    };
    output::line(line);
    match result {
        MonitoringResult::Ok => Ok(()),
        MonitoringResult::Warning | MonitoringResult::Critical | MonitoringResult::Unknown => {
            Err(CommandError::Printed(result.code()))
        }
    }
}

fn without(result: MonitoringResult, why: &str) -> (MonitoringResult, String) {
    (result, summary::without_status(result, why))
}
